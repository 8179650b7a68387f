package functions

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// eachRow calls f for the rows that an Update names and whose arguments all
// hold a value. It is the road of aggregates that do enough per row for a call
// not to matter; sums and counts have loops of their own.
func eachRow(groups []uint32, args []expr.Vec, sel []int32, n int, f func(g uint32, i int) error) error {
	count := n
	if sel != nil {
		count = len(sel)
	}
	valid := make([]vec.Bits, 0, len(args))
	for _, a := range args {
		if a.Arr.NullN() == 0 {
			continue
		}
		if a.Const || a.Arr.NullN() == a.Arr.Len() {
			return nil
		}
		valid = append(valid, vec.Validity(a.Arr))
	}
rows:
	for k := range count {
		i := k
		if sel != nil {
			i = int(sel[k])
		}
		for _, v := range valid {
			if !v.Get(i) {
				continue rows
			}
		}
		var g uint32
		if groups != nil {
			g = groups[k]
		}
		if err := f(g, i); err != nil {
			return err
		}
	}
	return nil
}

// grow returns s with length n; new elements are zero.
func grow[T any](s []T, n int) []T {
	if n <= len(s) {
		return s[:n]
	}
	if n <= cap(s) {
		old := len(s)
		s = s[:n]
		clear(s[old:])
		return s
	}
	out := make([]T, n, max(n, 2*cap(s)))
	copy(out, s)
	return out
}

// group returns the group of entry k of a merge; nil groups are all group 0.
func group0(groups []uint32, k int) uint32 {
	if groups == nil {
		return 0
	}
	return groups[k]
}
