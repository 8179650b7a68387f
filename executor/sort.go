package executor

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// sortBytesMax is how much a sort holds before it writes a sorted run to disk,
// whether or not memory is short.
const sortBytesMax = 64 << 20

// A batch of a run has runRows rows, or about runBytes if that is less. While runs
// are merged there is one batch of each in memory, and at most fanIn runs are
// merged at once.
const (
	runRows  = 2048
	runBytes = 128 << 10
	runFew   = 32 // rows of a batch that cost more in their headers than they save
	fanIn    = 64
)

// sortRows is where a run is cut even if it is small in bytes: positions are 32 bits.
const sortRows = 1 << 24

// sorter orders all rows. What does not fit is written in sorted runs and merged.
type sorter struct {
	base
	keys    *computed
	max     int64
	enc     *sortEncoder
	chunks  [][]arrow.Array
	bytes   rowkey.Rows // keys of the rows of chunks
	rows    int
	held    int64
	runs    []*run
	made    int // runs, those that were merged since counted
	fan     int // runs that are merged at once; fanIn
	out     cutter
	merging *merge
	done    bool
	mem     account // of bytes and what ordering takes
}

func newSorter(n *physical.Sort, in Operator) (*sorter, error) {
	keys, err := newSortKeys(n.Keys, in.Schema())
	if err != nil {
		return nil, err
	}
	enc, err := newSortEncoder(n.Keys)
	return &sorter{base: base{node: n, in: []Operator{in}}, keys: keys, enc: enc, max: sortBytesMax, fan: fanIn}, err
}

func newSortKeys(keys []expr.SortKey, input *arrow.Schema) (*computed, error) {
	exprs := make([]expr.Expr, len(keys))
	for i, k := range keys {
		exprs[i] = k.Expr
	}
	if _, err := newSortEncoder(keys); err != nil {
		return nil, err
	}
	return newComputed(exprs, input)
}

func (s *sorter) Open(ctx context.Context, tc *TaskContext) error {
	s.reset()
	s.mem.open(tc)
	s.keys.open(tc)
	return s.base.Open(ctx, tc)
}

func (s *sorter) reset() {
	s.dropChunks()
	s.out.reset()
	for _, r := range s.runs {
		r.close()
	}
	s.runs, s.made, s.merging, s.done = nil, 0, nil, false
}

func (s *sorter) dropChunks() {
	for _, c := range s.chunks {
		gather.Release(c)
	}
	s.chunks, s.rows, s.held = nil, 0, 0
	s.bytes.Reset()
}

func (s *sorter) Close() error {
	s.reset()
	s.mem.set(0)
	return s.base.Close()
}

func (s *sorter) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if !s.done {
		s.done = true
		if err := drain(ctx, s.in[0], s.add); err != nil {
			return nil, err
		}
		if err := s.finish(); err != nil {
			return nil, err
		}
	}
	if s.merging != nil {
		return s.merging.next()
	}
	return s.out.next()
}

func (s *sorter) add(rec arrow.RecordBatch) error {
	keys, err := s.keys.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(keys)
	n := int(rec.NumRows())
	if err := s.enc.encode(keys, n); err != nil {
		return err
	}
	for i := range n {
		s.bytes.Append(s.enc.rows.Row(i))
	}
	chunk := append([]arrow.Array{}, rec.Columns()...)
	for _, c := range chunk {
		c.Retain()
	}
	s.chunks = append(s.chunks, chunk)
	s.rows += n
	s.held += gather.BatchBytes(rec) + int64(len(s.enc.rows.Data)) + 8*int64(n)
	if err := s.mem.set(s.bytes.Bytes()); err != nil {
		return err
	}
	short := s.tc.Pressure != nil && s.tc.Pressure()
	if s.tc.Spill != "" && (s.held > s.limit() || s.rows > sortRows || short && s.held > s.limit()/16) {
		return s.spill()
	}
	return nil
}

