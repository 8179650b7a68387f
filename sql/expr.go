package sql

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// exprBinder binds the expressions of one clause.
type exprBinder struct {
	b      *binder
	sc     *scope
	clause string // for errors: WHERE, GROUP BY, ..
	// aggs collects aggregate calls; nil where none may stand.
	aggs *aggregates
	// scalars collects scalar subqueries that are joined later; nil to join at once.
	scalars *scalars
	// group is the GROUP BY, for grouping(..); nil where there is none.
	group *grouping
	// inAgg is set inside an aggregate's arguments.
	inAgg bool
	// windows collects window functions; nil where none may stand. inWindow is set
	// inside one's arguments and keys.
	windows  *analytics
	inWindow bool
	// alias finds names that are no columns: output columns of the same SELECT.
	alias func(name string) expr.Expr
	// aliasFirst lets an alias hide a column of the input (ORDER BY), unless it is
	// repeated.
	aliasFirst bool
	repeated   func(name string) bool
	// ungrouped says of a column of the input that it is no key of the grouping, so
	// that an alias counts first (HAVING).
	ungrouped func(e expr.Expr) bool
	lambda    *lambdaScope
	// match is the MATCH_RECOGNIZE whose rows the expression is about; nil elsewhere.
	match *matchExprs
	macro *macro // of the SQL function whose body this is; nil elsewhere
	// cell is what the rows of an aggregate have to meet, besides its FILTER.
	cell ast.Expr
}

// canJoin says whether the clause may add to the plan below it, as window(..)
// and subqueries do: only a select list, HAVING, ORDER BY and GROUP BY stand
// directly on a plan of their own. (WHERE may take subqueries; a window there
// would be filtered before it is shared.)
func (x *exprBinder) canJoin() bool {
	return x.scalars != nil && x.clause != "ON" || x.clause == "GROUP BY"
}

// lambdaScope is a chain of the parameters of lambdas, the innermost first.
type lambdaScope struct {
	param *expr.Param
	outer *lambdaScope
}

// bind binds any expression.
func (x *exprBinder) bind(e ast.Expr) (expr.Expr, error) {
	out, err := x.node(e)
	if err != nil {
		return nil, err
	}
	return out, x.b.budget.expression(e.Position(), out)
}

// node binds one node and what is below it.
func (x *exprBinder) node(e ast.Expr) (expr.Expr, error) {
	switch e := e.(type) {
	case *ast.Column:
		return x.column(e)
	case boundArg:
		return e.e, nil
	case *pivotCell:
		cell := *x
		cell.cell = e.cond
		return cell.bind(e.Expr)
	case *ast.Literal:
		return x.b.literal(e)
	case *ast.Interval:
		return intervalLiteral(e)
	case *ast.Param:
		return x.param(e)
	case *ast.Unary:
		return x.unary(e)
	case *ast.Binary:
		return x.binary(e)
	case *ast.Logic:
		return x.scalar(e.Pos, strings.ToLower(e.Op), e.Args...)
	case *ast.Case:
		return x.caseExpr(e)
	case *ast.Cast:
		return x.cast(e)
	case *ast.Call:
		return x.call(e)
	case *ast.Index:
		return x.index(e)
	case *ast.Field:
		base, err := x.bind(e.X)
		if err != nil {
			return nil, err
		}
		return x.fields(base, []ast.Ident{e.Name})
	case *ast.Row:
		return x.row(e)
	case *ast.Star:
		return nil, ast.Errorf(e.Pos, "* cannot stand here")
	default:
		return x.predicate(e)
	}
}

// condition binds an expression that must be BOOLEAN.
func (x *exprBinder) condition(e ast.Expr) (expr.Expr, error) {
	c, err := x.bind(e)
	if err != nil {
		return nil, err
	}
	switch c.Type().ID() {
	case arrow.BOOL:
		return c, nil
	case arrow.NULL:
		return expr.NullOf(expr.TypeBool), nil
	}
	return nil, ast.Errorf(e.Position(), "%s needs a condition, but %s is %s", x.clause, short(ast.SQL(e)), expr.TypeName(c.Type()))
}

// short cuts the text of an expression for a message.
func short(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:77], "") + "..."
}

