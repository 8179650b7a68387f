package sql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// generators are the functions that make rows of the elements of a value.
var generators = map[string]logical.Generate{
	"explode": {}, "explode_outer": {Outer: true},
	"posexplode": {Pos: logical.PosFirst}, "posexplode_outer": {Pos: logical.PosFirst, Outer: true},
	"inline": {Inline: true}, "inline_outer": {Inline: true, Outer: true},
	"unnest": {Inline: true}, "stack": {Inline: true}, "json_tuple": {Inline: true},
}

// generatorName returns the name of a generator call in lower case, or "".
func generatorName(c *ast.Call) string {
	name := strings.ToLower(c.Name.Parts[len(c.Name.Parts)-1].Name)
	if _, ok := generators[name]; !ok || len(c.Name.Parts) > 1 {
		return ""
	}
	return name
}

// generator binds a call to the Generate that it stands for, without its input.
func (x *exprBinder) generator(c *ast.Call) (*logical.Generate, error) {
	name := generatorName(c)
	g := generators[name]
	if c.Distinct || c.OrderBy != nil || c.Filter != nil || c.Over != nil || c.WithinGroup != nil || c.Nulls != "" {
		return nil, ast.Errorf(c.Pos, "%s takes arguments alone", name)
	}
	list := slices.Clone(c.Args)
	for i, a := range list {
		if n, ok := a.(*ast.NamedArg); ok && len(list) == 1 && (strings.EqualFold(n.Name.Name, "collection") || strings.EqualFold(n.Name.Name, "input")) {
			list[i] = n.X
		}
	}
	args, err := x.list(list)
	if err != nil {
		return nil, err
	}
	switch {
	case name == "stack":
		if args, err = stacked(args); err != nil {
			return nil, at(c.Pos, err)
		}
	case name == "json_tuple":
		tuple, err := functions.Scalar(name, args)
		if err != nil {
			return nil, at(c.Pos, err)
		}
		if tuple, err = functions.Scalar("array", []expr.Expr{tuple}); err != nil {
			return nil, at(c.Pos, err)
		}
		args = []expr.Expr{tuple}
	case len(args) == 0 || len(args) > 1 && name != "unnest":
		return nil, ast.Errorf(c.Pos, "%s takes one argument, an ARRAY or a MAP", name)
	}
	g.Args = args
	for i, a := range args {
		fields, err := elementFields(c.Args[min(i, len(c.Args)-1)].Position(), name, a, g.Inline)
		if err != nil {
			return nil, err
		}
		g.Out = append(g.Out, fields...)
	}
	if len(args) > 1 {
		for i := range g.Out {
			g.Out[i].Name = fmt.Sprintf("col%d", i+1)
		}
	}
	if g.Pos == logical.PosFirst {
		g.Out = append([]arrow.Field{{Name: "pos", Type: expr.TypeInt32, Nullable: g.Outer}}, g.Out...)
	}
	return &g, nil
}

// elementFields names the columns that one argument's elements become.
func elementFields(pos ast.Pos, name string, a expr.Expr, inline bool) ([]arrow.Field, error) {
	var elem arrow.DataType
	switch t := a.Type().(type) {
	case *arrow.MapType:
		if name != "inline" && name != "inline_outer" {
			return []arrow.Field{{Name: "key", Type: t.KeyType(), Nullable: true}, {Name: "value", Type: t.ItemType(), Nullable: true}}, nil
		}
	case arrow.ListLikeType:
		elem = t.Elem()
	}
	st, isStruct := elem.(*arrow.StructType)
	switch {
	case elem == nil, strings.HasPrefix(name, "inline") && !isStruct:
		want := "an ARRAY or a MAP"
		if strings.HasPrefix(name, "inline") {
			want = "an ARRAY of STRUCT"
		}
		return nil, ast.Errorf(pos, "%s needs %s, found %s", name, want, expr.TypeName(a.Type()))
	case !inline || !isStruct:
		return []arrow.Field{{Name: "col", Type: elem, Nullable: true}}, nil
	}
	out := make([]arrow.Field, st.NumFields())
	for i, f := range st.Fields() {
		out[i] = arrow.Field{Name: f.Name, Type: f.Type, Nullable: true}
	}
	return out, nil
}

