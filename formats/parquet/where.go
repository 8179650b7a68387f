package parquet

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

// step is a part of what rows have to pass, in the order in which it is asked.
type step struct {
	cols   []int
	test   *test    // of one column, asked while it is decoded
	sel    selector // of several, asked behind
	keep   []int32
	active func() bool
	seen   int64
	kept   int64
}

var _ formats.Sifter = (*Reader)(nil)

// siftable reports whether the reader can leave out single rows: nested columns
// are only read whole.
func (r *Reader) siftable() bool {
	for _, c := range r.columns {
		if c.flat == nil && c.n != nil {
			return false
		}
	}
	return true
}

func (r *Reader) flatColumns(cols []int) bool {
	for _, c := range cols {
		if c < 0 || c >= len(r.columns) || r.columns[c].flat == nil {
			return false
		}
	}
	return true
}

// Where takes the conditions of a query. All prune row groups and pages; where no
// column is nested, they also decide of each row before the others are decoded.
func (r *Reader) Where(conditions []formats.Condition) (exact bool) {
	r.conds = conditions
	exact = r.siftable()
	for _, c := range conditions {
		if cols := c.Columns(); !r.siftable() || len(cols) == 0 || !r.flatColumns(cols) {
			exact = false
			continue
		}
		r.addStep(c.Columns(), c.Select, c.Total(), nil)
	}
	return exact
}

// Filter takes what joins know.
func (r *Reader) Filter(filters []formats.RowFilter) {
	r.filters = filters
	if !r.siftable() {
		return
	}
	for _, f := range filters {
		if len(f.Columns()) > 0 && r.flatColumns(f.Columns()) {
			keep := f.Keep
			r.addStep(f.Columns(), func(cols []arrow.Array, n int, dst []int32) ([]int32, error) {
				return keep(cols, n, dst), nil
			}, true, f.Active)
		}
	}
}

// addStep puts conditions on one column together, and those that cannot fail first.
func (r *Reader) addStep(cols []int, sel selector, total bool, active func() bool) {
	if len(cols) == 1 && total {
		for _, s := range r.steps {
			if s.test != nil && s.active == nil && active == nil && s.cols[0] == cols[0] {
				s.test.selects = append(s.test.selects, sel)
				return
			}
		}
		s := &step{cols: cols, test: &test{selects: []selector{sel}}, active: active}
		at := r.firm
		r.steps, r.firm = slices.Insert(r.steps, at, s), r.firm+1
		return
	}
	s := &step{cols: cols, sel: sel, active: active}
	if total {
		r.steps, r.firm = slices.Insert(r.steps, r.firm, s), r.firm+1
		return
	}
	r.steps = append(r.steps, s)
}

// Counts says what was passed over so far.
func (r *Reader) Counts() batch.ScanCounts { return r.counts }

// orderSteps asks first what has let the fewest rows pass. Steps that can fail
// stay behind, in their order.
func (r *Reader) orderSteps() {
	slices.SortStableFunc(r.steps[:r.firm], func(a, b *step) int {
		x, y := a.kept*max(b.seen, 1), b.kept*max(a.seen, 1)
		if a.seen == 0 || b.seen == 0 || x == y {
			return 0
		}
		if x < y {
			return -1
		}
		return 1
	})
	for _, s := range r.steps {
		if s.test != nil {
			s.test.asked = false
		}
	}
}

// prune decides which rows of a row group may be wanted, by what the file says.
func (r *Reader) prune(g int) ([]rowRange, error) {
	md := r.f.r.MetaData().RowGroup(g)
	rows := md.NumRows()
	all := []rowRange{{0, rows}}
	if len(r.conds) == 0 && len(r.filters) == 0 {
		return all, nil
	}
	of := func(i int) (batch.ColumnStats, bool) {
		c := r.columns[i]
		if c.n == nil {
			return batch.ColumnStats{Nulls: rows}, true
		}
		if c.flat == nil {
			return batch.ColumnStats{}, false
		}
		cc, err := md.ColumnChunk(c.n.column)
		if err != nil {
			return batch.ColumnStats{}, false
		}
		return c.groupStats(cc)
	}
	for _, c := range r.conds {
		if c.Skips(rows, of) {
			return nil, nil
		}
		if cols := c.Columns(); len(cols) == 1 && r.flatColumns(cols) {
			if p := c.Points(); len(p) > 0 {
				cc, err := md.ColumnChunk(r.columns[cols[0]].n.column)
				if err == nil && r.columns[cols[0]].bloomExcludes(r.f, cc, p) {
					return nil, nil
				}
			}
		}
	}
	for _, f := range r.filters {
		if lo, hi, ok := f.Bounds(); ok && len(f.Columns()) == 1 {
			if st, known := of(f.Columns()[0]); known && outside(st, lo, hi) {
				return nil, nil
			}
		}
	}
	if !r.siftable() {
		return all, nil
	}
	return r.prunePages(g, all), nil
}

// outside reports that no value lies between lo and hi. A NULL may have a partner
// too, in a join that takes NULLs for equal.
func outside(st batch.ColumnStats, lo, hi int64) bool {
	if st.Nulls != 0 {
		return false
	}
	least, ok1 := st.Min.(int64)
	most, ok2 := st.Max.(int64)
	return ok1 && least > hi || ok2 && most < lo || lo > hi
}

// prunePages takes away the pages that conditions on one column exclude.
func (r *Reader) prunePages(g int, ranges []rowRange) []rowRange {
	rows := r.f.r.MetaData().RowGroup(g).NumRows()
	index := map[int][]pageStats{}
	pages := func(i int) []pageStats {
		x, ok := index[i]
		if !ok && r.flatColumns([]int{i}) {
			if cc, err := r.f.r.MetaData().RowGroup(g).ColumnChunk(r.columns[i].n.column); err == nil {
				x = r.columns[i].pageIndex(r.f, cc, rows)
			}
			index[i] = x
		}
		return x
	}
	cut := func(col int, skips func(p pageStats) bool) {
		for _, p := range pages(col) {
			if skips(p) {
				ranges = without(ranges, p.rowRange)
				r.counts.PagesPruned++
			}
		}
	}
	for _, c := range r.conds {
		if cols := c.Columns(); len(cols) == 1 {
			cut(cols[0], func(p pageStats) bool {
				return c.Skips(p.to-p.from, func(int) (batch.ColumnStats, bool) { return p.stats, true })
			})
		}
	}
	for _, f := range r.filters {
		if lo, hi, ok := f.Bounds(); ok && len(f.Columns()) == 1 {
			cut(f.Columns()[0], func(p pageStats) bool { return outside(p.stats, lo, hi) })
		}
	}
	return ranges
}
