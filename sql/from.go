package sql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// from binds a FROM list; commas are cross joins.
func (b *binder) from(list []ast.Table) (*scope, error) {
	if len(list) == 0 {
		return emptyScope(), nil
	}
	sc, err := b.table(list[0])
	if err != nil {
		return nil, err
	}
	for _, t := range list[1:] {
		if f, table, names := generatorTable(t); f != nil {
			if err := b.generatorFrom(sc, f, table, names, false); err != nil {
				return nil, err
			}
			continue
		}
		right, params, err := b.besides(sc, t)
		if err != nil {
			return nil, err
		}
		if err := b.budget.columns(t.Position(), len(sc.cols)+len(right.cols)); err != nil {
			return nil, err
		}
		sc = sideBySide(sc, right, params)
	}
	return sc, nil
}

// table binds one item of FROM.
func (b *binder) table(t ast.Table) (*scope, error) {
	named := b.named
	if _, is := t.(*ast.Aliased); is {
		b.named = nil // the alias is its only name
	}
	sc, err := b.tableOf(t)
	if b.named = named; err == nil && named != nil {
		sc.node = nameTable(named, t, sc.node)
	}
	return sc, err
}

func (b *binder) tableOf(t ast.Table) (*scope, error) {
	switch t := t.(type) {
	case *ast.TableName:
		return b.tableName(t)
	case *ast.PlanTable:
		n, ok := t.Plan.(logical.Node)
		if !ok {
			return nil, unsupported(t.Pos, "this DataFrame")
		}
		if err := b.budget.relation(t.Pos, 1); err != nil {
			return nil, err
		}
		return newScope(n, ""), nil
	case *ast.Derived:
		return b.derived(t)
	case *ast.Aliased:
		sc, err := b.table(t.Input)
		if err != nil {
			return nil, err
		}
		return sc.renamed(t.Alias.Name, t.Columns, t.Alias.Pos)
	case *ast.Join:
		return b.join(t)
	case *ast.TableFunc:
		return b.tableFunc(t)
	case *ast.Sample:
		return b.sample(t)
	case *ast.Pivot:
		return b.pivot(t)
	case *ast.Unpivot:
		return b.unpivot(t)
	case *ast.LateralView:
		return b.lateralView(t)
	case *ast.MatchRecognize:
		return b.matchRecognize(t)
	}
	return nil, unsupported(t.Position(), "this table")
}

// tableName resolves a CTE, table or view.
func (b *binder) tableName(t *ast.TableName) (*scope, error) {
	if t.AsOf != nil {
		return nil, unsupported(t.AsOf.Pos, "FOR "+t.AsOf.Kind+" AS OF")
	}
	parts := t.Name.Parts
	last := parts[len(parts)-1].Name
	if len(parts) == 1 {
		if c := b.ctes.find(last); c != nil {
			sc := c.rel
			if err := b.budget.relation(t.Pos, c.size); err != nil {
				return nil, err
			}
			return &scope{node: sc.node, cols: slices.Clone(sc.cols)}, nil
		}
	}
	name := dotted(parts)
	if err := b.budget.relation(t.Pos, 1); err != nil {
		return nil, err
	}
	rel, err := b.cat.Relation(name)
	if err != nil {
		return nil, ast.Errorf(t.Pos, "table %q: %w", name, err)
	}
	if rel == nil {
		return nil, b.unknownTable(t.Pos, name)
	}
	var sc *scope
	switch {
	case rel.Plan != nil:
		sc = newScope(rel.Plan, last)
	case rel.View != nil && (rel.Table == nil || b.opts.Definitions):
		sc, err = b.view(t.Pos, rel)
	default:
		sc, err = b.scan(rel.Table)
		if err != nil {
			err = ast.Errorf(t.Pos, "in table %q: %w", name, err)
		}
	}
	if err != nil {
		return nil, err
	}
	schema := dotted(parts[:len(parts)-1])
	if i := strings.LastIndexByte(rel.Name, '.'); schema == "" && i > 0 { // of the schema in use
		schema = rel.Name[:i]
	}
	for i := range sc.cols {
		sc.cols[i].table, sc.cols[i].schema = last, strings.ToLower(schema)
	}
	return sc, nil
}

func (b *binder) unknownTable(pos ast.Pos, name string) error {
	var names []string
	for c := b.ctes; c != nil; c = c.outer {
		names = append(names, c.name)
	}
	err := ast.Errorf(pos, "unknown table or view %q", name)
	all := append(names, b.cat.Relations()...)
	if near := ast.Nearest(name, all); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	if len(all) == 0 {
		return err.WithHint("no table has been created; start with CREATE TABLE")
	}
	return err
}

