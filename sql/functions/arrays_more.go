package functions

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// arrayEdits lists functions that put elements into arrays, take them out or
// pair them up.
func arrayEdits() []*Entry {
	return []*Entry{
		fn("array_append", "An array with an element added at its end.", "array_append(array(1, 2), 3)", "[1, 2, 3]",
			sig("array<T>, T -> array<T>", arrayAdd(false))).lax(),
		fn("array_prepend", "An array with an element added in front.", "array_prepend(array(1, 2), 3)", "[3, 1, 2]",
			sig("array<T>, T -> array<T>", arrayAdd(true))).lax(),
		fn("array_insert", "An array with an element put at a position from 1, or from the end if negative; NULLs fill a gap.", "array_insert(array(1, 3), 2, 2)", "[1, 2, 3]",
			sig("array<T>, int, T -> array<T>", expr.Kernel(arrayInsert))).lax(),
		fn("array_remove", "An array without the elements equal to a value.", "array_remove(array(1, 2, 1), 1)", "[2]",
			sig("array<T>, T -> array<T>", expr.Kernel(arrayRemove))),
		special("arrays_zip", "arrays_zip(array<T>...) -> array<struct>", "An array of structs of the elements at the same place; NULL where an array is shorter.",
			"arrays_zip(array(1, 2), array('a'))", "[{1, a}, {2, null}]", bindArraysZip),
		fn("shuffle", "The elements in a random order, the same when a batch runs again.", "array_sort(shuffle(array(2, 1)))", "[1, 2]",
			sig("array<T>, bigint = 0 -> array<T>", expr.Kernel(shuffle))).perRow(),
	}
}

// arrayAdd puts the second argument, NULL or not, at an end of the first.
func arrayAdd(front bool) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		v := vec.ListOf(args[0].Arr)
		from := []expr.Vec{{Arr: v.Elems}, {Arr: args[1].Arr}}
		return gatherLists(kc, vec.StrictMask(kc.Alloc, args[:1], n), from, kc.Result.(*arrow.ListType).Elem(), func(i int, add func(part, pos int32)) error {
			r := row(args[0], i)
			if front {
				add(1, int32(row(args[1], i)))
			}
			for j := v.Start(r); j < v.End(r); j++ {
				add(0, int32(j))
			}
			if !front {
				add(1, int32(row(args[1], i)))
			}
			return nil
		})
	}
}

func arrayInsert(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	v, at := vec.ListOf(args[0].Arr), vec.Load[int32](args[1])
	elem := kc.Result.(*arrow.ListType).Elem()
	gap := vec.NullArray(kc.Alloc, elem, 1)
	defer gap.Release()
	from := []expr.Vec{{Arr: v.Elems}, {Arr: args[2].Arr}, {Arr: gap}}
	return gatherLists(kc, vec.StrictMask(kc.Alloc, args[:2], n), from, elem, func(i int, add func(part, pos int32)) error {
		r, p := row(args[0], i), int(at.At(i))
		size, put := v.Len(r), int32(row(args[2], i))
		if p == 0 {
			return batch.UserErrorf("[INVALID_INDEX_OF_ZERO] elements are counted from 1")
		}
		if max(p, -p) > elementsMax {
			return batch.UserErrorf("an array of %d elements is more than %d", max(p, -p), elementsMax)
		}
		rest := func(lo, hi int) {
			for j := lo; j < hi; j++ {
				add(0, int32(v.Start(r)+j))
			}
		}
		gaps := func(k int) {
			for range k {
				add(2, 0)
			}
		}
		switch place := size + p + 1; {
		case p > 0: // before the element that is there, or behind a gap
			rest(0, min(p-1, size))
			gaps(p - 1 - size)
			add(1, put)
			rest(p-1, size)
		case place >= 0: // counted from the end: -1 is behind the last
			rest(0, place)
			add(1, put)
			rest(place, size)
		default:
			add(1, put)
			gaps(-place)
			rest(0, size)
		}
		return nil
	})
}

func arrayRemove(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v := vec.ListOf(args[0].Arr)
	return lists(kc, args, n, []arrow.Array{v.Elems}, func(i int, add func(part, pos int32)) error {
		r := row(args[0], i)
		for j := v.Start(r); j < v.End(r); j++ {
			if vec.IsNull(v.Elems, j) || vec.Compare(v.Elems, j, args[1].Arr, row(args[1], i)) != 0 {
				add(0, int32(j))
			}
		}
		return nil
	})
}

