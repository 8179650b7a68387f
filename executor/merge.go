package executor

import (
	"bytes"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
)

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
