package file

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/sources"
)

var (
	_ sources.Conditional = (*reader)(nil)
	_ sources.Filterable  = (*reader)(nil)
	_ sources.Counted     = (*reader)(nil)
)

// inFile turns positions in what the reader returns into those in the file.
func (r *reader) inFile(cols []int) ([]int, bool) {
	out := make([]int, len(cols))
	for i, c := range cols {
		if c < 0 || c >= len(r.from) || r.from[c] < 0 {
			return nil, false
		}
		out[i] = r.from[c]
	}
	return out, true
}

// fileCondition is a condition on columns of the file.
type fileCondition struct {
	sources.Condition
	cols []int
	back map[int]int
}

func (c *fileCondition) Columns() []int { return c.cols }

func (c *fileCondition) Skips(rows int64, of func(column int) (batch.ColumnStats, bool)) bool {
	return c.Condition.Skips(rows, func(column int) (batch.ColumnStats, bool) {
		at, ok := c.back[column]
		if !ok {
			return batch.ColumnStats{}, false
		}
		return of(at)
	})
}

// fileFilter is a filter on columns of the file.
type fileFilter struct {
	sources.RowFilter
	cols []int
}

func (f *fileFilter) Columns() []int { return f.cols }

// Where hands the conditions on. Those on partition columns and metadata alone
// are decided here, once for the split.
func (r *reader) Where(conditions []sources.Condition) (exact bool) {
	exact = true
	var below []formats.Condition
	for _, c := range conditions {
		cols, ok := r.inFile(c.Columns())
		if ok {
			back := map[int]int{}
			for i, at := range c.Columns() {
				back[at] = cols[i]
			}
			below = append(below, &fileCondition{Condition: c, cols: cols, back: back})
			continue
		}
		holds, known := r.decide(c)
		if known && !holds {
			r.empty = true
		}
		exact = exact && known
	}
	s, ok := r.in.(formats.Sifter)
	if !ok {
		return exact && len(below) == 0
	}
	return s.Where(below) && exact
}

// decide asks a condition of the constants of the split.
func (r *reader) decide(c sources.Condition) (holds, known bool) {
	if !c.Total() {
		return false, false
	}
	var cols []arrow.Array
	defer func() {
		for _, a := range cols {
			a.Release()
		}
	}()
	for _, i := range c.Columns() {
		if i >= len(r.from) || r.from[i] >= 0 {
			return false, false
		}
		a, err := r.fill[i](1)
		if err != nil {
			return false, false
		}
		cols = append(cols, a)
	}
	sel, err := c.Select(cols, 1, nil)
	return len(sel) == 1, err == nil
}

// Filter hands on what joins know.
func (r *reader) Filter(filters []sources.RowFilter) {
	s, ok := r.in.(formats.Sifter)
	if !ok {
		return
	}
	var below []formats.RowFilter
	for _, f := range filters {
		if cols, ok := r.inFile(f.Columns()); ok {
			below = append(below, &fileFilter{RowFilter: f, cols: cols})
		}
	}
	s.Filter(below)
}

// Counts says what was left out.
func (r *reader) Counts() batch.ScanCounts {
	if s, ok := r.in.(formats.Sifter); ok && !r.empty {
		return s.Counts()
	}
	return r.count
}
