package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/render"
	"github.com/sluice-stream/sluice/internal/slt"
	"github.com/sluice-stream/sluice/internal/slt/duckdb"
	"github.com/sluice-stream/sluice/sql/ast"
	"github.com/sluice-stream/sluice/sql/parser"
)

// TestSLT runs the SQL logic tests as a batch, as a stream and with restarts.
func TestSLT(t *testing.T) {
	slt.Run(t, "slt", func(t *testing.T, _ slt.Mode) slt.Engine {
		return newEngine(t)
	})
}

// TestOracle holds what is expected of Sluice against DuckDB.
func TestOracle(t *testing.T) { slt.RunOracle(t, "slt", "duckdb", duckdb.New) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine runs SQL logic tests on the embedded API. Tables are folders of CSV
// files below dir, which $DIR names; a feed is a file.
type engine struct {
	t       *testing.T
	dir     string
	s       *sluice.Session
	ddl     []string
	files   int
	runs    int
	inserts insertions
	stdout  io.Writer // what its session prints; nil is the process's
	// raw makes rows of what a feed holds, for tables in memory.
	raw *rawRows
}

func newEngine(t *testing.T) *engine {
	e := &engine{t: t, dir: folder(t)}
	e.s = e.session("")
	t.Cleanup(func() {
		if err := e.s.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// memoryFolder is where files cost nothing, on machines that have such a place. What
// survives the loss of a machine is asked elsewhere, and half a million syncs are not
// waited for here.
const memoryFolder = "/dev/shm"

// folder makes a folder for a test.
func folder(t *testing.T) string {
	dir, err := os.MkdirTemp(memoryFolder, "slt")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (e *engine) session(parallelism string) *sluice.Session {
	opts := sluice.Options{CheckpointDir: filepath.Join(e.dir, "ck"), Logger: slog.New(slog.DiscardHandler), Workers: 3, Stdout: e.stdout}
	if n, err := strconv.Atoi(parallelism); err == nil {
		opts.Workers = 1 + n%3 // results depend on neither
	}
	if parallelism != "" {
		opts.Settings = map[string]string{"parallelism": parallelism}
	}
	s, err := sluice.NewSession(opts)
	if err != nil {
		e.t.Fatal(err)
	}
	return s
}

func (e *engine) expand(sql string) string { return strings.ReplaceAll(sql, "$DIR", e.dir) }

// Exec implements slt.Engine.
func (e *engine) Exec(ctx context.Context, sql string) error {
	sql = e.expand(sql)
	if stmts, err := parser.Parse(sql, parser.Options{}); err == nil {
		// The folder of a table is there before its first file.
		if c, ok := stmts[0].(*ast.CreateTable); ok && option(c, "path") != "" {
			if err := os.MkdirAll(option(c, "path"), 0o755); err != nil {
				return err
			}
		}
	}
	if err := e.s.Exec(ctx, sql); err != nil {
		return err
	}
	e.ddl = append(e.ddl, sql)
	return e.inserts.note(e.dir, sql)
}

// table is the declaration of a table that is fed, the last one of its name.
func (e *engine) table(name string) (*ast.CreateTable, error) {
	for _, sql := range slices.Backward(e.ddl) {
		stmts, err := parser.Parse(sql, parser.Options{})
		if err != nil {
			return nil, err
		}
		if c, ok := stmts[0].(*ast.CreateTable); ok && strings.EqualFold(c.Name.Parts[len(c.Name.Parts)-1].Name, name) {
			return c, nil
		}
	}
	return nil, fmt.Errorf("feed %s: no statement has made this table", name)
}

// option is an option of a table, "" if it is not given.
func option(c *ast.CreateTable, key string) string {
	i := slices.IndexFunc(c.Options, func(o ast.Option) bool { return o.Key == key })
	if i < 0 {
		return ""
	}
	return c.Options[i].Value
}

// changelog reports whether the rows of a table's files are changes.
func changelog(c *ast.CreateTable) bool {
	return slices.ContainsFunc(c.Options, func(o ast.Option) bool { return strings.HasPrefix(o.Key, "changelog") })
}

// physical are the columns that lie in a table's files.
func physical(c *ast.CreateTable) []ast.ColumnDef {
	return slices.DeleteFunc(slices.Clone(c.Columns), func(x ast.ColumnDef) bool { return x.Computed != nil || x.Metadata != nil })
}

// Query implements slt.Engine.
func (e *engine) Query(ctx context.Context, sql string) ([]slt.Column, [][]string, error) {
	return rowsOf(ctx, e.s, e.expand(sql))
}

// rowsOf renders a result as SQL logic tests write values.
func rowsOf(ctx context.Context, s *sluice.Session, sql string) (cols []slt.Column, rows [][]string, err error) {
	f, err := render.New("UTC")
	if err != nil {
		return nil, nil, err
	}
	err = s.Run(ctx, sql, func(r *sluice.Result) error {
		if r.Rows == nil {
			return nil
		}
		cols = cols[:0]
		for _, field := range r.Schema.Fields() {
			cols = append(cols, slt.Column{Name: field.Name, Type: typeLetter(field.Type)})
		}
		return eachBatch(ctx, r.Rows, func(rec arrow.RecordBatch) {
			for i := range int(rec.NumRows()) {
				row := make([]string, rec.NumCols())
				for c, col := range rec.Columns() {
					if row[c] = "NULL"; !col.IsNull(i) {
						row[c] = string(f.AppendText(nil, col, i))
					}
				}
				rows = append(rows, row)
			}
		})
	})
	return cols, rows, err
}

func eachBatch(ctx context.Context, r sluice.Reader, f func(rec arrow.RecordBatch)) (err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		rec, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		f(rec)
		rec.Release()
	}
}

func typeLetter(dt arrow.DataType) string {
	switch {
	case arrow.IsInteger(dt.ID()):
		return "I"
	case arrow.IsFloating(dt.ID()):
		return "R"
	case dt.ID() == arrow.BOOL:
		return "B"
	}
	return "T"
}

// Feed implements slt.Feeder: one CSV file, in the order of the calls. Rows of one
// value more than the table has columns have the kind of change in front, as field op.
func (e *engine) Feed(_ context.Context, f slt.Feed) error {
	e.files++
	var b strings.Builder
	table, err := e.table(f.Source)
	if err != nil {
		return err
	}
	columns := physical(table)
	if len(f.Rows) > 0 && len(f.Rows[0]) == len(columns)+1 {
		b.WriteString("op,")
	}
	for i, c := range columns {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(c.Name.Name)
	}
	b.WriteByte('\n')
	for _, row := range f.Rows {
		for i, v := range row {
			if i > 0 {
				b.WriteByte(',')
			}
			if v != "NULL" {
				b.WriteString(`"` + strings.ReplaceAll(v, `"`, `""`) + `"`)
			}
		}
		b.WriteByte('\n')
	}
	name := filepath.Join(option(table, "path"), fmt.Sprintf("part-%05d.csv", e.files))
	// A stream that looks in between must not find a part of a file.
	hidden := filepath.Join(filepath.Dir(name), ".part")
	if err := os.WriteFile(hidden, []byte(b.String()), 0o644); err != nil {
		return err
	}
	e.inserts.know(name)
	return os.Rename(hidden, name)
}

// restart drops the query where it is, as a crash would, and opens another
// session with another number of partitions.
func (e *engine) restart(ctx context.Context, q *sluice.Query, parallelism string) error {
	q.Abandon()
	if err := q.Await(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if err := e.s.Close(); err != nil {
		return err
	}
	ddl := e.ddl
	e.ddl = nil
	e.s = e.session(parallelism)
	for _, d := range ddl {
		if err := e.Exec(ctx, d); err != nil {
			return err
		}
	}
	return nil
}
