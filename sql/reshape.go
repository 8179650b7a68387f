package sql

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// multisetPlan combines two sides with their duplicates: the rows of both are
// counted together, and each distinct row comes out as often as the counts say.
func multisetPlan(q *ast.SetOp, ins []*scope) logical.Node {
	width := ins[0].node.Schema().NumFields()
	u := &logical.Union{}
	for side, sc := range ins {
		es, names := columnsAndNames(sc.node)
		l, r := int64(1-side), int64(side)
		u.In = append(u.In, &logical.Project{
			Input: sc.node, Exprs: append(es, expr.Int64(l), expr.Int64(r)), Names: append(names, "left", "right"),
		})
	}
	keys, names := columnsAndNames(u)
	agg := &logical.Aggregate{Input: u, Keys: keys[:width], Names: names[:width]}
	for _, k := range keys[width:] {
		call := must(functions.Aggregate("sum", []expr.Expr{k}, false))
		call.Name = "n"
		agg.Aggs = append(agg.Aggs, call)
	}
	counts := columnsFrom(agg, 0)[width:]
	var n expr.Expr
	if q.Op == "INTERSECT" {
		n = must(functions.Scalar("least", counts))
	} else {
		n = must(functions.Scalar("-", counts))
	}
	some := must(functions.Scalar(">", []expr.Expr{n, expr.Int64(0)}))
	times := must(functions.Scalar("array_repeat", []expr.Expr{expr.Bool(true), &expr.Cast{Arg: n, DT: expr.TypeInt32}}))
	g := &logical.Generate{
		Input: &logical.Filter{Input: agg, Cond: some}, Args: []expr.Expr{times},
		Out: []arrow.Field{{Name: "copy", Type: expr.TypeBool, Nullable: true}},
	}
	out := columnsFrom(g, 0)[:width]
	return &logical.Project{Input: g, Exprs: out, Names: names[:width]}
}

func columnsAndNames(n logical.Node) ([]expr.Expr, []string) {
	var names []string
	for _, f := range n.Schema().Fields() {
		names = append(names, f.Name)
	}
	return columnsFrom(n, 0), names
}

// must is for calls whose argument types are fixed here, so that they bind.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// sample binds TABLESAMPLE: a share of the rows drawn by a seed, or the first
// so many. The same rows come out when a batch runs again.
func (b *binder) sample(t *ast.Sample) (*scope, error) {
	sc, err := b.table(t.Input)
	if err != nil {
		return nil, err
	}
	if t.Unit == "ROWS" {
		n := &logical.Limit{Input: sc.node}
		if n.Count, err = b.count(t.Value, "TABLESAMPLE"); err != nil {
			return nil, err
		}
		sc.node = n
		return sc, nil
	}
	share, err := b.number(t.Value)
	if err != nil {
		return nil, err
	}
	of := 100.0
	if t.Unit == "BUCKET" {
		if of, err = b.number(t.OutOf); err != nil {
			return nil, err
		}
	}
	if of <= 0 || share < 0 || share > of {
		return nil, ast.Errorf(t.Value.Position(), "TABLESAMPLE needs a share between none and all of the rows")
	}
	var seed []expr.Expr
	fn := "rand"
	if t.Repeat != nil {
		fn = "sample_draw"
		s, err := b.count(t.Repeat, "REPEATABLE")
		if err != nil {
			return nil, err
		}
		seed = append(seed, expr.Int64(s))
	}
	draw, err := functions.Scalar(fn, seed)
	if err != nil {
		return nil, at(t.Pos, err)
	}
	cond, err := functions.Scalar("<", []expr.Expr{draw, &expr.Literal{Value: share / of, DT: expr.TypeDouble}})
	if err != nil {
		return nil, at(t.Pos, err)
	}
	sc.node = &logical.Filter{Input: sc.node, Cond: cond}
	return sc, nil
}

// number evaluates a constant number.
func (b *binder) number(e ast.Expr) (float64, error) {
	v, err := (&exprBinder{b: b, sc: emptyScope(), clause: "TABLESAMPLE"}).bind(e)
	if err == nil {
		v, err = cast(e.Position(), v, expr.TypeDouble, false)
	}
	if err != nil {
		return 0, err
	}
	if lit, ok := b.computed(v).(*expr.Literal); ok {
		if f, ok := lit.Value.(float64); ok {
			return f, nil
		}
	}
	return 0, ast.Errorf(e.Position(), "TABLESAMPLE needs a constant number, found %s", short(ast.SQL(e)))
}

