// Command kafka measures throughput from topics of JSON: a backlog is read by each
// query of Nexmark that other engines were measured with, and its results are thrown
// away.
//
//	make kafka-up
//	go build -o throughput ./bench/kafka
//	./throughput -fill -events 5000000     makes the backlog: topics nx_bid, nx_auction, nx_person of 4 partitions
//	./throughput                           all queries, a line each
//	./throughput -queries q0,q5 -cpuprofile F
//
// Each query runs in a process of its own, whose CPU time and peak memory are its own,
// with a checkpoint that is written, from the first message to the last.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice"
)

type options struct {
	brokers, prefix, queries, profile, set string
	events                                 int64
	fill, child                            bool
}

func main() {
	var o options
	flag.StringVar(&o.brokers, "brokers", "127.0.0.1:9092", "bootstrap servers")
	flag.StringVar(&o.prefix, "prefix", "nx", "what the topics' names begin with")
	flag.StringVar(&o.queries, "queries", "q0,q1,q2,q5,q7,q8,q11,count", "queries to run")
	flag.Int64Var(&o.events, "events", 5_000_000, "events of the backlog that -fill makes")
	flag.BoolVar(&o.fill, "fill", false, "make the topics anew with the backlog")
	flag.BoolVar(&o.child, "child", false, "run one query and print what it took as JSON")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a CPU profile of each query, its name behind")
	flag.StringVar(&o.set, "set", "", "a setting, as key=value")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "kafka:", err)
		os.Exit(1)
	}
}

// took is what a query took.
type took struct {
	Rows    int64
	Batches int64
	Seconds float64
	CPU     float64
	PeakMB  int64
}

func run(ctx context.Context, o options) error {
	switch {
	case o.fill:
		return fill(ctx, o)
	case o.child:
		t, err := one(ctx, o, o.queries)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(t)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Println("| query | rows | seconds | rows/s | CPU s | rows per CPU s | peak RSS MB | batches |\n|---|---:|---:|---:|---:|---:|---:|---:|")
	for q := range strings.SplitSeq(o.queries, ",") {
		args := []string{"-child", "-queries", q, "-brokers", o.brokers, "-prefix", o.prefix, "-set", o.set}
		if o.profile != "" {
			args = append(args, "-cpuprofile", o.profile+"-"+q)
		}
		cmd := exec.CommandContext(ctx, self, args...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
		var t took
		if err := json.Unmarshal(out.Bytes(), &t); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
		fmt.Printf("| %s | %d | %.2f | %.0f | %.2f | %.0f | %d | %d |\n", q, t.Rows, t.Seconds, float64(t.Rows)/t.Seconds, t.CPU, float64(t.Rows)/t.CPU, t.PeakMB, t.Batches)
	}
	return nil
}

// one runs a query over the backlog in this process.
func one(ctx context.Context, o options, name string) (t took, err error) {
	q, ok := queries[name]
	if !ok {
		return t, fmt.Errorf("there is no query %q", name)
	}
	dir, err := os.MkdirTemp("", "sluice-bench-kafka-")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return t, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return t, err
		}
		defer pprof.StopCPUProfile()
	}
	s, err := session(dir, o)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	begun := time.Now()
	script := tables(o) + "CREATE TABLE result (" + q.columns + ") WITH ('connector'='blackhole');\n" +
		"CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE " + q.mode + " AS INSERT INTO result " + q.text
	if err := s.Exec(ctx, script); err != nil {
		return t, err
	}
	if err := s.AwaitAll(ctx); err != nil {
		return t, err
	}
	t.Seconds = time.Since(begun).Seconds()
	run, _ := s.Query("q")
	t.Rows, t.Batches = run.Totals().RowsIn, run.Totals().Batches
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return t, err
	}
	t.CPU, t.PeakMB = time.Duration(u.Utime.Nano()+u.Stime.Nano()).Seconds(), u.Maxrss>>10
	runtime.KeepAlive(s)
	return t, nil
}

func session(dir string, o options) (*sluice.Session, error) {
	opts := sluice.Options{CheckpointDir: dir, Settings: map[string]string{}, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if key, value, ok := strings.Cut(o.set, "="); ok {
		opts.Settings[key] = value
	}
	return sluice.NewSession(opts)
}
