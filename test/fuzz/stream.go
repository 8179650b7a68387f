package fuzz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/render"
)

// streamRun is one streaming query over tables whose files come one by one.
type streamRun struct {
	dir    string
	tables []*table
	cut    int    // files a table is cut into
	delay  string // of the watermark in seconds; "" if there is none
	mode   sluice.Mode
	s      *sluice.Session
	keys   []string // of the result, for the mode update
	result result
	views  []string // what the query reads, as statements
}

// modes are all that a query may be asked for.
var modes = []sluice.Mode{sluice.Complete, sluice.Append, sluice.Update, sluice.Changelog}

func (r *streamRun) path(t *table) string { return filepath.Join(r.dir, "in", t.name) }

// open makes a session on the run's checkpoint.
func (r *streamRun) open(ctx context.Context, parallelism int) error {
	s, err := sluice.NewSession(sluice.Options{
		Settings:      map[string]string{"parallelism": fmt.Sprint(parallelism)},
		CheckpointDir: filepath.Join(r.dir, "ck"), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	r.s = s
	for _, t := range r.tables {
		if t.static {
			path := filepath.Join(r.path(t), "all.csv") // a file is a table, a folder a stream
			if err := s.Exec(ctx, t.ddl(path, "csv", "")); err != nil {
				return err
			}
			continue
		}
		more := " "
		if r.delay != "" {
			more = ", WATERMARK FOR c2 AS c2 - INTERVAL '" + r.delay + "' SECOND"
		}
		if err := s.Exec(ctx, t.ddl(r.path(t), "csv", more)); err != nil {
			return err
		}
	}
	return nil
}

// start starts the query in the run's mode. The table in memory alone applies
// upserts by the result's key, and does not outlive its session.
func (r *streamRun) start(ctx context.Context, sql string) (*sluice.Query, error) {
	for _, v := range r.views {
		if err := r.s.Exec(ctx, v); err != nil {
			return nil, err
		}
	}
	df, err := r.s.SQL(ctx, sql)
	if err != nil {
		return nil, err
	}
	w := df.ForeachBatch(r.result.apply)
	if r.mode == sluice.Update {
		w = df.WriteToMemory("result").Keys(r.keys...)
	}
	return w.Name("q").Mode(r.mode).Start(ctx)
}

// run feeds the files in the given order of tables and checks the result after
// each against what check says; before file restartAt the query is dropped and
// goes on with another parallelism.
func (r *streamRun) run(ctx context.Context, sql string, order []int, restartAt int, check func(i int, got [][]string) error) (err error) {
	r.result = result{mode: r.mode}
	for _, t := range r.tables {
		if err := os.MkdirAll(r.path(t), 0o755); err != nil {
			return err
		}
		if t.static {
			if err := t.writeCSV(filepath.Join(r.path(t), "all.csv"), t.fileRows(0, 1)); err != nil {
				return err
			}
		}
	}
	if err := r.open(ctx, 2); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.s.Close()) }()
	q, err := r.start(ctx, sql)
	if err != nil {
		return err
	}
	ran, files := false, make([]int, len(r.tables))
	for i, which := range order {
		t := r.tables[which]
		name := filepath.Join(r.path(t), fmt.Sprintf("part-%05d.csv", files[which]))
		if err := t.writeCSV(name, t.fileRows(files[which], r.cut)); err != nil {
			return err
		}
		files[which]++
		if i == restartAt && r.mode != sluice.Update {
			if q, err = r.restart(ctx, q, sql, 1+i%4); err != nil {
				return err
			}
		}
		if err := q.ProcessAllAvailable(ctx); err != nil {
			return err
		}
		rows := r.result.rows
		if ran = ran || q.Progress().BatchID >= 0; !ran {
			continue // no batch yet: a file of a table that the query does not read
		}
		if r.mode == sluice.Update {
			if rows, err = rowsOf(ctx, r.s, "SELECT * FROM result"); err != nil {
				return err
			}
		}
		if err := errors.Join(r.result.fault, check(i, rows)); err != nil {
			return fmt.Errorf("after %d files: %w", i+1, err)
		}
	}
	q.Stop()
	return q.Await(ctx)
}

func (r *streamRun) restart(ctx context.Context, q *sluice.Query, sql string, parallelism int) (*sluice.Query, error) {
	q.Abandon()
	if err := q.Await(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	if err := r.s.Close(); err != nil {
		return nil, err
	}
	if err := r.open(ctx, parallelism); err != nil {
		return nil, err
	}
	return r.start(ctx, sql)
}

// part is the rows of a table's file.
func part(t *table, i, cut int) [][]string {
	n := len(t.rows)
	return t.rows[n*i/cut : n*(i+1)/cut]
}

// result is what a reader of the output sees.
type result struct {
	mode  sluice.Mode
	seen  bool
	last  int64
	rows  [][]string
	fault error
}

// apply takes a batch once, however often it is handed over.
func (r *result) apply(_ context.Context, id int64, recs []arrow.RecordBatch) error {
	if r.seen && id <= r.last {
		return nil
	}
	r.seen, r.last = true, id
	f, err := render.New("UTC")
	if err != nil {
		return err
	}
	if r.mode == sluice.Complete {
		r.rows = nil
	}
	var rows [][]string
	for _, rec := range recs {
		rows = append(rows, textOf(f, rec, int(rec.NumCols()))...)
	}
	// A result that only grows has no kinds of change.
	kinds := len(recs) > 0 && recs[0].ColumnName(int(recs[0].NumCols())-1) == sluice.OpColumn
	if !kinds {
		r.rows = append(r.rows, rows...)
	} else if err := r.change(rows); err != nil {
		r.fault = errors.Join(r.fault, fmt.Errorf("batch %d: %w", id, err))
	}
	return nil
}

// change applies rows of which the last column is the kind of change. Within a
// batch partitions come in any order, so what is taken back may come first.
func (r *result) change(rows [][]string) error {
	var back [][]string
	for _, row := range rows {
		op, row := row[len(row)-1], row[:len(row)-1]
		if op == "0" || op == "2" {
			r.rows = append(r.rows, row)
		} else {
			back = append(back, row)
		}
	}
	for _, row := range back {
		i := slices.IndexFunc(r.rows, func(o []string) bool { return slices.Equal(o, row) })
		if i < 0 {
			return fmt.Errorf("takes back a row that is not there: %s", strings.Join(row, "|"))
		}
		r.rows = slices.Delete(r.rows, i, i+1)
	}
	return nil
}

// resultKey names the columns that tell the rows of a result apart, nil if it
// has none.
func resultKey(q *query) []string {
	if len(q.sets) > 0 || len(q.with) > 0 || !q.sel.grouped || q.sel.qualify != nil || len(q.sel.on) > 0 || q.sel.grouping != "" {
		return nil
	}
	var keys []string
	for _, k := range q.sel.keys {
		i := slices.IndexFunc(q.sel.items, func(it item) bool { return it.e.text(inSluice) == k.text(inSluice) })
		if i < 0 {
			return nil
		}
		keys = append(keys, q.sel.items[i].name)
	}
	return keys
}