// limit is how much is held at most: sorting a run takes three times that for a
// moment, and the run is not alone in the budget.
func (s *sorter) limit() int64 {
	if s.tc.Budget > 0 {
		return min(s.max, s.tc.Budget/12)
	}
	return s.max
}

// sorted returns the rows at hand in order, with the bytes of their keys if
// asked for. One column at a time is joined and put in order, so that only one
// is there twice.
func (s *sorter) sorted(withKeys bool) (out []arrow.Array, n int, err error) {
	if n = s.rows; n == 0 {
		return nil, 0, nil
	}
	all := sortEncoder{rows: s.bytes}
	if err := s.mem.set(all.bytes()); err != nil {
		return nil, 0, err
	}
	order := all.order()
	defer func() {
		if err != nil {
			gather.Release(out)
		}
	}()
	for c := range s.chunks[0] {
		col, err := s.column(c, order)
		if err != nil {
			return out, 0, fmt.Errorf("sort %d rows: %w", n, err)
		}
		out = append(out, col)
	}
	if withKeys {
		b := array.NewBinaryBuilder(s.tc.Alloc, arrow.BinaryTypes.Binary)
		defer b.Release()
		b.Reserve(n)
		b.ReserveData(len(s.bytes.Data))
		for _, r := range order {
			b.Append(s.bytes.Row(int(r)))
		}
		out = append(out, b.NewArray())
	}
	s.dropChunks()
	return out, n, s.mem.set(s.bytes.Bytes())
}

// column puts column c of all chunks in order and lets the chunks go.
func (s *sorter) column(c int, order []int32) (arrow.Array, error) {
	parts := make([][]arrow.Array, len(s.chunks))
	for i, chunk := range s.chunks {
		parts[i] = chunk[c : c+1]
	}
	whole, err := concat(s.tc.Alloc, parts)
	if err != nil {
		return nil, err
	}
	defer gather.Release(whole)
	for _, chunk := range s.chunks {
		chunk[c].Release()
		chunk[c] = nil
	}
	return gather.Take(s.tc.Alloc, whole[0], order)
}

func (s *sorter) spill() error {
	held := s.held
	cols, n, err := s.sorted(true)
	if err != nil || n == 0 {
		return err
	}
	fields := append(append([]arrow.Field{}, s.Schema().Fields()...), arrow.Field{Name: "", Type: arrow.BinaryTypes.Binary})
	c := cutter{rows: int(min(max(runBytes*int64(n)/max(held, 1), runFew), runRows))}
	c.set(arrow.NewSchema(fields, nil), cols, n)
	defer c.reset()
	r, err := writeRun(s.tc, s.made, c.next)
	if err != nil {
		return fmt.Errorf("spill %d sorted rows: %w", n, err)
	}
	s.made++
	s.runs = append(s.runs, r)
	return s.mergeRuns(c.schema)
}

// mergeRuns makes one run of the last fan that have been merged equally often.
// They are neighbours, so that equal rows keep their order.
func (s *sorter) mergeRuns(schema *arrow.Schema) error {
	for len(s.runs) >= s.fan && s.runs[len(s.runs)-s.fan].level == s.runs[len(s.runs)-1].level {
		first := len(s.runs) - s.fan
		some := s.runs[first:]
		m := newMerge(s.tc, schema, some)
		m.rows = runRows
		r, err := writeRun(s.tc, some[0].number, m.next)
		if err != nil {
			return fmt.Errorf("merge %d sorted runs: %w", s.fan, err)
		}
		r.level = some[0].level + 1
		for _, old := range some {
			old.close()
		}
		s.runs = append(s.runs[:first], r)
	}
	return nil
}

func (s *sorter) finish() error {
	if len(s.runs) == 0 {
		cols, n, err := s.sorted(false)
		if err == nil && n > 0 {
			s.out.set(s.Schema(), cols, n)
		}
		return err
	}
	if err := s.spill(); err != nil {
		return err
	}
	s.bytes = rowkey.Rows{}
	s.mem.set(0)
	s.merging = newMerge(s.tc, s.Schema(), s.runs)
	return nil
}
