package sql

import (
	"strings"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// aggBase is where the positions of aggregate results start while a SELECT is
// being bound: expressions are bound over the input first and moved above the
// Aggregate once its keys are known.
const aggBase = 1 << 30

// aggregates are the aggregate calls of one SELECT, each once.
type aggregates struct {
	calls []*expr.AggCall
	exprs []string // the print of each, to find repeats
}

// mark and rewind forget calls that were collected in an attempt.
func (a *aggregates) mark() int {
	if a == nil {
		return 0
	}
	return len(a.calls)
}

func (a *aggregates) rewind(n int) {
	if a != nil {
		a.calls, a.exprs = a.calls[:n], a.exprs[:n]
	}
}

// aggregate binds a call of a built-in aggregate function.
func (x *exprBinder) aggregate(c *ast.Call, name string) (expr.Expr, error) {
	if x.aggs == nil && !x.inAgg {
		if v, ok := x.outerAggregate(c, name); ok {
			return v, nil
		}
	}
	if err := x.aggAllowed(c, name); err != nil {
		return nil, err
	}
	inner := x.inside()
	args, err := inner.aggArgs(c, name)
	if err != nil {
		return nil, err
	}
	if args, err = nullTreatment(c, name, args); err != nil {
		return nil, err
	}
	call, err := functions.Aggregate(name, args, c.Distinct)
	if err != nil {
		return nil, at(c.Pos, err)
	}
	return x.collect(c, call)
}

// inside makes the binder for what stands in an aggregate's parentheses: there
// a name is a column of the input before it is an output column, and an output
// column that is an aggregate itself is none.
func (x *exprBinder) inside() *exprBinder {
	inner := *x
	inner.inAgg, inner.inWindow, inner.aliasFirst, inner.ungrouped = true, false, false, nil
	if x.alias != nil {
		inner.alias = func(name string) expr.Expr {
			if e := x.alias(name); e != nil && !usesAggregate(e) && !usesAnalytic(e) {
				return e
			}
			return nil
		}
	}
	return &inner
}

func (x *exprBinder) aggAllowed(c *ast.Call, name string) error {
	switch {
	case x.inAgg:
		return ast.Errorf(c.Pos, "%s cannot stand inside another aggregate function", name)
	case x.aggs == nil && x.clause == "WHERE":
		return ast.Errorf(c.Pos, "%s is an aggregate function and cannot stand in WHERE", name).WithHint("use HAVING")
	case x.aggs == nil:
		return ast.Errorf(c.Pos, "%s is an aggregate function and cannot stand in %s", name, x.clause)
	}
	return nil
}

// aggArgs binds the arguments: count(*) has none, and WITHIN GROUP (ORDER BY x)
// puts x in front.
func (x *exprBinder) aggArgs(c *ast.Call, name string) ([]expr.Expr, error) {
	if len(c.Args) == 1 {
		if s, ok := c.Args[0].(*ast.Star); ok {
			if name != "count" || s.Qualifier != nil || s.Except != nil || c.Distinct {
				return nil, ast.Errorf(s.Pos, "%s has no meaning; only count(*) takes *", short(ast.SQL(c)))
			}
			return nil, nil
		}
	}
	args, err := x.args(c, name)
	if name == "mode" && c.OrderBy != nil && err == nil {
		return x.modeOrder(c, args)
	}
	if err != nil || c.WithinGroup == nil {
		return args, err
	}
	if name == "listagg" || name == "string_agg" {
		return args, nil
	}
	if len(c.WithinGroup) != 1 {
		return nil, ast.Errorf(c.WithinGroup[1].Expr.Position(), "%s orders by one expression", name)
	}
	it := c.WithinGroup[0]
	v, err := x.bind(it.Expr)
	args = append([]expr.Expr{v}, args...)
	switch {
	case it.Desc && name == "mode":
		args = append(args, expr.Bool(true), expr.Bool(true))
	case it.Desc && (name == "percentile_cont" || name == "percentile_disc"):
		args = append(args, expr.Bool(true))
	case it.Desc:
		return nil, unsupported(it.Expr.Position(), name+" WITHIN GROUP (ORDER BY .. DESC)")
	}
	return args, err
}

// modeOrder says which of several values as frequent as each other mode(x ORDER BY
// x) takes. Another order has no meaning for it.
func (x *exprBinder) modeOrder(c *ast.Call, args []expr.Expr) ([]expr.Expr, error) {
	v, err := x.bind(c.OrderBy[0].Expr)
	switch {
	case err != nil:
		return nil, err
	case len(args) != 1 || len(c.OrderBy) > 1 || !same(v, args[0]):
		return nil, ast.Errorf(c.OrderBy[0].Expr.Position(), "mode orders by its own argument alone")
	case c.OrderBy[0].Desc:
		args = append(args, expr.Bool(true), expr.Bool(true))
	}
	return args, nil
}

// nullTreatment makes IGNORE NULLS the second argument that first, last and
// any_value have for it. RESPECT NULLS is what they do anyway.
func nullTreatment(c *ast.Call, name string, args []expr.Expr) ([]expr.Expr, error) {
	if c.Nulls == "" {
		return args, nil
	}
	switch name {
	case "first", "first_value", "last", "last_value", "any_value":
		if len(args) == 1 && c.Nulls == "IGNORE" {
			args = append(args, expr.Bool(true))
		}
		return args, nil
	}
	return nil, ast.Errorf(c.Pos, "%s NULLS has no meaning for %s", c.Nulls, name)
}

// collect adds the clauses of a call to an aggregate and returns a stand-in
// for its result.
func (x *exprBinder) collect(c *ast.Call, call *expr.AggCall) (expr.Expr, error) {
	if err := x.aggAllowed(c, call.Func.Name); err != nil {
		return nil, err
	}
	inner := x.inside()
	filter := c.Filter
	if x.cell != nil {
		if filter = x.cell; c.Filter != nil {
			filter = &ast.Logic{Pos: c.Pos, Op: "AND", Args: []ast.Expr{x.cell, c.Filter}}
		}
	}
	if filter != nil {
		inner.clause = "FILTER"
		f, err := inner.condition(filter)
		if err != nil {
			return nil, err
		}
		call.Filter = f
	}
	var err error
	if call.OrderBy, err = inner.callOrder(c, call.Func.Name); err != nil {
		return nil, err
	}
	call.Name = outputName(c)
	if len(x.b.views) == 0 && len(x.b.macros) == 0 {
		call.At = expr.Place{Line: c.Pos.Line, Col: c.Pos.Col}
	}
	print := call.String()
	for i, s := range x.aggs.exprs {
		if s == print {
			return x.aggs.standIn(i), nil
		}
	}
	x.aggs.calls = append(x.aggs.calls, call)
	x.aggs.exprs = append(x.aggs.exprs, print)
	return x.aggs.standIn(len(x.aggs.calls) - 1), nil
}

// callOrder binds the order that a call takes its rows in.
func (x *exprBinder) callOrder(c *ast.Call, name string) ([]expr.SortKey, error) {
	order := c.OrderBy
	if c.WithinGroup != nil && (name == "listagg" || name == "string_agg") {
		order = c.WithinGroup
	} else if name == "mode" { // see modeOrder
		order = nil
	}
	var out []expr.SortKey
	for _, it := range order {
		v, err := x.bind(it.Expr)
		if err != nil {
			return nil, err
		}
		k, err := sortKey(it, v)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

func (a *aggregates) standIn(i int) expr.Expr {
	c := a.calls[i]
	return &expr.Column{Index: aggBase + i, Name: c.Name, DT: c.Type(), Null: c.Null}
}

// grouping is the Aggregate of a SELECT while it is made.
type grouping struct {
	keys  []expr.Expr
	names []string
	aggs  *aggregates
	at    map[*expr.Column]ast.Pos
	pos   ast.Pos // of the SELECT
	// sets are the grouping sets, as positions of keys; nil for plain GROUP BY.
	sets  [][]int
	marks []mark
}

// add appends a key unless it is one already, and returns its position.
func (g *grouping) add(e expr.Expr, name string) int {
	for i, k := range g.keys {
		if same(k, e) {
			return i
		}
	}
	g.keys = append(g.keys, e)
	g.names = append(g.names, name)
	return len(g.keys) - 1
}

// above rewrites an expression over the input to one over the Aggregate's
// columns: keys first, then aggregates. A column that is neither is an error.
func (g *grouping) above(e expr.Expr) (expr.Expr, error) {
	if c, ok := e.(*expr.Column); ok && c.Index >= aggBase {
		d := *c
		d.Index = len(g.keys) + c.Index - aggBase
		return &d, nil
	}
	for i, k := range g.keys {
		if same(k, e) {
			return &expr.Column{Index: i, Name: g.names[i], DT: k.Type(), Null: k.Nullable() || g.sets != nil}, nil
		}
	}
	if c, ok := e.(*expr.Column); ok && (isScalar(c) || isAnalytic(c) || c.Index < 0) {
		return c, nil
	}
	if c, ok := e.(*expr.Column); ok && c.Index >= markBase {
		d := *c
		d.Index = len(g.keys) + len(g.aggs.calls) + c.Index - markBase
		return &d, nil
	}
	if c, ok := e.(*expr.Column); ok {
		pos, ok := g.at[c]
		if !ok {
			pos = g.pos
		}
		err := ast.Errorf(pos, "column %q is neither in GROUP BY nor inside an aggregate function", c.Name)
		return nil, err.WithHint("group by it, or use any_value(%s) if every value will do", c.Name)
	}
	ch := expr.Children(e)
	if len(ch) == 0 {
		return e, nil
	}
	out := make([]expr.Expr, len(ch))
	changed := false
	for i, c := range ch {
		var err error
		if out[i], err = g.above(c); err != nil {
			return nil, err
		}
		changed = changed || out[i] != c
	}
	if !changed {
		return e, nil
	}
	return expr.WithChildren(e, out), nil
}

// node makes the Aggregate over an input, or the union of one for each
// grouping set.
func (g *grouping) node(in logical.Node) logical.Node {
	if g.sets != nil {
		return g.union(in)
	}
	return &logical.Aggregate{Input: in, Keys: g.keys, Names: g.names, Aggs: g.aggs.calls}
}

// same compares two expressions part by part. It stops at the first
// difference, so that looking for a key inside a long chain stays cheap.
func same(a, b expr.Expr) bool {
	switch a := a.(type) {
	case *expr.Column:
		c, ok := b.(*expr.Column)
		return ok && a.Index == c.Index
	case *expr.Literal:
		l, ok := b.(*expr.Literal)
		if !ok || a.DT != nil && l.DT != nil && a.DT.ID() != l.DT.ID() {
			return false
		}
		switch x := a.Value.(type) { // numbers mostly, whose texts are work
		case int32:
			if y, ok := l.Value.(int32); ok && x != y {
				return false
			}
		case int64:
			if y, ok := l.Value.(int64); ok && x != y {
				return false
			}
		}
		return expr.Equal(a, l)
	case *expr.Param:
		p, ok := b.(*expr.Param)
		return ok && a.ID == p.ID
	case *expr.Lambda:
		return false
	case *expr.Call:
		c, ok := b.(*expr.Call)
		if !ok || a.Func.Name != c.Func.Name || a.Func.Volatility >= expr.PerRow {
			return false
		}
	case *expr.Cast:
		c, ok := b.(*expr.Cast)
		if !ok || a.Try != c.Try || expr.TypeName(a.DT) != expr.TypeName(c.DT) {
			return false
		}
	case *expr.Logical:
		c, ok := b.(*expr.Logical)
		if !ok || a.Op != c.Op {
			return false
		}
	case *expr.Field:
		c, ok := b.(*expr.Field)
		if !ok || a.Index != c.Index {
			return false
		}
	case *expr.In:
		c, ok := b.(*expr.In)
		return ok && expr.Equal(a, c)
	case *expr.Case:
		if c, ok := b.(*expr.Case); !ok || len(a.Whens) != len(c.Whens) {
			return false
		}
	default: // made for printing alone
		return expr.Equal(a, b)
	}
	x, y := expr.Children(a), expr.Children(b)
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		if !same(x[i], y[i]) {
			return false
		}
	}
	return true
}

// outputName is the name of a column without an alias: the column's own, else
// the text of the expression.
func outputName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Column:
		return e.Parts[len(e.Parts)-1].Name
	case *ast.Field:
		return e.Name.Name
	case *ast.Call:
		for _, name := range []string{"window", "session_window"} {
			if len(e.Name.Parts) == 1 && strings.EqualFold(e.Name.Parts[0].Name, name) && e.Over == nil {
				return name
			}
		}
	}
	s := ast.SQL(e)
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName-3], "") + "..."
	}
	return s
}

// maxName bounds the names that expressions give to columns.
const maxName = 250
