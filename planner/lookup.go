package planner

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// keyedScan finds the scan of a table that streams can only look up by key, on the right
// side of a join; nil if there is none.
func (b *builder) keyedScan(n logical.Node) (found *logical.Scan) {
	if !b.opts.Stream {
		return nil
	}
	logical.Walk(n, func(x logical.Node) bool {
		if s, ok := x.(*logical.Scan); ok && s.Table.Keyed && s.Table.Lookup {
			found = s
		}
		return found == nil
	})
	return found
}

// lookupJoin plans a join with a table that is asked for the rows of a batch's keys: its
// body is the join itself, over the rows and what was found for them.
func (b *builder) lookupJoin(n *logical.Join, scan *logical.Scan) (*fragment, error) {
	l, err := b.under(n.Left)
	if err != nil {
		return nil, err
	}
	name := scan.Table.Name
	switch {
	case l.changes:
		return nil, refuse(n.String(), "the rows that look a table up may be taken back, and it may have changed since they met it; join before what changes them")
	case l.static:
		return nil, refuse(n.String(), "rows that come once cannot look up table "+name+"; read a stream on the left side")
	}
	j := &physical.LookupJoin{Table: name, Columns: scan.Columns, Left: workTables + b.tables, Right: workTables + b.tables + 1}
	b.tables += 2
	for i, k := range n.RightKeys {
		at, ok := scanned(k, n.Right)
		if !ok || i < len(n.NullSafe) && n.NullSafe[i] {
			continue // the body compares it
		}
		if scan.Columns != nil {
			at = scan.Columns[at]
		}
		j.On, j.Keys = append(j.On, at), append(j.Keys, n.LeftKeys[i])
	}
	if len(j.On) == 0 {
		return nil, refuse(n.String(), fmt.Sprintf("rows of table %s are looked up by key: compare columns of it, as they are, with '='", name))
	}
	if n.Kind != logical.Inner && n.Kind != logical.LeftOuter {
		return nil, refuse(n.String(), "rows are looked up by INNER and LEFT joins alone")
	}
	right, err := b.build(replaceScan(n.Right, scan, &logical.WorkTable{ID: j.Right, Name: name, Out: scan.Schema()}))
	if err != nil {
		return nil, err
	}
	body := b.localJoin(&physical.HashJoin{
		Kind: n.Kind, LeftKeys: n.LeftKeys, RightKeys: n.RightKeys, NullSafe: n.NullSafe, Residual: n.Residual, Out: n.Schema(),
	}, workTable(&logical.WorkTable{ID: j.Left, Out: l.root.Schema()}), right)
	if len(body.inputs) > 0 || len(body.sources) > 0 {
		return nil, refuse(n.String(), fmt.Sprintf("beside table %s other tables are joined to what is looked up; join them one after the other", name))
	}
	j.Source = fmt.Sprintf("%s#lookup%d", name, len(b.plan.Lookups))
	b.plan.Lookups = append(b.plan.Lookups, physical.Source{Name: j.Source, Table: name, Lookup: true})
	b.query.Tables[j.Source] = scan.Table
	j.Input, j.Body = l.root, body.root
	return l.wrap(j), nil
}

// replaceScan puts another leaf in the place of a scan.
func replaceScan(n logical.Node, scan *logical.Scan, leaf logical.Node) logical.Node {
	return logical.Transform(n, func(x logical.Node) logical.Node {
		if s, ok := x.(*logical.Scan); ok && s.Table == scan.Table {
			return leaf
		}
		return x
	})
}

// scanned follows a column down to the scan below filters and projections. A number that
// is only widened is the column for that matter.
func scanned(e expr.Expr, n logical.Node) (int, bool) {
	if c, ok := e.(*expr.Cast); ok && widened(c.Arg.Type(), c.DT) {
		e = c.Arg
	}
	c, ok := e.(*expr.Column)
	if !ok {
		return 0, false
	}
	switch n := n.(type) {
	case *logical.Scan:
		return c.Index, true
	case *logical.Filter:
		return scanned(c, n.Input)
	case *logical.Project:
		return scanned(n.Exprs[c.Index], n.Input)
	}
	return 0, false
}

func widened(from, to arrow.DataType) bool {
	whole := func(t arrow.DataType) bool { return arrow.IsInteger(t.ID()) }
	decimal := func(t arrow.DataType) bool { return t.ID() == arrow.DECIMAL128 }
	floating := func(t arrow.DataType) bool { return arrow.IsFloating(t.ID()) }
	return whole(from) && whole(to) || decimal(from) && decimal(to) || floating(from) && floating(to)
}
