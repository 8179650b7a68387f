package functions

import (
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// decSums is sum and avg of decimals. A sum that leaves 128 bits goes on, modulo
// 2^128, with a count of how often it wrapped, so that it may come back and does
// not depend on the order of rows.
type decSums struct {
	alloc  memory.Allocator
	in     dec.Type // of the argument
	out    dec.Type // of the result
	avg    bool
	state  []arrow.DataType
	sum    []dec.Num
	count  []int64
	wraps  []int32 // of each group, upwards less downwards; nil if no sum has wrapped
	result arrow.DataType
	rows   int64 // see bounded
}

func newDecSums(dt arrow.DataType, avg bool) *expr.Aggregate {
	in, _ := dec.Of(dt)
	out := dec.Bounded(in.P+10, in.S)
	if avg {
		out = dec.Bounded(in.P+4, in.S+4)
	}
	a := &expr.Aggregate{
		State: []arrow.DataType{expr.Decimal(38, in.S), expr.TypeInt64}, Result: out.Arrow(), Invertible: true, EmptyNull: true,
	}
	a.New = acc(func(alloc memory.Allocator) *decSums {
		return &decSums{alloc: alloc, in: in, out: out, avg: avg, state: a.State, result: a.Result}
	})
	return a
}

func (s *decSums) Resize(n int) {
	s.sum, s.count = grow(s.sum, n), grow(s.count, n)
	if s.wraps != nil {
		s.wraps = grow(s.wraps, n)
	}
}

func (s *decSums) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return s.add(groups, args, sel, n, false)
}

func (s *decSums) Retract(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	return s.add(groups, args, sel, n, true)
}

func (s *decSums) add(groups []uint32, args []expr.Vec, sel []int32, n int, back bool) error {
	v := vec.Load[dec.Num](args[0])
	if sel == nil && !back && !args[0].Const && args[0].Arr.NullN() == 0 {
		s.all(groups, v.Vals[:n])
		return nil
	}
	s.rows = boundedRows // of unknown size
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		if back {
			s.put(g, v.At(i).Negate(), -1)
			return nil
		}
		s.put(g, v.At(i), 1)
		return nil
	})
}

// smallDigits is up to how many digits a value may have for a sum of all the rows
// that there can be to stay within 128 bits: 10^18 is less than 2^60.
const smallDigits = 18

// all adds every row of a column without NULLs.
func (s *decSums) all(groups []uint32, vals []dec.Num) {
	if s.in.P <= smallDigits || s.bounded(vals) {
		s.small(groups, vals)
		return
	}
	var g uint32
	for k, v := range vals {
		if groups != nil {
			g = groups[k]
		}
		t := s.sum[g].Add(v)
		// The sign is wrong only after an addition of two numbers of one sign.
		if (s.sum[g].HighBits()^t.HighBits())&(v.HighBits()^t.HighBits()) < 0 {
			s.put(g, v, 1)
			continue
		}
		s.sum[g] = t
		s.count[g]++
	}
}

// boundedRows is how many values of less than 2^95 add up to less than 2^127.
const boundedRows = 1 << 32

// bounded reports that the sums cannot overflow by these values: all so far were
// below 2^95, and there were not too many.
func (s *decSums) bounded(vals []dec.Num) bool {
	if s.rows += int64(len(vals)); s.rows >= boundedRows {
		return false
	}
	var high int64
	for _, v := range vals {
		high |= v.HighBits() ^ v.HighBits()>>63
	}
	if high >= 1<<31 {
		s.rows = boundedRows
		return false
	}
	return true
}

// small is all without a look at overflow.
func (s *decSums) small(groups []uint32, vals []dec.Num) {
	if groups == nil {
		var lo, hi, c uint64
		for _, v := range vals {
			lo, c = bits.Add64(lo, v.LowBits(), 0)
			hi += uint64(v.HighBits()) + c
		}
		s.sum[0] = s.sum[0].Add(decimal128.New(int64(hi), lo))
		s.count[0] += int64(len(vals))
		return
	}
	sum, count := s.sum, s.count[:len(s.sum)]
	vals = vals[:len(groups)]
	for k, g := range groups {
		lo, c := bits.Add64(sum[g].LowBits(), vals[k].LowBits(), 0)
		sum[g] = decimal128.New(sum[g].HighBits()+vals[k].HighBits()+int64(c), lo)
		count[g]++
	}
}

func (s *decSums) put(g uint32, v dec.Num, count int64) {
	t := s.sum[g].Add(v)
	if (s.sum[g].HighBits()^t.HighBits())&(v.HighBits()^t.HighBits()) < 0 {
		s.wrap(g, int32(carry(v.HighBits())))
	}
	s.sum[g] = t
	s.count[g] += count
}

func (s *decSums) wrap(g uint32, by int32) {
	if s.wraps == nil {
		s.wraps = make([]int32, len(s.sum))
	}
	s.wraps[g] += by
}

// wrapUnit is what one wrap of a sum adds to the count in its state: no group has as many rows.
const wrapUnit = 1 << 48

func (s *decSums) Merge(groups []uint32, state []arrow.Array) error {
	s.rows = boundedRows
	sums, counts := vec.Values[dec.Num](state[0]), vec.Values[int64](state[1])
	for k, c := range counts {
		wraps := (c + wrapUnit/2) >> 48
		if wraps != 0 {
			s.wrap(group0(groups, k), int32(wraps))
		}
		s.put(group0(groups, k), sums[k], c-wraps*wrapUnit)
	}
	return nil
}

func (s *decSums) State(first, end int) ([]arrow.Array, error) {
	n := end - first
	sb, sum := vec.NewFixed[dec.Num](s.alloc, n)
	cb, count := vec.NewFixed[int64](s.alloc, n)
	copy(sum, s.sum[first:end])
	copy(count, s.count[first:end])
	if s.wraps != nil {
		for i, w := range s.wraps[first:end] {
			count[i] += int64(w) * wrapUnit
		}
	}
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
		case s.wraps != nil && s.wraps[first+i] != 0:
			fits = false
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

func (s *decSums) Bytes() int64 {
	return int64(cap(s.sum))*16 + int64(cap(s.count))*8 + int64(cap(s.wraps))*4
}
func (s *decSums) Reset()   { s.sum, s.count, s.wraps, s.rows = s.sum[:0], s.count[:0], nil, 0 }
func (s *decSums) Release() { s.sum, s.count, s.wraps = nil, nil, nil }
