package eval

import (
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// logical computes AND or OR. A row's state is two bits, true and false; NULL
// is neither. Arguments that may fail see only rows that are not decided.
func (f *frame) logical(nd *node, op expr.LogicalOp) (expr.Vec, error) {
	n := f.n
	trueB := vec.NewBits(f.kc.Alloc, n)
	falseB := vec.NewBits(f.kc.Alloc, n)
	defer falseB.Release()
	t, fl := vec.Words(trueB, n), vec.Words(falseB, n)
	// For OR the two bitmaps change places: NOT (NOT a AND NOT b).
	yes, no := t, fl
	if op == expr.Or {
		yes, no = fl, t
	}
	setAll(yes, n)
	for k, id := range nd.kids {
		if err := f.conjoin(op, id, yes, no, k == 0); err != nil {
			trueB.Release()
			return expr.Vec{}, err
		}
		if k < len(nd.kids)-1 && countOnes(no) == n {
			break
		}
	}
	return expr.Vec{Arr: kleeneArray(f.kc, trueB, t, fl, n)}, nil
}

func kleeneArray(kc *expr.KernelContext, trueB *memory.Buffer, t, fl []uint64, n int) arrow.Array {
	m := vec.NewMask(kc.Alloc, n)
	if n > 0 && countOnes(t)+countOnes(fl) < n {
		for i := range t {
			for w := ^(t[i] | fl[i]); w != 0; w &= w - 1 {
				r := i*64 + bits.TrailingZeros64(w)
				if r >= n {
					break
				}
				m.SetNull(r)
			}
		}
	}
	return m.Array(expr.TypeBool, trueB)
}

// conjoin ANDs one argument into the state (of OR: its negation).
func (f *frame) conjoin(op expr.LogicalOp, id int, yes, no []uint64, first bool) error {
	nd := &f.p.nodes[id]
	undecided := f.n - countOnes(no)
	if first || nd.safe && undecided*4 > f.n || undecided == f.n || f.memo[id].Arr != nil {
		v, err := f.eval(id)
		if err != nil {
			return err
		}
		combine(op, v, yes, no, f.n)
		return nil
	}
	sel := make([]int32, 0, undecided)
	for i, w := range no {
		for w = ^w; w != 0; w &= w - 1 {
			if r := i*64 + bits.TrailingZeros64(w); r < f.n {
				sel = append(sel, int32(r))
			}
		}
	}
	s := f.sub(sel)
	defer s.close()
	v, err := s.eval(id)
	if err != nil {
		return err
	}
	vals, valid := vec.BoolBits(v.Arr), vec.Validity(v.Arr)
	for i, r := range sel {
		if v.Const {
			i = 0
		}
		w, b := r>>6, uint64(1)<<(r&63)
		switch {
		case v.Arr.NullN() > 0 && !valid.Get(i):
			yes[w] &^= b
		case vals.Get(i) == (op == expr.Or):
			no[w] |= b
			yes[w] &^= b
		}
	}
	return nil
}

// combine ANDs a whole column word by word.
func combine(op expr.LogicalOp, v expr.Vec, yes, no []uint64, n int) {
	vals, valid := vec.BoolBits(v.Arr), vec.Validity(v.Arr)
	for i := range yes {
		x, ok := word(vals, v.Const, i, n), word(valid, v.Const, i, n)
		if op == expr.Or {
			x = ^x
		}
		live := rowMask(i, n)
		yes[i] &= x & ok & live
		no[i] |= ^x & ok & live
	}
}

// word returns bits [64i, 64i+64) of a bitmap, or of a constant repeated.
func word(b vec.Bits, constant bool, i, n int) uint64 {
	switch {
	case b.Buf == nil:
		return ^uint64(0)
	case constant:
		if b.Get(0) {
			return ^uint64(0)
		}
		return 0
	}
	first := b.Off + i*64
	last := min(b.Off+n, first+64)
	var w uint64
	at, shift := first>>3, uint(first&7)
	for k := 0; k < 8 && at+k < len(b.Buf); k++ {
		w |= uint64(b.Buf[at+k]) << (8 * k)
	}
	w >>= shift
	if shift > 0 && at+8 < len(b.Buf) && last > (at+8)*8 {
		w |= uint64(b.Buf[at+8]) << (64 - shift)
	}
	return w
}

func rowMask(i, n int) uint64 {
	if left := n - i*64; left < 64 {
		return 1<<left - 1
	}
	return ^uint64(0)
}

func setAll(w []uint64, n int) {
	for i := range w {
		w[i] = rowMask(i, n)
	}
}

func countOnes(w []uint64) int {
	c := 0
	for _, x := range w {
		c += bits.OnesCount64(x)
	}
	return c
}
