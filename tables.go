package sluice

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/debezium"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
)

// createTable declares a table; with AS SELECT it fills it too.
func (s *Session) createTable(ctx context.Context, st *ast.CreateTable) (*Result, error) {
	name := nameText(st.Name)
	if old, _ := s.cat.Relation(name); old != nil && st.IfNotExists {
		return message("table %s exists", name), nil
	}
	def, err := sql.BuildTable(s.cat, st, "", s.bindOptions())
	if err != nil {
		return nil, refused(err)
	}
	if err := s.checkOptions(def); err != nil {
		return nil, s.located(err, st.Name.Pos)
	}
	if st.Query != nil {
		return s.createTableAs(ctx, st, def)
	}
	if err := s.complete(ctx, def); err != nil {
		return nil, s.at(err, st)
	}
	old, _ := s.cat.Relation(name)
	if err := s.cat.add(&sql.Relation{Name: def.Name, Table: def}, st.OrReplace, st.IfNotExists); err != nil {
		return nil, s.located(err, st.Name.Pos)
	}
	if old != nil {
		s.forgetRows(old)
	}
	return message("table %s created", def.Name), nil
}

// checkOptions refuses an unknown connector and options that neither its source
// nor its sink declares.
func (s *Session) checkOptions(def *sql.TableDef) error {
	if def.Connector == "" {
		return batch.UserErrorf("table %q needs the option 'connector': one of %s", def.Name, strings.Join(s.reg.names(), ", "))
	}
	src, srcErr := s.reg.sources.Lookup(def.Connector)
	snk, snkErr := s.reg.sinks.Lookup(def.Connector)
	if srcErr != nil && snkErr != nil {
		names := s.reg.names()
		meant := options.Suggest(def.Connector, names)
		if meant == "" {
			meant = ": there are " + strings.Join(names, ", ")
		}
		return batch.UserErrorf("unknown connector %q%s", def.Connector, meant)
	}
	declared := slices.Clone(src.Options)
	for _, o := range snk.Options {
		if !slices.ContainsFunc(declared, func(d options.Option) bool { return d.Key == o.Key }) {
			declared = append(declared, o)
		}
	}
	for i := range declared {
		// What one side needs the other may not: each side checks its own when it is opened.
		declared[i].Required = declared[i].Required && srcErr == nil && snkErr != nil
	}
	return options.Check(fmt.Sprintf("table %q", def.Name), without(def.Options, "connector"), declared)
}

func (r *registry) names() []string {
	names := append(r.sources.Names(), r.sinks.Names()...)
	slices.Sort(names)
	return slices.Compact(names)
}

// complete asks the connector for columns that the DDL left out, and whether the
// table can be a stream.
func (s *Session) complete(ctx context.Context, def *sql.TableDef) error {
	c, err := s.reg.sources.Lookup(def.Connector)
	if err != nil {
		return nil // a sink alone: it takes what is written
	}
	spec := s.sourceSpec(def.Name, tableOf(def), true)
	spec.Options = spec.Options.Known(c.Options)
	if def.Physical == nil {
		if c.Infer == nil {
			return batch.UserErrorf("table %q: connector '%s' cannot find columns, declare them", def.Name, def.Connector)
		}
		schema, err := c.Infer(ctx, spec)
		if err != nil {
			return fmt.Errorf("find the columns of table %s: %w", def.Name, err)
		}
		def.Complete(schema)
		def.Inferred = true
		if err := sql.CheckTable(s.cat, def, s.bindOptions()); err != nil {
			return refused(err)
		}
	}
	def.Stream, def.Keyed = c.Unbounded != nil && c.Unbounded(spec), c.Keyed
	spec.Schema, spec.Inferred = def.Physical, def.Inferred
	if err := s.changes(def, c, spec); err != nil {
		return err
	}
	if _, err := s.reg.sinks.Lookup(def.Connector); err == nil || c.NewOpener == nil {
		return nil // it may be declared for the sink alone
	}
	// What the source cannot take is told here and not where it is first read.
	if _, err := c.NewOpener(spec); err != nil {
		return refused(err)
	}
	return nil
}

