package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const sequence = `'fields.id.kind'='sequence','fields.id.start'='1'`

// TestSources runs each source through the binary to its end.
func TestSources(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		ddl, columns, query string
		args                []string
		rows                int // at least
	}{
		"datagen by rate":      {`(id BIGINT) WITH ('connector'='datagen','rows-per-second'='2000','number-of-rows'='300',` + sequence + `)`, "id BIGINT", "SELECT id FROM s", nil, 300},
		"datagen once":         {`(id BIGINT) WITH ('connector'='datagen','number-of-rows'='300',` + sequence + `)`, "id BIGINT", "SELECT id FROM s", []string{"--once"}, 300},
		"datagen until idle":   {`(id BIGINT) WITH ('connector'='datagen','number-of-rows'='300',` + sequence + `)`, "id BIGINT", "SELECT id FROM s", []string{"--until-idle", "200ms"}, 300},
		"rate for a while":     {`WITH ('connector'='rate','rows-per-second'='1000')`, "v BIGINT", "SELECT value FROM s WHERE value < 50", []string{"--once"}, 0},
		"nexmark bids":         {`WITH ('connector'='nexmark','event-type'='bid','events'='1000')`, "a BIGINT, p BIGINT", "SELECT auction, price FROM s", nil, 920},
		"nexmark of all types": {`WITH ('connector'='nexmark','events'='1000')`, "n BIGINT", "SELECT bid.price FROM s WHERE bid IS NOT NULL", []string{"--once"}, 920},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "p.sql", fmt.Sprintf(`CREATE TABLE s %s;
CREATE TABLE o (%s) WITH ('connector'='filesystem','path'='out','format'='csv');
CREATE STREAMING QUERY q AS INSERT INTO o %s;`, c.ddl, c.columns, c.query))
			r := sluice(t, dir, append([]string{"run", "p.sql"}, c.args...)...)
			r.check(t, done, `q: \d+ batches`)
			rows := csvRows(t, filepath.Join(dir, "out"))
			if len(rows) < c.rows {
				t.Errorf("%d rows, want %d", len(rows), c.rows)
			}
			first := column(rows, 0)
			if strings.HasPrefix(name, "datagen") {
				slices.Sort(first)
				if n := len(slices.Compact(first)); n != c.rows || len(rows) != c.rows {
					t.Errorf("%d rows with %d ids, want %d", len(rows), n, c.rows)
				}
			}
			sluice(t, dir, append([]string{"run", "p.sql"}, c.args...)...).check(t, done)
			if again := csvRows(t, filepath.Join(dir, "out")); len(again) != len(rows) && !strings.HasPrefix(name, "rate") {
				t.Errorf("a second run makes %d rows of %d", len(again), len(rows))
			}
		})
	}
}

// TestUntilIdle ends a stream that would go on when no data has come for a while.
func TestUntilIdle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", tablesOf("csv")+"INSERT INTO dst SELECT * FROM src;")
	write(t, dir, "in", "a.csv", "id,k\n1,a\n")
	sluice(t, dir, "run", "--until-idle", "300ms", "p.sql").check(t, done, `1 batches, 1 rows in`)
	write(t, dir, "in", "b.csv", "id,k\n2,b\n")
	sluice(t, dir, "run", "--until-idle", "300ms", "p.sql").check(t, done, `1 batches, 1 rows in`)
	if got := fmt.Sprint(csvRows(t, filepath.Join(dir, "out"))); got != "[[1 a] [2 b]]" {
		t.Errorf("rows %s", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "checkpoints")); err != nil {
		t.Error(err)
	}
}

// TestSocket reads lines from a listener of the test, which then hangs up.
func TestSocket(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hang := make(chan struct{})
	sent := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			sent <- err
			return
		}
		_, err = fmt.Fprint(c, "one\ntwo words\n\nfour\n")
		<-hang
		sent <- err
		_ = c.Close()
	}()
	dir := t.TempDir()
	write(t, dir, "p.sql", fmt.Sprintf(`
CREATE TABLE s WITH ('connector'='socket','port'='%d');
CREATE TABLE o (line STRING, n INT) WITH ('connector'='console','format'='json');
INSERT INTO o SELECT value, length(value) FROM s;`, l.Addr().(*net.TCPAddr).Port))
	p := start(t, dir, "run", "p.sql")
	p.untilOutput(`{"line":"four","n":4}`)
	for _, want := range []string{`{"line":"one","n":3}`, `{"line":"two words","n":9}`, `{"line":"","n":0}`} {
		if !strings.Contains(p.Out.String(), want) {
			t.Errorf("no %s in %s", want, p.Out)
		}
	}
	close(hang)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	p.wait().check(t, done) // nothing more can come
}

