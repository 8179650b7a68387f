// Command nexmark measures the queries of the Nexmark benchmark as streams: the
// generator and the query in one process, state kept, output thrown away.
//
//	GOMAXPROCS=2 go run ./bench/nexmark [-events 5000000] [-only q4,q9] [-o bench/results/nexmark-queries.md]
//	GOMAXPROCS=2 go run ./bench/nexmark -growth         over 1, 2, 4 and 8 million events: time and state
//	GOMAXPROCS=2 go run ./bench/nexmark -hour           state over an hour of event time
//	GOMAXPROCS=2 go run ./bench/nexmark -write DIR      writes the events to Parquet files, eight for a batch of a table
//	GOMAXPROCS=2 go run ./bench/nexmark -files DIR      reads them, eight of each table with each batch
//
// Figures are events of all three kinds a second, as Flink counts them. What is
// compared is CPU time, which other work on the machine changes least.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/test/nexmark"
)

type options struct {
	events, trigger, rate int64
	reps                  int
	only, out, profile    string
	growth, hour, json    bool
	write, files          string
	set                   map[string]string
	modes                 map[string]string // output modes that are not the queries' own
}

func main() {
	o := options{set: map[string]string{"memory_limit": "16GB"}, modes: map[string]string{}}
	flag.Int64Var(&o.events, "events", 5_000_000, "events of each run")
	flag.Int64Var(&o.trigger, "batch", 1_000_000, "events of a micro-batch")
	flag.Int64Var(&o.rate, "rate", 100_000, "events a second of event time")
	flag.IntVar(&o.reps, "reps", 1, "runs of each query, of which the one that used the least CPU time counts")
	flag.StringVar(&o.only, "only", "", "names of the queries to run, comma-separated; all if empty")
	flag.StringVar(&o.out, "o", "", "file to put the table in front of, with the date")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a CPU profile")
	flag.BoolVar(&o.growth, "growth", false, "run each query over 1, 2, 4 and 8 million events instead, in batches of 250,000")
	flag.BoolVar(&o.hour, "hour", false, "run the windowed queries over an hour of event time instead and print their state by 5 minutes")
	flag.BoolVar(&o.json, "json", false, "print a line of JSON for each query on standard output")
	flag.StringVar(&o.write, "write", "", "folder to write the events to, as Parquet files")
	flag.StringVar(&o.files, "files", "", "folder to read the events from that -write has written")
	flag.Func("set", "a setting of the session, key=value", pairs(o.set))
	flag.Func("mode", "another output mode for a query, name=mode", pairs(o.modes))
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "nexmark:", err)
		os.Exit(1)
	}
}

func pairs(into map[string]string) func(string) error {
	return func(s string) error {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want key=value")
		}
		into[k] = v
		return nil
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
	var table string
	switch {
	case o.write != "":
		return writeEvents(ctx, o)
	case o.growth:
		table, err = growth(ctx, o)
	case o.hour:
		table, err = hour(ctx, o)
	default:
		table, err = throughput(ctx, o)
	}
	if err != nil || o.out == "" {
		return err
	}
	return keep(o.out, table)
}

// queries are those that -only names, or all.
func (o options) queries() []nexmark.Query {
	all := nexmark.Queries()
	for i := range all {
		if mode, ok := o.modes[all[i].Name]; ok {
			all[i].Mode = mode
		}
	}
	return slices.DeleteFunc(all, func(q nexmark.Query) bool {
		return o.only != "" && !slices.Contains(strings.Split(o.only, ","), q.Name)
	})
}

// head starts a table with what it was measured with.
func head(what string, o options) string {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("unknown\n")
	}
	one, _, _ := strings.Cut(strings.TrimSpace(string(load)), " ")
	return fmt.Sprintf("## %s%s\n\nGOMAXPROCS=%d of %d cores, batches of %d events, %d events a second of event time, settings %v, %s/%s, load before the run %s.\n",
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), what, runtime.GOMAXPROCS(0), runtime.NumCPU(), o.trigger, o.rate, o.set, runtime.GOOS, runtime.GOARCH, one)
}

// say prints a line of a table as soon as it is known, and adds it to the table.
func say(table *strings.Builder, line string) {
	fmt.Fprintln(os.Stderr, line)
	fmt.Fprintln(table, line)
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
