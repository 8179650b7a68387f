package executor

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
)

// joinTable is a build side ready to be probed: the columns that somebody reads,
// and an index of its keys. It is immutable; several tasks may share one.
type joinTable struct {
	index *joinIndex
	cols  []arrow.Array // nil where nobody reads the column
	n     int
	keys  []arrow.Array // nil if equal words mean equal keys
	pairs []keyColumn   // of keys
	mem   account
}

// tableMaker makes tables of the rows of one build side.
type tableMaker struct {
	schema *arrow.Schema
	ev     *computed // of the key columns
	keys   *joinKeys
	need   []bool // of the columns of schema
}

// bytesPerRow is what an index takes of a row while it is built, at most.
func (m *tableMaker) bytesPerRow() int64 { return 16*int64(m.keys.stride) + 28 }

// table makes the table of batches, which it borrows. run does work in parts.
func (m *tableMaker) table(tc *TaskContext, recs []arrow.RecordBatch, run func(parts int, f func(i int))) (t *joinTable, err error) {
	t = &joinTable{cols: make([]arrow.Array, m.schema.NumFields())}
	t.mem.open(tc)
	defer func() {
		if err != nil {
			t.release()
		}
	}()
	for _, rec := range recs {
		t.n += int(rec.NumRows())
	}
	if int64(t.n) >= 1<<31 {
		return nil, fmt.Errorf("build side of a join: %d rows are too many for one table", t.n)
	}
	if err := t.mem.set(int64(t.n) * m.bytesPerRow()); err != nil {
		return nil, err
	}
	words, valid, err := m.load(t, tc, recs)
	if err != nil {
		return nil, err
	}
	var cols []int
	for c, need := range m.need {
		if need {
			cols = append(cols, c)
		}
	}
	errs := make([]error, len(cols))
	run(len(cols), func(i int) { t.cols[cols[i]], errs[i] = m.column(tc, recs, cols[i]) })
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	t.index = buildJoinIndex(words, m.keys.stride, t.n, valid, m.keys.exact, run)
	tc.Note("table rows", int64(t.n))
	return t, t.mem.set(t.index.bytes())
}

func (m *tableMaker) column(tc *TaskContext, recs []arrow.RecordBatch, c int) (arrow.Array, error) {
	parts := make([]arrow.Array, len(recs))
	for i, rec := range recs {
		parts[i] = rec.Column(c)
	}
	arr, err := joined(tc, m.schema.Field(c).Type, parts)
	if err != nil {
		return nil, fmt.Errorf("build side of a join: column %s: %w", m.schema.Field(c).Name, err)
	}
	return arr, nil
}

// load computes the keys of all rows, and which rows have one if not all do.
func (m *tableMaker) load(t *joinTable, tc *TaskContext, recs []arrow.RecordBatch) (words []uint64, valid []uint32, err error) {
	if m.keys.stride == 0 {
		return nil, nil, nil
	}
	words = make([]uint64, t.n*m.keys.stride)
	var parts [][]arrow.Array // key columns of each batch, where they are compared
	defer func() {
		for _, p := range parts {
			gather.Release(p)
		}
	}()
	at, partial := 0, false
	for _, rec := range recs {
		n := int(rec.NumRows())
		cols, err := m.ev.run(rec)
		if err != nil {
			return nil, nil, err
		}
		m.keys.words(cols, n, words[at*m.keys.stride:(at+n)*m.keys.stride])
		if nulls := m.keys.nullable(cols); len(nulls) > 0 && !partial {
			partial = true
			for r := range at {
				valid = append(valid, uint32(r))
			}
		}
		if partial {
			nulls := m.keys.nullable(cols)
			for r := range n {
				if !anyNull(nulls, r) {
					valid = append(valid, uint32(at+r))
				}
			}
		}
		at += n
		if m.keys.exact {
			gather.Release(cols)
		} else {
			parts = append(parts, cols)
		}
	}
	if partial && valid == nil {
		valid = []uint32{}
	}
	if m.keys.exact || len(parts) == 0 {
		return words, valid, nil
	}
	for c := range parts[0] {
		column := make([]arrow.Array, len(parts))
		for i := range parts {
			column[i] = parts[i][c]
		}
		arr, err := joined(tc, m.keys.types[c], column)
		if err != nil {
			return nil, nil, fmt.Errorf("keys of the build side of a join: %w", err)
		}
		t.keys = append(t.keys, arr)
	}
	t.pairs = keyColumns(t.keys)
	return words, valid, nil
}

// joined puts the parts of a column behind one another.
func joined(tc *TaskContext, dt arrow.DataType, parts []arrow.Array) (arrow.Array, error) {
	switch len(parts) {
	case 0:
		return array.MakeArrayOfNull(tc.Alloc, dt, 0), nil
	case 1:
		parts[0].Retain()
		return parts[0], nil
	}
	return array.Concatenate(parts, tc.Alloc)
}

func (t *joinTable) release() {
	if t == nil {
		return
	}
	gather.Release(t.cols)
	gather.Release(t.keys)
	t.cols, t.keys, t.pairs = nil, nil, nil
	_ = t.mem.set(0) // giving back cannot be refused
}
