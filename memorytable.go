package sluice

import (
	"context"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sources"
	memorysource "github.com/sluice-stream/sluice/sources/memory"
	"github.com/sluice-stream/sluice/sql"
)

// memoryConnector is the name of the connector for tables in memory: a source
// whose rows a program adds, and a sink that keeps what queries write.
const memoryConnector = "memory"

// memoryTable describes a table in memory.
func memoryTable(name string, schema *arrow.Schema) *sql.TableDef {
	def := &sql.TableDef{
		Name: name, Connector: memoryConnector, Options: map[string]string{"name": name}, Physical: schema,
		Text: fmt.Sprintf("-- %s is filled by the program", name),
	}
	for i, f := range schema.Fields() {
		def.Columns = append(def.Columns, sql.ColumnDef{Name: f.Name, Type: f.Type, Null: f.Nullable, Physical: i})
	}
	return def
}

// CreateDataFrame makes a DataFrame of rows that the program has. The batches
// are borrowed; their rows are held until the session is closed.
func (s *Session) CreateDataFrame(schema *arrow.Schema, recs ...arrow.RecordBatch) *DataFrame {
	st := memorysource.NewStream(schema)
	for _, r := range recs {
		if _, err := st.AddData(r); err != nil {
			st.Close()
			return &DataFrame{s: s, err: fmt.Errorf("create a DataFrame: %w", err)}
		}
	}
	st.End()
	return s.ownStream(st)
}

// ownStream makes a DataFrame of rows that nobody adds to any more.
func (s *Session) ownStream(st *memorysource.Stream) *DataFrame {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	// The dot and the space keep the name out of reach of SQL and CreateStream.
	s.reg.mu.made++
	name := fmt.Sprintf("%s%d", ownRows, s.reg.mu.made)
	s.reg.mu.streams[name] = st
	return &DataFrame{s: s, node: &logical.Scan{Table: &logical.Table{
		Name: "rows", Connector: memoryConnector, Options: map[string]string{"name": name}, Schema: st.Schema(), Changes: st.Changes,
	}}}
}

// ownRows starts the names of what CreateDataFrame has made.
const ownRows = "rows. "

// Unpersist lets the rows of Cache or CreateDataFrame go. What still reads them
// then fails; a DataFrame over anything else is left alone.
func (d *DataFrame) Unpersist() {
	scan, ok := d.node.(*logical.Scan)
	if !ok || scan.Table.Connector != memoryConnector || !strings.HasPrefix(scan.Table.Options["name"], ownRows) {
		return
	}
	d.s.reg.mu.Lock()
	st := d.s.reg.mu.streams[scan.Table.Options["name"]]
	delete(d.s.reg.mu.streams, scan.Table.Options["name"])
	d.s.reg.mu.Unlock()
	if st != nil {
		st.Close()
	}
}

// MemoryTable makes a DataFrame of what a table in memory holds when the
// DataFrame is run. A fault is reported then.
func (s *Session) MemoryTable(name string) *DataFrame {
	t, ok := s.reg.tables.Get(name)
	if !ok {
		return &DataFrame{s: s, err: batch.UserErrorf("there is no table in memory %q%s", name, options.Suggest(name, s.reg.tables.Names()))}
	}
	return &DataFrame{s: s, alias: name, node: &logical.Scan{Table: &logical.Table{
		Name: name, Connector: memoryConnector, Options: map[string]string{"name": name}, Schema: t.Schema(),
	}}}
}

// nameMemoryTable lets SQL read by its name what WriteToMemory writes, unless
// the name means something already.
func (s *Session) nameMemoryTable(d *queryDef) error {
	in := d.inserts[0]
	if in.custom == nil || in.custom.Name != memoryConnector {
		return nil
	}
	return s.cat.add(&sql.Relation{Name: in.table.Name, Table: in.table}, false, true)
}

// forgetRows lets the rows of a dropped table in memory go, unless a query still
// writes to it.
func (s *Session) forgetRows(rel *sql.Relation) {
	if rel.Table == nil || rel.Table.Connector != memoryConnector {
		return
	}
	name := rel.Table.Options["name"]
	if name == "" {
		name = rel.Table.Name
	}
	for _, q := range s.Queries() {
		for _, in := range q.def.inserts {
			other := in.table.Options["name"]
			if other == "" {
				other = in.table.Name
			}
			if q.running() && other == name {
				return
			}
		}
	}
	s.reg.tables.Drop(name)
}

// openSinkTable opens, for reading, what queries have written to a table in
// memory. ok is false where the table is a stream that the program fills.
func (r *resources) openSinkTable(ctx context.Context, reg *registry, spec sources.Spec) (ok bool, err error) {
	name, named := spec.Options["name"]
	if name == "" {
		name = spec.Table
	}
	if _, isStream := reg.stream(name); isStream || spec.Stream {
		return false, nil
	}
	table, written := reg.tables.Get(name)
	if !written && (named || spec.Schema == nil) {
		return false, nil
	}
	schema := spec.Schema
	if schema == nil {
		schema = table.Schema()
	}
	if spec.Lookup {
		live := newLiveTable(reg, name, spec.Table, schema)
		r.sources[spec.Name], r.openers[spec.Name] = live, live
		return true, nil
	}
	st := memorysource.NewStream(schema)
	r.snapshots = append(r.snapshots, st)
	if written {
		for _, rec := range table.Snapshot() {
			err := addRows(st, schema, rec)
			rec.Release()
			if err != nil {
				return true, fmt.Errorf("read table %s: %w", spec.Table, err)
			}
		}
	}
	one := sources.NewRegistry(memorysource.Connector(func(string) (*memorysource.Stream, bool) { return st, true }))
	spec.Options = options.Map{"name": name}
	return true, r.openSource(ctx, one, memoryConnector, spec)
}

// nullable is a schema without promises of what is never NULL: two queries with
// the same columns may differ in them.
func nullable(schema *arrow.Schema) *arrow.Schema {
	fields := schema.Fields()
	for i := range fields {
		fields[i].Nullable = true
	}
	return arrow.NewSchema(fields, nil)
}

// addRows adds rows under the schema of the table: that of a query may tell
// more of what cannot be NULL.
func addRows(st *memorysource.Stream, schema *arrow.Schema, rec arrow.RecordBatch) error {
	if int(rec.NumCols()) != schema.NumFields() {
		return fmt.Errorf("it holds %d columns, %d are declared", rec.NumCols(), schema.NumFields())
	}
	for i, f := range schema.Fields() {
		if !arrow.TypeEqual(f.Type, rec.Column(i).DataType()) {
			return fmt.Errorf("column %q holds %s, declared is %s", f.Name, rec.Column(i).DataType(), f.Type)
		}
	}
	same := array.NewRecordBatch(schema, rec.Columns(), rec.NumRows())
	defer same.Release()
	_, err := st.AddData(same)
	return err
}

// stream returns the stream behind a memory table that was made in Go.
func (r *registry) stream(name string) (*memorysource.Stream, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st, ok := r.mu.streams[strings.ToLower(name)]
	return st, ok
}

// closeMemory gives the rows of all streams and tables in memory back.
func (r *registry) closeMemory() {
	r.tables.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, st := range r.mu.streams {
		st.Close()
	}
}
