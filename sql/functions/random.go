package functions

import (
	"encoding/hex"
	"math"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// randoms lists what gives each row a value of its own. The values are a
// function of the seed that the plan record fixes and the row's position, so
// that a batch that runs again gives the same rows.
func randoms() []*Entry {
	return []*Entry{
		fn("rand|random", "A number between 0 and 1, the same when a batch runs again.", "rand(1) < 1", "true",
			sig(" -> double", perRowKernel(uniform)), sig("bigint -> double", perRowKernel(uniform))).lax().safe().tight().perRow(),
		fn("sample_draw", "A number between 0 and 1 that the seed and the row's place within its split decide alone, as for TABLESAMPLE .. REPEATABLE.",
			"sample_draw(1) < 1", "true", sig("bigint -> double", repeatable)).lax().safe().tight().perRow(),
		fn("randn", "A number drawn from the standard normal distribution.", "abs(randn(1)) < 20", "true",
			sig(" -> double", perRowKernel(normal)), sig("bigint -> double", perRowKernel(normal))).lax().safe().tight().perRow(),
		fn("uuid", "A random UUID, the same when a batch runs again.", "length(uuid())", "36",
			sig(" -> string", expr.Kernel(uuids)), sig("bigint -> string", expr.Kernel(uuids))).lax().safe().tight().perRow(),
	}
}

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// seedOf is the seed of a call: its argument's, if it has one.
func seedOf(kc *expr.KernelContext, args []expr.Vec) uint64 {
	if len(args) > 0 && args[0].Arr.Len() > 0 && args[0].Arr.IsValid(0) {
		return mix(kc.Seed ^ mix(uint64(vec.Values[int64](args[0].Arr)[0])))
	}
	return kc.Seed
}

func perRowKernel(f func(seed uint64) float64) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		seed := seedOf(kc, args)
		buf, out := vec.NewFixed[float64](kc.Alloc, n)
		for i := range out {
			out[i] = f(mix(seed + uint64(kc.RowBase) + uint64(i)))
		}
		return vec.NewMask(kc.Alloc, n).Array(kc.Result, buf), nil
	}
}

// repeatable draws the same numbers in every run and query.
func repeatable(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	same := *kc
	same.Seed = 0
	return perRowKernel(uniform)(&same, args, n)
}

func uniform(x uint64) float64 { return float64(x>>11) / (1 << 53) }

func normal(x uint64) float64 {
	u, v := 1-uniform(x), uniform(mix(x))
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*v)
}

func uuids(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	o, seed := vec.NewStrOut(kc.Alloc, n), seedOf(kc, args)
	for i := range n {
		var b [16]byte
		hi := mix(seed ^ 0x5851F42D4C957F2D + uint64(kc.RowBase) + uint64(i))
		lo := mix(hi)
		for k := range 8 {
			b[k], b[8+k] = byte(hi>>(8*k)), byte(lo>>(8*k))
		}
		b[6], b[8] = b[6]&0x0F|0x40, b[8]&0x3F|0x80
		dst := o.Begin()
		for k, at := range [][2]int{{0, 4}, {4, 6}, {6, 8}, {8, 10}, {10, 16}} {
			if k > 0 {
				dst = append(dst, '-')
			}
			dst = hex.AppendEncode(dst, b[at[0]:at[1]])
		}
		o.End(dst)
	}
	return o.Array(kc.Result, vec.NewMask(kc.Alloc, n))
}
