package executor

import (
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
)

// merge reads sorted runs in order; among equal rows the earlier run comes first.
type merge struct {
	tc      *TaskContext
	schema  *arrow.Schema
	heap    []*run // the run whose next row is first is at the top
	started bool
}

func newMerge(tc *TaskContext, schema *arrow.Schema, runs []*run) *merge {
	return &merge{tc: tc, schema: schema, heap: append([]*run{}, runs...)}
}

// start reads the first batch of each run.
func (m *merge) start() error {
	m.started = true
	for _, r := range m.heap {
		if err := r.advance(m.tc); err != nil {
			return err
		}
	}
	m.heap = slices.DeleteFunc(m.heap, func(r *run) bool { return r.rec == nil })
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	return nil
}

// sink puts the run at position i where it belongs.
func (m *merge) sink(i int) {
	for {
		c := 2*i + 1
		if c >= len(m.heap) {
			return
		}
		if c+1 < len(m.heap) && m.heap[c+1].before(m.heap[c]) {
			c++
		}
		if !m.heap[c].before(m.heap[i]) {
			return
		}
		m.heap[i], m.heap[c] = m.heap[c], m.heap[i]
		i = c
	}
}

// part is what an output batch takes out of one batch of a run.
type part struct {
	rec         arrow.RecordBatch
	first, rows int
}

// next collects rows from the runs: positions first, then one gather.
func (m *merge) next() (arrow.RecordBatch, error) {
	if !m.started {
		if err := m.start(); err != nil {
			return nil, err
		}
	}
	var parts []part
	defer func() {
		for _, p := range parts {
			p.rec.Release()
		}
	}()
	// Of each output row: its part, and its position there.
	from, row := make([]int32, 0, outputRows), make([]int32, 0, outputRows)
	for _, r := range m.heap {
		r.part = -1
	}
	for len(row) < outputRows && len(m.heap) > 0 {
		r := m.heap[0]
		if r.part < 0 {
			r.part = len(parts)
			r.rec.Retain()
			parts = append(parts, part{rec: r.rec, first: r.at})
		}
		p := &parts[r.part]
		from, row = append(from, int32(r.part)), append(row, int32(p.rows))
		p.rows++
		if err := m.step(r); err != nil {
			return nil, err
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

// step takes the top run to its next row.
func (m *merge) step(r *run) error {
	r.at++
	if r.at == int(r.rec.NumRows()) {
		r.part = -1
		if err := r.advance(m.tc); err != nil {
			return err
		}
		if r.rec == nil {
			last := len(m.heap) - 1
			m.heap[0] = m.heap[last]
			m.heap = m.heap[:last]
		}
	}
	if len(m.heap) > 0 {
		m.heap[0].look()
		m.sink(0)
	}
	return nil
}
