package file

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/sources"
)

var _ sources.Pruned = (*source)(nil)

// wanted drops the files of which the path, size or time says that the query
// wants none of their rows: they are never opened.
func (s *source) wanted(es []entry) []entry {
	if len(s.t.spec.Where.Conditions) == 0 {
		return es
	}
	var out []entry
	for _, e := range es {
		if s.mayHold(e) {
			out = append(out, e)
		}
	}
	return out
}

// mayHold asks the conditions on partition columns and metadata. A path that
// cannot be read as its columns' types is kept: who reads the file says why.
func (s *source) mayHold(e entry) bool {
	where := s.t.spec.Where
	columns := where.Columns
	if columns == nil {
		for i := range s.schema.Fields() {
			columns = append(columns, i)
		}
	}
	r := &reader{t: s.t, e: e, alloc: memory.DefaultAllocator}
	if _, _, err := r.bind(s.schema, columns); err != nil {
		return true
	}
	for _, c := range where.Conditions {
		if holds, known := r.decide(c); known && !holds {
			return false
		}
	}
	return true
}

// Pruned tells how many files the query's conditions leave, and of how many.
func (s *source) Pruned(ctx context.Context) (kept, all int, err error) {
	if s.t.spec.Stream {
		return 0, 0, nil
	}
	es, err := s.t.list(ctx, s.now())
	if err != nil {
		return 0, 0, err
	}
	return len(s.wanted(es)), len(es), nil
}
