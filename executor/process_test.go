package executor

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// scriptedProcessor counts rows, and sets timers that set others.
type scriptedProcessor struct {
	c     *logical.ProcessContext
	state int
	chain int
}

func (s *scriptedProcessor) Open(c *logical.ProcessContext) (err error) {
	s.c = c
	s.state, err = c.State.Declare(logical.StateDecl{Name: "n", Kind: logical.ValueState})
	return err
}

func (s *scriptedProcessor) Rows(rec arrow.RecordBatch, from, to int, _ logical.ProcessInput) error {
	n := byte(to - from)
	if _, err := s.c.State.Get(s.state, nil, func(v []byte) error { n += v[0]; return nil }); err != nil {
		return err
	}
	if err := s.c.State.Put(s.state, nil, []byte{n}); err != nil {
		return err
	}
	for _, at := range rec.Column(1).(*array.Int64).Int64Values()[from:to] {
		if err := s.c.Timers.Set(batch.EventTime(at), false); err != nil {
			return err
		}
	}
	return nil
}

func (s *scriptedProcessor) Timer(at batch.EventTime, _ bool) error {
	if s.chain != 0 && at%10 != 5 {
		if err := s.c.Timers.Set(at+batch.EventTime(s.chain), false); err != nil {
			return err
		}
	}
	s.c.Out.Builders(0)[0].(*array.Int64Builder).Append(int64(at))
	return s.c.Out.Done(0, false)
}

func (s *scriptedProcessor) Close() error { return nil }

// processPlan scans (k, v), exchanges by k and processes.
func processPlan(def *logical.ProcessDef, operator string) *physical.Plan {
	in := arrow.NewSchema([]arrow.Field{{Name: "k", Type: tString, Nullable: true}, {Name: "v", Type: tInt, Nullable: true}}, nil)
	keys := exprs(column(in, 0))
	p := &physical.Process{
		In: []physical.Node{&physical.ExchangeRead{Stage: 0, Out: in}}, Keys: [][]expr.Expr{keys}, Of: []logical.ProcessInput{logical.MainRows}, Orders: []expr.Expr{nil}, OnTime: []int{-1}, Def: def, Operator: operator,
		KeyFields: in.Fields()[:1], Out: arrow.NewSchema([]arrow.Field{in.Field(0), {Name: "at", Type: tInt}}, nil),
	}
	return &physical.Plan{Stages: []*physical.Stage{
		{ID: 0, Kind: physical.Splits, Sources: []string{"t"}, Output: physical.ToHash{Keys: keys},
			Root: &physical.Scan{Source: "t", Columns: []int{0, 1}, Out: in}},
		{ID: 1, Kind: physical.Hash, Inputs: []int{0}, Output: physical.ToClient{}, Root: p},
	}}
}

func processDef(p func() logical.Processor) *logical.ProcessDef {
	return &logical.ProcessDef{Name: "p", New: p, Outputs: []logical.ProcessOutput{{Schema: arrow.NewSchema([]arrow.Field{{Name: "at", Type: tInt}}, nil)}}}
}

func feed(t *testing.T, alloc memory.Allocator, rows ...string) *memSource {
	k, v := array.NewStringBuilder(alloc), array.NewInt64Builder(alloc)
	defer k.Release()
	defer v.Release()
	for _, r := range rows {
		key, at, _ := strings.Cut(r, "@")
		k.Append(key)
		if err := v.AppendValueFromString(at); err != nil {
			t.Fatal(err)
		}
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "k", Type: tString, Nullable: true}, {Name: "v", Type: tInt, Nullable: true}}, nil)
	rec := newBatch(schema, []arrow.Array{k.NewArray(), v.NewArray()}, len(rows))
	return &memSource{splits: [][]arrow.RecordBatch{{rec}}}
}

