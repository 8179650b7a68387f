package executor

import (
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// merge reads sorted runs in order; among equal rows the earlier run comes first.
type merge struct {
	tc      *TaskContext
	schema  *arrow.Schema
	heap    []*run // the run whose next row is first is at the top
	rows    int    // of an output batch
	started bool
	from    []int32 // of each output row: its part, and its position there
	row     []int32
}

func newMerge(tc *TaskContext, schema *arrow.Schema, runs []*run) *merge {
	return &merge{tc: tc, schema: schema, heap: append([]*run{}, runs...), rows: outputRows}
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

// next collects rows from the runs: positions first, then one copy.
func (m *merge) next() (arrow.RecordBatch, error) {
	if !m.started {
		if err := m.start(); err != nil {
			return nil, err
		}
	}
	var parts []arrow.RecordBatch // batches of runs that output rows are in
	defer func() {
		for _, p := range parts {
			p.Release()
		}
	}()
	m.from, m.row = m.from[:0], m.row[:0]
	for _, r := range m.heap {
		r.part = -1
	}
	for len(m.row) < m.rows && len(m.heap) > 0 {
		r := m.heap[0]
		if r.part < 0 {
			r.part = len(parts)
			r.rec.Retain()
			parts = append(parts, r.rec)
		}
		m.from, m.row = append(m.from, int32(r.part)), append(m.row, int32(r.at))
		if err := m.step(r); err != nil {
			return nil, err
		}
	}
	if len(m.row) == 0 {
		return nil, io.EOF
	}
	return m.collect(parts)
}

func (m *merge) collect(parts []arrow.RecordBatch) (arrow.RecordBatch, error) {
	cols := make([]arrow.Array, 0, m.schema.NumFields())
	of := make([]vec.Part, len(parts))
	for c, f := range m.schema.Fields() {
		for i, p := range parts {
			of[i] = vec.Part{Arr: p.Column(c)}
		}
		col, err := vec.Interleave(m.tc.Alloc, f.Type, of, m.from, m.row)
		if err != nil {
			gather.Release(cols)
			return nil, fmt.Errorf("merge %d rows of %d sorted batches: %w", len(m.row), len(parts), err)
		}
		cols = append(cols, col)
	}
	return newBatch(m.schema, cols, len(m.row)), nil
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
