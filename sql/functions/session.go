package functions

import (
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// sessions lists functions about the session, the place of a row and bitmaps.
func sessions() []*Entry {
	fixed := func(names, doc, ex, res string) *Entry {
		return fn(names, doc, ex, res, sig(" -> string", constant(func(*expr.KernelContext) any { return res }))).safe().tight().stable()
	}
	return []*Entry{
		fixed("current_catalog", "The name of the catalog: there is one.", "current_catalog()", "default"),
		fixed("current_database|current_schema", "The name of the schema: there is one.", "current_database()", "default"),
		fixed("current_path", "Where names of tables are looked up.", "current_path()", "default.default"),
		fixed("current_user|user|session_user", "The user of the session; a library and a shell have none of their own.", "current_user()", "sluice"),
		fn("monotonically_increasing_id", "A number that grows with the rows of a split and is the same when a batch runs again.", "monotonically_increasing_id() >= 0", "true",
			sig(" -> bigint", expr.Kernel(rowNumbers))).lax().safe().tight().perRow(),
		fn("bitmap_bit_position", "The place of a number in its bitmap of 32768 bits.", "bitmap_bit_position(123)", "122", sig("bigint -> bigint", p1(bitPosition))).safe().tight(),
		fn("bitmap_bucket_number", "The number of the bitmap that a number belongs to.", "bitmap_bucket_number(123)", "1", sig("bigint -> bigint", p1(bitBucket))).safe().tight(),
		fn("bitmap_count", "How many bits of a bitmap are set.", "bitmap_count(X'FFFF')", "16", sig("binary -> bigint", k1(func(b []byte) (int64, error) {
			n := 0
			for _, c := range b {
				n += bits.OnesCount8(c)
			}
			return int64(n), nil
		}))).safe().tight(),
		special("uniform", "uniform(numeric, numeric[, bigint]) -> numeric", "A random number between two constants, the same when a batch runs again.", "uniform(10, 20, 0) >= 10", "true", bindUniform),
	}
}

// bitmapBits is the size of a bitmap of bitmap_construct_agg.
const bitmapBits = 32768

func bitPosition(v int64) int64 {
	if v > 0 {
		return (v - 1) % bitmapBits
	}
	return -v % bitmapBits
}

func bitBucket(v int64) int64 {
	if v > 0 {
		return 1 + (v-1)/bitmapBits
	}
	return v / bitmapBits
}

func rowNumbers(kc *expr.KernelContext, _ []expr.Vec, n int) (arrow.Array, error) {
	buf, out := vec.NewFixed[int64](kc.Alloc, n)
	for i := range out {
		out[i] = kc.RowBase + int64(i)
	}
	return vec.NewMask(kc.Alloc, n).Array(kc.Result, buf), nil
}

// bindUniform is low + (high - low) * rand(), cut to a whole number for integers.
func bindUniform(e *Entry, args []expr.Expr) (expr.Expr, error) {
	if len(args) < 2 || len(args) > 3 || !isNumeric(args[0].Type()) || !isNumeric(args[1].Type()) {
		return nil, e.mismatch(args)
	}
	for _, a := range args[:2] {
		if _, ok := a.(*expr.Literal); !ok {
			return nil, batch.UserErrorf("uniform: the bounds must be constants")
		}
	}
	r, err := Scalar("rand", args[2:])
	if err != nil {
		return nil, err
	}
	span, err := Scalar("-", []expr.Expr{coerce(args[1], expr.TypeDouble), coerce(args[0], expr.TypeDouble)})
	if err != nil {
		return nil, err
	}
	if span, err = Scalar("*", []expr.Expr{span, r}); err != nil {
		return nil, err
	}
	sum, err := Scalar("+", []expr.Expr{coerce(args[0], expr.TypeDouble), span})
	if err != nil {
		return nil, err
	}
	return coerce(sum, commonNumeric(args[0].Type(), args[1].Type())), nil
}
