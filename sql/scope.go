package sql

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql/ast"
)

// scope is a plan with the names that its columns have in SQL.
type scope struct {
	node   logical.Node
	cols   []scopeCol
	byName map[string][]int // lower-case name to cols; made when first needed
}

// scopeCol is one name. Usually e is the column of the plan at its own
// position; the key of a FULL JOIN USING is an expression over two.
type scopeCol struct {
	table  string // alias or table name, the last part of a qualified one
	schema string // what stood before the table's name, lower case with dots; empty behind an alias
	name   string
	e      expr.Expr
	// hidden names are found with their table before them only: the two sides of
	// a USING key.
	hidden bool
	// starless columns are not part of *: the window of a GROUP BY window(..).
	starless bool
}

// newScope names the columns of a plan as those of one table.
func newScope(n logical.Node, table string) *scope {
	s := n.Schema()
	sc := &scope{node: n, cols: make([]scopeCol, s.NumFields())}
	for i, f := range s.Fields() {
		sc.cols[i] = scopeCol{table: table, name: f.Name, e: columnOf(i, f)}
	}
	return sc
}

func columnOf(i int, f arrow.Field) *expr.Column {
	return &expr.Column{Index: i, Name: f.Name, DT: f.Type, Null: f.Nullable}
}

// emptyScope is that of a SELECT without FROM: one row, no columns.
func emptyScope() *scope {
	return &scope{node: &logical.Values{Rows: [][]expr.Expr{{}}, Out: arrow.NewSchema(nil, nil)}}
}

// renamed gives the columns a new table and perhaps new names. The plan stays;
// its own column names follow where it ends (projected).
func (sc *scope) renamed(table string, names []ast.Ident, pos ast.Pos) (*scope, error) {
	vis := sc.star(nil)
	if names != nil && len(names) != len(vis) {
		return nil, ast.Errorf(pos, "%s has %d columns, but %d names are given", table, len(vis), len(names))
	}
	out := &scope{node: sc.node}
	for i, c := range vis {
		c.table, c.schema = table, ""
		if names != nil {
			c.name = names[i].Name
		}
		out.cols = append(out.cols, c)
	}
	return out, nil
}

// projected puts a projection on top if the plan's columns are not exactly the
// scope's.
func (sc *scope) projected() *scope {
	vis := sc.star(nil)
	es, names := make([]expr.Expr, len(vis)), make([]string, len(vis))
	for i, c := range vis {
		es[i], names[i] = c.e, c.name
	}
	out := &scope{node: project(sc.node, es, names)}
	for i, f := range out.node.Schema().Fields() {
		c := vis[i]
		out.cols = append(out.cols, scopeCol{table: c.table, schema: c.schema, name: c.name, e: columnOf(i, f)})
	}
	return out
}

// project makes a Project, or returns the input if it would change nothing.
func project(in logical.Node, es []expr.Expr, names []string) logical.Node {
	s := in.Schema()
	same := s.NumFields() == len(es)
	for i := 0; same && i < len(es); i++ {
		c, ok := es[i].(*expr.Column)
		same = ok && c.Index == i && s.Field(i).Name == names[i]
	}
	if same {
		return in
	}
	return &logical.Project{Input: in, Exprs: es, Names: names}
}

// star lists what * or t.* stands for.
func (sc *scope) star(qualifier []ast.Ident) []scopeCol {
	var out []scopeCol
	for _, c := range sc.cols {
		switch {
		case c.starless:
		case qualifier == nil && !c.hidden, qualifier != nil && c.under(qualifier):
			out = append(out, c)
		}
	}
	return out
}

// under says whether the column is in the table that a qualifier names.
func (c *scopeCol) under(q []ast.Ident) bool {
	if c.table == "" || !strings.EqualFold(c.table, q[len(q)-1].Name) {
		return false
	}
	if len(q) == 1 {
		return true
	}
	var parts []string
	for _, id := range q[:len(q)-1] {
		parts = append(parts, strings.ToLower(id.Name))
	}
	want := strings.Join(parts, ".")
	return c.schema == want || strings.HasSuffix(c.schema, "."+want)
}

// named lists the columns of a name.
func (sc *scope) named(name string) []int {
	if sc.byName == nil {
		sc.byName = make(map[string][]int, len(sc.cols))
		for i, c := range sc.cols {
			k := strings.ToLower(c.name)
			sc.byName[k] = append(sc.byName[k], i)
		}
	}
	return sc.byName[strings.ToLower(name)]
}

// add appends a name to the scope.
func (sc *scope) add(c scopeCol) {
	sc.cols = append(sc.cols, c)
	sc.byName = nil
}

// lookup finds the column that the first parts of a name stand for and how
// many they are; the rest are fields. It returns -1 if there is none. A
// qualified match counts before a column with fields, as in Spark.
func (sc *scope) lookup(parts []ast.Ident) (col, used int, err error) {
	for q := min(len(parts)-1, 3); q >= 0; q-- {
		var found []int
		for _, i := range sc.named(parts[q].Name) {
			c := &sc.cols[i]
			if q == 0 && !c.hidden || q > 0 && c.under(parts[:q]) {
				found = append(found, i)
			}
		}
		switch {
		case len(found) == 1:
			return found[0], q + 1, nil
		case len(found) > 1:
			return 0, 0, sc.ambiguous(parts[:q+1], found)
		}
	}
	return -1, 0, nil
}

func (sc *scope) ambiguous(parts []ast.Ident, found []int) error {
	var tables []string
	twice := len(found) == 2 && sc.cols[found[0]].table == sc.cols[found[1]].table
	for _, i := range found {
		name := sc.cols[i].name
		if sc.cols[i].table != "" {
			name = sc.cols[i].table + "." + name
		}
		tables = append(tables, name)
	}
	err := ast.Errorf(parts[0].Pos, "column %q is ambiguous: it could be %s", dotted(parts), strings.Join(tables, " or "))
	if twice {
		return err.WithHint("give the tables aliases of their own")
	}
	return err
}

// has says whether some column belongs to the table of a qualifier.
func (sc *scope) has(q []ast.Ident) bool {
	for i := range sc.cols {
		if sc.cols[i].under(q) {
			return true
		}
	}
	return false
}

// names lists what a mistyped column could mean; with a qualifier, the columns
// of its table.
func (sc *scope) names(q []ast.Ident) []string {
	var out []string
	for i := range sc.cols {
		if c := &sc.cols[i]; q == nil && !c.hidden || q != nil && c.under(q) {
			out = append(out, c.name)
		}
	}
	return out
}

// tables lists the names of the tables in scope, each once.
func (sc *scope) tables() []string {
	seen := map[string]bool{}
	var out []string
	for i := range sc.cols {
		if t := sc.cols[i].table; t != "" && !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}

func dotted(parts []ast.Ident) string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.Name
	}
	return strings.Join(names, ".")
}
