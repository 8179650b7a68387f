package functions

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// folds lists functions whose lambda is evaluated more than once per row. Each
// evaluation takes all rows that are still at work, so that the body runs over
// columns and never over single values.
func folds() []*Entry {
	aggregate := special("aggregate|reduce", "aggregate(array<T>, U, lambda[, lambda]) -> U",
		"The start value after a lambda (value, element) was applied to each element, and a last lambda to the outcome if there is one.",
		"aggregate(array(1, 2, 3), 0, (acc, x) -> acc + x)", "6", bindFold)
	aggregate.lambda = func(args []expr.Expr, n int) ([]arrow.DataType, error) {
		lt, ok := args[0].Type().(*arrow.ListType)
		switch {
		case !ok:
			return nil, fmt.Errorf("needs an array, not %s", expr.TypeName(args[0].Type()))
		case len(args) == 2 && n == 2:
			return []arrow.DataType{foldType(args[1].Type()), lt.Elem()}, nil
		case len(args) == 3 && n == 1:
			return []arrow.DataType{foldType(args[1].Type())}, nil
		}
		return nil, fmt.Errorf("takes an array, a start value, a lambda of two parameters and perhaps one of one")
	}
	sort := special("array_sort", "array_sort(array<T>[, lambda]) -> array<T>", "Sorted upwards, NULLs last, or by a lambda that compares two elements (less than 0, 0, more than 0).",
		"array_sort(array(3, NULL, 1))", "[1, 3, null]", bindArraySort)
	sort.lambda = func(args []expr.Expr, n int) ([]arrow.DataType, error) {
		lt, ok := args[0].Type().(*arrow.ListType)
		if !ok || len(args) != 1 || n != 2 {
			return nil, fmt.Errorf("takes an array and a lambda of two parameters")
		}
		return []arrow.DataType{lt.Elem(), lt.Elem()}, nil
	}
	return []*Entry{aggregate, sort}
}

// foldType is the type that a fold computes in: VOID starts as INT.
func foldType(dt arrow.DataType) arrow.DataType {
	if dt.ID() == arrow.NULL {
		return expr.TypeInt32
	}
	return dt
}

// returning gives a lambda's body a type.
func returning(l *expr.Lambda, dt arrow.DataType) (*expr.Lambda, error) {
	body := canonical(l.Body)
	if castCost(body, dt) >= never && !isNumeric(body.Type()) {
		return nil, batch.UserErrorf("the lambda gives %s, not %s", expr.TypeName(body.Type()), expr.TypeName(dt))
	}
	return &expr.Lambda{Params: l.Params, Body: coerce(body, dt)}, nil
}

func bindFold(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) < 3 || len(args) > 4 || args[0].Type().ID() != arrow.LIST {
		return nil, e.mismatch(args)
	}
	merge, ok := args[2].(*expr.Lambda)
	if !ok || len(merge.Params) != 2 {
		return nil, e.mismatch(args)
	}
	dt := foldType(args[1].Type())
	merge, err := returning(merge, dt)
	if err != nil {
		return nil, err
	}
	out := []expr.Expr{args[0], coerce(args[1], dt), merge}
	result := dt
	if len(args) == 4 {
		finish, ok := args[3].(*expr.Lambda)
		if !ok || len(finish.Params) != 1 {
			return nil, e.mismatch(args)
		}
		result = finish.Body.Type()
		out = append(out, finish)
	}
	n := *e
	n.nonStrict = true
	return n.newCall(foldKernel, out, result), nil
}

