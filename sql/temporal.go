package sql

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// asOfTable recognises a table FOR SYSTEM_TIME AS OF x, perhaps with an alias, and
// returns the same without that.
func asOfTable(t ast.Table) (*ast.AsOf, ast.Table) {
	switch t := t.(type) {
	case *ast.TableName:
		if t.AsOf != nil {
			plain := *t
			plain.AsOf = nil
			return t.AsOf, &plain
		}
	case *ast.Aliased:
		if of, inner := asOfTable(t.Input); of != nil {
			named := *t
			named.Input = inner
			return of, &named
		}
	}
	return nil, nil
}

// temporalJoin joins each row of the left side to the version of the right side's
// row that was in force at a time of the left row: of the rows with equal keys the
// last one whose event time is not after it. Where that time is the batch's own, the
// right side is looked up as it is then.
func (b *binder) temporalJoin(t *ast.Join, l *scope, of *ast.AsOf, table ast.Table) (*scope, error) {
	if of.Kind != "SYSTEM_TIME" {
		return nil, unsupported(of.Pos, "FOR "+of.Kind+" AS OF")
	}
	r, err := b.table(table)
	if err != nil {
		return nil, err
	}
	x := &exprBinder{b: b, sc: l, clause: "FOR SYSTEM_TIME AS OF"}
	at, err := x.bind(of.X)
	if err != nil {
		return nil, err
	}
	if ofTheClock(at, l) {
		return b.lookupJoin(t, l, r)
	}
	w, ok := r.node.(*logical.Watermark)
	if !ok {
		return nil, ast.Errorf(of.Pos, "FOR SYSTEM_TIME AS OF needs to know when each row of %s came into force", ast.SQL(table)).
			WithHint("declare a WATERMARK for the table, write an ASOF JOIN, or name a column that is PROCTIME() to meet the table as it is")
	}
	a := &asof{l: l, r: r, kind: joinKinds[t.Kind]}
	switch {
	case a.kind != logical.Inner && a.kind != logical.LeftOuter:
		return nil, ast.Errorf(t.Pos, "a join FOR SYSTEM_TIME AS OF is INNER or LEFT, not %s", strings.ToUpper(a.kind.String()))
	case t.Natural:
		return nil, ast.Errorf(t.Pos, "a join FOR SYSTEM_TIME AS OF takes ON or USING, not NATURAL")
	}
	if at.Type().ID() != arrow.TIMESTAMP {
		return nil, ast.Errorf(of.X.Position(), "FOR SYSTEM_TIME AS OF needs a TIMESTAMP of the left table, found %s", short(ast.SQL(of.X)))
	}
	if err := a.using(t.Using, len(t.Using)); err != nil {
		return nil, err
	}
	if t.On != nil {
		if err := a.on(b, t.On); err != nil {
			return nil, err
		}
	}
	if len(a.lk) == 0 {
		return nil, ast.Errorf(t.Pos, "a join FOR SYSTEM_TIME AS OF needs ON with equal keys")
	}
	if err := a.compare(of.Pos, ">=", at, columnOf(w.Col, r.node.Schema().Field(w.Col))); err != nil {
		return nil, err
	}
	sc, err := a.plan()
	if err != nil || t.Using == nil {
		return sc, err
	}
	return mergeUsing(l, sc, t.Using, a.kind), nil
}
