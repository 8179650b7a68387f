package rules

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/stats"
)

var table = &logical.Table{Name: "t", Schema: arrow.NewSchema([]arrow.Field{
	{Name: "s", Type: expr.TypeString}, {Name: "a", Type: expr.TypeInt64}, {Name: "b", Type: expr.TypeInt64}, {Name: "ts", Type: expr.TypeLocalTime},
}, nil)}

func col(i int) expr.Expr {
	f := table.Schema.Field(i)
	return &expr.Column{Index: i, Name: f.Name, DT: f.Type}
}

// add sums two BIGINT constants, and fails where the sum is 13.
var add = &expr.Function{Name: "add", Infix: "+", Strict: true, Kernel: func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	v := args[0].Arr.(*array.Int64).Value(0) + args[1].Arr.(*array.Int64).Value(0)
	if v == 13 {
		return nil, errors.New("unlucky")
	}
	return expr.Int64(v).Array(kc.Alloc)
}}

func plus(l, r expr.Expr) expr.Expr {
	return &expr.Call{Func: add, Args: []expr.Expr{l, r}, DT: expr.TypeInt64}
}

func less(l, r expr.Expr) expr.Expr {
	return &expr.Call{Func: &expr.Function{Name: "lt", Infix: "<", Strict: true}, Args: []expr.Expr{l, r}, DT: expr.TypeBool}
}

func random() expr.Expr {
	return &expr.Call{Func: &expr.Function{Name: "rand", Volatility: expr.PerRow}, DT: expr.TypeInt64}
}

func TestFold(t *testing.T) {
	and := func(es ...expr.Expr) expr.Expr { return &expr.Logical{Op: expr.And, Args: es} }
	or := func(es ...expr.Expr) expr.Expr { return &expr.Logical{Op: expr.Or, Args: es} }
	pick := func(cond expr.Expr) expr.Expr {
		return &expr.Case{Whens: []expr.When{{Cond: cond, Then: col(1)}}, Else: col(2), DT: expr.TypeInt64}
	}
	null := expr.NullOf(expr.TypeBool)
	cases := []struct {
		in   expr.Expr
		want string
	}{
		{plus(expr.Int64(2), plus(expr.Int64(3), expr.Int64(4))), "9"},
		{plus(expr.Int64(6), expr.Int64(7)), "(6 + 7)"}, // the error is left for when rows come
		{plus(col(1), expr.Int64(1)), "(a#1 + 1)"},
		{plus(expr.NullOf(expr.TypeInt64), expr.Int64(1)), "NULL"},
		{and(less(col(1), col(2)), expr.Bool(true)), "(a#1 < b#2)"},
		{and(less(col(1), col(2)), expr.Bool(false)), "false"},
		{and(expr.Bool(true), expr.Bool(true)), "true"},
		{or(less(col(1), col(2)), null), "((a#1 < b#2) OR NULL)"},
		{or(expr.Bool(false), expr.Bool(false)), "false"},
		{or(null, expr.Bool(true)), "true"},
		{pick(expr.Bool(false)), "b#2"},
		{pick(null), "b#2"},
		{pick(expr.Bool(true)), "a#1"},
	}
	for _, c := range cases {
		if got := expr.Transform(c.in, fold).String(); got != c.want {
			t.Errorf("%s folds to %s, want %s", c.in, got, c.want)
		}
	}
}

func apply(t *testing.T, rule func(logical.Node) (logical.Node, error), n logical.Node) string {
	t.Helper()
	out, err := rule(n)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := out.Schema(), n.Schema(); !got.Equal(want) { // L1
		t.Errorf("the columns changed from %v to %v", want, got)
	}
	return strings.TrimSpace(logical.Explain(out))
}

func expect(t *testing.T, got, want string) {
	t.Helper()
	if got != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant\n%s", got, strings.TrimSpace(want))
	}
}

func scan() logical.Node { return &logical.Scan{Table: table} }

