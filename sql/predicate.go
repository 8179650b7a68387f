package sql

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// predicate binds what is true or false, and refuses the rest by name.
func (x *exprBinder) predicate(e ast.Expr) (expr.Expr, error) {
	switch e := e.(type) {
	case *ast.Between:
		return x.between(e)
	case *ast.In:
		return x.in(e)
	case *ast.Like:
		return x.like(e)
	case *ast.Is:
		return x.is(e)
	case *ast.IsDistinct:
		eq, err := x.scalar(e.Pos, "<=>", e.L, e.R)
		if err != nil || e.Not {
			return eq, err
		}
		return x.apply(e.Pos, "not", eq)
	case *ast.Trim:
		return x.trim(e)
	case *ast.Subquery:
		return x.scalarQuery(e)
	case *ast.Exists:
		return x.existsValue(e)
	case *ast.Quantified:
		return x.quantified(e)
	case *ast.Lambda:
		return nil, ast.Errorf(e.Pos, "a lambda can only be an argument of a function such as transform")
	case *ast.TableArg:
		return nil, ast.Errorf(e.Pos, "TABLE can only be an argument of a table function such as TUMBLE")
	case *ast.Descriptor:
		return nil, ast.Errorf(e.Pos, "DESCRIPTOR can only be an argument of a table function such as TUMBLE")
	case *ast.NamedArg:
		return nil, ast.Errorf(e.Pos, "this function takes its arguments by position, not by name")
	case *ast.AliasArg:
		return nil, ast.Errorf(e.Name.Pos, "only the arguments of struct can have names")
	default:
		return nil, unsupported(e.Position(), ast.SQL(e))
	}
}

func (x *exprBinder) between(e *ast.Between) (expr.Expr, error) {
	bound, err := x.list([]ast.Expr{e.X, e.Lo, e.Hi})
	if err != nil {
		return nil, err
	}
	lo, err := x.apply(e.Pos, ">=", bound[0], bound[1])
	if err != nil {
		return nil, err
	}
	hi, err := x.apply(e.Pos, "<=", bound[0], bound[2])
	if err != nil {
		return nil, err
	}
	both, err := x.apply(e.Pos, "and", lo, hi)
	return x.negated(e.Pos, e.Not, both, err)
}

func (x *exprBinder) in(e *ast.In) (expr.Expr, error) {
	if e.Query != nil {
		return x.inValue(e)
	}
	arg, err := x.bind(e.X)
	if err != nil {
		return nil, err
	}
	list, err := x.list(e.List)
	if err != nil {
		return nil, err
	}
	for i := range list {
		list[i] = x.b.constant(list[i], arg.Type())
	}
	out, err := functions.NewIn(arg, list, e.Not)
	return out, at(e.Pos, err)
}

// constant turns a string constant that is compared with a time into that
// time, in the session's zone; anything else stays.
func (b *binder) constant(e expr.Expr, dt arrow.DataType) expr.Expr {
	e = b.fold(e)
	l, ok := e.(*expr.Literal)
	if !ok || l.DT.ID() != arrow.STRING || dt.ID() != arrow.TIMESTAMP && dt.ID() != arrow.DATE32 {
		return e
	}
	return b.fold(&expr.Cast{Arg: l, DT: dt})
}

func (x *exprBinder) is(e *ast.Is) (expr.Expr, error) {
	name := map[string]string{"NULL": "null", "UNKNOWN": "null", "TRUE": "true", "FALSE": "false"}[e.What]
	v, err := x.bind(e.X)
	if err != nil {
		return nil, err
	}
	if id := v.Type().ID(); e.What != "NULL" && id != arrow.BOOL && id != arrow.NULL {
		return nil, ast.Errorf(e.Pos, "IS %s needs a BOOLEAN, found %s", e.What, expr.TypeName(v.Type()))
	}
	if e.Not {
		return x.apply(e.Pos, "is_not_"+name, v)
	}
	return x.apply(e.Pos, "is_"+name, v)
}

// like binds LIKE, ILIKE and RLIKE; ANY and ALL over several patterns become OR
// and AND.
func (x *exprBinder) like(e *ast.Like) (expr.Expr, error) {
	name := strings.ToLower(e.Op)
	if e.Quantifier == "" {
		args := []ast.Expr{e.X, e.Pattern}
		if e.Escape != nil {
			args = append(args, e.Escape)
		}
		v, err := x.scalar(e.Pos, name, args...)
		return x.negated(e.Pos, e.Not, v, err)
	}
	arg, err := x.bind(e.X)
	if err != nil {
		return nil, err
	}
	var each []expr.Expr
	for _, p := range e.List {
		pat, err := x.bind(p)
		if err != nil {
			return nil, err
		}
		// NOT LIKE ANY is true where one pattern does not match.
		v, err := x.apply(e.Pos, name, arg, pat)
		if v, err = x.negated(e.Pos, e.Not, v, err); err != nil {
			return nil, err
		}
		each = append(each, v)
	}
	return x.apply(e.Pos, map[string]string{"ANY": "or", "ALL": "and"}[e.Quantifier], each...)
}

func (x *exprBinder) trim(e *ast.Trim) (expr.Expr, error) {
	name := map[string]string{"BOTH": "btrim", "LEADING": "ltrim", "TRAILING": "rtrim"}[e.Where]
	if e.Chars == nil {
		return x.scalar(e.Pos, name, e.X)
	}
	if name == "btrim" {
		return x.scalar(e.Pos, name, e.X, e.Chars)
	}
	return x.scalar(e.Pos, name, e.Chars, e.X) // ltrim and rtrim take the characters first
}
