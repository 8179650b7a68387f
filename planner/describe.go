package planner

import (
	"fmt"
	"strings"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// describe writes down what a fragment computes and where it goes, scans by their table and not by
// their place in the plan: fragments with equal texts give equal rows. ok is false
// for what may differ each time, or is not written down in full.
func (b *builder) describe(f *fragment, out physical.Output) (text string, ok bool) {
	d := describer{b: b, ok: f.kind != physical.Splits || len(f.sources) > 0}
	fmt.Fprintf(&d.text, "%d %T\n", f.kind, out)
	if h, ok := out.(physical.ToHash); ok {
		d.exprs(h.Keys)
	}
	d.node(f.root, 0)
	return d.text.String(), d.ok
}

type describer struct {
	b    *builder
	text strings.Builder
	ok   bool
}

func (d *describer) node(n physical.Node, depth int) {
	line := n.String()
	if s, ok := n.(*physical.Scan); ok {
		c := *s
		c.Source = c.Table
		line = c.String()
	}
	fmt.Fprintf(&d.text, "%d %s %s\n", depth, line, n.Schema())
	switch n := n.(type) {
	case *physical.Scan:
		t := d.b.query.Tables[n.Source]
		fmt.Fprintf(&d.text, "%s %s %v %p %v\n", t.Name, t.Connector, t.Options, t.Data, n.Columns)
	case *physical.Values:
		for _, row := range n.Rows {
			d.exprs(row)
		}
	case *physical.Filter:
		d.exprs([]expr.Expr{n.Cond})
	case *physical.Project:
		d.exprs(n.Exprs)
	case *physical.HashJoin:
		d.exprs(n.LeftKeys)
		d.exprs(n.RightKeys)
		fmt.Fprintln(&d.text, n.Keep)
		if n.Residual != nil {
			d.exprs([]expr.Expr{n.Residual})
		}
	case *physical.PartialAggregate:
		d.exprs(n.Keys)
		d.aggs(n.Aggs)
	case *physical.FinalAggregate:
		d.aggs(n.Aggs)
	case *physical.CompleteAggregate:
		d.exprs(n.Keys)
		d.aggs(n.Aggs)
	case *physical.ExchangeRead:
	default:
		d.ok = false
	}
	for _, in := range n.Inputs() {
		d.node(in, depth+1)
	}
}

func (d *describer) aggs(as []*expr.AggCall) {
	for _, a := range as {
		d.exprs(a.Args)
		if a.Filter != nil {
			d.exprs([]expr.Expr{a.Filter})
		}
		for _, k := range a.OrderBy {
			d.exprs([]expr.Expr{k.Expr})
		}
	}
}

// exprs writes expressions with the types of all their parts, which their text
// leaves out.
func (d *describer) exprs(es []expr.Expr) {
	for _, e := range es {
		d.ok = d.ok && expr.Deterministic(e)
		fmt.Fprint(&d.text, e)
		expr.Walk(e, func(x expr.Expr) bool {
			fmt.Fprintf(&d.text, " %s", expr.TypeName(x.Type()))
			return true
		})
		d.text.WriteString("\n")
	}
}
