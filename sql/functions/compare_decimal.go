package functions

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// decimalWords compares decimals of any two scales exactly.
func decimalWords(kc *expr.KernelContext, args []expr.Vec, n int, as, bs int32, test func(int) bool) (arrow.Array, error) {
	a, b := vec.Load[dec.Num](args[0]), vec.Load[dec.Num](args[1])
	if len(a.Vals) == 0 || len(b.Vals) == 0 {
		return vec.NullArray(kc.Alloc, kc.Result, vec.Rows(args, n)), nil
	}
	return words(kc, args, n, func(i, n int) (w uint64) {
		for j := range n {
			w |= b2u(test(dec.Cmp(a.At(i+j), as, b.At(i+j), bs))) << j
		}
		return w
	})
}
