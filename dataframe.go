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
	// join is the DataFrame as a join of named sides, which later methods see as
	// long as nothing but Where came between, and where the conditions since.
	join  func(b *frames) ast.Table
	where ast.Expr
}

// from is the DataFrame as an item of FROM, known to the binder under a name of its own.
func (d *DataFrame) from(b *frames) ast.Table {
	if d.join != nil && d.where == nil {
		return d.join(b)
	}
	name := b.add(d.node)
	var t ast.Table = &ast.TableName{Name: name1(name)}
	if d.alias != "" {
		t = &ast.Aliased{Input: t, Alias: ast.Ident{Name: d.alias}}
	}
	return t
}

// frames are the DataFrames that one bound query refers to.
type frames struct {
	nodes map[string]logical.Node
}

func (f *frames) add(n logical.Node) string {
	if f.nodes == nil {
		f.nodes = map[string]logical.Node{}
	}
	name := fmt.Sprintf("__frame_%d", len(f.nodes))
	f.nodes[name] = n
	return name
}

// derive binds a SELECT over this DataFrame and perhaps others.
func (d *DataFrame) derive(build func(b *frames) (*ast.Query, error)) *DataFrame {
	if d.err != nil {
		return d
	}
	b := &frames{}
	q, err := build(b)
	if err == nil {
		var n logical.Node
		if n, err = d.s.bindQuery(q, b); err == nil {
			return &DataFrame{s: d.s, node: n}
		}
	}
	return &DataFrame{s: d.s, err: err}
}

