package functions

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// sumOf is what a sum is kept in.
type sumOf interface{ int64 | float64 }

// sums keeps a sum and a count of values per group: sum, avg and what they need
// to take rows back. An integer sum is 128 bits wide, hi * 2^64 + sum, so that it
// may leave the range of BIGINT and come back, and does not depend on order.
type sums[S sumOf] struct {
	alloc  memory.Allocator
	avg    bool
	sum    []S
	hi     []int64 // of integer sums
	count  []int64
	result arrow.DataType
	state  []arrow.DataType
	load   func(v expr.Vec) []S
}

func (s *sums[S]) isInt() bool { _, ok := any(s.sum).([]int64); return ok }

func (s *sums[S]) Resize(n int) {
	s.sum, s.count = grow(s.sum, n), grow(s.count, n)
	if s.isInt() {
		s.hi = grow(s.hi, n)
	}
}

func (s *sums[S]) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return s.add(groups, args, sel, n, 1)
}

func (s *sums[S]) Retract(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return s.add(groups, args, sel, n, -1)
}

func (s *sums[S]) add(groups []uint32, args []expr.Vec, sel []int32, n int, sign int64) error {
	if args[0].Arr.NullN() == args[0].Arr.Len() {
		return nil
	}
	vals := s.load(args[0])
	plain := sel == nil && !args[0].Const && args[0].Arr.NullN() == 0 && sign > 0
	switch {
	case plain && groups == nil:
		s.addOne(vals[:n])
		return nil
	case plain:
		s.addGroups(groups[:n], vals[:n])
		return nil
	}
	mask := -1
	if args[0].Const {
		mask = 0
	}
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		s.addValue(g, vals[i&mask], sign)
		return nil
	})
}

func (s *sums[S]) addValue(g uint32, v S, sign int64) {
	s.count[g] += sign
	if s.hi == nil {
		s.sum[g] += v * S(sign)
		return
	}
	a, b := int64(s.sum[g]), int64(v)
	t, over := a+b, false
	if sign < 0 {
		t = a - b
		over = (a^b)&(a^t) < 0
	} else {
		over = (t^a)&(t^b) < 0
	}
	if over {
		s.hi[g] += carry(a)
	}
	s.sum[g] = S(t)
}

// carry is what a sum that wrapped has lost, in units of 2^64: it went out at
// the side where a is.
func carry(a int64) int64 {
	if a < 0 {
		return -1
	}
	return 1
}

// addOne adds all rows to group 0. Floating sums are added in order, because
// their result depends on it; integers in halves that cannot overflow.
func (s *sums[S]) addOne(vals []S) {
	if s.hi == nil {
		t := s.sum[0]
		for _, v := range vals {
			t += v
		}
		s.sum[0] = t
		s.count[0] += int64(len(vals))
		return
	}
	var lo, hi int64
	for _, v := range vals {
		x := int64(v)
		lo += x & 0xFFFFFFFF
		hi += x >> 32
	}
	s.count[0] += int64(len(vals))
	s.put(0, s.total(0).Add(mulPow32(hi)).Add(decimal128.FromI64(lo)))
}

func mulPow32(v int64) dec.Num { return decimal128.New(v>>32, uint64(v)<<32) }

// total is the integer sum of a group.
func (s *sums[S]) total(g int) dec.Num {
	return decimal128.New(s.hi[g], 0).Add(decimal128.FromI64(int64(s.sum[g])))
}

// put stores a 128-bit total as high word and wrapped sum.
func (s *sums[S]) put(g int, t dec.Num) {
	lo := int64(t.LowBits())
	s.sum[g] = S(lo)
	s.hi[g] = t.HighBits() - lo>>63
}

func (s *sums[S]) addGroups(groups []uint32, vals []S) {
	sum, count := s.sum, s.count
	if s.hi == nil {
		for k, g := range groups {
			sum[g] += vals[k]
			count[g]++
		}
		return
	}
	for k, g := range groups {
		a, b := int64(sum[g]), int64(vals[k])
		t := a + b
		if (t^a)&(t^b) < 0 {
			s.hi[g] += carry(a)
		}
		sum[g] = S(t)
		count[g]++
	}
}

func (s *sums[S]) Merge(groups []uint32, state []arrow.Array) error {
	counts := vec.Values[int64](state[1])
	if s.hi == nil {
		vals := vec.Values[float64](state[0])
		for k, c := range counts {
			g := group0(groups, k)
			s.count[g] += c
			s.sum[g] += S(vals[k])
		}
		return nil
	}
	vals := vec.Values[decimal128.Num](state[0])
	for k, c := range counts {
		g := group0(groups, k)
		s.count[g] += c
		v := vals[k]
		if v.HighBits() != int64(v.LowBits())>>63 { // more than 64 bits
			s.put(int(g), s.total(int(g)).Add(v))
			continue
		}
		a, b := int64(s.sum[g]), int64(v.LowBits())
		t := a + b
		if (t^a)&(t^b) < 0 {
			s.hi[g] += carry(a)
		}
		s.sum[g] = S(t)
	}
	return nil
}

