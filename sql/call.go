package sql

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// call binds a function call: a window, an aggregate, a function that the user
// registered or one of the registry.
func (x *exprBinder) call(c *ast.Call) (expr.Expr, error) {
	name := strings.ToLower(c.Name.Parts[len(c.Name.Parts)-1].Name)
	if x.match != nil && len(c.Name.Parts) == 1 {
		if v, ok, err := x.match.call(x, c, name); ok || err != nil {
			return v, err
		}
	}
	if name != "count" || len(c.Args) != 1 || !isStar(c.Args[0]) || c.Args[0].(*ast.Star).Except != nil || c.Distinct {
		args, err := x.spread(c.Args)
		if err != nil {
			return nil, err
		}
		if len(args) != len(c.Args) || len(args) > 0 && args[0] != c.Args[0] {
			d := *c
			d.Args = args
			c = &d
		}
	}
	if len(c.Name.Parts) > 1 {
		if def := x.b.function(c.Name); def != nil {
			return x.callMacro(c, def)
		}
		return nil, ast.Errorf(c.Pos, "unknown function %q", c.Name.String()).WithHint("functions have no schema in front")
	}
	if _, builtin := functions.Lookup(name); !builtin {
		if def := x.b.function(c.Name); def != nil {
			return x.callMacro(c, def)
		}
	}
	switch {
	case c.Over != nil:
		return x.analytic(c, name)
	case isWindowOnly(name):
		return nil, ast.Errorf(c.Pos, "%s is a window function: it needs OVER (ORDER BY ..)", name)
	case generatorName(c) != "":
		return nil, ast.Errorf(c.Pos, "%s makes rows: it stands alone in a select list, in FROM or in LATERAL VIEW", name)
	case functions.IsAggregate(name):
		return x.aggregate(c, name)
	}
	if _, ok := functions.Lookup(name); !ok || name == "struct" {
		if v, ok, err := x.special(c, name); ok || err != nil {
			return v, err
		}
	}
	_, builtin := functions.Lookup(name)
	if c.Distinct || c.Filter != nil || c.WithinGroup != nil || c.OrderBy != nil || c.Nulls != "" {
		return x.registered(c, name, true)
	}
	if !builtin {
		return x.registered(c, name, false)
	}
	args, err := x.args(c, name)
	if err != nil {
		return nil, err
	}
	return x.apply(c.Pos, name, x.seeded(name, args)...)
}

// unseeded says of functions that draw numbers how many arguments they have
// without a seed.
var unseeded = map[string]int{"rand": 0, "random": 0, "randn": 0, "uuid": 0, "shuffle": 1, "randstr": 1, "uniform": 2}

// firstSeed is what the seeds of calls that have none in the text count from.
const firstSeed = 1 << 62

// seeded gives each further call that draws numbers a seed of its own: two calls
// of rand() are two draws, not one expression.
func (x *exprBinder) seeded(name string, args []expr.Expr) []expr.Expr {
	n, draws := unseeded[name]
	if !draws || len(args) != n {
		return args
	}
	x.b.draws++
	if x.b.draws > 1 {
		args = append(args, expr.Int64(firstSeed+int64(x.b.draws)))
	}
	return args
}

// special binds the calls that need more than the values of their arguments.
func (x *exprBinder) special(c *ast.Call, name string) (expr.Expr, bool, error) {
	switch name {
	case "window":
		v, err := x.window(c)
		return v, true, err
	case "session_window":
		v, err := x.sessionWindow(c)
		return v, true, err
	case "grouping", "grouping_id":
		v, err := x.grouping(c, name)
		return v, true, err
	case "window_time":
		v, err := x.windowTime(c)
		return v, true, err
	case "struct", "row":
		v, err := x.structOf(c.Pos, c.Args)
		return v, true, err
	case "extract":
		if len(c.Args) == 2 {
			v, err := x.scalar(c.Pos, "date_part", c.Args...)
			return v, true, err
		}
	}
	return nil, false, nil
}

// registered binds a function that the user registered. aggOnly says that the
// call has clauses that only an aggregate can have.
func (x *exprBinder) registered(c *ast.Call, name string, aggOnly bool) (expr.Expr, error) {
	if _, ok := functions.Lookup(name); ok {
		return nil, ast.Errorf(c.Pos, "%s is not an aggregate function: DISTINCT, FILTER, ORDER BY and the like have no meaning for it", name)
	}
	if x.b.cat == nil {
		return nil, x.unknownFunction(c.Name)
	}
	if !aggOnly {
		seen := x.aggs.mark()
		args, err := x.args(c, name)
		if err != nil {
			return nil, err
		}
		v, err := x.b.cat.Scalar(name, args)
		if v != nil || err != nil {
			return v, at(c.Pos, err)
		}
		x.aggs.rewind(seen)
	}
	args, err := x.inside().args(c, name)
	if err != nil {
		return nil, err
	}
	a, err := x.b.cat.Aggregate(name, args)
	if err != nil {
		return nil, at(c.Pos, err)
	}
	if a != nil {
		if c.Nulls != "" || c.WithinGroup != nil {
			return nil, ast.Errorf(c.Pos, "%s takes neither IGNORE NULLS nor WITHIN GROUP", name)
		}
		call := *a
		call.Distinct = c.Distinct && !a.Func.IgnoresDuplicates
		return x.collect(c, &call)
	}
	return nil, x.unknownFunction(c.Name)
}

