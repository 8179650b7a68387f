package sluice

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
	"github.com/sluice-stream/sluice/sql/parser"
)

// variable is a variable of the session: DECLARE VARIABLE.
type variable struct {
	value    *expr.Literal
	fallback *expr.Literal // what SET VAR .. = DEFAULT gives
}

// Function implements sql.Definitions.
func (c *catalog) Function(name string) *ast.CreateFunction {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.mu.functions[strings.ToLower(name)]
}

// Variable implements sql.Definitions.
func (c *catalog) Variable(name string) *expr.Literal {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if v, ok := c.mu.variables[strings.ToLower(name)]; ok {
		return v.value
	}
	return nil
}

// ownName is a name without its schema, as functions and variables are known.
func ownName(n ast.Name) string { return strings.ToLower(n.Parts[len(n.Parts)-1].Name) }

func (s *Session) createFunction(st *ast.CreateFunction) (*Result, error) {
	name := ownName(st.Name)
	if _, builtin := functions.Lookup(name); builtin {
		return nil, ast.Errorf(st.Name.Pos, "%q is a built-in function: give yours another name", name)
	}
	if err := sql.CheckFunction(s.cat, st, s.bindOptions()); err != nil {
		return nil, refused(err)
	}
	c := s.cat
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, taken := c.mu.functions[name]; taken && !st.OrReplace {
		if st.IfNotExists {
			return message("function %s exists", name), nil
		}
		return nil, s.located(nameTaken(name), st.Name.Pos)
	}
	_, scalar := c.mu.scalars[name]
	if _, aggregate := c.mu.aggregates[name]; scalar || aggregate {
		return nil, ast.Errorf(st.Name.Pos, "%q is a function of the program already", name)
	}
	c.mu.functions[name] = st
	return message("function %s created", name), nil
}

// dropDefinition is DROP FUNCTION and DROP VARIABLE.
func (s *Session) dropDefinition(st *ast.Drop) (*Result, error) {
	c, name, kind := s.cat, ownName(st.Name), strings.ToLower(st.Kind)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, isFunction := c.mu.functions[name]
	_, isVariable := c.mu.variables[name]
	switch {
	case kind == "function" && isFunction:
		delete(c.mu.functions, name)
	case kind == "variable" && isVariable:
		delete(c.mu.variables, name)
	case st.IfExists:
		return message("there is no %s %s", kind, name), nil
	default:
		return nil, ast.Errorf(st.Name.Pos, "there is no %s %q", kind, name)
	}
	return message("%s dropped", name), nil
}

// values runs a query of at most one row and returns its values, NULL for no row.
func (s *Session) values(ctx context.Context, q *ast.Query, opts sql.Options) ([]*expr.Literal, error) {
	n, err := sql.BindQuery(s.cat, q, opts)
	if err != nil {
		return nil, refused(err)
	}
	rows, err := s.runBatch(ctx, n)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := make([]*expr.Literal, n.Schema().NumFields())
	for i, f := range n.Schema().Fields() {
		out[i] = expr.NullOf(f.Type)
	}
	for seen := int64(0); ; {
		rec, err := rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if seen += rec.NumRows(); seen > 1 {
			err = ast.Errorf(q.Pos, "the query gives more than one row")
		} else if rec.NumRows() == 1 {
			err = literals(rec, out, q.Pos)
		}
		rec.Release()
		if err != nil {
			return nil, err
		}
	}
}

// literals reads the first row of a batch.
func literals(rec arrow.RecordBatch, out []*expr.Literal, pos ast.Pos) error {
	for i, col := range rec.Columns() {
		l, ok := expr.LiteralOf(col, 0)
		if !ok {
			return ast.Errorf(pos, "a variable cannot hold a value of type %s", expr.TypeName(col.DataType()))
		}
		switch v := l.Value.(type) { // the batch is released
		case string:
			l.Value = strings.Clone(v)
		case []byte:
			l.Value = bytes.Clone(v)
		}
		out[i] = l
	}
	return nil
}

// valueOf computes one expression, cast to a type if there is one.
func (s *Session) valueOf(ctx context.Context, e ast.Expr, t *ast.Type, opts sql.Options) (*expr.Literal, error) {
	if t != nil {
		e = &ast.Cast{Pos: e.Position(), X: e, Type: t}
	}
	q := &ast.Query{Pos: e.Position(), Body: &ast.Select{Pos: e.Position(), Items: []ast.SelectItem{{Expr: e}}}}
	v, err := s.values(ctx, q, opts)
	if err != nil {
		return nil, err
	}
	return v[0], nil
}