// foldKernel applies the lambda to the k-th elements of all rows that have one, for k = 0, 1, ..
func foldKernel(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	lst, err := expand(kc, args[0], n)
	if err != nil {
		return nil, err
	}
	defer lst.Release()
	acc, err := expand(kc, args[1], n)
	if err != nil {
		return nil, err
	}
	v := vec.ListOf(lst)
	var rows, pos, from, at []int32
	for k := 0; ; k++ {
		rows, pos = rows[:0], pos[:0]
		from, at = grow(from, n), grow(at, n)
		for i := range n {
			from[i], at[i] = 0, int32(i)
			if lst.IsValid(i) && k < v.Len(i) {
				from[i], at[i] = 1, int32(len(rows))
				rows, pos = append(rows, int32(i)), append(pos, int32(v.Start(i)+k))
			}
		}
		if len(rows) == 0 {
			break
		}
		next, err := foldStep(kc, acc, v.Elems, rows, pos, from, at)
		acc.Release()
		if err != nil {
			return nil, err
		}
		acc = next
	}
	defer acc.Release()
	if len(kc.Lambdas) == 2 {
		out, err := evalLambda(kc, 3, []arrow.Array{acc}, every(n))
		if err != nil {
			return nil, err
		}
		defer out.Release()
		return nullWhere(kc, out, lst)
	}
	return nullWhere(kc, acc, lst)
}

// foldStep evaluates one step for the given rows and puts its results among the others.
func foldStep(kc *expr.KernelContext, acc, elems arrow.Array, rows, pos, from, at []int32) (arrow.Array, error) {
	have, err := vec.Take(kc.Alloc, acc, rows)
	if err != nil {
		return nil, err
	}
	defer have.Release()
	elem, err := vec.Take(kc.Alloc, elems, pos)
	if err != nil {
		return nil, err
	}
	defer elem.Release()
	got, err := evalLambda(kc, 2, []arrow.Array{have, elem}, rows)
	if err != nil {
		return nil, err
	}
	if len(rows) == acc.Len() {
		return got, nil
	}
	defer got.Release()
	return vec.Interleave(kc.Alloc, acc.DataType(), []vec.Part{{Arr: acc}, {Arr: got}}, from, at)
}

// evalLambda evaluates the lambda at an argument's position.
func evalLambda(kc *expr.KernelContext, arg int, params []arrow.Array, rows []int32) (arrow.Array, error) {
	l := kc.Lambdas[arg]
	if len(rows) == 0 {
		return vec.NullArray(kc.Alloc, l.Body.Type(), 0), nil
	}
	return kc.Eval(l, params[:len(l.Params)], rows, len(rows))
}

// every lists the rows 0..n-1.
func every(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

// nullWhere returns out with NULL in each row where of has one.
func nullWhere(kc *expr.KernelContext, out, of arrow.Array) (arrow.Array, error) {
	idx := every(out.Len())
	null := false
	for i := range idx {
		if of.IsNull(i) {
			idx[i], null = -1, true
		}
	}
	if !null {
		out.Retain()
		return out, nil
	}
	return vec.Take(kc.Alloc, out, idx)
}

func bindArraySort(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) == 0 || len(args) > 2 || args[0].Type().ID() != arrow.LIST {
		return nil, e.mismatch(args)
	}
	if len(args) == 1 {
		n := *e
		n.total = true
		return n.newCall(sortElements, args, args[0].Type()), nil
	}
	l, ok := args[1].(*expr.Lambda)
	if !ok || len(l.Params) != 2 {
		return nil, e.mismatch(args)
	}
	l, err := returning(l, expr.TypeInt32)
	if err != nil {
		return nil, err
	}
	n := *e
	n.nonStrict = true
	return n.newCall(sortByLambda, []expr.Expr{args[0], l}, args[0].Type()), nil
}

func sortElements(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v := vec.ListOf(args[0].Arr)
	return lists(kc, args, n, []arrow.Array{v.Elems}, func(i int, add func(part, pos int32)) error {
		for _, e := range sorted(listElems(v, row(args[0], i), 0), true, false) {
			add(0, e.pos)
		}
		return nil
	})
}