// list binds expressions in order.
func (x *exprBinder) list(es []ast.Expr) ([]expr.Expr, error) {
	out := make([]expr.Expr, len(es))
	for i, e := range es {
		var err error
		if out[i], err = x.bind(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// scalar binds arguments and applies a function of the registry to them.
func (x *exprBinder) scalar(pos ast.Pos, name string, args ...ast.Expr) (expr.Expr, error) {
	bound, err := x.list(args)
	if err != nil {
		return nil, err
	}
	return x.apply(pos, name, bound...)
}

// apply applies a function of the registry.
func (x *exprBinder) apply(pos ast.Pos, name string, args ...expr.Expr) (expr.Expr, error) {
	e, err := functions.Scalar(name, args)
	if err == nil {
		x.b.place(pos, e)
	}
	return e, at(pos, err)
}

// place notes where what was just made stands, with what it inserted around its
// arguments. A view and a function have texts of their own, which the user's is not.
func (b *binder) place(pos ast.Pos, e expr.Expr) {
	if len(b.views) > 0 || len(b.macros) > 0 {
		return
	}
	here := expr.Place{Line: pos.Line, Col: pos.Col}
	expr.Walk(e, func(e expr.Expr) bool {
		switch e := e.(type) {
		case *expr.Call:
			if e.At == (expr.Place{}) {
				e.At = here
				return true
			}
		case *expr.Cast:
			if e.At == (expr.Place{}) {
				e.At = here
				return true
			}
		}
		return false
	})
}

// negated applies NOT if the predicate was written with it.
func (x *exprBinder) negated(pos ast.Pos, not bool, e expr.Expr, err error) (expr.Expr, error) {
	if err != nil || !not {
		return e, err
	}
	return x.apply(pos, "not", e)
}

func (x *exprBinder) column(e *ast.Column) (expr.Expr, error) {
	if e.Outer {
		return x.outerColumn(e)
	}
	first := e.Parts[0].Name
	for l := x.lambda; l != nil; l = l.outer {
		if strings.EqualFold(l.param.Name, first) {
			return x.fields(l.param, e.Parts[1:])
		}
	}
	if x.match != nil {
		return x.match.column(x, e)
	}
	if x.macro != nil {
		return x.inMacro(e)
	}
	i, used, err := x.sc.lookup(e.Parts)
	if x.aliasFirst && x.alias != nil && !(i >= 0 && x.repeated != nil && x.repeated(first)) {
		if v := x.alias(first); v != nil && (len(e.Parts) == 1 || hasFields(v, e.Parts[1:])) {
			return x.fields(v, e.Parts[1:])
		}
	}
	if err != nil {
		return nil, err
	}
	if i >= 0 && x.ungrouped != nil && len(e.Parts) == 1 && x.ungrouped(x.sc.cols[i].e) {
		if v := x.alias(first); v != nil {
			return v, nil
		}
	}
	if i >= 0 {
		return x.fields(x.reference(e.Pos, i), e.Parts[used:])
	}
	if x.alias != nil {
		if v := x.alias(first); v != nil {
			return x.fields(v, e.Parts[1:])
		}
	}
	if p, used, err := x.b.param(e); p != nil || err != nil {
		if err != nil {
			return nil, err
		}
		return x.fields(p, e.Parts[used:])
	}
	if len(e.Parts) == 1 && strings.EqualFold(first, "grouping__id") && x.group != nil { // Hive's name for it
		return x.grouping(&ast.Call{Pos: e.Pos, Name: ast.Name{Pos: e.Pos, Parts: e.Parts}}, "grouping_id")
	}
	if v, used := x.b.variable(e.Parts); v != nil {
		return x.fields(v, e.Parts[used:])
	}
	return nil, unknownColumn(x.sc, e.Parts)
}

// inMacro binds a name in the body of an SQL function: a parameter or a variable.
func (x *exprBinder) inMacro(e *ast.Column) (expr.Expr, error) {
	if v, used := x.macro.lookup(e.Parts); v != nil {
		return x.fields(v, e.Parts[used:])
	}
	if v, used := x.b.variable(e.Parts); v != nil {
		return x.fields(v, e.Parts[used:])
	}
	return nil, ast.Errorf(e.Pos, "there is no parameter %q", dotted(e.Parts))
}

// outerColumn binds a name that was said to be of a query around this one.
func (x *exprBinder) outerColumn(e *ast.Column) (expr.Expr, error) {
	p, used, err := x.b.param(e)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, ast.Errorf(e.Pos, "there is no column %q in a query around this one", dotted(e.Parts))
	}
	return x.fields(p, e.Parts[used:])
}

// reference makes a use of column i whose place in the text is remembered.
func (x *exprBinder) reference(pos ast.Pos, i int) expr.Expr {
	return expr.Transform(x.sc.cols[i].e, func(e expr.Expr) expr.Expr {
		c, ok := e.(*expr.Column)
		if !ok {
			return e
		}
		d := *c
		x.b.at[&d] = pos
		return &d
	})
}

// fields takes fields out of a struct, one after the other.
func (x *exprBinder) fields(e expr.Expr, names []ast.Ident) (expr.Expr, error) {
	for _, id := range names {
		st, ok := e.Type().(*arrow.StructType)
		if !ok {
			if m, isMap := e.Type().(*arrow.MapType); isMap && m.KeyType().ID() == arrow.STRING {
				return nil, ast.Errorf(id.Pos, "%q is not a field: the value is a %s", id.Name, expr.TypeName(m)).WithHint("write ['%s']", id.Name)
			}
			return nil, ast.Errorf(id.Pos, "there is no field %q: the value is a %s, not a STRUCT", id.Name, expr.TypeName(e.Type()))
		}
		i := fieldIndex(st, id.Name)
		if i < 0 {
			var all []string
			for _, f := range st.Fields() {
				all = append(all, f.Name)
			}
			err := ast.Errorf(id.Pos, "there is no field %q in %s", id.Name, expr.TypeName(st))
			if near := ast.Nearest(id.Name, all); near != "" {
				return nil, err.WithHint("did you mean %q?", near)
			}
			return nil, err
		}
		e = field(e, st, i)
	}
	return e, nil
}

// hasFields says whether a value is a STRUCT with a field in which there is a field ..
func hasFields(e expr.Expr, names []ast.Ident) bool {
	dt := e.Type()
	for _, id := range names {
		st, ok := dt.(*arrow.StructType)
		if !ok {
			return false
		}
		i := fieldIndex(st, id.Name)
		if i < 0 {
			return false
		}
		dt = st.Field(i).Type
	}
	return true
}

func fieldIndex(st *arrow.StructType, name string) int {
	for i, f := range st.Fields() {
		if strings.EqualFold(f.Name, name) {
			return i
		}
	}
	return -1
}

// field takes field i; of a struct made on the spot it is the argument itself,
// so that window.start is the window's own column.
func field(e expr.Expr, st *arrow.StructType, i int) expr.Expr {
	if vals := structValues(e); vals != nil {
		return vals[i]
	}
	return &expr.Field{Arg: e, Index: i, Name: st.Field(i).Name, DT: st.Field(i).Type}
}

// structValues returns the fields of a struct made on the spot, else nil.
func structValues(e expr.Expr) []expr.Expr {
	c, ok := e.(*expr.Call)
	if !ok || c.Func.Name != "named_struct" {
		return nil
	}
	if st, ok := c.DT.(*arrow.StructType); !ok || len(c.Args) != st.NumFields() {
		return nil
	}
	return c.Args
}

func (x *exprBinder) param(e *ast.Param) (expr.Expr, error) {
	if e.Name != "" {
		if l, ok := x.b.opts.NamedParams[e.Name]; ok {
			return l, nil
		}
		return nil, ast.Errorf(e.Pos, "no value is given for the parameter :%s", e.Name)
	}
	if e.Index <= len(x.b.opts.Params) {
		return x.b.opts.Params[e.Index-1], nil
	}
	return nil, ast.Errorf(e.Pos, "no value is given for parameter %d", e.Index)
}

func (x *exprBinder) unary(e *ast.Unary) (expr.Expr, error) {
	switch e.Op {
	case "NOT":
		return x.scalar(e.Pos, "not", e.X)
	case "+":
		v, err := x.bind(e.X)
		if err != nil {
			return nil, err
		}
		switch id := v.Type().ID(); {
		case id >= arrow.INT8 && id <= arrow.FLOAT64, id == arrow.DECIMAL128, id == arrow.DURATION,
			id == arrow.INTERVAL_MONTHS, id == arrow.NULL:
			return v, nil
		}
		return nil, ast.Errorf(e.Pos, "+ needs a number, found %s", expr.TypeName(v.Type()))
	}
	return x.scalar(e.Pos, e.Op, e.X)
}

// binary binds a chain of operators in a loop: it may be thousands long.
func (x *exprBinder) binary(e *ast.Binary) (expr.Expr, error) {
	chain := []*ast.Binary{e}
	for {
		l, ok := chain[len(chain)-1].L.(*ast.Binary)
		if !ok {
			break
		}
		chain = append(chain, l)
	}
	left, err := x.bind(chain[len(chain)-1].L)
	for i := len(chain) - 1; i >= 0 && err == nil; i-- {
		var right expr.Expr
		if right, err = x.bind(chain[i].R); err == nil {
			left, err = x.apply(chain[i].Pos, strings.ToLower(chain[i].Op), left, right)
		}
	}
	return left, err
}

func (x *exprBinder) caseExpr(e *ast.Case) (expr.Expr, error) {
	whens := make([]expr.When, len(e.Whens))
	var operand expr.Expr
	if e.Operand != nil {
		var err error
		if operand, err = x.bind(e.Operand); err != nil {
			return nil, err
		}
	}
	for i, w := range e.Whens {
		cond, err := x.bind(w.Cond)
		if err == nil && operand != nil {
			cond, err = x.apply(w.Cond.Position(), "=", operand, cond)
		}
		if err != nil {
			return nil, err
		}
		whens[i].Cond = cond
		if whens[i].Then, err = x.bind(w.Then); err != nil {
			return nil, err
		}
	}
	var els expr.Expr
	if e.Else != nil {
		var err error
		if els, err = x.bind(e.Else); err != nil {
			return nil, err
		}
	}
	out, err := functions.NewCase(whens, els)
	return out, at(e.Pos, err)
}

func (x *exprBinder) cast(e *ast.Cast) (expr.Expr, error) {
	v, err := x.bind(e.X)
	if err != nil {
		return nil, err
	}
	dt, err := TypeOf(e.Type)
	if err != nil {
		return nil, err
	}
	if w, ok, err := x.unitCast(e, v, dt); ok || err != nil {
		return w, err
	}
	out, err := cast(e.Pos, v, dt, e.Try)
	if err == nil {
		x.b.place(e.Pos, out)
	}
	return out, err
}

// unitCast casts numbers to intervals and back by the unit that the type ends
// with: 10 is INTERVAL '10' DAY as an INTERVAL DAY. A value does not know its units
// any more, so the way back is for literals.
func (x *exprBinder) unitCast(e *ast.Cast, v expr.Expr, dt arrow.DataType) (expr.Expr, bool, error) {
	id := v.Type().ID()
	if i, ok := e.X.(*ast.Interval); ok && (dt.ID() >= arrow.INT8 && dt.ID() <= arrow.INT64 || dt.ID() == arrow.DECIMAL128) {
		a, err := i.Amount()
		if err != nil || a.From != a.To || a.To == "SECOND" || a.To == "MONTH" {
			return nil, false, nil
		}
		one, _ := ast.ParseInterval("1 " + a.To)
		n := a.Micros / max(one.Micros, 1)
		if a.YearMonth {
			n = a.Months / one.Months
		}
		w, err := cast(e.Pos, expr.Int64(n), dt, e.Try)
		return w, true, err
	}
	number := id >= arrow.INT8 && id <= arrow.INT64 || id == arrow.DECIMAL128
	unit := e.Type.To
	if unit == "" {
		unit = e.Type.From
	}
	if e.Type.Name != "INTERVAL" || !number || unit == "MONTH" || unit == "SECOND" || unit == "" {
		return nil, false, nil
	}
	whole, err := cast(e.Pos, v, expr.TypeInt64, e.Try)
	if err != nil {
		return nil, true, err
	}
	one, err := intervalLiteral(&ast.Interval{Pos: e.Pos, Parts: []ast.IntervalPart{{Value: "1", Unit: unit}}})
	if err != nil {
		return nil, true, err
	}
	op := "*"
	if e.Try {
		op = "try_multiply"
	}
	w, err := x.apply(e.Pos, op, one, whole)
	return w, true, err
}

// index binds a[i] on an array (from zero) and m[k] on a map.
func (x *exprBinder) index(e *ast.Index) (expr.Expr, error) {
	base, err := x.bind(e.X)
	if err != nil {
		return nil, err
	}
	i, err := x.bind(e.I)
	if err != nil {
		return nil, err
	}
	if st, ok := base.Type().(*arrow.StructType); ok {
		if l, is := i.(*expr.Literal); is {
			if name, is := l.Value.(string); is {
				return x.fields(base, []ast.Ident{{Pos: e.I.Position(), Name: name}})
			}
		}
		return nil, ast.Errorf(e.Pos, "%s has fields, not elements", expr.TypeName(st))
	}
	return x.apply(e.Pos, "[]", base, i)
}

// row binds (a, b) as a struct with fields col1, col2.
func (x *exprBinder) row(e *ast.Row) (expr.Expr, error) {
	return x.structOf(e.Pos, e.Items)
}
