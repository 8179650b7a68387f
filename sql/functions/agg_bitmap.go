package functions

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// bitmapBytes is the size of a bitmap: 32768 bits.
const bitmapBytes = bitmapBits / 8

// bitmapAggregates lists aggregates over bitmaps of a fixed size.
func bitmapAggregates() []*Entry {
	both := func(name, doc, ex, res string, and bool) *Entry {
		return agg(name, doc, ex, res, asig("binary", func(*Types) (*expr.Aggregate, error) { return newBitmaps(false, and), nil }))
	}
	return []*Entry{
		agg("bitmap_construct_agg", "A bitmap with a bit set for each position, from 0 to 32767.", "bitmap_construct_agg(col1) FROM VALUES (48), (53)",
			"\x00\x00\x00\x00\x00\x00!"+string(make([]byte, bitmapBytes-7)), asig("bigint", func(*Types) (*expr.Aggregate, error) { return newBitmaps(true, false), nil })),
		both("bitmap_or_agg", "The bits that are set in one of the bitmaps.", "bitmap_or_agg(col1) FROM VALUES (X'20'), (X'01')", "!"+string(make([]byte, bitmapBytes-1)), false),
		both("bitmap_and_agg", "The bits that are set in all bitmaps.", "bitmap_and_agg(col1) FROM VALUES (X'61'), (X'23')", "!"+string(make([]byte, bitmapBytes-1)), true),
	}
}

// bitmaps holds a bitmap for each group; nil is a group without rows.
type bitmaps struct {
	alloc          memory.Allocator
	positions, and bool
	bits           [][]byte
	count          int64
}

func newBitmaps(positions, and bool) *expr.Aggregate {
	a := &expr.Aggregate{State: []arrow.DataType{expr.TypeBinary}, Result: expr.TypeBinary, IgnoresDuplicates: true}
	a.New = acc(func(alloc memory.Allocator) *bitmaps { return &bitmaps{alloc: alloc, positions: positions, and: and} })
	return a
}

func (s *bitmaps) Resize(n int) { s.bits = grow(s.bits, n) }

func (s *bitmaps) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	if !s.positions {
		in := vec.StringsOf(args[0].Arr)
		return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error { return s.put(g, in.At(row(args[0], i))) })
	}
	at := vec.Values[int64](args[0].Arr)
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		p := at[row(args[0], i)]
		if p < 0 || p >= bitmapBits {
			return batch.UserErrorf("[INVALID_BITMAP_POSITION] a bitmap has positions from 0 to %d, not %d; see bitmap_bit_position", bitmapBits-1, p)
		}
		s.group(g)[p/8] |= 1 << (p % 8)
		return nil
	})
}

// group returns a group's bitmap.
func (s *bitmaps) group(g uint32) []byte {
	if s.bits[g] == nil {
		s.bits[g] = make([]byte, bitmapBytes)
		s.count++
	}
	return s.bits[g]
}

func (s *bitmaps) put(g uint32, b []byte) error {
	if len(b) > bitmapBytes {
		return batch.UserErrorf("a bitmap has %d bytes at most, not %d", bitmapBytes, len(b))
	}
	first := s.bits[g] == nil
	have := s.group(g)
	for i := range have {
		var c byte
		if i < len(b) {
			c = b[i]
		}
		if s.and && !first {
			have[i] &= c
		} else {
			have[i] |= c
		}
	}
	return nil
}

func (s *bitmaps) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (s *bitmaps) Merge(groups []uint32, state []arrow.Array) error {
	in := vec.StringsOf(state[0])
	for k := range state[0].Len() {
		if state[0].IsValid(k) {
			if err := s.put(group0(groups, k), in.At(k)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *bitmaps) State(first, end int) ([]arrow.Array, error) {
	b := array.NewBinaryBuilder(s.alloc, arrow.BinaryTypes.Binary)
	defer b.Release()
	for _, m := range s.bits[first:end] {
		if m == nil {
			b.AppendNull()
		} else {
			b.Append(m)
		}
	}
	return []arrow.Array{b.NewArray()}, nil
}

// Final gives a bitmap for each group; without rows none of its bits is set, or all of an AND.
func (s *bitmaps) Final(first, end int) (arrow.Array, error) {
	b := array.NewBinaryBuilder(s.alloc, arrow.BinaryTypes.Binary)
	defer b.Release()
	empty := make([]byte, bitmapBytes)
	if s.and {
		for i := range empty {
			empty[i] = 0xFF
		}
	}
	for _, m := range s.bits[first:end] {
		if m == nil {
			m = empty
		}
		b.Append(m)
	}
	return b.NewArray(), nil
}

func (s *bitmaps) Bytes() int64 { return s.count*bitmapBytes + int64(cap(s.bits))*24 }

func (s *bitmaps) Reset() {
	clear(s.bits)
	s.bits, s.count = s.bits[:0], 0
}

func (s *bitmaps) Release() { s.bits, s.count = nil, 0 }

// tryAggregates lists sums and averages that are NULL where they overflow.
func tryAggregates() []*Entry {
	wrap := func(sigs []AggSig) []AggSig {
		out := make([]AggSig, len(sigs))
		for i, s := range sigs {
			out[i] = AggSig{Sig: s.Sig, make: func(t *Types) (*expr.Aggregate, error) {
				a, err := s.make(t)
				if err != nil {
					return nil, err
				}
				inner := a.New
				a.New = func(alloc memory.Allocator) expr.Accumulator {
					return &tried{Accumulator: inner(alloc), alloc: alloc, dt: a.Result}
				}
				return a, nil
			}}
		}
		return out
	}
	return []*Entry{
		agg("try_sum", "Like sum, but NULL where that overflows.", "try_sum(col1) FROM VALUES (9223372036854775807), (1)", "NULL", wrap(sumSigs(false))...),
		agg("try_avg", "Like avg, but NULL where that overflows.", "try_avg(col1) FROM VALUES (1), (2), (3)", "2.0", wrap(sumSigs(true))...),
	}
}

// tried gives NULL for the groups whose result fails.
type tried struct {
	expr.Accumulator
	alloc memory.Allocator
	dt    arrow.DataType
}

// Final asks for one group at a time after all of them together have failed.
func (t *tried) Final(first, end int) (arrow.Array, error) {
	if all, err := t.Accumulator.Final(first, end); err == nil {
		return all, nil
	}
	b := array.NewBuilder(t.alloc, t.dt)
	defer b.Release()
	for g := first; g < end; g++ {
		one, err := t.Accumulator.Final(g, g+1)
		if err != nil {
			b.AppendNull()
			continue
		}
		err = appendFrom(b, one, 0)
		one.Release()
		if err != nil {
			return nil, err
		}
	}
	return b.NewArray(), nil
}