// sortByLambda sorts all rows' arrays side by side: every round compares one
// pair of each row that is not sorted yet, in one evaluation of the lambda.
func sortByLambda(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	lst, err := expand(kc, args[0], n)
	if err != nil {
		return nil, err
	}
	defer lst.Release()
	v := vec.ListOf(lst)
	sorts := make([]mergeSort, n)
	active := make([]int32, 0, n)
	for i := range n {
		if lst.IsValid(i) {
			sorts[i].start(int32(v.Start(i)), v.Len(i))
			if sorts[i].more() {
				active = append(active, int32(i))
			}
		}
	}
	left, right := make([]int32, 0, n), make([]int32, 0, n)
	for len(active) > 0 {
		left, right = left[:0], right[:0]
		for _, r := range active {
			a, b := sorts[r].pair()
			left, right = append(left, a), append(right, b)
		}
		order, err := compareBy(kc, v.Elems, left, right, active)
		if err != nil {
			return nil, err
		}
		vals, still := vec.Values[int32](order), active[:0]
		for k, r := range active {
			if order.IsNull(k) {
				order.Release()
				return nil, batch.UserErrorf("[COMPARATOR_RETURNS_NULL] the comparison of two elements gave NULL")
			}
			sorts[r].take(vals[k] <= 0)
			if sorts[r].more() {
				still = append(still, r)
			}
		}
		active = still
		order.Release()
	}
	one := []expr.Vec{{Arr: lst}}
	return lists(kc, one, n, []arrow.Array{v.Elems}, func(i int, add func(part, pos int32)) error {
		for _, p := range sorts[i].src {
			add(0, p)
		}
		return nil
	})
}

func compareBy(kc *expr.KernelContext, elems arrow.Array, left, right, rows []int32) (arrow.Array, error) {
	a, err := vec.Take(kc.Alloc, elems, left)
	if err != nil {
		return nil, err
	}
	defer a.Release()
	b, err := vec.Take(kc.Alloc, elems, right)
	if err != nil {
		return nil, err
	}
	defer b.Release()
	return evalLambda(kc, 1, []arrow.Array{a, b}, rows)
}

// mergeSort is a stable bottom-up merge sort that stops at each comparison.
type mergeSort struct {
	src, dst    []int32
	width, i, j int // the heads of the two runs being merged
	lo, k       int
}

func (s *mergeSort) start(base int32, n int) {
	s.src, s.dst, s.width = make([]int32, n), make([]int32, n), 1
	for k := range s.src {
		s.src[k] = base + int32(k)
	}
	s.run(0)
}

// run starts merging the pair of runs at lo.
func (s *mergeSort) run(lo int) { s.lo, s.i, s.j, s.k = lo, lo, lo+s.width, lo }

// more copies what needs no comparison and reports whether one is needed.
func (s *mergeSort) more() bool {
	n := len(s.src)
	for s.width < n {
		mid, hi := min(s.lo+s.width, n), min(s.lo+2*s.width, n)
		if s.i < mid && s.j < hi {
			return true
		}
		s.k += copy(s.dst[s.k:], s.src[s.i:mid])
		if s.j < hi {
			s.k += copy(s.dst[s.k:], s.src[s.j:hi])
		}
		if hi < n {
			s.run(hi)
			continue
		}
		s.src, s.dst = s.dst, s.src
		s.width *= 2
		s.run(0)
	}
	return false
}

func (s *mergeSort) pair() (int32, int32) { return s.src[s.i], s.src[s.j] }

// take moves the lesser of the pair.
func (s *mergeSort) take(first bool) {
	if first {
		s.dst[s.k] = s.src[s.i]
		s.i++
	} else {
		s.dst[s.k] = s.src[s.j]
		s.j++
	}
	s.k++
}

// flat returns the elements of all rows of a list column, and the row of each.
func flat(lst arrow.Array, elems arrow.Array, n int) (arrow.Array, []int32, int) {
	v := vec.ListOf(lst)
	base, end := v.Start(0), v.End(n-1)
	rows := make([]int32, 0, end-base)
	for i := range n {
		for range v.Len(i) {
			rows = append(rows, int32(i))
		}
	}
	return array.NewSlice(elems, int64(base), int64(end)), rows, base
}
