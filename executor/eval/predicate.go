package eval

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// Predicate finds the rows for which a condition is true.
type Predicate struct {
	p    *program // its roots are the condition's conjuncts
	fast []fastTest
	pool pool
}

// NewPredicate prepares a condition; nil is true for every row.
func NewPredicate(cond expr.Expr, input *arrow.Schema) (*Predicate, error) {
	conj := expr.Conjuncts(cond)
	p, err := compile(conj, input)
	if err != nil {
		return nil, err
	}
	pr := &Predicate{p: p, fast: make([]fastTest, len(conj))}
	for i, id := range p.roots {
		pr.fast[i] = p.fastTest(id)
	}
	return pr, nil
}

// Select appends to dst[:0] the positions of rec's rows for which the condition
// is true, in order. dst is reused.
func (pr *Predicate) Select(kc *expr.KernelContext, rec arrow.RecordBatch, dst []int32) ([]int32, error) {
	n := int(rec.NumRows())
	if cap(dst) < n {
		dst = make([]int32, n)
	}
	dst = dst[:n]
	if n == 0 {
		return dst, nil
	}
	f := pr.pool.frame(pr.p, kc, n)
	f.rec = rec
	defer f.close()
	all := true // dst does not hold a selection yet
	for i, id := range pr.p.roots {
		var err error
		if t := pr.fast[i]; t != nil {
			if out, ok := t(rec, dst, all); ok {
				dst, all = out, false
				continue
			}
		}
		if dst, err = f.shrink(id, dst, all); err != nil {
			return nil, err
		}
		all = false
		if len(dst) == 0 {
			return dst, nil
		}
	}
	if all {
		for i := range dst {
			dst[i] = int32(i)
		}
	}
	return dst, nil
}

// shrink keeps the rows of sel for which a condition is true.
func (f *frame) shrink(id int, sel []int32, all bool) ([]int32, error) {
	nd := &f.p.nodes[id]
	if all || len(sel) == f.n || nd.safe && len(sel)*2 > f.n {
		v, err := f.eval(id)
		if err != nil {
			return nil, err
		}
		return keep(v, sel, all, true), nil
	}
	s := f.sub(sel)
	defer s.close()
	v, err := s.eval(id)
	if err != nil {
		return nil, err
	}
	return keep(v, sel, false, false), nil
}

// keep filters sel in place. byRow says that v is indexed by row, not by place in sel.
func keep(v expr.Vec, sel []int32, all, byRow bool) []int32 {
	vals, valid := vec.BoolBits(v.Arr), vec.Validity(v.Arr)
	if v.Const {
		if !(v.Arr.IsValid(0) && vals.Get(0)) {
			return sel[:0]
		}
		if all {
			for i := range sel {
				sel[i] = int32(i)
			}
		}
		return sel
	}
	k := 0
	if all {
		return keepAll(vals, valid, sel)
	}
	for i, r := range sel {
		at := i
		if byRow {
			at = int(r)
		}
		sel[k] = r
		if vals.Get(at) && valid.Get(at) {
			k++
		}
	}
	return sel[:k]
}

// keepAll lists the rows of a bitmap word by word.
func keepAll(vals, valid vec.Bits, sel []int32) []int32 {
	n, k := len(sel), 0
	for i := 0; i*64 < n; i++ {
		w := word(vals, false, i, n) & word(valid, false, i, n) & rowMask(i, n)
		if w == ^uint64(0) {
			for j := range 64 {
				sel[k+j] = int32(i*64 + j)
			}
			k += 64
			continue
		}
		for r := int32(i * 64); w != 0; r++ {
			sel[k] = r
			k += int(w & 1)
			w >>= 1
		}
	}
	return sel[:k]
}

// Take returns the rows of rec at the positions sel. A selection of all rows or
// of neighbouring ones copies nothing.
func Take(alloc memory.Allocator, rec arrow.RecordBatch, sel []int32) (arrow.RecordBatch, error) {
	if int64(len(sel)) == rec.NumRows() && (len(sel) == 0 || sel[0] == 0 && int(sel[len(sel)-1]) == len(sel)-1 && ascending(sel)) {
		rec.Retain()
		return rec, nil
	}
	cols := make([]arrow.Array, 0, rec.NumCols())
	defer func() { vec.ReleaseAll(cols) }()
	for _, c := range rec.Columns() {
		t, err := vec.Take(alloc, c, sel)
		if err != nil {
			return nil, err
		}
		cols = append(cols, t)
	}
	return array.NewRecordBatch(rec.Schema(), cols, int64(len(sel))), nil
}

func ascending(sel []int32) bool {
	for i, s := range sel {
		if int(s) != i {
			return false
		}
	}
	return true
}
