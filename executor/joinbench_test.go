package executor

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// joinSide has an integer key, a text of it and a number.
func joinSide(prefix string, keys []int64) (*table, *memSource) {
	alloc := memory.DefaultAllocator
	s, v := array.NewStringBuilder(alloc), make([]int64, len(keys))
	for i, k := range keys {
		v[i] = int64(i)
		s.Append(fmt.Sprintf("key#%09d", k))
	}
	tb := newTable(arrow.NewSchema([]arrow.Field{{Name: prefix + "k", Type: tInt}, {Name: prefix + "s", Type: tString}, {Name: prefix + "v", Type: tInt}}, nil),
		[]arrow.Array{int64Column(alloc, tInt, keys, 0), s.NewArray(), int64Column(alloc, tInt, v, 0)})
	m := &memSource{splits: make([][]arrow.RecordBatch, 1)}
	for at := 0; at < len(keys); at += 8192 {
		m.splits[0] = append(m.splits[0], tb.rec.NewSlice(int64(at), int64(min(at+8192, len(keys)))))
	}
	return tb, m
}

// BenchmarkJoin counts the pairs of two tables. With few probe rows it measures
// the build, with few build rows the probe.
func BenchmarkJoin(b *testing.B) {
	const million = 1 << 20
	dense := func(r *rand.Rand, i, n int) int64 { return int64(i) }
	shuffled := func(r *rand.Rand, i, n int) int64 { return int64(uint32(i) * 2654435761 % uint32(n)) }
	sparse := func(r *rand.Rand, i, n int) int64 { return int64(uint64(i+1) * 0x9e3779b97f4a7c15) }
	for _, c := range []struct {
		name         string
		build, probe int
		buildKey     func(r *rand.Rand, i, n int) int64
		probeKey     func(r *rand.Rand, i, n int) int64
		column       int
	}{
		{"build/dense", 2 * million, 8192, dense, dense, 0},
		{"build/shuffled", 2 * million, 8192, shuffled, dense, 0},
		{"build/sparse", 2 * million, 8192, sparse, sparse, 0},
		{"build/duplicates", 2 * million, 8192, func(r *rand.Rand, i, n int) int64 { return r.Int64N(int64(n) / 4) }, func(r *rand.Rand, i, n int) int64 { return int64(i) - 16384 }, 0},
		{"build/text", million, 8192, shuffled, dense, 1},
		{"probe/small", 1000, 4 * million, dense, func(r *rand.Rand, i, n int) int64 { return r.Int64N(1000) }, 0},
		{"probe/dense", million, 4 * million, dense, func(r *rand.Rand, i, n int) int64 { return r.Int64N(million) }, 0},
		{"probe/sparse", million, 4 * million, sparse, func(r *rand.Rand, i, n int) int64 { return int64((r.Uint64N(million) + 1) * 0x9e3779b97f4a7c15) }, 0},
		{"probe/miss", million, 4 * million, sparse, func(r *rand.Rand, i, n int) int64 { return r.Int64() }, 0},
		{"probe/text", 100000, 2 * million, dense, func(r *rand.Rand, i, n int) int64 { return r.Int64N(100000) }, 1},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			fill := func(n int, key func(r *rand.Rand, i, n int) int64) []int64 {
				out := make([]int64, n)
				for i := range out {
					out[i] = key(r, i, n)
				}
				return out
			}
			build, bm := joinSide("b", fill(c.build, c.buildKey))
			probe, pm := joinSide("p", fill(c.probe, c.probeKey))
			out := arrow.NewSchema(append(append([]arrow.Field{}, probe.schema.Fields()...), build.schema.Fields()...), nil)
			join := &physical.HashJoin{Left: &physical.Scan{Source: "p", Out: probe.schema}, Right: &physical.ExchangeRead{Stage: 0, Out: build.schema},
				LeftKeys: []expr.Expr{column(probe.schema, c.column)}, RightKeys: []expr.Expr{column(build.schema, c.column)}, Out: out}
			count := &physical.PartialAggregate{Input: join, Aggs: []*expr.AggCall{{Func: countAgg}}, Out: aggSchema(nil, nil, []arrow.DataType{tInt}, false)}
			rows := c.probe
			if c.build > c.probe {
				rows = c.build
			}
			benchPlan(b, &physical.Plan{Stages: []*physical.Stage{
				{ID: 0, Root: &physical.Scan{Source: "b", Out: build.schema}, Kind: physical.Splits, Output: physical.ToAll{}, Sources: []string{"b"}},
				{ID: 1, Root: count, Kind: physical.Splits, Output: physical.ToClient{}, Sources: []string{"p"}, Inputs: []int{0}},
			}}, map[string]*memSource{"b": bm, "p": pm}, rows, -1)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
		})
	}
}

// BenchmarkJoinIndex measures the index alone.
func BenchmarkJoinIndex(b *testing.B) {
	const n = 1 << 20
	for _, form := range []string{"dense", "hashed"} {
		r := rand.New(rand.NewPCG(1, 2))
		words, probes := make([]uint64, n), make([]uint64, 8192)
		key := func(i uint64) uint64 {
			if form == "dense" {
				return i
			}
			return i * 0x9e3779b97f4a7c15
		}
		for i := range words {
			words[i] = key(uint64(i) * 7 % n)
		}
		index := buildJoinIndex(words, 1, n, nil, true, eachPart)
		b.Run("build/"+form, func(b *testing.B) {
			for b.Loop() {
				buildJoinIndex(words, 1, n, nil, true, eachPart)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/row")
		})
		for _, hits := range []int{0, 1} {
			for i := range probes {
				probes[i] = key(r.Uint64N(n) + uint64(1-hits)*n)
			}
			lo, hi := make([]uint32, len(probes)), make([]uint32, len(probes))
			b.Run(fmt.Sprintf("probe/%s/hits%d", form, hits), func(b *testing.B) {
				for b.Loop() {
					index.lookup(probes, lo, hi)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(probes)), "ns/row")
			})
		}
	}
}
