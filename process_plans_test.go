package sluice

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// changes puts out what it is told of each key.
type changes struct{ ProcessorBase }

func (changes) Process(c *ProcessorContext, _ Row, rows *Rows) error {
	var text []string
	for i := range rows.Len() {
		text = append(text, fmt.Sprintf("%s%v", [...]string{"+I", "-U", "+U", "-D"}[rows.Change(i)], rows.Value(i, rows.Index("n"))))
	}
	return c.Emit(strings.Join(text, " "))
}

// keySum keeps the sum of a column "v", as an output that is updated.
func keySum(s *DataFrame, name string) *DataFrame {
	return s.KeyBy("k").Process(name, func() Processor { return &totals{} }, "total BIGINT", UpdateBy())
}

func TestProcessStandsAnywhereInAPlan(t *testing.T) {
	s := openSession(t, Options{})
	st, err := s.CreateStream("st", schemaOf(t, s, "k STRING, v BIGINT"))
	if err != nil {
		t.Fatal(err)
	}
	feeds := []string{"a,1\nb,4", "a,4\nc,2", "b,3\na,2\nd,1"}
	sums := keySum(s.Table("st"), "sums")
	cases := []struct {
		name string
		d    *DataFrame
		mode Mode
	}{
		{"itself", sums, Complete},
		{"filtered and projected", sums.Where("k <> 'b' AND total > 1").Select(Col("total").Plus(1).As("x")), Complete},
		{"joined with itself", sums.As("l").Join(sums.As("r"), Col("l.k").Eq(Col("r.k")), "inner").Select("l.k", "r.total"), Complete},
		{"below another", keySum(sums.Select("k", Col("total").As("v")), "again").Select("k"), Complete},
	}
	var queries []*Query
	for i, c := range cases {
		q, err := c.d.WriteToMemory(fmt.Sprintf("m%d", i)).Mode(c.mode).Name(fmt.Sprintf("q%d", i)).Start(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		queries = append(queries, q)
	}
	told := &collected{}
	q, err := s.Table("st").GroupBy("k").Agg(Count().As("n")).KeyBy("k").Process("told", func() Processor { return changes{} }, "s STRING").
		ForeachBatch(told.add).Name("told").Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a|+I1 b|+I1", "a|-U1 +U2 c|+I1", "a|-U2 +U3 b|-U1 +U2 d|+I1"}
	for i, f := range feeds {
		add(t, st, f)
		process(t, q)
		if got := told.take(); got != want[i] {
			t.Errorf("changes of an aggregate: got %q want %q", got, want[i])
		}
		for j, c := range cases {
			process(t, queries[j])
			if c.name != "below another" { // it is told of changes, and adds up all
				same(t, c.name, rowsOf(t, s.MemoryTable(fmt.Sprintf("m%d", j))), rowsOf(t, c.d)...)
			}
		}
	}
	plan, err := sums.ExplainMode(t.Context(), "")
	if err != nil || !strings.Contains(plan, "Process sums -> [total int64] updates by []") {
		t.Errorf("%s %v", plan, err)
	}
	_, err = sums.WriteToMemory("no").Name("no").Start(t.Context())
	wantError(t, err, "output mode append needs results that never change")
}

// TestProcessKeepsLateRows hands on late rows unless it is told to drop them.
func TestProcessKeepsLateRows(t *testing.T) {
	for _, drop := range []bool{false, true} {
		s := openSession(t, Options{})
		must(t, s, "CREATE TABLE unused (a INT) WITH ('connector'='blackhole')")
		st, err := s.CreateStream("st", schemaOf(t, s, "k STRING, ts TIMESTAMP_NTZ"))
		if err != nil {
			t.Fatal(err)
		}
		var opts []ProcessOption
		if drop {
			opts = append(opts, DropLate("ts"))
		}
		seen := &collected{}
		q, err := s.Table("st").WithWatermark("ts", 0).KeyBy("k").Process("p", func() Processor {
			return &failing{process: func(c *ProcessorContext, _ Row, rows *Rows) error {
				w, ok := c.Watermark()
				return c.Emit(int64(rows.Len()), ok && !w.IsZero())
			}}
		}, "n BIGINT, marked BOOLEAN", opts...).ForeachBatch(seen.add).Name("q").Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		add(t, st, "a,2024-01-01 10:00:00")
		process(t, q)
		add(t, st, "a,2024-01-01 09:00:00\na,2024-01-01 11:00:00")
		process(t, q)
		want, late := "a|1|false a|2|true", int64(0)
		if drop {
			want, late = "a|1|false a|1|true", 1
		}
		if got := seen.take(); got != want || q.Progress().LateRows != late {
			t.Errorf("drop %t: got %q and %d late, want %q", drop, got, q.Progress().LateRows, want)
		}
	}
}

// count counts rows in a state.
type count struct {
	ProcessorBase
	n *ValueState[int64]
}

func (p *count) Open(c *ProcessorContext) error {
	p.n = NewValueState[int64](c, "n")
	return nil
}

func (p *count) Process(c *ProcessorContext, _ Row, rows *Rows) error {
	n, _, err := p.n.Get()
	n += int64(rows.Len())
	return errors.Join(err, p.n.Update(n), c.Emit(n))
}

// BenchmarkProcess runs a million rows of a hundred thousand keys through a state, as
// a batch and as a stream of ten batches.
func BenchmarkProcess(b *testing.B) {
	s := openSession(b, Options{Settings: map[string]string{"parallelism": "2"}})
	rows, err := s.SQL(b.Context(), "SELECT id % 100000 AS k, id AS v FROM range(1000000)")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("batch", func(b *testing.B) {
		for b.Loop() {
			d := rows.KeyBy("k").Process("count", func() Processor { return &count{} }, "n BIGINT").Agg(Sum(Col("n")))
			if got, err := d.Collect(b.Context()); err != nil || fmt.Sprint(got) != "[[1000000]]" {
				b.Fatal(got, err)
			}
		}
	})
	b.Run("stream", func(b *testing.B) {
		kept, err := rows.ToArrow(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		defer kept.Release()
		for i := 0; b.Loop(); i++ {
			st, err := s.CreateStream(fmt.Sprintf("st%d", i), kept.Schema())
			if err != nil {
				b.Fatal(err)
			}
			q, err := s.Table(fmt.Sprintf("st%d", i)).KeyBy("k").Process("count", func() Processor { return &count{} }, "n BIGINT").
				ForeachBatch(func(context.Context, int64, []arrow.RecordBatch) error { return nil }).Name(fmt.Sprintf("b%d", i)).Start(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for it := array.NewTableReader(kept, 100_000); it.Next(); n++ {
				if err := st.Add(it.RecordBatch()); err != nil {
					b.Fatal(err)
				}
				if n%10 == 9 {
					process(b, q)
				}
			}
			st.End()
			if err := q.Await(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
