package sql

import (
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// asof is an ASOF join while it is bound: each row of the left side meets of the
// rows on the right with equal keys the nearest one in the direction that one
// inequality says.
//
// It has no operator of its own. The rows of both sides are put together, parted
// by the keys and ordered by the times, and the last row of the right side seen
// so far is what a left row meets: a window function, which spills, runs on every
// core and is kept up to date over streams as any other.
type asof struct {
	l, r  *scope
	kind  logical.JoinKind
	lk    []expr.Expr // keys over the left side
	rk    []expr.Expr // keys over the right side
	lt    expr.Expr   // what is compared with rt
	rt    expr.Expr
	op    string // lt op rt: >=, >, <= or <
	found ast.Pos
}

// mirror is what an inequality is with its sides exchanged.
var mirror = map[string]string{">=": "<=", ">": "<", "<=": ">=", "<": ">"}

// asofJoin binds ASOF JOIN .. ON (keys and one inequality), .. USING (keys, time)
// and .. MATCH_CONDITION (inequality) ON or USING (keys).
func (b *binder) asofJoin(t *ast.Join, l, r *scope) (*scope, error) {
	a := &asof{l: l, r: r, kind: joinKinds[t.Kind], found: t.Pos}
	switch a.kind {
	case logical.RightOuter, logical.FullOuter:
		return nil, ast.Errorf(t.Pos, "an ASOF join keeps rows of the left side alone: it is INNER, LEFT, SEMI or ANTI").
			WithHint("exchange the tables")
	case logical.Cross:
		return nil, ast.Errorf(t.Pos, "an ASOF join needs ON with one inequality, and is not CROSS")
	case logical.Inner, logical.LeftOuter, logical.LeftSemi, logical.LeftAnti:
	}
	var using []ast.Ident
	if t.Natural {
		using = common(l, r, t.Pos)
	} else {
		using = t.Using
	}
	times := len(using)
	if t.Match == nil && t.On == nil {
		times--
		if times < 0 {
			return nil, ast.Errorf(t.Pos, "an ASOF join needs ON with one inequality, or USING whose last column is the time")
		}
	}
	if err := a.using(using, times); err != nil {
		return nil, err
	}
	for _, cond := range []ast.Expr{t.Match, t.On} {
		if cond == nil {
			continue
		}
		if err := a.on(b, cond); err != nil {
			return nil, err
		}
	}
	if a.lt == nil {
		return nil, ast.Errorf(t.Pos, "an ASOF join needs one inequality between the two sides, such as a.ts >= b.ts")
	}
	sc, err := a.plan()
	if err != nil || using == nil {
		return sc, err
	}
	return mergeUsing(l, sc, using, a.kind), nil
}

// using adds columns of equal names; the one at times is the time, compared by >=.
func (a *asof) using(names []ast.Ident, times int) error {
	for i, id := range names {
		li, err := usingColumn(a.l, id, "left")
		if err != nil {
			return err
		}
		ri, err := usingColumn(a.r, id, "right")
		if err != nil {
			return err
		}
		if i == times {
			if err := a.compare(id.Pos, ">=", a.l.cols[li].e, a.r.cols[ri].e); err != nil {
				return err
			}
			continue
		}
		if err := a.key(id.Pos, a.l.cols[li].e, a.r.cols[ri].e); err != nil {
			return err
		}
	}
	return nil
}

// on takes a condition apart into equal keys and the inequality.
func (a *asof) on(b *binder, cond ast.Expr) error {
	n := a.l.node.Schema().NumFields()
	both := joined(a.l, a.r, &logical.Join{Left: a.l.node, Right: a.r.node, Kind: logical.Inner})
	x := &exprBinder{b: b, sc: both, clause: "the ON of an ASOF join"}
	back := func(e expr.Expr) expr.Expr { return expr.Remap(e, func(i int) int { return i - n }) }
	for _, c := range conjuncts(cond) {
		e, err := x.condition(c)
		if err != nil {
			return err
		}
		if l, ok := e.(*expr.Literal); ok && l.Value == true {
			continue
		}
		call, ok := e.(*expr.Call)
		op := ""
		if ok && len(call.Args) == 2 {
			op = call.Func.Infix
		}
		if op != "=" && mirror[op] == "" {
			return a.refuse(c)
		}
		l, r := call.Args[0], call.Args[1]
		switch ls, rs := sideOf(l, n), sideOf(r, n); {
		case ls == 1 && rs == 2:
		case ls == 2 && rs == 1:
			l, r = r, l
			if op != "=" {
				op = mirror[op]
			}
		default:
			return a.refuse(c)
		}
		if op == "=" {
			err = a.key(c.Position(), l, back(r))
		} else {
			err = a.compare(c.Position(), op, l, back(r))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *asof) refuse(c ast.Expr) error {
	return ast.Errorf(c.Position(), "an ASOF join compares its two sides: equal keys and one of >=, >, <=, <; found %s", short(ast.SQL(c))).
		WithHint("filter in WHERE or in a subquery")
}

func (a *asof) key(pos ast.Pos, l, r expr.Expr) error {
	both, _, err := functions.Coerce("join key", []expr.Expr{l, r})
	if err != nil {
		return ast.Errorf(pos, "ASOF JOIN: %w", err)
	}
	a.lk, a.rk = append(a.lk, both[0]), append(a.rk, both[1])
	return nil
}

func (a *asof) compare(pos ast.Pos, op string, l, r expr.Expr) error {
	if a.lt != nil {
		return ast.Errorf(pos, "an ASOF join has one inequality; this is a second one")
	}
	both, dt, err := functions.Coerce("the times of an ASOF join", []expr.Expr{l, r})
	if err != nil {
		return ast.Errorf(pos, "ASOF JOIN: %w", err)
	}
	if dt.ID() == arrow.MAP {
		return ast.Errorf(pos, "values of type %s have no order", expr.TypeName(dt))
	}
	a.lt, a.rt, a.op = both[0], both[1], op
	return nil
}

// plan puts both sides together: the columns of the left side (NULL for a row of
// the right one), those of the right side as one struct (NULL for a row of the
// left one), the keys, the time, and which side a row is of.
func (a *asof) plan() (*scope, error) {
	nl := a.l.node.Schema().NumFields()
	pair, err := wholeRow(a.r.node)
	if err != nil {
		return nil, err
	}
	rows := func(in logical.Node, left bool, keys []expr.Expr, time expr.Expr) *logical.Project {
		p := &logical.Project{Input: in}
		add := func(e expr.Expr, name string) { p.Exprs, p.Names = append(p.Exprs, e), append(p.Names, name) }
		for i, f := range a.l.node.Schema().Fields() {
			if left {
				add(columnOf(i, f), f.Name)
			} else {
				add(expr.NullOf(f.Type), f.Name)
			}
		}
		if left {
			add(expr.NullOf(pair.Type()), "right")
		} else {
			add(pair, "right")
		}
		for _, k := range keys {
			add(k, "key")
		}
		add(time, "time")
		add(expr.Bool(left), "left")
		return p
	}
	right, err := a.known()
	if err != nil {
		return nil, err
	}
	u := &logical.Union{In: []logical.Node{rows(a.l.node, true, a.lk, a.lt), rows(right, false, a.rk, a.rt)}}
	at := func(i int) *expr.Column { return columnOf(i, u.Schema().Field(i)) }
	an := &logical.Analytic{Input: u}
	for i := range a.lk {
		an.Partition = append(an.Partition, at(nl+1+i))
	}
	time, side := at(nl+1+len(a.lk)), at(nl+2+len(a.lk))
	// The rows on the right that count come before the row on the left. A left row
	// without a time is before them all.
	desc := a.op == "<=" || a.op == "<"
	equal := a.op == ">=" || a.op == "<="
	an.Order = []expr.SortKey{{Expr: time, Desc: desc, NullsFirst: true}, {Expr: side, Desc: !equal, NullsFirst: true}}
	an.Calls = []*expr.AnalyticCall{{
		Kind: expr.NthValue, Args: []expr.Expr{at(nl)}, N: -1, IgnoreNulls: true, Name: "met", DT: pair.Type(), Null: true,
		Frame: expr.Frame{Unit: expr.FrameRows, Start: expr.FrameBound{Kind: expr.UnboundedPreceding}, End: expr.FrameBound{Kind: expr.CurrentRow}},
	}}
	return a.output(an, side)
}

// known drops the rows on the right that can meet none: those without a key or time.
func (a *asof) known() (logical.Node, error) {
	var all []expr.Expr
	for _, e := range append(slices.Clone(a.rk), a.rt) {
		if !e.Nullable() {
			continue
		}
		c, err := functions.Scalar("is_not_null", []expr.Expr{e})
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return a.r.node, nil
	}
	return &logical.Filter{Input: a.r.node, Cond: expr.AndAll(all)}, nil
}

// output keeps the rows of the left side and takes the struct of the row that each
// has met apart.
func (a *asof) output(an *logical.Analytic, side expr.Expr) (*scope, error) {
	s := an.Schema()
	met := columnOf(s.NumFields()-1, s.Field(s.NumFields()-1))
	cond := []expr.Expr{side}
	if a.kind != logical.LeftOuter {
		test := "is_not_null"
		if a.kind == logical.LeftAnti {
			test = "is_null"
		}
		c, err := functions.Scalar(test, []expr.Expr{met})
		if err != nil {
			return nil, err
		}
		cond = append(cond, c)
	}
	p := &logical.Project{Input: &logical.Filter{Input: an, Cond: expr.AndAll(cond)}}
	for i, f := range a.l.node.Schema().Fields() {
		e := columnOf(i, f)
		p.Exprs, p.Names = append(p.Exprs, e), append(p.Names, f.Name)
	}
	st := met.DT.(*arrow.StructType)
	kind := logical.LeftOuter
	if a.kind == logical.LeftSemi || a.kind == logical.LeftAnti {
		kind, st = a.kind, arrow.StructOf()
	}
	for i, f := range st.Fields() {
		p.Exprs = append(p.Exprs, &expr.Field{Arg: met, Index: i, Name: f.Name, DT: f.Type})
		p.Names = append(p.Names, f.Name)
	}
	sc := joined(a.l, a.r, &logical.Join{Left: a.l.node, Right: a.r.node, Kind: kind})
	for i := range sc.cols[:len(a.l.cols)] {
		sc.cols[i].e = moved(sc.cols[i].e, 0, true)
	}
	sc.node = p
	return sc, nil
}

// wholeRow makes one struct of all columns of a plan. Names may repeat in a plan,
// but not in a struct.
func wholeRow(n logical.Node) (expr.Expr, error) {
	var args []expr.Expr
	seen := map[string]bool{}
	for i, f := range n.Schema().Fields() {
		name := f.Name
		for seen[strings.ToLower(name)] {
			name += "_"
		}
		seen[strings.ToLower(name)] = true
		args = append(args, expr.Text(name), columnOf(i, f))
	}
	return functions.Scalar("named_struct", args)
}

// mergeUsing puts each column of USING in front, once.
func mergeUsing(l, sc *scope, using []ast.Ident, kind logical.JoinKind) *scope {
	if kind == logical.LeftSemi || kind == logical.LeftAnti {
		return sc
	}
	front := make([]scopeCol, len(using))
	for k, id := range using {
		for i := range sc.cols {
			c := &sc.cols[i]
			if !strings.EqualFold(c.name, id.Name) || c.hidden {
				continue
			}
			if i < len(l.cols) {
				front[k] = scopeCol{name: id.Name, e: c.e}
			}
			c.hidden = true
		}
	}
	sc.cols = append(front, sc.cols...)
	sc.byName = nil
	return sc
}
