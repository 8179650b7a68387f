package sql

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// Options are what binding depends on besides text and catalog. The zero value
// is usable.
type Options struct {
	// Zone is the session's time zone, an IANA name; empty means UTC. It decides
	// which instant TIMESTAMP '..' is.
	Zone string
	// Params are the values of ? (by position) and NamedParams of :name.
	Params      []*expr.Literal
	NamedParams map[string]*expr.Literal
	// Definitions lets a materialized view stand for its query, not for the rows it
	// holds: what streams read has to change as they do.
	Definitions bool
}

// BindQuery binds a query.
func BindQuery(cat Catalog, q *ast.Query, opts Options) (logical.Node, error) {
	b := newBinder(cat, opts)
	rel, err := b.query(q)
	if err != nil {
		return nil, err
	}
	return rel.projected().node, nil
}

// BindExpr binds an expression over the columns of a plan. The DataFrame API
// uses it for filters and keys. Aggregates are refused.
func BindExpr(cat Catalog, e ast.Expr, input *arrow.Schema, opts Options) (expr.Expr, error) {
	b := newBinder(cat, opts)
	sc := newScope(&logical.Values{Out: input}, "")
	x := &exprBinder{b: b, sc: sc, clause: "this expression"}
	return x.bind(e)
}

// binder binds one statement.
type binder struct {
	cat   Catalog
	opts  Options
	ctes  *cteScope
	views []string // the views being expanded, for cycles
	// at says where a column reference stood, for errors found after binding.
	at       map[*expr.Column]ast.Pos
	params   int // lambda parameters numbered so far
	draws    int // calls that draw numbers without a seed, see seeded
	budget   *budget
	macros   []string          // names of the SQL functions that are being bound inside each other
	outer    []*frame          // the queries around a subquery, the outermost first
	sessions []*logical.Window // of session_window, until they have their keys
	// correlations are the parameters numbered so far.
	correlations int
	// named are the tables of the SELECT in hand, if it has hints that name them.
	named map[string]logical.Node
}

func newBinder(cat Catalog, opts Options) *binder {
	return &binder{cat: cat, opts: opts, at: map[*expr.Column]ast.Pos{}, budget: newBudget()}
}

// cteScope is a chain of common table expressions, the innermost first.
type cteScope struct {
	name  string
	rel   *scope
	size  int // relations that a use of it stands for
	outer *cteScope
}

func (c *cteScope) find(name string) *cteScope {
	for ; c != nil; c = c.outer {
		if strings.EqualFold(c.name, name) {
			return c
		}
	}
	return nil
}

// unsupported refuses a construct that parses but has no plan yet (B3).
func unsupported(pos ast.Pos, what string) *ast.PosError {
	return ast.Errorf(pos, "%s is not supported in this version", what)
}

// query binds a whole query; the scope that it returns names its columns.
func (b *binder) query(q *ast.Query) (*scope, error) {
	outer := b.ctes
	defer func() { b.ctes = outer }()
	if q.With != nil {
		if err := b.with(q.With); err != nil {
			return nil, err
		}
	}
	var sc *scope
	var err error
	if sel, ok := q.Body.(*ast.Select); ok {
		sc, err = b.selectBlock(sel, q.OrderBy)
	} else {
		sc, err = b.body(q.Body)
		if err == nil && q.OrderBy != nil {
			err = b.orderOutput(sc, q.OrderBy)
		}
	}
	if err != nil {
		return nil, err
	}
	return sc, b.limit(sc, q)
}

func (b *binder) with(w *ast.With) error {
	for _, c := range w.CTEs {
		if w.Recursive && refersTo(c.Query, c.Name.Name) {
			before := b.budget.relations
			sc, err := b.recursiveCTE(c)
			if err != nil {
				return err
			}
			b.ctes = &cteScope{name: c.Name.Name, rel: sc, size: b.budget.relations - before, outer: b.ctes}
			continue
		}
		before := b.budget.relations
		sc, err := b.query(c.Query)
		if err != nil {
			return err
		}
		size := b.budget.relations - before
		if sc, err = sc.renamed(c.Name.Name, c.Columns, c.Pos); err != nil {
			return err
		}
		b.ctes = &cteScope{name: c.Name.Name, rel: sc, size: size, outer: b.ctes}
	}
	return nil
}

// refersTo says whether a query reads a table of this name in one of its set
// operations, as the second part of a recursive query does.
func refersTo(q *ast.Query, name string) bool {
	found := false
	ast.Inspect(q, func(n ast.Node) bool {
		if t, ok := n.(*ast.TableName); ok && len(t.Name.Parts) == 1 && strings.EqualFold(t.Name.Parts[0].Name, name) {
			found = true
		}
		return !found
	})
	return found
}