func TestAFilterGoesThroughAProjectionAsWhatItComputes(t *testing.T) {
	p := &logical.Project{Input: scan(), Exprs: []expr.Expr{plus(col(1), col(2))}, Names: []string{"x"}}
	f := &logical.Filter{Input: p, Cond: less(&expr.Column{Index: 0, Name: "x", DT: expr.TypeInt64}, expr.Int64(5))}
	expect(t, apply(t, PushFilters, f), `
Project (a#1 + b#2) AS x
  Filter ((a#1 + b#2) < 5)
    Scan t [s, a, b, ts]`)
}

func TestAFilterOnARandomColumnStaysAbove(t *testing.T) {
	p := &logical.Project{Input: scan(), Exprs: []expr.Expr{random()}, Names: []string{"x"}}
	f := &logical.Filter{Input: p, Cond: less(&expr.Column{Index: 0, Name: "x", DT: expr.TypeInt64}, expr.Int64(5))}
	expect(t, apply(t, PushFilters, f), `
Filter (x#0 < 5)
  Project rand() AS x
    Scan t [s, a, b, ts]`)
}

// A condition on what takes long to compute stays where it is known already.
func TestCostlyExpressionsAreComputedOnce(t *testing.T) {
	extract := &expr.Call{Func: &expr.Function{Name: "regexp_extract"}, Args: []expr.Expr{col(0)}, DT: expr.TypeInt64}
	p := &logical.Project{Input: scan(), Exprs: []expr.Expr{extract}, Names: []string{"x"}}
	f := &logical.Filter{Input: p, Cond: less(&expr.Column{Name: "x", DT: expr.TypeInt64}, expr.Int64(3))}
	expect(t, apply(t, PushFilters, f), `
Filter (x#0 < 3)
  Project regexp_extract(s#0) AS x
    Scan t [s, a, b, ts]`)
}

func TestAFilterPassesKeysAndWindowsButNotResults(t *testing.T) {
	w := &logical.Window{Input: scan(), Time: col(3), Size: time.Hour}
	end := w.Schema().Field(5)
	a := &logical.Aggregate{
		Input: w, Names: []string{"s", "e"},
		Keys: []expr.Expr{col(0), &expr.Column{Index: 5, Name: "window_end", DT: end.Type}},
		Aggs: []*expr.AggCall{{Name: "n", Func: &expr.Aggregate{Name: "count", Result: expr.TypeInt64}}},
	}
	column := func(i int) expr.Expr {
		return &expr.Column{Index: i, Name: a.Schema().Field(i).Name, DT: a.Schema().Field(i).Type}
	}
	f := &logical.Filter{Input: a, Cond: expr.AndAll([]expr.Expr{
		less(column(0), expr.Text("x")), less(column(1), column(1)), less(column(2), expr.Int64(3)),
	})}
	expect(t, apply(t, PushFilters, f), `
Filter (n#2 < 3)
  Aggregate by [s#0, window_end#5] [count(*) AS n]
    Filter (window_end#5 < window_end#5)
      Tumble ts#3 size 1h0m0s
        Filter (s#0 < 'x')
          Scan t [s, a, b, ts]`)
}

func TestAFilterIsNotPushedBelowALimit(t *testing.T) {
	f := &logical.Filter{Input: &logical.Limit{Input: scan(), Count: 3}, Cond: less(col(1), expr.Int64(5))}
	expect(t, apply(t, PushFilters, f), `
Filter (a#1 < 5)
  Limit 3
    Scan t [s, a, b, ts]`)
}

func TestMergeProjects(t *testing.T) {
	inner := &logical.Project{Input: scan(), Exprs: []expr.Expr{plus(col(1), col(2)), col(0)}, Names: []string{"x", "s"}}
	x := &expr.Column{Index: 0, Name: "x", DT: expr.TypeInt64}
	once := &logical.Project{Input: inner, Exprs: []expr.Expr{plus(x, expr.Int64(1))}, Names: []string{"y"}}
	expect(t, apply(t, MergeProjects, once), `
Project ((a#1 + b#2) + 1) AS y
  Scan t [s, a, b, ts]`)
	twice := &logical.Project{Input: inner, Exprs: []expr.Expr{plus(x, x)}, Names: []string{"y"}}
	expect(t, apply(t, MergeProjects, twice), `
Project (x#0 + x#0) AS y
  Project (a#1 + b#2) AS x, s#0
    Scan t [s, a, b, ts]`)
	same := &logical.Project{Input: scan(), Exprs: []expr.Expr{col(0), col(1), col(2), col(3)}, Names: []string{"s", "a", "b", "ts"}}
	expect(t, apply(t, MergeProjects, same), `Scan t [s, a, b, ts]`)
}

