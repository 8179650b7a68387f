package functions

import (
	"bytes"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func extremeSig(want int) AggSig {
	return asig("any", func(t *Types) (*expr.Aggregate, error) {
		if t.Args[0].ID() == arrow.MAP {
			return nil, batch.UserErrorf("values of type %s have no order", expr.TypeName(t.Args[0]))
		}
		return newExtreme(t.Args[0], want), nil
	})
}

// newExtreme resolves min (want < 0) or max (want > 0).
func newExtreme(dt arrow.DataType, want int) *expr.Aggregate {
	a := &expr.Aggregate{State: []arrow.DataType{dt}, Result: dt, IgnoresDuplicates: true, EmptyNull: true}
	a.New = func(alloc memory.Allocator) expr.Accumulator {
		switch dt.ID() {
		case arrow.INT8:
			return &extremes[int8]{alloc: alloc, dt: dt, max: want > 0}
		case arrow.INT16:
			return &extremes[int16]{alloc: alloc, dt: dt, max: want > 0}
		case arrow.INT32, arrow.DATE32, arrow.INTERVAL_MONTHS:
			return &extremes[int32]{alloc: alloc, dt: dt, max: want > 0}
		case arrow.INT64, arrow.TIMESTAMP, arrow.DURATION, arrow.TIME64:
			return &extremes[int64]{alloc: alloc, dt: dt, max: want > 0}
		case arrow.FLOAT32:
			return &extremes[float32]{alloc: alloc, dt: dt, max: want > 0}
		case arrow.FLOAT64:
			return &extremes[float64]{alloc: alloc, dt: dt, max: want > 0}
		}
		return &extremeBytes{values: values{alloc: alloc, dt: dt}, want: want}
	}
	return a
}

type extremeOf interface{ integer | floating }

// extremes is min or max of plain numbers.
type extremes[T extremeOf] struct {
	alloc memory.Allocator
	dt    arrow.DataType
	max   bool
	val   []T
	set   []bool
}

func (x *extremes[T]) Resize(n int) { x.val, x.set = grow(x.val, n), grow(x.set, n) }

// better reports whether a should take b's place. NaN is the greatest number.
func (x *extremes[T]) better(a, b T) bool {
	if x.max {
		return a > b || a != a && b == b
	}
	return a < b || b != b && a == a
}

func (x *extremes[T]) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	v := vec.Values[T](args[0].Arr)
	if sel == nil && !args[0].Const && args[0].Arr.NullN() == 0 {
		if groups == nil {
			x.one(v[:n])
		} else {
			x.many(groups[:n], v)
		}
		return nil
	}
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		x.put(g, v[row(args[0], i)])
		return nil
	})
}

func (x *extremes[T]) put(g uint32, v T) {
	if !x.set[g] || x.better(v, x.val[g]) {
		x.val[g], x.set[g] = v, true
	}
}

func (x *extremes[T]) one(v []T) {
	if len(v) == 0 {
		return
	}
	best := v[0]
	if x.set[0] {
		best = x.val[0]
	}
	if x.max {
		for _, a := range v {
			if a > best || a != a {
				best = a
			}
		}
	} else {
		for _, a := range v {
			if a < best || best != best {
				best = a
			}
		}
	}
	x.val[0], x.set[0] = best, true
}

func (x *extremes[T]) many(groups []uint32, v []T) {
	val, set := x.val, x.set
	if x.max {
		for k, g := range groups {
			if a := v[k]; !set[g] || a > val[g] || a != a {
				val[g], set[g] = a, true
			}
		}
		return
	}
	for k, g := range groups {
		if a := v[k]; !set[g] || a < val[g] || val[g] != val[g] {
			val[g], set[g] = a, true
		}
	}
}

func (x *extremes[T]) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (x *extremes[T]) Merge(groups []uint32, state []arrow.Array) error {
	for k, v := range vec.Values[T](state[0]) {
		if state[0].IsValid(k) {
			x.put(group0(groups, k), v)
		}
	}
	return nil
}

func (x *extremes[T]) State(first, end int) ([]arrow.Array, error) {
	arr, err := x.Final(first, end)
	return []arrow.Array{arr}, err
}

func (x *extremes[T]) Final(first, end int) (arrow.Array, error) {
	n := end - first
	buf, out := vec.NewFixed[T](x.alloc, n)
	copy(out, x.val[first:end])
	m := vec.NewMask(x.alloc, n)
	for i := range n {
		if !x.set[first+i] {
			m.SetNull(i)
		}
	}
	return m.Array(x.dt, buf), nil
}

func (x *extremes[T]) Bytes() int64 { return int64(cap(x.val))*8 + int64(cap(x.set)) }
func (x *extremes[T]) Reset()       { x.val, x.set = x.val[:0], x.set[:0] }
func (x *extremes[T]) Release()     { x.val, x.set = nil, nil }

var errNotInvertible = batch.UserErrorf("the aggregate cannot take a row back")

// values holds one encoded value of any type per group; nil is none.
type values struct {
	alloc memory.Allocator
	dt    arrow.DataType
	val   [][]byte
	bytes int64
}

func (v *values) Resize(n int) { v.val = grow(v.val, n) }

func (v *values) set(g uint32, b []byte) {
	old := cap(v.val[g])
	v.val[g] = append(v.val[g][:0], b...)
	v.bytes += int64(cap(v.val[g]) - old)
}

// array decodes the values of groups [first, end).
func (v *values) array(first, end int) (arrow.Array, error) {
	b := array.NewBuilder(v.alloc, v.dt)
	defer b.Release()
	b.Reserve(end - first)
	for _, x := range v.val[first:end] {
		if len(x) == 0 {
			b.AppendNull()
			continue
		}
		if _, err := vec.Decoded(b, x); err != nil {
			return nil, err
		}
	}
	return b.NewArray(), nil
}

func (v *values) Bytes() int64 { return v.bytes + int64(cap(v.val))*24 }

// Reset forgets the values. What lies beyond them is empty already: a batch of ten rows
// does not pay for the room that a larger one has left.
func (v *values) Reset() {
	clear(v.val)
	v.val, v.bytes = v.val[:0], 0
}

func (v *values) Release() { v.val, v.bytes = nil, 0 }

// extremeBytes is min or max of the other types, by their ordered encoding.
type extremeBytes struct {
	values
	want int
	key  []byte
}

func (x *extremeBytes) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		x.put(g, args[0].Arr, row(args[0], i))
		return nil
	})
}

func (x *extremeBytes) put(g uint32, arr arrow.Array, i int) {
	x.key = vec.Encode(x.key[:0], arr, i)
	if len(x.val[g]) == 0 || bytes.Compare(x.key, x.val[g])*x.want > 0 {
		x.set(g, x.key)
	}
}

func (x *extremeBytes) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (x *extremeBytes) Merge(groups []uint32, state []arrow.Array) error {
	for k := range state[0].Len() {
		if state[0].IsValid(k) {
			x.put(group0(groups, k), state[0], k)
		}
	}
	return nil
}

func (x *extremeBytes) State(first, end int) ([]arrow.Array, error) {
	arr, err := x.array(first, end)
	return []arrow.Array{arr}, err
}

func (x *extremeBytes) Final(first, end int) (arrow.Array, error) { return x.array(first, end) }