// args binds the arguments of a call in order. The types of a lambda's
// parameters come from the arguments before it.
func (x *exprBinder) args(c *ast.Call, name string) ([]expr.Expr, error) {
	list, err := x.positional(c, name)
	if err != nil {
		return nil, err
	}
	out := make([]expr.Expr, len(list))
	for i, a := range list {
		switch a := a.(type) {
		case *ast.Star:
			err = ast.Errorf(a.Pos, "%s(*) has no meaning; only count takes *", name)
		case *ast.Lambda:
			var types []arrow.DataType
			types, err = functions.LambdaParams(name, out[:i], len(a.Params))
			var unknown *functions.ErrUnknown
			switch {
			case errors.As(err, &unknown):
				return nil, x.unknownFunction(c.Name)
			case err != nil:
				return nil, at(a.Pos, err)
			}
			out[i], err = x.bindLambda(a, types)
		default:
			out[i], err = x.bind(a)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// parameterNames are those of the functions whose arguments may have names, as in Spark.
var parameterNames = map[string][]string{
	"mask":             {"str", "upperChar", "lowerChar", "digitChar", "otherChar"},
	"count_min_sketch": {"column", "epsilon", "confidence", "seed"},
}

// positional puts arguments with names in their places; one that is left out
// between others is its default.
func (x *exprBinder) positional(c *ast.Call, name string) ([]ast.Expr, error) {
	names := parameterNames[name]
	first := slices.IndexFunc(c.Args, func(a ast.Expr) bool { _, ok := a.(*ast.NamedArg); return ok })
	if names == nil || first < 0 {
		return c.Args, nil
	}
	out := slices.Clone(c.Args[:first])
	for _, a := range c.Args[first:] {
		n, ok := a.(*ast.NamedArg)
		if !ok {
			return nil, ast.Errorf(a.Position(), "%s: an argument without a name stands behind one with a name", name)
		}
		i := slices.IndexFunc(names, func(p string) bool { return strings.EqualFold(p, n.Name.Name) })
		switch {
		case i < 0:
			return nil, ast.Errorf(n.Pos, "%s has no argument %q", name, n.Name.Name).WithHint("there are %s", strings.Join(names, ", "))
		case i < len(out) && out[i] != nil:
			return nil, ast.Errorf(n.Pos, "%s: the argument %s is given twice", name, names[i])
		}
		for len(out) <= i {
			out = append(out, nil)
		}
		out[i] = n.X
	}
	for i, a := range out {
		if a != nil {
			continue
		}
		d, ok := functions.Default(name, i)
		if !ok {
			return nil, ast.Errorf(c.Pos, "%s needs the argument %s", name, names[i])
		}
		out[i] = boundArg{Column: &ast.Column{Pos: c.Pos, Parts: []ast.Ident{{Pos: c.Pos, Name: names[i]}}}, e: d}
	}
	return out, nil
}

func (x *exprBinder) bindLambda(l *ast.Lambda, types []arrow.DataType) (expr.Expr, error) {
	inner := *x
	out := &expr.Lambda{}
	for i, id := range l.Params {
		x.b.params++
		p := &expr.Param{ID: x.b.params, Name: id.Name, DT: types[i], Null: true}
		out.Params = append(out.Params, p)
		inner.lambda = &lambdaScope{param: p, outer: inner.lambda}
	}
	inner.aggs, inner.windows, inner.clause = nil, nil, "a lambda"
	var err error
	out.Body, err = inner.bind(l.Body)
	return out, err
}

// structOf binds struct(a, b AS x, ..): fields take the name of an alias or a
// column, else col1, col2, ..
func (x *exprBinder) structOf(pos ast.Pos, args []ast.Expr) (expr.Expr, error) {
	var out []expr.Expr
	for i, a := range args {
		name := fmt.Sprintf("col%d", i+1)
		switch e := a.(type) {
		case *ast.AliasArg:
			name, a = e.Name.Name, e.X
		case *ast.Column:
			name = e.Parts[len(e.Parts)-1].Name
		case boundArg:
			name = e.Parts[0].Name
		case *ast.Field:
			name = e.Name.Name
		}
		v, err := x.bind(a)
		if err != nil {
			return nil, err
		}
		out = append(out, expr.Text(name), v)
	}
	return x.apply(pos, "named_struct", out...)
}