func TestPruneReadsWhatIsUsed(t *testing.T) {
	f := &logical.Filter{Input: scan(), Cond: less(col(2), expr.Int64(5))}
	p := &logical.Project{Input: f, Exprs: []expr.Expr{col(0)}, Names: []string{"s"}}
	expect(t, apply(t, PruneColumns, p), `
Project s#0
  Filter (b#1 < 5)
    Scan t [s, b]`)
	// Rows are counted by the column that is cheapest to read.
	count := &logical.Aggregate{Input: scan(), Aggs: []*expr.AggCall{{Name: "n", Func: &expr.Aggregate{Name: "count", Result: expr.TypeInt64}}}}
	expect(t, apply(t, PruneColumns, count), `
Aggregate by [] [count(*) AS n]
  Scan t [a]`)
}

func TestPruneKeepsTheOrderOfAUnion(t *testing.T) {
	swapped := &logical.Project{Input: scan(), Exprs: []expr.Expr{col(0), col(2), col(1), col(3)}, Names: []string{"s", "a", "b", "ts"}}
	u := &logical.Union{In: []logical.Node{scan(), swapped}}
	p := &logical.Project{Input: u, Exprs: []expr.Expr{col(1)}, Names: []string{"a"}}
	expect(t, apply(t, PruneColumns, p), `
Project a#0
  UnionAll
    Scan t [a]
    Project b#0 AS a
      Scan t [b]`)
}

func TestRulesCanBeSkippedByName(t *testing.T) {
	n, err := Optimize(&Context{Skip: map[string]bool{"fold-constants": true}}, &logical.Filter{Input: scan(), Cond: expr.Bool(true)})
	if err != nil || !strings.HasPrefix(n.String(), "Filter true") {
		t.Errorf("got %v, %v", n, err)
	}
}

// A plan of joins in joins in joins, whose tables are not known or known, is
// looked at once a level and not once for each way down.
func TestDeepJoinsAreOrderedInTime(t *testing.T) {
	for name, tables := range map[string]stats.Tables{
		"unknown": nil,
		"known":   func(*logical.Table) *batch.TableStats { return &batch.TableStats{Rows: 1000, Bytes: 1000, Exact: true} },
	} {
		n := scan()
		for range 60 {
			sum := &logical.Project{Input: n, Exprs: []expr.Expr{plus(col(1), col(2))}, Names: []string{"x"}}
			key := []expr.Expr{&expr.Column{Index: 0, Name: "x", DT: expr.TypeInt64}}
			j := &logical.Join{Left: sum, Right: scan(), Kind: logical.Inner, LeftKeys: key, RightKeys: []expr.Expr{col(1)}}
			n = &logical.Project{Input: j, Exprs: []expr.Expr{
				&expr.Column{Index: 1, Name: "s", DT: expr.TypeString}, plus(&expr.Column{Index: 2, Name: "a", DT: expr.TypeInt64}, expr.Int64(1)),
				&expr.Column{Index: 3, Name: "b", DT: expr.TypeInt64}, &expr.Column{Index: 4, Name: "ts", DT: expr.TypeLocalTime},
			}, Names: []string{"s", "a", "b", "ts"}}
		}
		out, err := Optimize(&Context{Stats: stats.New(tables), ReduceFrom: 100}, n)
		if err != nil || !out.Schema().Equal(n.Schema()) {
			t.Errorf("%s: %v, %v", name, out.Schema(), err)
		}
	}
}
