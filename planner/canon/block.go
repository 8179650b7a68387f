package canon

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// block is a join of relations under conditions, with the columns that a node puts
// out of it. Filters, projections and inner joins are made part of the block below
// them, in whatever order they lie.
type block struct {
	leaves []*leaf
	conds  []cond
	out    []expr.Expr // over the columns of the leaves
}

// leaf is a relation that is no block: a table, or what an operator makes of blocks.
type leaf struct {
	text string
	on   []cond // of a leaf that depends on others of its block
	name string // in the text of its block, once that is closed
}

// cond is a text, and expressions over columns of leaves.
type cond struct {
	text string
	args []expr.Expr
}

// closed is the text of a block, and those of its columns.
type closed struct {
	text string
	cols []string
}

// column is one of a leaf.
type column struct {
	of   *leaf
	text string
}

// sizeMax bounds the parts of an expression over the tables: projections that are
// put into each other can double it with each.
const sizeMax = 4096

// maker makes forms of nodes.
type maker struct {
	columns []column
	unknown bool // a node of which nothing can be said
}

// column adds a column of a leaf, as an expression.
func (m *maker) column(of *leaf, text string, like expr.Expr) expr.Expr {
	m.columns = append(m.columns, column{of, text})
	c := &expr.Column{Index: len(m.columns) - 1, Name: text, Null: true}
	if like != nil {
		c.DT = like.Type()
	}
	return c
}

// over puts the columns of an input into an expression.
func (m *maker) over(e expr.Expr, in []expr.Expr) expr.Expr {
	if e == nil {
		return nil
	}
	if !expr.Deterministic(e) {
		m.unknown = true
	}
	e = expr.Transform(e, func(x expr.Expr) expr.Expr {
		if c, ok := x.(*expr.Column); ok {
			if c.Index < 0 || c.Index >= len(in) {
				m.unknown = true
				return x
			}
			return in[c.Index]
		}
		return x
	})
	size := 0
	expr.Walk(e, func(expr.Expr) bool { size++; return size <= sizeMax })
	if size > sizeMax {
		m.unknown = true
		return &expr.Literal{DT: e.Type()}
	}
	return e
}

func (m *maker) all(es, in []expr.Expr) []expr.Expr {
	out := make([]expr.Expr, len(es))
	for i, e := range es {
		out[i] = m.over(e, in)
	}
	return out
}

// text prints an expression whose leaves have names.
func (m *maker) text(e expr.Expr) string {
	return expr.Transform(e, func(x expr.Expr) expr.Expr {
		if c, ok := x.(*expr.Column); ok {
			k := m.columns[c.Index]
			return &expr.Param{Name: k.of.name + "." + k.text, DT: c.DT}
		}
		return x
	}).String()
}

func (m *maker) texts(es []expr.Expr) []string {
	out := make([]string, len(es))
	for i, e := range es {
		out[i] = m.text(e)
	}
	return out
}

func (m *maker) condText(c cond) string {
	args := m.texts(c.args)
	if c.text == "=" || c.text == "<=>" {
		slices.Sort(args)
	}
	return c.text + " " + strings.Join(args, ", ")
}

func (m *maker) condTexts(cs []cond) []string {
	var out []string
	for _, c := range cs {
		out = append(out, m.condText(c))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// close names the leaves of a block, whatever order they came in, and prints it.
func (m *maker) close(b *block) closed {
	var free, bound []*leaf
	for _, l := range b.leaves {
		if l.on == nil {
			free = append(free, l)
		} else {
			bound = append(bound, l)
		}
	}
	slices.SortStableFunc(free, func(a, b *leaf) int { return strings.Compare(a.text, b.text) })
	var parts []string
	for i, l := range append(free, bound...) {
		l.name = fmt.Sprintf("t%d", i)
	}
	for _, l := range free {
		parts = append(parts, l.text)
	}
	for _, l := range bound {
		parts = append(parts, l.text+" on "+strings.Join(m.condTexts(l.on), " and "))
	}
	text := "{" + strings.Join(parts, "; ")
	if conds := m.condTexts(b.conds); len(conds) > 0 {
		text += " where " + strings.Join(conds, " and ")
	}
	return closed{text + "}", m.texts(b.out)}
}

// alone is the block of a single leaf with columns of these texts.
func (m *maker) alone(n logical.Node, text string, cols []string) *block {
	l := &leaf{text: text}
	b := &block{leaves: []*leaf{l}}
	for i := range n.Schema().NumFields() {
		name := n.Schema().Field(i).Name
		if i < len(cols) {
			name = cols[i]
		}
		b.out = append(b.out, m.column(l, name, nil))
		b.out[i].(*expr.Column).DT = n.Schema().Field(i).Type
	}
	return b
}

// conditions are those of an AND, each by itself.
func (m *maker) conditions(e expr.Expr, in []expr.Expr) []cond {
	var out []cond
	for _, c := range expr.Conjuncts(e) {
		out = append(out, cond{"", []expr.Expr{m.over(c, in)}})
	}
	return out
}
