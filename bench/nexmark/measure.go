package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/test/nexmark"
)

// measurement is one run of one query.
type measurement struct {
	wall, cpu        time.Duration
	in, out, batches int64
	rows, size       int64   // of state, most at the end of a batch
	sizes            []int64 // of state in bytes, at the end of each batch with data
}

// measure runs a query as often as was asked for and returns the run that took
// the least CPU time.
func measure(ctx context.Context, q nexmark.Query, events int64, o options) (best measurement, err error) {
	for rep := range max(o.reps, 1) {
		m, err := measureOnce(ctx, q, events, o)
		if err != nil {
			return best, fmt.Errorf("%s over %d events: %w", q.Name, events, err)
		}
		if rep == 0 || m.cpu < best.cpu {
			best = m
		}
	}
	return best, nil
}

func measureOnce(ctx context.Context, q nexmark.Query, events int64, o options) (m measurement, err error) {
	runtime.GC()
	debug.FreeOSMemory()
	dir, err := os.MkdirTemp("", "nexmark")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := session(o, dir)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Exec(ctx, tables(o, events)+nexmark.Sink(q, dir)); err != nil {
		return m, err
	}
	start, used := time.Now(), cpuTime()
	query, err := stream(ctx, s, q.Mode, filepath.Join(dir, "q"), "INSERT INTO result "+q.SQL)
	if err != nil {
		return m, err
	}
	m.wall, m.cpu = time.Since(start), cpuTime()-used
	m.in, m.out, m.batches = query.Totals().RowsIn, query.Totals().RowsOut, query.Totals().Batches
	for _, p := range query.Recent() {
		var rows, size int64
		for _, st := range p.StateOperators {
			rows, size = rows+st.NumRowsTotal, size+st.MemoryUsedBytes
		}
		m.rows, m.size = max(m.rows, rows), max(m.size, size)
		if p.NumInputRows > 0 {
			m.sizes = append(m.sizes, size)
		}
	}
	return m, nil
}

func session(o options, dir string) (*sluice.Session, error) {
	return sluice.NewSession(sluice.Options{
		Settings: o.set, CheckpointDir: filepath.Join(dir, "ck"), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
}

// tables is the script that makes the tables of events.
func tables(o options, events int64) string {
	if o.files != "" {
		return nexmark.FileTables(o.files)
	}
	options := map[string]string{
		"events": strconv.FormatInt(events, 10), "events-per-second": strconv.FormatInt(o.rate, 10), "max-events-per-trigger": strconv.FormatInt(o.trigger, 10),
	}
	if o.write != "" {
		options["split-events"] = strconv.FormatInt(max(1, (o.trigger+nexmark.FilesPerBatch-1)/nexmark.FilesPerBatch), 10)
	}
	return nexmark.Tables(options)
}

// stream runs an INSERT over all that its tables have.
func stream(ctx context.Context, s *sluice.Session, mode, dir, insert string) (*sluice.Query, error) {
	if err := s.Exec(ctx, fmt.Sprintf("CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE %s CHECKPOINT '%s' AS %s", mode, dir, insert)); err != nil {
		return nil, err
	}
	if err := s.AwaitAll(ctx); err != nil {
		return nil, err
	}
	query, ok := s.Query("q")
	if !ok {
		return nil, errors.New("the query is gone")
	}
	return query, nil
}

// writeEvents writes each table to a folder of its own, so many files for each
// batch, so that other engines can read the same events batch by batch. They are
// compressed as other engines do it where nobody says otherwise.
func writeEvents(ctx context.Context, o options) error {
	o.set["parallelism"] = "1"
	o.files = ""
	for _, table := range []string{"person", "auction", "bid"} {
		if err := writeTable(ctx, o, table); err != nil {
			return fmt.Errorf("write %s: %w", table, err)
		}
	}
	return nil
}

func writeTable(ctx context.Context, o options, table string) (err error) {
	dir, err := os.MkdirTemp("", "nexmark")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := session(o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Exec(ctx, tables(o, o.events)); err != nil {
		return err
	}
	df, err := s.SQL(ctx, "SELECT * FROM "+table)
	if err != nil {
		return err
	}
	columns, err := df.Columns()
	if err != nil {
		return err
	}
	if err := s.Exec(ctx, fmt.Sprintf("CREATE TABLE files (%s) WITH ('connector'='filesystem', 'path'='%s', 'format'='parquet', 'parquet.compression'='snappy', 'sink.file-size'='4GiB')",
		columns, filepath.Join(o.write, table))); err != nil {
		return err
	}
	_, err = stream(ctx, s, "append", filepath.Join(dir, "q"), "INSERT INTO files SELECT * FROM "+table)
	return err
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
