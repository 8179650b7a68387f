package functions

import (
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/dec"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func sketchAggregates() []*Entry {
	const five = " FROM VALUES (0), (10), (20), (30), (40)"
	exact := func(t *Types) (*expr.Aggregate, error) {
		ps, many, err := percentages(t, 1)
		if err != nil {
			return nil, err
		}
		if len(t.args) > 2 {
			desc, err := t.constant(2)
			if err != nil {
				return nil, err
			}
			for i := range ps {
				if desc.Value == true {
					ps[i] = 1 - ps[i]
				}
			}
		}
		if t.Args[0].ID() != arrow.FLOAT64 {
			return spanQuantiles(t, ps, many), nil
		}
		return newQuantiles(ps, many), nil
	}
	approx := func(t *Types) (*expr.Aggregate, error) {
		ps, many, err := percentages(t, 1)
		if err != nil {
			return nil, err
		}
		acc, err := t.constant(2)
		if err != nil {
			return nil, err
		}
		a := acc.Value.(int64)
		if a < 1 || a > accuracyMax {
			return nil, batch.UserErrorf("the accuracy must be within 1..%d, not %d", accuracyMax, a)
		}
		return newSketch(t.Args[0], ps, many, int(a))
	}
	return []*Entry{
		agg("percentile", "The exact percentile (0 to 1, or an array of them) of the values, with linear interpolation.", "percentile(col1, 0.3)"+five, "12.0",
			asig("months, double", exact), asig("months, array<double>", exact), asig("duration, double", exact), asig("duration, array<double>", exact),
			asig("double, double", exact), asig("double, array<double>", exact)),
		agg("percentile_cont", "The exact percentile of the values in order, with linear interpolation: percentile_cont(p) WITHIN GROUP (ORDER BY x).", "percentile_cont(col1, 0.3)"+five, "12.0",
			asig("months, double, boolean = false", exact), asig("months, array<double>, boolean = false", exact), asig("duration, double, boolean = false", exact), asig("duration, array<double>, boolean = false", exact),
			asig("double, double, boolean = false", exact), asig("double, array<double>, boolean = false", exact)),
		agg("median", "The exact percentile 0.5.", "median(col1) FROM VALUES (0), (10), (40), (20)", "15.0",
			asig("months", func(t *Types) (*expr.Aggregate, error) { return spanQuantiles(t, []float64{0.5}, false), nil }),
			asig("duration", func(t *Types) (*expr.Aggregate, error) { return spanQuantiles(t, []float64{0.5}, false), nil }),
			asig("double", func(*Types) (*expr.Aggregate, error) { return newQuantiles([]float64{0.5}, false), nil })),
		agg("approx_percentile|percentile_approx", "A value whose rank is close to the percentile (or each of an array), from a mergeable sketch; exact up to as many values as the accuracy (10000).",
			"approx_percentile(col1, 0.5)"+five, "20", asig("any, double, bigint = 10000", approx), asig("any, array<double>, bigint = 10000", approx)),
		agg("approx_count_distinct", "How many different values there are, to within about 2 percent; exact for the first few hundred.", "approx_count_distinct(col1) FROM VALUES (1), (1), (2), (3)", "3",
			asig("any, double = 0.02", func(t *Types) (*expr.Aggregate, error) { return newDistinct(t) })),
	}
}

// accuracyMax bounds the memory of one group's sketch.
const accuracyMax = 1 << 20

// percentages reads a constant percentage or an array of them.
func percentages(t *Types, at int) (ps []float64, many bool, err error) {
	var collect func(e expr.Expr) bool
	collect = func(e expr.Expr) bool {
		switch x := e.(type) {
		case *expr.Literal:
			switch v := x.Value.(type) {
			case float64:
				ps = append(ps, v)
				return true
			case int64:
				ps = append(ps, float64(v))
				return true
			case dec.Num:
				d, _ := dec.Of(x.DT)
				ps = append(ps, dec.Float(v, d.S))
				return true
			}
		case *expr.Cast:
			return collect(x.Arg)
		case *expr.Call:
			if x.Func.Name == "array" {
				many = true
				for _, a := range x.Args {
					if !collect(a) {
						return false
					}
				}
				return true
			}
		}
		return false
	}
	if !collect(t.args[at]) {
		return nil, false, batch.UserErrorf("the percentage must be a constant")
	}
	for _, p := range ps {
		if !(p >= 0 && p <= 1) {
			return nil, false, batch.UserErrorf("the percentage must be within 0..1, not %v", p)
		}
	}
	return ps, many, nil
}

