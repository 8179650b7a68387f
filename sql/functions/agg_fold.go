package functions

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/cast"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// fold combines values of one fixed-width type with an operation.
type fold[T int64 | float64] struct {
	alloc memory.Allocator
	dt    arrow.DataType
	unit  T
	f     func(a, b T) T
	val   []T
	some  []bool
}

func newFold[T int64 | float64](dt arrow.DataType, unit T, f func(a, b T) T) *expr.Aggregate {
	a := &expr.Aggregate{State: []arrow.DataType{dt}, Result: dt, EmptyNull: true}
	a.New = acc(func(alloc memory.Allocator) *fold[T] { return &fold[T]{alloc: alloc, dt: dt, unit: unit, f: f} })
	return a
}

// bitAgg folds whole numbers of any width; the result has the argument's type.
func bitAgg(name, doc, ex, res string, unit int64, f func(a, b int64) int64) *Entry {
	return agg(name, doc, ex, res, asig("integral", func(t *Types) (*expr.Aggregate, error) {
		dt := t.Args[0]
		a := &expr.Aggregate{State: []arrow.DataType{dt}, Result: dt, EmptyNull: true, IgnoresDuplicates: name != "bit_xor"}
		a.New = acc(func(alloc memory.Allocator) *narrowFold {
			return &narrowFold{fold: fold[int64]{alloc: alloc, dt: expr.TypeInt64, unit: unit, f: f}, out: dt}
		})
		return a, nil
	}))
}

func (s *fold[T]) Resize(n int) { s.val, s.some = grow(s.val, n), grow(s.some, n) }

func (s *fold[T]) put(g uint32, v T) {
	if !s.some[g] {
		s.val[g], s.some[g] = s.unit, true
	}
	s.val[g] = s.f(s.val[g], v)
}

func (s *fold[T]) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	v := vec.Values[T](args[0].Arr)
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		s.put(g, v[row(args[0], i)])
		return nil
	})
}

func (s *fold[T]) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (s *fold[T]) Merge(groups []uint32, state []arrow.Array) error {
	for k, v := range vec.Values[T](state[0]) {
		if state[0].IsValid(k) {
			s.put(group0(groups, k), v)
		}
	}
	return nil
}

func (s *fold[T]) State(first, end int) ([]arrow.Array, error) {
	arr, err := s.Final(first, end)
	return []arrow.Array{arr}, err
}

func (s *fold[T]) Final(first, end int) (arrow.Array, error) {
	buf, out := vec.NewFixed[T](s.alloc, end-first)
	copy(out, s.val[first:end])
	m := vec.NewMask(s.alloc, end-first)
	for i := range out {
		if !s.some[first+i] {
			m.SetNull(i)
		}
	}
	return m.Array(s.dt, buf), nil
}

func (s *fold[T]) Bytes() int64 { return int64(cap(s.val))*8 + int64(cap(s.some)) }
func (s *fold[T]) Reset()       { s.val, s.some = s.val[:0], s.some[:0] }
func (s *fold[T]) Release()     { s.val, s.some = nil, nil }

// narrowFold computes in BIGINT for a narrower type.
type narrowFold struct {
	fold[int64]
	out arrow.DataType
}

func (s *narrowFold) context() *expr.KernelContext { return &expr.KernelContext{Alloc: s.alloc} }

func (s *narrowFold) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	wide, err := cast.Array(s.context(), args[0].Arr, expr.TypeInt64, false)
	if err != nil {
		return err
	}
	defer wide.Release()
	return s.fold.Update(groups, []expr.Vec{{Arr: wide, Const: args[0].Const}}, sel, n)
}

func (s *narrowFold) Merge(groups []uint32, state []arrow.Array) error {
	wide, err := cast.Array(s.context(), state[0], expr.TypeInt64, false)
	if err != nil {
		return err
	}
	defer wide.Release()
	return s.fold.Merge(groups, []arrow.Array{wide})
}

