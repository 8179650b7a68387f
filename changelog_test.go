package sluice

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

type item struct {
	ID   int64
	Name string
	N    *int64
}

func num(n int64) *int64 { return &n }

// changesSession keeps its checkpoints to itself.
func changesSession(t *testing.T) *Session {
	t.Helper()
	s, err := NewSession(Options{CheckpointDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// rowsText prints the rows of a query in order.
func rowsText(t *testing.T, d *DataFrame) string {
	t.Helper()
	var out []string
	for row, err := range d.Rows(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.Trim(fmt.Sprint([]any(row)), "[]"))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func TestFromChanges(t *testing.T) {
	s := changesSession(t)
	d := FromChanges(s, []Change[item]{
		{Insert, item{1, "a", num(5)}}, {Insert, item{2, "b", nil}}, {Insert, item{2, "b", nil}},
		{UpdateBefore, item{1, "a", num(5)}}, {UpdateAfter, item{1, "a", num(6)}}, {Delete, item{2, "b", nil}},
	})
	if got := rowsText(t, d); got != "1 a 6, 2 b <nil>" {
		t.Errorf("got %q", got)
	}
	if n, err := d.Where("Name = 'b'").Count(t.Context()); n != 1 || err != nil {
		t.Errorf("counted %d (%v), want 1", n, err)
	}
	_, err := FromChanges(s, []Change[item]{{Delete, item{3, "c", nil}}}).Count(t.Context())
	if err == nil || !strings.Contains(err.Error(), "take back a row that is not there") {
		t.Errorf("a row that is not there is taken back: %v", err)
	}
}

// TestStreamsOfChanges holds that a query over a stream of changes tells, after each
// batch, what the same query says of the rows that are there.
func TestStreamsOfChanges(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "ID", Type: arrow.PrimitiveTypes.Int64}, {Name: "Name", Type: arrow.BinaryTypes.String}, {Name: "N", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	}, nil)
	for name, opt := range map[string]StreamOption{"retract": Retractions(), "keyed": Retractions("ID"), "upsert": Upserts("ID")} {
		t.Run(name, func(t *testing.T) {
			s := changesSession(t)
			st, err := s.CreateStream("items", schema, opt)
			if err != nil {
				t.Fatal(err)
			}
			query := s.Table("items").GroupBy("Name").Agg(Sum(Col("N")).As("n"), Count().As("c"))
			q, err := query.WriteToMemory("out").Mode(Complete).Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var before []Change[item] // what an update takes back
			if name != "upsert" {
				before = []Change[item]{{UpdateBefore, item{1, "a", num(5)}}}
			}
			for i, step := range []struct {
				changes []Change[item]
				want    string
			}{
				{[]Change[item]{{Insert, item{1, "a", num(5)}}, {Insert, item{2, "b", num(7)}}, {Insert, item{3, "a", nil}}}, "a 5 2, b 7 1"},
				{append(before, Change[item]{UpdateAfter, item{1, "b", num(6)}}), "a <nil> 1, b 13 2"},
				{[]Change[item]{{Delete, item{3, "a", nil}}}, "b 13 2"},
			} {
				if err := AddChanges(st, step.changes...); err != nil {
					t.Fatal(err)
				}
				if err := q.ProcessAllAvailable(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := rowsText(t, s.MemoryTable("out")); got != step.want {
					t.Errorf("step %d: the stream has %q, want %q", i, got, step.want)
				}
				if got := rowsText(t, query); got != step.want {
					t.Errorf("step %d: the batch has %q, want %q", i, got, step.want)
				}
			}
			q.Stop()
			if err := q.Await(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestChangesThatCannotBe holds that what is wrong is told where it is declared.
func TestChangesThatCannotBe(t *testing.T) {
	s := changesSession(t)
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	if _, err := s.CreateStream("x", schema, Upserts()); err == nil || !strings.Contains(err.Error(), "PRIMARY KEY") {
		t.Errorf("upserts without a key: %v", err)
	}
	if _, err := s.CreateStream("x", schema, Upserts("b")); err == nil || !strings.Contains(err.Error(), `no column "b"`) {
		t.Errorf("upserts by a column that is not there: %v", err)
	}
	st, err := s.CreateStream("x", schema, Retractions())
	if err != nil {
		t.Fatal(err)
	}
	if err := AddChanges(st, Change[struct{ A string }]{}); err == nil || !strings.Contains(err.Error(), "field 1 of the changes") {
		t.Errorf("changes of another type: %v", err)
	}
	path := t.TempDir()
	with := " WITH ('connector'='filesystem', 'path'='" + path + "', 'format'="
	for text, want := range map[string]string{
		"(a INT)" + with + "'csv', 'changelog'='retract')":                                  "changelog.op-column",
		"(a INT)" + with + "'csv', 'changelog'='upsert')":                                   "declare PRIMARY KEY",
		"(a INT, op STRING)" + with + "'csv', 'changelog.op-column'='OP')":                  "no column of the table",
		"(a INT)" + with + "'parquet', 'changelog.op-column'='op')":                         "for the formats csv and json",
		"(a INT)" + with + "'debezium-json', 'changelog'='none')":                           "use retract or upsert",
		"(a INT, f STRING METADATA FROM 'file.name')" + with + "'debezium-json')":           "metadata 'file.name'",
		"(a INT, b AS rand())" + with + "'debezium-json')":                                  `computed column "b"`,
		"(a INT, b AS now())" + with + "'debezium-json')":                                   `computed column "b"`,
		"(a INT, s STRING METADATA FROM 'value.source.tables')" + with + "'debezium-json')": "value.source.table",
	} {
		if err := s.Exec(t.Context(), "CREATE OR REPLACE TABLE t "+text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("CREATE TABLE t %s: %v, want %q", text, err, want)
		}
	}
}
