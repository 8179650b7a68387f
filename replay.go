package sluice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	jsonformat "github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sql"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// replayDir is the folder in a checkpoint that remembers which bad rows were given
// to their query again.
const replayDir = "replays"

// badRow is a row of a quarantine table.
type badRow struct {
	id, source, file string
	raw              []byte
}

// replay is a file of bad rows that comes to a source anew. Its note in the
// checkpoint is durable before the file is there, and holds the file's bytes: a
// crash between the two loses no row and doubles none.
type replay struct {
	File string   `json:"file"`
	Rows []string `json:"rows"` // their IDs
	Sum  uint64   `json:"sum"`  // xxh3 of Data
	Data []byte   `json:"data"`
}

// replayQuarantine answers REPLAY QUARANTINE FOR query [WHERE ..]: the bad rows of
// a query come to their source again, in new files beside those where they were
// found, each row once. Those that are still bad come back under a new batch.
func (s *Session) replayQuarantine(ctx context.Context, st *ast.ReplayQuarantine) (*Result, error) {
	q, err := s.namedQuery(nameText(st.Name), st.Name.Pos)
	if err != nil {
		return nil, err
	}
	if len(q.plan.Plan.Quarantines) == 0 {
		return nil, ast.Errorf(st.Name.Pos, "query %s has no quarantine: no source of it says 'bad-rows' = 'quarantine', and errors.policy is not quarantine", q.Name())
	}
	dir := filepath.Join(q.dir, replayDir)
	done, err := finishReplays(dir)
	if err != nil {
		return nil, err
	}
	rows, err := s.badRows(ctx, q, st)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(r badRow) bool { return done[r.id] })
	files, err := s.replayFiles(ctx, q, rows)
	if err != nil {
		return nil, s.at(err, st)
	}
	n := 0
	for _, f := range files {
		if err := f.keep(dir); err != nil {
			return nil, err
		}
		if err := f.place(dir); err != nil {
			return nil, err
		}
		n += len(f.Rows)
	}
	return message("%d rows of the quarantine of %s are replayed, in %d files", n, q.Name(), len(files)), nil
}

// badRows reads the query's rows from its quarantine tables.
func (s *Session) badRows(ctx context.Context, q *Query, st *ast.ReplayQuarantine) ([]badRow, error) {
	var out []badRow
	seen := map[string]bool{}
	for _, b := range q.plan.Plan.Quarantines {
		name := strings.TrimSuffix(b.Sink, quarantineSink)
		if seen[name] {
			continue
		}
		seen[name] = true
		text := "SELECT row_id, source, file, raw FROM " + quoteName(name) + " WHERE query = '" + strings.ReplaceAll(q.Name(), "'", "''") + "'"
		if st.Where != nil {
			text += " AND (" + ast.SQL(st.Where) + ")"
		}
		query, err := parser.ParseQuery(text, s.parserOptions())
		if err != nil {
			return nil, err
		}
		n, err := sql.BindQuery(s.cat, query, s.bindOptions())
		if err != nil {
			return nil, refused(fmt.Errorf("read the quarantine %s: %w", name, err))
		}
		if out, err = s.appendBadRows(ctx, n, out); err != nil {
			return nil, fmt.Errorf("read the quarantine %s: %w", name, err)
		}
	}
	return out, nil
}

func quoteName(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = "`" + strings.ReplaceAll(p, "`", "``") + "`"
	}
	return strings.Join(parts, ".")
}

func (s *Session) appendBadRows(ctx context.Context, n logical.Node, out []badRow) (_ []badRow, err error) {
	r, err := s.runBatch(ctx, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		rec, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range int(rec.NumRows()) {
			row := badRow{id: textAt(rec.Column(0), i), source: textAt(rec.Column(1), i), file: textAt(rec.Column(2), i)}
			if b, ok := rec.Column(3).(*array.Binary); ok {
				row.raw = bytes.Clone(b.Value(i))
			}
			out = append(out, row)
		}
		rec.Release()
	}
}

func textAt(a arrow.Array, i int) string {
	if a.IsNull(i) {
		return ""
	}
	return strings.Clone(a.ValueStr(i))
}

