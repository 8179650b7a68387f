package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/slt"
	"github.com/sluice-stream/sluice/sql/ast"
)

// fedTable is a table of a streaming query that grows in memory, or in a folder of Arrow
// files: what was fed so far is there again after a restart.
type fedTable struct {
	name   string // of the stream in memory
	ddl    string // the table over it
	dir    string // the folder; "" is in memory
	files  int    // there
	table  *ast.CreateTable
	schema *arrow.Schema
	rows   []arrow.RecordBatch
	stream *sluice.Stream
	over   bool
}

// fedTable makes a table in memory of the columns of c.
func (e *engine) fedTable(ctx context.Context, c *ast.CreateTable) (*fedTable, error) {
	f := &fedTable{name: "fed_" + strings.ToLower(c.Name.Parts[len(c.Name.Parts)-1].Name), table: c}
	over := *c
	over.Options = []ast.Option{{Key: "connector", Value: "memory"}, {Key: "name", Value: f.name}}
	f.ddl = ast.SQL(&over)
	recs, schema, err := e.rawOf(ctx, c, slt.Feed{Source: f.name})
	releaseAll(recs)
	f.schema = schema
	return f, err
}

// open makes the stream in a session, with what it held before.
func (f *fedTable) open(s *sluice.Session) (err error) {
	if f.dir != "" {
		return nil // the table is all
	}
	if f.stream, err = s.CreateStream(f.name, f.schema); err != nil {
		return err
	}
	for _, rec := range f.rows {
		if err := f.stream.Add(rec); err != nil {
			return err
		}
	}
	if f.over {
		f.stream.End()
	}
	return nil
}

func (f *fedTable) feed(ctx context.Context, e *engine, feed slt.Feed) error {
	recs, _, err := e.rawOf(ctx, f.table, feed)
	if err != nil {
		return err
	}
	f.rows = append(f.rows, recs...)
	for _, rec := range recs {
		if err := f.stream.Add(rec); err != nil {
			return err
		}
	}
	return nil
}

func (f *fedTable) end() {
	f.over = true
	f.stream.End()
}

// put adds rows to the stream or the folder.
func (f *fedTable) put(rec arrow.RecordBatch) error {
	if f.dir == "" {
		return f.stream.Add(rec)
	}
	return f.write(rec)
}

// write puts rows into a file of their own; without any, into one that tells the columns.
func (f *fedTable) write(recs ...arrow.RecordBatch) (err error) {
	f.files++
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return err
	}
	name := filepath.Join(f.dir, fmt.Sprintf("part-%05d.arrow", f.files))
	// A stream that looks in between must not find a part of a file.
	hidden := filepath.Join(f.dir, ".part")
	file, err := os.Create(hidden)
	if err != nil {
		return err
	}
	w, err := ipc.NewFileWriter(file, ipc.WithSchema(f.schema))
	if err != nil {
		return errors.Join(err, file.Close())
	}
	for _, rec := range recs {
		if err := w.Write(rec); err != nil {
			return errors.Join(err, w.Close(), file.Close())
		}
	}
	if err := errors.Join(w.Close(), file.Close()); err != nil {
		return err
	}
	return os.Rename(hidden, name)
}

func (f *fedTable) close() {
	releaseAll(f.rows)
	f.rows = nil
}

func releaseAll(recs []arrow.RecordBatch) {
	for _, rec := range recs {
		rec.Release()
	}
}

// rawRows reads feeds as the files of a table are read, and remembers them: the
// queries of a file are fed the same pieces again and again.
type rawRows struct {
	e    *engine
	held map[string]rawFeed
	read int // how many statements of the pass have been looked at
	sets int // and how many settings there were among them
}

type rawFeed struct {
	schema *arrow.Schema
	recs   []arrow.RecordBatch
}

// rawOf is a feed as rows of the physical columns of its table, owned by the caller.
func (e *engine) rawOf(ctx context.Context, c *ast.CreateTable, f slt.Feed) ([]arrow.RecordBatch, *arrow.Schema, error) {
	if e.raw == nil {
		e.raw = &rawRows{e: newEngine(e.t), held: map[string]rawFeed{}}
		e.t.Cleanup(func() {
			for _, h := range e.raw.held {
				releaseAll(h.recs)
			}
		})
	}
	for ; e.raw.read < len(e.ddl); e.raw.read++ { // a time zone tells what a text means
		if set := e.ddl[e.raw.read]; strings.HasPrefix(set, "SET ") && !strings.HasPrefix(set, "SET VAR") {
			e.raw.sets++
			if err := e.raw.e.Exec(ctx, set); err != nil {
				return nil, nil, err
			}
		}
	}
	key := fmt.Sprintf("%d %s %q", e.raw.sets, ast.SQL(c), f.Rows)
	h, ok := e.raw.held[key]
	if !ok {
		var err error
		if h, err = e.raw.rows(ctx, c, f); err != nil {
			return nil, nil, err
		}
		e.raw.held[key] = h
	}
	for _, rec := range h.recs {
		rec.Retain()
	}
	return slices.Clone(h.recs), h.schema, nil
}

func (r *rawRows) rows(ctx context.Context, c *ast.CreateTable, f slt.Feed) (h rawFeed, err error) {
	f.Source = fmt.Sprintf("raw%d", len(r.held))
	raw := ast.CreateTable{Name: ast.Name{Parts: []ast.Ident{{Name: f.Source}}}, Columns: physical(c)}
	for _, o := range c.Options {
		if o.Key == "path" {
			o.Value = filepath.Join(r.e.dir, f.Source)
		}
		if o.Key != "max-files-per-trigger" {
			raw.Options = append(raw.Options, o)
		}
	}
	if err := r.e.Exec(ctx, ast.SQL(&raw)); err != nil {
		return h, err
	}
	if err := r.e.Feed(ctx, f); err != nil {
		return h, err
	}
	df := r.e.s.Table(f.Source)
	if h.schema, err = df.Schema(); err != nil {
		return h, err
	}
	rows, err := df.Reader(ctx)
	if err != nil {
		return h, err
	}
	err = eachBatch(ctx, rows, func(rec arrow.RecordBatch) {
		h.recs = append(h.recs, array.NewRecordBatch(h.schema, rec.Columns(), rec.NumRows()))
	})
	if n := rowsIn(h.recs); err == nil && n != len(f.Rows) {
		err = errors.New("rows of a feed were lost")
	}
	return h, err
}

func rowsIn(recs []arrow.RecordBatch) int {
	n := 0
	for _, rec := range recs {
		n += int(rec.NumRows())
	}
	return n
}
