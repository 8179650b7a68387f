package postgres

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluice-stream/sluice"
)

// rounds is how often something is killed in each test.
func rounds() int {
	if testing.Short() {
		return 2
	}
	return 5
}

// inputRows is how many rows there are, which come over some seconds.
var inputRows = 6000

// pipeline has three outputs, which advance by one batch ID: rows, counts by key in the
// database, and files. Batches are small and checkpoints far apart, so that there is much
// to run again.
func (s *server) pipeline(t testing.TB, schema string) (script string) {
	t.Helper()
	dir := t.TempDir()
	with := fmt.Sprintf("'connector'='postgres', 'url'='%s', 'password'='%s', 'create-table'='true', 'connect-timeout'='2s'", s.url(), s.password())
	text := "SET 'checkpoint.interval' = '300ms';\n" +
		fmt.Sprintf("CREATE TABLE src (id BIGINT, k BIGINT) WITH ('connector'='datagen', 'number-of-rows'='%d', 'rows-per-second'='3000', 'max-rows-per-trigger'='100', "+
			"'fields.id.kind'='sequence', 'fields.id.start'='0', 'fields.k.min'='0', 'fields.k.max'='40');\n", inputRows) +
		fmt.Sprintf("CREATE TABLE copies (id BIGINT, k BIGINT) WITH (%s, 'table'='%s.copies');\n", with, schema) +
		fmt.Sprintf("CREATE TABLE counts (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH (%s, 'table'='%s.counts');\n", with, schema) +
		fmt.Sprintf("CREATE TABLE files (id BIGINT, k BIGINT) WITH ('connector'='filesystem', 'path'='%s', 'format'='json');\n", filepath.Join(dir, "files")) +
		"CREATE STREAMING QUERY q OUTPUT MODE update AS BEGIN\n" +
		"INSERT INTO copies SELECT id, k FROM src;\nINSERT INTO counts SELECT k, count(*) AS n FROM src GROUP BY k;\n" +
		"INSERT INTO files " + filed() + ";\nEND;\n"
	script = filepath.Join(dir, "p.sql")
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return script
}

// filed is what goes to the files. A table of files says which batch with rows was its
// last: the last row of all is one of them, so that it is that of the others.
func filed() string {
	return fmt.Sprintf("SELECT id, k FROM src WHERE k < 20 OR id = %d", inputRows-1)
}

// check holds what the tables and files hold against the batch answer, and what the
// engine that came to the end says of each of them.
func check(t testing.TB, conn *pgx.Conn, schema, script string, e *engine) {
	t.Helper()
	if got := rowsOf(t, conn, "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM "+schema+".copies"); got[0] != fmt.Sprintf("%d|%d|0|%d", inputRows, inputRows, inputRows-1) {
		t.Errorf("the copies are %s", got[0])
	}
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	session, err := sluice.NewSession(sluice.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := session.Close(); err != nil {
			t.Error(err)
		}
	}()
	declarations, _, _ := strings.Cut(string(text), "CREATE STREAMING QUERY")
	if err := session.Run(t.Context(), declarations, func(*sluice.Result) error { return nil }); err != nil {
		t.Fatal(err)
	}
	answer := func(sql string) []string {
		df, err := session.SQL(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := df.Collect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, r := range rows {
			out = append(out, strings.ReplaceAll(strings.Trim(fmt.Sprint(r), "[]"), " ", "|"))
		}
		return out
	}
	// Rows come slowly when they are read as a stream alone.
	want := answer("SELECT k, count(*) FROM src GROUP BY k")
	if got, want := rowsOf(t, conn, "SELECT id, k FROM "+schema+".copies"), answer("SELECT id, k FROM src"); !equalBags(got, want) {
		t.Errorf("the copies hold %d rows, and should the %d that a batch query has", len(got), len(want))
	}
	got := rowsOf(t, conn, "SELECT k, n FROM "+schema+".counts")
	if !equalBags(got, want) {
		t.Errorf("the counts are\n%q\nand should be\n%q", got, want)
	}
	if got, want := answer("SELECT id, k FROM files"), answer(filed()); !equalBags(got, want) {
		t.Errorf("the files hold %d rows, and should %d", len(got), len(want))
	}
	held := rowsOf(t, conn, "SELECT DISTINCT batch FROM "+schema+".sluice_batches")
	if len(held) != 1 {
		t.Fatalf("the sinks hold the batches %q", held)
	}
	want = nil
	for _, table := range []string{"copies", "counts", "files"} {
		want = append(want, table+" "+held[0])
	}
	if got := strings.Split(strings.TrimSpace(e.versions.String()), "\n"); !equalBags(got, want) {
		t.Errorf("SHOW VERSIONS says %q, and the database holds batch %s", got, held[0])
	}
}

// equalBags compares rows whose order says nothing, and sorts them.
func equalBags(a, b []string) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// progressed waits until the copies have grown, or the engine has ended.
func progressed(t testing.TB, conn *pgx.Conn, schema string, e *engine, than int) (rows int) {
	t.Helper()
	until(t, fmt.Sprintf("there are more than %d rows", than), func() bool {
		if e.over() {
			return true
		}
		if rowsOf(t, conn, "SELECT to_regclass('"+schema+".copies') IS NULL")[0] == "t" {
			return false
		}
		if _, err := fmt.Sscan(rowsOf(t, conn, "SELECT count(*) FROM "+schema+".copies")[0], &rows); err != nil {
			t.Fatal(err)
		}
		return rows > than
	})
	return rows
}

func moment(r *rand.Rand) { <-time.After(time.Duration(r.IntN(150)) * time.Millisecond) }

func TestEngineIsKilled(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	script := s.pipeline(t, schema)
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 7))
	rows := -1
	for range rounds() {
		e := startEngine(t, script)
		rows = progressed(t, conn, schema, e, rows)
		moment(r)
		e.kill()
	}
	e := startEngine(t, script)
	until(t, "the engine has ended", e.over)
	check(t, conn, schema, script, e)
}