// TestTimersFireInOrderAndOnce sets timers in one batch, fires some by the watermark
// in the next, those that they set in between at their place, and the rest at the end.
func TestTimersFireInOrderAndOnce(t *testing.T) {
	for _, parts := range []int{1, 3} {
		alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
		def := processDef(func() logical.Processor { return &scriptedProcessor{chain: 5} })
		e := newEngine(t, alloc, processPlan(def, "p"), parts)
		step := func(id batch.ID, closing batch.EventTime, rows []string, want ...string) {
			t.Helper()
			e.sources["t"] = feed(t, alloc, rows...)
			got := e.run(id, closing, closing)
			e.sources["t"].release()
			byKey := map[string][]string{}
			for _, g := range got {
				k, at, _ := strings.Cut(strings.TrimSuffix(strings.ReplaceAll(g, `"`, ""), "|"), "|")
				byKey[k] = append(byKey[k], at)
			}
			var lines []string
			for k, at := range byKey {
				lines = append(lines, k+":"+strings.Join(at, ","))
			}
			slices.Sort(lines)
			if !slices.Equal(lines, want) {
				t.Errorf("parts %d batch %d: got %q want %q", parts, id, lines, want)
			}
		}
		step(0, batch.NoTime, []string{"a@10", "b@20", "a@30", "c@1000", "d@20", "d@30"})
		step(1, 12, []string{"a@5"}, "a:5,10")
		step(2, 32, []string{"b@20"}, "a:15,30", "b:20,25", "d:20,25,30")
		step(3, batch.EndOfTime, nil, "a:35", "c:1000,1005", "d:35")
		e.close()
		alloc.AssertSize(t, 0)
	}
}

// TestEndlessTimersStop ends a batch whose timers never end.
func TestEndlessTimersStop(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	def := processDef(func() logical.Processor { return &scriptedProcessor{chain: 10} })
	for _, operator := range []string{"p", ""} {
		e := newEngine(t, alloc, processPlan(def, operator), 1)
		e.sources["t"] = feed(t, alloc, "a@10")
		if _, err := e.runTask(e.plan.Stages[0], 0, 0, batch.NoTime, batch.EndOfTime); err != nil {
			t.Fatal(err)
		}
		_, err := e.runTask(e.plan.Stages[1], 0, 0, batch.NoTime, batch.EndOfTime)
		if err == nil || !strings.Contains(err.Error(), "key [a]: its timers set others") {
			t.Errorf("got %v", err)
		}
		if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("the error is %s", k)
		}
		e.sources["t"].release()
		e.close()
	}
	alloc.AssertSize(t, 0)
}

// TestProcessBatchIsTheStream runs the same rows at once and batch by batch.
func TestProcessBatchIsTheStream(t *testing.T) {
	var rows []string
	for i := range 500 {
		rows = append(rows, fmt.Sprintf("k%d@%d", i*7%23, i*i%977*10))
	}
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	run := func(operator string, parts, batches int) []string {
		e := newEngine(t, alloc, processPlan(processDef(func() logical.Processor { return &scriptedProcessor{chain: 5} }), operator), parts)
		defer e.close()
		var out []string
		for b := range batches {
			e.sources["t"] = feed(t, alloc, rows[len(rows)*b/batches:len(rows)*(b+1)/batches]...)
			closing := batch.NoTime
			if b == batches-1 {
				closing = batch.EndOfTime
			}
			out = append(out, e.run(batch.ID(b), closing, closing)...)
			e.sources["t"].release()
		}
		slices.Sort(out)
		return out
	}
	want := run("", 1, 1)
	if len(want) < 600 {
		t.Fatalf("%d rows", len(want))
	}
	for _, c := range [][2]int{{1, 1}, {2, 1}, {3, 7}} {
		if got := run("p", c[0], c[1]); !slices.Equal(got, want) {
			t.Errorf("%d parts and %d batches: %d rows, want %d", c[0], c[1], len(got), len(want))
		}
	}
	alloc.AssertSize(t, 0)
}

// TestStateEvolution holds what a state may become.
func TestStateEvolution(t *testing.T) {
	a, b, c := logical.StateField{Name: "a", Type: "int64"}, logical.StateField{Name: "b", Type: "utf8", Nullable: true}, logical.StateField{Name: "c", Type: "utf8"}
	decl := func(k logical.StateKind, fs ...logical.StateField) *logical.StateDecl {
		return &logical.StateDecl{Name: "s", Kind: k, Fields: fs}
	}
	for _, x := range []struct {
		was, is *logical.StateDecl
		why     string
	}{
		{decl(logical.ValueState, a), decl(logical.ValueState, a, b), ""},
		{decl(logical.ValueState, a), decl(logical.ValueState, a, c), "field c is new and cannot be NULL"},
		{decl(logical.ValueState, a, b), decl(logical.ValueState, a), "field b utf8 is gone"},
		{decl(logical.ValueState, a), decl(logical.ValueState, b, a), "field 1 was a, now it is b"},
		{decl(logical.ValueState, a), decl(logical.ListState, a), "it was a value, now it is a list"},
	} {
		if why := grows(x.was, x.is); !strings.HasPrefix(why, x.why) || x.why == "" && why != "" {
			t.Errorf("%v to %v: %q, want %q", x.was, x.is, why, x.why)
		}
	}
}
