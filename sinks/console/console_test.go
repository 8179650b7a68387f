package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// printed returns a case that prints JSON, and reads back what was printed.
func printed(testing.TB) sinktest.Case {
	var out bytes.Buffer
	c := Connector(&out)
	spec := sinktest.Spec()
	spec.Options = options.Map{"format": "json"}
	return sinktest.Case{
		Open: func(t testing.TB) (sinks.Sink, sinks.WriterFactory) {
			s, w, err := c.New(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			return s, w
		},
		Visible: func(t testing.TB) []string {
			var lines []string
			for text := range strings.Lines(out.String()) {
				var row struct {
					Batch batch.ID
					Op    string
					Row   struct {
						ID   int64
						Name *string
					}
				}
				if err := json.Unmarshal([]byte(text), &row); err != nil || row.Op != "+I" {
					t.Fatalf("%q: %v", text, err)
				}
				name := ""
				if row.Row.Name != nil {
					name = *row.Row.Name
				}
				lines = append(lines, sinktest.Line(row.Row.ID, name, row.Row.Name != nil))
			}
			return lines
		},
		Volatile: true,
	}
}

func TestConformance(t *testing.T) {
	sinktest.Run(t, printed)
	sinktest.Discarded(t, printed(t))
}

// show runs batches of n, op and text through a console and returns what it printed.
func show(t *testing.T, mode sinks.Mode, oneShot bool, m options.Map, ops []sinks.Op) string {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: arrow.PrimitiveTypes.Int64},
		{Name: "at", Type: &arrow.TimestampType{Unit: arrow.Second, TimeZone: "UTC"}, Nullable: true},
	}, nil)
	var out bytes.Buffer
	spec := sinks.Spec{Name: "c#0", Table: "c", Query: "q", Schema: schema, Mode: mode, Options: m, Batch: oneShot, Zone: "Europe/Berlin"}
	s, w, err := Connector(&out).New(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	fields := schema.Fields()
	if ops != nil {
		fields = append(fields, arrow.Field{Name: sinks.OpColumn, Type: arrow.PrimitiveTypes.Int8})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	for i := range int64(3) {
		b.Field(0).(*array.Int64Builder).Append(i * 100)
		if i == 1 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(i * 3600))
		}
		if ops != nil {
			b.Field(2).(*array.Int8Builder).Append(int8(ops[i]))
		}
	}
	rec := b.NewRecordBatch()
	for id := range batch.ID(2) {
		wr, err := w.NewWriter(t.Context(), sinks.Attempt{Task: batch.TaskID{Batch: id}}, schema, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		parts := []batch.Prepared{}
		if id == 0 {
			if err := wr.Write(t.Context(), rec); err != nil {
				t.Fatal(err)
			}
		}
		p, err := wr.Prepare(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), id, 1, append(parts, p)); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

func TestForms(t *testing.T) {
	ops := []sinks.Op{sinks.Insert, sinks.UpdateBefore, sinks.Delete}
	for _, c := range []struct {
		name    string
		mode    sinks.Mode
		oneShot bool
		m       options.Map
		ops     []sinks.Op
		want    string
	}{
		{"table", sinks.Append, false, nil, nil, rule + "Batch: 0\n" + rule +
			"+-----+---------------------+\n|   n | at                  |\n+-----+---------------------+\n" +
			"|   0 | 1970-01-01 01:00:00 |\n| 100 | NULL                |\n| 200 | 1970-01-01 03:00:00 |\n+-----+---------------------+\n\n"},
		{"changes", sinks.Changelog, true, options.Map{"num-rows": "2", "truncate": "7"}, ops,
			"+----+-----+---------+\n| op |   n | at      |\n+----+-----+---------+\n| +I |   0 | 1970... |\n| -U | 100 | NULL    |\n+----+-----+---------+\n" +
				"only showing top 2 of 3 rows\n\n"},
		{"json", sinks.Changelog, false, options.Map{"format": "JSON"}, ops,
			`{"batch":0,"op":"+I","row":{"n":0,"at":"1970-01-01T01:00:00+01:00"}}` + "\n" +
				`{"batch":0,"op":"-U","row":{"n":100,"at":null}}` + "\n" +
				`{"batch":0,"op":"-D","row":{"n":200,"at":"1970-01-01T03:00:00+01:00"}}` + "\n"},
		{"csv", sinks.Update, false, options.Map{"format": "csv"}, ops,
			"batch,op,n,at\n0,+I,0,1970-01-01 01:00:00\n0,-U,100,\n0,-D,200,1970-01-01 03:00:00\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := show(t, c.mode, c.oneShot, c.m, c.ops); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestFaults(t *testing.T) {
	for want, m := range map[string]options.Map{
		"want one of table, json, csv": {"format": "xml"},
		"'num-rows' = '-1'":            {"num-rows": "-1"},
		"'truncate' = 'maybe'":         {"truncate": "maybe"},
		`did you mean "truncate"?`:     {"trunkate": "1"},
	} {
		spec := sinktest.Spec()
		spec.Options = m
		if _, _, err := Connector(&bytes.Buffer{}).New(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	spec := sinktest.Spec()
	spec.Zone = "Nowhere/Land"
	if _, _, err := Connector(&bytes.Buffer{}).New(t.Context(), spec); err == nil {
		t.Error("took an unknown zone")
	}
}

type brokenWriter struct{ err error }

func (b *brokenWriter) Write(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	return len(p), nil
}

func TestBrokenTerminalIsTriedAgain(t *testing.T) {
	w := &brokenWriter{err: fmt.Errorf("no terminal")}
	spec := sinktest.Spec()
	spec.Options = options.Map{"format": "csv"}
	s, _, err := Connector(w).New(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), 0, 1, nil); !errors.Is(err, w.err) {
		t.Errorf("got %v", err)
	}
	if id, _, _ := s.Holds(t.Context()); id != batch.None {
		t.Errorf("holds batch %d, which was not printed", id)
	}
	w.err = nil
	if err := s.Commit(t.Context(), 0, 1, nil); err != nil {
		t.Error(err)
	}
}
