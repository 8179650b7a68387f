package rules

import (
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Decorrelate turns every Apply into joins, the innermost first, in the manner
// of Neumann and Kemper ("Unnesting Arbitrary Queries", BTW 2015). Where the
// conditions on the outer row can be lifted out of the subquery they become the
// join's; anything else is computed for the distinct values of the parameters
// (the domain) and joined to the outer rows on them.
func Decorrelate(n logical.Node) (logical.Node, error) {
	var failed error
	out := logical.Transform(n, func(n logical.Node) logical.Node {
		a, ok := n.(*logical.Apply)
		if !ok || failed != nil {
			return n
		}
		var done logical.Node
		if done, failed = unnest(a); failed != nil {
			return n
		}
		return done
	})
	return out, failed
}

// unnesting is the work on one Apply. Its parameters are those that Right uses.
type unnesting struct {
	apply  *logical.Apply
	params []logical.Param
	at     map[int]int // parameter ID to its place in params
}

func unnest(a *logical.Apply) (logical.Node, error) {
	used := map[int]bool{}
	logical.FreeParams(a.Right, used)
	u := &unnesting{apply: a, at: map[int]int{}}
	for _, p := range a.Params {
		if used[p.ID] {
			u.at[p.ID] = len(u.params)
			u.params = append(u.params, p)
		}
	}
	if len(u.params) == 0 {
		return u.join(a.Right, nil), nil
	}
	if n, ok := u.scalar(); ok {
		return n, nil
	}
	if right, preds, ok := u.lift(a.Right); ok {
		return u.join(right, preds), nil
	}
	return u.byDomain()
}

// correlated says whether an expression uses a parameter of this Apply.
func (u *unnesting) correlated(es ...exprT) bool {
	found := false
	for _, e := range es {
		expr.Walk(e, func(x exprT) bool {
			if c, ok := x.(*expr.Column); ok && c.Index < 0 {
				_, mine := u.at[-c.Index]
				found = found || mine
			}
			return !found
		})
	}
	return found
}

// uses says whether a plan uses a parameter of this Apply.
func (u *unnesting) uses(n logical.Node) bool {
	free := map[int]bool{}
	logical.FreeParams(n, free)
	for id := range free {
		if _, ok := u.at[id]; ok {
			return true
		}
	}
	return false
}

// outer replaces parameters by what they stand for over Left's columns, and
// moves the other columns by shift.
func (u *unnesting) outer(e exprT, shift int) exprT {
	return expr.Transform(e, func(x exprT) exprT {
		c, ok := x.(*expr.Column)
		if !ok {
			return x
		}
		if c.Index < 0 {
			if k, mine := u.at[-c.Index]; mine {
				return u.params[k].Expr
			}
			return x
		}
		d := *c
		d.Index += shift
		return &d
	})
}

// join joins Left with a plan that starts with Right's columns and uses no
// parameter any more, on the Apply's condition and preds, which are over that
// plan's columns and the parameters.
func (u *unnesting) join(right logical.Node, preds []exprT) logical.Node {
	a := u.apply
	lw := a.Left.Schema().NumFields()
	conds := expr.Conjuncts(a.On)
	for _, p := range preds {
		// A transform keeps the parameter's expression as it is: it is over
		// Left already, only Right's own columns move.
		conds = append(conds, u.outer(p, lw))
	}
	return trim(joinOn(a.Left, right, a.Kind, conds), a)
}

// trim drops the columns that Right got for the join alone.
func trim(n logical.Node, a *logical.Apply) logical.Node {
	want := a.Schema()
	if n.Schema().NumFields() == want.NumFields() {
		return n
	}
	return pick(n, span(0, want.NumFields()))
}

// joinOn makes a join whose conditions are over both sides' columns.
func joinOn(l, r logical.Node, kind logical.JoinKind, conds []exprT) logical.Node {
	j := &logical.Join{Left: l, Right: r, Kind: kind}
	lw := l.Schema().NumFields()
	var rest []exprT
	for _, c := range conds {
		a, b, nullSafe, ok := joinKey(c, lw)
		if !ok {
			rest = append(rest, c)
			continue
		}
		addJoinKey(j, a, b, nullSafe)
	}
	j.Residual = expr.AndAll(rest)
	if len(j.LeftKeys) == 0 && j.Residual == nil && kind == logical.Inner {
		j.Kind = logical.Cross
	}
	return j
}

func addJoinKey(j *logical.Join, l, r exprT, nullSafe bool) {
	j.LeftKeys, j.RightKeys = append(slices.Clone(j.LeftKeys), l), append(slices.Clone(j.RightKeys), r)
	if nullSafe && j.NullSafe == nil {
		j.NullSafe = make([]bool, len(j.LeftKeys)-1)
	}
	if j.NullSafe != nil {
		j.NullSafe = append(slices.Clone(j.NullSafe), nullSafe)
	}
}

// joinKey recognises left = right or left <=> right across a join whose left
// side has lw columns; r comes back over the right side's own columns.
func joinKey(e exprT, lw int) (l, r exprT, nullSafe, ok bool) {
	c, is := e.(*expr.Call)
	if !is || len(c.Args) != 2 || c.Func.Infix != "=" && c.Func.Infix != "<=>" || !expr.Deterministic(e) {
		return nil, nil, false, false
	}
	l, r = c.Args[0], c.Args[1]
	ls, lok := sideOf(l, lw)
	rs, rok := sideOf(r, lw)
	switch {
	case !lok || !rok || expr.TypeName(l.Type()) != expr.TypeName(r.Type()):
		return nil, nil, false, false
	case ls == 1 && rs == 2:
	case ls == 2 && rs == 1:
		l, r = r, l
	default:
		return nil, nil, false, false
	}
	return l, expr.Remap(r, func(i int) int { return i - lw }), c.Func.Infix == "<=>", true
}

// sideOf is 1 if e reads the left side only, 2 for the right, 3 for both, 0 for
// neither; ok is false where it uses a parameter of an Apply further up.
func sideOf(e exprT, lw int) (side int, ok bool) {
	set := map[int]bool{}
	expr.Columns(e, set)
	for i := range set {
		switch {
		case i < 0:
			return 0, false
		case i < lw:
			side |= 1
		default:
			side |= 2
		}
	}
	return side, true
}

// pick projects columns by position.
func pick(n logical.Node, at []int) logical.Node {
	es, names := make([]exprT, len(at)), make([]string, len(at))
	s := n.Schema()
	for i, w := range at {
		es[i], names[i] = columnAt(n, w), s.Field(w).Name
	}
	return &logical.Project{Input: n, Exprs: es, Names: names}
}

func columnAt(n logical.Node, i int) *expr.Column {
	f := n.Schema().Field(i)
	return &expr.Column{Index: i, Name: f.Name, DT: f.Type, Null: f.Nullable}
}

// span lists the positions from lo up to, not with, hi.
func span(lo, hi int) []int {
	out := make([]int, 0, max(0, hi-lo))
	for i := lo; i < hi; i++ {
		out = append(out, i)
	}
	return out
}

// refuse makes the error for a subquery that has no plan without the outer row.
func refuse(what string) error {
	return batch.UserErrorf("%s cannot depend on the query around it", what)
}
