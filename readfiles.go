package sluice

import (
	"context"
	"maps"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// FileReader says how files are read. Its methods change it and return it; Load
// makes the DataFrame.
type FileReader struct {
	s      *Session
	opts   map[string]string
	ddl    string
	schema *arrow.Schema
}

// ReadFiles starts a reader of files: s.ReadFiles().Format("csv").Option("delimiter", ";").Load(ctx, "in/*.csv").
func (s *Session) ReadFiles() *FileReader { return &FileReader{s: s, opts: map[string]string{}} }

// Format is parquet, csv, json, arrow or text; without it the names of the files tell.
func (r *FileReader) Format(name string) *FileReader { r.opts["format"] = name; return r }

// Option sets an option of the filesystem source or of the format. That of the format
// needs no prefix once Format is set: "delimiter" is "csv.delimiter".
func (r *FileReader) Option(key, value string) *FileReader { r.opts[key] = value; return r }

// Options sets several.
func (r *FileReader) Options(opts map[string]string) *FileReader { maps.Copy(r.opts, opts); return r }

// Schema declares the columns, as CREATE TABLE does: "a BIGINT, b STRING". What a file
// has besides is left out; what it lacks is NULL or a fault, as the format says.
func (r *FileReader) Schema(ddl string) *FileReader { r.ddl = ddl; return r }

// ArrowSchema declares the columns as Arrow's.
func (r *FileReader) ArrowSchema(schema *arrow.Schema) *FileReader { r.schema = schema; return r }

// CSV is Format("csv").Load.
func (r *FileReader) CSV(ctx context.Context, paths ...string) *DataFrame {
	return r.Format("csv").Load(ctx, paths...)
}

// JSON is Format("json").Load.
func (r *FileReader) JSON(ctx context.Context, paths ...string) *DataFrame {
	return r.Format("json").Load(ctx, paths...)
}

// Parquet is Format("parquet").Load.
func (r *FileReader) Parquet(ctx context.Context, paths ...string) *DataFrame {
	return r.Format("parquet").Load(ctx, paths...)
}

// Arrow is Format("arrow").Load.
func (r *FileReader) Arrow(ctx context.Context, paths ...string) *DataFrame {
	return r.Format("arrow").Load(ctx, paths...)
}

// Text is Format("text").Load: a column value with a row for each line.
func (r *FileReader) Text(ctx context.Context, paths ...string) *DataFrame {
	return r.Format("text").Load(ctx, paths...)
}

// Load makes a DataFrame of files, directories and patterns. Without a schema its
// columns are those of all files together, by name: types widen where one holds the
// values of both, and what a file lacks is NULL. A fault is reported when it is used.
func (r *FileReader) Load(ctx context.Context, paths ...string) *DataFrame {
	if len(paths) == 0 {
		return &DataFrame{s: r.s, err: batch.UserErrorf("read files: no path is given")}
	}
	opts := r.s.fileOptions(r.opts)
	opts["path"] = strings.Join(paths, ",")
	schema := r.schema
	if r.ddl != "" {
		var err error
		if schema, err = r.s.schemaOf(r.ddl); err != nil {
			return &DataFrame{s: r.s, err: err}
		}
	}
	if schema == nil {
		return r.s.From(ctx, "filesystem", opts)
	}
	def := &sql.TableDef{Name: "files", Connector: "filesystem", Options: opts}
	def.Complete(schema)
	err := r.s.checkOptions(def)
	if err == nil {
		err = r.s.complete(ctx, def)
	}
	return &DataFrame{s: r.s, node: &logical.Scan{Table: tableOf(def)}, err: err}
}

// fileRelation is a table of files that a query names by their paths. Binding has no
// context: what it looks at is bounded, a few files' heads.
func (s *Session) fileRelation(format string, paths []string, opts map[string]string) (*sql.Relation, error) {
	r := s.ReadFiles().Options(opts)
	if format != "" {
		r.Format(format)
	}
	def := &sql.TableDef{Name: "files", Connector: "filesystem", Options: s.fileOptions(r.opts)}
	def.Options["path"] = strings.Join(paths, ",")
	if err := s.checkOptions(def); err != nil {
		return nil, err
	}
	if err := s.complete(context.Background(), def); err != nil {
		return nil, err
	}
	return &sql.Relation{Name: "files", Table: def}, nil
}

// schemaOf reads column declarations.
func (s *Session) schemaOf(ddl string) (*arrow.Schema, error) {
	stmts, err := parser.Parse("CREATE TABLE files ("+ddl+")", s.parserOptions())
	if err != nil {
		return nil, err
	}
	st, ok := stmts[0].(*ast.CreateTable)
	if !ok || len(stmts) != 1 {
		return nil, batch.UserErrorf("schema %q: want columns such as \"a BIGINT, b STRING\"", ddl)
	}
	def, err := sql.BuildTable(s.cat, st, "", s.bindOptions())
	if err != nil {
		return nil, refused(err)
	}
	if def.Physical == nil || def.Physical.NumFields() != len(def.Columns) {
		return nil, batch.UserErrorf("schema %q: neither computed columns nor none at all", ddl)
	}
	return def.Physical, nil
}

// fileOptions puts the format's name before the options that are its own.
func (s *Session) fileOptions(opts map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range opts {
		out[s.optionKey(opts["format"], k)] = v
	}
	return out
}

// optionKey finds the option that a short name means: Spark's spelling too, so that
// nullValue is csv.null-value.
func (s *Session) optionKey(format, key string) string {
	f, err := s.reg.formats.Lookup(format)
	if err != nil {
		return key
	}
	want := plainKey(key)
	for _, o := range f.Options {
		if o.Key == key || plainKey(strings.TrimPrefix(o.Key, f.Name+".")) == want {
			return o.Key
		}
	}
	return key
}

// plainKey is an option's name without what spellings differ in.
func plainKey(key string) string {
	key = strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(key))
	if same, ok := sparkKeys[key]; ok {
		return same
	}
	return key
}

// sparkKeys are other names that Spark and DuckDB users know.
var sparkKeys = map[string]string{
	"sep": "delimiter", "delim": "delimiter", "nullstr": "nullvalue", "codec": "compression", "rowgroupsize": "rowgrouprows", "compressionlevel": "level",
	"samplesize": "inferrows",
}
