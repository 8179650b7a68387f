package sluice

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
)

// createMaterialized is CREATE MATERIALIZED VIEW: a table with the rows of a query.
// Over streams a streaming query of its name keeps it up to date, batch by batch, in
// files beside its checkpoint; over tables it lies in memory and REFRESH works it out
// again. A statement that starts a streaming query reads its definition, any other
// its rows.
func (s *Session) createMaterialized(ctx context.Context, st *ast.CreateView) (*Result, error) {
	name := nameText(st.Name)
	old, _ := s.cat.Relation(name)
	switch {
	case old != nil && st.IfNotExists && !st.OrReplace:
		return message("materialized view %s exists", name), nil
	case old != nil && !st.OrReplace, old != nil && !old.Materialized():
		return nil, s.located(nameTaken(name), st.Name.Pos)
	}
	s.cat.qualify(st.Query)
	in, view, err := s.materialized(st)
	if err != nil {
		return nil, err
	}
	if old != nil {
		if _, err := s.dropMaterialized(old); err != nil {
			return nil, err
		}
	}
	rel := &sql.Relation{Name: name, Table: in.table, View: view}
	if s.pipeline(ctx) && logical.Streaming(in.node) {
		s.keepInFiles(rel.Table)
		if err := s.cat.add(rel, false, false); err != nil {
			return nil, s.located(err, st.Name.Pos)
		}
		d := &queryDef{name: name, text: view.Text, mode: sinks.Complete, inserts: []insertDef{in}}
		out, err := s.startStatement(ctx, d, st)
		if err == nil && out.Query != nil {
			// Who reads it next finds what there was to read, not an empty table.
			err = out.Query.ProcessAllAvailable(ctx)
		}
		if err != nil {
			s.cat.drop(name)
		}
		return out, err
	}
	if s.explains(ctx) {
		plan, err := s.explain(ctx, in.node)
		if err != nil {
			return nil, err
		}
		return &Result{Plan: plan}, s.located(s.cat.add(rel, false, false), st.Name.Pos)
	}
	// The name comes last: a view whose rows could not be had is not there.
	rows, err := s.insertBatch(ctx, in, sinks.Complete)
	if err != nil {
		return nil, err
	}
	if err := s.cat.add(rel, false, false); err != nil {
		return nil, s.located(err, st.Name.Pos)
	}
	return message("materialized view %s created, %d rows", name, rows), nil
}

// materialized binds the definition of a view and describes the table of its rows.
func (s *Session) materialized(st *ast.CreateView) (insertDef, *sql.ViewDef, error) {
	opts := s.bindOptions()
	opts.Definitions = true
	n, err := sql.BindQuery(s.cat, st.Query, opts)
	if err != nil {
		return insertDef{}, nil, refused(err)
	}
	view := &sql.ViewDef{Query: st.Query, Text: ast.SQL(st), Materialized: true}
	if len(st.Columns) > 0 {
		if len(st.Columns) != n.Schema().NumFields() {
			return insertDef{}, nil, ast.Errorf(st.Columns[0].Name.Pos, "the view names %d columns, its query has %d", len(st.Columns), n.Schema().NumFields())
		}
		p := &logical.Project{Input: n}
		for i, f := range n.Schema().Fields() {
			view.Columns = append(view.Columns, st.Columns[i].Name.Name)
			p.Exprs = append(p.Exprs, &expr.Column{Index: i, Name: f.Name, DT: f.Type, Null: f.Nullable})
		}
		p.Names = view.Columns
		n = p
	}
	seen := map[string]bool{}
	for _, f := range n.Schema().Fields() {
		key := strings.ToLower(f.Name)
		if seen[key] {
			return insertDef{}, nil, ast.Errorf(st.Name.Pos, "two columns of the view are named %q: name them behind the view's name or with AS", f.Name)
		}
		seen[key] = true
	}
	def := memoryTable(nameText(st.Name), nullable(n.Schema()))
	def.Text = view.Text
	return insertDef{node: n, table: def}, view, nil
}

// keepInFiles lets a view's rows outlive the program.
func (s *Session) keepInFiles(def *sql.TableDef) {
	if isBucket(s.opts.CheckpointDir) {
		return // the rows are no part of the checkpoint, and there is no other place for them
	}
	def.Connector = "filesystem"
	def.Options = map[string]string{"path": s.dir(&queryDef{name: def.Name}) + ".rows", "format": "arrow"}
}

// refresh is REFRESH MATERIALIZED VIEW and REFRESH TABLE.
func (s *Session) refresh(ctx context.Context, st *ast.Refresh) (*Result, error) {
	rel, err := s.relation(&st.Name)
	if err != nil {
		return nil, err
	}
	if !rel.Materialized() {
		if strings.Contains(st.Kind, "VIEW") {
			return nil, ast.Errorf(st.Name.Pos, "%q is no materialized view", rel.Name)
		}
		return message("%s is read anew by every statement", rel.Name), nil
	}
	if _, running := s.Query(rel.Name); running {
		return message("materialized view %s is kept up to date by the streaming query of its name", rel.Name), nil
	}
	in, _, err := s.materialized(&ast.CreateView{Pos: st.Pos, Name: st.Name, Query: rel.View.Query})
	if err != nil {
		return nil, err
	}
	if s.explains(ctx) {
		plan, err := s.explain(ctx, in.node)
		return &Result{Plan: plan}, err
	}
	rows, err := s.insertBatch(ctx, insertDef{node: in.node, table: rel.Table}, sinks.Complete)
	if err != nil {
		return nil, err
	}
	return message("materialized view %s refreshed, %d rows", rel.Name, rows), nil
}

// dropMaterialized ends a materialized view, and the query that fills it with its
// checkpoint: it holds nothing that its definition would not bring back.
func (s *Session) dropMaterialized(rel *sql.Relation) (*Result, error) {
	if q, ok := s.Query(rel.Name); ok {
		if _, err := s.dropQuery(q.Name(), true, ast.Pos{}); err != nil {
			return nil, fmt.Errorf("stop the query of materialized view %s: %w", rel.Name, err)
		}
		for _, dir := range []string{q.dir, rel.Table.Options["path"]} {
			if err := vfsx.Default.RemoveAll(dir); err != nil {
				return nil, fmt.Errorf("remove what materialized view %s has written: %w", rel.Name, err)
			}
		}
	}
	s.cat.drop(rel.Name)
	s.forgetRows(rel)
	return message("materialized view %s dropped", rel.Name), nil
}
