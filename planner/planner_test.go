package planner

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// The plans here are built by hand: names, types and functions are the binder's
// business and tested with it.

var trips = &logical.Table{
	Name: "trips", Stream: true,
	Schema: arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: expr.TypeInt64},
		{Name: "city", Type: expr.TypeString, Nullable: true},
		{Name: "ts", Type: expr.TypeLocalTime},
		{Name: "fare", Type: expr.TypeDouble, Nullable: true},
	}, nil),
}

var cities = &logical.Table{
	Name: "cities",
	Schema: arrow.NewSchema([]arrow.Field{
		{Name: "name", Type: expr.TypeString},
		{Name: "country", Type: expr.TypeString},
	}, nil),
}

func col(n logical.Node, name string) expr.Expr {
	i := n.Schema().FieldIndices(name)[0]
	f := n.Schema().Field(i)
	return &expr.Column{Index: i, Name: name, DT: f.Type, Null: f.Nullable}
}

func compare(op string, l, r expr.Expr) expr.Expr {
	return &expr.Call{Func: &expr.Function{Name: op, Infix: op, Strict: true}, Args: []expr.Expr{l, r}, DT: expr.TypeBool}
}

func count(name string) *expr.AggCall {
	return &expr.AggCall{Name: name, Func: &expr.Aggregate{
		Name: "count", State: []arrow.DataType{expr.TypeInt64}, Result: expr.TypeInt64,
		New: func(memory.Allocator) expr.Accumulator { return nil },
	}}
}

func scan(t *logical.Table) logical.Node { return &logical.Scan{Table: t} }

func watermarked() logical.Node {
	return &logical.Watermark{Input: scan(trips), Col: 2, Delay: time.Minute, Table: "trips"}
}

// hourly counts trips by hour and city.
func hourly(in logical.Node) *logical.Aggregate {
	w := &logical.Window{Input: in, Kind: logical.Tumble, Time: col(in, "ts"), Size: time.Hour}
	return &logical.Aggregate{
		Input: w, Keys: []expr.Expr{col(w, "window_start"), col(w, "city")},
		Names: []string{"window_start", "city"}, Aggs: []*expr.AggCall{count("n")},
	}
}

