package sql

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// windowOnly are the functions that have a meaning with OVER alone.
var windowOnly = map[string]expr.AnalyticKind{
	"row_number": expr.RowNumber, "rank": expr.Rank, "dense_rank": expr.DenseRank, "percent_rank": expr.PercentRank,
	"cume_dist": expr.CumeDist, "ntile": expr.Ntile, "lag": expr.Lag, "lead": expr.Lag, "nth_value": expr.NthValue,
}

func isWindowOnly(name string) bool { _, ok := windowOnly[name]; return ok }

// analytic binds a call with OVER.
func (x *exprBinder) analytic(c *ast.Call, name string) (expr.Expr, error) {
	switch {
	case x.inAgg:
		return nil, ast.Errorf(c.Pos, "a window function (%s(..) OVER) cannot stand inside an aggregate function", name)
	case x.inWindow:
		return nil, ast.Errorf(c.Pos, "a window function (%s(..) OVER) cannot stand inside another", name).WithHint("compute the inner one in a subquery")
	case x.windows == nil:
		err := ast.Errorf(c.Pos, "a window function (%s(..) OVER) cannot stand in %s", name, x.clause)
		if x.clause == "WHERE" || x.clause == "HAVING" {
			return nil, err.WithHint("use QUALIFY")
		}
		return nil, err
	case isWindowOnly(name) && (c.Distinct || c.OrderBy != nil):
		return nil, ast.Errorf(c.Pos, "%s takes neither DISTINCT nor ORDER BY among its arguments", name)
	}
	inner := *x
	inner.inWindow, inner.aliasFirst = true, false
	s, err := x.windows.spec(c.Over, len(x.windows.named))
	if err != nil {
		return nil, err
	}
	u := &analyticUse{}
	if err := u.bindKeys(&inner, s); err != nil {
		return nil, err
	}
	if u.call, err = inner.analyticCall(c, name); err != nil {
		return nil, err
	}
	if k := u.call.Kind; k == expr.WindowAggregate || k == expr.NthValue {
		if u.call.Frame, err = inner.frame(s); err != nil {
			return nil, err
		}
	} else if s.Frame != nil && !(ranks(k) && runningFrame(s.Frame)) {
		return nil, ast.Errorf(s.Frame.Pos, "%s looks at its whole partition: it takes no frame", name)
	}
	if err := u.outer(c, s); err != nil {
		return nil, err
	}
	u.call.Name = outputName(c)
	return x.windows.add(u), nil
}

// ranks says whether a function counts the rows up to the current one, for
// which the frame that says so may be written.
func ranks(k expr.AnalyticKind) bool { return k >= expr.RowNumber && k <= expr.Ntile }

func runningFrame(f *ast.Frame) bool {
	return f.Unit != "GROUPS" && f.Start.Kind == ast.UnboundedPreceding && f.End.Kind == ast.CurrentRow && f.Exclude == ""
}

// outer refuses output columns that are window functions themselves, and asks
// for the ORDER BY that a function needs, as Spark does.
func (u *analyticUse) outer(c *ast.Call, s *ast.WindowSpec) error {
	if u.call.Kind != expr.WindowAggregate && s.OrderBy == nil && !(u.call.Kind == expr.NthValue && windowOnly[nameOf(c)] != expr.NthValue) {
		return ast.Errorf(c.Pos, "%s needs an order: OVER (ORDER BY ..)", nameOf(c))
	}
	es := append(u.call.Exprs(), u.part...)
	for _, k := range u.order {
		es = append(es, k.Expr)
	}
	for _, e := range es {
		if usesAnalytic(e) {
			return ast.Errorf(c.Pos, "%s uses an output column that is a window function itself", short(ast.SQL(c))).WithHint("compute the inner one in a subquery")
		}
	}
	return nil
}