func (s *narrowFold) State(first, end int) ([]arrow.Array, error) {
	arr, err := s.Final(first, end)
	return []arrow.Array{arr}, err
}

func (s *narrowFold) Final(first, end int) (arrow.Array, error) {
	wide, err := s.fold.Final(first, end)
	if err != nil {
		return nil, err
	}
	defer wide.Release()
	return cast.Array(s.context(), wide, s.out, false)
}

// modes counts each value of a group.
type modes struct {
	alloc memory.Allocator
	dt    arrow.DataType
	most  bool // of values as frequent as each other the greatest counts, else the least
	count []map[string]int64
	bytes int64
	key   []byte
}

func newMode(dt arrow.DataType, most bool) *expr.Aggregate {
	a := &expr.Aggregate{State: []arrow.DataType{arrow.ListOf(dt), arrow.ListOf(expr.TypeInt64)}, Result: dt, EmptyNull: true, Invertible: true}
	a.New = acc(func(alloc memory.Allocator) *modes { return &modes{alloc: alloc, dt: dt, most: most} })
	return a
}

func (s *modes) Resize(n int) { s.count = grow(s.count, n) }

func (s *modes) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return s.add(groups, args, sel, n, 1)
}

func (s *modes) Retract(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return s.add(groups, args, sel, n, -1)
}

func (s *modes) add(groups []uint32, args []expr.Vec, sel []int32, n int, sign int64) error {
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		s.put(g, args[0].Arr, row(args[0], i), sign)
		return nil
	})
}

func (s *modes) put(g uint32, arr arrow.Array, i int, by int64) {
	if s.count[g] == nil {
		s.count[g] = map[string]int64{}
	}
	s.key = vec.Encode(s.key[:0], arr, i)
	before := len(s.count[g])
	if c := s.count[g][string(s.key)] + by; c != 0 {
		s.count[g][string(s.key)] = c
	} else {
		delete(s.count[g], string(s.key))
	}
	s.bytes += int64(len(s.count[g])-before) * int64(len(s.key)+56)
}

func (s *modes) Merge(groups []uint32, state []arrow.Array) error {
	v, c := vec.ListOf(state[0]), vec.ListOf(state[1])
	counts := vec.Values[int64](c.Elems)
	for k := range state[0].Len() {
		for j := range v.Len(k) {
			s.put(group0(groups, k), v.Elems, v.Start(k)+j, counts[c.Start(k)+j])
		}
	}
	return nil
}

func (s *modes) State(first, end int) ([]arrow.Array, error) {
	vb, cb := array.NewListBuilder(s.alloc, s.dt), array.NewListBuilder(s.alloc, expr.TypeInt64)
	defer vb.Release()
	defer cb.Release()
	for _, m := range s.count[first:end] {
		vb.Append(true)
		cb.Append(true)
		for _, k := range sortedKeys(m) {
			if _, err := vec.Decoded(vb.ValueBuilder(), []byte(k)); err != nil {
				return nil, err
			}
			cb.ValueBuilder().(*array.Int64Builder).Append(m[k])
		}
	}
	return []arrow.Array{vb.NewListArray(), cb.NewListArray()}, nil
}

func (s *modes) Final(first, end int) (arrow.Array, error) {
	b := array.NewBuilder(s.alloc, s.dt)
	defer b.Release()
	for _, m := range s.count[first:end] {
		best, most := "", int64(0)
		for k, c := range m {
			if c > most || c == most && (k < best) != s.most {
				best, most = k, c
			}
		}
		if most <= 0 {
			b.AppendNull()
			continue
		}
		if _, err := vec.Decoded(b, []byte(best)); err != nil {
			return nil, err
		}
	}
	return b.NewArray(), nil
}

func (s *modes) Bytes() int64 { return s.bytes + int64(cap(s.count))*8 }

func (s *modes) Reset() {
	clear(s.count)
	s.count, s.bytes = s.count[:0], 0
}

func (s *modes) Release() { s.count, s.bytes = nil, 0 }
