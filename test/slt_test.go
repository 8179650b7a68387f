package test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/render"
	"github.com/sluice-stream/sluice/internal/slt"
)

// TestSLT runs the SQL logic tests as a batch, as a stream and with restarts.
func TestSLT(t *testing.T) {
	slt.Run(t, "slt", func(t *testing.T, _ slt.Mode) slt.Engine { return newEngine(t) })
}

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
	opts := sluice.Options{CheckpointDir: filepath.Join(e.dir, "ck")}
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
		if isEOF(err) {
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

// Feed implements slt.Feeder: one CSV file, in the order of the calls.
func (e *engine) Feed(ctx context.Context, f slt.Feed) error {
	e.files++
	var b strings.Builder
	cols, _, err := rowsOf(ctx, e.s, "SELECT * FROM "+f.Source+" LIMIT 0")
	if err != nil {
		return err
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
	return os.WriteFile(name, []byte(b.String()), 0o644)
}

// Stream implements slt.Streamer. The query is written to files in complete mode
// where it aggregates, else in append mode; a restart opens a new session on
// the same checkpoint with another parallelism.
func (e *engine) Stream(ctx context.Context, sql string, plan slt.Plan) ([]slt.Column, [][]string, error) {
	e.runs++
	name := fmt.Sprintf("run%d", e.runs)
	sub := &engine{t: e.t, dir: filepath.Join(e.dir, name)}
	sub.s = sub.session("2")
	defer func() { _ = sub.s.Close() }()
	for _, ddl := range e.ddl {
		if err := sub.Exec(ctx, strings.ReplaceAll(ddl, e.dir, sub.dir)); err != nil {
			return nil, nil, err
		}
	}
	mode := ""
	for i, feeds := range append([][]slt.Feed{nil}, plan.Batches...) {
		for _, f := range feeds {
			if err := sub.Feed(ctx, f); err != nil {
				return nil, nil, err
			}
		}
		if i == 0 && len(plan.Batches) > 0 {
			continue
		}
		if plan.Restart && i > 1 {
			if err := sub.restart(ctx, fmt.Sprint(1+i%5)); err != nil {
				return nil, nil, err
			}
		}
		var err error
		if mode, err = sub.step(ctx, sql, mode); err != nil {
			return nil, nil, err
		}
	}
	cols, _, err := rowsOf(ctx, sub.s, sql+"\nLIMIT 0")
	if err != nil {
		cols, _, err = rowsOf(ctx, sub.s, sql)
	}
	if err != nil {
		return nil, nil, err
	}
	_, rows, err := rowsOf(ctx, sub.s, "SELECT * FROM result")
	return cols, rows, err
}

// restart forgets the session, as a crash of the process would, and comes back
// with another number of partitions.
func (e *engine) restart(ctx context.Context, parallelism string) error {
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

// step runs the query over what is there and returns the mode that it can have.
func (e *engine) step(ctx context.Context, sql, mode string) (string, error) {
	modes := []string{mode}
	if mode == "" {
		modes = []string{"complete", "append"}
	}
	var err error
	for _, m := range modes {
		err = e.insert(ctx, sql, m)
		if err == nil || !sluice.IsSyntaxOrPlanError(err) {
			return m, err
		}
	}
	return "", err
}

func (e *engine) insert(ctx context.Context, sql, mode string) error {
	schema, err := e.s.SQL(ctx, sql)
	if err != nil {
		return err
	}
	columns, err := schema.Columns()
	if err != nil {
		return err
	}
	return e.s.Exec(ctx, fmt.Sprintf(`
CREATE TABLE IF NOT EXISTS result (%s) WITH ('connector'='filesystem', 'path'='%s/result', 'format'='parquet');
CREATE OR REPLACE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE %s CHECKPOINT '%s/ck-q' AS INSERT INTO result %s;
AWAIT STREAMING QUERY q`, columns, e.dir, mode, e.dir, sql))
}

func isEOF(err error) bool { return err != nil && err.Error() == "EOF" }