// analyticCall binds the function and its arguments.
func (x *exprBinder) analyticCall(c *ast.Call, name string) (*expr.AnalyticCall, error) {
	kind, only := windowOnly[name]
	if !only {
		if c.Filter == nil && len(c.Args) > 0 && c.OrderBy == nil && !c.Distinct {
			switch name {
			case "first", "first_value":
				return x.edgeValue(c, name, 1)
			case "last", "last_value":
				return x.edgeValue(c, name, -1)
			}
		}
		return x.windowAggregate(c, name)
	}
	if c.Filter != nil || c.WithinGroup != nil {
		return nil, ast.Errorf(c.Pos, "%s is not an aggregate function: FILTER and WITHIN GROUP have no meaning for it", name)
	}
	if kind == expr.Lag {
		return x.lag(c, name)
	}
	if kind == expr.NthValue {
		return x.nthValue(c)
	}
	return x.ranking(c, name, kind)
}

// ranking binds a function that counts rows or peers.
func (x *exprBinder) ranking(c *ast.Call, name string, kind expr.AnalyticKind) (*expr.AnalyticCall, error) {
	if c.Nulls != "" {
		return nil, ast.Errorf(c.Pos, "%s NULLS has no meaning for %s", c.Nulls, name)
	}
	out := &expr.AnalyticCall{Kind: kind, DT: expr.TypeInt32, N: 1}
	if kind == expr.PercentRank || kind == expr.CumeDist {
		out.DT = expr.TypeDouble
	}
	switch {
	case kind == expr.Ntile && len(c.Args) == 1:
		var err error
		if out.N, err = x.whole(c.Args[0], "ntile", 1); err != nil {
			return nil, err
		}
	case kind == expr.Ntile && len(c.Args) > 1:
		return nil, ast.Errorf(c.Pos, "ntile takes the number of buckets alone")
	case kind != expr.Ntile && len(c.Args) > 0:
		return nil, ast.Errorf(c.Args[0].Position(), "%s takes no arguments: %s() OVER (ORDER BY ..)", name, name)
	}
	return out, nil
}

// windowValue binds the argument whose value a function passes on.
func (x *exprBinder) windowValue(a ast.Expr) (expr.Expr, error) {
	e, err := x.bind(a)
	if err != nil {
		return nil, err
	}
	if d, ok := e.Type().(*arrow.DictionaryType); ok {
		return cast(a.Position(), e, d.ValueType, false)
	}
	return e, nil
}

// lag binds lag and lead, which is lag the other way: value, offset, default.
func (x *exprBinder) lag(c *ast.Call, name string) (*expr.AnalyticCall, error) {
	if len(c.Args) < 1 || len(c.Args) > 3 {
		return nil, ast.Errorf(c.Pos, "%s takes a value, perhaps an offset in rows, and perhaps a default: %s(x, 1, 0)", name, name)
	}
	v, err := x.windowValue(c.Args[0])
	if err != nil {
		return nil, err
	}
	out := &expr.AnalyticCall{Kind: expr.Lag, Args: []expr.Expr{v}, N: 1, IgnoreNulls: c.Nulls == "IGNORE", DT: v.Type(), Null: true}
	if len(c.Args) > 1 {
		if out.N, err = x.whole(c.Args[1], name, -1<<31); err != nil {
			return nil, err
		}
	}
	if name == "lead" {
		out.N = -out.N
	}
	if len(c.Args) < 3 {
		return out, nil
	}
	d, err := x.bind(c.Args[2])
	if err != nil || expr.IsNull(d) {
		return out, err
	}
	if d, err = functions.Assign(d, v.Type()); err != nil {
		return nil, ast.Errorf(c.Args[2].Position(), "%s: the default: %w", name, err)
	}
	out.Args, out.Null = append(out.Args, d), v.Nullable() || d.Nullable()
	return out, nil
}

// whole evaluates a constant whole number that is at least least.
func (x *exprBinder) whole(e ast.Expr, what string, least int64) (int64, error) {
	v, err := x.bind(e)
	if err != nil {
		return 0, err
	}
	lit, ok := x.b.computed(v).(*expr.Literal)
	n, isInt := int64(0), false
	if ok {
		n, isInt = lit.Value.(int64)
	}
	if !isInt || n < least || lit.DT.ID() < arrow.INT8 || lit.DT.ID() > arrow.INT64 {
		need := "a constant whole number"
		if least >= 0 {
			need += [...]string{", zero or more", " above zero"}[least]
		}
		return 0, ast.Errorf(e.Position(), "%s needs %s, found %s", what, need, short(ast.SQL(e)))
	}
	return n, nil
}

