package fuzz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/render"
	"github.com/sluice-stream/sluice/internal/slt/duckdb"
)

// variant is a way of running the same query that must not change its result.
type variant struct {
	name     string
	settings map[string]string
	files    int // each table is cut into
	format   string
}

// world is a group of tables in DuckDB and in a session for each variant.
type world struct {
	dir      string
	tables   []*table
	duck     *duckdb.Engine
	sessions []*sluice.Session
}

// newWorld loads tables into both engines. duck may be nil, for comparisons of
// Sluice with itself; then files are CSV.
func newWorld(ctx context.Context, dir string, tables []*table, duck *duckdb.Engine, variants []variant) (*world, error) {
	w := &world{dir: dir, tables: tables, duck: duck}
	for _, t := range tables {
		if duck == nil {
			continue
		}
		if err := loadDuck(ctx, duck, t); err != nil {
			return w, err
		}
	}
	for i, v := range variants {
		s, err := sluice.NewSession(sluice.Options{
			Settings: v.settings, CheckpointDir: filepath.Join(dir, "ck"), Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return w, err
		}
		w.sessions = append(w.sessions, s)
		for _, t := range tables {
			path := filepath.Join(dir, fmt.Sprintf("v%d", i), t.name)
			if err := t.write(ctx, path, v, duck); err != nil {
				return w, fmt.Errorf("write table %s: %w", t.name, err)
			}
			if v.files == 0 {
				// Of a file the planner knows the size, so small sides of joins are
				// sent to every task.
				path = filepath.Join(path, "part-00000."+v.format)
			}
			if err := s.Exec(ctx, t.ddl(path, v.format, "")); err != nil {
				return w, err
			}
		}
	}
	return w, nil
}

func (w *world) close() error {
	var err error
	for _, s := range w.sessions {
		err = errors.Join(err, s.Close())
	}
	return err
}

// ddl declares a table in Sluice. more is what is added to the columns.
func (t *table) ddl(path, format, more string) string {
	opts := t.changelogOptions()
	if more != "" {
		opts += ", 'max-files-per-trigger'='1'"
	}
	return fmt.Sprintf("CREATE TABLE %s (%s%s) WITH ('connector'='filesystem', 'path'='%s', 'format'='%s'%s)",
		t.name, t.columns(inSluice)+t.primaryKey(), more, path, format, opts)
}

func (t *table) columns(d dialect) string {
	cols := make([]string, len(t.cols))
	for i, c := range t.cols {
		cols[i] = c.name + " " + c.t.name(d)
	}
	return strings.Join(cols, ", ")
}

func loadDuck(ctx context.Context, duck *duckdb.Engine, t *table) error {
	return fillDuck(ctx, duck, t, t.rows)
}

// fillDuck makes a table hold just these rows.
func fillDuck(ctx context.Context, duck *duckdb.Engine, t *table, rows [][]string) error {
	if err := duck.Exec(ctx, fmt.Sprintf("CREATE OR REPLACE TABLE %s (%s)", t.name, t.columns(inDuckDB))); err != nil {
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	_, _, err := duck.Query(ctx, "INSERT INTO "+t.name+" VALUES "+t.values(rows))
	return err
}

func (t *table) values(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteByte('(')
		for j, v := range row {
			if j > 0 {
				b.WriteString(", ")
			}
			if v != null {
				v = quoted(v)
			}
			b.WriteString(v)
		}
		b.WriteByte(')')
	}
	return b.String()
}

// write puts a table into files: CSV by hand, Parquet by DuckDB.
func (t *table) write(ctx context.Context, path string, v variant, duck *duckdb.Engine) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	for i := range max(v.files, 1) {
		var rows [][]string
		for j := i; j < len(t.rows); j += max(v.files, 1) {
			rows = append(rows, t.rows[j])
		}
		name := filepath.Join(path, fmt.Sprintf("part-%05d.%s", i, v.format))
		if v.format == "csv" {
			if err := t.writeCSV(name, rows); err != nil {
				return err
			}
			continue
		}
		from := "SELECT * FROM " + t.name + " LIMIT 0"
		if len(rows) > 0 {
			var cast []string
			for _, c := range t.cols {
				cast = append(cast, fmt.Sprintf("CAST(%s AS %s) AS %s", c.name, c.t.name(inDuckDB), c.name))
			}
			from = "SELECT " + strings.Join(cast, ", ") + " FROM (VALUES " + t.values(rows) + ") AS v(" + t.names() + ")"
		}
		if _, _, err := duck.Query(ctx, fmt.Sprintf("COPY (%s) TO '%s' (FORMAT parquet)", from, name)); err != nil {
			return err
		}
	}
	return nil
}

func (t *table) names() string {
	names := make([]string, len(t.cols))
	for i, c := range t.cols {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// writeCSV writes under another name first, so that a stream never sees half of it.
func (t *table) writeCSV(name string, rows [][]string) error {
	var b strings.Builder
	if t.changes != nil {
		b.WriteString("op,")
	}
	b.WriteString(strings.ReplaceAll(t.names(), " ", "") + "\n")
	for _, row := range rows {
		for i, v := range row {
			if i > 0 {
				b.WriteByte(',')
			}
			if v != null {
				b.WriteString(`"` + strings.ReplaceAll(v, `"`, `""`) + `"`)
			}
		}
		b.WriteByte('\n')
	}
	hidden := filepath.Join(filepath.Dir(name), ".part")
	if err := os.WriteFile(hidden, []byte(b.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(hidden, name)
}

// rowsOf runs a query and returns its rows as text.
func rowsOf(ctx context.Context, s *sluice.Session, sql string) (rows [][]string, err error) {
	f, err := render.New("UTC")
	if err != nil {
		return nil, err
	}
	err = s.Run(ctx, sql, func(r *sluice.Result) (err error) {
		if r.Rows == nil {
			return nil
		}
		defer func() { err = errors.Join(err, r.Rows.Close()) }()
		for {
			rec, err := r.Rows.Next(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			rows = append(rows, textOf(f, rec, int(rec.NumCols()))...)
			rec.Release()
		}
	})
	return rows, err
}

// textOf renders the first columns of a record batch.
func textOf(f *render.Formatter, rec arrow.RecordBatch, cols int) [][]string {
	var rows [][]string
	for i := range int(rec.NumRows()) {
		row := make([]string, cols)
		for c, col := range rec.Columns()[:cols] {
			if row[c] = null; !col.IsNull(i) {
				row[c] = string(f.AppendText(nil, col, i))
			}
		}
		rows = append(rows, row)
	}
	return rows
}
