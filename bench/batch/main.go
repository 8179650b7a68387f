// Command batch times queries over Parquet files in one process: one JSON line
// on standard output for bench/compare, a line for each query on standard error.
//
//	go run ./bench/batch -tables DIR -queries FILE.sql [-reps 3] [-only q1,q6] [-set key=value]... [-out DIR] [-cpuprofile FILE]
//
// DIR holds a file NAME.parquet or a folder NAME of files for each table. A query
// of FILE.sql begins behind a line "-- NAME" and ends in a semicolon.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/internal/render"
)

type options struct {
	tables, queries, only, out, profile string
	reps                                int
	settings                            map[string]string
}

// report is the line that bench/compare reads. Times are in seconds.
type report struct {
	Engine string             `json:"engine"`
	Best   map[string]float64 `json:"best"`
	First  map[string]float64 `json:"first"`
	Rows   map[string]int64   `json:"rows"`
	Failed map[string]string  `json:"failed"`
	PeakMB int64              `json:"peak_mb"`
}

func main() {
	o := options{settings: map[string]string{}}
	flag.StringVar(&o.tables, "tables", "", "folder of the tables")
	flag.StringVar(&o.queries, "queries", "", "file of the queries")
	flag.StringVar(&o.only, "only", "", "names of the queries to run, comma-separated; all if empty")
	flag.StringVar(&o.out, "out", "", "folder for the rows of each query, as CSV")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a CPU profile of all queries")
	flag.IntVar(&o.reps, "reps", 3, "runs of each query, one after the other")
	flag.Func("set", "a setting of the session, key=value", func(s string) error {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want key=value")
		}
		o.settings[k] = v
		return nil
	})
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "batch:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	s, err := sluice.NewSession(sluice.Options{Settings: o.settings})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := register(ctx, s, o.tables); err != nil {
		return err
	}
	queries, err := read(o.queries, o.only)
	if err != nil {
		return err
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	r := report{Engine: "sluice", Best: map[string]float64{}, First: map[string]float64{}, Rows: map[string]int64{}, Failed: map[string]string{}}
	for _, q := range queries {
		if err := measure(ctx, s, q, o.reps, &r); err != nil {
			r.Failed[q.name] = err.Error()
			fmt.Fprintln(os.Stderr, q.name, "FAILED", err)
			continue
		}
		if o.out != "" {
			if err := save(ctx, s, q, o.out); err != nil {
				return err
			}
		}
		fmt.Fprintf(os.Stderr, "%s %.3f (first %.3f) %d rows\n", q.name, r.Best[q.name], r.First[q.name], r.Rows[q.name])
	}
	r.PeakMB = peakMB()
	return json.NewEncoder(os.Stdout).Encode(r)
}

func register(ctx context.Context, s *sluice.Session, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, isFile := strings.CutSuffix(e.Name(), ".parquet")
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err != nil || !isFile && !info.IsDir() {
			continue
		}
		ddl := fmt.Sprintf("CREATE TABLE %s WITH ('connector'='filesystem', 'path'='%s', 'format'='parquet')", name, filepath.Join(dir, e.Name()))
		if err := s.Exec(ctx, ddl); err != nil {
			return err
		}
	}
	return nil
}

type query struct{ name, sql string }

func read(file, only string) ([]query, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []query
	for _, part := range strings.Split("\n"+string(text), "\n-- ")[1:] {
		name, sql, _ := strings.Cut(part, "\n")
		if only == "" || slices.Contains(strings.Split(only, ","), name) {
			out = append(out, query{name: name, sql: strings.TrimSuffix(strings.TrimSpace(sql), ";")})
		}
	}
	return out, nil
}

func measure(ctx context.Context, s *sluice.Session, q query, reps int, r *report) error {
	best := math.Inf(1)
	for i := range reps {
		start := time.Now()
		rows, err := count(ctx, s, q.sql)
		if err != nil {
			return err
		}
		took := time.Since(start).Seconds()
		if i == 0 {
			r.First[q.name], r.Rows[q.name] = took, rows
		}
		best = min(best, took)
	}
	r.Best[q.name] = best
	return nil
}

func count(ctx context.Context, s *sluice.Session, sql string) (rows int64, err error) {
	return rows, each(ctx, s, sql, func(rec arrow.RecordBatch) error {
		rows += rec.NumRows()
		return nil
	})
}

func save(ctx context.Context, s *sluice.Session, q query, dir string) error {
	format, err := render.New("UTC")
	if err != nil {
		return err
	}
	var text []byte
	err = each(ctx, s, q.sql, func(rec arrow.RecordBatch) error {
		for i := range int(rec.NumRows()) {
			text = append(format.AppendCSVRow(text, rec, i), '\n')
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, q.name+".csv"), text, 0o644)
}

// each runs a query and hands over its batches.
func each(ctx context.Context, s *sluice.Session, sql string, do func(arrow.RecordBatch) error) error {
	return s.Run(ctx, sql, func(r *sluice.Result) (err error) {
		defer func() { err = errors.Join(err, r.Rows.Close()) }()
		for {
			rec, err := r.Rows.Next(ctx)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			err = do(rec)
			rec.Release()
			if err != nil {
				return err
			}
		}
	})
}

// peakMB is the most memory that the process has had resident, where the system tells.
func peakMB() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb / 1024
		}
	}
	return 0
}
