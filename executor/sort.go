package executor

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// sortBytesMax is how much a sort holds before it writes a sorted run to disk,
// whether or not memory is short.
const sortBytesMax = 256 << 20

// sortRows is where a run is cut even if it is small in bytes: positions are 32 bits.
const sortRows = 1 << 24

// sorter orders all rows. What does not fit is written in sorted runs and merged.
type sorter struct {
	base
	keys    *computed
	specs   []expr.SortKey
	max     int64
	chunks  [][]arrow.Array // rows, then their sort keys
	rows    int
	held    int64
	runs    []*run
	out     cutter
	merging *merge
	done    bool
	mem     account // of encoded keys while they are needed
}

func newSorter(n *physical.Sort, in Operator) (*sorter, error) {
	keys, err := newSortKeys(n.Keys, in.Schema())
	if err != nil {
		return nil, err
	}
	return &sorter{base: base{node: n, in: []Operator{in}}, keys: keys, specs: n.Keys, max: sortBytesMax}, nil
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
	s.runs, s.merging, s.done = nil, nil, false
}

func (s *sorter) dropChunks() {
	for _, c := range s.chunks {
		gather.Release(c)
	}
	s.chunks, s.rows, s.held = nil, 0, 0
}

func (s *sorter) Close() error {
	s.reset()
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
	chunk := append([]arrow.Array{}, rec.Columns()...)
	for _, c := range chunk {
		c.Retain()
	}
	chunk = append(chunk, keys...)
	s.chunks = append(s.chunks, chunk)
	s.rows += int(rec.NumRows())
	for _, c := range chunk {
		s.held += gather.Bytes(c)
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
		return min(s.max, s.tc.Budget/8)
	}
	return s.max
}

// sorted returns the rows at hand in order, with the bytes of their keys if asked for.
func (s *sorter) sorted(withKeys bool) ([]arrow.Array, int, error) {
	n := s.rows
	cols, err := concat(s.tc.Alloc, s.chunks)
	if err != nil {
		return nil, 0, fmt.Errorf("sort %d rows: %w", n, err)
	}
	defer gather.Release(cols)
	s.dropChunks()
	enc, err := newSortEncoder(s.specs)
	if err != nil {
		return nil, 0, err
	}
	width := s.Schema().NumFields()
	if n > 0 {
		if err := enc.encode(cols[width:], n); err != nil {
			return nil, 0, err
		}
	} else {
		return nil, 0, nil
	}
	defer s.mem.set(0)
	if err := s.mem.set(enc.bytes()); err != nil {
		return nil, 0, err
	}
	order := enc.order()
	out, err := gather.Columns(s.tc.Alloc, cols[:width], order)
	if err != nil {
		return nil, 0, err
	}
	if withKeys {
		b := array.NewBinaryBuilder(s.tc.Alloc, arrow.BinaryTypes.Binary)
		defer b.Release()
		for _, r := range order {
			b.Append(enc.rows.Row(int(r)))
		}
		out = append(out, b.NewArray())
	}
	return out, n, nil
}

func (s *sorter) spill() error {
	cols, n, err := s.sorted(true)
	if err != nil || n == 0 {
		return err
	}
	fields := append(append([]arrow.Field{}, s.Schema().Fields()...), arrow.Field{Name: "", Type: arrow.BinaryTypes.Binary})
	var c cutter
	c.set(arrow.NewSchema(fields, nil), cols, n)
	defer c.reset()
	r, err := writeRun(s.tc, len(s.runs), &c)
	if err != nil {
		return fmt.Errorf("spill %d sorted rows: %w", n, err)
	}
	s.runs = append(s.runs, r)
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
	s.merging = newMerge(s.tc, s.Schema(), s.runs)
	return nil
}