// TestSocketNobodyListens fails with the address.
func TestSocketNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	dir := t.TempDir()
	write(t, dir, "p.sql", fmt.Sprintf(`
CREATE TABLE s WITH ('connector'='socket','port'='%s','connect-retries'='1','retry-delay'='10ms');
CREATE TABLE o (line STRING) WITH ('connector'='console');
INSERT INTO o SELECT value FROM s;`, addr[strings.LastIndex(addr, ":")+1:]))
	refuses(t, dir, failed, []string{addr, "connection refused"}, "run", "p.sql")
}

// TestFileSinks writes each format with partitions and reads it back as a batch.
func TestFileSinks(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"parquet", "csv", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ddl := fmt.Sprintf(`
CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','number-of-rows'='900','max-rows-per-trigger'='250',%s);
CREATE TABLE o (id BIGINT, name STRING, part BIGINT) PARTITIONED BY (part) WITH ('connector'='filesystem','path'='out','format'='%s');`, sequence, format)
			write(t, dir, "p.sql", ddl+"CREATE STREAMING QUERY q AS INSERT INTO o SELECT id, concat('n', CAST(id AS STRING)), id % 3 FROM g;")
			ok(t, dir, "run", "--once", "p.sql")
			for part := range 3 {
				if got := visible(t, filepath.Join(dir, "out", fmt.Sprintf("part=%d", part))); len(got) < 4 {
					t.Errorf("partition %d has files %v", part, got)
				}
			}
			out := ok(t, dir, "sql", "--format", "csv", "-c", ddl+"SELECT part, count(*) AS n, sum(id) AS s, max(name) AS m FROM o GROUP BY part ORDER BY part")
			want := "part,n,s,m\n0,300,135450,n99\n1,300,134850,n97\n2,300,135150,n98\n"
			if lines := strings.Split(out, "\n"); len(lines) != 5 || out != strings.NewReplacer().Replace(out) || !sameButNames(out, want) {
				t.Errorf("got %s want %s", out, want)
			}
		})
	}
}

// sameButNames compares rows without their last field.
func sameButNames(a, b string) bool {
	la, lb := strings.Split(a, "\n"), strings.Split(b, "\n")
	if len(la) != len(lb) {
		return false
	}
	for i := range la {
		if la[i][:max(0, strings.LastIndex(la[i], ","))] != lb[i][:max(0, strings.LastIndex(lb[i], ","))] {
			return false
		}
	}
	return true
}

