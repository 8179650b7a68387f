package parquet

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// decimalsOfInt is the conversion of decimals stored as integers: a range check
// and a sign extension where no digits are added, which is nearly always.
func decimalsOfInt[S stored](sc decimalScale) func(src []S, dst []decimal128.Num) error {
	if sc.up > 0 {
		return func(src []S, dst []decimal128.Num) (err error) {
			for i, v := range src {
				if dst[i], err = sc.apply(decimal128.FromI64(int64(v))); err != nil {
					return err
				}
			}
			return nil
		}
	}
	limit := int64(-1) // every value fits
	if sc.precision <= 18 {
		limit = 1
		for range sc.precision {
			limit *= 10
		}
	}
	return func(src []S, dst []decimal128.Num) error {
		dst = dst[:len(src)]
		var over uint64
		for i, s := range src {
			v := int64(s)
			dst[i] = decimal128.New(v>>63, uint64(v))
			over |= uint64(limit-1-v) | uint64(limit-1+v) // a sign bit: v >= limit or v <= -limit
		}
		if limit > 0 && int64(over) < 0 {
			for _, s := range src {
				if v := int64(s); v >= limit || v <= -limit {
					return fmt.Errorf("the unscaled value %d does not fit DECIMAL with %d digits", v, sc.precision)
				}
			}
		}
		return nil
	}
}
