package sql

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// maxPattern is how many steps a pattern may have once its repetitions and
// permutations are written out.
const maxPattern = 10_000

// matching is a MATCH_RECOGNIZE while it is bound.
type matching struct {
	b    *binder
	t    *ast.MatchRecognize
	in   *scope
	node *logical.Match
	spec *expr.MatchSpec
	sets map[string][]int // variables and subsets by lower-case name
	all  []string         // their names as written, for hints
}

// matchRecognize binds the row-pattern clause: a Match whose conditions and
// measures are over slots, which say what they read of the rows of a match.
func (b *binder) matchRecognize(t *ast.MatchRecognize) (*scope, error) {
	in, err := b.table(t.Input)
	if err != nil {
		return nil, err
	}
	if err := b.budget.relation(t.Pos, 1); err != nil {
		return nil, err
	}
	m := &matching{b: b, t: t, in: in.projected(), spec: &expr.MatchSpec{}, sets: map[string][]int{}}
	m.node = &logical.Match{Spec: m.spec}
	for _, step := range []func() error{m.keys, m.pattern, m.subsets, m.options, m.define, m.within, m.measures} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	if len(m.spec.Cols) == 0 {
		return nil, ast.Errorf(t.Pos, "MATCH_RECOGNIZE puts out no column").WithHint("add MEASURES or PARTITION BY")
	}
	m.node.Input = m.in.node
	m.narrow()
	return newScope(m.node, ""), nil
}

// keys binds PARTITION BY and ORDER BY. What a partition is named by becomes a column.
func (m *matching) keys() error {
	x := &exprBinder{b: m.b, sc: m.in, clause: "PARTITION BY"}
	for _, p := range m.t.PartitionBy {
		e, err := m.plain(x, p)
		if err != nil {
			return err
		}
		if e.Type().ID() == arrow.MAP {
			return ast.Errorf(p.Position(), "PARTITION BY: values of type %s cannot be compared", expr.TypeName(e.Type()))
		}
		m.node.Partition = append(m.node.Partition, m.column(e, outputName(p)))
	}
	if len(m.t.OrderBy) == 0 {
		return ast.Errorf(m.t.Pos, "MATCH_RECOGNIZE needs an order of the rows").WithHint("add ORDER BY")
	}
	x.clause = "ORDER BY"
	for _, it := range m.t.OrderBy {
		e, err := m.plain(x, it.Expr)
		if err != nil {
			return err
		}
		k, err := sortKey(it, e)
		if err != nil {
			return err
		}
		k.Expr = m.column(e, outputName(it.Expr))
		m.node.Order = append(m.node.Order, k)
	}
	return nil
}

// plain binds an expression over the rows of the input.
func (m *matching) plain(x *exprBinder, e ast.Expr) (expr.Expr, error) {
	if hasSubquery(e) {
		return nil, unsupported(e.Position(), "a subquery in MATCH_RECOGNIZE")
	}
	return x.bind(e)
}

// column makes a column of the input of an expression, without a name in SQL.
func (m *matching) column(e expr.Expr, name string) expr.Expr {
	if c, ok := e.(*expr.Column); ok {
		return c
	}
	es, names := columnsAndNames(m.in.node)
	m.in.node = project(m.in.node, append(es, e), append(names, name))
	return columnOf(len(es), m.in.node.Schema().Field(len(es)))
}

// pattern binds PATTERN, which is where variables are declared.
func (m *matching) pattern() error {
	p, err := m.part(m.t.Pattern)
	if err != nil {
		return err
	}
	if p.Size(maxPattern) >= maxPattern {
		return ast.Errorf(m.t.Pattern.Position(), "the pattern has more than %d steps once its repetitions and permutations are written out", maxPattern)
	}
	m.spec.Pattern = p
	m.spec.Define = make([]expr.Expr, len(m.spec.Vars))
	return nil
}

