package sql

import (
	"strings"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// ofTheClock reports whether an expression over the left side is the time of the
// batch: PROCTIME(), or a column that is.
func ofTheClock(e expr.Expr, l *scope) bool {
	t, ok := incremental.EndOf(e, l.node)
	return ok && t.Clock && t.Shift == 0
}

// lookupJoin joins each row of the left side to what the right side's table holds
// when the row's batch is planned. The table is read whole, once for each version of
// it, and never as a stream.
func (b *binder) lookupJoin(t *ast.Join, l, r *scope) (*scope, error) {
	kind := joinKinds[t.Kind]
	switch {
	case kind != logical.Inner && kind != logical.LeftOuter:
		return nil, ast.Errorf(t.Pos, "a join FOR SYSTEM_TIME AS OF is INNER or LEFT, not %s", strings.ToUpper(kind.String()))
	case t.Natural:
		return nil, ast.Errorf(t.Pos, "a join FOR SYSTEM_TIME AS OF takes ON or USING, not NATURAL")
	case t.On == nil && t.Using == nil:
		return nil, ast.Errorf(t.Pos, "a join FOR SYSTEM_TIME AS OF needs ON or USING")
	}
	now := *r
	now.node = asTable(r.node)
	j := &logical.Join{Left: l.node, Right: now.node, Kind: kind}
	if t.Using != nil {
		return b.joinUsing(l, &now, j, t.Using)
	}
	both := joined(l, &now, &logical.Join{Left: l.node, Right: now.node, Kind: logical.Inner})
	x := &exprBinder{b: b, sc: both, clause: "ON"}
	cond, err := x.condition(t.On)
	if err != nil {
		return nil, err
	}
	if err := splitCondition(j, cond); err != nil {
		return nil, ast.Errorf(t.On.Position(), "%w", err)
	}
	return joined(l, &now, j), nil
}

// asTable reads whole what would else be a stream. It has no event time to wait for.
func asTable(n logical.Node) logical.Node {
	return logical.Transform(n, func(n logical.Node) logical.Node {
		switch n := n.(type) {
		case *logical.Watermark:
			return n.Input
		case *logical.Scan:
			s, t := *n, *n.Table
			t.Stream, t.Lookup = false, true
			s.Table = &t
			return &s
		}
		return n
	})
}
