package sluice

import (
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// DataFrame is a query that has not run yet. Methods return new DataFrames and
// never fail: the first fault is reported by what runs the query. It means
// exactly what the SQL of the same shape means, since both go through one binder.
type DataFrame struct {
	s     *Session
	node  logical.Node
	alias string
	err   error
	// inner is a query with columns of Outer in place of node: it is bound where it is used.
	inner *ast.Query
	// join is the DataFrame as a join of named sides, which later methods see as
	// long as nothing but Where came between, and where the conditions since.
	join  func() ast.Table
	where ast.Expr
}

// from is the DataFrame as an item of FROM.
func (d *DataFrame) from() ast.Table {
	if d.join != nil && d.where == nil {
		return d.join()
	}
	var t ast.Table = &ast.PlanTable{Plan: d.node}
	if d.inner != nil {
		t = &ast.Derived{Query: d.inner}
	}
	if d.alias != "" {
		t = &ast.Aliased{Input: t, Alias: ast.Ident{Name: d.alias}}
	}
	return t
}

// all is SELECT * FROM the tables.
func all(from ...ast.Table) *ast.Select {
	return &ast.Select{From: from, Items: []ast.SelectItem{{Expr: &ast.Star{}}}}
}

// asQuery is the DataFrame as a subquery.
func (d *DataFrame) asQuery() (*ast.Query, error) {
	switch {
	case d.err != nil:
		return nil, d.err
	case d.inner != nil:
		return d.inner, nil
	}
	return &ast.Query{Body: all(&ast.PlanTable{Plan: d.node})}, nil
}

// failed is a DataFrame of a fault.
func (d *DataFrame) failed(err error) *DataFrame { return &DataFrame{s: d.s, err: err} }

// errOpen refuses to run what has no meaning of its own.
var errOpen = batch.UserErrorf("the DataFrame has a column of Outer: it can be used in Scalar, Exists, InQuery and lateral joins only")

// bound is the plan, or why there is none.
func (d *DataFrame) bound() (logical.Node, error) {
	if d.err == nil && d.node == nil {
		return nil, errOpen
	}
	return d.node, d.err
}

// derive binds a query over this DataFrame and perhaps others.
func (d *DataFrame) derive(build func() (*ast.Query, error)) *DataFrame {
	if d.err != nil {
		return d
	}
	q, err := build()
	if err != nil {
		return d.failed(err)
	}
	if open(q) {
		return &DataFrame{s: d.s, inner: q}
	}
	n, err := d.s.bindQuery(q)
	return &DataFrame{s: d.s, node: n, err: err}
}

// simple derives from a single SELECT over this DataFrame.
func (d *DataFrame) simple(fill func(sel *ast.Select) error) *DataFrame {
	return d.derive(func() (*ast.Query, error) {
		sel := &ast.Select{}
		if err := fill(sel); err != nil {
			return nil, err
		}
		if d.join == nil {
			sel.From = []ast.Table{d.from()}
		} else {
			sel.From, sel.Where = []ast.Table{d.join()}, both(d.where, sel.Where)
		}
		if len(sel.Items) == 0 {
			sel.Items = []ast.SelectItem{{Expr: &ast.Star{}}}
		}
		return &ast.Query{Body: sel}, nil
	})
}

// whole derives from SELECT * with what stands behind it, such as ORDER BY. The
// result has the columns and the name of this DataFrame.
func (d *DataFrame) whole(fill func(q *ast.Query) error) *DataFrame {
	out := d.derive(func() (*ast.Query, error) {
		q := &ast.Query{Body: all(d.from())}
		return q, fill(q)
	})
	return d.named(out)
}

// over derives from SELECT * over this DataFrame wrapped in a clause of FROM.
func (d *DataFrame) over(wrap func(t ast.Table) (ast.Table, error)) *DataFrame {
	return d.derive(func() (*ast.Query, error) {
		t, err := wrap(d.from())
		return &ast.Query{Body: all(t)}, err
	})
}

// named gives a DataFrame with the same columns the name of this one.
func (d *DataFrame) named(out *DataFrame) *DataFrame {
	if out.err == nil && d.join == nil {
		out.alias = d.alias
	}
	return out
}

// both is the condition that two conditions hold, of which either may be missing.
func both(l, r ast.Expr) ast.Expr {
	switch {
	case l == nil:
		return r
	case r == nil:
		return l
	}
	return &ast.Logic{Op: "AND", Args: []ast.Expr{l, r}}
}

// columnsOf turns names and Columns into Columns.
func columnsOf(args []any) ([]Column, error) {
	out := make([]Column, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case string:
			out[i] = Col(a)
		case Column:
			out[i] = a
		default:
			return nil, fmt.Errorf("argument %d is a %T: want a column name or a Column", i+1, a)
		}
		if out[i].err != nil {
			return nil, out[i].err
		}
	}
	return out, nil
}

