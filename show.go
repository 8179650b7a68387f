package sluice

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/functions"
)

// show answers the SHOW statements.
func (s *Session) show(ctx context.Context, st *ast.Show) (*Result, error) {
	var names []string
	var rows [][]string
	var err error
	switch st.What {
	case "TABLES", "VIEWS":
		schema := ""
		if st.Name != nil {
			schema = nameText(*st.Name)
		}
		names = []string{"name", "kind", "connector"}
		if rows, err = s.cat.inSchema(s.relationRows(st.What == "VIEWS"), schema); err != nil {
			return nil, s.located(err, st.Name.Pos)
		}
	case "MATERIALIZED VIEWS":
		names, rows = []string{"name", "kept by"}, s.materializedRows()
	case "SCHEMAS":
		names = []string{"schema"}
		for _, n := range s.cat.schemaNames() {
			rows = append(rows, []string{n})
		}
	case "STREAMING QUERIES", "QUERIES":
		names, rows = []string{"name", "status", "batch", "trigger", "mode", "checkpoint"}, s.queryRows()
	case "FUNCTIONS":
		names, rows = []string{"function", "group", "meaning"}, s.functionRows()
	case "COLUMNS":
		names = []string{"column", "type", "extra"}
		rows, err = s.columnRows(st.Name)
	case "CREATE TABLE", "CREATE VIEW":
		names = []string{"statement"}
		rows, err = s.createText(st.Name)
	case "VERSIONS":
		names = []string{"sink", "batch"}
		rows, err = s.versionRows(ctx, st.Name)
	case "SAVEPOINTS":
		names = []string{"name", "batch", "created"}
		rows, err = s.savepointRows(st.Name)
	case "ALL", "SETTINGS":
		names = []string{"key", "value", "meaning"}
		rows, err = s.set.describe("")
	default:
		return nil, ast.Errorf(st.Pos, "SHOW %s is not supported in this version", st.What)
	}
	if err != nil {
		return nil, err
	}
	if st.Like != "" {
		rows = slices.DeleteFunc(rows, func(r []string) bool { return !likeName(r[0], st.Like) })
	}
	return s.textRows(names, rows), nil
}

// likeName matches a name with * or % as wildcards, without regard to case.
func likeName(name, pattern string) bool {
	parts := strings.Split(strings.ReplaceAll(strings.ToLower(pattern), "%", "*"), "*")
	name = strings.ToLower(name)
	if len(parts) == 1 {
		return name == parts[0]
	}
	if !strings.HasPrefix(name, parts[0]) {
		return false
	}
	name = name[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(name, p)
		if i < 0 {
			return false
		}
		name = name[i+len(p):]
	}
	return strings.HasSuffix(name, parts[len(parts)-1])
}

func (s *Session) relationRows(viewsOnly bool) [][]string {
	var rows [][]string
	for _, name := range s.cat.Relations() {
		key := name
		if !strings.Contains(name, ".") {
			key = defaultSchema + "." + name // whatever schema is in use
		}
		r, err := s.cat.Relation(key)
		switch {
		case err != nil || r == nil:
		case r.Materialized():
			rows = append(rows, []string{name, "materialized view", r.Table.Connector})
		case r.Table != nil && !viewsOnly:
			rows = append(rows, []string{name, "table", r.Table.Connector})
		case r.Table == nil:
			rows = append(rows, []string{name, "view", ""})
		}
	}
	return rows
}

func (s *Session) materializedRows() [][]string {
	var rows [][]string
	for _, row := range s.relationRows(true) {
		if row[1] != "materialized view" {
			continue
		}
		by := "REFRESH MATERIALIZED VIEW"
		if q, ok := s.Query(row[0]); ok {
			by = "streaming query " + q.Name()
		}
		rows = append(rows, []string{row[0], by})
	}
	return rows
}

func (s *Session) queryRows() [][]string {
	var rows [][]string
	for _, q := range s.Queries() {
		rows = append(rows, []string{
			q.Name(), q.Status(), fmt.Sprint(q.drv.Status().Committed), q.def.trigger.String(), string(q.def.mode), q.Checkpoint(),
		})
	}
	return rows
}

