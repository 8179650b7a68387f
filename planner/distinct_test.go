package planner

import (
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

func distinctCount(arg expr.Expr) *expr.AggCall {
	c := count("n")
	f := *c.Func
	f.Invertible = true
	c.Func, c.Args, c.Distinct = &f, []expr.Expr{arg}, true
	return c
}

// Calls over the different values of the same arguments are planned as two
// aggregations that run in parts; others gather the rows of a group.
func TestDistinctAggregatesTakeTwoSteps(t *testing.T) {
	in := scan(trips)
	agg := func(calls ...*expr.AggCall) *logical.Aggregate {
		return &logical.Aggregate{Input: in, Keys: []expr.Expr{col(in, "city")}, Names: []string{"city"}, Aggs: calls}
	}
	plan := build(t, agg(distinctCount(col(in, "id"))), false, "").Plan.String()
	want := `Stage 0 splits -> hash(city#0, distinct.0#1)
  PartialAggregate by [city#1, id#0] []
    Scan trips#0 [id, city]
Stage 1 hash -> hash(city#0)
  PartialAggregate by [city#0] [count(distinct.0#1)]
    FinalAggregate by 2 keys []
      ExchangeRead stage 0
Stage 2 hash -> client
  FinalAggregate by 1 keys [count(distinct.0#1)]
    ExchangeRead stage 1
`
	if plan != want {
		t.Errorf("plan\n%swant\n%s", plan, want)
	}
	filtered, inexact := distinctCount(col(in, "id")), distinctCount(col(in, "fare"))
	filtered.Filter = compare("=", col(in, "id"), col(in, "id"))
	inexact.Func.Invertible = false
	for name, n := range map[string]*logical.Aggregate{
		"with another call":    agg(distinctCount(col(in, "id")), count("all")),
		"of other arguments":   agg(distinctCount(col(in, "id")), distinctCount(col(in, "fare"))),
		"with a filter":        agg(filtered),
		"of what is not exact": agg(inexact),
	} {
		if plan := build(t, n, false, "").Plan.String(); strings.Contains(plan, "PartialAggregate") {
			t.Errorf("%s: planned in two steps:\n%s", name, plan)
		}
	}
}
