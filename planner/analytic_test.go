package planner

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

var routes = &logical.Table{Name: "routes", Schema: trips.Schema}

// ranked adds row_number and a sum over the same partitions.
func ranked(in logical.Node, partition []string, order ...string) *logical.Analytic {
	n := &logical.Analytic{Input: in, Calls: []*expr.AnalyticCall{{Kind: expr.RowNumber, Name: "n", DT: expr.TypeInt32}}}
	for _, p := range partition {
		n.Partition = append(n.Partition, col(in, p))
	}
	for _, o := range order {
		n.Order = append(n.Order, expr.SortKey{Expr: col(in, o), NullsFirst: true})
	}
	return n
}

func TestWindowFunctionsOverOnePartitioningShareExchangeAndSort(t *testing.T) {
	first := ranked(scan(routes), []string{"city"}, "ts", "id")
	second := ranked(first, []string{"city"}, "ts")
	third := ranked(second, []string{"city"}, "fare")
	expect(t, build(t, ranked(third, nil, "id"), false, ""), `
Stage 0 splits -> hash(city#1)
  Scan routes#0 [id, city, ts, fare]
Stage 1 hash -> one
  Analytic by [city#1] order [fare#3] [row_number()]
    Sort city#1, fare#3
      Analytic by [city#1] order [ts#2] [row_number()]
        Analytic by [city#1] order [ts#2, id#0] [row_number()]
          Sort city#1, ts#2, id#0
            ExchangeRead stage 0
Stage 2 single -> client
  Analytic by [] order [id#0] [row_number()]
    Sort id#0
      ExchangeRead stage 1
`)
}

func TestAWindowFunctionThatNobodyReadsIsNotComputed(t *testing.T) {
	n := ranked(scan(routes), []string{"city"}, "ts")
	n.Calls = append(n.Calls, &expr.AnalyticCall{Kind: expr.Lag, Args: []expr.Expr{col(n.Input, "fare")}, N: 1, Name: "before", DT: expr.TypeDouble, Null: true})
	expect(t, build(t, &logical.Project{Input: n, Exprs: []expr.Expr{col(n, "before")}, Names: []string{"before"}}, false, ""), `
Stage 0 splits -> hash(city#0)
  Scan routes#0 [city, ts, fare]
Stage 1 hash -> client
  Project before#3 AS before
    Analytic by [city#0] order [ts#1] [lag(fare#2, 1)]
      Sort city#0, ts#1
        ExchangeRead stage 0
`)
	expect(t, build(t, &logical.Project{Input: n, Exprs: []expr.Expr{col(n, "id")}, Names: []string{"id"}}, false, ""), `
Stage 0 splits -> client
  Project id#0 AS id
    Scan routes#0 [id]
`)
}

// What is asked of the partition's key keeps or drops whole partitions; what is
// asked of another column, or of the result, does not go below.
func TestOnlyConditionsOnPartitionKeysPassWindowFunctions(t *testing.T) {
	n := ranked(scan(routes), []string{"city"}, "ts")
	cond := expr.AndAll([]expr.Expr{
		compare("=", col(n, "city"), expr.Text("Oslo")), compare(">", col(n, "fare"), expr.Int64(1)), compare("=", col(n, "n"), expr.Int64(1)),
	})
	expect(t, build(t, &logical.Filter{Input: n, Cond: cond}, false, ""), `
Stage 0 splits -> hash(city#1)
  Filter (city#1 = 'Oslo')
    Scan routes#0 [id, city, ts, fare] skip where (city#1 = 'Oslo')
Stage 1 hash -> client
  Filter ((fare#3 > 1) AND (n#4 = 1))
    Analytic by [city#1] order [ts#2] [row_number()]
      Sort city#1, ts#2
        ExchangeRead stage 0
`)
}

func TestAWindowFunctionOverAStream(t *testing.T) {
	n := ranked(watermarked(), []string{"city"}, "fare")
	_, err := Build([]Output{{Node: n}}, Options{Stream: true})
	if err == nil || !strings.Contains(err.Error(), `"Analytic by [city#1] order [fare#3] [row_number() AS n]" changes as rows come`) {
		t.Error(err)
	}
	if s := build(t, n, true, "changelog").Plan.String(); !strings.Contains(s, "Recompute window-") {
		t.Errorf("as changes:\n%s", s)
	}
	agg := hourly(scan(trips))
	q := build(t, ranked(agg, []string{"city"}, "n"), true, "complete")
	if s := q.Plan.String(); !strings.Contains(s, "Analytic by [city#1] order [n#2] [row_number()]") {
		t.Errorf("over a whole result:\n%s", s)
	}
	if _, err := Build([]Output{{Node: ranked(scan(cities), []string{"country"}, "name")}}, Options{Stream: true}); err != nil {
		t.Errorf("over a table that is read once: %v", err)
	}
}