func itemsOf(args []any) ([]ast.SelectItem, error) {
	cols, err := columnsOf(args)
	items := make([]ast.SelectItem, len(cols))
	for i, c := range cols {
		items[i] = c.item()
	}
	return items, err
}

// condition turns a Column or SQL text into a condition.
func condition(cond any) (ast.Expr, error) {
	if text, ok := cond.(string); ok {
		cond = Expr(text)
	}
	cols, err := columnsOf([]any{cond})
	if err != nil {
		return nil, err
	}
	return cols[0].e, nil
}

// Select computes columns: names and Columns.
func (d *DataFrame) Select(cols ...any) *DataFrame {
	return d.simple(func(sel *ast.Select) (err error) {
		sel.Items, err = itemsOf(cols)
		return err
	})
}

// SelectExpr computes columns given as SQL: SelectExpr("a + 1 AS b", "*").
func (d *DataFrame) SelectExpr(exprs ...string) *DataFrame {
	cols := make([]any, len(exprs))
	for i, e := range exprs {
		cols[i] = Expr(e)
	}
	return d.Select(cols...)
}

// Where keeps the rows for which the condition, a Column or SQL text, is true.
func (d *DataFrame) Where(cond any) *DataFrame {
	var where ast.Expr
	out := d.simple(func(sel *ast.Select) (err error) {
		where, err = condition(cond)
		sel.Where = where
		return err
	})
	if d.join != nil && out.err == nil {
		out.join, out.where = d.join, both(d.where, where)
		return out
	}
	return d.named(out)
}

// Filter is Where.
func (d *DataFrame) Filter(cond any) *DataFrame { return d.Where(cond) }

// Qualify keeps the rows for which a condition on window functions is true.
func (d *DataFrame) Qualify(cond any) *DataFrame {
	return d.named(d.simple(func(sel *ast.Select) (err error) {
		sel.Qualify, err = condition(cond)
		return err
	}))
}

// As names the DataFrame, so that Col("name.column") tells the sides of a join apart.
func (d *DataFrame) As(alias string) *DataFrame {
	c := *d
	c.alias, c.join, c.where = alias, nil, nil
	return &c
}

// Col names a column of this DataFrame: with its name before it if it has one.
func (d *DataFrame) Col(name string) Column {
	if d.alias == "" || name == "*" {
		return Col(name)
	}
	c := Col(name)
	if k, ok := c.e.(*ast.Column); ok {
		c.e = &ast.Column{Parts: append([]ast.Ident{{Name: d.alias}}, k.Parts...)}
	}
	return c
}

// Distinct removes duplicate rows.
func (d *DataFrame) Distinct() *DataFrame {
	return d.named(d.simple(func(sel *ast.Select) error { sel.Distinct = true; return nil }))
}

// DropDuplicates keeps one row of those that are equal in the columns, which one
// is not said; without columns it is Distinct.
func (d *DataFrame) DropDuplicates(columns ...string) *DataFrame {
	if len(columns) == 0 {
		return d.Distinct()
	}
	if names, ok := plainNames(columns); ok {
		return d.firsts(names)
	}
	keys := make([]any, len(columns))
	for i, c := range columns {
		keys[i] = Col(c)
	}
	return d.Qualify(Call("row_number").Over(PartitionBy(keys...).OrderBy(keys...)).Eq(1))
}