// An engine that stands still while another one takes over, and wakes.
func TestStoppedEngineWakes(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	script := s.pipeline(t, schema)
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 8))
	first := startEngine(t, script)
	progressed(t, conn, schema, first, 0)
	moment(r)
	first.signal(syscall.SIGSTOP)
	// The second works on a copy of the checkpoint, as on a machine to which the volume
	// has moved: nothing but the database stands between the two.
	copied := filepath.Join(t.TempDir(), "p.sql")
	copyAll(t, filepath.Dir(script), filepath.Dir(copied))
	second := startEngine(t, copied)
	until(t, "the second engine has ended", second.over)
	first.signal(syscall.SIGCONT)
	until(t, "the first engine has ended", func() bool {
		select {
		case <-first.ended:
			return true
		default:
			return false
		}
	})
	// It is refused by the database, or sees there before that others went on.
	if text := first.errors.String(); first.cmd.ProcessState.Success() || !strings.Contains(text, "fenced by a newer term") && !strings.Contains(text, "is ahead of the") {
		t.Errorf("the engine that woke went on: %s", text)
	}
	check(t, conn, schema, script, second)
}

// copyAll copies a folder. What its files name stays where it is.
func copyAll(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
}

func TestServerIsKilled(t *testing.T) {
	s := ownServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	script := s.pipeline(t, schema)
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 9))
	e := startEngine(t, script)
	rows := -1
	for range rounds() {
		rows = progressed(t, conn, schema, e, rows)
		moment(r)
		s.kill(t)
		moment(r)
		s.up(t)
		conn = s.connect(t)
	}
	until(t, "the engine has ended", e.over)
	check(t, conn, schema, script, e)
}

// A table that is looked up changes all the time. What batches were answered has to be
// the same when they run again: the engine compares the digests of the counts' state.
func TestEngineThatLooksUpIsKilled(t *testing.T) {
	s := theServer(t)
	conn, other := s.connect(t), s.connect(t)
	schema := s.schema(t, conn)
	exec1(t, conn, "CREATE TABLE "+schema+".dim (k int PRIMARY KEY, name text); INSERT INTO "+schema+".dim SELECT i, 'first' FROM generate_series(0, 40) i")
	text := "SET 'checkpoint.interval' = '400ms';\n" +
		fmt.Sprintf("CREATE TABLE src (id BIGINT, k BIGINT, p AS PROCTIME()) WITH ('connector'='datagen', 'number-of-rows'='%d', 'rows-per-second'='3000', 'max-rows-per-trigger'='100', 'split-rows'='20', "+
			"'fields.id.kind'='sequence', 'fields.id.start'='0', 'fields.k.min'='0', 'fields.k.max'='60');\n", inputRows) +
		"CREATE TABLE dim (k INT, name STRING) " + s.with(schema+".dim", ", 'lookup.cache-ttl'='20ms'") + ";\n" +
		"CREATE TABLE copies (id BIGINT, name STRING) " + s.with(schema+".copies", ", 'create-table'='true'") + ";\n" +
		"CREATE TABLE counts (name STRING, n BIGINT, PRIMARY KEY (name) NOT ENFORCED) " + s.with(schema+".counts", ", 'create-table'='true'") + ";\n" +
		"CREATE STREAMING QUERY q OUTPUT MODE update AS BEGIN\n" +
		"INSERT INTO copies SELECT s.id, d.name FROM src s LEFT JOIN dim FOR SYSTEM_TIME AS OF s.p AS d ON s.k = d.k;\n" +
		"INSERT INTO counts SELECT coalesce(d.name, 'nobody') AS name, count(*) AS n FROM src s LEFT JOIN dim FOR SYSTEM_TIME AS OF s.p AS d ON s.k = d.k GROUP BY coalesce(d.name, 'nobody');\nEND;\n"
	script := filepath.Join(t.TempDir(), "p.sql")
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 10))
	change := func() {
		exec1(t, other, fmt.Sprintf("UPDATE %s.dim SET name = 'name %d' WHERE k %% 3 = %d", schema, r.IntN(1000), r.IntN(3)))
	}
	rows := -1
	for range rounds() {
		e := startEngine(t, script)
		rows = progressed(t, conn, schema, e, rows)
		for range 5 {
			change()
			moment(r)
		}
		e.kill()
		change()
	}
	e := startEngine(t, script)
	until(t, "the engine has ended", func() bool { change(); return e.over() })
	if got := rowsOf(t, conn, "SELECT count(*), count(DISTINCT id) FROM "+schema+".copies"); got[0] != fmt.Sprintf("%d|%d", inputRows, inputRows) {
		t.Errorf("the copies are %s", got[0])
	}
	if got := rowsOf(t, conn, "SELECT sum(n), count(*) > 3 FROM "+schema+".counts"); got[0] != fmt.Sprintf("%d|t", inputRows) {
		t.Errorf("the counts are %s", got[0])
	}
	if got := rowsOf(t, conn, "SELECT n FROM "+schema+".counts WHERE name = 'nobody'"); got[0] != rowsOf(t, conn, "SELECT count(*) FROM "+schema+".copies WHERE name IS NULL")[0] {
		t.Errorf("%s rows met nobody", got[0])
	}
}
