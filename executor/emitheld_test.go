package executor

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// heldModel says of an Emit what has to be shown after each batch, key by key.
type heldModel struct {
	n             *physical.Emit
	now, shown    map[string]int64           // key -> its number of rows
	due           map[string]batch.EventTime // by the clock
	at, closed    batch.EventTime
	ends          map[string]batch.EventTime
	changed, told int
}

// settle shows what is to be shown at the end of a batch in which some keys changed.
func (m *heldModel) settle(touched map[string]bool) {
	for k := range m.ends {
		pending := m.now[k] != m.shown[k]
		if !pending {
			delete(m.due, k)
			continue
		}
		over := m.closed != batch.NoTime && m.ends[k] <= m.closed
		full := m.n.Rows > 0 && touched[k] && m.now[k]/m.n.Rows != m.shown[k]/m.n.Rows
		rings := m.n.Every > 0 && m.due[k] != 0 && m.due[k] <= m.at
		if over || full || rings {
			m.shown[k] = m.now[k]
			delete(m.due, k)
			m.told++
		} else if d := batch.EventTime(m.n.Every); d > 0 && m.due[k] == 0 {
			m.due[k] = m.at/d*d + d
		}
	}
	m.changed += len(touched)
}

// TestEmitHeldShowsWhatItsModelShows feeds random changes of counts by key, with
// restarts, under each of the ways of holding results back.
func TestEmitHeldShowsWhatItsModelShows(t *testing.T) {
	us := &arrow.TimestampType{Unit: arrow.Microsecond}
	fields := []arrow.Field{{Name: "k", Type: arrow.PrimitiveTypes.Int64}, {Name: "end", Type: us}, {Name: "n", Type: arrow.PrimitiveTypes.Int64}}
	schema := arrow.NewSchema(append(fields, arrow.Field{Name: batch.OpColumn, Type: arrow.PrimitiveTypes.Int8}), nil)
	for name, emit := range map[string]physical.Emit{
		"final": {EndKey: 1, Count: -1}, "shifted": {EndKey: 1, EndShift: 30, Count: -1}, "every": {EndKey: 1, Every: 20, Count: -1},
		"every without an end": {EndKey: -1, Every: 35, Count: -1}, "rows": {EndKey: 1, Rows: 3, Count: 2}, "rows without an end": {EndKey: -1, Rows: 4, Count: 2},
	} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
				alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
				defer alloc.AssertSize(t, 0)
				n := emit
				n.Keys, n.Operator = []int{0, 1}, "emit"
				runHeld(t, alloc, rand.New(rand.NewPCG(seed, 7)), &n, schema)
			})
		}
	}
}

func runHeld(t *testing.T, alloc memory.Allocator, r *rand.Rand, n *physical.Emit, schema *arrow.Schema) {
	scan := &physical.Scan{Source: "s", Out: schema}
	n.Input = &physical.ExchangeRead{Stage: 0, Out: schema}
	plan := &physical.Plan{Stream: true, Stages: []*physical.Stage{
		{ID: 0, Root: scan, Kind: physical.Splits, Sources: []string{"s"}, Output: physical.ToHash{Keys: []expr.Expr{column(schema, 0), column(schema, 1)}}},
		{ID: 1, Root: n, Kind: physical.Hash, Inputs: []int{0}, Stateful: []string{"emit"}, Output: physical.ToClient{}},
	}}
	m := &heldModel{n: n, now: map[string]int64{}, shown: map[string]int64{}, due: map[string]batch.EventTime{}, ends: map[string]batch.EventTime{}, closed: batch.NoTime}
	e := newEngine(t, alloc, plan, 3)
	defer func() { e.close() }()
	got := map[string]int64{}
	const batches = 60
	for id := range batch.ID(batches) {
		if r.IntN(6) == 0 { // another process
			state := e.state
			e.close()
			e = newEngine(t, alloc, plan, 3)
			e.state = state
		}
		m.at += batch.EventTime(r.IntN(30))
		if r.IntN(3) == 0 {
			m.closed = max(m.closed, 0) + batch.EventTime(r.IntN(40))
		}
		if id == batches-1 {
			m.closed = batch.EndOfTime
		}
		rec, touched := m.changes(alloc, r, schema)
		e.sources["s"] = &memSource{splits: [][]arrow.RecordBatch{{rec}}}
		e.now, e.results = m.at, nil
		rows := e.run(id, batch.NoTime, m.closed)
		rec.Release()
		m.settle(touched)
		showHeld(t, got, rows)
		want := maps.Clone(m.shown)
		maps.DeleteFunc(want, func(_ string, n int64) bool { return n == 0 })
		if !maps.Equal(got, want) {
			t.Fatalf("batch %d at %d, closed %s: shown %v, want %v", id, m.at, m.closed, got, want)
		}
	}
	if m.told == 0 || m.changed == 0 {
		t.Error("nothing was ever held back and shown")
	}
	for _, res := range e.results {
		if res.NextDue != batch.EndOfTime || res.NextWake != 0 {
			t.Errorf("something waits after the end: %+v", res)
		}
	}
}

// changes makes up changes of some keys, and notes them.
func (m *heldModel) changes(alloc memory.Allocator, r *rand.Rand, schema *arrow.Schema) (arrow.RecordBatch, map[string]bool) {
	b := array.NewRecordBuilder(alloc, schema)
	defer b.Release()
	touched := map[string]bool{}
	row := func(k, end, n int64, op batch.Op) {
		b.Field(0).(*array.Int64Builder).Append(k)
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(end))
		b.Field(2).(*array.Int64Builder).Append(n)
		b.Field(3).(*array.Int8Builder).Append(int8(op))
	}
	for range r.IntN(6) {
		k, end := int64(r.IntN(4)), int64(r.IntN(10)*50)
		key := fmt.Sprintf("%d|%d", k, end)
		before := m.now[key]
		after := max(0, before+int64(r.IntN(5))-1)
		if touched[key] || before == after {
			continue
		}
		if before > 0 {
			row(k, end, before, batch.UpdateBefore)
		}
		if after > 0 {
			row(k, end, after, batch.UpdateAfter)
		}
		touched[key], m.now[key] = true, after
		m.ends[key] = batch.EndOfTime
		if m.n.EndKey >= 0 {
			m.ends[key] = batch.EventTime(end + m.n.EndShift)
		}
	}
	return b.NewRecordBatch(), touched
}

// showHeld applies rows of (k, end, n, op) to what was shown before.
func showHeld(t *testing.T, got map[string]int64, rows []string) {
	t.Helper()
	for _, line := range rows {
		f := strings.Split(strings.ReplaceAll(line, `"`, ""), "|")
		var n int64
		var op int8
		end, err := time.Parse("2006-01-02T15:04:05.999999", f[1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(f[2], &n); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(f[3], &op); err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%s|%d", f[0], end.UnixMicro())
		switch batch.Op(op) {
		case batch.Insert:
			if got[key] != 0 {
				t.Fatalf("%q is put out over %d", line, got[key])
			}
			got[key] = n
		case batch.Delete:
			if got[key] != n {
				t.Fatalf("%q is taken back, and %d is there", line, got[key])
			}
			delete(got, key)
		default:
			t.Fatalf("row %q", line)
		}
	}
}
