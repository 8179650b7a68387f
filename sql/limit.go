package sql

import (
	"math"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// numbered applies a LIMIT or OFFSET that only the data tells: the rows are numbered
// in their order, and those up to what the subquery says stay. NULL is no limit.
func (b *binder) numbered(sc *scope, q *ast.Query) error {
	out, node := sc.node, sc.node
	var drop *logical.Project
	if p, ok := node.(*logical.Project); ok {
		if _, ok := p.Input.(*logical.Sort); ok {
			drop, node = p, p.Input
		}
	}
	an := &logical.Analytic{Input: node}
	if s, ok := node.(*logical.Sort); ok {
		an.Input, an.Order = sortColumns(s)
	}
	an.Calls = []*expr.AnalyticCall{{Kind: expr.RowNumber, N: 1, Name: "row", DT: expr.TypeInt32}}
	width := node.Schema().NumFields()
	at := an.Schema().NumFields() - 1
	row := columnOf(at, an.Schema().Field(at))
	x := &exprBinder{b: b, sc: &scope{node: an}, clause: "WHERE"}
	first, err := x.rows(q.Offset, 0)
	if err != nil {
		return err
	}
	many, err := x.rows(q.Limit, math.MaxInt64)
	if err != nil {
		return err
	}
	behind, err := x.apply(q.Pos, "-", row, first)
	if err != nil {
		return err
	}
	from, err := x.apply(q.Pos, ">", row, first)
	if err != nil {
		return err
	}
	upto, err := x.apply(q.Pos, "<=", behind, many)
	if err != nil {
		return err
	}
	node = &logical.Filter{Input: x.sc.node, Cond: expr.AndAll([]expr.Expr{from, upto})}
	node = &logical.Sort{Input: node, Keys: []expr.SortKey{{Expr: row}}}
	_, names := columnsAndNames(out)
	es := columnsFrom(node, 0)[:width]
	if names = names[:width]; drop != nil {
		es, names = drop.Exprs, drop.Names
	}
	sc.node = &logical.Project{Input: node, Exprs: es, Names: names}
	return nil
}

// sortColumns takes the input and keys of a Sort, with keys that are columns.
func sortColumns(s *logical.Sort) (logical.Node, []expr.SortKey) {
	es, names := columnsAndNames(s.Input)
	keys := make([]expr.SortKey, len(s.Keys))
	for i, k := range s.Keys {
		keys[i] = k
		if _, ok := k.Expr.(*expr.Column); ok {
			continue
		}
		keys[i].Expr = &expr.Column{Index: len(es), Name: "sort_key", DT: k.Expr.Type(), Null: k.Expr.Nullable()}
		es, names = append(es, k.Expr), append(names, "sort_key")
	}
	return project(s.Input, es, names), keys
}

// rows binds a number of rows as BIGINT.
func (x *exprBinder) rows(e ast.Expr, none int64) (expr.Expr, error) {
	if e == nil {
		return expr.Int64(none), nil
	}
	v, err := x.bind(e)
	if err != nil {
		return nil, err
	}
	if id := v.Type().ID(); (id < arrow.UINT8 || id > arrow.INT64) && id != arrow.NULL {
		return nil, ast.Errorf(e.Position(), "LIMIT and OFFSET need a whole number, found %s", expr.TypeName(v.Type()))
	}
	if v, err = cast(e.Position(), v, expr.TypeInt64, false); err != nil {
		return nil, err
	}
	return x.apply(e.Position(), "coalesce", v, expr.Int64(none))
}
