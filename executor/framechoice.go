package executor

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// frameRowChoice says which rows of a frame count, and in which order, for an
// aggregate with DISTINCT or ORDER BY.
type frameRowChoice struct {
	// prev is the row before with the same arguments in the partition, -1 for none: a
	// row counts in the frames that do not reach back to it.
	prev []int32
	// once is prev where all frames begin with the partition: a row counts if it is
	// the first, whatever its frame.
	once []int32
	// order lists the rows as ORDER BY has them, and rank is where each is in it.
	order, rank []int32
}

// each reports that frames are taken row by row, without partial results: what
// counts in one depends on the others in it.
func (c *frameRowChoice) each() bool { return c.prev != nil || c.rank != nil }

func (c *frameRowChoice) bytes() int64 {
	return 4 * int64(len(c.prev)+len(c.once)+len(c.order)+len(c.rank))
}

// choose looks at the rows of all partitions once.
func (t *frameTree) choose(in *callInput) error {
	if len(t.agg.OrderBy) > 0 {
		t.sortRows(in)
	}
	if !t.agg.Distinct || len(in.args) == 0 {
		return nil
	}
	prev, err := t.repeats()
	if f := &in.call.Frame; f.Start.Kind == expr.UnboundedPreceding && f.Exclude == expr.ExcludeNone {
		t.chosen.once = prev
	} else {
		t.chosen.prev = prev
	}
	return err
}

// repeats finds, for each row that passes the filter, the one before with the same arguments.
func (t *frameTree) repeats() ([]int32, error) {
	cols, types := make([]arrow.Array, len(t.args)), make([]arrow.DataType, len(t.args))
	for i, a := range t.args {
		cols[i], types[i] = a.Arr, a.Arr.DataType()
	}
	enc, err := rowkey.NewEncoder(types)
	if err != nil {
		return nil, err
	}
	var rows rowkey.Rows
	if err := enc.Encode(cols, t.w.n, &rows); err != nil {
		return nil, err
	}
	prev, last := make([]int32, t.w.n), map[string]int32{}
	for p := range len(t.w.parts) - 1 {
		clear(last)
		for i := t.w.parts[p]; i < t.w.parts[p+1]; i++ {
			if prev[i] = -1; !t.passes(i) {
				continue
			}
			key := rows.Row(int(i))
			if at, ok := last[string(key)]; ok {
				prev[i] = at
			}
			last[string(key)] = i
		}
	}
	return prev, nil
}

// sortRows puts the rows in the order that the aggregate asks for.
func (t *frameTree) sortRows(in *callInput) {
	order := make([]int32, t.w.n)
	for i := range order {
		order[i] = int32(i)
	}
	var compare []func(i, j int) int
	for _, c := range in.order {
		compare = append(compare, comparing(t.w.cols[c], t.w.cols[c]))
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		for k, key := range t.agg.OrderBy {
			arr := t.w.cols[in.order[k]]
			c := 0
			switch x, y := vec.IsNull(arr, int(a)), vec.IsNull(arr, int(b)); {
			case x && y:
			case x != y:
				if c = 1; x == key.NullsFirst {
					c = -1
				}
			default:
				if c = compare[k](int(a), int(b)); key.Desc {
					c = -c
				}
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	t.chosen.order, t.chosen.rank = order, make([]int32, t.w.n)
	for at, i := range order {
		t.chosen.rank[i] = int32(at)
	}
}

// pickRows notes the rows of a frame that count.
func (t *frameTree) pickRows(group int, spans [3]span) {
	from := len(t.picks)
	for _, s := range spans {
		for i := s.lo; i < s.hi; i++ {
			if t.takes(i) && t.isFirst(i, spans) {
				t.groups, t.picks = append(t.groups, uint32(group)), append(t.picks, i)
			}
		}
	}
	if rank := t.chosen.rank; rank != nil {
		slices.SortFunc(t.picks[from:], func(a, b int32) int { return int(rank[a] - rank[b]) })
	}
}

// isFirst says whether no row of a frame before row i has its arguments.
func (t *frameTree) isFirst(i int32, spans [3]span) bool {
	if t.chosen.prev == nil {
		return true
	}
	for p := t.chosen.prev[i]; p >= spans[0].lo; p = t.chosen.prev[p] {
		for _, s := range spans {
			if p >= s.lo && p < s.hi {
				return false
			}
		}
	}
	return true
}
