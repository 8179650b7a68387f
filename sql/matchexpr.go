package sql

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// matchExprs binds what DEFINE and MEASURES say of the rows of a match. Columns
// and functions over rows become slots; what is around them is an ordinary
// expression over the slots.
type matchExprs struct {
	m      *matching
	define bool
	final  bool      // FINAL stands around
	arg    *matchArg // inside a function over rows: columns are the input's
}

// matchArg is which variable the columns of an argument belong to.
type matchArg struct {
	some bool
	name string
	set  []int // nil for all rows
}

// inside binds the argument of a function over rows.
func (q *matchExprs) inside(x *exprBinder) (*exprBinder, *matchArg) {
	inner, match := *x, *q
	match.arg = &matchArg{}
	inner.match = &match
	return &inner, match.arg
}

// take notes that a column of a variable stands in the argument.
func (a *matchArg) take(pos ast.Pos, set []int, name string) error {
	if a.some && !strings.EqualFold(a.name, name) {
		of := func(s string) string {
			if s == "" {
				return "all rows"
			}
			return s
		}
		return ast.Errorf(pos, "a function over rows reads those of one variable, not of %s and of %s", of(a.name), of(name))
	}
	a.some, a.name, a.set = true, name, set
	return nil
}

// slot adds a slot, unless there is an equal one, and returns the column for it.
func (q *matchExprs) slot(s expr.MatchSlot) expr.Expr {
	spec := q.m.spec
	i := spec.Slot(s)
	return &expr.Column{Index: i, Name: "slot", DT: s.DT, Null: true}
}

// column binds price or A.price.
func (q *matchExprs) column(x *exprBinder, e *ast.Column) (expr.Expr, error) {
	parts, name := e.Parts, ""
	var set []int
	if s, ok := q.m.sets[strings.ToLower(parts[0].Name)]; ok && len(parts) > 1 {
		set, name, parts = s, parts[0].Name, parts[1:]
	}
	i, used, err := q.m.in.lookup(parts)
	if err != nil {
		return nil, err
	}
	if i < 0 {
		if len(parts) > 1 && name == "" && !q.m.in.has(parts[:1]) {
			_, err := q.m.known(parts[0])
			return nil, err
		}
		return nil, unknownColumn(q.m.in, parts)
	}
	col := q.m.in.cols[i].e
	if q.arg != nil {
		if err := q.arg.take(e.Pos, set, name); err != nil {
			return nil, err
		}
		return x.fields(col, parts[used:])
	}
	return x.fields(q.slot(expr.MatchSlot{Kind: expr.SlotValue, Vars: set, Final: q.final, Value: col, DT: col.Type()}), parts[used:])
}

// call binds the functions over rows; ok is false for all others.
func (q *matchExprs) call(x *exprBinder, c *ast.Call, name string) (v expr.Expr, ok bool, err error) {
	if c.Over != nil {
		return nil, true, ast.Errorf(c.Pos, "a window function cannot stand in MATCH_RECOGNIZE")
	}
	switch name {
	case "final", "running":
		if len(c.Args) != 1 {
			return nil, false, nil
		}
		v, err = q.semantics(x, c, name)
	case "first", "last", "prev", "next":
		v, err = q.navigation(x, c, name)
	case "classifier":
		s := expr.MatchSlot{Kind: expr.SlotClassifier, Final: q.final, DT: expr.TypeString}
		if s.Vars, err = q.classified(c); err == nil {
			v, err = q.top(c, s)
		}
	case "match_rowtime":
		v, err = q.rowtime(c)
	case "match_number":
		if len(c.Args) > 0 {
			return nil, true, ast.Errorf(c.Pos, "MATCH_NUMBER takes no argument")
		}
		v, err = q.top(c, expr.MatchSlot{Kind: expr.SlotNumber, DT: expr.TypeInt64})
	default:
		if !functions.IsAggregate(name) {
			return nil, false, nil
		}
		v, err = q.aggregate(x, c, name)
	}
	return v, true, err
}