func build(t *testing.T, n logical.Node, stream bool, mode string) *Query {
	t.Helper()
	out := Output{Node: n}
	if stream {
		out.Sink = &physical.Sink{Name: "out#0", Table: "out", Mode: mode}
	}
	q, err := Build([]Output{out}, Options{Stream: stream})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func expect(t *testing.T, q *Query, want string) {
	t.Helper()
	got := q.Plan.String()
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWindowedAggregateClosesByItsStart(t *testing.T) {
	q := build(t, hourly(watermarked()), true, "append")
	name := q.Plan.Stages[1].Stateful[0]
	expect(t, q, `
Stage 0 splits -> hash(window_start#0, city#1)
  PartialAggregate by [window_start#2, city#0] [count(*)]
    LateFilter window_start#2 + 1h0m0s
      Tumble ts#1 size 1h0m0s
        Watermark ts of trips#0
          Scan trips#0 [city, ts]
Stage 1 hash -> sink out#0
  StatefulAggregate `+name+` by 2 keys [count(*)] append closes by key 0 + 1h0m0s
    ExchangeRead stage 0
`)
	if len(q.Verdicts) != 1 || !strings.Contains(q.Verdicts[0].String(), "bounded by the watermark") {
		t.Errorf("verdicts: %v", q.Verdicts)
	}
}

func TestBatchPlanKeepsNoState(t *testing.T) {
	expect(t, build(t, hourly(watermarked()), false, ""), `
Stage 0 splits -> hash(window_start#0, city#1)
  PartialAggregate by [window_start#2, city#0] [count(*)]
    Tumble ts#1 size 1h0m0s
      Scan trips#0 [city, ts]
Stage 1 hash -> client
  FinalAggregate by 2 keys [count(*)]
    ExchangeRead stage 0
`)
}

func TestFiltersStopAtTheWatermark(t *testing.T) {
	in := watermarked()
	f := &logical.Filter{Input: in, Cond: compare("=", col(in, "city"), expr.Text("Rome"))}
	expect(t, build(t, f, true, "append"), `
Stage 0 splits -> sink out#0
  Filter (city#1 = 'Rome')
    Watermark ts of trips#0
      Scan trips#0 [id, city, ts, fare]
`)
	expect(t, build(t, f, false, ""), `
Stage 0 splits -> client
  Filter (city#1 = 'Rome')
    Scan trips#0 [id, city, ts, fare]
`)
}

// cityJoin joins trips with the static table of cities, with conditions on both sides.
func cityJoin(kind logical.JoinKind) logical.Node {
	l, r := scan(trips), scan(cities)
	j := &logical.Join{Left: l, Right: r, Kind: kind, LeftKeys: []expr.Expr{col(l, "city")}, RightKeys: []expr.Expr{col(r, "name")}}
	f := &logical.Filter{Input: j, Cond: expr.AndAll([]expr.Expr{
		compare("=", col(j, "country"), expr.Text("IT")), compare(">", col(j, "fare"), expr.Int64(5)),
	})}
	return &logical.Project{Input: f, Exprs: []expr.Expr{col(f, "id")}, Names: []string{"id"}}
}

func TestFiltersGoToTheirSideOfAJoin(t *testing.T) {
	expect(t, build(t, cityJoin(logical.Inner), true, "append"), `
Stage 0 splits -> all static
  Filter (country#1 = 'IT')
    Scan cities#0 [name, country] skip where (country#1 = 'IT')
Stage 1 splits -> sink out#0
  InnerHashJoin on city#1 = name#0 build right keep [id]
    Filter (fare#2 > 5)
      Scan trips#0 [id, city, fare] skip where (fare#2 > 5)
    ExchangeRead stage 0
`)
}

func TestAConditionOnTheNullableSideStaysAbove(t *testing.T) {
	q := build(t, cityJoin(logical.LeftOuter), true, "append")
	if s := q.Plan.String(); !strings.Contains(s, "Filter (country") || strings.Contains(s, "skip where (country") {
		t.Errorf("the condition on the right side went below the left join:\n%s", s)
	}
}

func TestTopN(t *testing.T) {
	in := scan(trips)
	n := &logical.Limit{Count: 3, Offset: 1, Input: &logical.Sort{Input: in, Keys: []expr.SortKey{{Expr: col(in, "fare"), Desc: true}}}}
	expect(t, build(t, n, false, ""), `
Stage 0 splits -> one
  TopN 4 offset 0 by fare#3 DESC
    Scan trips#0 [id, city, ts, fare]
Stage 1 single -> client
  TopN 3 offset 1 by fare#3 DESC
    ExchangeRead stage 0
`)
}

func TestModesThatCannotBeHadAreRefused(t *testing.T) {
	plain := scan(trips)
	perCity := &logical.Aggregate{Input: plain, Keys: []expr.Expr{col(plain, "city")}, Names: []string{"city"}, Aggs: []*expr.AggCall{count("n")}}
	sorted := &logical.Sort{Input: plain, Keys: []expr.SortKey{{Expr: col(plain, "id")}}}
	twice := &logical.Aggregate{Input: perCity, Keys: []expr.Expr{col(perCity, "n")}, Names: []string{"n"}, Aggs: []*expr.AggCall{count("m")}}
	distinct := count("n")
	distinct.Args, distinct.Distinct = []expr.Expr{col(plain, "id")}, true
	cases := []struct {
		name, mode, want string
		node             logical.Node
	}{
		{"append of changing counts", "append", "results that never change", perCity},
		{"first rows of a stream", "append", "results that never change", &logical.Limit{Input: sorted, Count: 3}},
		{"aggregate of changing counts", "append", "results that never change", twice},
		{"unmatched rows of the table", "append", "results that never change", cityJoinRight()},
		{"a result without a key", "update", "the result has none", cityJoinRight()},
		{"random behind a group", "update", "compute it before", &logical.Project{Input: perCity, Names: []string{"r"}, Exprs: []expr.Expr{
			&expr.Call{Func: &expr.Function{Name: "rand", Volatility: expr.PerRow}, DT: expr.TypeDouble}}}},
		{"count distinct", "append", "results that never change",
			&logical.Aggregate{Input: plain, Keys: perCity.Keys, Names: perCity.Names, Aggs: []*expr.AggCall{distinct}}},
	}
	for _, c := range cases {
		sink := &physical.Sink{Name: "out#0", Mode: c.mode}
		_, err := Build([]Output{{Node: c.node, Sink: sink}}, Options{Stream: true})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}

func cityJoinRight() logical.Node {
	l, r := scan(trips), scan(cities)
	return &logical.Join{Left: l, Right: r, Kind: logical.RightOuter, LeftKeys: []expr.Expr{col(l, "city")}, RightKeys: []expr.Expr{col(r, "name")}}
}

func TestHavingOfAnUpdatingResultIsPartOfItsAggregate(t *testing.T) {
	plain := scan(trips)
	agg := &logical.Aggregate{Input: plain, Keys: []expr.Expr{col(plain, "city")}, Names: []string{"city"}, Aggs: []*expr.AggCall{count("n")}}
	f := &logical.Filter{Input: agg, Cond: compare(">", col(agg, "n"), expr.Int64(10))}
	q := build(t, f, true, "update")
	if s := q.Plan.String(); !strings.Contains(s, "having (n#1 > 10)") || strings.Contains(s, "Filter") {
		t.Errorf("got\n%s", s)
	}
}

func TestOperatorNamesFollowWhatIsComputed(t *testing.T) {
	name := func(n logical.Node) string { return build(t, n, true, "append").Plan.Stages[1].Stateful[0] }
	one, again := name(hourly(watermarked())), name(hourly(watermarked()))
	agg := hourly(watermarked())
	agg.Aggs = append(agg.Aggs, count("m"))
	if other := name(agg); one != again || one == other {
		t.Errorf("names: %s, again %s, with another aggregate %s", one, again, other)
	}
}

func TestUpdateModeNamesTheKeyOfTheResult(t *testing.T) {
	plain := scan(trips)
	perCity := &logical.Aggregate{Input: plain, Keys: []expr.Expr{col(plain, "city")}, Names: []string{"city"}, Aggs: []*expr.AggCall{count("n")}}
	renamed := &logical.Project{Input: perCity, Exprs: []expr.Expr{col(perCity, "n"), col(perCity, "city")}, Names: []string{"n", "town"}}
	if s := build(t, renamed, true, "update").Plan.Sinks[0]; len(s.Keys) != 1 || s.Keys[0] != "town" || s.OneRow {
		t.Errorf("keys %v, one row %v", s.Keys, s.OneRow)
	}
	total := &logical.Aggregate{Input: plain, Aggs: []*expr.AggCall{count("n")}}
	if s := build(t, total, true, "update").Plan.Sinks[0]; len(s.Keys) != 0 || !s.OneRow {
		t.Errorf("keys %v, one row %v", s.Keys, s.OneRow)
	}
	hidden := &logical.Project{Input: perCity, Exprs: []expr.Expr{col(perCity, "n")}, Names: []string{"n"}}
	_, err := Build([]Output{{Node: hidden, Sink: &physical.Sink{Name: "out#0", Table: "out", Mode: "update"}}}, Options{Stream: true})
	if err == nil || !strings.Contains(err.Error(), "select every key") {
		t.Errorf("a result without its key: %v", err)
	}
	declared := &physical.Sink{Name: "out#0", Table: "out", Mode: "update", Keys: []string{"n"}}
	if _, err := Build([]Output{{Node: hidden, Sink: declared}}, Options{Stream: true}); err != nil {
		t.Errorf("a declared key: %v", err)
	}
}

func TestWindowsCloseTheGroupsOfJoins(t *testing.T) {
	l, r := hourly(watermarked()), hourly(watermarked())
	j := &logical.Join{Left: l, Right: r, Kind: logical.LeftOuter}
	for i := range l.Keys {
		j.LeftKeys = append(j.LeftKeys, col(l, l.Schema().Field(i).Name))
		j.RightKeys = append(j.RightKeys, col(r, r.Schema().Field(i).Name))
	}
	// Pairs of an outer join do not wait for the end of the window; where rows are taken
	// back, the group of the window is what there is.
	if s := build(t, j, true, "append").Plan.String(); !strings.Contains(s, "LeftIntervalJoin join-") || !strings.Contains(s, "in [0s, 0s] final") {
		t.Errorf("append:\n%s", s)
	}
	if s := build(t, j, true, "changelog").Plan.String(); !strings.Contains(s, "Recompute join-") || !strings.Contains(s, " until ") || strings.Contains(s, " final") {
		t.Errorf("changelog:\n%s", s)
	}
}

// TestInterrupted holds that a plan that nobody waits for is not made to its end.
func TestInterrupted(t *testing.T) {
	gone, asked := errors.New("gone"), 0
	_, err := Build([]Output{{Node: scan(cities)}}, Options{Interrupted: func() error {
		if asked++; asked == 3 {
			return gone
		}
		return nil
	}})
	if !errors.Is(err, gone) || asked != 3 {
		t.Errorf("asked %d times, planning ends with %v", asked, err)
	}
}
