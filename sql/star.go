package sql

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// starColumns lists what a star stands for in a scope: columns of its tables, the
// fields of a column that is a STRUCT, or columns of a query around.
func (x *exprBinder) starColumns(star *ast.Star) ([]scopeCol, error) {
	if cols := x.sc.star(star.Qualifier); len(cols) > 0 {
		return cols, nil
	}
	if star.Qualifier != nil {
		if cols, err := x.starFields(star); cols != nil || err != nil {
			return cols, err
		}
		if cols := x.b.outerStar(star); cols != nil {
			return cols, nil
		}
	}
	if star.Qualifier == nil {
		return nil, ast.Errorf(star.Pos, "* needs a FROM")
	}
	err := ast.Errorf(star.Pos, "there is no table %q here", dotted(star.Qualifier))
	if near := ast.Nearest(star.Qualifier[len(star.Qualifier)-1].Name, x.sc.tables()); near != "" {
		return nil, err.WithHint("did you mean %q?", near)
	}
	return nil, err
}

// starFields expands s.* where s is a STRUCT; nil if it is no column.
func (x *exprBinder) starFields(star *ast.Star) ([]scopeCol, error) {
	i, used, err := x.sc.lookup(star.Qualifier)
	if i < 0 || err != nil {
		return nil, err
	}
	base, err := x.fields(x.reference(star.Pos, i), star.Qualifier[used:])
	if err != nil {
		return nil, err
	}
	st, ok := base.Type().(*arrow.StructType)
	if !ok {
		return nil, ast.Errorf(star.Pos, "%s.* needs a table or a STRUCT, but it is a column of type %s", dotted(star.Qualifier), expr.TypeName(base.Type()))
	}
	cols := make([]scopeCol, st.NumFields())
	for i, f := range st.Fields() {
		cols[i] = scopeCol{name: f.Name, e: field(base, st, i)}
	}
	return cols, nil
}

