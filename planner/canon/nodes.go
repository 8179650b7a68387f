package canon

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// block makes the form of a node.
func (m *maker) block(n logical.Node) *block {
	switch n := n.(type) {
	case *logical.Scan:
		return m.alone(n, "scan "+n.Table.Name, nil)
	case *logical.Range:
		return m.alone(n, n.String(), nil)
	case *logical.Values:
		var rows []string
		for _, r := range n.Rows {
			rows = append(rows, "("+strings.Join(m.texts(r), ", ")+")")
		}
		return m.alone(n, "values "+strings.Join(rows, ", "), nil)
	case *logical.Filter:
		b := m.block(n.Input)
		b.conds = append(b.conds, m.conditions(n.Cond, b.out)...)
		return b
	case *logical.Project:
		b := m.block(n.Input)
		b.out = m.all(n.Exprs, b.out)
		return b
	case *logical.Watermark:
		b := m.block(n.Input)
		b.conds = append(b.conds, cond{"watermark " + n.Delay.String(), []expr.Expr{b.out[n.Col]}})
		return b
	case *logical.Shared:
		return m.block(n.Input)
	case *logical.Observe:
		return m.block(n.Input)
	case *logical.Window:
		return m.window(n)
	case *logical.Generate:
		return m.generate(n)
	case *logical.Join:
		return m.join(n)
	case *logical.Union:
		return m.union(n)
	default:
		return m.operator(n)
	}
}