// stacked makes stack(n, v1, ..) an array of n structs; what is missing in the
// last row is NULL.
func stacked(args []expr.Expr) ([]expr.Expr, error) {
	if len(args) < 2 {
		return nil, fmt.Errorf("stack takes a number of rows and values")
	}
	lit, ok := args[0].(*expr.Literal)
	var n int64
	if ok {
		n, ok = lit.Value.(int64)
	}
	if !ok || n < 1 || n > int64(len(args)) {
		return nil, fmt.Errorf("stack needs a constant number of rows from 1 to %d", len(args)-1)
	}
	values, rows := args[1:], int(n)
	width := (len(values) + rows - 1) / rows
	cols := make([][]expr.Expr, width)
	for w := range width {
		for r := range rows {
			v := expr.Expr(expr.NullOf(arrow.Null))
			if i := r*width + w; i < len(values) {
				v = values[i]
			}
			cols[w] = append(cols[w], v)
		}
		var err error
		if cols[w], _, err = functions.Coerce("stack", cols[w]); err != nil {
			return nil, err
		}
	}
	structs := make([]expr.Expr, rows)
	for r := range rows {
		var fields []expr.Expr
		for w := range width {
			fields = append(fields, expr.Text(fmt.Sprintf("col%d", w)), cols[w][r])
		}
		var err error
		if structs[r], err = functions.Scalar("named_struct", fields); err != nil {
			return nil, err
		}
	}
	arr, err := functions.Scalar("array", structs)
	return []expr.Expr{arr}, err
}

// addGenerate puts a Generate over a scope and names its columns.
func addGenerate(sc *scope, g *logical.Generate, table string, names []ast.Ident, pos ast.Pos) error {
	if names != nil && len(names) != len(g.Out) {
		return ast.Errorf(pos, "the function makes %d columns, but %d names are given", len(g.Out), len(names))
	}
	n := sc.node.Schema().NumFields()
	for i := range names {
		g.Out[i].Name = names[i].Name
	}
	if g.Outer {
		for i := range g.Out {
			g.Out[i].Nullable = true
		}
	}
	g.Input = sc.node
	sc.node = g
	for i, f := range g.Out {
		sc.add(scopeCol{table: table, name: f.Name, e: columnOf(n+i, f)})
	}
	return nil
}

// lateralView binds LATERAL VIEW [OUTER] f(..) t AS a, b.
func (b *binder) lateralView(t *ast.LateralView) (*scope, error) {
	sc, err := b.table(t.Input)
	if err != nil {
		return nil, err
	}
	if generatorName(t.Call) == "" {
		return nil, ast.Errorf(t.Call.Pos, "LATERAL VIEW takes a function such as explode, not %q", t.Call.Name.String())
	}
	g, err := (&exprBinder{b: b, sc: sc, clause: "LATERAL VIEW"}).generator(t.Call)
	if err != nil {
		return nil, err
	}
	g.Outer = g.Outer || t.Outer
	return sc, addGenerate(sc, g, t.Alias.Name, t.Columns, t.Pos)
}

// generatorTable recognises a generator in FROM, with its alias.
func generatorTable(t ast.Table) (f *ast.TableFunc, table string, names []ast.Ident) {
	if a, ok := t.(*ast.Aliased); ok {
		table, names, t = a.Alias.Name, a.Columns, a.Input
	}
	f, ok := t.(*ast.TableFunc)
	if !ok || generatorName(f.Call) == "" {
		return nil, "", nil
	}
	return f, table, names
}

