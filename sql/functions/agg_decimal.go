package functions

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// decSums is sum and avg of decimals, exact in 128 bits.
type decSums struct {
	alloc  memory.Allocator
	in     dec.Type // of the argument
	out    dec.Type // of the result
	avg    bool
	state  []arrow.DataType
	sum    []dec.Num
	count  []int64
	result arrow.DataType
}

func newDecSums(dt arrow.DataType, avg bool) *expr.Aggregate {
	in, _ := dec.Of(dt)
	out := dec.Bounded(in.P+10, in.S)
	if avg {
		out = dec.Adjust(in.P+4, in.S+4)
	}
	a := &expr.Aggregate{
		State: []arrow.DataType{expr.Decimal(38, in.S), expr.TypeInt64}, Result: out.Arrow(), Invertible: true, EmptyNull: true,
	}
	a.New = acc(func(alloc memory.Allocator) *decSums {
		return &decSums{alloc: alloc, in: in, out: out, avg: avg, state: a.State, result: a.Result}
	})
	return a
}

func (s *decSums) Resize(n int) { s.sum, s.count = grow(s.sum, n), grow(s.count, n) }

func (s *decSums) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return s.add(groups, args, sel, n, false)
}

func (s *decSums) Retract(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return s.add(groups, args, sel, n, true)
}

func (s *decSums) add(groups []uint32, args []expr.Vec, sel []int32, n int, back bool) error {
	v := vec.Load[dec.Num](args[0])
	if sel == nil && !back && !args[0].Const && args[0].Arr.NullN() == 0 {
		return s.all(groups, v.Vals[:n])
	}
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		if back {
			return s.put(g, v.At(i).Negate(), -1)
		}
		return s.put(g, v.At(i), 1)
	})
}

// all adds every row of a column without NULLs.
func (s *decSums) all(groups []uint32, vals []dec.Num) error {
	var g uint32
	for k, v := range vals {
		if groups != nil {
			g = groups[k]
		}
		t := s.sum[g].Add(v)
		// The sign is wrong only after an addition of two numbers of one sign.
		if (s.sum[g].HighBits()^t.HighBits())&(v.HighBits()^t.HighBits()) < 0 {
			return s.put(g, v, 1)
		}
		s.sum[g] = t
		s.count[g]++
	}
	return nil
}

func (s *decSums) put(g uint32, v dec.Num, count int64) error {
	t := s.sum[g].Add(v)
	if s.sum[g].Sign() == v.Sign() && v.Sign() != 0 && t.Sign() != v.Sign() {
		return batch.UserErrorf("[ARITHMETIC_OVERFLOW] the sum has more than %d digits", dec.MaxPrecision)
	}
	s.sum[g] = t
	s.count[g] += count
	return nil
}

func (s *decSums) Merge(groups []uint32, state []arrow.Array) error {
	sums, counts := vec.Values[dec.Num](state[0]), vec.Values[int64](state[1])
	for k, c := range counts {
		if err := s.put(group0(groups, k), sums[k], c); err != nil {
			return err
		}
	}
	return nil
}

func (s *decSums) State(first, end int) ([]arrow.Array, error) {
	n := end - first
	sb, sum := vec.NewFixed[dec.Num](s.alloc, n)
	cb, count := vec.NewFixed[int64](s.alloc, n)
	copy(sum, s.sum[first:end])
	copy(count, s.count[first:end])
	return []arrow.Array{
		vec.NewMask(s.alloc, n).Array(s.state[0], sb), vec.NewMask(s.alloc, n).Array(s.state[1], cb),
	}, nil
}

func (s *decSums) Final(first, end int) (arrow.Array, error) {
	n := end - first
	buf, out := vec.NewFixed[dec.Num](s.alloc, n)
	m := vec.NewMask(s.alloc, n)
	for i := range out {
		v, fits := s.sum[first+i], true
		switch {
		case s.count[first+i] == 0:
			m.SetNull(i)
			continue
		case s.avg:
			v, fits = dec.DivScaled(v, dec.FromI64(s.count[first+i]), dec.Type{P: 38, S: s.in.S}, dec.Type{P: 20}, s.out)
		default:
			fits = dec.Fits(v, s.out.P)
		}
		if !fits {
			buf.Release()
			m.Release()
			return nil, batch.UserErrorf("[ARITHMETIC_OVERFLOW] the result does not fit %s", expr.TypeName(s.result))
		}
		out[i] = v
	}
	return m.Array(s.result, buf), nil
}

func (s *decSums) Bytes() int64 { return int64(cap(s.sum))*16 + int64(cap(s.count))*8 }
func (s *decSums) Reset()       { s.sum, s.count = s.sum[:0], s.count[:0] }
func (s *decSums) Release()     { s.sum, s.count = nil, nil }