// TestConsole prints every mode and format.
func TestConsole(t *testing.T) {
	t.Parallel()
	const ddl = `
CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','number-of-rows'='6','max-rows-per-trigger'='3','fields.id.kind'='sequence','fields.id.start'='1');
CREATE TABLE c (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='console','format'='%s');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE %s AS INSERT INTO c SELECT %s;`
	const grouped = "id % 2, count(*) FROM g GROUP BY id % 2"
	for _, c := range []struct{ format, mode, query, want string }{
		{"json", "append", "id, id * 2 FROM g WHERE id > 4", `{"batch":1,"op":"+I","row":{"k":5,"n":10}}
{"batch":1,"op":"+I","row":{"k":6,"n":12}}
`},
		{"csv", "append", "id, id * 2 FROM g WHERE id > 4", "batch,op,k,n\n1,+I,5,10\n1,+I,6,12\n"},
		{"json", "complete", grouped, `{"batch":0,"op":"+I","row":{"k":0,"n":1}}
{"batch":0,"op":"+I","row":{"k":1,"n":2}}
{"batch":1,"op":"+I","row":{"k":0,"n":3}}
{"batch":1,"op":"+I","row":{"k":1,"n":3}}
`},
		{"json", "changelog", grouped, `{"batch":0,"op":"+I","row":{"k":0,"n":1}}
{"batch":0,"op":"+I","row":{"k":1,"n":2}}
{"batch":1,"op":"+U","row":{"k":0,"n":3}}
{"batch":1,"op":"+U","row":{"k":1,"n":3}}
{"batch":1,"op":"-U","row":{"k":0,"n":1}}
{"batch":1,"op":"-U","row":{"k":1,"n":2}}
`},
	} {
		t.Run(c.format+"-"+c.mode, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, "p.sql", fmt.Sprintf(ddl, c.format, c.mode, c.query))
			r := sluice(t, dir, "run", "p.sql")
			r.check(t, done)
			got := strings.SplitAfter(r.out, "\n")
			if c.mode != "append" {
				slices.Sort(got) // the order within a batch is nobody's promise
				got = append(got[1:], "")
			}
			if s := strings.Join(got, ""); s != c.want {
				t.Errorf("got\n%s\nwant\n%s", s, c.want)
			}
		})
	}
	t.Run("json-update", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, dir, "p.sql", fmt.Sprintf(ddl, "json", "update", grouped))
		last := map[float64]float64{}
		for line := range strings.Lines(ok(t, dir, "run", "p.sql")) {
			var e struct {
				Op  string
				Row struct{ K, N float64 }
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Op != "+U" && e.Op != "+I" {
				t.Fatalf("%v: %s", err, line)
			}
			last[e.Row.K] = e.Row.N
		}
		if last[0] != 3 || last[1] != 3 {
			t.Errorf("upserts lead to %v", last)
		}
	})
	t.Run("table", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		write(t, dir, "p.sql", fmt.Sprintf(ddl, "table", "append", "id, id FROM g"))
		out := ok(t, dir, "run", "p.sql")
		if strings.Count(out, "Batch: ") != 2 || !strings.Contains(out, "| 6 | 6 |") {
			t.Errorf("got\n%s", out)
		}
	})
}

// TestConsoleGoesOn starts a query with a terminal as its sink again: it goes on
// after what it has shown.
func TestConsoleGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", `
CREATE TABLE src (id BIGINT, k STRING) WITH ('connector'='filesystem', 'path'='in', 'format'='csv');
CREATE TABLE c (id BIGINT) WITH ('connector'='console','format'='json');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW AS INSERT INTO c SELECT id FROM src;`)
	for i := range 4 {
		write(t, dir, "in", fmt.Sprintf("%d.csv", i), fmt.Sprintf("id,k\n%d,a\n", i))
		want := fmt.Sprintf(`{"batch":%d,"op":"+I","row":{"id":%d}}`+"\n", i, i)
		if out := ok(t, dir, "run", "p.sql"); out != want {
			t.Errorf("run %d prints %q, want %q", i, out, want)
		}
	}
}

// TestBlackhole takes everything and keeps nothing.
func TestBlackhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "p.sql", `
CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','number-of-rows'='100000');
CREATE TABLE b (id BIGINT) WITH ('connector'='blackhole');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW AS INSERT INTO b SELECT id FROM g;`)
	sluice(t, dir, "run", "p.sql").check(t, done, "q: 1 batches, 100000 rows in, 100000 rows out")
}

// TestOneFailsOthersStop: when a query of a file fails the others finish their
// batch and end, and all can go on.
func TestOneFailsOthersStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "in", "a.csv", "id,k\nx,a\n")
	write(t, dir, "p.sql", tablesOf("csv")+`
CREATE TABLE g (id BIGINT) WITH ('connector'='datagen','rows-per-second'='1000',`+sequence+`);
CREATE TABLE ids (id BIGINT) WITH ('connector'='filesystem','path'='out/ids','format'='csv');
CREATE STREAMING QUERY good AS INSERT INTO ids SELECT id FROM g;
CREATE STREAMING QUERY bad AS INSERT INTO dst SELECT * FROM src;`)
	refuses(t, dir, failed, []string{`query "bad": batch 0.*a\.csv", line 2`}, "run", "p.sql")
	noDuplicates(t, dir)
}