// generatorFrom puts a generator of FROM over the tables to its left, whose
// columns it may use.
func (b *binder) generatorFrom(sc *scope, f *ast.TableFunc, table string, names []ast.Ident, outer bool) error {
	g, err := (&exprBinder{b: b, sc: sc, clause: "a table function"}).generator(f.Call)
	if err != nil {
		return err
	}
	g.Outer = g.Outer || outer
	if f.Ordinality {
		if g.Pos != logical.NoPos {
			return ast.Errorf(f.Pos, "%s numbers its rows already", f.Call.Name.String())
		}
		g.Pos = logical.Ordinality
		g.Out = append(g.Out, arrow.Field{Name: "ordinality", Type: expr.TypeInt32, Nullable: g.Outer})
	}
	return addGenerate(sc, g, table, names, f.Pos)
}

// itemGenerator binds a generator in a select list. There is one at most, and
// it stands alone: what would two of them side by side mean?
func (sel *selection) itemGenerator(it ast.SelectItem, c *ast.Call) error {
	for _, have := range sel.items {
		if have.generated {
			return ast.Errorf(c.Pos, "a select list has room for one function such as explode").WithHint("use LATERAL VIEW for the other")
		}
	}
	if sel.s.GroupBy != nil {
		return ast.Errorf(c.Pos, "%s cannot stand beside GROUP BY", c.Name.String()).WithHint("use it in a subquery")
	}
	g, err := (&exprBinder{b: sel.b, sc: sel.sc, clause: "the select list"}).generator(c)
	if err != nil {
		return err
	}
	names := it.Aliases
	if it.Alias != nil {
		names = []ast.Ident{*it.Alias}
	}
	n := len(sel.sc.cols)
	if err := addGenerate(sel.sc, g, "", names, c.Pos); err != nil {
		return err
	}
	for i := n; i < len(sel.sc.cols); i++ {
		sc := &sel.sc.cols[i]
		sc.starless = true
		sel.items = append(sel.items, item{name: sc.name, named: names != nil, e: sc.e, generated: true})
	}
	return nil
}

// rangeTable binds range(end), range(start, end[, step]) and generate_series,
// whose end is part of it.
func (b *binder) rangeTable(t *ast.TableFunc, name string) (*scope, error) {
	least, most := 1, 4
	column := "id"
	if name == "GENERATE_SERIES" {
		least, most, column = 2, 3, "generate_series"
	}
	if len(t.Call.Args) < least || len(t.Call.Args) > most {
		return nil, ast.Errorf(t.Pos, "%s takes whole numbers: %s(start, end, step)", name, strings.ToLower(name))
	}
	var v []int64
	for _, a := range t.Call.Args {
		x := &exprBinder{b: b, sc: emptyScope(), clause: name}
		e, err := x.bind(a)
		if err != nil {
			return nil, err
		}
		lit, ok := b.computed(e).(*expr.Literal)
		n, isInt := int64(0), false
		if ok && lit.DT.ID() >= arrow.INT8 && lit.DT.ID() <= arrow.INT64 {
			n, isInt = lit.Value.(int64)
		}
		if !isInt {
			return nil, ast.Errorf(a.Position(), "%s needs constant whole numbers, found %s", name, short(ast.SQL(a)))
		}
		v = append(v, n)
	}
	r := &logical.Range{Start: 0, End: v[0], Step: 1, Name: column}
	if len(v) > 1 {
		r.Start, r.End = v[0], v[1]
	}
	if len(v) > 2 {
		r.Step = v[2]
	}
	if r.Step == 0 {
		return nil, ast.Errorf(t.Pos, "%s: the step must not be 0", name)
	}
	if name == "GENERATE_SERIES" {
		one := int64(1)
		if r.Step < 0 {
			one = -1
		}
		if r.End+one > r.End != (one > 0) {
			return nil, ast.Errorf(t.Pos, "%s: the end is out of range", name)
		}
		r.End += one
	}
	return newScope(r, strings.ToLower(name)), nil
}