func (s *Session) functionRows() [][]string {
	var rows [][]string
	for _, n := range functions.Names() {
		if e, ok := functions.Lookup(n); ok {
			rows = append(rows, []string{n, e.Group, e.Doc})
		}
	}
	for _, n := range s.cat.Functions() {
		rows = append(rows, []string{n, "user", "registered by the program"})
	}
	return rows
}

// relation finds a table or view for a statement.
func (s *Session) relation(n *ast.Name) (*sql.Relation, error) {
	name := nameText(*n)
	r, err := s.cat.Relation(name)
	if err != nil {
		return nil, s.located(err, n.Pos)
	}
	if r == nil {
		return nil, ast.Errorf(n.Pos, "there is no table or view %q%s", name, options.Suggest(name, s.cat.Relations()))
	}
	return r, nil
}

func (s *Session) columnRows(n *ast.Name) ([][]string, error) {
	r, err := s.relation(n)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	node, err := sql.BindQuery(s.cat, selectAll(n), s.bindOptions())
	if err != nil {
		return nil, refused(err)
	}
	if r.Table != nil {
		for i, c := range r.Table.Columns {
			if c.Type == nil && i < node.Schema().NumFields() { // a computed column
				c.Type = node.Schema().Field(i).Type
			}
			rows = append(rows, columnRow(r.Table, c))
		}
		return rows, nil
	}
	for _, f := range node.Schema().Fields() {
		rows = append(rows, []string{f.Name, expr.TypeName(f.Type), ""})
	}
	return rows, nil
}

func columnRow(t *sql.TableDef, c sql.ColumnDef) []string {
	var extra []string
	typ := ""
	if c.Type != nil {
		typ = expr.TypeName(c.Type)
	}
	if c.Expr != nil {
		extra = append(extra, "AS "+ast.SQL(c.Expr))
	}
	if !c.Null {
		extra = append(extra, "NOT NULL")
	}
	for _, m := range t.Meta {
		if m.Column == c.Physical {
			extra = append(extra, "METADATA FROM '"+m.Key+"'")
		}
	}
	if w := t.Watermark; w != nil && strings.EqualFold(w.Column, c.Name) {
		extra = append(extra, "WATERMARK "+ast.SQL(w.Expr))
	}
	if slices.Contains(t.Keys, c.Name) {
		extra = append(extra, "PRIMARY KEY")
	}
	if c.Comment != "" {
		extra = append(extra, c.Comment)
	}
	return []string{c.Name, typ, strings.Join(extra, ", ")}
}

func selectAll(n *ast.Name) *ast.Query {
	return &ast.Query{Body: &ast.Select{
		Items: []ast.SelectItem{{Expr: &ast.Star{}}}, From: []ast.Table{&ast.TableName{Pos: n.Pos, Name: *n}},
	}}
}

func (s *Session) createText(n *ast.Name) ([][]string, error) {
	r, err := s.relation(n)
	if err != nil {
		return nil, err
	}
	switch {
	case r.Table != nil:
		return [][]string{{r.Table.Text}}, nil
	case r.View != nil:
		return [][]string{{r.View.Text}}, nil
	}
	return nil, ast.Errorf(n.Pos, "%q was made from a DataFrame and has no text", r.Name)
}