// DropDuplicatesWithinWatermark keeps the first row of those that are equal in the
// columns and come within the delay of the watermark after it, so that a stream
// forgets a key with its first row's time and that delay.
func (d *DataFrame) DropDuplicatesWithinWatermark(columns ...string) *DataFrame {
	names, ok := plainNames(columns)
	if !ok || len(names) == 0 {
		return d.derive(func() (*ast.Query, error) {
			return nil, batch.UserErrorf("DropDuplicatesWithinWatermark(%q) needs the names of columns", columns)
		})
	}
	return d.firsts(names, &ast.Literal{Kind: ast.LitString, Text: "within watermark"})
}

// plainNames reads names of columns; false if one has more than one part.
func plainNames(columns []string) ([]ast.Ident, bool) {
	var out []ast.Ident
	for _, c := range columns {
		col, ok := Col(c).e.(*ast.Column)
		if !ok || len(col.Parts) != 1 {
			return nil, false
		}
		out = append(out, col.Parts[0])
	}
	return out, true
}

func (d *DataFrame) firsts(names []ast.Ident, more ...ast.Expr) *DataFrame {
	return d.derive(func() (*ast.Query, error) {
		q, err := d.asQuery()
		if err != nil {
			return nil, err
		}
		args := append([]ast.Expr{&ast.TableArg{Query: q}, &ast.Descriptor{Columns: names}}, more...)
		return &ast.Query{Body: all(&ast.TableFunc{Call: &ast.Call{Name: name1("DROP_DUPLICATES"), Args: args}})}, nil
	})
}

// OrderBy sorts by columns, each with Asc, Desc, NullsFirst or NullsLast.
func (d *DataFrame) OrderBy(cols ...any) *DataFrame {
	return d.whole(func(q *ast.Query) (err error) {
		q.OrderBy, err = orderOf(cols)
		return err
	})
}

// Sort is OrderBy.
func (d *DataFrame) Sort(cols ...any) *DataFrame { return d.OrderBy(cols...) }

// Limit keeps the first n rows. After OrderBy it sorts no more than it must.
func (d *DataFrame) Limit(n int64) *DataFrame {
	return d.cut(&logical.Limit{Count: n}, func(q *ast.Query) { q.Limit = Lit(n).e })
}

// Offset leaves the first n rows out. With a limit: Offset first.
func (d *DataFrame) Offset(n int64) *DataFrame {
	return d.cut(&logical.Limit{Count: -1, Offset: n}, func(q *ast.Query) { q.Offset = Lit(n).e })
}

// cut puts a Limit on the plan itself, so that the order below it holds.
func (d *DataFrame) cut(l *logical.Limit, fill func(q *ast.Query)) *DataFrame {
	switch {
	case d.err != nil:
		return d
	case d.inner != nil:
		q := *d.inner
		if q.Limit != nil || q.Offset != nil {
			return d.whole(func(q *ast.Query) error { fill(q); return nil })
		}
		fill(&q)
		return &DataFrame{s: d.s, inner: &q, alias: d.alias}
	case l.Count < -1 || l.Offset < 0:
		return d.failed(batch.UserErrorf("a number of rows is below zero"))
	}
	l.Input = d.node
	if below, ok := d.node.(*logical.Limit); ok && below.Count < 0 && l.Count >= 0 {
		l.Input, l.Offset = below.Input, below.Offset // one top-n, as LIMIT with OFFSET
	}
	return d.named(&DataFrame{s: d.s, node: l})
}

// WithWatermark says that a timestamp column is event time and that rows may
// come out of order by up to delay.
func (d *DataFrame) WithWatermark(column string, delay time.Duration) *DataFrame {
	n, err := d.bound()
	if err != nil {
		return d.failed(err)
	}
	idx := n.Schema().FieldIndices(column)
	if len(idx) != 1 {
		return d.failed(batch.UserErrorf("watermark: there is no column %q", column))
	}
	if n.Schema().Field(idx[0]).Type.ID() != arrow.TIMESTAMP {
		return d.failed(batch.UserErrorf("watermark: column %q is no timestamp", column))
	}
	return &DataFrame{s: d.s, alias: d.alias, node: &logical.Watermark{Input: n, Col: idx[0], Delay: delay, Table: d.alias}}
}
