package executor

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
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
		s.held += int64(c.Data().SizeInBytes())
	}
	short := s.tc.Pressure != nil && s.tc.Pressure()
	if s.tc.Spill != "" && (s.held > s.max || s.rows > sortRows || short && s.held > s.max/16) {
		return s.spill()
	}
	return nil
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

// merge reads sorted runs in order; among equal rows the earlier run comes first.
type merge struct {
	tc      *TaskContext
	schema  *arrow.Schema
	runs    []*run
	started bool
}

func newMerge(tc *TaskContext, schema *arrow.Schema, runs []*run) *merge {
	return &merge{tc: tc, schema: schema, runs: runs}
}

// least returns the run whose next row is first, or nil.
func (m *merge) least() *run {
	var best *run
	for _, r := range m.runs {
		if r.rec != nil && (best == nil || bytes.Compare(r.key(), best.key()) < 0) {
			best = r
		}
	}
	return best
}

// part is what an output batch takes out of one batch of a run.
type part struct {
	rec         arrow.RecordBatch
	first, rows int
}

// next collects rows from the runs: positions first, then one gather.
func (m *merge) next() (arrow.RecordBatch, error) {
	if !m.started {
		m.started = true
		for _, r := range m.runs {
			if err := r.advance(m.tc); err != nil {
				return nil, err
			}
		}
	}
	var parts []part
	defer func() {
		for _, p := range parts {
			p.rec.Release()
		}
	}()
	var from, row []int32 // of each output row: its part, and its position there
	for _, r := range m.runs {
		r.part = -1
	}
	for len(row) < outputRows {
		r := m.least()
		if r == nil {
			break
		}
		if r.part < 0 {
			r.part = len(parts)
			r.rec.Retain()
			parts = append(parts, part{rec: r.rec, first: r.at})
		}
		taken := m.stretch(r, outputRows-len(row))
		p := &parts[r.part]
		for range taken {
			from, row = append(from, int32(r.part)), append(row, int32(p.rows))
			p.rows++
		}
		if r.at += taken; r.at == int(r.rec.NumRows()) {
			r.part = -1
			if err := r.advance(m.tc); err != nil {
				return nil, err
			}
		}
	}
	if len(row) == 0 {
		return nil, io.EOF
	}
	return m.collect(parts, from, row)
}

func (m *merge) collect(parts []part, from, row []int32) (arrow.RecordBatch, error) {
	chunks := make([][]arrow.Array, len(parts))
	defer func() {
		for _, c := range chunks {
			gather.Release(c)
		}
	}()
	base := make([]int32, len(parts)+1)
	for i, p := range parts {
		base[i+1] = base[i] + int32(p.rows)
		for c := range m.schema.NumFields() {
			chunks[i] = append(chunks[i], array.NewSlice(p.rec.Column(c), int64(p.first), int64(p.first+p.rows)))
		}
	}
	for i, f := range from {
		row[i] += base[f]
	}
	cols, err := concat(m.tc.Alloc, chunks)
	if err != nil {
		return nil, err
	}
	defer gather.Release(cols)
	out, err := gather.Columns(m.tc.Alloc, cols, row)
	if err != nil {
		return nil, err
	}
	return newBatch(m.schema, out, len(row)), nil
}

// stretch counts the rows of r, at most limit, that come before every other run's next row.
func (m *merge) stretch(r *run, limit int) int {
	var bound []byte
	var boundAt int
	own := 0
	for i, o := range m.runs {
		if o == r {
			own = i
			continue
		}
		if o.rec != nil && (bound == nil || bytes.Compare(o.key(), bound) < 0) {
			bound, boundAt = o.key(), i
		}
	}
	n := min(limit, int(r.rec.NumRows())-r.at)
	if bound == nil {
		return n
	}
	for i := 1; i < n; i++ {
		c := bytes.Compare(r.keys.Value(r.at+i), bound)
		if c > 0 || c == 0 && boundAt < own {
			return i
		}
	}
	return n
}