// outerStar expands a star over the nearest query around that has such a table.
func (b *binder) outerStar(star *ast.Star) []scopeCol {
	for i := len(b.outer) - 1; i >= 0; i-- {
		f := b.outer[i]
		if f.lateral {
			continue
		}
		var out []scopeCol
		for at, c := range f.sc.cols {
			if c.starless || !c.under(star.Qualifier) {
				continue
			}
			out = append(out, scopeCol{name: c.name, e: b.paramOf(f, star.Pos, at, c.name)})
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// starItems expands a star with its EXCEPT, REPLACE and RENAME into items.
func (sel *selection) starItems(star *ast.Star) ([]item, error) {
	x := &exprBinder{b: sel.b, sc: sel.sc, clause: "the select list"}
	cols, err := x.starColumns(star)
	if err != nil {
		return nil, err
	}
	l := &starList{x: x, star: star, used: map[string]bool{}}
	var out []item
	for _, c := range cols {
		it, keep, err := l.item(c)
		if err != nil {
			return nil, err
		}
		if keep {
			out = append(out, it)
		}
	}
	return out, l.unused()
}

// starList changes the columns of a star, and remembers which of its names were found.
type starList struct {
	x    *exprBinder
	star *ast.Star
	used map[string]bool
}

func (l *starList) is(id ast.Ident, name string) bool {
	if !strings.EqualFold(id.Name, name) {
		return false
	}
	l.used[strings.ToLower(id.Name)] = true
	return true
}

func (l *starList) item(c scopeCol) (item, bool, error) {
	for _, ex := range l.star.Except {
		if l.is(ex, c.name) {
			return item{}, false, nil
		}
	}
	for _, r := range l.star.Replace {
		if l.is(*r.Alias, c.name) {
			return item{ast: r.Expr, name: c.name, named: true}, true, nil
		}
	}
	e := c.e
	if col, ok := e.(*expr.Column); ok {
		d := *col
		l.x.b.at[&d] = l.star.Pos
		e = &d
	}
	for _, n := range l.star.Fields {
		path, ok := c.path(n.Parts)
		if !ok {
			continue
		}
		l.used[strings.ToLower(n.String())] = true
		if len(path) == 0 {
			return item{}, false, nil
		}
		var err error
		if e, err = l.x.without(e, path); err != nil {
			return item{}, false, err
		}
	}
	for _, r := range l.star.Rename {
		if l.is(r.From, c.name) {
			return item{name: r.To.Name, named: true, e: e}, true, nil
		}
	}
	return item{name: c.name, e: e}, true, nil
}

// path says whether a name of several parts is this column, and returns the parts
// that are fields in it.
func (c *scopeCol) path(parts []ast.Ident) ([]ast.Ident, bool) {
	for q := min(len(parts)-1, 3); q >= 0; q-- {
		if strings.EqualFold(parts[q].Name, c.name) && (q == 0 || c.under(parts[:q])) {
			return parts[q+1:], true
		}
	}
	return nil, false
}

// without makes a struct again that lacks a field.
func (x *exprBinder) without(e expr.Expr, path []ast.Ident) (expr.Expr, error) {
	st, ok := e.Type().(*arrow.StructType)
	if !ok {
		return nil, ast.Errorf(path[0].Pos, "there is no field %q: the value is a %s, not a STRUCT", path[0].Name, expr.TypeName(e.Type()))
	}
	at := fieldIndex(st, path[0].Name)
	if at < 0 {
		return nil, ast.Errorf(path[0].Pos, "there is no field %q in %s", path[0].Name, expr.TypeName(st))
	}
	var args []expr.Expr
	for i, f := range st.Fields() {
		v := field(e, st, i)
		if i == at {
			if len(path) == 1 {
				continue
			}
			var err error
			if v, err = x.without(v, path[1:]); err != nil {
				return nil, err
			}
		}
		args = append(args, expr.Text(f.Name), v)
	}
	if len(args) == 0 {
		return nil, ast.Errorf(path[0].Pos, "without %q nothing is left of %s", path[0].Name, expr.TypeName(st)).WithHint("leave the whole column out")
	}
	made, err := x.apply(path[0].Pos, "named_struct", args...)
	if err != nil || !e.Nullable() {
		return made, err
	}
	null, err := x.apply(path[0].Pos, "is_null", e)
	if err != nil {
		return nil, err
	}
	return functions.NewCase([]expr.When{{Cond: null, Then: expr.NullOf(made.Type())}}, made)
}

// unused refuses a name that is no column of the star.
func (l *starList) unused() error {
	names := append([]ast.Ident(nil), l.star.Except...)
	for _, r := range l.star.Replace {
		names = append(names, *r.Alias)
	}
	for _, r := range l.star.Rename {
		names = append(names, r.From)
	}
	for _, id := range names {
		if !l.used[strings.ToLower(id.Name)] {
			return unknownColumn(l.x.sc, []ast.Ident{id})
		}
	}
	for _, n := range l.star.Fields {
		if !l.used[strings.ToLower(n.String())] {
			return unknownColumn(l.x.sc, n.Parts)
		}
	}
	return nil
}

// boundArg is an argument that is bound already: a column that a star among the
// arguments stands for. As a column it prints its name.
type boundArg struct {
	*ast.Column
	e expr.Expr
}

// Stands implements ast.Standin.
func (a boundArg) Stands() ast.Expr { return a.Column }

// spread expands the stars among the arguments of a call: struct(*), coalesce(t.*).
func (x *exprBinder) spread(args []ast.Expr) ([]ast.Expr, error) {
	some := false
	for _, a := range args {
		_, ok := a.(*ast.Star)
		some = some || ok
	}
	if !some {
		return args, nil
	}
	var out []ast.Expr
	for _, a := range args {
		star, ok := a.(*ast.Star)
		if !ok {
			out = append(out, a)
			continue
		}
		cols, err := x.starColumns(star)
		if err != nil {
			return nil, err
		}
		l := &starList{x: x, star: star, used: map[string]bool{}}
		for _, c := range cols {
			it, keep, err := l.item(c)
			switch {
			case err != nil:
				return nil, err
			case !keep:
			case it.ast != nil:
				out = append(out, it.ast)
			default:
				out = append(out, boundArg{&ast.Column{Pos: star.Pos, Parts: []ast.Ident{{Pos: star.Pos, Name: it.name}}}, it.e})
			}
		}
		if err := l.unused(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