// replayFiles makes the files: one for each folder and source of undecodable rows,
// one for each source of rows that could not be computed.
func (s *Session) replayFiles(ctx context.Context, q *Query, rows []badRow) ([]*replay, error) {
	type place struct{ source, dir, ext string }
	groups := map[place][]badRow{}
	var order []place
	for _, r := range rows {
		if r.source == "" {
			return nil, refused(batch.UserErrorf("the row %s could not be computed behind a join or an aggregate: it is no row of a source, and cannot come again; leave such rows out by WHERE source IS NOT NULL", r.id))
		}
		p := place{source: r.source}
		if r.file != "" {
			p.dir, p.ext = filepath.Dir(filepath.FromSlash(r.file)), plainExt(r.file)
		}
		if groups[p] == nil {
			order = append(order, p)
		}
		groups[p] = append(groups[p], r)
	}
	var out []*replay
	for _, p := range order {
		t := q.sourceTable(p.source)
		if t == nil || t.Connector != "filesystem" {
			return nil, refused(batch.UserErrorf("rows of source %q cannot be replayed: only files can come again", p.source))
		}
		f, err := s.replayFile(ctx, t, p.dir, p.ext, groups[p])
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// plainExt is a file's extension without that of its compression.
func plainExt(name string) string {
	if c := formats.CompressionOf(name); c != formats.NoCompression {
		name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	return filepath.Ext(name)
}

func (q *Query) sourceTable(name string) *logical.Table {
	for _, src := range q.plan.Plan.Sources {
		if t := q.plan.Tables[src.Name]; t.Name == name {
			return t
		}
	}
	return nil
}

func (s *Session) replayFile(ctx context.Context, t *logical.Table, dir, ext string, rows []badRow) (*replay, error) {
	path := strings.TrimPrefix(t.Options["path"], "file://")
	info, err := os.Stat(path)
	pattern := strings.ContainsAny(path, "*?[")
	if !pattern && (err != nil || !info.IsDir()) {
		return nil, refused(batch.UserErrorf("table %s reads the file %q and no directory: its rows cannot come again", t.Name, path))
	}
	format, err := s.replayFormat(t, ext)
	if err != nil {
		return nil, err
	}
	computed := dir == ""
	if computed && t.Changes != batch.OnlyGrows {
		return nil, refused(batch.UserErrorf("table %s is a changelog: a change that could not be computed cannot come again behind those that have followed it; mend the query and start it anew", t.Name))
	}
	if computed {
		if dir = path; pattern {
			dir = filepath.Dir(path)
		}
		ext = format.Extensions[0]
	}
	f := &replay{}
	for _, r := range rows {
		f.Rows = append(f.Rows, r.id)
	}
	slices.Sort(f.Rows)
	f.File = filepath.Join(dir, fmt.Sprintf("replay-%016x%s", xxh3.HashString(strings.Join(f.Rows, " ")), ext))
	if match, _ := filepath.Match(filepath.Base(path), filepath.Base(f.File)); pattern && !match {
		return nil, refused(batch.UserErrorf("table %s reads %q, which the file %q of replayed rows does not match", t.Name, path, f.File))
	}
	if computed {
		f.Data, err = computedRows(ctx, format, t, s.zone(), rows)
	} else {
		f.Data, err = rawRows(format, t, rows)
	}
	f.Sum = xxh3.Hash(f.Data)
	return f, err
}

func (s *Session) replayFormat(t *logical.Table, ext string) (formats.Format, error) {
	if name := t.Options["format"]; name != "" {
		return s.reg.formats.Lookup(name)
	}
	f, ok := s.reg.formats.ByExtension("x" + ext)
	if !ok {
		return f, refused(batch.UserErrorf("table %s does not tell its 'format', which the file of replayed rows needs", t.Name))
	}
	return f, nil
}

// rawRows are rows as they stood in their files, below the header that they had.
func rawRows(format formats.Format, t *logical.Table, rows []badRow) ([]byte, error) {
	var b bytes.Buffer
	if format.Name == "csv" && !strings.EqualFold(t.Options["csv.header"], "false") {
		b.Write(headerOf(t, rows[0].file))
		b.WriteByte('\n')
	}
	for _, r := range rows {
		b.Write(r.raw)
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

// headerOf is the first line of the file in which a row was found, or if that is
// gone the declared columns.
func headerOf(t *logical.Table, file string) []byte {
	if b, err := os.ReadFile(filepath.FromSlash(file)); err == nil && formats.CompressionOf(file) == formats.NoCompression {
		line, _, _ := bytes.Cut(b, []byte("\n"))
		return bytes.TrimRight(line, "\r")
	}
	delim := t.Options["csv.delimiter"]
	if delim == "" {
		delim = ","
	}
	var names []string
	for _, f := range t.Schema.Fields() {
		names = append(names, f.Name)
	}
	return []byte(strings.Join(names, strings.ReplaceAll(delim, `\t`, "\t")))
}

// computedRows are rows that were decoded, written in the format of their table.
// Columns that the query does not read are NULL.
func computedRows(_ context.Context, format formats.Format, t *logical.Table, zone string, rows []badRow) ([]byte, error) {
	known := map[string]bool{}
	for _, f := range t.Schema.Fields() {
		known[f.Name] = true
	}
	d, err := jsonformat.NewDecoder(t.Schema, formats.Config{}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	defer d.Release()
	for _, r := range rows {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(r.raw, &fields); err != nil {
			return nil, fmt.Errorf("read the bad row %s: %w", r.id, err)
		}
		for name := range fields {
			if !known[name] {
				return nil, refused(batch.UserErrorf("the row %s has a column %q, which table %s no longer has; leave it out by WHERE", r.id, name, t.Name))
			}
		}
		if err := d.Append(r.raw); err != nil {
			return nil, fmt.Errorf("read the bad row %s: %w", r.id, err)
		}
	}
	rec := d.Flush()
	defer rec.Release()
	var b bytes.Buffer
	w, err := format.NewWriter(&b, t.Schema, formats.Config{Options: without(t.Options, "connector")}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	err = errors.Join(w.Write(rec), w.Close())
	return b.Bytes(), err
}

// keep makes the note durable.
func (f *replay) keep(dir string) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("note replayed rows: %w", err)
	}
	if err := writeDurably(f.note(dir), b); err != nil {
		return fmt.Errorf("note replayed rows: %w", err)
	}
	return nil
}

// Notes are called so until their file is in place, and afterwards so.
const (
	noteOpen   = ".json"
	notePlaced = ".placed"
)

func (f *replay) note(dir string) string { return filepath.Join(dir, filepath.Base(f.File)+noteOpen) }

// place makes the file, and then marks the note: the file may go when it was read.
func (f *replay) place(dir string) error {
	if _, err := os.Stat(f.File); err != nil {
		if err := writeDurably(f.File, f.Data); err != nil {
			return fmt.Errorf("put replayed rows into their source: %w", err)
		}
	}
	if err := os.Rename(f.note(dir), strings.TrimSuffix(f.note(dir), noteOpen)+notePlaced); err != nil {
		return fmt.Errorf("note replayed rows: %w", err)
	}
	return nil
}

// writeDurably makes a file under a hidden name first, so that nobody reads a part.
func writeDurably(name string, data []byte) (err error) {
	tmp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".tmp")
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// finishReplays puts files into place that a crash has kept from it, and returns
// the rows that were replayed.
func finishReplays(dir string) (map[string]bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read which rows were replayed: %w", err)
	}
	done := map[string]bool{}
	for _, e := range entries {
		placed := strings.HasSuffix(e.Name(), notePlaced)
		if !placed && !strings.HasSuffix(e.Name(), noteOpen) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		var f replay
		if err == nil {
			err = json.Unmarshal(b, &f)
		}
		if err == nil && xxh3.Hash(f.Data) != f.Sum {
			err = errors.New("its sum is wrong")
		}
		if err != nil {
			return nil, fmt.Errorf("read which rows were replayed, in %s: %w", e.Name(), err)
		}
		if !placed {
			if err := f.place(dir); err != nil {
				return nil, err
			}
		}
		for _, id := range f.Rows {
			done[id] = true
		}
	}
	return done, nil
}