// notNullWhenEmpty are aggregates that have a value over no rows. In a PIVOT a
// cell without rows is NULL for them, too, as in Spark.
var notNullWhenEmpty = []string{
	"count", "count_if", "approx_count_distinct", "collect_list", "collect_set", "array_agg", "regr_count",
}

// pivot binds PIVOT as a GROUP BY of the columns that it does not mention, with
// each aggregate once for every value.
func (b *binder) pivot(t *ast.Pivot) (*scope, error) {
	sc, err := b.table(t.Input)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, id := range t.For {
		used[strings.ToLower(id.Name)] = true
	}
	for _, a := range t.Aggs {
		ast.Inspect(a.Expr, func(n ast.Node) bool {
			if c, ok := n.(*ast.Column); ok {
				used[strings.ToLower(c.Parts[len(c.Parts)-1].Name)] = true
			}
			return true
		})
	}
	s := &ast.Select{Pos: t.Pos, GroupBy: &ast.GroupBy{Pos: t.Pos}}
	for _, c := range sc.star(nil) {
		if used[strings.ToLower(c.name)] {
			continue
		}
		col := &ast.Column{Pos: t.Pos, Parts: []ast.Ident{{Pos: t.Pos, Name: c.name}}}
		s.Items = append(s.Items, ast.SelectItem{Expr: col})
		s.GroupBy.Items = append(s.GroupBy.Items, ast.GroupItem{Pos: t.Pos, Kind: ast.GroupExpr, Expr: col})
	}
	if len(s.GroupBy.Items) == 0 {
		s.GroupBy = nil
	}
	for _, v := range t.Values {
		cond, err := pivotCondition(t, v)
		if err != nil {
			return nil, err
		}
		for _, a := range t.Aggs {
			it, err := pivotItem(t, a, v, cond)
			if err != nil {
				return nil, err
			}
			s.Items = append(s.Items, it)
		}
	}
	out, err := b.selectFrom(s, sc, nil)
	if err != nil {
		return nil, err
	}
	return out.renamed("", nil, t.Pos)
}

