package executor

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
)

// keyFilter is what a join's build side says about rows far below its probe
// side: rows whose key is not in the table need not be read. It is made with the
// operators, and empty until a table is there. Filters and projections pass it
// down, and joins through their probe side, to a scan in the same task.
type keyFilter struct {
	cols []int // of the scan's output
	slot int   // among the scan's filters

	index   *joinIndex // nil while nothing is known
	keys    *joinKeys
	signed  bool // the only key is a signed integer, a date or a time
	lo, hi  int64
	words   []uint64
	seen    int64
	dropped int64
	// again and found are rows that the reader had left, and those dropped of them.
	again, found int64
}

var _ sources.RowFilter = (*keyFilter)(nil)

// A filter that drops less than a fifth of the rows after keyFilterTrial of them
// costs more than it brings.
const (
	keyFilterTrial = 1 << 16
	keyFilterFifth = 5
)

// attachFilter finds a scan below the probe side of j that may drop rows, and
// gives it a filter.
func attachFilter(j *hashJoin, keys []expr.Expr) {
	if j.pr.keepAlone || j.pr.anti || len(keys) == 0 {
		return
	}
	cols := make([]int, len(keys))
	for i, k := range keys {
		c, ok := k.(*expr.Column)
		if !ok {
			return
		}
		cols[i] = c.Index
	}
	s, cols := scanBelow(j.probe, cols)
	if s == nil {
		return
	}
	f := &keyFilter{cols: cols, slot: len(s.filters)}
	s.filters, s.keep = append(s.filters, f), append(s.keep, nil)
	j.filter = f
}

// scanBelow follows columns down to the scan that they come from unchanged.
func scanBelow(op Operator, cols []int) (*scan, []int) {
	for {
		if w, ok := op.(*watched); ok {
			op = w.op
		}
		switch x := op.(type) {
		case *scan:
			return x, cols
		case *filter:
			if n, ok := x.node.(*physical.Filter); !ok || !immutable(n.Cond) {
				return nil, nil
			}
			op = x.in[0]
		case *project:
			n, ok := x.node.(*physical.Project)
			if !ok || !immutable(n.Exprs...) {
				return nil, nil
			}
			below := make([]int, len(cols))
			for i, c := range cols {
				col, ok := n.Exprs[c].(*expr.Column)
				if !ok {
					return nil, nil
				}
				below[i] = col.Index
			}
			op, cols = x.in[0], below
		case *hashJoin:
			// Rows of its build side that come out by themselves would not find the
			// partners that were dropped.
			if x.br.keepAlone || x.br.single() {
				return nil, nil
			}
			below := make([]int, len(cols))
			for i, c := range cols {
				if !x.outs[c].probe {
					return nil, nil
				}
				below[i] = x.outs[c].col
			}
			op, cols = x.probe, below
		default:
			return nil, nil
		}
	}
}

// set says which keys there are.
func (f *keyFilter) set(t *joinTable, keys *joinKeys) {
	f.clear()
	f.index, f.keys = t.index, keys.clone()
	f.lo, f.hi, f.signed = math.MinInt64, math.MaxInt64, false
	if x := t.index; x.dense != nil && len(keys.types) == 1 && signedKey(keys.types[0]) {
		f.signed = true
		bias := uint64(1) << (keys.place[0].bits - 1)
		f.lo, f.hi = unbias(x.min, bias), unbias(x.min+x.span-1, bias)
	}
}

// unbias turns a word of a signed number of some width back into the number.
func unbias(w, bias uint64) int64 { return int64(w) - int64(bias) }

func signedKey(dt arrow.DataType) bool {
	switch dt.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.DATE32, arrow.DATE64, arrow.TIMESTAMP, arrow.TIME32, arrow.TIME64, arrow.DURATION:
		return true
	}
	return false
}

func (f *keyFilter) clear() {
	f.index, f.seen, f.dropped, f.again, f.found = nil, 0, 0, 0, 0
}

// pick returns the columns of the filter, of some rows of a batch or of all.
func (f *keyFilter) pick(alloc memory.Allocator, rec arrow.RecordBatch, rows []int32) ([]arrow.Array, error) {
	cols := make([]arrow.Array, len(f.cols))
	for i, c := range f.cols {
		cols[i] = rec.Column(c)
	}
	if rows != nil {
		return gather.Columns(alloc, cols, rows)
	}
	for _, c := range cols {
		c.Retain()
	}
	return cols, nil
}

// Columns implements sources.RowFilter.
func (f *keyFilter) Columns() []int { return f.cols }

// Active implements sources.RowFilter.
func (f *keyFilter) Active() bool {
	return f.index != nil && (f.seen < keyFilterTrial || f.dropped*keyFilterFifth >= f.seen)
}

// Bounds implements sources.RowFilter.
func (f *keyFilter) Bounds() (lo, hi int64, ok bool) { return f.lo, f.hi, f.index != nil && f.signed }

// Keep implements sources.RowFilter.
func (f *keyFilter) Keep(cols []arrow.Array, n int, dst []int32) []int32 {
	first := len(dst)
	dst = f.keep(cols, n, dst)
	f.seen += int64(n)
	f.dropped += int64(n - (len(dst) - first))
	return dst
}

func (f *keyFilter) keep(cols []arrow.Array, n int, dst []int32) []int32 {
	f.words = resized(f.words, n*f.keys.stride)
	f.keys.words(cols, n, f.words)
	first := len(dst)
	dst = f.index.may(f.words, n, dst)
	if nulls := f.keys.nullable(cols); len(nulls) > 0 {
		k := first
		for _, r := range dst[first:] {
			if !anyNull(nulls, int(r)) {
				dst[k] = r
				k++
			}
		}
		dst = dst[:k]
	}
	return dst
}

// worthwhile reports whether to look at rows here, given whether the reader has.
func (f *keyFilter) worthwhile(sifted bool) bool {
	if !sifted || f.index == nil {
		return f.Active()
	}
	return f.again < keyFilterTrial || f.found*keyFilterFifth >= f.again
}

// offer tells the reader what joins know already.
func (s *scan) offer() {
	r, ok := s.reader.(sources.Filterable)
	if s.sifted = false; !ok {
		return
	}
	var fs []sources.RowFilter
	for _, f := range s.filters {
		if f.index != nil {
			fs = append(fs, f)
		}
	}
	if s.sifted = len(fs) > 0; s.sifted {
		r.Filter(fs)
	}
}

// wanted drops the rows that a join above has no partner for. It returns nil if
// none is left. Only the keys are gathered between one filter and the next.
func (s *scan) wanted(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	out := relabel(rec, s.n.Out)
	var rows []int32 // nil is all
	n := int(out.NumRows())
	for _, f := range s.filters {
		if n == 0 || !f.worthwhile(s.sifted) {
			continue
		}
		keys, err := f.pick(s.tc.Alloc, out, rows)
		if err != nil {
			out.Release()
			return nil, err
		}
		var keep []int32
		if s.sifted {
			keep = f.keep(keys, n, s.keep[f.slot][:0])
			f.again, f.found = f.again+int64(n), f.found+int64(n-len(keep))
		} else {
			keep = f.Keep(keys, n, s.keep[f.slot][:0])
		}
		gather.Release(keys)
		s.keep[f.slot] = keep
		for i, k := range keep {
			if rows != nil {
				keep[i] = rows[k]
			}
		}
		rows, n = keep, len(keep)
	}
	if rows == nil {
		return out, nil
	}
	defer out.Release()
	s.dropped += out.NumRows() - int64(n)
	return keepRows(s.tc, out, rows)
}