func TestARankOfChangingRowsReadsItsInputOnce(t *testing.T) {
	rank := ranked(hourly(watermarked()), []string{"window_start"}, "n")
	top := &logical.Filter{Input: rank, Cond: compare("<=", col(rank, rank.Schema().Field(3).Name), &expr.Literal{Value: int64(2), DT: expr.TypeInt64})}
	if p := build(t, top, true, "changelog").Plan; len(p.Sources) != 1 {
		t.Errorf("%d sources:\n%s", len(p.Sources), p)
	}
}

// lagged is lag(fare) by city in the order of time.
func lagged(in logical.Node) *logical.Analytic {
	return &logical.Analytic{
		Input: in, Partition: []expr.Expr{col(in, "city")}, Order: []expr.SortKey{{Expr: col(in, "ts"), NullsFirst: true}},
		Calls: []*expr.AnalyticCall{{Kind: expr.Lag, Args: []expr.Expr{col(in, "fare")}, N: 1, Name: "before", DT: expr.TypeDouble, Null: true}},
	}
}

// TestWindowFunctionsWaitForTheWatermark: looking back they can be had in append
// mode, and stay as they were where that is not asked for.
func TestWindowFunctionsWaitForTheWatermark(t *testing.T) {
	n := lagged(watermarked())
	for _, mode := range []string{"append", "update"} {
		q := build(t, n, true, mode)
		if s := q.Plan.String(); !strings.Contains(s, "OverTime over-") || !strings.Contains(s, "keeps the last 1 rows") || !strings.Contains(s, "LateFilter ts#2") {
			t.Errorf("%s:\n%s", mode, s)
		}
	}
	if s := build(t, n, true, "changelog").Plan.String(); !strings.Contains(s, "Recompute window-") || strings.Contains(s, "LateFilter") {
		t.Errorf("changelog:\n%s", s)
	}
	if s := build(t, hourly(n), true, "append").Plan.String(); strings.Contains(s, "OverTime") || !strings.Contains(s, "append closes by key 0") {
		t.Errorf("below windows that close, late is what their end says:\n%s", s)
	}
	for name, change := range map[string]func(*logical.Analytic){
		"looks ahead": func(a *logical.Analytic) { a.Calls[0].N = -1 },
		"backwards":   func(a *logical.Analytic) { a.Order[0].Desc = true },
		"not by time": func(a *logical.Analytic) { a.Order[0].Expr = col(a.Input, "fare") },
		"counts the last": func(a *logical.Analytic) {
			a.Calls[0] = &expr.AnalyticCall{Kind: expr.Ntile, N: 2, Name: "x", DT: expr.TypeInt64}
		},
	} {
		a := lagged(watermarked())
		change(a)
		if _, err := Build([]Output{{Node: a, Sink: &physical.Sink{Name: "o", Table: "o", Mode: "append"}}}, Options{Stream: true}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTheFirstRowsInTimeAreKeptAlone(t *testing.T) {
	rank := ranked(watermarked(), []string{"city"}, "ts")
	rank.Order[0].NullsFirst = true
	rank.Calls[0].Kind = expr.RowNumber
	first := &logical.Filter{Input: rank, Cond: compare("<=", col(rank, rank.Schema().Field(4).Name), &expr.Literal{Value: int64(2), DT: expr.TypeInt64})}
	if s := build(t, first, true, "append").Plan.String(); !strings.Contains(s, "keeps the first 2 rows") {
		t.Errorf("\n%s", s)
	}
}

// TestKeysOfWindows: the key of an upsert may be a structure of its parts, and of a
// window of one size either end is enough.
func TestKeysOfWindows(t *testing.T) {
	agg := hourly(watermarked())
	w := agg.Input
	agg.Keys = append(agg.Keys, col(w, "window_end"))
	agg.Names = append(agg.Names, "window_end")
	both := &expr.Call{Func: &expr.Function{Name: "named_struct", Strict: true}, DT: expr.TypeString, Args: []expr.Expr{col(agg, "window_start"), col(agg, "window_end")}}
	for name, es := range map[string][]expr.Expr{
		"a structure": {col(agg, "city"), both, col(agg, "n")},
		"its end":     {col(agg, "city"), col(agg, "window_end"), col(agg, "n")},
	} {
		p := &logical.Project{Input: agg, Exprs: es, Names: []string{"city", "w", "n"}}
		if keys := slices.Sorted(slices.Values(build(t, p, true, "update").Plan.Sinks[0].Keys)); strings.Join(keys, " ") != "city w" {
			t.Errorf("%s: key %v", name, keys)
		}
	}
}
