package sql

import (
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// item is one output column of a SELECT. It is bound over the input; aggregate
// results in it are stand-ins until the Aggregate is made.
type item struct {
	ast   ast.Expr // nil if it came from *
	name  string
	named bool // by AS
	e     expr.Expr
	// generated items are columns of a generator such as explode.
	generated bool
}

// selection binds one SELECT block.
type selection struct {
	b     *binder
	s     *ast.Select
	sc    *scope
	items []item
	aggs  *aggregates
	subs  *scalars
	wins  *analytics
	group *grouping   // nil without aggregation
	on    []expr.Expr // of DISTINCT ON
}

// selectBlock binds a SELECT and the ORDER BY of its query, which may refer to
// what the SELECT does not return.
func (b *binder) selectBlock(s *ast.Select, order []ast.OrderItem) (*scope, error) {
	if err := b.budget.relation(s.Pos, 1); err != nil {
		return nil, err
	}
	if err := b.budget.joined(s.From); err != nil {
		return nil, err
	}
	outer := b.named
	b.named = namesFor(s.StateTTL)
	defer func() { b.named = outer }()
	sc, err := b.from(s.From)
	if err != nil {
		return nil, err
	}
	hints, err := b.stateTTLs(s.StateTTL)
	if err != nil {
		return nil, err
	}
	b.named = nil
	out, err := b.selectFrom(s, sc, order)
	if err != nil || hints == nil {
		return out, err
	}
	out.node = hints.limit(out.node)
	return out, nil
}

// selectFrom binds a SELECT over a FROM that is bound already.
func (b *binder) selectFrom(s *ast.Select, sc *scope, order []ast.OrderItem) (*scope, error) {
	wins, err := newAnalytics(s.Windows)
	if err != nil {
		return nil, err
	}
	sel := &selection{b: b, s: s, sc: sc, aggs: &aggregates{}, subs: &scalars{}, wins: wins}
	if s.Where != nil {
		if err := sel.where(s.Where); err != nil {
			return nil, err
		}
	}
	if err := sel.expand(); err != nil {
		return nil, err
	}
	sessions := len(b.sessions)
	if err := sel.bindGroup(); err != nil {
		return nil, err
	}
	if err := sel.bindItems(); err != nil {
		return nil, err
	}
	if err := sel.cutSessions(sessions); err != nil {
		return nil, err
	}
	having, err := sel.having()
	if err != nil {
		return nil, err
	}
	qualify, err := sel.qualify()
	if err != nil {
		return nil, err
	}
	keys, err := sel.order(order, "ORDER BY")
	if err != nil {
		return nil, err
	}
	if err := sel.distinctOn(); err != nil {
		return nil, err
	}
	return sel.plan(having, qualify, keys)
}

// expand replaces * by the columns it stands for.
func (sel *selection) expand() error {
	for _, it := range sel.s.Items {
		star, ok := it.Expr.(*ast.Star)
		if !ok {
			if c, ok := it.Expr.(*ast.Call); ok && generatorName(c) != "" {
				if err := sel.itemGenerator(it, c); err != nil {
					return err
				}
				continue
			}
			if it.Aliases != nil {
				return unsupported(it.Aliases[0].Pos, "a list of aliases")
			}
			out := item{ast: it.Expr, name: outputName(it.Expr)}
			if it.Alias != nil {
				out.name, out.named = it.Alias.Name, true
			}
			sel.items = append(sel.items, out)
			continue
		}
		items, err := sel.starItems(star)
		if err != nil {
			return err
		}
		sel.items = append(sel.items, items...)
		if err := sel.b.budget.columns(star.Pos, len(sel.items)); err != nil {
			return err
		}
	}
	return sel.b.budget.columns(sel.s.Pos, len(sel.items))
}

// bindGroup binds GROUP BY: expressions over the input, positions and names of
// output columns.
func (sel *selection) bindGroup() error {
	g := sel.s.GroupBy
	if g == nil {
		return nil
	}
	sel.group = sel.newGroup()
	if g.All {
		return nil // the keys are known once the items are bound
	}
	x := &exprBinder{b: sel.b, sc: sel.sc, clause: "GROUP BY"}
	x.alias = sel.groupAlias(x)
	if _, err := sel.groupKeys(x, g.Keys); err != nil {
		return err
	}
	sets := [][]int{nil}
	plain := true
	for _, it := range g.Items {
		plain = plain && (it.Kind == ast.GroupExpr || it.Kind == ast.GroupSet && len(it.Sets[0]) == 0)
		more, err := sel.groupingSets(x, it)
		if err != nil {
			return err
		}
		if sets, err = product(it.Pos, sets, more); err != nil {
			return err
		}
	}
	if !plain {
		sel.group.sets = sets
	}
	return nil
}

// groupAlias lets a key use output columns by name inside of an expression.
func (sel *selection) groupAlias(x *exprBinder) func(name string) expr.Expr {
	inside := false
	return func(name string) expr.Expr {
		if inside {
			return nil
		}
		inside = true
		defer func() { inside = false }()
		for _, it := range sel.items {
			if !it.named || !strings.EqualFold(it.name, name) {
				continue
			}
			if it.ast == nil {
				return it.e
			}
			if e, err := x.bind(it.ast); err == nil {
				return e
			}
			return nil
		}
		return nil
	}
}

func (sel *selection) newGroup() *grouping {
	return &grouping{aggs: sel.aggs, at: sel.b.at, pos: sel.s.Pos}
}

// groupKey binds one key and returns the positions of what it is made of. A
// name is a column of the input before it is an output column, as in Spark.
func (sel *selection) groupKey(x *exprBinder, e ast.Expr) ([]int, error) {
	i, ok, err := ordinalOf(e, len(sel.items), "GROUP BY")
	if err != nil {
		return nil, err
	}
	name := outputName(e)
	var key expr.Expr
	switch {
	case ok:
		name = sel.items[i].name
		key, err = sel.keyItem(x, i)
	default:
		if i = sel.aliasOf(e); i >= 0 && !sel.isColumn(e) {
			name = sel.items[i].name
			key, err = sel.keyItem(x, i)
		} else {
			key, err = x.bind(e)
		}
	}
	if err != nil {
		return nil, err
	}
	if start, end, ok := windowColumns(key); ok {
		sel.nameWindow(key)
		return []int{sel.group.add(start, "window_start"), sel.group.add(end, "window_end")}, nil
	}
	return []int{sel.group.add(key, name)}, nil
}

// keyItem binds an output column as a key.
func (sel *selection) keyItem(x *exprBinder, i int) (expr.Expr, error) {
	it := &sel.items[i]
	if it.ast == nil {
		return it.e, nil
	}
	key, err := x.bind(it.ast)
	if err == nil && hasSubquery(it.ast) {
		// The subquery is joined below the grouping, once; bound again as an
		// output it would stand above, where its columns are gone.
		it.e, it.ast = key, nil
	}
	return key, err
}

// aliasOf finds the item that a single name names, or -1.
func (sel *selection) aliasOf(e ast.Expr) int {
	c, ok := e.(*ast.Column)
	if !ok || len(c.Parts) != 1 {
		return -1
	}
	for i, it := range sel.items {
		if it.named && strings.EqualFold(it.name, c.Parts[0].Name) {
			return i
		}
	}
	return -1
}

// isColumn says whether a single name is a column of the input.
func (sel *selection) isColumn(e ast.Expr) bool {
	i, _, err := sel.sc.lookup(e.(*ast.Column).Parts)
	return i >= 0 || err != nil
}

// nameWindow lets the rest of the SELECT say window.start after GROUP BY
// window(..), as in Spark.
func (sel *selection) nameWindow(e expr.Expr) {
	name := "window"
	if start, _, ok := windowColumns(e); ok && slices.ContainsFunc(sel.b.sessions, func(w *logical.Window) bool {
		return w.Input.Schema().NumFields() == start.(*expr.Column).Index
	}) {
		name = "session_window"
	}
	if i, _, err := sel.sc.lookup([]ast.Ident{{Name: name}}); i < 0 && err == nil {
		sel.sc.add(scopeCol{name: name, e: e, starless: true})
	}
}

// binder makes a binder for a clause in which aggregates may stand.
func (sel *selection) binder(clause string, upto int) *exprBinder {
	x := &exprBinder{b: sel.b, sc: sel.sc, clause: clause, aggs: sel.aggs, scalars: sel.subs, group: sel.group}
	if clause != "HAVING" {
		x.windows = sel.wins
	}
	x.repeated = sel.repeated
	x.alias = func(name string) expr.Expr {
		for _, it := range sel.items[:upto] {
			if it.named && it.e != nil && strings.EqualFold(it.name, name) {
				return it.e
			}
		}
		return nil
	}
	return x
}

// repeated says whether several output columns have a name, so that it is better
// taken for a column of the input.
func (sel *selection) repeated(name string) bool {
	n := 0
	for _, it := range sel.items {
		if strings.EqualFold(it.name, name) {
			n++
		}
	}
	return n > 1
}

// bindItems binds the select list. An item may use the names of those before it.
func (sel *selection) bindItems() error {
	for i := range sel.items {
		it := &sel.items[i]
		if it.ast == nil {
			continue
		}
		before := len(sel.aggs.calls)
		e, err := sel.binder("the select list", i).bind(it.ast)
		if err != nil {
			return err
		}
		it.e = e
		if before < len(sel.aggs.calls) && it.named {
			if c, ok := e.(*expr.Column); ok && c.Index == aggBase+before {
				sel.aggs.calls[before].Name = it.name
			}
		}
	}
	if len(sel.aggs.calls) > 0 && sel.group == nil {
		sel.group = sel.newGroup()
	}
	if g := sel.s.GroupBy; g != nil && g.All {
		for _, it := range sel.items {
			if standsIn(it.e, scalarBase) || usesAnalytic(it.e) {
				continue
			}
			if start, end, ok := windowColumns(it.e); ok {
				sel.group.add(start, "window_start")
				sel.group.add(end, "window_end")
				continue
			}
			sel.group.add(it.e, it.name)
		}
	}
	return nil
}

// hasAll says whether there is a column called all, which ORDER BY ALL then means.
func (sel *selection) hasAll() bool {
	for _, it := range sel.items {
		if strings.EqualFold(it.name, "all") {
			return true
		}
	}
	return len(sel.sc.named("all")) > 0
}

// isStar says whether an expression is * alone.
func isStar(e ast.Expr) bool {
	s, ok := e.(*ast.Star)
	return ok && s.Qualifier == nil
}

func usesAggregate(e expr.Expr) bool { return standsIn(e, aggBase) }

// standsIn says whether an expression has a stand-in at or behind a position.
func standsIn(e expr.Expr, base int) bool {
	found := false
	expr.Walk(e, func(x expr.Expr) bool {
		if c, ok := x.(*expr.Column); ok && c.Index >= base {
			found = true
		}
		return !found
	})
	return found
}

func (sel *selection) having() (expr.Expr, error) {
	if sel.s.Having == nil {
		return nil, nil
	}
	if sel.group == nil {
		sel.group = sel.newGroup()
	}
	x := sel.binder("HAVING", len(sel.items))
	x.ungrouped = func(e expr.Expr) bool {
		for _, k := range sel.group.keys {
			if same(k, e) {
				return false
			}
		}
		return true
	}
	e, err := x.condition(sel.s.Having)
	if err == nil && usesAnalytic(e) {
		return nil, ast.Errorf(sel.s.Having.Position(), "HAVING is applied before window functions are computed").WithHint("use QUALIFY")
	}
	return e, err
}

// qualify binds QUALIFY, which is applied to what the window functions give.
func (sel *selection) qualify() (expr.Expr, error) {
	if sel.s.Qualify == nil {
		return nil, nil
	}
	e, err := sel.binder("QUALIFY", len(sel.items)).condition(sel.s.Qualify)
	if err == nil && len(sel.wins.calls) == 0 {
		return nil, ast.Errorf(sel.s.Qualify.Position(), "QUALIFY needs a window function, in it or in the select list").WithHint("use WHERE")
	}
	return e, err
}

// order binds ORDER BY, or another list of the same kind: positions, then names of output columns, then anything
// over the input.
func (sel *selection) order(items []ast.OrderItem, clause string) ([]expr.SortKey, error) {
	var keys []expr.SortKey
	for _, it := range items {
		n, ok, err := ordinalOf(it.Expr, len(sel.items), clause)
		if err != nil {
			return nil, err
		}
		var es []expr.Expr
		switch {
		case ok:
			es = []expr.Expr{sel.items[n].e}
		case isStar(it.Expr) && sel.hasAll(): // a column that is called all
			x := sel.binder(clause, len(sel.items))
			x.aliasFirst = true
			e, err := x.bind(&ast.Column{Pos: it.Expr.Position(), Parts: []ast.Ident{{Pos: it.Expr.Position(), Name: "all"}}})
			if err != nil {
				return nil, err
			}
			es = []expr.Expr{e}
		case isStar(it.Expr): // ORDER BY ALL
			for _, out := range sel.items {
				es = append(es, out.e)
			}
		default:
			x := sel.binder(clause, len(sel.items))
			x.aliasFirst = true
			e, err := x.bind(it.Expr)
			if err != nil {
				return nil, err
			}
			es = []expr.Expr{e}
		}
		for _, e := range es {
			k, err := sortKey(it, e)
			if err != nil {
				return nil, err
			}
			keys = append(keys, k)
		}
	}
	if len(sel.aggs.calls) > 0 && sel.group == nil {
		sel.group = sel.newGroup()
	}
	return keys, nil
}

// plan puts the nodes on top of the input: Aggregate, Filter (HAVING), Analytic,
// Filter (QUALIFY), what DISTINCT ON leaves, Project, Distinct, Sort.
func (sel *selection) plan(having, qualify expr.Expr, keys []expr.SortKey) (*scope, error) {
	node := sel.sc.node
	es, names := make([]expr.Expr, len(sel.items)), make([]string, len(sel.items))
	for i, it := range sel.items {
		es[i], names[i] = it.e, it.name
	}
	if sel.group != nil {
		if sel.group.sets == nil && len(sel.group.marks) > 0 {
			return nil, ast.Errorf(sel.s.Pos, "grouping and grouping_id need GROUP BY with ROLLUP, CUBE or GROUPING SETS")
		}
		node = sel.group.node(node)
		if err := sel.eachExpr(es, keys, &having, &qualify, sel.group.above); err != nil {
			return nil, err
		}
	}
	if len(sel.subs.subs) > 0 {
		joined, first, err := sel.subs.join(node, sel.lift)
		if err != nil {
			return nil, err
		}
		node = joined
		if err := sel.eachExpr(es, keys, &having, &qualify, func(e expr.Expr) (expr.Expr, error) { return placed(e, first), nil }); err != nil {
			return nil, err
		}
	}
	if having != nil {
		node = &logical.Filter{Input: node, Cond: having}
	}
	node = sel.wins.plan(node)
	for i := range es {
		es[i] = sel.wins.placed(es[i])
	}
	for i := range keys {
		keys[i].Expr = sel.wins.placed(keys[i].Expr)
	}
	if qualify != nil {
		node = &logical.Filter{Input: node, Cond: sel.wins.placed(qualify)}
	}
	if sel.on != nil {
		var err error
		if node, err = sel.firstRows(node, keys); err != nil {
			return nil, err
		}
	}
	return sel.output(node, es, names, keys)
}

// lift moves an expression over the input above the Aggregate, if there is one.
func (sel *selection) lift(e expr.Expr) (expr.Expr, error) {
	if sel.group == nil {
		return e, nil
	}
	return sel.group.above(e)
}

// eachExpr rewrites the items, sort keys, conditions and window functions: the
// nodes below them have moved the columns that they are over.
func (sel *selection) eachExpr(es []expr.Expr, keys []expr.SortKey, having, qualify *expr.Expr, f func(e expr.Expr) (expr.Expr, error)) error {
	all := []*expr.Expr{having}
	for i := range es {
		all = append(all, &es[i])
	}
	for i := range keys {
		all = append(all, &keys[i].Expr)
	}
	for i := range sel.on {
		all = append(all, &sel.on[i])
	}
	for _, e := range append(all, qualify) {
		if *e == nil {
			continue
		}
		var err error
		if *e, err = f(*e); err != nil {
			return err
		}
	}
	return sel.wins.rewrite(f)
}