// versionRows asks each sink of a query which batch it holds.
func (s *Session) versionRows(ctx context.Context, n *ast.Name) ([][]string, error) {
	q, err := s.namedQuery(nameText(*n), n.Pos)
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, sink := range q.plan.Plan.Sinks {
		id, _, err := q.res.sinks[sink.Name].Holds(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		text := fmt.Sprint(id)
		switch {
		case err != nil: // the others may answer
			text = "unknown: " + err.Error()
		case id == batch.None:
			text = "none"
		}
		rows = append(rows, []string{sink.Table, text})
	}
	return rows, nil
}

// describe answers DESCRIBE.
func (s *Session) describe(st *ast.Describe) (*Result, error) {
	switch {
	case st.What == "FUNCTION":
		return s.describeFunction(st)
	case strings.Contains(st.What, "STREAMING"):
		q, err := s.namedQuery(nameText(*st.Name), st.Name.Pos)
		if err != nil {
			return nil, err
		}
		return &Result{Message: strings.TrimRight(q.Explain(), "\n"), Plan: q.Explain()}, nil
	case st.Query != nil:
		node, err := sql.BindQuery(s.cat, st.Query, s.bindOptions())
		if err != nil {
			return nil, refused(err)
		}
		var rows [][]string
		for _, f := range node.Schema().Fields() {
			rows = append(rows, []string{f.Name, expr.TypeName(f.Type), ""})
		}
		return s.textRows([]string{"column", "type", "extra"}, rows), nil
	}
	rows, err := s.columnRows(st.Name)
	if err != nil {
		return nil, err
	}
	return s.textRows([]string{"column", "type", "extra"}, rows), nil
}

func (s *Session) describeFunction(st *ast.Describe) (*Result, error) {
	name := nameText(*st.Name)
	e, ok := functions.Lookup(name)
	if !ok {
		return nil, ast.Errorf(st.Name.Pos, "there is no function %q%s", name, options.Suggest(name, functions.Names()))
	}
	rows := [][]string{{"function", e.Name()}, {"group", e.Group}}
	for _, u := range e.Usage {
		rows = append(rows, []string{"usage", u})
	}
	rows = append(rows, []string{"meaning", e.Doc})
	if e.Example != "" {
		rows = append(rows, []string{"example", e.Example}, []string{"result", e.Result})
	}
	return s.textRows([]string{"what", "text"}, rows), nil
}

// explaining marks a context in which queries are planned and not run. Its value
// is the format of the plan.
type explaining struct{}

// explains reports whether a query is to be planned only.
func (s *Session) explains(ctx context.Context) bool {
	return s.opts.ExplainOnly || ctx.Value(explaining{}) != nil
}

// pipeline reports whether INSERT INTO from a stream is a streaming query.
func (s *Session) pipeline(ctx context.Context) bool {
	return ctx.Value(analysing{}) == nil && (s.opts.Pipeline || ctx.Value(explaining{}) != nil)
}

// explainStatement answers EXPLAIN: the plan of the statement, which is not run.
func (s *Session) explainStatement(ctx context.Context, st *ast.Explain) (*Result, error) {
	if st.Name != nil {
		return s.explainQuery(ctx, st)
	}
	if st.Stmt == nil {
		return nil, ast.Errorf(st.Pos, "EXPLAIN %s is not supported in this version; EXPLAIN a statement", st.Mode)
	}
	if strings.Contains(st.Mode, "ANALYZE") {
		return s.explainAnalyze(ctx, st)
	}
	if !hasPlan(st.Stmt) {
		return s.planRows(commandPlan(st)), nil
	}
	stmt := st.Stmt
	if v, ok := stmt.(*ast.CreateView); ok {
		stmt = &ast.QueryStmt{Query: v.Query}
	}
	r, err := s.execute(context.WithValue(ctx, explaining{}, st.Format), stmt)
	if err != nil {
		return nil, err
	}
	if r.Plan == "" { // CREATE .. IF NOT EXISTS of what exists
		return s.planRows(commandPlan(st)), nil
	}
	return s.planRows(r.Plan), nil
}

// hasPlan reports whether a statement reads rows.
func hasPlan(st ast.Stmt) bool {
	switch st := st.(type) {
	case *ast.QueryStmt, *ast.Insert, *ast.CreateStreamingQuery, *ast.CreateView:
		return true
	case *ast.CreateTable:
		return st.Query != nil
	default:
		return false
	}
}

// commandPlan is the plan of a statement that reads no rows.
func commandPlan(st *ast.Explain) string {
	text := ast.SQL(st.Stmt)
	if st.Format == "JSON" {
		b, _ := json.MarshalIndent(map[string]string{"command": text}, "", "  ") // a string can be written
		return string(b) + "\n"
	}
	return "== Command, no rows are read ==\n" + text + "\n"
}

// planRows is a plan as a result, a row a line.
func (s *Session) planRows(plan string) *Result {
	var rows [][]string
	for line := range strings.Lines(strings.TrimRight(plan, "\n")) {
		rows = append(rows, []string{strings.TrimRight(line, "\n")})
	}
	out := s.textRows([]string{"plan"}, rows)
	out.Plan = plan
	return out
}
