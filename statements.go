package sluice

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
)

// execute carries out one statement.
func (s *Session) execute(ctx context.Context, stmt ast.Stmt) (*Result, error) {
	switch st := stmt.(type) {
	case *ast.QueryStmt:
		return s.selectRows(ctx, st)
	case *ast.Insert:
		return s.insert(ctx, st)
	case *ast.CreateTable:
		return s.createTable(ctx, st)
	case *ast.CreateView:
		if st.Materialized {
			return s.createMaterialized(ctx, st)
		}
		return s.createView(st)
	case *ast.Refresh:
		return s.refresh(ctx, st)
	case *ast.CreateStreamingQuery:
		return s.createStreamingQuery(ctx, st)
	case *ast.ControlStreamingQuery:
		return s.controlStreamingQuery(ctx, st)
	case *ast.AlterStreamingQuery:
		return s.alterStreamingQuery(ctx, st)
	case *ast.SaveStreamingQuery:
		return s.saveStatement(ctx, st)
	case *ast.AlterRelation:
		return s.alterRelation(st)
	case *ast.CreateSchema:
		return s.createSchemaStatement(st)
	case *ast.Use:
		return s.useStatement(st)
	case *ast.Drop:
		switch st.Kind {
		case "SCHEMA":
			return s.dropSchemaStatement(st)
		case "FUNCTION", "VARIABLE":
			return s.dropDefinition(st)
		}
		return s.dropRelation(st)
	case *ast.CreateFunction:
		return s.createFunction(st)
	case *ast.DeclareVariable:
		return s.declareVariable(ctx, st)
	case *ast.SetVariable:
		return s.setVariable(ctx, st)
	case *ast.ExecuteImmediate:
		return s.executeImmediate(ctx, st)
	case *ast.Set:
		return s.setStatement(st)
	case *ast.SetTimeZone:
		return message("time zone set"), s.located(s.Set(setZone.Key, st.Zone), st.ZonePos)
	case *ast.Reset:
		return message("reset"), s.located(s.Reset(st.Key), st.Pos)
	case *ast.Show:
		return s.show(ctx, st)
	case *ast.Describe:
		return s.describe(st)
	case *ast.Explain:
		return s.explainStatement(ctx, st)
	case *ast.ReplayQuarantine:
		return s.replayQuarantine(ctx, st)
	default:
		return nil, ast.Errorf(stmt.Position(), "this statement is not supported in this version")
	}
}

func message(format string, args ...any) *Result {
	return &Result{Message: fmt.Sprintf(format, args...)}
}

// located gives an error the place of what it is about.
func (s *Session) located(err error, pos ast.Pos) error {
	if err == nil {
		return nil
	}
	return ast.Errorf(pos, "%s", err.Error())
}

func (s *Session) setStatement(st *ast.Set) (*Result, error) {
	if !st.HasValue {
		return s.settingRows(st.Key, st.Pos)
	}
	if err := s.Set(st.Key, st.Value); err != nil {
		return nil, s.located(err, st.Pos)
	}
	return message("%s = %s", st.Key, st.Value), nil
}

func (s *Session) settingRows(key string, pos ast.Pos) (*Result, error) {
	rows, err := s.set.describe(key)
	if err != nil {
		return nil, s.located(err, pos)
	}
	return s.textRows([]string{"key", "value", "meaning"}, rows), nil
}

// textRows is a result of strings.
func (s *Session) textRows(names []string, rows [][]string) *Result {
	fields := make([]arrow.Field, len(names))
	for i, n := range names {
		fields[i] = arrow.Field{Name: n, Type: arrow.BinaryTypes.String}
	}
	schema := arrow.NewSchema(fields, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, r := range rows {
		for i, v := range r {
			b.Field(i).(*array.StringBuilder).Append(v)
		}
	}
	return &Result{Schema: schema, Zone: s.zone(), Rows: &oneBatch{rec: b.NewRecordBatch()}}
}

// selectRows runs a query over what its tables hold now.
func (s *Session) selectRows(ctx context.Context, st *ast.QueryStmt) (*Result, error) {
	return s.selectWith(ctx, st, s.bindOptions())
}

func (s *Session) selectWith(ctx context.Context, st *ast.QueryStmt, opts sql.Options) (*Result, error) {
	n, err := sql.BindQuery(s.cat, st.Query, opts)
	if err != nil {
		return nil, refused(err)
	}
	if s.explains(ctx) {
		plan, err := s.explain(ctx, n)
		return &Result{Plan: plan}, err
	}
	rows, err := s.runBatch(ctx, n)
	if err != nil {
		return nil, err
	}
	return &Result{Schema: n.Schema(), Zone: s.zone(), Rows: rows}, nil
}

func (s *Session) createView(st *ast.CreateView) (*Result, error) {
	// Binding finds faults now and not where the view is used.
	n, err := sql.BindQuery(s.cat, st.Query, s.bindOptions())
	if err != nil {
		return nil, refused(err)
	}
	view := &sql.ViewDef{Query: st.Query, Text: ast.SQL(st)}
	s.cat.qualify(st.Query)
	if len(st.Columns) > 0 && len(st.Columns) != n.Schema().NumFields() {
		return nil, ast.Errorf(st.Columns[0].Name.Pos, "the view names %d columns, its query has %d", len(st.Columns), n.Schema().NumFields())
	}
	for _, c := range st.Columns {
		view.Columns = append(view.Columns, c.Name.Name)
	}
	rel := &sql.Relation{Name: nameText(st.Name), View: view}
	if old, _ := s.cat.Relation(rel.Name); old != nil && st.IfNotExists && !st.OrReplace {
		return message("view %s exists", rel.Name), nil
	}
	if err := s.cat.add(rel, st.OrReplace, st.IfNotExists); err != nil {
		return nil, s.located(err, st.Name.Pos)
	}
	return message("view %s created", rel.Name), nil
}

func (s *Session) dropRelation(st *ast.Drop) (*Result, error) {
	name := nameText(st.Name)
	if strings.Contains(st.Kind, "QUERY") {
		return s.dropQuery(name, st.IfExists, st.Pos)
	}
	rel, err := s.relation(&st.Name)
	if err != nil {
		if old, _ := s.cat.Relation(name); old == nil && st.IfExists {
			return message("there is no %s %s", strings.ToLower(st.Kind), name), nil
		}
		return nil, err
	}
	kind := "VIEW"
	switch {
	case rel.Materialized():
		kind = "MATERIALIZED VIEW"
	case rel.Table != nil:
		kind = "TABLE"
	}
	if !strings.EqualFold(st.Kind, kind) {
		return nil, ast.Errorf(st.Name.Pos, "%q is a %s: use DROP %s", name, strings.ToLower(kind), kind)
	}
	if rel.Materialized() {
		return s.dropMaterialized(rel)
	}
	s.cat.drop(name)
	s.forgetRows(rel)
	return message("%s dropped", name), nil
}

// nameText is a name as text, its last part alone if it has only one.
func nameText(n ast.Name) string {
	parts := make([]string, len(n.Parts))
	for i, p := range n.Parts {
		parts[i] = p.Name
	}
	return strings.Join(parts, ".")
}
