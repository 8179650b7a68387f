package sql

import (
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// scalarBase is where the positions of scalar subqueries start while a SELECT
// is being bound; those of aggregates come behind.
const scalarBase = 1 << 29

// scalars are the subqueries of a select list, HAVING and ORDER BY that are
// values. They are joined above the Aggregate, if there is one, so that they are
// neither grouped by nor lost where there is no row to group.
type scalars struct {
	subs  []scalarSub
	width int
}

// scalarSub is a plan of one row, with what it takes from the row outside.
type scalarSub struct {
	node   logical.Node
	params []logical.Param
}

// add returns stand-ins for the columns of a subquery.
func (s *scalars) add(sub scalarSub) []expr.Expr {
	out := columnsFrom(sub.node, scalarBase+s.width)
	s.width += len(out)
	s.subs = append(s.subs, sub)
	return out
}

func columnsFrom(n logical.Node, base int) []expr.Expr {
	fields := n.Schema().Fields()
	out := make([]expr.Expr, len(fields))
	for i, f := range fields {
		out[i] = columnOf(base+i, f)
	}
	return out
}

// join puts the subqueries behind the columns of a plan and returns where the
// first one is. lift moves an expression over the FROM's columns to the plan's.
func (s *scalars) join(n logical.Node, lift func(expr.Expr) (expr.Expr, error)) (logical.Node, int, error) {
	first := n.Schema().NumFields()
	for _, sub := range s.subs {
		params := make([]logical.Param, len(sub.params))
		for i, p := range sub.params {
			e, err := lift(p.Expr)
			if err != nil {
				return nil, 0, err
			}
			params[i] = logical.Param{ID: p.ID, Expr: placed(e, first)}
		}
		n = joinScalar(n, scalarSub{node: sub.node, params: params})
	}
	return n, first, nil
}

func joinScalar(n logical.Node, sub scalarSub) logical.Node {
	if len(sub.params) == 0 {
		return &logical.Join{Left: n, Right: sub.node, Kind: logical.Cross}
	}
	return &logical.Apply{Left: n, Right: sub.node, Kind: logical.Inner, Params: sub.params}
}

// isScalar says whether a column stands for a scalar subquery.
func isScalar(c *expr.Column) bool { return c.Index >= scalarBase && c.Index < aggBase }

// placed moves the stand-ins of scalar subqueries to where they are.
func placed(e expr.Expr, first int) expr.Expr {
	return expr.Remap(e, func(i int) int {
		if i >= scalarBase && i < aggBase {
			return first + i - scalarBase
		}
		return i
	})
}

// attach joins a plan of one row to the rows of the clause and returns its
// columns: at once where the clause stands on a plan of its own, else as
// stand-ins.
func (x *exprBinder) attach(pos ast.Pos, sub scalarSub) ([]expr.Expr, error) {
	if x.scalars != nil && !x.inAgg {
		return x.scalars.add(sub), nil
	}
	if x.clause != "WHERE" && x.clause != "GROUP BY" && x.clause != "ON" && !(x.inAgg && x.scalars != nil) {
		return nil, unsupported(pos, "a subquery in "+x.clause)
	}
	n := x.sc.node.Schema().NumFields()
	x.sc.node = joinScalar(x.sc.node, sub)
	out := columnsFrom(sub.node, n)
	for _, c := range out {
		x.b.at[c.(*expr.Column)] = pos
	}
	return out, nil
}

// scalarQuery joins (query) as a value: NULL for no row, an error at run time
// for more than one.
func (x *exprBinder) scalarQuery(e *ast.Subquery) (expr.Expr, error) {
	sub, params, err := x.subplan(e.Query)
	if err != nil {
		return nil, err
	}
	if len(sub.cols) != 1 {
		return nil, ast.Errorf(e.Pos, "a subquery as a value returns one column, this one has %d", len(sub.cols))
	}
	node := sub.node
	if !oneRow(node) {
		if node, err = aggregateOf(node, aggOf{"single_value", sub.cols[0].name, sub.cols[0].e}); err != nil {
			return nil, at(e.Pos, err)
		}
	}
	out, err := x.attach(e.Pos, scalarSub{node, params})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// aggOf is an aggregate of one value, or of all rows if arg is nil.
type aggOf struct {
	fn, name string
	arg      expr.Expr
}

// aggregateOf aggregates a plan to one row.
func aggregateOf(n logical.Node, aggs ...aggOf) (logical.Node, error) {
	out := &logical.Aggregate{Input: n}
	for _, a := range aggs {
		var args []expr.Expr
		if a.arg != nil {
			args = append(args, a.arg)
		}
		call, err := functions.Aggregate(a.fn, args, false)
		if err != nil {
			return nil, err
		}
		call.Name = a.name
		out.Aggs = append(out.Aggs, call)
	}
	return out, nil
}

// existsValue is EXISTS (query) as a value: whether the rows count more than none.
func (x *exprBinder) existsValue(e *ast.Exists) (expr.Expr, error) {
	sub, params, err := x.subplan(e.Query)
	if err != nil {
		return nil, err
	}
	return x.anyRow(e.Pos, sub.node, params)
}

// anyRow is true where a plan has a row.
func (x *exprBinder) anyRow(pos ast.Pos, n logical.Node, params []logical.Param) (expr.Expr, error) {
	if s, ok := n.(*logical.Sort); ok {
		n = s.Input
	}
	if len(params) == 0 {
		n = &logical.Limit{Input: n, Count: 1}
	}
	node, err := aggregateOf(n, aggOf{"count", "n", nil})
	if err != nil {
		return nil, at(pos, err)
	}
	out, err := x.attach(pos, scalarSub{node, params})
	if err != nil {
		return nil, err
	}
	return x.apply(pos, ">", out[0], expr.Int64(0))
}

// inValue is x IN (query) as a value, in three-valued logic: true where a row
// is equal, else unknown where NULL hides whether one is, else false.
func (x *exprBinder) inValue(e *ast.In) (expr.Expr, error) {
	keys, sub, params, err := x.inKeys(e.Pos, e.X, e.Query)
	if err != nil {
		return nil, err
	}
	nullable := false
	ps := append([]logical.Param{}, params...)
	var equal, maybe []expr.Expr
	for _, k := range keys {
		x.b.correlations++
		p := logical.Param{ID: x.b.correlations, Expr: k[0]}
		ps = append(ps, p)
		l := &expr.Column{Index: -p.ID, Name: "in", DT: k[0].Type(), Null: k[0].Nullable()}
		eq, err := x.apply(e.Pos, "=", l, k[1])
		if err != nil {
			return nil, err
		}
		unknown, err := x.apply(e.Pos, "is_not_false", eq)
		if err != nil {
			return nil, err
		}
		equal, maybe = append(equal, eq), append(maybe, unknown)
		nullable = nullable || eq.Nullable()
	}
	hit, err := x.anyRow(e.Pos, &logical.Filter{Input: sub.node, Cond: expr.AndAll(equal)}, ps)
	if err != nil || !nullable {
		return x.negated(e.Pos, e.Not, hit, err)
	}
	var out expr.Expr
	if len(keys) == 1 {
		out, err = x.inNulls(e.Pos, hit, keys[0], sub.node, params)
	} else {
		// One value of several may be unknown: ask for rows that are not
		// certainly different.
		var close expr.Expr
		if len(params) == 0 { // else its rows are others for every row outside
			close, err = x.byNulls(e.Pos, keys, equal, sub.node, ps)
		}
		if err == nil && close == nil {
			close, err = x.anyRow(e.Pos, &logical.Filter{Input: sub.node, Cond: expr.AndAll(maybe)}, ps)
		}
		if err == nil {
			out, err = choose(expr.Bool(false), expr.When{Cond: hit, Then: expr.Bool(true)},
				expr.When{Cond: close, Then: expr.NullOf(expr.TypeBool)})
		}
	}
	return x.negated(e.Pos, e.Not, out, err)
}

// nullPatternsMax bounds the joins that byNulls makes: of three values that can all be NULL.
const nullPatternsMax = 27

// byNulls is true where a row of the subquery is not certainly different: some of
// its values are equal and of the others one side is NULL. Each pattern of NULLs
// is a join by the values that are compared, which a comparison of all rows with
// all others is not. It gives nil where the patterns are too many.
func (x *exprBinder) byNulls(pos ast.Pos, keys [][2]expr.Expr, equal []expr.Expr, sub logical.Node, ps []logical.Param) (expr.Expr, error) {
	type pattern struct{ rows, left []expr.Expr } // conditions on the pair, and on the row outside alone
	all := []pattern{{}}
	for i, k := range keys {
		var next []pattern
		for _, p := range all {
			next = append(next, pattern{append(p.rows[:len(p.rows):len(p.rows)], equal[i]), p.left})
			for side, to := range []*[]expr.Expr{&p.left, &p.rows} {
				if !k[side].Nullable() {
					continue
				}
				null, err := x.apply(pos, "is_null", k[side])
				if err != nil {
					return nil, err
				}
				old := *to
				*to = append(old[:len(old):len(old)], null)
				next = append(next, p)
				*to = old
			}
		}
		if all = next; len(all) > nullPatternsMax {
			return nil, nil
		}
	}
	var any []expr.Expr
	for _, p := range all[1:] { // the first has all values equal
		node := sub
		if len(p.rows) > 0 {
			node = &logical.Filter{Input: sub, Cond: expr.AndAll(p.rows)}
		}
		found, err := x.anyRow(pos, node, ps)
		if err == nil && len(p.left) > 0 {
			found, err = x.apply(pos, "and", append(p.left, found)...)
		}
		if err != nil {
			return nil, err
		}
		any = append(any, found)
	}
	return x.apply(pos, "or", any...)
}

// inNulls says what x IN (query) is where no row is equal, from the number of
// rows and of those that are not NULL.
func (x *exprBinder) inNulls(pos ast.Pos, hit expr.Expr, key [2]expr.Expr, sub logical.Node, params []logical.Param) (expr.Expr, error) {
	node, err := aggregateOf(sub, aggOf{"count", "rows", nil}, aggOf{"count", "known", key[1]})
	if err != nil {
		return nil, at(pos, err)
	}
	n, err := x.attach(pos, scalarSub{node, params})
	if err != nil {
		return nil, err
	}
	empty, err := x.apply(pos, "=", n[0], expr.Int64(0))
	if err != nil {
		return nil, err
	}
	unknown, err := x.unknownKey(pos, key[0], n)
	if err != nil {
		return nil, err
	}
	return choose(expr.Bool(false), expr.When{Cond: hit, Then: expr.Bool(true)},
		expr.When{Cond: empty, Then: expr.Bool(false)}, expr.When{Cond: unknown, Then: expr.NullOf(expr.TypeBool)})
}

// unknownKey is true where a value is NULL or some row of the subquery is:
// counts are its rows and those that are not NULL.
func (x *exprBinder) unknownKey(pos ast.Pos, key expr.Expr, counts []expr.Expr) (expr.Expr, error) {
	isNull, err := x.apply(pos, "is_null", key)
	if err != nil {
		return nil, err
	}
	some, err := x.apply(pos, "<", counts[1], counts[0])
	if err != nil {
		return nil, err
	}
	return x.apply(pos, "or", isNull, some)
}

func choose(els expr.Expr, whens ...expr.When) (expr.Expr, error) {
	return functions.NewCase(whens, els)
}

// quantified binds l op ANY (query) and l op ALL (query). Equality with any is
// IN, difference from all is NOT IN; for the others the least and the greatest
// value of the query decide.
func (x *exprBinder) quantified(e *ast.Quantified) (expr.Expr, error) {
	all := e.Quantifier == "ALL"
	switch {
	case !all && (e.Op == "=" || e.Op == "=="):
		return x.inValue(&ast.In{Pos: e.Pos, X: e.L, Query: e.Query})
	case all && (e.Op == "<>" || e.Op == "!="):
		return x.inValue(&ast.In{Pos: e.Pos, X: e.L, Query: e.Query, Not: true})
	}
	l, err := x.bind(e.L)
	if err != nil {
		return nil, err
	}
	sub, params, err := x.subplan(e.Query)
	if err != nil {
		return nil, err
	}
	if len(sub.cols) != 1 {
		return nil, ast.Errorf(e.Query.Pos, "%s compares with one column, but the query returns %d", e.Quantifier, len(sub.cols))
	}
	c := sub.cols[0].e
	node, err := aggregateOf(sub.node, aggOf{"count", "rows", nil}, aggOf{"count", "known", c}, aggOf{"min", "least", c}, aggOf{"max", "greatest", c})
	if err != nil {
		return nil, at(e.Pos, err)
	}
	n, err := x.attach(e.Pos, scalarSub{node, params})
	if err != nil {
		return nil, err
	}
	decided, err := x.extreme(e, l, n[2], n[3])
	if err != nil {
		return nil, err
	}
	empty, err := x.apply(e.Pos, "=", n[0], expr.Int64(0))
	if err != nil {
		return nil, err
	}
	unknown, err := x.unknownKey(e.Pos, l, n)
	if err != nil {
		return nil, err
	}
	return choose(expr.Bool(all), expr.When{Cond: empty, Then: expr.Bool(all)}, expr.When{Cond: decided, Then: expr.Bool(!all)},
		expr.When{Cond: unknown, Then: expr.NullOf(expr.TypeBool)})
}

// extreme is true where the least or greatest value decides a comparison: that
// one is true for ANY, or that one is false for ALL.
func (x *exprBinder) extreme(e *ast.Quantified, l, least, greatest expr.Expr) (expr.Expr, error) {
	// op is true of some value, or its opposite is, for ALL.
	op := e.Op
	if e.Quantifier == "ALL" {
		opposite := map[string]string{"=": "<>", "==": "<>", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
		op = opposite[op]
	}
	switch op {
	case "<", "<=":
		return x.apply(e.Pos, op, l, greatest)
	case ">", ">=":
		return x.apply(e.Pos, op, l, least)
	case "<>", "!=":
		a, err := x.apply(e.Pos, "<>", l, least)
		if err != nil {
			return nil, err
		}
		b, err := x.apply(e.Pos, "<>", l, greatest)
		if err != nil {
			return nil, err
		}
		return x.apply(e.Pos, "or", a, b)
	}
	return nil, unsupported(e.Pos, e.Op+" "+e.Quantifier+" (query)")
}