func (m *matching) part(p ast.Pattern) (*expr.MatchPattern, error) {
	switch p := p.(type) {
	case *ast.PatternVar:
		return &expr.MatchPattern{Op: expr.PatternVar, Var: m.variable(p.Name)}, nil
	case *ast.PatternAnchor:
		if p.End {
			return &expr.MatchPattern{Op: expr.PatternEnd}, nil
		}
		return &expr.MatchPattern{Op: expr.PatternStart}, nil
	case *ast.PatternExclude:
		if m.t.Empty == "UNMATCHED" {
			return nil, ast.Errorf(p.Pos, "{- -} cannot stand with ALL ROWS PER MATCH WITH UNMATCHED ROWS")
		}
		x, err := m.part(p.X)
		return &expr.MatchPattern{Op: expr.PatternExclude, Items: []*expr.MatchPattern{x}}, err
	case *ast.PatternRepeat:
		x, err := m.part(p.X)
		return &expr.MatchPattern{Op: expr.PatternRepeat, Items: []*expr.MatchPattern{x}, Min: p.Min, Max: p.Max, Reluctant: p.Reluctant}, err
	case *ast.PatternSeq:
		out := &expr.MatchPattern{Op: expr.PatternSeq}
		switch {
		case len(p.Items) == 0:
			out.Op = expr.PatternEmpty
		case p.Op == "ALT":
			out.Op = expr.PatternAlt
		case p.Op == "PERMUTE":
			out.Op = expr.PatternPermute
		}
		for _, it := range p.Items {
			x, err := m.part(it)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, x)
		}
		return out, nil
	}
	return nil, unsupported(p.Position(), "this pattern")
}

func (m *matching) variable(id ast.Ident) int {
	key := strings.ToLower(id.Name)
	if v, ok := m.sets[key]; ok {
		return v[0]
	}
	v := len(m.spec.Vars)
	m.spec.Vars = append(m.spec.Vars, id.Name)
	m.all = append(m.all, id.Name)
	m.sets[key] = []int{v}
	return v
}

// known finds a variable or subset by name.
func (m *matching) known(id ast.Ident) ([]int, error) {
	if set, ok := m.sets[strings.ToLower(id.Name)]; ok {
		return set, nil
	}
	err := ast.Errorf(id.Pos, "the pattern has no variable %q", id.Name)
	if near := ast.Nearest(id.Name, m.all); near != "" {
		return nil, err.WithHint("did you mean %q?", near)
	}
	return nil, err.WithHint("it has %s", quotedList(m.all))
}

func (m *matching) subsets() error {
	unions := map[string][]int{}
	var names []string
	for _, s := range m.t.Subsets {
		key := strings.ToLower(s.Name.Name)
		if m.sets[key] != nil || unions[key] != nil {
			return ast.Errorf(s.Name.Pos, "%q is defined twice", s.Name.Name)
		}
		var set []int
		for _, id := range s.Of {
			v, err := m.known(id)
			if err != nil {
				return err
			}
			set = append(set, v...)
		}
		unions[key], names = sortedSet(set), append(names, s.Name.Name)
	}
	for key, set := range unions {
		m.sets[key] = set
	}
	m.all = append(m.all, names...)
	return nil
}

// sortedSet orders positions and drops repeated ones.
func sortedSet(set []int) []int {
	seen := map[int]bool{}
	most := 0
	for _, v := range set {
		seen[v], most = true, max(most, v)
	}
	out := make([]int, 0, len(seen))
	for v := range most + 1 {
		if seen[v] {
			out = append(out, v)
		}
	}
	return out
}

// options binds how many rows come out and where the search goes on.
func (m *matching) options() error {
	m.spec.AllRows = m.t.RowsPer == "ALL"
	switch m.t.Empty {
	case "OMIT":
		m.spec.Empty = expr.OmitEmpty
	case "UNMATCHED":
		m.spec.Empty = expr.ShowUnmatched
	}
	switch m.t.AfterMatch {
	case "", "PAST LAST ROW":
		return nil
	case "NEXT ROW":
		m.spec.Skip = expr.SkipToNext
		return nil
	case "FIRST":
		m.spec.Skip = expr.SkipToFirst
	default:
		m.spec.Skip = expr.SkipToLast
	}
	set, err := m.known(*m.t.AfterVar)
	m.spec.SkipVars, m.spec.SkipName = set, m.t.AfterVar.Name
	return err
}

func (m *matching) define() error {
	for i, d := range m.t.Define {
		v, ok := m.sets[strings.ToLower(d.Name.Name)]
		switch {
		case !ok:
			_, err := m.known(d.Name)
			return err
		case len(v) > 1 || !strings.EqualFold(m.spec.Vars[v[0]], d.Name.Name):
			return ast.Errorf(d.Name.Pos, "%q is a SUBSET and has no condition of its own", d.Name.Name)
		}
		for _, other := range m.t.Define[:i] {
			if strings.EqualFold(other.Name.Name, d.Name.Name) {
				return ast.Errorf(d.Name.Pos, "%q is defined twice", d.Name.Name)
			}
		}
		if hasSubquery(d.Cond) {
			return unsupported(d.Cond.Position(), "a subquery in MATCH_RECOGNIZE")
		}
		c, err := m.over("DEFINE", true).condition(d.Cond)
		if err != nil {
			return err
		}
		m.spec.Define[v[0]] = m.b.computed(c)
	}
	return nil
}

