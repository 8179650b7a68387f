package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/render"
	"github.com/sluice-stream/sluice/internal/slt"
	"github.com/sluice-stream/sluice/internal/slt/duckdb"
	"github.com/sluice-stream/sluice/planner/expr"
)

// TestSLT runs the SQL logic tests as a batch, as a stream and with restarts.
func TestSLT(t *testing.T) {
	slt.Run(t, "slt", func(t *testing.T, _ slt.Mode) slt.Engine {
		t.Parallel() // passes wait for disks most of the time
		return newEngine(t)
	})
}

// TestOracle holds what is expected of Sluice against DuckDB.
func TestOracle(t *testing.T) { slt.RunOracle(t, "slt", "duckdb", duckdb.New) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine runs SQL logic tests on the embedded API. Tables are folders of CSV
// files below dir, which $DIR names; a feed is a file.
type engine struct {
	t     *testing.T
	dir   string
	s     *sluice.Session
	ddl   []string
	files int
	runs  int
}

func newEngine(t *testing.T) *engine {
	e := &engine{t: t, dir: t.TempDir()}
	e.s = e.session("")
	t.Cleanup(func() {
		if err := e.s.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *engine) session(parallelism string) *sluice.Session {
	opts := sluice.Options{CheckpointDir: filepath.Join(e.dir, "ck"), Logger: slog.New(slog.DiscardHandler)}
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
	if i := strings.Index(sql, "'path'='"); i >= 0 {
		path, _, _ := strings.Cut(sql[i+len("'path'='"):], "'")
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	if err := e.s.Exec(ctx, sql); err != nil {
		return err
	}
	e.ddl = append(e.ddl, sql)
	return nil
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
func (e *engine) Feed(ctx context.Context, f slt.Feed) error {
	e.files++
	var b strings.Builder
	cols, _, err := rowsOf(ctx, e.s, "SELECT * FROM "+f.Source+" LIMIT 0")
	if err != nil {
		return err
	}
	if len(f.Rows) > 0 && len(f.Rows[0]) == len(cols)+1 {
		b.WriteString("op,")
	}
	for i, c := range cols {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(c.Name)
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
	name := filepath.Join(e.dir, f.Source, fmt.Sprintf("part-%05d.csv", e.files))
	// A stream that looks in between must not find a part of a file.
	hidden := filepath.Join(filepath.Dir(name), ".part")
	if err := os.WriteFile(hidden, []byte(b.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(hidden, name)
}

// Stream implements slt.Streamer. The query is written to files in complete mode
// where it aggregates, else in append mode; a restart abandons it, and opens a new
// session on the same checkpoint with another parallelism.
func (e *engine) Stream(ctx context.Context, sql string, plan slt.Plan) ([]slt.Column, [][]string, error) {
	e.runs++
	sub := &engine{t: e.t, dir: filepath.Join(e.dir, fmt.Sprintf("run%d", e.runs))}
	sub.s = sub.session("2")
	defer func() {
		if err := sub.s.Close(); err != nil {
			e.t.Error(err)
		}
	}()
	for _, ddl := range e.ddl {
		if err := sub.Exec(ctx, strings.ReplaceAll(ddl, e.dir, sub.dir)); err != nil {
			return nil, nil, err
		}
	}
	q, cols, err := sub.start(ctx, sql)
	if err != nil {
		return nil, nil, err
	}
	for i, feeds := range plan.Batches {
		for _, f := range feeds {
			if err := sub.Feed(ctx, f); err != nil {
				return nil, nil, err
			}
		}
		if plan.Restart && i > 0 {
			if err := sub.restart(ctx, q, fmt.Sprint(1+i%5)); err != nil {
				return nil, nil, err
			}
			if q, _, err = sub.start(ctx, sql); err != nil {
				return nil, nil, err
			}
		}
		if err := q.ProcessAllAvailable(ctx); err != nil {
			return nil, nil, err
		}
	}
	if len(plan.Batches) == 0 {
		if err := q.ProcessAllAvailable(ctx); err != nil {
			return nil, nil, err
		}
	}
	q.Stop()
	if err := q.Await(ctx); err != nil {
		return nil, nil, err
	}
	_, rows, err := rowsOf(ctx, sub.s, "SELECT * FROM result")
	return cols, rows, err
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

// start starts the query in the mode that it can have.
func (e *engine) start(ctx context.Context, sql string) (*sluice.Query, []slt.Column, error) {
	df, err := e.s.SQL(ctx, sql)
	if err != nil {
		return nil, nil, err
	}
	schema, err := df.Schema()
	if err != nil {
		return nil, nil, err
	}
	// The result's own names may be double or missing: the table has c0, c1, ..
	columns := make([]string, schema.NumFields())
	cols := make([]slt.Column, schema.NumFields())
	for i, f := range schema.Fields() {
		columns[i] = fmt.Sprintf("c%d %s", i, expr.TypeName(f.Type))
		cols[i] = slt.Column{Name: f.Name, Type: typeLetter(f.Type)}
	}
	table := fmt.Sprintf("CREATE TABLE IF NOT EXISTS result (%s) WITH ('connector'='filesystem', 'path'='%s/result', 'format'='parquet')",
		strings.Join(columns, ", "), e.dir)
	if err := e.s.Exec(ctx, table); err != nil {
		return nil, nil, err
	}
	var refusals error
	for _, mode := range []sluice.Mode{sluice.Complete, sluice.Append} {
		q, err := df.WriteTo("result").Name("q").Mode(mode).Start(ctx)
		if err == nil || !sluice.IsSyntaxOrPlanError(err) {
			return q, cols, err
		}
		refusals = errors.Join(refusals, err)
	}
	return nil, nil, refusals
}