// view binds the text of a view in place. Positions in its errors are those of
// the view's own text.
func (b *binder) view(pos ast.Pos, rel *Relation) (*scope, error) {
	if slices.ContainsFunc(b.views, func(v string) bool { return strings.EqualFold(v, rel.Name) }) {
		return nil, ast.Errorf(pos, "view %q reads itself", rel.Name)
	}
	inner := newBinder(b.cat, b.opts)
	inner.budget = b.budget
	inner.views = append(slices.Clone(b.views), rel.Name)
	sc, err := inner.query(rel.View.Query)
	if err != nil {
		return nil, ast.Errorf(pos, "in view %q: %w", rel.Name, err)
	}
	if rel.View.Columns == nil {
		return sc, nil
	}
	ids := make([]ast.Ident, len(rel.View.Columns))
	for i, c := range rel.View.Columns {
		ids[i] = ast.Ident{Pos: pos, Name: c}
	}
	return sc.renamed(rel.Name, ids, pos)
}

// scan reads a table: its physical columns, the computed ones above, and the
// watermark.
func (b *binder) scan(t *TableDef) (*scope, error) {
	lt := &logical.Table{
		Name: t.Name, Connector: t.Connector, Options: t.Options, Schema: t.Physical, Meta: t.Meta,
		Stream: t.Stream, Keyed: t.Keyed, Inferred: t.Inferred, Data: t.Data, Changes: t.Changes, Keys: t.PhysicalKeys(),
	}
	phys := newScope(&logical.Scan{Table: lt}, t.Name)
	es, names := make([]expr.Expr, len(t.Columns)), make([]string, len(t.Columns))
	computed := map[string]expr.Expr{}
	x := &exprBinder{b: b, sc: phys, clause: "a computed column", alias: func(n string) expr.Expr { return computed[strings.ToLower(n)] }}
	for i, c := range t.Columns {
		names[i] = c.Name
		if c.Physical >= 0 {
			es[i] = columnOf(c.Physical, t.Physical.Field(c.Physical))
			continue
		}
		e, err := x.bind(c.Expr)
		if err != nil {
			return nil, err
		}
		if c.Type != nil {
			if e, err = cast(c.Expr.Position(), e, c.Type, false); err != nil {
				return nil, err
			}
		}
		es[i] = e
		computed[strings.ToLower(c.Name)] = e
	}
	node := logical.Node(phys.node)
	if len(t.Columns) > 0 {
		node = project(node, es, names)
	}
	sc := newScope(node, t.Name)
	if t.Watermark != nil {
		if err := b.watermark(sc, t); err != nil {
			return nil, err
		}
	}
	if t.Changes == batch.Upserts {
		keys := make([]int, len(t.Keys))
		for i, name := range t.Keys {
			keys[i] = sc.node.Schema().FieldIndices(name)[0]
		}
		sc.node = &logical.Latest{Input: sc.node, Keys: keys, Table: t.Name}
	}
	return sc, nil
}

// watermark puts a Watermark node on top of a table.
func (b *binder) watermark(sc *scope, t *TableDef) error {
	delay, err := watermarkDelay(t.Watermark)
	if err != nil {
		return err
	}
	pos := t.Watermark.Expr.Position()
	col, _, err := sc.lookup([]ast.Ident{{Pos: pos, Name: t.Watermark.Column}})
	if err != nil {
		return err
	}
	if col < 0 {
		return unknownColumn(sc, []ast.Ident{{Pos: pos, Name: t.Watermark.Column}})
	}
	c := sc.cols[col].e.(*expr.Column)
	if c.DT.ID() != arrow.TIMESTAMP {
		return ast.Errorf(pos, "the watermark needs a column of type TIMESTAMP, but %q is %s", t.Watermark.Column, expr.TypeName(c.DT))
	}
	sc.node = &logical.Watermark{Input: sc.node, Col: c.Index, Delay: delay, Table: t.Name}
	return nil
}

// values binds VALUES; columns are named col1, col2, .. as in Spark.
func (b *binder) values(v *ast.Values) (*scope, error) {
	for _, row := range v.Rows {
		if slices.ContainsFunc(row, hasSubquery) {
			return b.computedValues(v)
		}
	}
	width := len(v.Rows[0])
	cols := make([][]expr.Expr, width)
	x := &exprBinder{b: b, sc: emptyScope(), clause: "VALUES"}
	for _, row := range v.Rows {
		for j, e := range row {
			bound, err := x.bind(e)
			if err != nil {
				return nil, err
			}
			cols[j] = append(cols[j], bound)
		}
	}
	return valuesScope(v.Pos, cols, len(v.Rows))
}

// computedValues binds VALUES with subqueries: each row is a SELECT of its own.
func (b *binder) computedValues(v *ast.Values) (*scope, error) {
	var body ast.QueryBody
	for _, row := range v.Rows {
		sel := &ast.Select{Pos: v.Pos}
		for j, e := range row {
			name := ast.Ident{Pos: e.Position(), Name: fmt.Sprintf("col%d", j+1)}
			sel.Items = append(sel.Items, ast.SelectItem{Expr: e, Alias: &name})
		}
		if body == nil {
			body = sel
			continue
		}
		body = &ast.SetOp{Pos: v.Pos, Op: "UNION", All: true, L: body, R: sel}
	}
	return b.body(body)
}
