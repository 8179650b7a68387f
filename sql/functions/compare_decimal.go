package functions

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// decimalWords compares decimals of any two scales exactly.
func decimalWords(kc *expr.KernelContext, args []expr.Vec, n int, as, bs int32, op string) (arrow.Array, error) {
	a, b := vec.Load[dec.Num](args[0]), vec.Load[dec.Num](args[1])
	if len(a.Vals) == 0 || len(b.Vals) == 0 {
		return vec.NullArray(kc.Alloc, kc.Result, vec.Rows(args, n)), nil
	}
	if args[0].Const != args[1].Const {
		column, constant, from, to, op := a.Vals, b.Vals[0], bs, as, op
		if args[0].Const {
			column, constant, from, to, op = b.Vals, a.Vals[0], as, bs, expr.Flipped(op)
		}
		if to >= from {
			if c, ok := dec.Rescale(constant, from, to, dec.MaxPrecision); ok {
				return words(kc, args, n, func(i, n int) uint64 { return dec.CompareWord(op, column[i:i+n], c) })
			}
		}
	}
	test := expr.Outcome(op)
	return words(kc, args, n, func(i, n int) (w uint64) {
		for j := range n {
			w |= b2u(test(dec.Cmp(a.At(i+j), as, b.At(i+j), bs))) << j
		}
		return w
	})
}