// changes finds out whether the rows of a table carry a kind of change.
func (s *Session) changes(def *sql.TableDef, c sources.Connector, spec sources.Spec) (err error) {
	def.Changes = batch.OnlyGrows
	if _, set := def.Options[formats.BadRows.Key]; !set && debezium.Ignores(def.Options) {
		def.Options[formats.BadRows.Key] = policyQuarantine // what cannot be read is kept
	}
	if c.Changes == nil {
		return nil
	}
	if def.Changes, err = c.Changes(spec); err == nil {
		err = sql.CheckChanges(s.cat, def, s.bindOptions())
	}
	return refused(err)
}

// From reads from a connector without a declared table: options are those of
// its WITH clause. Its columns are found as for a CREATE TABLE without columns. A
// query that is started reads it as a stream if it can be one.
func (s *Session) From(ctx context.Context, connector string, opts map[string]string) *DataFrame {
	def := &sql.TableDef{Name: connector, Connector: connector, Options: maps.Clone(opts)}
	err := s.checkOptions(def)
	if err == nil {
		if _, err = s.reg.sources.Lookup(connector); err == nil {
			err = s.complete(ctx, def)
		}
	}
	if err != nil {
		return &DataFrame{s: s, err: fmt.Errorf("read from %s: %w", connector, err)}
	}
	return &DataFrame{s: s, node: &logical.Scan{Table: tableOf(def)}}
}

// Read reads files in a format, "" for the one that their ends tell: a file, a
// directory or a pattern.
func (s *Session) Read(ctx context.Context, format, path string) *DataFrame {
	opts := map[string]string{"path": path}
	if format != "" {
		opts["format"] = format
	}
	return s.From(ctx, "filesystem", opts)
}

// tableOf is a table as plans know it.
func tableOf(def *sql.TableDef) *logical.Table {
	return &logical.Table{
		Name: def.Name, Connector: def.Connector, Options: def.Options, Schema: def.Physical, Meta: def.Meta,
		Stream: def.Stream, Keyed: def.Keyed, Inferred: def.Inferred, Data: def.Data, Changes: def.Changes, Keys: def.PhysicalKeys(),
	}
}

// createTableAs declares a table with the columns of a query and writes its rows.
func (s *Session) createTableAs(ctx context.Context, st *ast.CreateTable, def *sql.TableDef) (*Result, error) {
	n, err := sql.BindQuery(s.cat, st.Query, s.bindOptions())
	if err != nil {
		return nil, refused(err)
	}
	if def.Physical == nil {
		def.Complete(n.Schema())
	}
	if err := s.complete(ctx, def); err != nil {
		return nil, err
	}
	old, _ := s.cat.Relation(def.Name)
	if old != nil && !st.OrReplace {
		return nil, s.located(nameTaken(def.Name), st.Name.Pos)
	}
	if s.explains(ctx) {
		plan, err := s.explain(ctx, n)
		return &Result{Plan: plan}, err
	}
	if old != nil {
		s.forgetRows(old)
	}
	// The name comes last: a table whose rows could not be written is not there.
	mode := sinks.Append
	if st.OrReplace && def.Connector == "filesystem" {
		mode = sinks.Complete // the rows of before are not those of the new table
	}
	rows, err := s.insertBatch(ctx, insertDef{node: n, table: def}, mode)
	if err != nil {
		return nil, err
	}
	if err := s.cat.add(&sql.Relation{Name: def.Name, Table: def}, st.OrReplace, st.IfNotExists); err != nil {
		return nil, s.located(err, st.Name.Pos)
	}
	return message("table %s created, %d rows", def.Name, rows), nil
}

// unbounded names a table of a plan that has no end even when it is read as it
// is now; "" if there is none.
func (s *Session) unbounded(n logical.Node) string {
	found := ""
	logical.Walk(n, func(x logical.Node) bool {
		scan, ok := x.(*logical.Scan)
		if !ok {
			return found == ""
		}
		if s.endless(scan.Table) {
			found = scan.Table.Name
		}
		return true
	})
	return found
}

func (s *Session) endless(t *logical.Table) bool {
	c, err := s.reg.sources.Lookup(t.Connector)
	if err != nil || c.Unbounded == nil {
		return false
	}
	spec := s.sourceSpec(t.Name, t, false)
	spec.Options = spec.Options.Known(c.Options)
	return c.Unbounded(spec)
}
