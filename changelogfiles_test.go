package sluice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// writeFile puts a file where a stream looks, whole.
func writeFile(t *testing.T, path, text string) {
	t.Helper()
	hidden := filepath.Join(filepath.Dir(path), ".part")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hidden, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(hidden, path); err != nil {
		t.Fatal(err)
	}
}

// TestDebeziumThroughAQuery feeds events to a query whose changes are written as events
// again, and holds what those add up to against the batch answer after each file.
func TestDebeziumThroughAQuery(t *testing.T) {
	for _, sink := range []string{"'format'='debezium-json'", "'format'='json', 'changelog.op-column'='op'", "'format'='csv', 'changelog.op-column'='op'"} {
		t.Run(sink, func(t *testing.T) {
			s, dir := changesSession(t), t.TempDir()
			ddl := fmt.Sprintf("CREATE TABLE t (id INT, k STRING) WITH ('connector'='filesystem', 'path'='%s/in', 'format'='debezium-json');"+
				"CREATE TABLE o (k STRING, n BIGINT) WITH ('connector'='filesystem', 'path'='%s/out', %s)", dir, dir, sink)
			writeFile(t, filepath.Join(dir, "in", "0.json"), `{"after":{"id":1,"k":"a"},"op":"r"}`+"\n"+`{"after":{"id":2,"k":"b"},"op":"c"}`)
			for _, st := range strings.Split(ddl, ";") {
				if err := s.Exec(t.Context(), st); err != nil {
					t.Fatal(err)
				}
			}
			query := s.Table("t").GroupBy("k").Agg(Count().As("n"))
			q, err := query.WriteTo("o").Mode(Changelog).Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i, events := range []string{
				`null`,
				`{"before":{"id":2,"k":"b"},"after":{"id":2,"k":"a"},"op":"u"}`,
				`{"schema":{},"payload":{"before":{"id":1,"k":"a"},"op":"d"}}` + "\n" + `{"after":{"id":3,"k":"c \"d\""},"op":"c"}`,
			} {
				writeFile(t, filepath.Join(dir, "in", fmt.Sprint(i+1, ".json")), events)
				if err := q.ProcessAllAvailable(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got, want := rowsText(t, s.Table("o")), rowsText(t, query); got != want {
					t.Errorf("file %d: written are %q, the batch answer is %q", i, got, want)
				}
			}
			q.Stop()
			if err := q.Await(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDebeziumBadEvents holds that an event which cannot be read is set aside whole,
// and comes again when it is repaired.
func TestDebeziumBadEvents(t *testing.T) {
	s, dir := changesSession(t), t.TempDir()
	writeFile(t, filepath.Join(dir, "in", "0.json"), `{"after":{"id":1,"k":"a"},"op":"c"}`+"\n"+`{"before":{"id":1,"k":"a"},"after":{"id":"one","k":"b"},"op":"u"}`+"\n"+`{"op":"d"}`)
	err := s.Exec(t.Context(), "CREATE TABLE t (id INT, k STRING) WITH ('connector'='filesystem', 'path'='"+dir+"/in', 'format'='debezium-json', 'debezium-json.ignore-parse-errors'='true')")
	if err != nil {
		t.Fatal(err)
	}
	if got := rowsText(t, s.Table("t")); got != "1 a" {
		t.Errorf("left are %q, want the first row", got)
	}
	reasons := rowsText(t, s.MemoryTable("quarantine").Select("line", "reason"))
	if !strings.HasPrefix(reasons, "2 ") || !strings.Contains(reasons, ", 3 ") || !strings.Contains(reasons, `field "id"`) || !strings.Contains(reasons, `does not tell the row "before" it`) {
		t.Errorf("set aside is %q", reasons)
	}
}

// TestModesOfChangingTables holds which output modes a table that changes can have.
func TestModesOfChangingTables(t *testing.T) {
	s, dir := changesSession(t), t.TempDir()
	writeFile(t, filepath.Join(dir, "in", "0.csv"), "op,id,v\nI,1,a\n")
	for name, more := range map[string]string{"plain": ") WITH (", "keyed": ", PRIMARY KEY (id) NOT ENFORCED) WITH (", "latest": ", PRIMARY KEY (id) NOT ENFORCED) WITH ('changelog'='upsert', "} {
		if err := s.Exec(t.Context(), "CREATE TABLE "+name+" (id INT, v STRING"+more+"'connector'='filesystem', 'path'='"+dir+"/in', 'format'='csv', 'changelog.op-column'='op')"); err != nil {
			t.Fatal(err)
		}
	}
	start := func(name string, mode Mode) error {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		q, err := s.Table(name).Where("v = 'a'").WriteToMemory(name + "_" + string(mode)).Mode(mode).Start(ctx)
		if err != nil {
			return err
		}
		q.Stop()
		return q.Await(t.Context())
	}
	for _, c := range []struct {
		table string
		mode  Mode
		want  string
	}{
		{"plain", Append, `the rows of table "plain" are changed`}, {"keyed", Append, `"keyed"`}, {"latest", Append, `"latest"`},
		{"plain", Update, "the result has none"}, {"keyed", Update, ""}, {"latest", Update, ""},
		{"plain", Changelog, ""}, {"keyed", Changelog, ""}, {"latest", Changelog, ""}, {"plain", Complete, ""}, {"latest", Complete, ""},
	} {
		err := start(c.table, c.mode)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s in mode %s: %v, want %q", c.table, c.mode, err, c.want)
		}
	}
}

// TestEqualRowsOfTasksMeet holds that rows which one task takes back and another puts
// out are no changes of a result without a key: the random streams found a batch whose
// replay on other tasks put out other rows.
func TestEqualRowsOfTasksMeet(t *testing.T) {
	for _, parallelism := range []string{"1", "4"} {
		s, err := NewSession(Options{CheckpointDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler), Settings: map[string]string{"parallelism": parallelism}})
		if err != nil {
			t.Fatal(err)
		}
		dir, rows := t.TempDir(), int64(0)
		writeFile(t, filepath.Join(dir, "0.csv"), "op,id,k\n"+strings.Repeat("I,1,a\nI,2,b\nI,3,c\n", 2))
		err = s.Exec(t.Context(), "CREATE TABLE t (id INT, k STRING, PRIMARY KEY (id, k) NOT ENFORCED) WITH ('connector'='filesystem', 'path'='"+dir+"', 'format'='csv', 'changelog'='upsert', 'changelog.op-column'='op')")
		if err != nil {
			t.Fatal(err)
		}
		q, err := s.Table("t").Select("id").ForeachBatch(func(_ context.Context, _ int64, recs []arrow.RecordBatch) error {
			for _, r := range recs {
				rows += r.NumRows()
			}
			return nil
		}).Mode(Changelog).Start(t.Context())
		if err == nil {
			err = q.ProcessAllAvailable(t.Context())
		}
		if err != nil || rows != 3 {
			t.Fatalf("%d rows (%v), want 3", rows, err)
		}
		writeFile(t, filepath.Join(dir, "1.csv"), "op,id,k\nD,1,a\nI,1,x\nD,2,b\nI,2,y\nD,3,c\nI,3,z\n")
		if err := q.ProcessAllAvailable(t.Context()); err != nil || rows != 3 {
			t.Errorf("parallelism %s: %d rows (%v) after the same rows under other keys, want 3", parallelism, rows, err)
		}
		q.Stop()
		if err := errors.Join(q.Await(t.Context()), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestClocksOverChangingTables holds that what depends on the clock is refused over rows
// that are taken back, and nowhere else.
func TestClocksOverChangingTables(t *testing.T) {
	s, dir := changesSession(t), t.TempDir()
	writeFile(t, filepath.Join(dir, "0.csv"), "op,id\n")
	for name, more := range map[string]string{"changes": ", 'changelog.op-column'='op'", "grows": ""} {
		if err := s.Exec(t.Context(), "CREATE TABLE "+name+" (id INT) WITH ('connector'='filesystem', 'path'='"+dir+"', 'format'='csv'"+more+")"); err != nil {
			t.Fatal(err)
		}
		for _, query := range []string{"SELECT id, now() FROM ", "SELECT id FROM %s WHERE now() > TIMESTAMP '2020-01-01 00:00:00'", "SELECT id, rand() FROM "} {
			if query = strings.Replace(query, "%s", name, 1); strings.HasSuffix(query, " ") {
				query += name
			}
			d, err := s.SQL(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := d.Count(t.Context()); err != nil || name == "changes" && n != 0 {
				t.Errorf("%s as a batch: %v", query, err)
			}
			_, err = d.WriteToMemory("x").Mode(Complete).Start(t.Context())
			if refused := err != nil && strings.Contains(err.Error(), "is taken back"); refused != (name == "changes") {
				t.Errorf("%s as a stream: %v", query, err)
			}
			for _, q := range s.Queries() {
				q.Stop()
				if err := q.Await(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestEventTimeOfChangingTables holds what a watermark closes over rows that are taken
// back: windows of a fixed size, of which what comes late is left out, and no sessions.
func TestEventTimeOfChangingTables(t *testing.T) {
	s, dir := changesSession(t), t.TempDir()
	writeFile(t, filepath.Join(dir, "0.csv"), "op,k,ts\nI,a,2024-01-01 00:00:01\nI,a,2024-01-01 00:00:03\nI,b,2024-01-01 00:00:04\nI,a,2024-01-01 00:00:12\n")
	err := s.Exec(t.Context(), "CREATE TABLE t (k STRING, ts TIMESTAMP_NTZ, WATERMARK FOR ts AS ts - INTERVAL '0' SECOND) WITH ('connector'='filesystem', 'path'='"+dir+"', 'format'='csv', 'changelog.op-column'='op', 'max-files-per-trigger'='1')")
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.SQL(t.Context(), "SELECT k, window_start, count(*) AS n FROM SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL '5' SECOND) GROUP BY k, window_start, window_end")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.WriteToMemory("s0").Mode(Append).Start(t.Context()); err == nil || !strings.Contains(err.Error(), "append") {
		t.Errorf("sessions of rows that are taken back, in append mode: %v", err)
	}
	tumble, err := s.SQL(t.Context(), "SELECT k, window_start, count(*) AS n FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND) GROUP BY k, window_start, window_end")
	if err != nil {
		t.Fatal(err)
	}
	q1, err := session.WriteToMemory("s1").Mode(Complete).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	q2, err := tumble.WriteToMemory("t1").Mode(Append).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	process := func() {
		for _, q := range []*Query{q1, q2} {
			if err := q.ProcessAllAvailable(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	process()
	const closed = "a 2024-01-01 00:00:00 2, b 2024-01-01 00:00:00 1"
	text := func(name string) string {
		return strings.ReplaceAll(rowsText(t, s.MemoryTable(name)), " +0000 UTC", "")
	}
	if got := text("t1"); got != closed {
		t.Errorf("closed are %q, want %q", got, closed)
	}
	// A row of a closed window goes, and one of an open window comes and goes.
	writeFile(t, filepath.Join(dir, "1.csv"), "op,k,ts\nD,a,2024-01-01 00:00:03\nI,c,2024-01-01 00:00:15\n-U,a,2024-01-01 00:00:12\n+U,a,2024-01-01 00:00:13\n")
	process()
	writeFile(t, filepath.Join(dir, "2.csv"), "op,k,ts\nD,c,2024-01-01 00:00:15\nI,d,2024-01-01 00:00:30\n")
	process()
	if got, want := text("t1"), "a 2024-01-01 00:00:00 2, a 2024-01-01 00:00:10 1, b 2024-01-01 00:00:00 1"; got != want {
		t.Errorf("closed are %q, want %q: what is late must not count, what is on time must", got, want)
	}
	if got, want := rowsText(t, s.MemoryTable("s1")), rowsText(t, session); got != want {
		t.Errorf("the sessions are %q, in batch %q", got, want)
	}
	for _, q := range []*Query{q1, q2} {
		q.Stop()
		if err := q.Await(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestChangesThatCannotBeComputed holds that such a change is set aside, with the one
// that takes its row back, and does not come again alone.
func TestChangesThatCannotBeComputed(t *testing.T) {
	s, dir := changesSession(t), t.TempDir()
	writeFile(t, filepath.Join(dir, "0.csv"), "op,a,b\nI,1,0\nI,4,2\nI,6,3\n-U,1,0\n+U,1,1\nD,6,3\n")
	for _, st := range []string{
		"SET 'errors.policy' = 'quarantine'",
		"CREATE TABLE t (a INT, b INT) WITH ('connector'='filesystem', 'path'='" + dir + "', 'format'='csv', 'changelog.op-column'='op')",
	} {
		if err := s.Exec(t.Context(), st); err != nil {
			t.Fatal(err)
		}
	}
	d, err := s.SQL(t.Context(), "SELECT a div b AS q, count(*) AS n FROM t GROUP BY a div b")
	if err != nil {
		t.Fatal(err)
	}
	q, err := d.WriteToMemory("o").Mode(Complete).Name("q").Start(t.Context())
	if err == nil {
		err = q.ProcessAllAvailable(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := rowsText(t, s.MemoryTable("o")); got != "1 1, 2 1" {
		t.Errorf("got %q", got)
	}
	if err := s.Exec(t.Context(), "REPLAY QUARANTINE q"); err == nil || !strings.Contains(err.Error(), "is a changelog") {
		t.Errorf("changes come again: %v", err)
	}
	q.Stop()
	if err := q.Await(t.Context()); err != nil {
		t.Error(err)
	}
}
