package canon

import (
	"fmt"
	"strings"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/rules"
)

// Of says what an operator of a kind computes that has been planned for a node; "" if
// that cannot be said. An operator that keeps rows of its input, not only what it has
// made of them, depends on their columns and how they are ordered, too.
func Of(kind string, n logical.Node, rows bool) string {
	for _, simplify := range []func(logical.Node) (logical.Node, error){rules.FoldConstants, rules.FactorConditions} {
		var err error
		if n, err = simplify(n); err != nil {
			return ""
		}
	}
	m := &maker{}
	text := kind + ": " + m.of(n, rows)
	if m.unknown {
		return ""
	}
	return text
}

func (m *maker) of(n logical.Node, rows bool) string {
	var text string
	switch n := n.(type) {
	case *logical.Join:
		text = m.ofJoin(n)
	case *logical.Aggregate: // in the order in which the state has them
		b := m.block(n.Input)
		in := m.close(b)
		var aggs []string
		for _, a := range n.Aggs {
			aggs = append(aggs, m.aggregate(a, b.out))
		}
		text = fmt.Sprintf("aggregate%s by [%s] [%s] over %s", flag(" final", n.Final), strings.Join(m.texts(m.all(n.Keys, b.out)), ", "), strings.Join(aggs, ", "), in.text)
	default:
		c := m.closed(n)
		text = c.text + " columns [" + strings.Join(c.cols, ", ") + "]"
	}
	if rows {
		for _, in := range n.Inputs() {
			text += " input [" + strings.Join(m.closed(in).cols, ", ") + "]"
		}
	}
	return text
}

// ofJoin keeps the sides apart: each has its rows in the state.
func (m *maker) ofJoin(n *logical.Join) string {
	a, b := m.closed(n.Left), m.closed(n.Right)
	l, r := &leaf{name: "l"}, &leaf{name: "r"}
	ls, rs := m.columnsOf(l, a, n.Left), m.columnsOf(r, b, n.Right)
	var on []string
	for _, c := range m.equal(n, m.all(n.LeftKeys, ls), m.all(n.RightKeys, rs)) {
		on = append(on, m.texts(c.args)[0]+" "+c.text+" "+m.texts(c.args)[1])
	}
	on = append(on, m.condTexts(m.conditions(n.Residual, append(append([]expr.Expr{}, ls...), rs...)))...)
	return fmt.Sprintf("%s join%s l %s r %s on %s", n.Kind, flag(" final", n.Final), a.text, b.text, strings.Join(on, " and "))
}