// topN keeps the first rows of an order without sorting them all.
type topN struct {
	base
	n      *physical.TopN
	keys   *computed
	enc    *sortEncoder
	chunks [][]arrow.Array
	bytes  rowkey.Rows // keys of the rows at hand
	bound  []byte      // key of the last row that can still be in, once there are enough
	out    cutter
	done   bool
}

func newTopN(n *physical.TopN, in Operator) (*topN, error) {
	if n.Count < 0 || n.Offset < 0 {
		return nil, fmt.Errorf("%s: count and offset must not be negative", n)
	}
	keys, err := newSortKeys(n.Keys, in.Schema())
	if err != nil {
		return nil, err
	}
	enc, err := newSortEncoder(n.Keys)
	return &topN{base: base{node: n, in: []Operator{in}}, n: n, keys: keys, enc: enc}, err
}

func (t *topN) Open(ctx context.Context, tc *TaskContext) error {
	t.reset()
	t.keys.open(tc)
	return t.base.Open(ctx, tc)
}

func (t *topN) reset() {
	for _, c := range t.chunks {
		gather.Release(c)
	}
	t.chunks, t.bound, t.done = nil, nil, false
	t.bytes.Reset()
	t.out.reset()
}

func (t *topN) Close() error {
	t.reset()
	return t.base.Close()
}

func (t *topN) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if !t.done {
		t.done = true
		if t.n.Count > 0 {
			if err := drain(ctx, t.in[0], t.add); err != nil {
				return nil, err
			}
		}
		if err := t.finish(); err != nil {
			return nil, err
		}
	}
	return t.out.next()
}

func (t *topN) keep() int { return int(min(t.n.Count+t.n.Offset, sortRows)) }

func (t *topN) add(rec arrow.RecordBatch) error {
	keys, err := t.keys.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(keys)
	n := int(rec.NumRows())
	if err := t.enc.encode(keys, n); err != nil {
		return err
	}
	var rows []int32
	for i := range n {
		if t.bound == nil || bytes.Compare(t.enc.rows.Row(i), t.bound) < 0 {
			rows = append(rows, int32(i))
			t.bytes.Append(t.enc.rows.Row(i))
		}
	}
	if len(rows) == 0 {
		return nil
	}
	cols, err := gather.Columns(t.tc.Alloc, rec.Columns(), rows)
	if err != nil {
		return err
	}
	t.chunks = append(t.chunks, cols)
	if t.bytes.Len() > 2*t.keep()+outputRows {
		return t.prune()
	}
	return nil
}

// prune keeps the best rows alone, in order.
func (t *topN) prune() error {
	if len(t.chunks) == 0 {
		return nil
	}
	cols, err := concat(t.tc.Alloc, t.chunks)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	all := sortEncoder{rows: t.bytes}
	order := all.order()
	order = order[:min(len(order), t.keep())]
	best, err := gather.Columns(t.tc.Alloc, cols, order)
	if err != nil {
		return err
	}
	for _, c := range t.chunks {
		gather.Release(c)
	}
	t.chunks = [][]arrow.Array{best}
	t.bytes = rowkey.Rows{}
	for _, r := range order {
		t.bytes.Append(all.rows.Row(int(r)))
	}
	if len(order) == t.keep() {
		t.bound = bytes.Clone(t.bytes.Row(len(order) - 1))
	}
	return nil
}

func (t *topN) finish() error {
	if err := t.prune(); err != nil {
		return err
	}
	n := t.bytes.Len()
	skip := int(min(t.n.Offset, int64(n)))
	if n == skip {
		return nil
	}
	cols := make([]arrow.Array, len(t.chunks[0]))
	for i, c := range t.chunks[0] {
		cols[i] = array.NewSlice(c, int64(skip), int64(n))
	}
	t.out.set(t.Schema(), cols, n-skip)
	return nil
}
