package sql

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// setOp binds UNION, INTERSECT and EXCEPT. A chain of one operation is bound in
// a loop: it may be thousands long.
func (b *binder) setOp(q *ast.SetOp) (*scope, error) {
	parts := []ast.QueryBody{q.R}
	left := q.L
	for q.Op == "UNION" {
		l, ok := left.(*ast.SetOp)
		if !ok || l.Op != q.Op || l.All != q.All || l.ByName || q.ByName {
			break
		}
		parts = append(parts, l.R)
		left = l.L
	}
	parts = append(parts, left)
	ins := make([]*scope, 0, len(parts))
	for i := len(parts) - 1; i >= 0; i-- {
		sc, err := b.body(parts[i])
		if err != nil {
			return nil, err
		}
		sc = sc.projected()
		if q.ByName && len(ins) > 0 {
			if err := byName(q.Pos, ins[0], sc); err != nil {
				return nil, err
			}
		}
		if len(ins) > 0 && len(sc.cols) != len(ins[0].cols) {
			return nil, ast.Errorf(parts[i].Position(), "the sides of %s have %d and %d columns", q.Op, len(ins[0].cols), len(sc.cols))
		}
		ins = append(ins, sc)
	}
	if err := unify(q, ins); err != nil {
		return nil, err
	}
	return newScope(setPlan(q, ins), ""), nil
}

// byName gives both sides the columns of either: the left side's first, then those
// that only the right side has.
func byName(pos ast.Pos, l, r *scope) error {
	for _, sc := range []*scope{l, r} {
		for i := range sc.cols {
			if len(sc.named(sc.cols[i].name)) > 1 {
				return ast.Errorf(pos, "UNION BY NAME: a side has several columns %q", sc.cols[i].name)
			}
		}
	}
	var les, res []expr.Expr
	var names []string
	for _, c := range l.cols {
		e := expr.Expr(expr.NullOf(arrow.Null))
		if at := r.named(c.name); len(at) == 1 {
			e = r.cols[at[0]].e
		}
		les, res, names = append(les, c.e), append(res, e), append(names, c.name)
	}
	for _, c := range r.cols {
		if len(l.named(c.name)) == 0 {
			les, res, names = append(les, expr.NullOf(arrow.Null)), append(res, c.e), append(names, c.name)
		}
	}
	*l = *newScope(project(l.node, les, names), "")
	*r = *newScope(project(r.node, res, names), "")
	return nil
}

// unify casts the columns of all sides to common types.
func unify(q *ast.SetOp, ins []*scope) error {
	width := len(ins[0].cols)
	types := make([]arrow.DataType, width)
	for c := range width {
		types[c] = ins[0].cols[c].e.Type()
		for i, sc := range ins[1:] {
			t, ok := functions.CommonType(types[c], sc.cols[c].e.Type())
			if !ok {
				return ast.Errorf(q.Pos, "%s: column %d is %s on one side and %s on side %d", q.Op, c+1,
					expr.TypeName(types[c]), expr.TypeName(sc.cols[c].e.Type()), i+2)
			}
			types[c] = t
		}
	}
	for _, sc := range ins {
		es, names, changed := make([]expr.Expr, width), make([]string, width), false
		for c := range width {
			e, err := cast(q.Pos, sc.cols[c].e, types[c], false)
			if err != nil {
				return err
			}
			changed = changed || e != sc.cols[c].e
			es[c], names[c] = e, sc.cols[c].name
		}
		if changed {
			sc.node = &logical.Project{Input: sc.node, Exprs: es, Names: names}
		}
	}
	return nil
}

// setPlan combines the sides. INTERSECT and EXCEPT are semi and anti joins in
// which NULL equals NULL.
func setPlan(q *ast.SetOp, ins []*scope) logical.Node {
	if q.Op != "UNION" && q.All {
		return multisetPlan(q, ins)
	}
	if q.Op == "UNION" {
		u := &logical.Union{}
		for _, sc := range ins {
			u.In = append(u.In, sc.node)
		}
		if q.All {
			return u
		}
		return &logical.Distinct{Input: u}
	}
	j := &logical.Join{Left: &logical.Distinct{Input: ins[0].node}, Right: ins[1].node, Kind: logical.LeftSemi}
	if q.Op == "EXCEPT" {
		j.Kind = logical.LeftAnti
	}
	right := j.Right.Schema()
	for i, f := range j.Left.Schema().Fields() {
		j.LeftKeys = append(j.LeftKeys, columnOf(i, f))
		j.RightKeys = append(j.RightKeys, columnOf(i, right.Field(i)))
		j.NullSafe = append(j.NullSafe, true)
	}
	return j
}

// valuesScope makes a constant table of columns that are bound already.
func valuesScope(pos ast.Pos, cols [][]expr.Expr, rows int) (*scope, error) {
	v := &logical.Values{Rows: make([][]expr.Expr, rows)}
	fields := make([]arrow.Field, len(cols))
	for j, col := range cols {
		es, dt, err := functions.Coerce(fmt.Sprintf("column %d of VALUES", j+1), col)
		if err != nil {
			return nil, at(pos, err)
		}
		fields[j] = arrow.Field{Name: fmt.Sprintf("col%d", j+1), Type: dt}
		for i, e := range es {
			v.Rows[i] = append(v.Rows[i], e)
			fields[j].Nullable = fields[j].Nullable || e.Nullable()
		}
	}
	v.Out = arrow.NewSchema(fields, nil)
	return newScope(v, ""), nil
}
