package sql

import (
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// sessionTable binds SESSION(TABLE t [PARTITION BY k], DESCRIPTOR(ts), gap): the
// rows of a partition that follow each other within the gap are of one window.
func (b *binder) sessionTable(t *ast.TableFunc) (*scope, error) {
	const name = "SESSION"
	if t.Ordinality || t.Call.Distinct || t.Call.OrderBy != nil || t.Call.Nulls != "" || t.Call.WithinGroup != nil {
		return nil, ast.Errorf(t.Pos, "%s takes arguments alone: neither DISTINCT, ORDER BY nor WITH ORDINALITY", name)
	}
	args, err := namedArgs(t.Call, name, []string{"DATA", "TIMECOL", "GAP"}, 3)
	if err != nil {
		return nil, err
	}
	data := args["DATA"]
	var by []ast.Expr
	if ta, ok := data.(*ast.TableArg); ok {
		c := *ta
		by, c.PartitionBy = ta.PartitionBy, nil
		data = &c
	}
	sc, err := b.windowData(data, name)
	if err != nil {
		return nil, err
	}
	w := &logical.Window{Kind: logical.Session}
	x := &exprBinder{b: b, sc: sc, clause: name}
	for _, e := range by {
		k, err := x.bind(e)
		if err != nil {
			return nil, err
		}
		w.Partition = append(w.Partition, k)
	}
	if w.Time, err = b.timeColumn(sc, args["TIMECOL"], name); err != nil {
		return nil, err
	}
	if w.End, err = x.sessionEnd(w.Time, args["GAP"], name+": GAP"); err != nil {
		return nil, err
	}
	if err := x.sessionRows(args["GAP"].Position(), w); err != nil {
		return nil, err
	}
	addWindow(sc, w)
	return sc, nil
}

// sessionEnd binds when a row's own gap is over: its time and the gap, which is
// an interval or a text of one, the same for all rows or computed from each.
func (x *exprBinder) sessionEnd(ts expr.Expr, gap ast.Expr, what string) (expr.Expr, error) {
	switch e := gap.(type) {
	case *ast.Interval:
	case *ast.Literal:
		if e.Kind != ast.LitString {
			return nil, ast.Errorf(e.Pos, "%s must be an interval such as INTERVAL '10' MINUTE or '10 minutes'", what)
		}
	default:
		g, err := x.bind(intervalTexts(gap))
		if err != nil {
			return nil, err
		}
		if g.Type().ID() == arrow.STRING {
			if g, err = cast(gap.Position(), g, expr.TypeDuration, false); err != nil {
				return nil, err
			}
		}
		if id := g.Type().ID(); id != arrow.DURATION && id != arrow.INTERVAL_MONTHS {
			return nil, ast.Errorf(gap.Position(), "%s must be an interval, found %s", what, expr.TypeName(g.Type()))
		}
		return x.apply(gap.Position(), "+", ts, g)
	}
	d, err := x.b.duration(gap, what, false)
	if err != nil {
		return nil, err
	}
	return x.apply(gap.Position(), "+", ts, &expr.Literal{Value: d.Microseconds(), DT: expr.TypeDuration})
}

// intervalTexts reads the texts that the branches of a CASE give as intervals.
func intervalTexts(e ast.Expr) ast.Expr {
	switch e := e.(type) {
	case *ast.Case:
		c := *e
		c.Whens = append([]ast.When{}, e.Whens...)
		for i := range c.Whens {
			c.Whens[i].Then = intervalTexts(c.Whens[i].Then)
		}
		if c.Else != nil {
			c.Else = intervalTexts(c.Else)
		}
		return &c
	case *ast.Literal:
		if e.Kind != ast.LitString {
			return e
		}
		a, err := ast.ParseInterval(e.Text)
		if err != nil || a.YearMonth {
			return e
		}
		return &ast.Interval{Pos: e.Pos, Parts: []ast.IntervalPart{{Value: strconv.FormatInt(a.Micros, 10), Unit: "MICROSECOND"}}}
	default:
		return e
	}
}

// sessionRows drops the rows that are in no session: those without a time, and
// those whose gap is not above zero.
func (x *exprBinder) sessionRows(pos ast.Pos, w *logical.Window) error {
	cond, err := x.apply(pos, ">", w.End, w.Time)
	if err != nil {
		return err
	}
	x.sc.node = &logical.Filter{Input: x.sc.node, Cond: cond}
	return nil
}

// sessionWindow binds Spark's session_window(ts, gap) in GROUP BY. What it is cut by
// are the other keys, which are known once all of them are bound.
func (x *exprBinder) sessionWindow(c *ast.Call) (expr.Expr, error) {
	const name = "session_window"
	switch {
	case !x.canJoin() || x.lambda != nil || x.inAgg:
		return nil, ast.Errorf(c.Pos, "%s cannot stand in %s", name, x.clause)
	case len(c.Args) != 2:
		return nil, ast.Errorf(c.Pos, "%s takes a time and a gap: session_window(ts, '10 minutes')", name)
	}
	ts, err := x.bind(c.Args[0])
	if err != nil {
		return nil, err
	}
	if err := checkTime(c.Args[0].Position(), ts, name); err != nil {
		return nil, err
	}
	w := &logical.Window{Kind: logical.Session, Time: ts}
	if w.End, err = x.sessionEnd(ts, c.Args[1], name+": the gap"); err != nil {
		return nil, err
	}
	for in := x.sc.node; ; {
		switch have := in.(type) {
		case *logical.Window:
			if slices.Contains(x.b.sessions, have) && same(have.Time, w.Time) && same(have.End, w.End) {
				return x.windowAt(c.Pos, have.Input.Schema().NumFields())
			}
			in = have.Input
			continue
		case *logical.Filter:
			in = have.Input
			continue
		}
		break
	}
	if err := x.sessionRows(c.Pos, w); err != nil {
		return nil, err
	}
	w.Input = x.sc.node
	x.sc.node = w
	x.b.sessions = append(x.b.sessions, w)
	return x.windowAt(c.Pos, w.Input.Schema().NumFields())
}

// windowAt is the struct of the window whose columns start at n.
func (x *exprBinder) windowAt(pos ast.Pos, n int) (expr.Expr, error) {
	f := x.sc.node.Schema().Fields()
	start, end := columnOf(n, f[n]), columnOf(n+1, f[n+1])
	x.b.at[start], x.b.at[end] = pos, pos
	e, err := structOfWindow(start, end)
	return e, at(pos, err)
}

// cutSessions gives the sessions of a SELECT their partitions: its other keys.
func (sel *selection) cutSessions(from int) error {
	made := sel.b.sessions[from:]
	sel.b.sessions = sel.b.sessions[:from]
	for i, w := range made {
		switch {
		case sel.group == nil || i > 0:
			return ast.Errorf(sel.s.Pos, "session_window stands in GROUP BY, once: its windows are cut by the other keys")
		case sel.group.sets != nil:
			return ast.Errorf(sel.s.Pos, "session_window cannot be one of several grouping sets: write a query for each of them, with UNION ALL")
		}
		width := w.Input.Schema().NumFields()
		grouped := false
		for _, k := range sel.group.keys {
			used := map[int]bool{}
			expr.Columns(k, used)
			if used[width] || used[width+1] {
				grouped = true
				continue
			}
			for c := range used {
				if c >= width {
					return ast.Errorf(sel.s.Pos, "session_window stands behind the keys that need a subquery or another window")
				}
			}
			w.Partition = append(w.Partition, k)
		}
		if !grouped {
			return ast.Errorf(sel.s.Pos, "session_window stands in GROUP BY: its windows are cut by the other keys")
		}
	}
	return nil
}