// bindArraysZip names the fields by their column, or by their place from 0.
func bindArraysZip(e *Entry, args []expr.Expr) (expr.Expr, error) {
	fields := make([]arrow.Field, len(args))
	for i, a := range args {
		lt, ok := a.Type().(*arrow.ListType)
		if !ok {
			return nil, e.mismatch(args)
		}
		name := fmt.Sprint(i)
		if f := fieldName(a, i); f != fmt.Sprintf("col%d", i+1) {
			name = f
		}
		fields[i] = arrow.Field{Name: name, Type: lt.Elem(), Nullable: true}
	}
	return e.newCall(zipArrays, args, arrow.ListOf(arrow.StructOf(fields...))), nil
}

func zipArrays(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	n = vec.Rows(args, n)
	m := vec.StrictMask(kc.Alloc, args, n)
	views := make([]vec.ListView, len(args))
	pos := make([][]int32, len(args))
	for k, a := range args {
		views[k] = vec.ListOf(a.Arr)
	}
	buf, off := vec.NewFixed[int32](kc.Alloc, n+1)
	total := 0
	for i := range n {
		off[i] = int32(total)
		if m.IsNull(i) {
			continue
		}
		size := 0
		for k, v := range views {
			size = max(size, v.Len(row(args[k], i)))
		}
		for k, v := range views {
			r := row(args[k], i)
			for j := range size {
				at := int32(-1)
				if j < v.Len(r) {
					at = int32(v.Start(r) + j)
				}
				pos[k] = append(pos[k], at)
			}
		}
		total += size
	}
	off[n] = int32(total)
	kids := make([]arrow.Array, 0, len(args))
	for k, v := range views {
		kid, err := takeTyped(kc, v.Elems, pos[k])
		if err != nil {
			vec.ReleaseAll(kids)
			buf.Release()
			m.Release()
			return nil, err
		}
		kids = append(kids, kid)
	}
	st := vec.NewMask(kc.Alloc, total).Nested(kc.Result.(*arrow.ListType).Elem(), nil, kids...)
	return m.Nested(kc.Result, listBuffers(buf), st), nil
}

// takeTyped is vec.Take that also serves a column without any row.
func takeTyped(kc *expr.KernelContext, arr arrow.Array, pos []int32) (arrow.Array, error) {
	if arr.Len() == 0 {
		return vec.NullArray(kc.Alloc, arr.DataType(), len(pos)), nil
	}
	return vec.Take(kc.Alloc, arr, pos)
}

func shuffle(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v, salt := vec.ListOf(args[0].Arr), vec.Load[int64](args[1])
	return lists(kc, args, n, []arrow.Array{v.Elems}, func(i int, add func(part, pos int32)) error {
		r := row(args[0], i)
		order := make([]int32, v.Len(r))
		seed := mix(kc.Seed ^ mix(uint64(salt.At(i))) + uint64(kc.RowBase) + uint64(i))
		for j := range order {
			order[j] = int32(v.Start(r) + j)
			seed = mix(seed)
			k := int(seed % uint64(j+1))
			order[j], order[k] = order[k], order[j]
		}
		for _, p := range order {
			add(0, p)
		}
		return nil
	})
}

// sequenceSigs are sequences of whole numbers, and of dates and timestamps in
// steps of an interval.
func sequenceSigs() []Sig {
	whole := func(name string, dt arrow.DataType) []Sig {
		return []Sig{
			sig(name+", "+name+" -> array<"+name+">", narrowSequence(dt)),
			sig(name+", "+name+", "+name+" -> array<"+name+">", narrowSequence(dt)),
		}
	}
	sigs := slices.Concat(whole("tinyint", expr.TypeInt8), whole("smallint", expr.TypeInt16), whole("int", expr.TypeInt32))
	sigs = append(sigs, sig("bigint, bigint -> array<bigint>", expr.Kernel(sequence)), sig("bigint, bigint, bigint -> array<bigint>", expr.Kernel(sequence)))
	for _, t := range []string{"date", "timestamp", "timestamp_ntz"} {
		for _, step := range []string{"months", "duration"} {
			sigs = append(sigs, sig(t+", "+t+", "+step+" -> array<"+t+">", timeSequence))
		}
		sigs = append(sigs, sig(t+", "+t+" -> array<"+t+">", timeSequence))
	}
	return sigs
}

// narrowSequence computes in BIGINT for a narrower type: what lies between two
// of its values is one of its values.
func narrowSequence(dt arrow.DataType) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		wide := *kc
		wide.Result = arrow.ListOf(expr.TypeInt64)
		cols := make([]expr.Vec, len(args))
		for i, a := range args {
			c, err := castArray(kc, a.Arr, expr.TypeInt64)
			if err != nil {
				return nil, err
			}
			defer c.Release()
			cols[i] = expr.Vec{Arr: c, Const: a.Const}
		}
		out, err := sequence(&wide, cols, n)
		if err != nil {
			return nil, err
		}
		defer out.Release()
		return castArray(kc, out, arrow.ListOf(dt))
	}
}

