package planner

import (
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// buildLarge plans over tables that are too large to be sent to every task.
func buildLarge(t *testing.T, n logical.Node) *Query {
	t.Helper()
	q, err := Build([]Output{{Node: n}}, Options{BroadcastMax: 1, Stats: func(*logical.Table) *batch.TableStats {
		return &batch.TableStats{Rows: 1000, Bytes: 40_000, Exact: true}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func byCity(l, r logical.Node) *logical.Join {
	return &logical.Join{Left: l, Right: r, Kind: logical.LeftOuter, LeftKeys: []expr.Expr{col(l, "city")}, RightKeys: []expr.Expr{col(r, "name")}}
}

// What is spread by city already is neither spread again for the next join on it
// nor for the groups, which are then made in one step.
func TestWhatIsSpreadByAKeyStaysWhereItIs(t *testing.T) {
	j := byCity(byCity(scan(routes), scan(cities)), scan(cities))
	n := &logical.Aggregate{Input: j, Keys: []expr.Expr{col(j, "city"), col(j, "id")}, Names: []string{"city", "id"}, Aggs: []*expr.AggCall{count("n")}}
	expect(t, buildLarge(t, n), `
Stage 0 splits -> hash(city#1)
  Scan routes#0 [id, city]
Stage 1 splits -> hash(name#0)
  Scan cities#0 [name]
Stage 2 hash -> client
  Aggregate by [city#1, id#0] [count(*)]
    LeftHashJoin on city#1 = name#0 build right keep [id, city]
      LeftHashJoin on city#1 = name#0 build right keep [id, city]
        ExchangeRead stage 0
        ExchangeRead stage 1
      ExchangeRead stage 1
`)
}

// The right side of a left join is made up of NULLs where nothing matches: its
// key says nothing of where such rows are.
func TestMadeUpRowsAreSpreadAgain(t *testing.T) {
	j := byCity(scan(routes), scan(cities))
	n := &logical.Aggregate{Input: j, Keys: []expr.Expr{col(j, "name")}, Names: []string{"name"}, Aggs: []*expr.AggCall{count("n")}}
	expect(t, buildLarge(t, n), `
Stage 0 splits -> hash(city#0)
  Scan routes#0 [city]
Stage 1 splits -> hash(name#0)
  Scan cities#0 [name]
Stage 2 hash -> hash(name#0)
  PartialAggregate by [name#0] [count(*)]
    LeftHashJoin on city#0 = name#0 build right keep [name]
      ExchangeRead stage 0
      ExchangeRead stage 1
Stage 3 hash -> client
  FinalAggregate by 1 keys [count(*)]
    ExchangeRead stage 2
`)
}

// Fewer columns than a group's keys, all of them keys, keep a group together; one
// that is no key does not.
func TestGroupsByFewerKeysAreSpreadAgain(t *testing.T) {
	inner := &logical.Aggregate{
		Input: scan(routes), Keys: []expr.Expr{col(scan(routes), "city"), col(scan(routes), "id")}, Names: []string{"city", "id"}, Aggs: []*expr.AggCall{count("n")},
	}
	n := &logical.Aggregate{Input: inner, Keys: []expr.Expr{col(inner, "city")}, Names: []string{"city"}, Aggs: []*expr.AggCall{count("m")}}
	expect(t, buildLarge(t, n), `
Stage 0 splits -> hash(city#0, id#1)
  PartialAggregate by [city#1, id#0] []
    Scan routes#0 [id, city]
Stage 1 hash -> hash(city#0)
  PartialAggregate by [city#0] [count(*)]
    FinalAggregate by 2 keys []
      ExchangeRead stage 0
Stage 2 hash -> client
  FinalAggregate by 1 keys [count(*)]
    ExchangeRead stage 1
`)
}

// A random number differs in the two places where it is written.
func TestOnlyWhatRepeatsIsComputedOnce(t *testing.T) {
	random := func() logical.Node {
		rand := &expr.Call{Func: &expr.Function{Name: "rand", Volatility: expr.PerRow}, DT: expr.TypeDouble}
		return &logical.Project{Input: scan(cities), Exprs: []expr.Expr{col(scan(cities), "name"), rand}, Names: []string{"name", "r"}}
	}
	same := buildLarge(t, byCity(byCity(scan(routes), scan(cities)), scan(cities)))
	if n := len(same.Plan.Sources); n != 2 {
		t.Errorf("%d sources of\n%s", n, same.Plan)
	}
	other := buildLarge(t, byCity(byCity(scan(routes), random()), random()))
	if n := len(other.Plan.Sources); n != 3 {
		t.Errorf("%d sources of\n%s", n, other.Plan)
	}
}