func (s *Session) declareVariable(ctx context.Context, st *ast.DeclareVariable) (*Result, error) {
	e := st.Default
	if e == nil {
		e = &ast.Literal{Pos: st.Pos, Kind: ast.LitNull, Text: "NULL"}
	}
	v, err := s.valueOf(ctx, e, st.Type, s.bindOptions())
	if err != nil {
		return nil, err
	}
	c := s.cat
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range st.Names {
		if _, taken := c.mu.variables[ownName(n)]; taken && !st.OrReplace {
			return nil, s.located(batch.UserErrorf("the variable %q exists already; use DECLARE OR REPLACE", ownName(n)), n.Pos)
		}
	}
	for _, n := range st.Names {
		c.mu.variables[ownName(n)] = &variable{value: v, fallback: v}
	}
	return message("variable %s declared", ownName(st.Names[0])), nil
}

func (s *Session) setVariable(ctx context.Context, st *ast.SetVariable) (*Result, error) {
	vals := make([]*expr.Literal, len(st.Names))
	if st.Query != nil {
		var err error
		if vals, err = s.values(ctx, st.Query, s.bindOptions()); err != nil {
			return nil, err
		}
	}
	for i, e := range st.Values {
		if e == nil {
			continue
		}
		var err error
		if vals[i], err = s.valueOf(ctx, e, nil, s.bindOptions()); err != nil {
			return nil, err
		}
	}
	return message("variable %s set", ownName(st.Names[0])), s.assign(st.Pos, st.Names, vals)
}

// assign gives variables values, cast to their types; nil is the default.
func (s *Session) assign(pos ast.Pos, names []ast.Name, vals []*expr.Literal) error {
	if len(names) != len(vals) {
		return ast.Errorf(pos, "%d variables cannot take %d values", len(names), len(vals))
	}
	c := s.cat
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make([]*expr.Literal, len(vals))
	for i, n := range names {
		v, ok := c.mu.variables[ownName(n)]
		if !ok {
			return ast.Errorf(n.Pos, "there is no variable %q: DECLARE it first", ownName(n))
		}
		if next[i] = v.fallback; vals[i] == nil {
			continue
		}
		e, err := functions.NewCast(vals[i], v.value.DT, false)
		if err != nil {
			return ast.Errorf(n.Pos, "%s: %w", ownName(n), err)
		}
		if next[i], ok = sql.Constant(e, s.zone()); !ok {
			return ast.Errorf(n.Pos, "the value %s does not fit the variable %s, which is %s", vals[i], ownName(n), expr.TypeName(v.value.DT))
		}
	}
	for i, n := range names {
		c.mu.variables[ownName(n)].value = next[i]
	}
	return nil
}

// executeImmediate runs the one statement that a text holds.
func (s *Session) executeImmediate(ctx context.Context, st *ast.ExecuteImmediate) (*Result, error) {
	opts := s.bindOptions()
	if opts.Params != nil || opts.NamedParams != nil {
		return nil, ast.Errorf(st.Pos, "EXECUTE IMMEDIATE cannot stand inside another")
	}
	text, err := s.valueOf(ctx, st.Text, nil, opts)
	if err != nil {
		return nil, err
	}
	code, ok := text.Value.(string)
	if !ok {
		return nil, ast.Errorf(st.Text.Position(), "EXECUTE IMMEDIATE needs a text that is not NULL, found %s", text)
	}
	stmts, err := parser.Parse(code, s.parserOptions())
	if err != nil {
		return nil, ast.Errorf(st.Text.Position(), "in the text that is executed: %s", err.Error())
	}
	if len(stmts) != 1 {
		return nil, ast.Errorf(st.Text.Position(), "the text holds %d statements, not one", len(stmts))
	}
	opts.NamedParams = map[string]*expr.Literal{}
	for _, u := range st.Using {
		name := ""
		switch a := u.(type) {
		case *ast.AliasArg:
			u, name = a.X, a.Name.Name
		case *ast.Column:
			name = a.Parts[len(a.Parts)-1].Name
		}
		v, err := s.valueOf(ctx, u, nil, s.bindOptions())
		if err != nil {
			return nil, err
		}
		opts.Params = append(opts.Params, v)
		if name != "" {
			opts.NamedParams[name] = v
		}
	}
	if st.Into != nil {
		q, ok := stmts[0].(*ast.QueryStmt)
		if !ok {
			return nil, ast.Errorf(st.Pos, "INTO needs a query")
		}
		vals, err := s.values(ctx, q.Query, opts)
		if err != nil {
			return nil, err
		}
		return message("executed"), s.assign(st.Pos, st.Into, vals)
	}
	if q, ok := stmts[0].(*ast.QueryStmt); ok {
		return s.selectWith(ctx, q, opts)
	}
	if len(st.Using) > 0 {
		return nil, ast.Errorf(st.Pos, "USING gives values to a query alone")
	}
	if _, again := stmts[0].(*ast.ExecuteImmediate); again {
		return nil, ast.Errorf(st.Pos, "EXECUTE IMMEDIATE cannot stand inside another")
	}
	return s.execute(ctx, stmts[0])
}

var _ sql.Definitions = (*catalog)(nil)
