package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	fresh := func(t testing.TB) sinktest.Case {
		tables := NewTables()
		t.Cleanup(tables.Close)
		c := Connector(tables)
		return sinktest.Case{
			Open: func(t testing.TB) (sinks.Sink, sinks.WriterFactory) {
				s, w, err := c.New(t.Context(), sinktest.Spec())
				if err != nil {
					t.Fatal(err)
				}
				return s, w
			},
			Visible: func(t testing.TB) []string {
				table, _ := tables.Get("out")
				var lines []string
				for _, rec := range table.Snapshot() {
					ids, names := rec.Column(0).(*array.Int64), rec.Column(1).(*array.String)
					for i := range ids.Len() {
						lines = append(lines, sinktest.Line(ids.Value(i), names.Value(i), names.IsValid(i)))
					}
					rec.Release()
				}
				if table.NumRows() != int64(len(lines)) {
					t.Errorf("the table counts %d rows and shows %d", table.NumRows(), len(lines))
				}
				return lines
			},
			Volatile: true,
		}
	}
	sinktest.Run(t, fresh)
	sinktest.Discarded(t, fresh(t))
}

var schema = arrow.NewSchema([]arrow.Field{
	{Name: "k", Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

type change struct {
	op sinks.Op
	k  int64
	v  string
}

// fixture writes batches of changes to a table.
type fixture struct {
	t      rapid.TB
	tables *Tables
	sink   sinks.Sink
	w      sinks.WriterFactory
	mem    *memory.CheckedAllocator
	next   batch.ID
}

func newFixture(t rapid.TB, mode sinks.Mode, keys ...string) *fixture {
	f := &fixture{t: t, tables: NewTables(), mem: memory.NewCheckedAllocator(memory.NewGoAllocator())}
	spec := sinks.Spec{Name: "out#0", Table: "out", Query: "q", Schema: schema, Keys: keys, Mode: mode, Options: options.Map{"keep-batches": "2"}}
	var err error
	if f.sink, f.w, err = Connector(f.tables).New(context.Background(), spec); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) commit(changes ...change) {
	withOps := arrow.NewSchema(append(schema.Fields(), arrow.Field{Name: sinks.OpColumn, Type: arrow.PrimitiveTypes.Int8}), nil)
	b := array.NewRecordBuilder(f.mem, withOps)
	defer b.Release()
	for _, c := range changes {
		b.Field(0).(*array.Int64Builder).Append(c.k)
		b.Field(1).(*array.StringBuilder).Append(c.v)
		b.Field(2).(*array.Int8Builder).Append(int8(c.op))
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	w, err := f.w.NewWriter(context.Background(), sinks.Attempt{Task: batch.TaskID{Batch: f.next}}, withOps, f.mem)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := w.Write(context.Background(), rec); err != nil {
		f.t.Fatal(err)
	}
	p, err := w.Prepare(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.sink.Commit(context.Background(), f.next, 1, []batch.Prepared{p}); err != nil {
		f.t.Fatal(err)
	}
	f.next++
}

func (f *fixture) rows() []string {
	table, _ := f.tables.Get("out")
	out := []string{}
	for _, rec := range table.Snapshot() {
		for i := range int(rec.NumRows()) {
			out = append(out, rec.Column(0).ValueStr(i)+rec.Column(1).ValueStr(i))
		}
		rec.Release()
	}
	if table.NumRows() != int64(len(out)) {
		f.t.Fatalf("the table counts %d rows and shows %d", table.NumRows(), len(out))
	}
	return out
}

func TestCompleteReplaces(t *testing.T) {
	f := newFixture(t, sinks.Complete)
	f.commit(change{sinks.Insert, 1, "a"}, change{sinks.Insert, 2, "b"})
	f.commit(change{sinks.Insert, 3, "c"})
	if got := f.rows(); !slices.Equal(got, []string{"3c"}) {
		t.Errorf("rows %v", got)
	}
	table, _ := f.tables.Get("out")
	f.commit()
	batches := table.Batches()
	if len(batches) != 2 || batches[0].ID != 1 || batches[1].ID != 2 || batches[0].Mode != sinks.Complete || batches[0].Records[0].NumRows() != 1 {
		t.Errorf("batches %v", batches)
	}
	for _, b := range batches {
		releaseAll(b.Records)
	}
	f.tables.Close()
	f.mem.AssertSize(t, 0)
}

// TestChangesLeaveTheRightRows compares with a plain map, or a plain multiset.
func TestChangesLeaveTheRightRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keyed := rapid.Bool().Draw(t, "keyed")
		var keys []string
		if keyed {
			keys = []string{"k"}
		}
		f := newFixture(t, rapid.SampledFrom([]sinks.Mode{sinks.Update, sinks.Changelog}).Draw(t, "mode"), keys...)
		byKey, bag := map[int64]string{}, map[string]int{}
		for range rapid.IntRange(1, 4).Draw(t, "batches") {
			var changes []change
			for range rapid.SampledFrom([]int{0, 3, 20, 900}).Draw(t, "size") {
				c := change{sinks.Op(rapid.IntRange(0, 3).Draw(t, "op")), rapid.Int64Range(0, 9).Draw(t, "k"), rapid.SampledFrom([]string{"a", "b"}).Draw(t, "v")}
				changes = append(changes, c)
				row := fmt.Sprint(c.k, c.v)
				if c.op == sinks.Insert || c.op == sinks.UpdateAfter {
					byKey[c.k] = c.v
					bag[row]++
				} else {
					delete(byKey, c.k)
					bag[row] = max(bag[row]-1, 0)
				}
			}
			f.commit(changes...)
		}
		want := []string{}
		if keyed {
			for k, v := range byKey {
				want = append(want, fmt.Sprintf("%d%s", k, v))
			}
		} else {
			for _, row := range slices.Sorted(maps.Keys(bag)) {
				for range bag[row] {
					want = append(want, strings.ReplaceAll(row, " ", ""))
				}
			}
		}
		slices.Sort(want)
		if got := f.rows(); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Fatalf("rows %v, want %v", got, want)
		}
		f.tables.Close()
	})
}

func TestGoneRowsAreNotKept(t *testing.T) {
	f := newFixture(t, sinks.Update, "k")
	var changes []change
	for k := range int64(100) {
		changes = append(changes, change{sinks.UpdateAfter, k, "x"})
	}
	for range 200 {
		f.commit(changes...)
	}
	table, _ := f.tables.Get("out")
	if table.state.held > 2*compactFrom || table.NumRows() != 100 {
		t.Errorf("%d rows are held for %d", table.state.held, table.NumRows())
	}
	f.tables.Close()
	f.mem.AssertSize(t, 0)
}

func TestFaults(t *testing.T) {
	tables := NewTables()
	defer tables.Close()
	c := Connector(tables)
	ok := sinks.Spec{Name: "out#0", Table: "out", Query: "q", Schema: schema}
	s, _, err := c.New(t.Context(), ok)
	if err != nil {
		t.Fatal(err)
	}
	for want, spec := range map[string]sinks.Spec{
		"unknown option":         {Table: "out", Schema: schema, Options: options.Map{"x": "1"}},
		"'keep-batches' = '-1'":  {Table: "out", Schema: schema, Options: options.Map{"keep-batches": "-1"}},
		`the key "z"`:            {Table: "out", Schema: schema, Keys: []string{"z"}},
		"exists with the schema": {Table: "o", Schema: sinktest.Schema(), Options: options.Map{"name": "out"}},
	} {
		if _, _, err := c.New(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	tables.Drop("out")
	if err := s.Commit(t.Context(), 0, 1, nil); err == nil {
		t.Error("a commit to a dropped table passed")
	}
	if names := tables.Names(); len(names) != 0 {
		t.Errorf("tables %v are left", names)
	}
}
