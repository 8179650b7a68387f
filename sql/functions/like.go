package functions

import (
	"bytes"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// constantLike is LIKE with a pattern that is the same for all rows; other calls
// go to general. A pattern without _ is tested with searches for its parts.
func constantLike(general expr.Kernel, fold bool) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		text, pattern, escape := args[0], args[1], args[2]
		if fold || text.Const || !pattern.Const || !escape.Const || pattern.Arr.NullN()+escape.Arr.NullN() > 0 || text.Arr.NullN() == text.Arr.Len() {
			return general(kc, args, n)
		}
		l, err := newLike(vec.StringsOf(pattern.Arr).Str(0), vec.StringsOf(escape.Arr).Str(0), false)
		if err != nil {
			return nil, err
		}
		buf := vec.NewBits(kc.Alloc, n)
		l.test(vec.StringsOf(text.Arr), vec.Words(buf, n), n)
		return vec.StrictMask(kc.Alloc, args, n).Array(expr.TypeBool, buf), nil
	}
}

// test sets the bits of the rows that match. What is under a NULL is tested too.
func (l *likePattern) test(s vec.Strings, out []uint64, n int) {
	if len(l.parts) != 1 || l.literal[0] == "" {
		for i := range n {
			setBit(out, i, l.match(s.Str(i)))
		}
		return
	}
	lit := []byte(l.literal[0])
	switch {
	case l.start && l.end:
		contains(s, lit, out, n)
	case l.end:
		for i := range n {
			setBit(out, i, bytes.HasPrefix(s.At(i), lit))
		}
	case l.start:
		for i := range n {
			setBit(out, i, bytes.HasSuffix(s.At(i), lit))
		}
	default:
		for i := range n {
			setBit(out, i, bytes.Equal(s.At(i), lit))
		}
	}
}

func setBit(out []uint64, i int, v bool) {
	out[i>>6] |= uint64(b2u(v)) << (i & 63)
}

// contains searches the bytes of all rows at once: where matches are rare, most
// rows are never looked at.
func contains(s vec.Strings, lit []byte, out []uint64, n int) {
	row, at := 0, int(s.Off[0])
	last := int(s.Off[n])
	for at < last {
		k := index(s.Data[at:last], lit)
		if k < 0 {
			return
		}
		at += k
		if row = rowAt(s.Off, row, n, at); row == n {
			return
		}
		end := int(s.Off[row+1])
		if at+len(lit) > end {
			at++ // it reaches into the next row
			continue
		}
		out[row>>6] |= 1 << (row & 63)
		row, at = row+1, end
	}
}

func index(b, lit []byte) int {
	if len(lit) == 1 {
		return bytes.IndexByte(b, lit[0])
	}
	return bytes.Index(b, lit)
}

// rowAt returns the row that holds the byte at a position, from row on: by steps
// that double, then by halving.
func rowAt(off []int32, row, n, at int) int {
	step := 1
	for row+step <= n && int(off[row+step]) <= at {
		row += step
		step *= 2
	}
	for step = 1 << bits.Len(uint(step)); step > 0; step /= 2 {
		if row+step <= n && int(off[row+step]) <= at {
			row += step
		}
	}
	return row
}
