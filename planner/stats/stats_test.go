package stats

import (
	"math"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

func tableOf(name string, cols ...string) *logical.Table {
	fields := make([]arrow.Field, len(cols))
	for i, c := range cols {
		fields[i] = arrow.Field{Name: c, Type: expr.TypeInt64}
	}
	return &logical.Table{Name: name, Schema: arrow.NewSchema(fields, nil)}
}

var (
	orders = tableOf("orders", "id", "customer", "day")
	items  = tableOf("items", "order", "part", "amount")
	parts  = tableOf("parts", "id", "kind")
	dark   = tableOf("dark", "id")
)

// known is a shop: 1,000 parts of 20 kinds, 10,000 orders over 100 days by 500
// customers with ids that have gaps, 40,000 items.
func known(t *logical.Table) *batch.TableStats {
	whole := func(lo, hi int64, distinct float64) batch.ColumnStats {
		return batch.ColumnStats{Min: lo, Max: hi, Distinct: distinct}
	}
	switch t {
	case orders:
		return &batch.TableStats{Rows: 10_000, Bytes: 240_000, Exact: true, Columns: []batch.ColumnStats{whole(1, 40_000, 0), whole(1, 500, 500), whole(0, 99, 100)}}
	case items:
		return &batch.TableStats{Rows: 40_000, Bytes: 960_000, Exact: true, Columns: []batch.ColumnStats{whole(1, 40_000, 9_800), whole(1, 1000, 1000), whole(1, 50, 50)}}
	case parts:
		return &batch.TableStats{Rows: 1000, Bytes: 16_000, Exact: true, Columns: []batch.ColumnStats{whole(1, 1000, 1000), whole(1, 20, 20)}}
	}
	return nil
}

func scan(t *logical.Table) logical.Node { return &logical.Scan{Table: t} }

func col(i int) expr.Expr { return &expr.Column{Index: i, Name: "c", DT: expr.TypeInt64} }

func compare(op string, l, r expr.Expr) expr.Expr {
	return &expr.Call{Func: &expr.Function{Name: op, Infix: op, Strict: true}, Args: []expr.Expr{l, r}, DT: expr.TypeBool}
}

func textLike(pattern string) expr.Expr {
	return &expr.Call{Func: &expr.Function{Name: "like", Strict: true}, Args: []expr.Expr{col(0), expr.Text(pattern)}, DT: expr.TypeBool}
}

func TestSelectivity(t *testing.T) {
	in := New(known).Of(scan(orders))
	list := &expr.In{Arg: col(2), List: []*expr.Literal{expr.Int64(1), expr.Int64(2), expr.Int64(3)}}
	not := *list
	not.Negated = true
	and := func(es ...expr.Expr) expr.Expr { return &expr.Logical{Op: expr.And, Args: es} }
	or := func(es ...expr.Expr) expr.Expr { return &expr.Logical{Op: expr.Or, Args: es} }
	day := func(op string, v int64) expr.Expr { return compare(op, col(2), expr.Int64(v)) }
	for _, c := range []struct {
		name string
		e    expr.Expr
		want float64
	}{
		{"one of a hundred days", day("=", 7), 0.01},
		{"the other way round", compare("=", expr.Int64(7), col(2)), 0.01},
		{"all but one day", day("<>", 7), 0.99},
		{"a day that is not there", day("=", 700), 0},
		{"a third of the days", day("<", 33), 1.0 / 3},
		{"from the other side", compare(">", expr.Int64(33), col(2)), 1.0 / 3},
		{"behind the last day", day(">", 200), 0},
		{"a range is no product of its ends", and(day(">=", 33), day("<=", 66)), 1.0 / 3},
		{"a list", list, 0.03},
		{"not in a list", &not, 0.97},
		{"two conditions", and(day("=", 7), compare("=", col(1), expr.Int64(5))), 0.01 / 500},
		{"one of two", or(day("=", 7), day("=", 8)), 0.0199},
		{"nothing", expr.Bool(false), 0},
		{"all", expr.Bool(true), 1},
		{"two columns", compare("=", col(1), col(2)), 1.0 / 500},
	} {
		if got := Selectivity(c.e, in); math.Abs(got-c.want) > 0.005*max(c.want, 0.001) {
			t.Errorf("%s: %s keeps %g, want %g", c.name, c.e, got, c.want)
		}
	}
	if a, b := Selectivity(textLike("%abc%"), in), Selectivity(textLike("%abcdefgh%"), in); a <= b || b <= 0 {
		t.Errorf("the longer pattern keeps %g, the shorter %g", b, a)
	}
}

func join(kind logical.JoinKind, l, r logical.Node, lk, rk []expr.Expr) *logical.Join {
	return &logical.Join{Left: l, Right: r, Kind: kind, LeftKeys: lk, RightKeys: rk}
}

func TestRows(t *testing.T) {
	few := &logical.Filter{Input: scan(parts), Cond: compare("=", col(1), expr.Int64(3))}
	byPart := &logical.Aggregate{Input: scan(items), Keys: []expr.Expr{col(1)}, Names: []string{"part"}}
	toParts := func(kind logical.JoinKind, r logical.Node) logical.Node {
		return join(kind, scan(items), r, []expr.Expr{col(1)}, []expr.Expr{col(0)})
	}
	toOrders := join(logical.Inner, scan(items), scan(orders), []expr.Expr{col(0)}, []expr.Expr{col(0)})
	for _, c := range []struct {
		name string
		n    logical.Node
		want float64
	}{
		{"a table", scan(items), 40_000},
		{"a filter", few, 50},
		{"a reference keeps its rows", toParts(logical.Inner, scan(parts)), 40_000},
		{"a reference to few", toParts(logical.Inner, few), 2000},
		{"a reference to a key with gaps", toOrders, 40_000},
		{"with a partner among few", toParts(logical.LeftSemi, few), 2000},
		{"without one", toParts(logical.LeftAnti, few), 38_000},
		{"at least all of the left", toParts(logical.LeftOuter, few), 40_000},
		{"groups", byPart, 1000},
		{"a group for each", &logical.Aggregate{Input: scan(items), Keys: []expr.Expr{col(0), col(1)}, Names: []string{"a", "b"}}, 40_000},
		{"no keys", &logical.Aggregate{Input: scan(items)}, 1},
		{"groups joined by their key", join(logical.Inner, byPart, few, []expr.Expr{col(0)}, []expr.Expr{col(0)}), 50},
		{"a limit", &logical.Limit{Input: scan(items), Count: 7}, 7},
		{"a union", &logical.Union{In: []logical.Node{scan(items), scan(orders)}}, 50_000},
		{"distinct", &logical.Distinct{Input: &logical.Project{Input: scan(items), Exprs: []expr.Expr{col(1)}, Names: []string{"p"}}}, 1000},
		{"pairs", join(logical.Cross, few, few, nil, nil), 2500},
		{"shared", &logical.Shared{Input: few, ID: 1}, 50},
	} {
		got := New(known).Of(c.n)
		if got.Guess || math.Abs(got.Rows-c.want) > 0.03*c.want {
			t.Errorf("%s: %g rows (a guess: %v), want %g of\n%s", c.name, got.Rows, got.Guess, c.want, logical.Explain(c.n))
		}
		if len(got.Cols) != c.n.Schema().NumFields() {
			t.Errorf("%s: %d columns of %d", c.name, len(got.Cols), c.n.Schema().NumFields())
		}
	}
}

func TestNothingIsKnownOfATable(t *testing.T) {
	e := New(known)
	n := toDark()
	if r := e.Of(n); !r.Guess {
		t.Errorf("%v is no guess", r)
	}
	if r := e.Of(scan(dark)); r.Bytes() < 64<<20 {
		t.Errorf("an unknown table would be sent to every task: %g bytes", r.Bytes())
	}
}

func toDark() logical.Node {
	return join(logical.Inner, scan(parts), scan(dark), []expr.Expr{col(0)}, []expr.Expr{col(0)})
}

// Keys of two columns are rarer than each alone, but not rarer than rows are.
func TestKeysOfOneTableGoTogether(t *testing.T) {
	e := New(known)
	both := join(logical.Inner, scan(items), scan(items), []expr.Expr{col(0), col(1)}, []expr.Expr{col(0), col(1)})
	if r := e.Of(both); r.Rows < 39_000 || r.Rows > 41_000 {
		t.Errorf("items joined with themselves: %g rows", r.Rows)
	}
}