// pivotCondition says that a row has the values of one item of the IN list.
func pivotCondition(t *ast.Pivot, v ast.PivotValue) (ast.Expr, error) {
	vals := []ast.Expr{v.Expr}
	if row, ok := v.Expr.(*ast.Row); ok && len(t.For) > 1 {
		vals = row.Items
	}
	if len(vals) != len(t.For) {
		return nil, ast.Errorf(v.Expr.Position(), "PIVOT has %d columns after FOR, but %d values here", len(t.For), len(vals))
	}
	var all []ast.Expr
	for i, id := range t.For {
		col := &ast.Column{Pos: id.Pos, Parts: []ast.Ident{id}}
		all = append(all, &ast.IsDistinct{Pos: id.Pos, Not: true, L: col, R: vals[i]})
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return &ast.Logic{Pos: v.Expr.Position(), Op: "AND", Args: all}, nil
}

// pivotItem is one aggregate over the rows of one value.
func pivotItem(t *ast.Pivot, a ast.SelectItem, v ast.PivotValue, cond ast.Expr) (ast.SelectItem, error) {
	call, ok := a.Expr.(*ast.Call)
	if !ok || !functions.IsAggregate(nameOf(call)) {
		return ast.SelectItem{Expr: &pivotCell{a.Expr, cond}, Alias: &ast.Ident{Pos: t.Pos, Name: pivotName(t, a, v)}}, nil
	}
	c := *call
	c.Filter = cond
	if call.Filter != nil {
		c.Filter = &ast.Logic{Pos: call.Pos, Op: "AND", Args: []ast.Expr{cond, call.Filter}}
	}
	it := ast.SelectItem{Expr: &c, Alias: &ast.Ident{Pos: t.Pos, Name: pivotName(t, a, v)}}
	if slices.Contains(notNullWhenEmpty, strings.ToLower(call.Name.Parts[len(call.Name.Parts)-1].Name)) {
		n := &ast.Call{Pos: call.Pos, Name: ast.Name{Pos: call.Pos, Parts: []ast.Ident{{Pos: call.Pos, Name: "count"}}}, Args: []ast.Expr{&ast.Star{Pos: call.Pos}}, Filter: cond}
		zero := &ast.Literal{Pos: call.Pos, Kind: ast.LitInt, Text: "0"}
		it.Expr = &ast.Case{Pos: call.Pos, Whens: []ast.When{{Cond: &ast.Binary{Pos: call.Pos, Op: ">", L: n, R: zero}, Then: &c}}}
	}
	return it, nil
}

// pivotName is the name of a column that PIVOT makes.
func pivotName(t *ast.Pivot, a ast.SelectItem, v ast.PivotValue) string {
	name := strings.Trim(ast.SQL(v.Expr), "'")
	if v.Alias != nil {
		name = v.Alias.Name
	}
	switch {
	case len(t.Aggs) > 1 && a.Alias != nil:
		name += "_" + a.Alias.Name
	case len(t.Aggs) > 1:
		name += "_" + outputName(a.Expr)
	}
	return name
}

// pivotCell is an expression whose aggregates are over the rows of one value of a
// PIVOT alone.
type pivotCell struct {
	ast.Expr
	cond ast.Expr
}

// Stands implements ast.Standin.
func (c *pivotCell) Stands() ast.Expr { return c.Expr }

// unpivot binds UNPIVOT: an array of a struct for each group of columns, made
// rows of.
func (b *binder) unpivot(t *ast.Unpivot) (*scope, error) {
	sc, err := b.table(t.Input)
	if err != nil {
		return nil, err
	}
	x := &exprBinder{b: b, sc: sc, clause: "UNPIVOT"}
	rows, cols := len(t.Columns), make([][]expr.Expr, len(t.Values))
	gone := map[string]bool{}
	labels := make([]expr.Expr, rows)
	for r, group := range t.Columns {
		if len(group.Columns) != len(t.Values) {
			return nil, ast.Errorf(t.Pos, "UNPIVOT makes %d columns of values, but a group has %d columns", len(t.Values), len(group.Columns))
		}
		var label []string
		for i, n := range group.Columns {
			e, err := x.column(&ast.Column{Pos: n.Pos, Parts: n.Parts})
			if err != nil {
				return nil, err
			}
			last := n.Parts[len(n.Parts)-1].Name
			gone[strings.ToLower(last)] = true
			label = append(label, last)
			cols[i] = append(cols[i], e)
		}
		labels[r] = expr.Text(strings.Join(label, "_"))
		if group.Alias != nil {
			labels[r] = expr.Text(group.Alias.Name)
		}
	}
	for i := range cols {
		if cols[i], _, err = functions.Coerce("UNPIVOT", cols[i]); err != nil {
			return nil, at(t.Pos, err)
		}
	}
	structs := make([]expr.Expr, rows)
	for r := range rows {
		fields := []expr.Expr{expr.Text(t.Name.Name), labels[r]}
		for i, id := range t.Values {
			fields = append(fields, expr.Text(id.Name), cols[i][r])
		}
		if structs[r], err = x.apply(t.Pos, "named_struct", fields...); err != nil {
			return nil, err
		}
	}
	arr, err := x.apply(t.Pos, "array", structs...)
	if err != nil {
		return nil, err
	}
	return x.unpivoted(t, arr, gone)
}

// unpivoted makes rows of the array of structs and leaves the columns that went
// into it out.
func (x *exprBinder) unpivoted(t *ast.Unpivot, arr expr.Expr, gone map[string]bool) (*scope, error) {
	sc := x.sc
	g := &logical.Generate{Args: []expr.Expr{arr}, Inline: true}
	st := arr.Type().(arrow.ListLikeType).Elem().(*arrow.StructType)
	for i, f := range st.Fields() {
		g.Out = append(g.Out, arrow.Field{Name: f.Name, Type: f.Type, Nullable: i > 0})
	}
	keep := sc.star(nil)
	if err := addGenerate(sc, g, "", nil, t.Pos); err != nil {
		return nil, err
	}
	made := sc.cols[len(sc.cols)-len(g.Out):]
	if !t.IncludeNulls {
		if err := x.anyValue(t.Pos, made[1:]); err != nil {
			return nil, err
		}
	}
	out := &scope{node: sc.node}
	for _, c := range keep {
		if !gone[strings.ToLower(c.name)] {
			out.cols = append(out.cols, c)
		}
	}
	out.cols = append(out.cols, made...)
	return out, nil
}

// anyValue drops the rows in which every one of some columns is NULL.
func (x *exprBinder) anyValue(pos ast.Pos, cols []scopeCol) error {
	var all []expr.Expr
	for _, c := range cols {
		e, err := x.apply(pos, "is_not_null", c.e)
		if err != nil {
			return err
		}
		all = append(all, e)
	}
	cond := all[0]
	if len(all) > 1 {
		var err error
		if cond, err = x.apply(pos, "or", all...); err != nil {
			return err
		}
	}
	x.sc.node = &logical.Filter{Input: x.sc.node, Cond: cond}
	return nil
}
