package sql

import (
	"strings"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// Definitions is a Catalog with functions and variables that statements define.
type Definitions interface {
	Catalog
	// Function is a function by CREATE FUNCTION; nil if there is none of that name.
	Function(name string) *ast.CreateFunction
	// Variable is the value of a variable of the session; nil if there is none.
	Variable(name string) *expr.Literal
}

// macro is the parameters of an SQL function, where its body is bound in place
// of a call: the body sees them and nothing of what is around the call.
type macro struct {
	def  *ast.CreateFunction
	args []expr.Expr
}

func (m *macro) find(name string) expr.Expr {
	for i, p := range m.def.Params {
		if strings.EqualFold(p.Name.Name, name) {
			return m.args[i]
		}
	}
	return nil
}

// lookup finds a parameter by its name, perhaps with the function's before it, and
// says how many parts of the name that took.
func (m *macro) lookup(parts []ast.Ident) (expr.Expr, int) {
	if len(parts) > 1 && strings.EqualFold(parts[0].Name, m.def.Name.Parts[len(m.def.Name.Parts)-1].Name) {
		if e := m.find(parts[1].Name); e != nil {
			return e, 2
		}
	}
	return m.find(parts[0].Name), 1
}

// function is the SQL function of a name, nil if there is none.
func (b *binder) function(name ast.Name) *ast.CreateFunction {
	if d, ok := b.cat.(Definitions); ok {
		return d.Function(name.Parts[len(name.Parts)-1].Name)
	}
	return nil
}

// variable is the value of a session's variable, nil if there is none; used says how
// many parts of the name are its own.
func (b *binder) variable(parts []ast.Ident) (v *expr.Literal, used int) {
	d, ok := b.cat.(Definitions)
	if !ok {
		return nil, 0
	}
	n := 0
	if len(parts) > n+1 && strings.EqualFold(parts[n].Name, "system") {
		n++
	}
	if len(parts) > n+1 && strings.EqualFold(parts[n].Name, "session") {
		n++
	}
	return d.Variable(parts[n].Name), n + 1
}

// enterMacro starts with the body of a function, which may not call itself.
func (b *binder) enterMacro(pos ast.Pos, name string) error {
	for _, n := range b.macros {
		if strings.EqualFold(n, name) {
			return ast.Errorf(pos, "the function %s calls itself", name)
		}
	}
	b.macros = append(b.macros, name)
	return nil
}

func (b *binder) leaveMacro() { b.macros = b.macros[:len(b.macros)-1] }

// inFunction places an error at the call in the user's text: its own place is one
// in the text of the function.
func (b *binder) inFunction(pos ast.Pos, name string, err error) error {
	if len(b.macros) > 1 {
		return err
	}
	return ast.Errorf(pos, "in the function %s: %s", name, err.Error())
}

// macroOf binds the arguments of a call of an SQL function.
func (x *exprBinder) macroOf(pos ast.Pos, def *ast.CreateFunction, args []ast.Expr) (*macro, error) {
	name := def.Name.String()
	given := make([]ast.Expr, len(def.Params))
	for i, a := range args {
		at := i
		if n, ok := a.(*ast.NamedArg); ok {
			at, a = -1, n.X
			for k, p := range def.Params {
				if strings.EqualFold(p.Name.Name, n.Name.Name) {
					at = k
				}
			}
			if at < 0 || given[at] != nil {
				return nil, ast.Errorf(n.Pos, "%s has no argument %q, or it is given twice", name, n.Name.Name)
			}
		}
		if at >= len(given) {
			return nil, ast.Errorf(a.Position(), "%s takes %d arguments, not %d", name, len(given), len(args))
		}
		given[at] = a
	}
	m := &macro{def: def, args: make([]expr.Expr, len(given))}
	for i, p := range def.Params {
		from := x
		if given[i] == nil {
			if given[i] = p.Default; p.Default == nil {
				return nil, ast.Errorf(pos, "%s takes %d arguments: %s is missing", name, len(given), p.Name.Name)
			}
			from = &exprBinder{b: x.b, sc: emptyScope(), clause: "DEFAULT"}
		}
		v, err := from.bind(given[i])
		if err != nil {
			return nil, err
		}
		dt, err := TypeOf(p.Type)
		if err == nil {
			m.args[i], err = cast(given[i].Position(), v, dt, false)
		}
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

// callMacro binds the body of an SQL function in place of its call.
func (x *exprBinder) callMacro(c *ast.Call, def *ast.CreateFunction) (expr.Expr, error) {
	name := def.Name.String()
	if def.Table {
		return nil, ast.Errorf(c.Pos, "%s returns a table: it stands in FROM", name)
	}
	if c.Distinct || c.Filter != nil || c.WithinGroup != nil || c.OrderBy != nil || c.Nulls != "" || c.Over != nil {
		return nil, ast.Errorf(c.Pos, "%s is not an aggregate function: DISTINCT, FILTER, ORDER BY and OVER have no meaning for it", name)
	}
	m, err := x.macroOf(c.Pos, def, c.Args)
	if err != nil {
		return nil, err
	}
	if err := x.b.enterMacro(c.Pos, name); err != nil {
		return nil, err
	}
	defer x.b.leaveMacro()
	body := *x
	body.macro, body.lambda, body.alias, body.aliasFirst, body.ungrouped = m, nil, nil, false, nil
	body.aggs, body.windows, body.group = nil, nil, nil
	v, err := body.bind(def.Body)
	if err == nil && def.Returns != nil {
		dt, bad := TypeOf(def.Returns)
		if err = bad; err == nil {
			v, err = cast(c.Pos, v, dt, false)
		}
	}
	if err != nil {
		return nil, x.b.inFunction(c.Pos, name, err)
	}
	return v, nil
}

// tableMacro binds an SQL function in FROM: its query, for one row of arguments.
func (b *binder) tableMacro(t *ast.TableFunc, def *ast.CreateFunction) (*scope, error) {
	if !def.Table {
		return nil, ast.Errorf(t.Pos, "%s returns a value, not a table", def.Name.String())
	}
	one := emptyScope()
	x := &exprBinder{b: b, sc: one, clause: "FROM"}
	m, err := x.macroOf(t.Pos, def, t.Call.Args)
	if err != nil {
		return nil, err
	}
	if err := b.enterMacro(t.Pos, def.Name.String()); err != nil {
		return nil, err
	}
	defer b.leaveMacro()
	x.macro = m
	sub, params, err := x.subplan(def.Query)
	if err != nil {
		return nil, b.inFunction(t.Pos, def.Name.String(), err)
	}
	if len(params) > 0 {
		sub = newScope(&logical.Apply{Left: one.node, Right: sub.node, Kind: logical.Inner, Params: params}, "")
	}
	if def.Columns == nil {
		return sub.renamed(def.Name.Parts[len(def.Name.Parts)-1].Name, nil, t.Pos)
	}
	if len(def.Columns) != len(sub.cols) {
		return nil, ast.Errorf(t.Pos, "%s returns %d columns, its query has %d", def.Name.String(), len(def.Columns), len(sub.cols))
	}
	es, names := make([]expr.Expr, len(sub.cols)), make([]string, len(sub.cols))
	for i, c := range def.Columns {
		dt, err := TypeOf(c.Type)
		if err != nil {
			return nil, err
		}
		if es[i], err = cast(t.Pos, sub.cols[i].e, dt, false); err != nil {
			return nil, err
		}
		names[i] = c.Name.Name
	}
	return newScope(project(sub.node, es, names), def.Name.Parts[len(def.Name.Parts)-1].Name), nil
}

// CheckFunction binds the body of a function with NULL for its arguments, to
// find faults where it is defined.
func CheckFunction(cat Catalog, def *ast.CreateFunction, opts Options) error {
	b := newBinder(cat, opts)
	var args []ast.Expr
	for _, p := range def.Params {
		args = append(args, &ast.Literal{Pos: p.Name.Pos, Kind: ast.LitNull, Text: "NULL"})
	}
	c := &ast.Call{Pos: def.Pos, Name: def.Name, Args: args}
	if def.Table {
		_, err := b.tableMacro(&ast.TableFunc{Pos: def.Pos, Call: c}, def)
		return err
	}
	aggs, err := newAnalytics(nil)
	if err != nil {
		return err
	}
	x := &exprBinder{b: b, sc: emptyScope(), clause: "RETURN", scalars: &scalars{}, windows: aggs}
	_, err = x.callMacro(c, def)
	return err
}
