package sluice

import (
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sql/ast"
)

// Grouped is a DataFrame with keys to group by.
type Grouped struct {
	d    *DataFrame
	keys []any
	kind ast.GroupKind
	sets [][]string
	err  error
	// Of Pivot.
	pivot  string
	values []any
}

// GroupBy groups by columns, a Window among them for time; without any, all rows are one group.
func (d *DataFrame) GroupBy(keys ...any) *Grouped { return &Grouped{d: d, keys: keys} }

// Agg computes aggregates over all rows: GroupBy().Agg(..).
func (d *DataFrame) Agg(aggs ...any) *DataFrame { return d.GroupBy().Agg(aggs...) }

// Rollup groups by all keys, by all but the last, and so on down to none. A key that
// a row is not grouped by is NULL; Call("grouping", key) tells.
func (d *DataFrame) Rollup(keys ...any) *Grouped {
	return &Grouped{d: d, keys: keys, kind: ast.GroupRollup}
}

// Cube groups by each subset of the keys.
func (d *DataFrame) Cube(keys ...any) *Grouped {
	return &Grouped{d: d, keys: keys, kind: ast.GroupCube}
}

// GroupingSets groups by each set of columns; keys are the columns of the result.
func (d *DataFrame) GroupingSets(sets [][]string, keys ...any) *Grouped {
	return &Grouped{d: d, keys: keys, kind: ast.GroupSets, sets: sets}
}

// Agg computes aggregates; the result has the keys first.
func (g *Grouped) Agg(aggs ...any) *DataFrame {
	if g.err != nil {
		return g.d.failed(g.err)
	}
	if g.pivot != "" {
		return g.pivoted(aggs)
	}
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
		sel.GroupBy, err = g.by(keys)
		return err
	})
}

// by makes the GROUP BY clause.
func (g *Grouped) by(keys []Column) (*ast.GroupBy, error) {
	if len(keys) == 0 && g.sets == nil {
		return nil, nil
	}
	out := &ast.GroupBy{}
	switch g.kind {
	case ast.GroupRollup, ast.GroupCube:
		item := ast.GroupItem{Kind: g.kind}
		for _, k := range keys {
			item.Sets = append(item.Sets, []ast.Expr{k.e})
		}
		out.Items = []ast.GroupItem{item}
	case ast.GroupSets:
		item := ast.GroupItem{Kind: ast.GroupSets}
		for _, set := range g.sets {
			exprs := make([]ast.Expr, len(set))
			for i, n := range set {
				c := Col(n)
				if c.err != nil {
					return nil, c.err
				}
				exprs[i] = c.e
			}
			item.Items = append(item.Items, ast.GroupItem{Kind: ast.GroupSet, Sets: [][]ast.Expr{exprs}})
		}
		out.Items = []ast.GroupItem{item}
	default:
		for _, k := range keys {
			out.Items = append(out.Items, ast.GroupItem{Kind: ast.GroupExpr, Expr: k.e})
		}
	}
	return out, nil
}

// Count counts the rows of each group in a column "count".
func (g *Grouped) Count() *DataFrame { return g.Agg(Count().As("count")) }

// Sum adds up columns, as sum(c).
func (g *Grouped) Sum(columns ...string) *DataFrame { return g.each("sum", columns) }

// Avg is the mean of columns, as avg(c).
func (g *Grouped) Avg(columns ...string) *DataFrame { return g.each("avg", columns) }

// Min is the smallest value of columns, as min(c).
func (g *Grouped) Min(columns ...string) *DataFrame { return g.each("min", columns) }

// Max is the largest value of columns, as max(c).
func (g *Grouped) Max(columns ...string) *DataFrame { return g.each("max", columns) }

func (g *Grouped) each(name string, columns []string) *DataFrame {
	aggs := make([]any, len(columns))
	for i, c := range columns {
		aggs[i] = Call(name, Col(c)).As(fmt.Sprintf("%s(%s)", name, c))
	}
	return g.Agg(aggs...)
}

// Pivot makes a column of each value of a column, in which Agg aggregates the rows
// that have it. The values are constants, perhaps with a name: Lit(1).As("one").
func (g *Grouped) Pivot(column string, values ...any) *Grouped {
	out := *g
	out.pivot, out.values = column, values
	switch {
	case len(values) == 0:
		out.err = firstErr(g.err, batch.UserErrorf("Pivot(%q) needs the values that become columns: those of DistinctValues, for example", column))
	case g.kind != ast.GroupExpr:
		out.err = firstErr(g.err, batch.UserErrorf("Pivot takes GroupBy alone, neither Rollup, Cube nor GroupingSets"))
	}
	return &out
}

// pivoted groups by the keys and the pivot's values. PIVOT in SQL groups by every
// column that it does not mention, so the keys go in under names of their own.
func (g *Grouped) pivoted(aggs []any) *DataFrame {
	keys, err := columnsOf(g.keys)
	if err != nil {
		return g.d.failed(err)
	}
	items, err := itemsOf(aggs)
	if err != nil {
		return g.d.failed(err)
	}
	inner, outer := []any{Col(g.pivot)}, []any{}
	seen := map[string]bool{g.pivot: true}
	for i, k := range keys {
		name := fmt.Sprintf("__key_%d", i)
		shown := k.alias
		if shown == "" {
			if shown = ast.SQL(k.e); isName(k.e) {
				shown = lastPart(k.e)
			}
		}
		inner = append(inner, k.As(name))
		outer = append(outer, Col(name).As(shown))
	}
	for _, it := range items {
		ast.Inspect(it.Expr, func(n ast.Node) bool {
			if c, ok := n.(*ast.Column); ok && !seen[c.Parts[0].Name] {
				seen[c.Parts[0].Name] = true
				inner = append(inner, ident(c.Parts[0].Name))
			}
			return true
		})
	}
	p := &ast.Pivot{Aggs: items, For: []ast.Ident{{Name: g.pivot}}}
	for _, v := range g.values {
		c := argument(v)
		if c.err != nil {
			return g.d.failed(c.err)
		}
		if _, column := v.(Column); !column {
			c.alias = fmt.Sprint(v) // and not as SQL writes it: 1, not 1L
		}
		pv := ast.PivotValue{Expr: c.e}
		if c.alias != "" {
			pv.Alias = &ast.Ident{Name: c.alias}
		}
		p.Values = append(p.Values, pv)
	}
	wide := g.d.Select(inner...).over(func(t ast.Table) (ast.Table, error) { p.Input = t; return p, nil })
	if wide.err != nil || wide.node == nil {
		return wide
	}
	for _, f := range wide.node.Schema().Fields()[len(keys):] {
		outer = append(outer, ident(f.Name))
	}
	return wide.Select(outer...)
}

func isName(e ast.Expr) bool { _, ok := e.(*ast.Column); return ok }

func lastPart(e ast.Expr) string {
	parts := e.(*ast.Column).Parts
	return parts[len(parts)-1].Name
}
