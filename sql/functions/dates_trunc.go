package functions

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// dateTrunc is date_trunc with a unit that is the same for all rows, over clocks
// that have no zone or are in UTC; other calls go to general. Rows that follow
// each other mostly fall into one unit of time, which is computed once.
func dateTrunc(general expr.Kernel, zoned bool) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		unit, times := args[0], args[1]
		if !unit.Const || times.Const || unit.Arr.NullN() > 0 || times.Arr.NullN() == times.Arr.Len() {
			return general(kc, args, n)
		}
		if zoned {
			if z, err := civil.Load(kc.Zone); err != nil || !z.UTC() {
				return general(kc, args, n)
			}
		}
		name := strings.ToUpper(vec.StringsOf(unit.Arr).Str(0))
		if _, ok := truncate(name, 0); !ok {
			return vec.NullArray(kc.Alloc, kc.Result, n), nil
		}
		m := vec.StrictMask(kc.Alloc, args, n)
		buf, out := vec.NewFixed[int64](kc.Alloc, n)
		// What is under a NULL is cut too, to no harm.
		if size := unitSize(name); size > 0 {
			cutEven(vec.Values[int64](times.Arr), out, size)
		} else {
			cutDays(vec.Values[int64](times.Arr), out, name)
		}
		return m.Array(kc.Result, buf), nil
	}
}

// unitSize is the length of the units that are all of one length, else 0.
func unitSize(unit string) int64 {
	switch unit {
	case "MICROSECOND":
		return 1
	case "MILLISECOND":
		return 1000
	case "SECOND":
		return civil.Second
	case "MINUTE":
		return civil.Minute
	case "HOUR":
		return civil.Hour
	case "DAY", "DD":
		return civil.Day
	}
	return 0
}

func cutEven(vals, out []int64, size int64) {
	var start int64
	for i, v := range vals {
		if uint64(v-start) >= uint64(size) {
			start = v - civil.FloorMod(v, size)
		}
		out[i] = start
	}
}

func cutDays(vals, out []int64, unit string) {
	day, start := int64(0), int64(0)
	known := false
	for i, v := range vals {
		if d := civil.FloorDiv(v, civil.Day); !known || d != day {
			first, _ := truncDays(unit, d)
			day, start, known = d, first*civil.Day, true
		}
		out[i] = start
	}
}