// over makes the binder for expressions over the rows of a match.
func (m *matching) over(clause string, define bool) *exprBinder {
	return &exprBinder{b: m.b, sc: emptyScope(), clause: clause, match: &matchExprs{m: m, define: define}}
}

func (m *matching) within() error {
	if m.t.Within == nil {
		return nil
	}
	d, err := m.b.duration(m.t.Within, "WITHIN", false)
	if err != nil {
		return err
	}
	if k := m.node.Order[0]; k.Expr.Type().ID() != arrow.TIMESTAMP || k.Desc {
		return ast.Errorf(m.t.Within.Position(), "WITHIN needs rows that are ordered by a TIMESTAMP first, ascending")
	}
	m.spec.Within = d.Microseconds()
	return nil
}

// measures binds MEASURES and lists the output's columns: the partition's and the
// measures, or with ALL ROWS also the order's and then all others.
func (m *matching) measures() error {
	done := map[int]bool{}
	input := func(i int) {
		if !done[i] {
			done[i] = true
			m.spec.Cols = append(m.spec.Cols, i)
			m.spec.Names = append(m.spec.Names, m.in.node.Schema().Field(i).Name)
		}
	}
	for _, p := range m.node.Partition {
		input(p.(*expr.Column).Index)
	}
	if m.spec.AllRows {
		for _, k := range m.node.Order {
			input(k.Expr.(*expr.Column).Index)
		}
	}
	for _, it := range m.t.Measures {
		if it.Aliases != nil {
			return ast.Errorf(it.Expr.Position(), "a measure is one column")
		}
		if hasSubquery(it.Expr) {
			return unsupported(it.Expr.Position(), "a subquery in MATCH_RECOGNIZE")
		}
		e, err := m.over("MEASURES", false).bind(it.Expr)
		if err != nil {
			return err
		}
		name := outputName(it.Expr)
		if it.Alias != nil {
			name = it.Alias.Name
		}
		m.spec.Measures = append(m.spec.Measures, m.b.computed(e))
		m.spec.Cols, m.spec.Names = append(m.spec.Cols, ^(len(m.spec.Measures)-1)), append(m.spec.Names, name)
	}
	if m.spec.AllRows {
		for i := range m.in.cols {
			input(i)
		}
	}
	return nil
}

// narrow leaves out the columns of the input that nothing asks for.
func (m *matching) narrow() {
	used := map[int]bool{}
	for _, c := range m.spec.Cols {
		if c >= 0 {
			used[c] = true
		}
	}
	for _, k := range m.node.Order {
		expr.Columns(k.Expr, used)
	}
	for _, s := range m.spec.Slots {
		for _, e := range slotInputs(&s) {
			expr.Columns(e, used)
		}
	}
	es, names := columnsAndNames(m.node.Input)
	to := make([]int, len(es))
	n := 0
	for i := range es {
		if to[i] = n; used[i] {
			es[n], names[n] = es[i], names[i]
			n++
		}
	}
	if n == len(es) {
		return
	}
	m.node.Input = project(m.node.Input, es[:n], names[:n])
	move := func(e expr.Expr) expr.Expr { return expr.Remap(e, func(i int) int { return to[i] }) }
	for i, p := range m.node.Partition {
		m.node.Partition[i] = move(p)
	}
	for i, k := range m.node.Order {
		m.node.Order[i].Expr = move(k.Expr)
	}
	for i, c := range m.spec.Cols {
		if c >= 0 {
			m.spec.Cols[i] = to[c]
		}
	}
	for i := range m.spec.Slots {
		moveSlot(&m.spec.Slots[i], move)
	}
}

// slotInputs lists the expressions over the input that a slot reads.
func slotInputs(s *expr.MatchSlot) []expr.Expr {
	switch {
	case s.Value != nil:
		return []expr.Expr{s.Value}
	case s.Agg != nil && s.Agg.Filter != nil:
		return append([]expr.Expr{s.Agg.Filter}, s.Agg.Args...)
	case s.Agg != nil:
		return s.Agg.Args
	}
	return nil
}

func moveSlot(s *expr.MatchSlot, move func(expr.Expr) expr.Expr) {
	if s.Value != nil {
		s.Value = move(s.Value)
	}
	if s.Agg == nil {
		return
	}
	a := *s.Agg
	a.Args = make([]expr.Expr, len(s.Agg.Args))
	for i, e := range s.Agg.Args {
		a.Args[i] = move(e)
	}
	if a.Filter != nil {
		a.Filter = move(a.Filter)
	}
	s.Agg = &a
}