func (x *exprBinder) nthValue(c *ast.Call) (*expr.AnalyticCall, error) {
	if len(c.Args) != 2 {
		return nil, ast.Errorf(c.Pos, "nth_value takes a value and a number: nth_value(x, 2)")
	}
	v, err := x.windowValue(c.Args[0])
	if err != nil {
		return nil, err
	}
	n, err := x.whole(c.Args[1], "nth_value", 1)
	if err != nil {
		return nil, err
	}
	return &expr.AnalyticCall{Kind: expr.NthValue, Args: []expr.Expr{v}, N: n, IgnoreNulls: c.Nulls == "IGNORE", DT: v.Type(), Null: true}, nil
}

// edgeValue binds first_value and last_value, whose second argument is another
// way to say IGNORE NULLS.
func (x *exprBinder) edgeValue(c *ast.Call, name string, n int64) (*expr.AnalyticCall, error) {
	if len(c.Args) > 2 {
		return nil, ast.Errorf(c.Pos, "%s takes a value and perhaps whether to skip NULLs: %s(x, true)", name, name)
	}
	v, err := x.windowValue(c.Args[0])
	if err != nil {
		return nil, err
	}
	out := &expr.AnalyticCall{Kind: expr.NthValue, Args: []expr.Expr{v}, N: n, IgnoreNulls: c.Nulls == "IGNORE", DT: v.Type(), Null: true}
	if len(c.Args) == 2 {
		e, err := x.bind(c.Args[1])
		if err != nil {
			return nil, err
		}
		l, ok := e.(*expr.Literal)
		skip, isBool := false, false
		if ok {
			skip, isBool = l.Value.(bool)
		}
		if !isBool {
			return nil, ast.Errorf(c.Args[1].Position(), "%s: whether to skip NULLs is true or false, found %s", name, short(ast.SQL(c.Args[1])))
		}
		out.IgnoreNulls = out.IgnoreNulls || skip
	}
	return out, nil
}

// windowAggregate binds an aggregate of the registry or of the user's over a window.
func (x *exprBinder) windowAggregate(c *ast.Call, name string) (*expr.AnalyticCall, error) {
	agg, err := x.aggregateOf(c, name)
	if err != nil {
		return nil, err
	}
	if c.Filter != nil {
		f := *x
		f.clause = "FILTER"
		if agg.Filter, err = f.condition(c.Filter); err != nil {
			return nil, err
		}
	}
	if agg.OrderBy, err = x.callOrder(c, name); err != nil {
		return nil, err
	}
	return &expr.AnalyticCall{Kind: expr.WindowAggregate, Agg: agg, DT: agg.Type(), Null: agg.Null}, nil
}

func (x *exprBinder) aggregateOf(c *ast.Call, name string) (*expr.AggCall, error) {
	if functions.IsAggregate(name) {
		args, err := x.aggArgs(c, name)
		if err != nil {
			return nil, err
		}
		if args, err = nullTreatment(c, name, args); err != nil {
			return nil, err
		}
		call, err := functions.Aggregate(name, args, c.Distinct)
		return call, at(c.Pos, err)
	}
	if _, ok := functions.Lookup(name); ok {
		return nil, ast.Errorf(c.Pos, "%s is neither an aggregate nor a window function: OVER has no meaning for it", name)
	}
	if x.b.cat == nil {
		return nil, x.unknownFunction(c.Name)
	}
	args, err := x.args(c, name)
	if err != nil {
		return nil, err
	}
	a, err := x.b.cat.Aggregate(name, args)
	switch {
	case err != nil:
		return nil, at(c.Pos, err)
	case a == nil:
		return nil, x.unknownFunction(c.Name)
	case c.Nulls != "" || c.WithinGroup != nil:
		return nil, ast.Errorf(c.Pos, "%s takes neither IGNORE NULLS nor WITHIN GROUP", name)
	}
	call := *a
	call.Distinct = c.Distinct && !a.Func.IgnoresDuplicates
	return &call, nil
}