// operator is a node that ends the block below it: what lies above it does not
// commute with it.
func (m *maker) operator(n logical.Node) *block {
	if len(n.Inputs()) != 1 {
		m.unknown = true
		return m.alone(n, n.String(), nil)
	}
	b := m.block(n.Inputs()[0])
	in := m.close(b)
	list := func(es []expr.Expr) string { return "[" + strings.Join(m.texts(m.all(es, b.out)), ", ") + "]" }
	at := func(cols []int) string {
		var out []string
		for _, c := range cols {
			out = append(out, in.cols[c])
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	head, cols := "", in.cols
	switch n := n.(type) {
	case *logical.Aggregate:
		keys := m.texts(m.all(n.Keys, b.out))
		cols = slices.Clone(keys)
		for _, a := range n.Aggs {
			cols = append(cols, m.aggregate(a, b.out))
		}
		slices.Sort(keys)
		head = fmt.Sprintf("aggregate%s by [%s]", flag(" final", n.Final), strings.Join(keys, ", "))
	case *logical.Distinct:
		head = "distinct [" + strings.Join(in.cols, ", ") + "]"
	case *logical.Dedup:
		head = "dedup" + flag(" within", n.Within) + " " + at(n.Keys)
	case *logical.Latest:
		head = "latest " + n.Table + " " + at(n.Keys)
	case *logical.Sort:
		head = "sort " + m.keys(n.Keys, b.out)
	case *logical.Limit:
		head = fmt.Sprintf("limit %d offset %d", n.Count, n.Offset)
	case *logical.LimitBy:
		head = fmt.Sprintf("limit %d offset %d by %s order %s", n.Count, n.Offset, list(n.By), m.keys(n.Keys, b.out))
	case *logical.Analytic:
		head = fmt.Sprintf("analytic%s by %s order %s", flag(" at watermark", n.AtWatermark), list(n.Partition), m.keys(n.Order, b.out))
		cols = slices.Clone(cols)
		for _, c := range n.Calls {
			cols = append(cols, m.analytic(c, b.out))
		}
	case *logical.Match: // its text names columns
		return m.alone(n, fmt.Sprintf("%s%s of [%s] over %s", n, flag(" final", n.Final), strings.Join(in.cols, ", "), in.text), nil)
	case *logical.Process:
		return m.alone(n, fmt.Sprintf("%s keys %s of [%s] over %s", n, list(n.Keys), strings.Join(in.cols, ", "), in.text), nil)
	default:
		m.unknown = true
	}
	return m.alone(n, head+" over "+in.text, cols)
}

func flag(text string, set bool) string {
	if set {
		return text
	}
	return ""
}

// named is an expression of a text alone.
func (m *maker) named(e expr.Expr, in []expr.Expr) expr.Expr {
	if e == nil {
		return nil
	}
	e = m.over(e, in)
	return &expr.Param{Name: m.text(e), DT: e.Type()}
}

func (m *maker) keys(ks []expr.SortKey, in []expr.Expr) string {
	return "[" + expr.SortKeys(m.sortKeys(ks, in)) + "]"
}

func (m *maker) sortKeys(ks []expr.SortKey, in []expr.Expr) []expr.SortKey {
	out := slices.Clone(ks)
	for i := range out {
		out[i].Expr = m.named(out[i].Expr, in)
	}
	return out
}

// aggregate prints a call over a block that is closed.
func (m *maker) aggregate(a *expr.AggCall, in []expr.Expr) string {
	c := *a
	c.Args = make([]expr.Expr, len(a.Args))
	for i, e := range a.Args {
		c.Args[i] = m.named(e, in)
	}
	if a.Filter != nil {
		c.Filter = m.named(a.Filter, in)
	}
	c.OrderBy = m.sortKeys(a.OrderBy, in)
	return c.String()
}

func (m *maker) analytic(a *expr.AnalyticCall, in []expr.Expr) string {
	es := slices.Clone(a.Exprs())
	for i, e := range es {
		es[i] = m.named(e, in)
	}
	return a.WithExprs(es).String()
}

// window adds its columns to the block: conditions on the others commute with it.
func (m *maker) window(n *logical.Window) *block {
	b := m.block(n.Input)
	l := &leaf{text: fmt.Sprintf("window %d %s %s %s", n.Kind, n.Size, n.Slide, n.Offset)}
	if n.Kind == logical.Session { // a row's window is up to the others
		in := m.close(b)
		l.text = fmt.Sprintf("session [%s] [%s] [%s] over %s", m.text(m.over(n.Time, b.out)), m.text(m.over(n.End, b.out)), strings.Join(m.texts(m.all(n.Partition, b.out)), ", "), in.text)
		return m.alone(n, l.text, in.cols)
	}
	l.on = []cond{{"time", []expr.Expr{m.over(n.Time, b.out)}}}
	b.leaves = append(b.leaves, l)
	for _, name := range []string{"start", "end", "time"} {
		b.out = append(b.out, m.column(l, name, n.Time))
	}
	return b
}

func (m *maker) generate(n *logical.Generate) *block {
	b := m.block(n.Input)
	l := &leaf{text: fmt.Sprintf("generate%s%s %d", flag(" inline", n.Inline), flag(" outer", n.Outer), n.Pos)}
	l.on = []cond{{"elements", m.all(n.Args, b.out)}}
	b.leaves = append(b.leaves, l)
	if n.Keep != nil {
		kept := make([]expr.Expr, len(n.Keep))
		for i, c := range n.Keep {
			kept[i] = b.out[c]
		}
		b.out = kept
	}
	for i, f := range n.Out {
		b.out = append(b.out, m.column(l, fmt.Sprint(i), &expr.Param{DT: f.Type}))
	}
	return b
}

// join makes one block of the sides of an inner join. Of an outer, semi or anti join
// the side that all rows come of is the block, and the other one a leaf in it.
func (m *maker) join(n *logical.Join) *block {
	l, r := n.Left, n.Right
	lk, rk := n.LeftKeys, n.RightKeys
	switch n.Kind {
	case logical.Inner, logical.Cross:
		b, o := m.block(l), m.block(r)
		width := b.out
		b.conds = append(b.conds, o.conds...)
		b.conds = append(b.conds, m.equal(n, m.all(lk, width), m.all(rk, o.out))...)
		b.leaves, b.out = append(b.leaves, o.leaves...), append(slices.Clone(width), o.out...)
		b.conds = append(b.conds, m.conditions(n.Residual, b.out)...)
		return b
	case logical.FullOuter:
		a, b := m.closed(l), m.closed(r)
		x, y := &leaf{text: a.text, name: "l"}, &leaf{text: b.text, name: "r"}
		xs, ys := m.columnsOf(x, a, l), m.columnsOf(y, b, r)
		on := m.condTexts(append(m.equal(n, m.all(lk, xs), m.all(rk, ys)), m.conditions(n.Residual, slices.Concat(xs, ys))...))
		return m.alone(n, fmt.Sprintf("full join l %s r %s on %s", a.text, b.text, strings.Join(on, " and ")), m.texts(slices.Concat(xs, ys)))
	case logical.RightOuter:
		l, r, lk, rk = r, l, rk, lk
	default: // the left one's rows come out
	}
	b, other := m.block(l), m.closed(r)
	leafOf := &leaf{text: fmt.Sprintf("%s join%s of %s", n.Kind, flag(" final", n.Final), other.text)}
	if n.Kind == logical.RightOuter {
		leafOf.text = fmt.Sprintf("%s join%s of %s", logical.LeftOuter, flag(" final", n.Final), other.text)
	}
	left, right := slices.Clone(b.out), m.columnsOf(leafOf, other, r)
	both := slices.Concat(left, right)
	if n.Kind == logical.RightOuter {
		both = slices.Concat(right, left)
	}
	leafOf.on = append([]cond{}, m.equal(n, m.all(lk, left), m.all(rk, right))...)
	leafOf.on = append(leafOf.on, m.conditions(n.Residual, both)...)
	b.leaves = append(b.leaves, leafOf)
	if b.out = both; n.Kind == logical.LeftSemi || n.Kind == logical.LeftAnti {
		b.out = left
	}
	return b
}

func (m *maker) closed(n logical.Node) closed { return m.close(m.block(n)) }

func (m *maker) columnsOf(l *leaf, c closed, n logical.Node) []expr.Expr {
	out := make([]expr.Expr, len(c.cols))
	for i, text := range c.cols {
		out[i] = m.column(l, "("+text+")", &expr.Param{DT: n.Schema().Field(i).Type})
	}
	return out
}

func (m *maker) equal(n *logical.Join, l, r []expr.Expr) []cond {
	var out []cond
	for i := range l {
		op := "="
		if i < len(n.NullSafe) && n.NullSafe[i] {
			op = "<=>"
		}
		out = append(out, cond{op, []expr.Expr{l[i], r[i]}})
	}
	return out
}

func (m *maker) union(n *logical.Union) *block {
	var texts []string
	cols := make([]string, n.Schema().NumFields())
	for k, in := range n.In {
		c := m.closed(in)
		texts = append(texts, c.text)
		for i := range cols {
			if k > 0 {
				cols[i] += "|"
			}
			cols[i] += c.cols[i]
		}
	}
	return m.alone(n, "union of "+strings.Join(texts, ", "), cols)
}
