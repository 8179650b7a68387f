package sql

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// analyticBase is where the positions of window functions start while a SELECT
// is being bound; grouping marks, scalar subqueries and aggregates come behind.
const analyticBase = 1 << 27

func isAnalytic(c *expr.Column) bool { return c.Index >= analyticBase && c.Index < markBase }

// usesAnalytic says whether an expression has the stand-in of a window function.
func usesAnalytic(e expr.Expr) bool {
	found := false
	expr.Walk(e, func(x expr.Expr) bool {
		if c, ok := x.(*expr.Column); ok && isAnalytic(c) {
			found = true
		}
		return !found
	})
	return found
}

// analytics are the window functions of one SELECT, each once. Like aggregates
// they are bound over the input and moved above the Aggregate, if there is one.
type analytics struct {
	named []ast.NamedWindow
	calls []*analyticUse
	texts []string
}

// analyticUse is one window function and its window.
type analyticUse struct {
	call  *expr.AnalyticCall
	part  []expr.Expr
	order []expr.SortKey
	at    int // its column, once it has one
}

func newAnalytics(named []ast.NamedWindow) (*analytics, error) {
	for i, w := range named {
		for _, other := range named[:i] {
			if strings.EqualFold(w.Name.Name, other.Name.Name) {
				return nil, ast.Errorf(w.Name.Pos, "the window %q is defined twice", w.Name.Name)
			}
		}
	}
	return &analytics{named: named}, nil
}

// add returns a stand-in for a call, which is kept once.
func (a *analytics) add(u *analyticUse) expr.Expr {
	text := (&logical.Analytic{Partition: u.part, Order: u.order, Calls: []*expr.AnalyticCall{u.call}}).String()
	c := u.call
	for i, t := range a.texts {
		if t == text {
			return &expr.Column{Index: analyticBase + i, Name: a.calls[i].call.Name, DT: c.DT, Null: c.Null}
		}
	}
	a.calls, a.texts = append(a.calls, u), append(a.texts, text)
	return &expr.Column{Index: analyticBase + len(a.calls) - 1, Name: c.Name, DT: c.DT, Null: c.Null}
}

// rewrite replaces every expression of the window functions.
func (a *analytics) rewrite(f func(e expr.Expr) (expr.Expr, error)) error {
	for _, u := range a.calls {
		es := u.call.Exprs()
		for i, e := range es {
			var err error
			if es[i], err = f(e); err != nil {
				return err
			}
		}
		u.call = u.call.WithExprs(es)
		for i, e := range u.part {
			var err error
			if u.part[i], err = f(e); err != nil {
				return err
			}
		}
		for i, k := range u.order {
			var err error
			if u.order[i].Expr, err = f(k.Expr); err != nil {
				return err
			}
		}
	}
	return nil
}

// plan puts the window functions on a plan: one Analytic for each partitioning
// and order, those of one partitioning behind each other and the longest order
// first, so that one exchange and often one sort serve several.
func (a *analytics) plan(node logical.Node) logical.Node {
	if len(a.calls) == 0 {
		return node
	}
	node = a.columns(node)
	var nodes []*logical.Analytic
	uses := map[*logical.Analytic][]*analyticUse{}
	for _, u := range a.calls {
		n := (*logical.Analytic)(nil)
		for _, have := range nodes {
			if sameList(have.Partition, u.part) && sameKeys(have.Order, u.order) {
				n = have
			}
		}
		if n == nil {
			n = &logical.Analytic{Partition: u.part, Order: u.order}
			nodes = insertAnalytic(nodes, n)
		}
		uses[n] = append(uses[n], u)
	}
	for _, n := range nodes {
		n.Input = node
		width := node.Schema().NumFields()
		for i, u := range uses[n] {
			n.Calls = append(n.Calls, u.call)
			u.at = width + i
		}
		node = n
	}
	return node
}

// columns computes the keys that are no columns below the window functions:
// what rows are spread, sorted and told apart by is then computed once.
func (a *analytics) columns(node logical.Node) logical.Node {
	f := node.Schema().Fields()
	es, names := make([]expr.Expr, len(f)), make([]string, len(f))
	for i := range f {
		es[i], names[i] = columnOf(i, f[i]), f[i].Name
	}
	column := func(e expr.Expr) expr.Expr {
		if _, ok := e.(*expr.Column); ok {
			return e
		}
		at := -1
		for i := len(f); i < len(es); i++ {
			if same(es[i], e) {
				at = i
			}
		}
		if at < 0 {
			at = len(es)
			es, names = append(es, e), append(names, "window_key")
		}
		return &expr.Column{Index: at, Name: names[at], DT: e.Type(), Null: e.Nullable()}
	}
	for _, u := range a.calls {
		for i, e := range u.part {
			u.part[i] = column(e)
		}
		for i, k := range u.order {
			u.order[i].Expr = column(k.Expr)
		}
	}
	return project(node, es, names)
}