// quantiles keeps all values of a group for exact percentiles.
type quantiles struct {
	alloc memory.Allocator
	ps    []float64
	many  bool
	vals  [][]float64
	bytes int64
}

func newQuantiles(ps []float64, many bool) *expr.Aggregate {
	a := &expr.Aggregate{State: []arrow.DataType{arrow.ListOf(expr.TypeDouble)}, Result: resultOf(expr.TypeDouble, many), EmptyNull: true}
	a.New = acc(func(alloc memory.Allocator) *quantiles { return &quantiles{alloc: alloc, ps: ps, many: many} })
	return a
}

func resultOf(dt arrow.DataType, many bool) arrow.DataType {
	if many {
		return arrow.ListOf(dt)
	}
	return dt
}

func (q *quantiles) Resize(n int) { q.vals = grow(q.vals, n) }

func (q *quantiles) put(g uint32, v float64) {
	old := cap(q.vals[g])
	q.vals[g] = append(q.vals[g], v)
	q.bytes += int64(cap(q.vals[g])-old) * 8
}

func (q *quantiles) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	v := vec.Load[float64](args[0])
	return eachRow(groups, args[:1], sel, n, func(g uint32, i int) error {
		q.put(g, v.At(i))
		return nil
	})
}

func (q *quantiles) Retract([]uint32, []expr.Vec, []int32, int) error { return errNotInvertible }

func (q *quantiles) Merge(groups []uint32, state []arrow.Array) error {
	v := vec.ListOf(state[0])
	vals := vec.Values[float64](v.Elems)
	for k := range state[0].Len() {
		for j := v.Start(k); j < v.End(k); j++ {
			q.put(group0(groups, k), vals[j])
		}
	}
	return nil
}

func (q *quantiles) State(first, end int) ([]arrow.Array, error) {
	b := array.NewListBuilder(q.alloc, expr.TypeDouble)
	defer b.Release()
	for _, v := range q.vals[first:end] {
		b.Append(true)
		b.ValueBuilder().(*array.Float64Builder).AppendValues(v, nil)
	}
	return []arrow.Array{b.NewListArray()}, nil
}

func (q *quantiles) Final(first, end int) (arrow.Array, error) {
	return percentileResult(q.alloc, expr.TypeDouble, q.ps, q.many, first, end, func(g int) func(p float64) float64 {
		v := q.vals[g]
		if len(v) == 0 {
			return nil
		}
		slices.SortFunc(v, vec.CompareFloat)
		return func(p float64) float64 {
			at := p * float64(len(v)-1)
			lo, hi := v[int(math.Floor(at))], v[int(math.Ceil(at))]
			if lo == hi {
				return lo
			}
			return lo + (hi-lo)*(at-math.Floor(at))
		}
	}, func(b array.Builder, v float64) { b.(*array.Float64Builder).Append(v) })
}

// percentileResult builds a column of a value, or a list of them, per group.
func percentileResult[T any](alloc memory.Allocator, dt arrow.DataType, ps []float64, many bool, first, end int,
	of func(g int) func(p float64) T, put func(b array.Builder, v T)) (arrow.Array, error) {
	b := array.NewBuilder(alloc, resultOf(dt, many))
	defer b.Release()
	elem := b
	list, _ := b.(*array.ListBuilder)
	if many {
		elem = list.ValueBuilder()
	}
	for g := first; g < end; g++ {
		f := of(g)
		if f == nil {
			b.AppendNull()
			continue
		}
		if many {
			list.Append(true)
		}
		for _, p := range ps {
			put(elem, f(p))
		}
	}
	return b.NewArray(), nil
}

func (q *quantiles) Bytes() int64 { return q.bytes + int64(cap(q.vals))*24 }

func (q *quantiles) Reset() {
	clear(q.vals)
	q.vals, q.bytes = q.vals[:0], 0
}

func (q *quantiles) Release() { q.vals, q.bytes = nil, 0 }
