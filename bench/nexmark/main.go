// Command nexmark measures the queries of the Nexmark benchmark as streams: the
// generator and the query in one process, state kept, output thrown away.
//
//	GOMAXPROCS=2 go run ./bench/nexmark [-events 5000000] [-only q4,q9] [-growth] [-o bench/results/nexmark-queries.md]
//
// Figures are events of all three kinds a second, as Flink counts them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/test/nexmark"
)

// flink is what the project publishes for Flink 2.0, in thousands of events a
// second and core (nexmark, GUIDE_V2.md).
var flink = map[string]float64{
	"q0": 379, "q1": 395, "q2": 414, "q3": 219, "q4": 28, "q5": 75, "q7": 23, "q8": 162, "q9": 14, "q10": 133, "q11": 46, "q12": 194,
	"q13": 188, "q14": 259, "q15": 168, "q16": 45, "q17": 161, "q18": 65, "q19": 43, "q20": 18, "q21": 147, "q22": 212,
}

type options struct {
	events, trigger, rate int64
	only, out, profile    string
	growth                bool
	set                   map[string]string
}

func main() {
	o := options{set: map[string]string{"memory_limit": "16GB"}}
	flag.Int64Var(&o.events, "events", 5_000_000, "events of each run")
	flag.Int64Var(&o.trigger, "batch", 1_000_000, "events of a micro-batch")
	flag.Int64Var(&o.rate, "rate", 100_000, "events a second of event time")
	flag.StringVar(&o.only, "only", "", "names of the queries to run, comma-separated; all if empty")
	flag.StringVar(&o.out, "o", "", "file to put the table in front of, with the date")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a CPU profile")
	flag.BoolVar(&o.growth, "growth", false, "run each query over 1, 2, 4 and 8 million events instead")
	flag.Func("set", "a setting of the session, key=value", func(s string) error {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want key=value")
		}
		o.set[k] = v
		return nil
	})
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "nexmark:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
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
	table := &strings.Builder{}
	sizes := []int64{o.events}
	if o.growth {
		sizes = []int64{1_000_000, 2_000_000, 4_000_000, 8_000_000}
	}
	head(table, o)
	for _, q := range nexmark.Queries() {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), q.Name) {
			continue
		}
		for _, events := range sizes {
			m, err := measure(ctx, q, events, o)
			if err != nil {
				return fmt.Errorf("%s over %d events: %w", q.Name, events, err)
			}
			line := m.line(q.Name, events)
			fmt.Fprintln(os.Stderr, line)
			fmt.Fprintln(table, line)
		}
	}
	if o.out == "" {
		return nil
	}
	return keep(o.out, table.String())
}

func head(w io.Writer, o options) {
	fmt.Fprintf(w, "## %s\n\nGOMAXPROCS=%d, batches of %d events, %d events a second of event time, settings %v.\n"+
		"Flink is its published figure per core; the ratio is by CPU time used, the generator's included.\n\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.GOMAXPROCS(0), o.trigger, o.rate, o.set)
	fmt.Fprintln(w, "| query | events | seconds | K events/s | CPU seconds | K events/s/core | Flink | ratio | rows out | state rows | state MB |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
}

// measurement is one run of one query.
type measurement struct {
	wall, cpu  time.Duration
	out        int64
	rows, size int64 // of state, most at the end of a batch
}

func (m measurement) line(name string, events int64) string {
	perCore := float64(events) / m.cpu.Seconds() / 1000
	published, ratio := "", ""
	if f, ok := flink[name]; ok {
		published, ratio = fmt.Sprintf("%.0f", f), fmt.Sprintf("%.1f", perCore/f)
	}
	return fmt.Sprintf("| %s | %d | %.2f | %.0f | %.2f | %.0f | %s | %s | %d | %d | %.1f |", name, events, m.wall.Seconds(),
		float64(events)/m.wall.Seconds()/1000, m.cpu.Seconds(), perCore, published, ratio, m.out, m.rows, float64(m.size)/1e6)
}

func measure(ctx context.Context, q nexmark.Query, events int64, o options) (m measurement, err error) {
	runtime.GC()
	debug.FreeOSMemory()
	dir, err := os.MkdirTemp("", "nexmark")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := sluice.NewSession(sluice.Options{
		Settings: o.set, CheckpointDir: filepath.Join(dir, "ck"), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	err = s.Exec(ctx, nexmark.Tables(map[string]string{
		"events": strconv.FormatInt(events, 10), "events-per-second": strconv.FormatInt(o.rate, 10), "max-events-per-trigger": strconv.FormatInt(o.trigger, 10),
	})+nexmark.Sink(q, dir))
	if err != nil {
		return m, err
	}
	start, used := time.Now(), cpuTime()
	if err := s.Exec(ctx, fmt.Sprintf("CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE %s CHECKPOINT '%s' AS INSERT INTO result %s",
		q.Mode, filepath.Join(dir, "q"), q.SQL)); err != nil {
		return m, err
	}
	if err := s.AwaitAll(ctx); err != nil {
		return m, err
	}
	m.wall, m.cpu = time.Since(start), cpuTime()-used
	query, _ := s.Query("q")
	m.out = query.Totals().RowsOut
	for _, p := range query.Recent() {
		var rows, size int64
		for _, st := range p.StateOperators {
			rows, size = rows+st.NumRowsTotal, size+st.MemoryUsedBytes
		}
		m.rows, m.size = max(m.rows, rows), max(m.size, size)
	}
	return m, nil
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// keep puts a table in front of those that a file has.
func keep(file, table string) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	_, rest, _ := strings.Cut(string(old), "\n")
	return os.WriteFile(file, []byte("# nexmark queries\n\n"+table+rest), 0o644)
}