// body binds what stands between WITH and ORDER BY.
func (b *binder) body(q ast.QueryBody) (*scope, error) {
	switch q := q.(type) {
	case *ast.Query:
		return b.query(q)
	case *ast.Select:
		return b.selectBlock(q, nil)
	case *ast.SetOp:
		return b.setOp(q)
	case *ast.Values:
		return b.values(q)
	case *ast.TableBody:
		return b.table(&ast.TableName{Pos: q.Pos, Name: q.Name})
	}
	return nil, unsupported(q.Position(), "this query")
}

// orderOutput sorts the result of a set operation or VALUES by its own columns.
func (b *binder) orderOutput(sc *scope, items []ast.OrderItem) error {
	var keys []expr.SortKey
	for _, it := range items {
		if isStar(it.Expr) {
			for _, c := range sc.star(nil) {
				k, err := sortKey(it, c.e)
				if err != nil {
					return err
				}
				keys = append(keys, k)
			}
			continue
		}
		e, err := b.ordinal(it.Expr, len(sc.cols), "ORDER BY", func(n int) expr.Expr { return sc.cols[n].e })
		if err != nil {
			return err
		}
		if e == nil {
			x := &exprBinder{b: b, sc: sc, clause: "the ORDER BY of a set operation"}
			if e, err = x.bind(it.Expr); err != nil {
				return err
			}
		}
		k, err := sortKey(it, e)
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	sc.node = &logical.Sort{Input: sc.node, Keys: keys}
	return nil
}

// ordinal resolves a whole number in ORDER BY or GROUP BY; nil if it is none.
func (b *binder) ordinal(e ast.Expr, n int, clause string, at func(int) expr.Expr) (expr.Expr, error) {
	i, ok, err := ordinalOf(e, n, clause)
	if !ok || err != nil {
		return nil, err
	}
	return at(i), nil
}

func ordinalOf(e ast.Expr, n int, clause string) (int, bool, error) {
	lit, ok := e.(*ast.Literal)
	if !ok || lit.Kind != ast.LitInt {
		return 0, false, nil
	}
	i := 0
	for _, c := range lit.Text {
		if c < '0' || c > '9' || i > n {
			i = n + 1
			break
		}
		i = i*10 + int(c-'0')
	}
	if i < 1 || i > n {
		return 0, false, ast.Errorf(lit.Pos, "%s position %s is not in the select list, which has %d columns", clause, lit.Text, n)
	}
	return i - 1, true, nil
}

// sortKey applies Spark's default: NULLs are first in ascending order.
func sortKey(it ast.OrderItem, e expr.Expr) (expr.SortKey, error) {
	if e.Type().ID() == arrow.MAP {
		return expr.SortKey{}, ast.Errorf(it.Expr.Position(), "values of type %s have no order", expr.TypeName(e.Type()))
	}
	k := expr.SortKey{Expr: e, Desc: it.Desc, NullsFirst: !it.Desc}
	if it.Nulls != "" {
		k.NullsFirst = it.Nulls == "FIRST"
	}
	return k, nil
}

// limit adds LIMIT and OFFSET, which must be constants.
func (b *binder) limit(sc *scope, q *ast.Query) error {
	if q.Limit == nil && q.Offset == nil {
		return nil
	}
	if hasSubquery(q.Limit) || hasSubquery(q.Offset) {
		return b.numbered(sc, q)
	}
	n := &logical.Limit{Input: sc.node, Count: -1}
	var err error
	if l, ok := q.Limit.(*ast.Literal); q.Limit != nil && !(ok && l.Kind == ast.LitNull) { // NULL is no limit
		if n.Count, err = b.count(q.Limit, "LIMIT"); err != nil {
			return err
		}
	}
	if q.Offset != nil {
		if n.Offset, err = b.count(q.Offset, "OFFSET"); err != nil {
			return err
		}
	}
	// The hidden sort keys of a SELECT are dropped above its Sort. LIMIT goes
	// below that, next to the Sort, where it is seen to be a top-n.
	if p, ok := sc.node.(*logical.Project); ok {
		if sort, ok := p.Input.(*logical.Sort); ok {
			n.Input = sort
			sc.node = &logical.Project{Input: n, Exprs: p.Exprs, Names: p.Names}
			return nil
		}
	}
	sc.node = n
	return nil
}

// count evaluates a constant that must be a whole number, zero or more.
func (b *binder) count(e ast.Expr, clause string) (int64, error) {
	x := &exprBinder{b: b, sc: emptyScope(), clause: clause}
	v, err := x.bind(e)
	if err != nil {
		return 0, err
	}
	lit, ok := b.computed(v).(*expr.Literal)
	n, isInt := int64(0), false
	if ok {
		n, isInt = lit.Value.(int64)
	}
	if !isInt || n < 0 || lit.DT.ID() < arrow.INT8 || lit.DT.ID() > arrow.INT64 {
		return 0, ast.Errorf(e.Position(), "%s needs a constant whole number, zero or more, found %s", clause, ast.SQL(e))
	}
	return n, nil
}
