package sql

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// maxGroupingSets bounds what ROLLUP and CUBE expand to: each set is an
// Aggregate of its own.
const maxGroupingSets = 4096

// groupingSets binds one item of GROUP BY and returns the sets it stands for, as
// positions of keys. A plain expression is one set.
func (sel *selection) groupingSets(x *exprBinder, it ast.GroupItem) ([][]int, error) {
	if it.Kind == ast.GroupExpr {
		exprs := []ast.Expr{it.Expr}
		if row, ok := it.Expr.(*ast.Row); ok {
			exprs = row.Items
		}
		set, err := sel.groupKeys(x, exprs)
		return [][]int{set}, err
	}
	if it.Kind == ast.GroupSets {
		var out [][]int
		for _, sub := range it.Items {
			more, err := sel.groupingSets(x, sub)
			if err != nil {
				return nil, err
			}
			if out = append(out, more...); len(out) > maxGroupingSets {
				return nil, tooManySets(it.Pos)
			}
		}
		return out, nil
	}
	parts := make([][]int, len(it.Sets))
	for i, s := range it.Sets {
		var err error
		if parts[i], err = sel.groupKeys(x, s); err != nil {
			return nil, err
		}
	}
	switch it.Kind {
	case ast.GroupRollup:
		var out [][]int
		for n := len(parts); n >= 0; n-- {
			out = append(out, union(parts[:n]))
		}
		return out, nil
	case ast.GroupCube:
		out := [][]int{nil}
		for _, p := range parts {
			var err error
			if out, err = product(it.Pos, out, [][]int{p, nil}); err != nil {
				return nil, err
			}
		}
		return out, nil
	default:
		return parts[:1], nil // one set of GROUPING SETS
	}
}

func tooManySets(pos ast.Pos) error {
	return ast.Errorf(pos, "GROUP BY expands to more than %d grouping sets", maxGroupingSets)
}

func (sel *selection) groupKeys(x *exprBinder, exprs []ast.Expr) ([]int, error) {
	var out []int
	for _, e := range exprs {
		keys, err := sel.groupKey(x, e)
		if err != nil {
			return nil, err
		}
		out = append(out, keys...)
	}
	return union([][]int{out}), nil
}

// extended is x, which has no repeats, with what y has besides. It is what makes
// thousands of keys, one after the other, no work of hours.
func extended(x, y []int) []int {
	out := append(make([]int, 0, len(x)+len(y)), x...)
	for _, k := range y {
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// union joins sets of keys into one, without repeats.
func union(parts [][]int) []int {
	var out []int
	for _, p := range parts {
		for _, k := range p {
			if !slices.Contains(out, k) {
				out = append(out, k)
			}
		}
	}
	return out
}

// product combines every set of one item with every set of the next: GROUP BY
// a, ROLLUP(b) groups by (a, b) and (a).
func product(pos ast.Pos, a, b [][]int) ([][]int, error) {
	if len(a)*len(b) > maxGroupingSets {
		return nil, tooManySets(pos)
	}
	var out [][]int
	for _, x := range a {
		for _, y := range b {
			out = append(out, extended(x, y))
		}
	}
	return out, nil
}

// markBase is where the positions of grouping(..) and grouping_id(..) start while
// a SELECT is being bound; scalar subqueries and aggregates come behind.
const markBase = 1 << 28

// mark is a use of grouping(key) or grouping_id(keys): one bit for each key, 1
// where the row's grouping set does not have it.
type mark struct {
	keys []int
	dt   arrow.DataType // TINYINT of grouping, BIGINT of grouping_id, as in Spark
}

// value is what a mark is for one set.
func (m mark) value(set []int) int64 {
	var v int64
	for _, k := range m.keys {
		v <<= 1
		if !slices.Contains(set, k) {
			v |= 1
		}
	}
	return v
}

// grouping binds grouping(key) and grouping_id(keys); without arguments the
// latter is about all keys.
func (x *exprBinder) grouping(c *ast.Call, name string) (expr.Expr, error) {
	g := x.group
	if g == nil || x.inAgg {
		return nil, ast.Errorf(c.Pos, "%s needs GROUP BY with ROLLUP, CUBE or GROUPING SETS", name)
	}
	if name == "grouping" && len(c.Args) != 1 {
		return nil, ast.Errorf(c.Pos, "grouping takes one of the expressions of GROUP BY")
	}
	m := mark{dt: expr.TypeInt64}
	if name == "grouping" {
		m.dt = expr.TypeInt8
	}
	for _, a := range c.Args {
		e, err := x.bind(a)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(g.keys, func(k expr.Expr) bool { return same(k, e) })
		if i < 0 {
			return nil, ast.Errorf(a.Position(), "%s: %s is not in GROUP BY", name, short(ast.SQL(a)))
		}
		m.keys = append(m.keys, i)
	}
	if len(c.Args) == 0 {
		for i := range g.keys {
			m.keys = append(m.keys, i)
		}
	}
	if len(m.keys) > 63 {
		return nil, ast.Errorf(c.Pos, "grouping_id has room for 63 keys, not %d", len(m.keys))
	}
	g.marks = append(g.marks, m)
	return &expr.Column{Index: markBase + len(g.marks) - 1, Name: name, DT: m.dt}, nil
}

// union makes one Aggregate for each grouping set and puts them together. The
// columns are all keys (NULL where the set lacks one), the aggregates, the marks.
func (g *grouping) union(in logical.Node) logical.Node {
	u := &logical.Union{}
	for _, set := range g.sets {
		agg := &logical.Aggregate{Input: in, Aggs: g.aggs.calls}
		for _, k := range set {
			agg.Keys = append(agg.Keys, g.keys[k])
			agg.Names = append(agg.Names, g.names[k])
		}
		f := agg.Schema().Fields()
		var es []expr.Expr
		var names []string
		for k, key := range g.keys {
			var e expr.Expr = expr.NullOf(key.Type())
			if at := slices.Index(set, k); at >= 0 {
				e = columnOf(at, f[at])
			}
			es, names = append(es, e), append(names, g.names[k])
		}
		for i := range g.aggs.calls {
			es = append(es, columnOf(len(set)+i, f[len(set)+i]))
			names = append(names, f[len(set)+i].Name)
		}
		for _, m := range g.marks {
			es, names = append(es, &expr.Literal{Value: m.value(set), DT: m.dt}), append(names, "grouping")
		}
		u.In = append(u.In, project(agg, es, names))
	}
	if len(u.In) == 1 {
		return u.In[0]
	}
	return u
}
