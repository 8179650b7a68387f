package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
)

// memSource serves record batches; a split names one of its lists.
type memSource struct{ splits [][]arrow.RecordBatch }

func (m *memSource) Open(_ context.Context, s batch.Split, _ []int, _ memory.Allocator) (sources.Reader, error) {
	return &memReader{recs: m.splits[s.Index]}, nil
}

type memReader struct{ recs []arrow.RecordBatch }

func (m *memReader) Next(context.Context) (arrow.RecordBatch, error) {
	if len(m.recs) == 0 {
		return nil, io.EOF
	}
	rec := m.recs[0]
	m.recs = m.recs[1:]
	rec.Retain()
	return rec, nil
}

func (m *memReader) Close() error { return nil }

// mapState is a store of one version per shard, enough to see what operators do.
type mapState struct{ shards map[string]map[string]string }

func (m *mapState) begin(_ context.Context, shard batch.Shard, _ batch.ID) (statestore.Txn, error) {
	t := &mapTxn{m: m, shard: shard, name: shard.String(), rows: map[string]string{}}
	for k, v := range m.shards[t.name] {
		t.rows[k] = v
	}
	return t, nil
}

type mapTxn struct {
	m     *mapState
	shard batch.Shard
	name  string
	rows  map[string]string
}

func (t *mapTxn) Get(keys [][]byte, visit func(int, []byte) error) error {
	for i, k := range keys {
		if v, ok := t.rows[string(k)]; ok {
			if err := visit(i, []byte(v)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *mapTxn) Scan(start, end []byte, visit func(k, v []byte) (bool, error)) error {
	var keys []string
	for k := range t.rows {
		if k >= string(start) && (end == nil || k < string(end)) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if more, err := visit([]byte(k), []byte(t.rows[k])); err != nil || !more {
			return err
		}
	}
	return nil
}

// Put checks Y2: the exchange brought the row to the partition that owns its key group.
func (t *mapTxn) Put(k, v []byte) error {
	if g := int(k[0]); g < t.shard.FirstGroup || g >= t.shard.EndGroup {
		return fmt.Errorf("key group %d in shard %+v", g, t.shard)
	}
	t.rows[string(k)] = string(v)
	return nil
}

func (t *mapTxn) Delete(k []byte) error { delete(t.rows, string(k)); return nil }
func (t *mapTxn) Discard()              {}
func (t *mapTxn) Seal(context.Context) (statestore.Version, error) {
	t.m.shards[t.name] = t.rows
	return statestore.Version{Rows: int64(len(t.rows))}, nil
}

// engine runs plans in one goroutine, stage by stage.
type engine struct {
	t       testing.TB
	alloc   memory.Allocator
	plan    *physical.Plan
	parts   int
	sources map[string]*memSource
	state   *mapState
	outputs *exchange.Outputs
	tasks   map[int]*Task
	results []batch.TaskResult
	spill   string
	env     func(*Env)
	now     batch.EventTime
}

func newEngine(t testing.TB, alloc memory.Allocator, plan *physical.Plan, parts int) *engine {
	plan.Key = "test"
	e := &engine{t: t, alloc: alloc, plan: plan, parts: parts, sources: map[string]*memSource{},
		state: &mapState{shards: map[string]map[string]string{}}, outputs: exchange.New(exchange.Options{}), tasks: map[int]*Task{}}
	for _, s := range plan.Stages {
		task, err := Build(plan, s.ID)
		if err != nil {
			t.Fatal(err)
		}
		e.tasks[s.ID] = task
	}
	return e
}

func (e *engine) close() {
	for _, task := range e.tasks {
		if err := task.Close(); err != nil {
			e.t.Error(err)
		}
	}
	e.outputs.Close()
}

// run runs one micro-batch and returns the client's rows as text, in order.
func (e *engine) run(id batch.ID, watermark, closing batch.EventTime) []string {
	e.t.Helper()
	rows, err := e.tryRun(id, watermark, closing)
	if err != nil {
		e.t.Fatal(err)
	}
	return rows
}

// tryRun is run for one batch that may fail.
func (e *engine) tryRun(id batch.ID, watermark, closing batch.EventTime) (rows []string, err error) {
	for _, s := range e.plan.Stages {
		n := 1
		switch s.Kind {
		case physical.Splits:
			n = len(e.sources[s.Sources[0]].splits)
		case physical.Hash:
			n = e.parts
		case physical.Single:
		}
		_, toClient := s.Output.(physical.ToClient)
		for p := range n {
			var read func(failed bool) []string
			if toClient && !e.plan.Stream {
				read = e.follow(s, p, id)
			}
			res, err := e.runTask(s, p, id, watermark, closing)
			if read != nil {
				rows = append(rows, read(err != nil)...)
			}
			if err != nil {
				return nil, err
			}
			e.results = append(e.results, res)
		}
		if toClient && e.plan.Stream {
			r, err := e.outputs.Tasks(exchange.Ref{Key: "test", Batch: id, Stage: s.ID}, n, 0, 0)
			if err != nil {
				e.t.Fatal(err)
			}
			got, err := rowTexts(context.Background(), r)
			if err != io.EOF {
				e.t.Fatal(err)
			}
			rows = append(rows, got...)
		}
	}
	e.outputs.Prune("test", id)
	return rows, nil
}

func (e *engine) runTask(s *physical.Stage, p int, id batch.ID, watermark, closing batch.EventTime) (batch.TaskResult, error) {
	spec := batch.TaskSpec{Task: batch.TaskID{Query: "q", Batch: id, Stage: s.ID, Partition: p}, Plan: "test", Parts: e.parts,
		Base: id - 1, Watermark: watermark, Close: closing, Now: e.now, Reveal: true}
	if s.Kind == physical.Splits {
		for _, name := range s.Sources {
			spec.Splits = append(spec.Splits, batch.Split{Source: name, Index: p})
		}
	}
	if s.Kind == physical.Single {
		spec.Parts = 1
	}
	for _, in := range s.Inputs {
		n := 1
		switch up := e.plan.Stages[in]; up.Kind {
		case physical.Splits:
			n = len(e.sources[up.Sources[0]].splits)
		case physical.Hash:
			n = e.parts
		case physical.Single:
		}
		input := batch.Input{Stage: in, Tasks: n, Batch: id}
		if e.plan.Stages[in].Static {
			input.Version = "v1"
		}
		spec.Inputs = append(spec.Inputs, input)
	}
	env := Env{
		Alloc:  e.alloc,
		Opener: func(name string) (sources.Opener, error) { return e.sources[name], nil },
		Fetch: func(_ context.Context, spec *batch.TaskSpec, in batch.Input, p, parts int) (sources.Reader, error) {
			return e.outputs.Tasks(exchange.Ref{Key: "test", Batch: in.Batch, Stage: in.Stage}, in.Tasks, p, parts)
		},
		Parts: e.parts, Begin: e.state.begin, Outputs: e.outputs, Spill: e.spill,
	}
	if e.env != nil {
		e.env(&env)
	}
	return e.tasks[s.ID].Run(context.Background(), env, spec)
}

// follow reads a task's rows for the client while they are made, as a budget bounds what
// lies there unread. What it returns waits for their end, or for nothing when the task failed.
func (e *engine) follow(s *physical.Stage, p int, id batch.ID) (read func(failed bool) []string) {
	r, err := e.outputs.Follow(exchange.Ref{Key: "test", Batch: id, Stage: s.ID, Task: p}, 0)
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	rows := make(chan []string, 1)
	go func() {
		got, err := rowTexts(ctx, r)
		if err != io.EOF && ctx.Err() == nil && !errors.Is(err, batch.ErrGivenUp) {
			e.t.Error(err)
		}
		rows <- got
	}()
	return func(failed bool) []string {
		if failed {
			cancel()
		}
		defer cancel()
		return <-rows
	}
}

// rowTexts reads to the end, which is io.EOF if all went well.
func rowTexts(ctx context.Context, r sources.Reader) (rows []string, err error) {
	defer r.Close()
	for {
		rec, err := r.Next(ctx)
		if err != nil {
			return rows, err
		}
		for i := range int(rec.NumRows()) {
			rows = append(rows, rowText(rec.Columns(), i))
		}
		rec.Release()
	}
}

// table is rows in memory that can be cut into batches and splits at random.
type table struct {
	schema *arrow.Schema
	rec    arrow.RecordBatch
}

func newTable(schema *arrow.Schema, cols []arrow.Array) *table {
	n := 0
	if len(cols) > 0 {
		n = cols[0].Len()
	}
	return &table{schema: schema, rec: newBatch(schema, cols, n)}
}

func randomTable(r *rand.Rand, alloc memory.Allocator, n, domain int, fields ...arrow.Field) *table {
	for i := range fields {
		fields[i].Nullable = true
	}
	return newTable(arrow.NewSchema(fields, nil), randomColumns(r, alloc, fieldTypes(fields), n, domain, true))
}

// cut slices rows [from, to) into splits of random batches, some of them empty.
func (tb *table) cut(r *rand.Rand, from, to, splits int) *memSource {
	m := &memSource{splits: make([][]arrow.RecordBatch, splits)}
	for s := range splits {
		first, end := from+(to-from)*s/splits, from+(to-from)*(s+1)/splits
		for first < end {
			next := min(end, first+r.IntN(end-first+1))
			m.splits[s] = append(m.splits[s], tb.rec.NewSlice(int64(first), int64(next)))
			first = next
		}
	}
	return m
}

func (m *memSource) release() {
	for _, s := range m.splits {
		for _, rec := range s {
			rec.Release()
		}
	}
}

func (tb *table) col(name string) *expr.Column {
	i := tb.schema.FieldIndices(name)[0]
	return column(tb.schema, i)
}

func column(schema *arrow.Schema, i int) *expr.Column {
	f := schema.Field(i)
	return &expr.Column{Index: i, Name: f.Name, DT: f.Type, Null: f.Nullable}
}

func exprs(cs ...*expr.Column) []expr.Expr {
	out := make([]expr.Expr, len(cs))
	for i, c := range cs {
		out[i] = c
	}
	return out
}

// The aggregates of these tests keep one text per group; they need not be fast.

type textAcc struct {
	alloc  memory.Allocator
	name   string
	result arrow.DataType
	groups []string
}

// textAgg returns count (of non-NULL arguments, or of rows), sum, min or list,
// which keeps the arguments in the order of their coming.
func textAgg(name string) *expr.Aggregate {
	result := arrow.DataType(tInt)
	if name == "list" {
		result = tString
	}
	return &expr.Aggregate{Name: name, State: []arrow.DataType{tString}, Result: result, IgnoresDuplicates: name == "min",
		New: func(alloc memory.Allocator) expr.Accumulator {
			return &textAcc{alloc: alloc, name: name, result: result}
		}}
}

func (a *textAcc) Resize(n int) {
	for len(a.groups) < n {
		a.groups = append(a.groups, "")
	}
}

func (a *textAcc) combine(x, y string) string {
	if x == "" {
		return y
	}
	if a.name == "list" {
		return x + "," + y
	}
	i, _ := strconv.ParseInt(x, 10, 64)
	j, _ := strconv.ParseInt(y, 10, 64)
	if a.name == "min" {
		return strconv.FormatInt(min(i, j), 10)
	}
	return strconv.FormatInt(i+j, 10)
}

func (a *textAcc) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	at := func(k int) int { return k }
	if sel != nil {
		n = len(sel)
		at = func(k int) int { return int(sel[k]) }
	}
	for k := range n {
		v := "1"
		if len(args) > 0 {
			if args[0].Arr.IsNull(at(k)) {
				continue
			}
			if a.name != "count" {
				v = args[0].Arr.ValueStr(at(k))
			}
		}
		g := uint32(0)
		if groups != nil {
			g = groups[k]
		}
		a.groups[g] = a.combine(a.groups[g], v)
	}
	return nil
}

func (a *textAcc) Retract([]uint32, []expr.Vec, []int32, int) error { return errors.New("no") }

func (a *textAcc) Merge(groups []uint32, state []arrow.Array) error {
	s := state[0].(*array.String)
	for k, g := range groups {
		if s.Value(k) != "" {
			a.groups[g] = a.combine(a.groups[g], s.Value(k))
		}
	}
	return nil
}

func (a *textAcc) State(first, end int) ([]arrow.Array, error) {
	b := array.NewStringBuilder(a.alloc)
	defer b.Release()
	b.AppendValues(a.groups[first:end], nil)
	return []arrow.Array{b.NewArray()}, nil
}

func (a *textAcc) Final(first, end int) (arrow.Array, error) {
	b := array.NewBuilder(a.alloc, a.result)
	defer b.Release()
	for _, g := range a.groups[first:end] {
		switch {
		case g == "" && a.name == "count":
			b.(*array.Int64Builder).Append(0)
		case g == "":
			b.AppendNull()
		default:
			if err := b.AppendValueFromString(g); err != nil {
				return nil, err
			}
		}
	}
	return b.NewArray(), nil
}

func (a *textAcc) Bytes() int64 { return int64(16 * len(a.groups)) }
func (a *textAcc) Reset()       { a.groups = a.groups[:0] }
func (a *textAcc) Release()     {}

func call(name string, args ...expr.Expr) *expr.AggCall {
	return &expr.AggCall{Func: textAgg(name), Args: args, Name: name, Null: true}
}

func aggSchema(in *arrow.Schema, keys []expr.Expr, types []arrow.DataType, op bool) *arrow.Schema {
	var fields []arrow.Field
	for i, k := range keys {
		fields = append(fields, arrow.Field{Name: fmt.Sprint("k", i), Type: k.Type(), Nullable: true})
	}
	for i, dt := range types {
		fields = append(fields, arrow.Field{Name: fmt.Sprint("a", i), Type: dt, Nullable: true})
	}
	if op {
		fields = append(fields, arrow.Field{Name: sinks.OpColumn, Type: arrow.PrimitiveTypes.Int8})
	}
	return arrow.NewSchema(fields, nil)
}

func resultTypes(aggs []*expr.AggCall) []arrow.DataType {
	var out []arrow.DataType
	for _, a := range aggs {
		out = append(out, a.Func.Result)
	}
	return out
}

func sameRows(t testing.TB, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Fatalf("%s: %d rows, want %d; first difference at %d:\n got %s\nwant %s", what, len(got), len(want), i,
					strings.Join(got[min(i, len(got)):min(i+3, len(got))], "\n     "), strings.Join(want[min(i, len(want)):min(i+3, len(want))], "\n     "))
			}
		}
	}
}