// simple derives from a single SELECT over this DataFrame.
func (d *DataFrame) simple(fill func(sel *ast.Select) error) *DataFrame {
	return d.derive(func(b *frames) (*ast.Query, error) {
		sel := &ast.Select{}
		if err := fill(sel); err != nil {
			return nil, err
		}
		if d.join == nil {
			sel.From = []ast.Table{d.from(b)}
		} else {
			sel.From, sel.Where = []ast.Table{d.join(b)}, both(d.where, sel.Where)
		}
		if len(sel.Items) == 0 {
			sel.Items = []ast.SelectItem{{Expr: &ast.Star{}}}
		}
		return &ast.Query{Body: sel}, nil
	})
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

// Select computes columns: names and Columns.
func (d *DataFrame) Select(cols ...any) *DataFrame {
	return d.simple(func(sel *ast.Select) (err error) {
		sel.Items, err = itemsOf(cols)
		return err
	})
}

// Where keeps the rows for which the condition, a Column or SQL text, is true.
func (d *DataFrame) Where(cond any) *DataFrame {
	if text, ok := cond.(string); ok {
		cond = Expr(text)
	}
	var where ast.Expr
	out := d.simple(func(sel *ast.Select) error {
		cols, err := columnsOf([]any{cond})
		if err == nil {
			where, sel.Where = cols[0].e, cols[0].e
		}
		return err
	})
	if d.join != nil && out.err == nil {
		out.join, out.where = d.join, both(d.where, where)
	}
	return out
}

// WithColumn adds a column.
func (d *DataFrame) WithColumn(name string, c Column) *DataFrame {
	return d.Select(Col("*"), c.As(name))
}

// Drop leaves columns out.
func (d *DataFrame) Drop(names ...string) *DataFrame {
	star := &ast.Star{}
	for _, n := range names {
		star.Except = append(star.Except, ast.Ident{Name: n})
	}
	return d.Select(Column{e: star})
}

// As names the DataFrame, so that Col("name.column") tells the sides of a join apart.
func (d *DataFrame) As(alias string) *DataFrame {
	c := *d
	c.alias, c.join, c.where = alias, nil, nil
	return &c
}

// Grouped is a DataFrame with keys to group by.
type Grouped struct {
	d    *DataFrame
	keys []any
}

// GroupBy groups by columns, a Window among them for time; without any, all rows are one group.
func (d *DataFrame) GroupBy(keys ...any) *Grouped { return &Grouped{d: d, keys: keys} }

// Agg computes aggregates; the result has the keys first.
func (g *Grouped) Agg(aggs ...any) *DataFrame {
	return g.d.simple(func(sel *ast.Select) error {
		keys, err := columnsOf(g.keys)
		if err != nil {
			return err
		}
		for _, k := range keys {
			sel.Items = append(sel.Items, k.item())
		}
		items, err := itemsOf(aggs)
		if err != nil {
			return err
		}
		sel.Items = append(sel.Items, items...)
		if len(keys) > 0 {
			sel.GroupBy = &ast.GroupBy{}
			for _, k := range keys {
				sel.GroupBy.Items = append(sel.GroupBy.Items, ast.GroupItem{Kind: ast.GroupExpr, Expr: k.e})
			}
		}
		return nil
	})
}

// Count counts the rows of each group in a column "count".
func (g *Grouped) Count() *DataFrame { return g.Agg(Count().As("count")) }

// joinKinds are the words that Join takes.
var joinKinds = map[string]ast.JoinKind{
	"inner": ast.InnerJoin, "left": ast.LeftJoin, "left outer": ast.LeftJoin, "right": ast.RightJoin,
	"right outer": ast.RightJoin, "full": ast.FullJoin, "full outer": ast.FullJoin, "cross": ast.CrossJoin,
	"semi": ast.SemiJoin, "left semi": ast.SemiJoin, "anti": ast.AntiJoin, "left anti": ast.AntiJoin,
}

// Join joins with another DataFrame of the same session. on is a Column, a SQL
// condition, or a []string of columns that both have; how is inner, left, right,
// full, cross, semi or anti. Sides that have a name (a table's, or that of As)
// keep it for further joins, Where, and the first other method after them.
func (d *DataFrame) Join(other *DataFrame, on any, how string) *DataFrame {
	if d.err == nil && other.err != nil {
		return other
	}
	j := ast.Join{}
	if d.err == nil {
		var err error
		if j, err = joinOf(on, how); err != nil {
			return &DataFrame{s: d.s, err: err}
		}
	}
	join := func(b *frames) ast.Table {
		j := j
		j.L, j.R = d.from(b), other.from(b)
		return &j
	}
	out := d.derive(func(b *frames) (*ast.Query, error) {
		sel := &ast.Select{From: []ast.Table{join(b)}, Items: []ast.SelectItem{{Expr: &ast.Star{}}}}
		return &ast.Query{Body: sel}, nil
	})
	if out.err == nil {
		out.join = join
	}
	return out
}

// joinOf makes a join without its sides.
func joinOf(on any, how string) (j ast.Join, err error) {
	var ok bool
	if j.Kind, ok = joinKinds[how]; !ok {
		return j, batch.UserErrorf("join %q: want inner, left, right, full, cross, semi or anti", how)
	}
	switch on := on.(type) {
	case nil:
	case []string:
		for _, n := range on {
			j.Using = append(j.Using, ast.Ident{Name: n})
		}
	case string:
		c := Expr(on)
		j.On, err = c.e, c.err
	case Column:
		j.On, err = on.e, on.err
	default:
		err = fmt.Errorf("join condition is a %T: want a Column, SQL text or []string", on)
	}
	return j, err
}

// Union is all rows of both, duplicates included, by position of the columns.
func (d *DataFrame) Union(other *DataFrame) *DataFrame {
	if d.err == nil && other.err != nil {
		return other
	}
	return d.derive(func(b *frames) (*ast.Query, error) {
		side := func(x *DataFrame) ast.QueryBody {
			return &ast.Select{From: []ast.Table{x.from(b)}, Items: []ast.SelectItem{{Expr: &ast.Star{}}}}
		}
		return &ast.Query{Body: &ast.SetOp{Op: "UNION", All: true, L: side(d), R: side(other)}}, nil
	})
}

// Distinct removes duplicate rows.
func (d *DataFrame) Distinct() *DataFrame {
	return d.simple(func(sel *ast.Select) error { sel.Distinct = true; return nil })
}

// OrderBy sorts by columns, each with Asc, Desc, NullsFirst or NullsLast.
func (d *DataFrame) OrderBy(cols ...any) *DataFrame {
	return d.ordered(func(q *ast.Query) error {
		keys, err := columnsOf(cols)
		for _, k := range keys {
			q.OrderBy = append(q.OrderBy, k.order())
		}
		return err
	})
}

// Limit keeps the first n rows. After OrderBy it sorts no more than it must.
func (d *DataFrame) Limit(n int64) *DataFrame {
	if d.err != nil {
		return d
	}
	return &DataFrame{s: d.s, node: &logical.Limit{Input: d.node, Count: n}}
}

func (d *DataFrame) ordered(fill func(q *ast.Query) error) *DataFrame {
	return d.derive(func(b *frames) (*ast.Query, error) {
		q := &ast.Query{Body: &ast.Select{From: []ast.Table{d.from(b)}, Items: []ast.SelectItem{{Expr: &ast.Star{}}}}}
		return q, fill(q)
	})
}

// WithWatermark says that a timestamp column is event time and that rows may
// come out of order by up to delay.
func (d *DataFrame) WithWatermark(column string, delay time.Duration) *DataFrame {
	if d.err != nil {
		return d
	}
	idx := d.node.Schema().FieldIndices(column)
	if len(idx) != 1 {
		return &DataFrame{s: d.s, err: batch.UserErrorf("watermark: there is no column %q", column)}
	}
	if d.node.Schema().Field(idx[0]).Type.ID() != arrow.TIMESTAMP {
		return &DataFrame{s: d.s, err: batch.UserErrorf("watermark: column %q is no timestamp", column)}
	}
	return &DataFrame{s: d.s, alias: d.alias, node: &logical.Watermark{Input: d.node, Col: idx[0], Delay: delay, Table: d.alias}}
}