// timeSequence adds multiples of the step to the start, by the rules of +.
func timeSequence(t *Types) (expr.Kernel, error) {
	dt := t.Args[0]
	step := arrow.DataType(expr.TypeDuration)
	if len(t.Args) == 3 {
		step = t.Args[2]
	}
	plus, err := Scalar("+", []expr.Expr{&expr.Column{DT: dt}, &expr.Column{DT: step}})
	if err != nil {
		return nil, err
	}
	call, ok := plus.(*expr.Call)
	if !ok {
		return nil, batch.UserErrorf("a sequence of %s cannot have a step of %s", expr.TypeName(dt), expr.TypeName(step))
	}
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		n = vec.Rows(args, n)
		m := vec.StrictMask(kc.Alloc, args, n)
		defer m.Release()
		b := array.NewListBuilder(kc.Alloc, dt)
		defer b.Release()
		for i := range n {
			if m.IsNull(i) {
				b.AppendNull()
				continue
			}
			b.Append(true)
			if err := appendTimes(kc, call, b.ValueBuilder(), step, args, i); err != nil {
				return nil, err
			}
		}
		return b.NewListArray(), nil
	}, nil
}

// appendTimes appends the times of row i. The step's multiples are added in one
// call of the kernel of +, so that months are cut to their last day only once.
func appendTimes(kc *expr.KernelContext, plus *expr.Call, b array.Builder, step arrow.DataType, args []expr.Vec, i int) error {
	by := int64(24 * 3600 * 1e6)
	first, last := timeValue(args[0], i), timeValue(args[1], i)
	if len(args) == 3 {
		by = timeValue(args[2], i)
	} else if last < first {
		by = -by
	}
	if by == 0 && first != last || by > 0 && last < first || by < 0 && last > first {
		return batch.UserErrorf("a sequence cannot reach its end with this step")
	}
	unit := by
	if step.ID() == arrow.INTERVAL_MONTHS {
		unit = by * 28 * 24 * 3600 * 1e6 // a month has at least as many
	}
	span := last - first
	if args[0].Arr.DataType().ID() == arrow.DATE32 {
		span *= 24 * 3600 * 1e6
	}
	count := int64(1)
	if unit != 0 {
		count += span / unit
	}
	if count > elementsMax {
		return batch.UserErrorf("a sequence of more than %d elements", elementsMax)
	}
	one, err := vec.Take(kc.Alloc, args[0].Arr, []int32{int32(row(args[0], i))})
	if err != nil {
		return err
	}
	defer one.Release()
	from, err := castArray(kc, one, plus.Args[0].Type()) // a date moved by hours is a timestamp
	if err != nil {
		return err
	}
	defer from.Release()
	steps := multiples(kc, step, by, int(count))
	defer steps.Release()
	c := *kc
	c.Result = plus.DT
	raw, err := plus.Func.Kernel(&c, []expr.Vec{{Arr: from, Const: true}, {Arr: steps}}, int(count))
	if err != nil {
		return err
	}
	defer raw.Release()
	out, err := castArray(kc, raw, args[0].Arr.DataType())
	if err != nil {
		return err
	}
	defer out.Release()
	for j := range out.Len() {
		v := timeValue(expr.Vec{Arr: out}, j)
		if by > 0 && v > last || by < 0 && v < last {
			break
		}
		appendTime(b, v)
	}
	return nil
}

func multiples(kc *expr.KernelContext, step arrow.DataType, by int64, n int) arrow.Array {
	if step.ID() == arrow.INTERVAL_MONTHS {
		buf, out := vec.NewFixed[int32](kc.Alloc, n)
		for j := range out {
			out[j] = int32(by * int64(j))
		}
		return vec.NewMask(kc.Alloc, n).Array(step, buf)
	}
	buf, out := vec.NewFixed[int64](kc.Alloc, n)
	for j := range out {
		out[j] = by * int64(j)
	}
	return vec.NewMask(kc.Alloc, n).Array(step, buf)
}

// timeValue reads a date, timestamp or interval as a number.
func timeValue(v expr.Vec, i int) int64 {
	if v.Arr.DataType().(arrow.FixedWidthDataType).BitWidth() == 32 {
		return int64(vec.Values[int32](v.Arr)[row(v, i)])
	}
	return vec.Values[int64](v.Arr)[row(v, i)]
}

func appendTime(b array.Builder, v int64) {
	switch b := b.(type) {
	case *array.Date32Builder:
		b.Append(arrow.Date32(v))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v))
	}
}