// rowtime binds MATCH_ROWTIME(), the time of the last row of a match: that by which
// the rows are ordered.
func (q *matchExprs) rowtime(c *ast.Call) (expr.Expr, error) {
	by := q.m.node.Order[0].Expr
	switch {
	case len(c.Args) > 0:
		return nil, ast.Errorf(c.Pos, "MATCH_ROWTIME takes no argument")
	case q.define:
		return nil, ast.Errorf(c.Pos, "MATCH_ROWTIME stands among MEASURES alone: the last row of a match is known behind it")
	case by.Type().ID() != arrow.TIMESTAMP:
		return nil, ast.Errorf(c.Pos, "MATCH_ROWTIME needs rows that are ordered by a TIMESTAMP first")
	}
	return q.top(c, expr.MatchSlot{Kind: expr.SlotValue, Final: true, Value: by, DT: by.Type()})
}

// top refuses what cannot stand inside a function over rows.
func (q *matchExprs) top(c *ast.Call, s expr.MatchSlot) (expr.Expr, error) {
	if q.arg != nil {
		return nil, ast.Errorf(c.Pos, "%s cannot stand in an argument here", short(ast.SQL(c)))
	}
	return q.slot(s), nil
}

// semantics binds FINAL f(..) and RUNNING f(..).
func (q *matchExprs) semantics(x *exprBinder, c *ast.Call, name string) (expr.Expr, error) {
	word := strings.ToUpper(name)
	call, ok := c.Args[0].(*ast.Call)
	if ok {
		inner := strings.ToLower(call.Name.Parts[len(call.Name.Parts)-1].Name)
		ok = inner == "first" || inner == "last" || inner == "classifier" || functions.IsAggregate(inner)
	}
	switch {
	case !ok:
		return nil, ast.Errorf(c.Pos, "%s stands before FIRST, LAST or an aggregate function", word)
	case q.define && name == "final":
		return nil, ast.Errorf(c.Pos, "FINAL cannot stand in DEFINE: the match is not complete there")
	case q.arg != nil:
		return nil, ast.Errorf(c.Pos, "%s cannot stand in an argument here", word)
	}
	inner, match := *x, *q
	match.final = name == "final"
	inner.match = &match
	return inner.bind(call)
}

// classified returns the variables of CLASSIFIER() or CLASSIFIER(A).
func (q *matchExprs) classified(c *ast.Call) ([]int, error) {
	if len(c.Args) == 0 {
		return nil, nil
	}
	if col, ok := c.Args[0].(*ast.Column); ok && len(col.Parts) == 1 && len(c.Args) == 1 {
		return q.m.known(col.Parts[0])
	}
	return nil, ast.Errorf(c.Pos, "CLASSIFIER takes at most one argument, a variable of the pattern")
}

// navigation binds FIRST, LAST, PREV and NEXT.
func (q *matchExprs) navigation(x *exprBinder, c *ast.Call, name string) (expr.Expr, error) {
	if q.arg != nil {
		return nil, ast.Errorf(c.Pos, "%s cannot stand in an argument here; FIRST and LAST may be all of the argument of PREV and NEXT", strings.ToUpper(name))
	}
	s := expr.MatchSlot{First: name == "first", Final: q.final}
	arg, n, err := q.offset(c, name)
	if err != nil {
		return nil, err
	}
	switch name {
	case "prev":
		s.Offset = -n
	case "next":
		s.Offset = n
	default:
		s.N = n
	}
	if s.Offset != 0 || name == "prev" || name == "next" {
		if in, ok := arg.(*ast.Call); ok && len(in.Name.Parts) == 1 {
			if inner := strings.ToLower(in.Name.Parts[0].Name); inner == "first" || inner == "last" {
				s.First = inner == "first"
				if arg, s.N, err = q.offset(in, inner); err != nil {
					return nil, err
				}
			}
		}
	}
	if in, ok := arg.(*ast.Call); ok && len(in.Name.Parts) == 1 && strings.EqualFold(in.Name.Parts[0].Name, "classifier") {
		s.Kind, s.DT = expr.SlotClassifier, expr.TypeString
		if s.Vars, err = q.classified(in); err != nil {
			return nil, err
		}
		if s.Offset < 0 && s.Vars == nil && !s.First { // the rows of a match follow each other
			s.N, s.Offset = s.N-s.Offset, 0
		}
		if s.Offset != 0 && q.define {
			return nil, unsupported(c.Pos, strings.ToUpper(name)+" over this CLASSIFIER in DEFINE")
		}
		return q.slot(s), nil
	}
	inner, of := q.inside(x)
	if s.Value, err = inner.bind(arg); err != nil {
		return nil, err
	}
	if !of.some {
		return nil, ast.Errorf(c.Pos, "%s needs a column in its argument", strings.ToUpper(name))
	}
	s.Value, s.Vars, s.DT = q.m.b.computed(s.Value), of.set, s.Value.Type()
	return q.slot(s), nil
}