// insertAnalytic keeps nodes of one partitioning together, longer orders first.
func insertAnalytic(nodes []*logical.Analytic, n *logical.Analytic) []*logical.Analytic {
	at := len(nodes)
	for i, have := range nodes {
		if sameList(have.Partition, n.Partition) {
			at = i + 1
			if len(have.Order) < len(n.Order) {
				at = i
				break
			}
		}
	}
	nodes = append(nodes, nil)
	copy(nodes[at+1:], nodes[at:])
	nodes[at] = n
	return nodes
}

// placed puts the columns of the window functions in place of their stand-ins.
func (a *analytics) placed(e expr.Expr) expr.Expr {
	return expr.Remap(e, func(i int) int {
		if i >= analyticBase && i < markBase {
			return a.calls[i-analyticBase].at
		}
		return i
	})
}

func sameList(a, b []expr.Expr) bool {
	for i := range a {
		if len(a) != len(b) || !same(a[i], b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

func sameKeys(a, b []expr.SortKey) bool {
	for i := range a {
		if len(a) != len(b) || a[i].Desc != b[i].Desc || a[i].NullsFirst != b[i].NullsFirst || !same(a[i].Expr, b[i].Expr) {
			return false
		}
	}
	return len(a) == len(b)
}

// spec finds what OVER stands for: a window may take up one that is named
// before it and add what that one lacks.
func (a *analytics) spec(s *ast.WindowSpec, upto int) (*ast.WindowSpec, error) {
	if s.Ref == nil {
		return s, nil
	}
	names, at := []string{}, -1
	for i, w := range a.named[:upto] {
		names = append(names, w.Name.Name)
		if strings.EqualFold(w.Name.Name, s.Ref.Name) {
			at = i
		}
	}
	if at < 0 {
		err := ast.Errorf(s.Ref.Pos, "there is no window %q", s.Ref.Name)
		if near := ast.Nearest(s.Ref.Name, names); near != "" {
			return nil, err.WithHint("did you mean %q?", near)
		}
		return nil, err.WithHint("define it: WINDOW %s AS (..)", s.Ref.Name)
	}
	from, err := a.spec(a.named[at].Spec, at)
	if err != nil || s.PartitionBy == nil && s.OrderBy == nil && s.Frame == nil {
		return from, err
	}
	switch {
	case s.PartitionBy != nil:
		return nil, ast.Errorf(s.PartitionBy[0].Position(), "a window that takes up %q cannot have a PARTITION BY of its own", s.Ref.Name)
	case s.OrderBy != nil && from.OrderBy != nil:
		return nil, ast.Errorf(s.OrderBy[0].Expr.Position(), "the window %q has an ORDER BY already", s.Ref.Name)
	case from.Frame != nil:
		return nil, ast.Errorf(s.Ref.Pos, "the window %q has a frame, so that it can only be used as it is: OVER %s", s.Ref.Name, s.Ref.Name)
	}
	out := *from
	out.Pos = s.Pos
	if s.OrderBy != nil {
		out.OrderBy = s.OrderBy
	}
	out.Frame = s.Frame
	return &out, nil
}

// bindKeys binds the keys of a window. Constants neither part nor order rows.
func (u *analyticUse) bindKeys(x *exprBinder, s *ast.WindowSpec) error {
	for _, p := range s.PartitionBy {
		e, err := x.bind(p)
		if err != nil {
			return err
		}
		if e.Type().ID() == arrow.MAP {
			return ast.Errorf(p.Position(), "PARTITION BY: values of type %s cannot be compared", expr.TypeName(e.Type()))
		}
		if _, ok := e.(*expr.Literal); !ok {
			u.part = append(u.part, e)
		}
	}
	for _, it := range s.OrderBy {
		e, err := x.bind(it.Expr)
		if err != nil {
			return err
		}
		k, err := sortKey(it, e)
		if err != nil {
			return err
		}
		if _, ok := e.(*expr.Literal); !ok {
			u.order = append(u.order, k)
		}
	}
	return nil
}
