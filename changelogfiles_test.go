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