// maxOffset bounds how far FIRST, LAST, PREV and NEXT look.
const maxOffset = 10_000

// offset takes a call of FIRST, LAST, PREV or NEXT apart.
func (q *matchExprs) offset(c *ast.Call, name string) (ast.Expr, int, error) {
	if len(c.Args) < 1 || len(c.Args) > 2 || c.Distinct || c.Filter != nil || c.OrderBy != nil || c.Nulls != "" || c.WithinGroup != nil {
		return nil, 0, ast.Errorf(c.Pos, "%s takes a value and perhaps how many rows to go: %s(A.x, 2)", strings.ToUpper(name), strings.ToUpper(name))
	}
	n := 0
	if name == "prev" || name == "next" {
		n = 1
	}
	if len(c.Args) == 1 {
		return c.Args[0], n, nil
	}
	lit, err := (&exprBinder{b: q.m.b, sc: emptyScope(), clause: "an offset"}).bind(c.Args[1])
	if err != nil {
		return nil, 0, err
	}
	if l, ok := q.m.b.computed(lit).(*expr.Literal); ok {
		if v, isInt := l.Value.(int64); isInt && v >= 0 && v <= maxOffset {
			return c.Args[0], int(v), nil
		}
	}
	return nil, 0, ast.Errorf(c.Args[1].Position(), "how many rows %s goes is a whole number from 0 to %d", strings.ToUpper(name), maxOffset)
}

// aggregate binds an aggregate over the rows of a variable: avg(A.x), count(A.*), count(*).
func (q *matchExprs) aggregate(x *exprBinder, c *ast.Call, name string) (expr.Expr, error) {
	switch {
	case q.arg != nil:
		return nil, ast.Errorf(c.Pos, "%s cannot stand in an argument here", name)
	case c.WithinGroup != nil || c.OrderBy != nil:
		return nil, unsupported(c.Pos, "an aggregate with an order in MATCH_RECOGNIZE")
	}
	inner, of := q.inside(x)
	args, err := q.aggregateArgs(inner, c, name, of)
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
	if call.Distinct {
		return nil, unsupported(c.Pos, "DISTINCT in an aggregate of MATCH_RECOGNIZE")
	}
	for i, a := range call.Args {
		call.Args[i] = q.m.b.computed(a)
	}
	if c.Filter != nil {
		inner.clause = "FILTER"
		if call.Filter, err = inner.condition(c.Filter); err != nil {
			return nil, err
		}
	}
	return q.slot(expr.MatchSlot{Kind: expr.SlotAggregate, Vars: of.set, Final: q.final, Agg: call, DT: call.Type()}), nil
}

func (q *matchExprs) aggregateArgs(inner *exprBinder, c *ast.Call, name string, of *matchArg) ([]expr.Expr, error) {
	if len(c.Args) == 1 && name == "count" {
		if s, ok := c.Args[0].(*ast.Star); ok && s.Except == nil && !c.Distinct {
			if len(s.Qualifier) == 0 {
				return nil, of.take(s.Pos, nil, "")
			}
			set, err := q.m.known(s.Qualifier[0])
			if err != nil {
				return nil, err
			}
			return nil, of.take(s.Pos, set, s.Qualifier[0].Name)
		}
	}
	return inner.args(c, name)
}