func (s *sums[S]) State(first, end int) ([]arrow.Array, error) {
	n := end - first
	cb, counts := vec.NewFixed[int64](s.alloc, n)
	copy(counts, s.count[first:end])
	var sum arrow.Array
	if s.hi == nil {
		b, out := vec.NewFixed[float64](s.alloc, n)
		for i := range out {
			out[i] = float64(s.sum[first+i])
		}
		sum = vec.NewMask(s.alloc, n).Array(s.state[0], b)
	} else {
		b, out := vec.NewFixed[decimal128.Num](s.alloc, n)
		for i := range out {
			out[i] = s.total(first + i)
		}
		sum = vec.NewMask(s.alloc, n).Array(s.state[0], b)
	}
	return []arrow.Array{sum, vec.NewMask(s.alloc, n).Array(s.state[1], cb)}, nil
}

func (s *sums[S]) Final(first, end int) (arrow.Array, error) {
	switch s.result.ID() {
	case arrow.FLOAT64:
		return finals(s, first, end-first, s.float)
	case arrow.INTERVAL_MONTHS:
		return finals(s, first, end-first, func(g int) (int32, error) {
			v, err := s.int(g)
			if err == nil && int64(int32(v)) != v {
				err = errTimeRange
			}
			return int32(v), err
		})
	}
	return finals(s, first, end-first, s.int)
}

// finals fills a result, NULL for groups without values.
func finals[S sumOf, R vec.Fixed](s *sums[S], first, n int, f func(g int) (R, error)) (arrow.Array, error) {
	buf, out := vec.NewFixed[R](s.alloc, n)
	m := vec.NewMask(s.alloc, n)
	for i := range out {
		if s.count[first+i] == 0 {
			m.SetNull(i)
			continue
		}
		v, err := f(first + i)
		if err != nil {
			buf.Release()
			m.Release()
			return nil, err
		}
		out[i] = v
	}
	return m.Array(s.result, buf), nil
}

func (s *sums[S]) float(g int) (float64, error) {
	f := float64(s.sum[g])
	if s.hi != nil {
		f = dec.Float(s.total(g), 0)
	}
	if s.avg {
		f /= float64(s.count[g])
	}
	return f, nil
}

func (s *sums[S]) int(g int) (int64, error) {
	switch {
	case s.avg:
		f, err := s.float(g)
		return int64(math.Round(f)), err
	case s.hi[g] != 0:
		return 0, batch.UserErrorf("[ARITHMETIC_OVERFLOW] the sum does not fit BIGINT; sum a DECIMAL or DOUBLE instead")
	}
	return int64(s.sum[g]), nil
}

func (s *sums[S]) Bytes() int64 { return int64(cap(s.sum)+cap(s.count)+cap(s.hi)) * 8 }

func (s *sums[S]) Reset() { s.sum, s.count, s.hi = s.sum[:0], s.count[:0], s.hi[:0] }

func (s *sums[S]) Release() { s.sum, s.count, s.hi = nil, nil, nil }

// newSums resolves sum or avg over numbers and intervals that are no decimals.
func newSums(dt arrow.DataType, avg bool) *expr.Aggregate {
	a := &expr.Aggregate{Result: dt, Invertible: true, EmptyNull: true}
	switch {
	case isFloat(dt) || avg && isInt(dt):
		a.Result = expr.TypeDouble
	case isInt(dt):
		a.Result = expr.TypeInt64
	}
	if isFloat(dt) {
		// Taking a float back does not give the sum of the others exactly.
		a.Invertible = false
		a.State = []arrow.DataType{expr.TypeDouble, expr.TypeInt64}
		a.New = acc(func(alloc memory.Allocator) *sums[float64] {
			return &sums[float64]{alloc: alloc, avg: avg, result: a.Result, state: a.State, load: loadFloats(dt)}
		})
		return a
	}
	a.State = []arrow.DataType{expr.Decimal(38, 0), expr.TypeInt64}
	a.New = acc(func(alloc memory.Allocator) *sums[int64] {
		return &sums[int64]{alloc: alloc, avg: avg, result: a.Result, state: a.State, load: loadInts(dt), hi: []int64{}}
	})
	return a
}

// loadFloats reads an argument as doubles; the scratch memory is kept.
func loadFloats(dt arrow.DataType) func(v expr.Vec) []float64 {
	if dt.ID() == arrow.FLOAT64 {
		return func(v expr.Vec) []float64 { return vec.Values[float64](v.Arr) }
	}
	return widened[float32, float64]()
}

func loadInts(dt arrow.DataType) func(v expr.Vec) []int64 {
	switch dt.ID() {
	case arrow.INT8:
		return widened[int8, int64]()
	case arrow.INT16:
		return widened[int16, int64]()
	case arrow.INT32, arrow.INTERVAL_MONTHS, arrow.DATE32:
		return widened[int32, int64]()
	}
	return func(v expr.Vec) []int64 { return vec.Values[int64](v.Arr) }
}

func widened[A int8 | int16 | int32 | float32, S sumOf]() func(v expr.Vec) []S {
	var scratch []S
	return func(v expr.Vec) []S {
		in := vec.Values[A](v.Arr)
		if cap(scratch) < len(in) {
			scratch = make([]S, len(in))
		}
		out := scratch[:len(in)]
		for i, x := range in {
			out[i] = S(x)
		}
		return out
	}
}
