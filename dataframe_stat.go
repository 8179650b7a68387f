package sluice

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
)

// summaries are the rows that Describe and Summary can give, by name.
var summaries = map[string]func(c Column) Column{
	"count":           func(c Column) Column { return Call("count", c) },
	"count_distinct":  CountDistinct,
	"mean":            func(c Column) Column { return Call("avg", c) },
	"stddev":          func(c Column) Column { return Call("stddev", c) },
	"min":             Min,
	"max":             Max,
	"approx_distinct": func(c Column) Column { return Call("approx_count_distinct", c) },
}

// Describe gives count, mean, stddev, min and max of the columns, or of all numbers
// and texts, as text: a row for each, named in the column summary.
func (d *DataFrame) Describe(columns ...string) *DataFrame {
	return d.summarize([]string{"count", "mean", "stddev", "min", "max"}, columns)
}

// Summary gives the statistics asked for: count, count_distinct, approx_distinct,
// mean, stddev, min, max and percentiles such as "25%". Without any it is Describe
// with the quartiles.
func (d *DataFrame) Summary(statistics ...string) *DataFrame {
	if len(statistics) == 0 {
		statistics = []string{"count", "mean", "stddev", "min", "25%", "50%", "75%", "max"}
	}
	return d.summarize(statistics, nil)
}

func (d *DataFrame) summarize(statistics, columns []string) *DataFrame {
	n, err := d.bound()
	if err != nil {
		return d.failed(err)
	}
	numbers := map[string]bool{}
	var usable []string
	for _, f := range n.Schema().Fields() {
		numbers[strings.ToLower(f.Name)] = isNumber(f.Type)
		if isNumber(f.Type) || f.Type.ID() == arrow.STRING {
			usable = append(usable, f.Name)
		}
	}
	if len(columns) == 0 {
		columns = usable
	}
	var aggs, rows []any
	for r, name := range statistics {
		row := []any{"summary", name}
		for i, c := range columns {
			cell := fmt.Sprintf("__%d_%d", r, i)
			agg, err := statistic(name, Col(c), numbers[strings.ToLower(c)])
			if err != nil {
				return d.failed(err)
			}
			aggs = append(aggs, agg.Cast("STRING").As(cell))
			row = append(row, c, Col(cell))
		}
		rows = append(rows, Call("named_struct", row...))
	}
	return d.GroupBy().Agg(aggs...).Select(Call("inline", Call("array", rows...)))
}

// statistic is one cell; of a text there is no mean and no percentile.
func statistic(name string, c Column, number bool) (Column, error) {
	if p, ok := strings.CutSuffix(name, "%"); ok {
		if !number {
			return Lit(nil), nil
		}
		share, err := strconv.ParseFloat(p, 64)
		if err != nil {
			return Column{}, batch.UserErrorf("summary: the percentile %q is no number", name)
		}
		return Call("percentile_approx", c, share/100), nil
	}
	f, ok := summaries[name]
	if !ok {
		return Column{}, batch.UserErrorf("summary: unknown statistic %q", name)
	}
	if !number && (name == "mean" || name == "stddev") {
		return Lit(nil), nil
	}
	return f(c), nil
}

// Stat is statistics over the rows of a DataFrame.
type Stat struct{ d *DataFrame }

// Stat computes statistics.
func (d *DataFrame) Stat() Stat { return Stat{d} }

// Corr is Pearson's correlation of two columns.
func (s Stat) Corr(ctx context.Context, a, b string) (float64, error) {
	return s.number(ctx, Call("corr", Col(a), Col(b)))
}

// Cov is the sample covariance of two columns.
func (s Stat) Cov(ctx context.Context, a, b string) (float64, error) {
	return s.number(ctx, Call("covar_samp", Col(a), Col(b)))
}

func (s Stat) number(ctx context.Context, agg Column) (float64, error) {
	row, err := s.d.Agg(agg.Cast("DOUBLE")).First(ctx)
	if err != nil || row[0] == nil {
		return 0, err
	}
	return row[0].(float64), nil
}

// ApproxQuantile is the values below which the shares of a column's values lie,
// nil where it has none.
func (s Stat) ApproxQuantile(ctx context.Context, column string, shares ...float64) ([]float64, error) {
	row, err := s.d.Agg(Call("percentile_approx", Col(column).Cast("DOUBLE"), Lit(shares))).First(ctx)
	if err != nil || row[0] == nil {
		return nil, err
	}
	out := make([]float64, len(shares))
	for i, v := range row[0].([]any) {
		out[i], _ = v.(float64)
	}
	return out, nil
}

// maxCrosstab bounds the columns of a Crosstab.
const maxCrosstab = 10_000

// Crosstab counts how often each pair of values of two columns comes: a row for each
// value of the first, a column for each value of the second.
func (s Stat) Crosstab(ctx context.Context, a, b string) (*DataFrame, error) {
	text := func(c string) Column { return Call("coalesce", Col(c).Cast("STRING"), "null") }
	label := a + "_" + b
	pairs := s.d.Select(text(a).As("__a"), text(b).As("__b"))
	values, err := pairs.DistinctValues(ctx, "__b", maxCrosstab)
	if err != nil {
		return nil, err
	}
	aggs := make([]any, len(values))
	for i, v := range values {
		aggs[i] = Count().FilterWhere(Col("__b").Eq(v)).As(fmt.Sprint(v))
	}
	out := pairs.GroupBy(Col("__a").As(label)).Agg(aggs...)
	return out, out.err
}

// FreqItems lists, in one row, the values of each column that make up more than a
// share of its rows, in the column c_freqItems. It is exact.
func (s Stat) FreqItems(share float64, columns ...string) *DataFrame {
	if share <= 0 || share > 1 {
		return s.d.failed(batch.UserErrorf("FreqItems: the share %v is not between 0 and 1", share))
	}
	all := Scalar(s.d.plain().Agg(Count()))
	lists := make([]any, len(columns))
	for i, c := range columns {
		often := s.d.plain().GroupBy(Col(c).As("item")).Agg(Count().As("n")).Where(Col("n").Gt(all.Times(share)))
		lists[i] = Scalar(often.Agg(Call("sort_array", Call("collect_list", Col("item"))))).As(c + "_freqItems")
	}
	one := s.d.plain().GroupBy().Agg(Count().As("n"))
	return one.Select(lists...)
}

// DistinctValues runs the query for the different values of a column that are not
// NULL, in order; more than most are a fault.
func (d *DataFrame) DistinctValues(ctx context.Context, column string, most int) ([]any, error) {
	rows, err := d.Select(Col(column).As("v")).Where(Col("v").IsNotNull()).Distinct().OrderBy("v").Limit(int64(most) + 1).Collect(ctx)
	if err != nil {
		return nil, err
	}
	if len(rows) > most {
		return nil, batch.UserErrorf("column %q has more than %d different values", column, most)
	}
	out := make([]any, len(rows))
	for i, r := range rows {
		out[i] = r[0]
	}
	return out, nil
}
