package functions

import (
	"bytes"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// gathered keeps the rows of a group, encoded one behind the other, and makes
// the result of them in the end. It serves aggregates that need their values
// in order and are not asked for groups of millions of rows.
type gathered struct {
	collected
	cols   int
	result arrow.DataType
	finish func(b array.Builder, rows arrow.Array) error
}

// newGathered resolves an aggregate over the values of dts. finish appends the
// result of a group's rows: a column of the first argument's type, or of
// structs if there are several arguments. It gives NULL for no rows.
func newGathered(dts []arrow.DataType, result arrow.DataType, finish func(b array.Builder, rows arrow.Array) error) *expr.Aggregate {
	dt := dts[0]
	if len(dts) > 1 {
		fields := make([]arrow.Field, len(dts))
		for i, d := range dts {
			fields[i] = arrow.Field{Name: "c" + itoa(i), Type: d, Nullable: true}
		}
		dt = arrow.StructOf(fields...)
	}
	a := &expr.Aggregate{State: []arrow.DataType{arrow.ListOf(dt)}, Result: result, EmptyNull: true}
	a.New = acc(func(alloc memory.Allocator) *gathered {
		return &gathered{collected: collected{alloc: alloc, dt: dt}, cols: len(dts), result: result, finish: finish}
	})
	return a
}

// Update takes the rows in which the last argument (of one, that one) is not NULL.
func (s *gathered) Update(groups []uint32, args []expr.Vec, sel []int32, n int) error {
	if s.cols == 1 {
		return s.collected.Update(groups, args, sel, n)
	}
	return eachRow(groups, args[s.cols-1:s.cols], sel, n, func(g uint32, i int) error {
		old := cap(s.list[g])
		b := append(s.list[g], 0x02) // a struct that is not NULL, see vec.Encode
		for _, a := range args[:s.cols] {
			b = vec.Encode(b, a.Arr, row(a, i))
		}
		s.list[g] = b
		s.bytes += int64(cap(b) - old)
		return nil
	})
}

// Final makes each group's result.
func (s *gathered) Final(first, end int) (arrow.Array, error) {
	b := array.NewBuilder(s.alloc, s.result)
	defer b.Release()
	for g := first; g < end; g++ {
		if len(s.list[g]) == 0 {
			b.AppendNull()
			continue
		}
		if err := s.finishGroup(b, s.list[g]); err != nil {
			return nil, err
		}
	}
	return b.NewArray(), nil
}

// State returns the rows as lists.
func (s *gathered) State(first, end int) ([]arrow.Array, error) {
	arr, err := s.collected.Final(first, end)
	return []arrow.Array{arr}, err
}

func (s *gathered) finishGroup(b array.Builder, src []byte) error {
	rb := array.NewBuilder(s.alloc, s.dt)
	defer rb.Release()
	for len(src) > 0 {
		var err error
		if src, err = vec.Decoded(rb, src); err != nil {
			return err
		}
	}
	rows := rb.NewArray()
	defer rows.Release()
	return s.finish(b, rows)
}

// appendFrom appends row i of a column to a builder of its type.
func appendFrom(b array.Builder, arr arrow.Array, i int) error {
	_, err := vec.Decoded(b, vec.Encode(nil, arr, i))
	return err
}

// byRank sorts the rows of a column by the order of its values, downwards with desc.
func byRank(arr arrow.Array, desc bool) []int {
	keys := make([][]byte, arr.Len())
	idx := make([]int, arr.Len())
	for i := range idx {
		keys[i], idx[i] = vec.Encode(nil, arr, i), i
	}
	slices.SortStableFunc(idx, func(a, b int) int {
		if desc {
			a, b = b, a
		}
		return bytes.Compare(keys[a], keys[b])
	})
	return idx
}

// gatherAggregates lists the aggregates over gathered rows.
func gatherAggregates() []*Entry {
	const five = " FROM VALUES (0), (10), (20), (30), (40)"
	return []*Entry{
		agg("percentile_disc", "The first value whose share of the values in order is at least the percentage: percentile_disc(p) WITHIN GROUP (ORDER BY x).", "percentile_disc(col1, 0.3)"+five, "10.0",
			slices.Concat(discreteSigs("double"), discreteSigs("months"), discreteSigs("duration"))...),
		agg("histogram_numeric", "A histogram of a number of bins, as an array of centres x and counts y.", "histogram_numeric(col1, 5) FROM VALUES (0), (1), (2), (10)", "[{0, 1.0}, {1, 1.0}, {2, 1.0}, {10, 1.0}]",
			asig("numeric, int", histogram), asig("timestamp, int", histogram), asig("date, int", histogram)),
		agg("approx_top_k", "The most frequent values with their counts, as an array of item and count.", "approx_top_k(col1, 2) FROM VALUES ('a'), ('b'), ('b'), ('b'), ('c'), ('c')", "[{b, 3}, {c, 2}]",
			asig("any, int = 5, int = 10000", topK)),
		agg("collect_union", "The different elements of all arrays, in order.", "collect_union(col1) FROM VALUES (array(1, 2)), (array(2, 3))", "[1, 2, 3]", asig("array", unionOf)),
	}
}

// spanQuantiles are exact percentiles of intervals, which keep their type.
func spanQuantiles(t *Types, ps []float64, many bool) *expr.Aggregate {
	dt := t.Args[0]
	return newGathered([]arrow.DataType{dt}, resultOf(dt, many), func(b array.Builder, rows arrow.Array) error {
		at := make([]float64, rows.Len())
		for i := range at {
			at[i] = float64(timeValue(expr.Vec{Arr: rows}, i))
		}
		slices.Sort(at)
		elem := b
		if list, ok := b.(*array.ListBuilder); ok {
			list.Append(true)
			elem = list.ValueBuilder()
		}
		for _, p := range ps {
			k := p * float64(len(at)-1)
			lo, hi := at[int(math.Floor(k))], at[int(math.Ceil(k))]
			v := int64(lo + (hi-lo)*(k-math.Floor(k)))
			switch elem := elem.(type) {
			case *array.MonthIntervalBuilder:
				elem.Append(arrow.MonthInterval(v))
			case *array.DurationBuilder:
				elem.Append(arrow.Duration(v))
			}
		}
		return nil
	})
}

func discreteSigs(of string) []AggSig {
	return []AggSig{asig(of+", double, boolean = false", discrete), asig(of+", array<double>, boolean = false", discrete)}
}

func discrete(t *Types) (*expr.Aggregate, error) {
	ps, many, err := percentages(t, 1)
	if err != nil {
		return nil, err
	}
	desc, err := t.constant(2)
	if err != nil {
		return nil, err
	}
	return newGathered(t.Args[:1], resultOf(t.Args[0], many), func(b array.Builder, rows arrow.Array) error {
		order := byRank(rows, desc.Value == true)
		elem := b
		if many {
			list := b.(*array.ListBuilder)
			list.Append(true)
			elem = list.ValueBuilder()
		}
		for _, p := range ps {
			k := int(math.Ceil(p*float64(len(order)))) - 1
			if err := appendFrom(elem, rows, order[max(k, 0)]); err != nil {
				return err
			}
		}
		return nil
	}), nil
}

func topK(t *Types) (*expr.Aggregate, error) {
	l, err := t.constant(1)
	if err != nil {
		return nil, err
	}
	k := int(l.Value.(int64))
	if k < 1 {
		return nil, batch.UserErrorf("k must be 1 or more, not %d", k)
	}
	dt := arrow.ListOf(arrow.StructOf(arrow.Field{Name: "item", Type: t.Args[0], Nullable: true}, arrow.Field{Name: "count", Type: expr.TypeInt64}))
	return newGathered(t.Args[:1], dt, func(b array.Builder, rows arrow.Array) error {
		type item struct {
			row   int
			count int64
		}
		at := map[string]int{}
		var items []item
		for i := range rows.Len() {
			key := string(vec.Encode(nil, rows, i))
			j, ok := at[key]
			if !ok {
				j = len(items)
				at[key] = j
				items = append(items, item{row: i})
			}
			items[j].count++
		}
		slices.SortStableFunc(items, func(a, b item) int { return int(b.count - a.count) })
		list := b.(*array.ListBuilder)
		list.Append(true)
		st := list.ValueBuilder().(*array.StructBuilder)
		for _, it := range items[:min(k, len(items))] {
			st.Append(true)
			if err := appendFrom(st.FieldBuilder(0), rows, it.row); err != nil {
				return err
			}
			st.FieldBuilder(1).(*array.Int64Builder).Append(it.count)
		}
		return nil
	}), nil
}

func unionOf(t *Types) (*expr.Aggregate, error) {
	return newGathered(t.Args[:1], t.Args[0], func(b array.Builder, rows arrow.Array) error {
		v := vec.ListOf(rows)
		list := b.(*array.ListBuilder)
		list.Append(true)
		last := ""
		elems := array.NewSlice(v.Elems, int64(v.Start(0)), int64(v.End(rows.Len()-1)))
		defer elems.Release()
		for _, i := range byRank(elems, false) {
			if key := string(vec.Encode(nil, elems, i)); key != last {
				last = key
				if err := appendFrom(list.ValueBuilder(), elems, i); err != nil {
					return err
				}
			}
		}
		return nil
	}), nil
}

// bin is a bin of a histogram.
type bin struct{ x, y float64 }

// histogram merges the two closest bins whenever there is one too many
// (Ben-Haim and Tom-Tov, A Streaming Parallel Decision Tree Algorithm).
func histogram(t *Types) (*expr.Aggregate, error) {
	l, err := t.constant(1)
	if err != nil {
		return nil, err
	}
	n := int(l.Value.(int64))
	if n < 2 || n > 1<<16 {
		return nil, batch.UserErrorf("a histogram has 2 to 65536 bins, not %d", n)
	}
	dt := t.Args[0]
	out := arrow.ListOf(arrow.StructOf(arrow.Field{Name: "x", Type: dt, Nullable: true}, arrow.Field{Name: "y", Type: expr.TypeDouble}))
	return newGathered(t.Args[:1], out, func(b array.Builder, rows arrow.Array) error {
		kc := &expr.KernelContext{Alloc: memory.DefaultAllocator}
		nums, err := asDoubles(kc, rows)
		if err != nil {
			return err
		}
		var bins []bin
		for _, v := range nums {
			bins = addBin(bins, v, n)
		}
		list := b.(*array.ListBuilder)
		list.Append(true)
		st := list.ValueBuilder().(*array.StructBuilder)
		for _, c := range bins {
			st.Append(true)
			if err := appendNumber(kc, st.FieldBuilder(0), c.x); err != nil {
				return err
			}
			st.FieldBuilder(1).(*array.Float64Builder).Append(c.y)
		}
		return nil
	}), nil
}

func addBin(bins []bin, v float64, most int) []bin {
	i, found := slices.BinarySearchFunc(bins, v, func(b bin, v float64) int { return vec.CompareFloat(b.x, v) })
	if found {
		bins[i].y++
		return bins
	}
	if bins = slices.Insert(bins, i, bin{v, 1}); len(bins) <= most {
		return bins
	}
	at := 0
	for j := 1; j+1 < len(bins); j++ {
		if bins[j+1].x-bins[j].x < bins[at+1].x-bins[at].x {
			at = j
		}
	}
	a, b := bins[at], bins[at+1]
	bins[at] = bin{(a.x*a.y + b.x*b.y) / (a.y + b.y), a.y + b.y}
	return slices.Delete(bins, at+1, at+2)
}

// asDoubles reads numbers, dates and timestamps as DOUBLE.
func asDoubles(kc *expr.KernelContext, arr arrow.Array) ([]float64, error) {
	out := make([]float64, arr.Len())
	if !isNumeric(arr.DataType()) {
		for i := range out {
			out[i] = float64(timeValue(expr.Vec{Arr: arr}, i))
		}
		return out, nil
	}
	d, err := castArray(kc, arr, expr.TypeDouble)
	if err != nil {
		return nil, err
	}
	defer d.Release()
	copy(out, vec.Values[float64](d))
	return out, nil
}

// appendNumber appends a DOUBLE to a builder of numbers, dates or timestamps.
func appendNumber(kc *expr.KernelContext, b array.Builder, x float64) error {
	switch b := b.(type) {
	case *array.Date32Builder:
		b.Append(arrow.Date32(x))
		return nil
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(x))
		return nil
	}
	one, err := (&expr.Literal{Value: x, DT: expr.TypeDouble}).Array(kc.Alloc)
	if err != nil {
		return err
	}
	defer one.Release()
	v, err := castArray(kc, one, b.Type())
	if err != nil {
		return err
	}
	defer v.Release()
	return appendFrom(b, v, 0)
}

// bestBy is max_by or min_by of the k greatest or least.
func bestBy(desc bool) func(t *Types) (*expr.Aggregate, error) {
	return func(t *Types) (*expr.Aggregate, error) {
		l, err := t.constant(2)
		if err != nil {
			return nil, err
		}
		k := int(l.Value.(int64))
		if k < 1 {
			return nil, batch.UserErrorf("the number of values must be 1 or more, not %d", k)
		}
		return newGathered(t.Args[:2], arrow.ListOf(t.Args[0]), func(b array.Builder, rows arrow.Array) error {
			st := rows.(*array.Struct)
			list := b.(*array.ListBuilder)
			list.Append(true)
			order := byRank(st.Field(1), desc)
			for _, i := range order[:min(k, len(order))] {
				if err := appendFrom(list.ValueBuilder(), st.Field(0), i); err != nil {
					return err
				}
			}
			return nil
		}), nil
	}
}
