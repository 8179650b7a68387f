// Command state measures state that is larger than memory, against the goals of
// the table that it prints.
//
//	GOMAXPROCS=2 go run ./bench/state -all                    everything: 50 million keys, 10 GB, some twelve minutes
//	GOMAXPROCS=2 go run ./bench/state -all -gb 0.3 -keys 100000,300000,1000000 -limit 256MB
//	GOMAXPROCS=2 go run ./bench/state -phase count -keys 10000000 -cpuprofile F
//
// Each phase is a process of its own, whose most resident memory and pauses of the
// collector are its own, and prints a line of JSON:
//
//	updates   keyed updates of a store in memory, on one core
//	count     counts rows per key through the whole engine under memory_limit
//	load      makes a query's state of -gb gigabytes
//	live      starts that query once more, or with -gb 0 a new one: small batches of
//	          random keys while checkpoints are written, one behind the other
//	again     starts it once more, and ends with its first new batch
//	store     what a checkpoint writes after the change of one key in a hundred
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
)

type options struct {
	all       bool
	phase     string
	keys      string
	rows      int64
	batch     int64
	gigabytes float64
	limit     string
	dir       string
	batches   int
	profile   string
	heap      string
	crash     bool
}

func main() {
	var o options
	flag.BoolVar(&o.all, "all", false, "run every phase and print the table of goals")
	flag.StringVar(&o.phase, "phase", "", "run one phase: updates, count, load, live, again, store")
	flag.StringVar(&o.keys, "keys", "1000000,10000000,50000000", "keys to count; -all takes several numbers")
	flag.Int64Var(&o.rows, "rows", 0, "rows of the count; twice the keys by default")
	flag.Int64Var(&o.batch, "batch", 1_000_000, "rows of a large micro-batch")
	flag.Float64Var(&o.gigabytes, "gb", 10, "gigabytes of keys and values in the phases live and store; 0 for none")
	flag.StringVar(&o.limit, "limit", "1GB", "memory_limit")
	flag.StringVar(&o.dir, "dir", "", "folder for what is written; a temporary one by default")
	flag.IntVar(&o.batches, "batches", 3000, "small batches that are timed")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a CPU profile of a phase")
	flag.StringVar(&o.heap, "heapprofile", "", "file for a profile of the heap when a phase took most memory")
	flag.BoolVar(&o.crash, "crash", false, "the phase live ends without closing anything")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "state:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.phase == "load" || o.phase == "live" || o.phase == "again" {
		if o.dir == "" {
			return errors.New("say -dir: the phases load, live and again share a folder")
		}
		return phase(ctx, o, o.dir)
	}
	dir, err := os.MkdirTemp(o.dir, "sluice-bench-state-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.all {
		return all(ctx, o, dir)
	}
	return phase(ctx, o, dir)
}

// phase runs one phase and prints what it measured.
func phase(ctx context.Context, o options, dir string) (err error) {
	stop := func() {}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		stop = func() { pprof.StopCPUProfile(); _ = f.Close() }
	}
	watched := watchHeap(o.heap)
	m, err := measure(ctx, o, dir)
	stop()
	err = errors.Join(err, watched())
	if err != nil {
		return err
	}
	m.Phase = o.phase
	m.finish()
	if err := json.NewEncoder(os.Stdout).Encode(m); err != nil || !o.crash {
		return err
	}
	os.Exit(0) // nothing is closed, nothing is written that was not
	return nil
}

func measure(ctx context.Context, o options, dir string) (*measured, error) {
	switch o.phase {
	case "updates":
		return updates(ctx)
	case "count":
		keys, err := strconv.ParseInt(o.keys, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("-phase count takes one number of keys, not %s", o.keys)
		}
		return countPerKey(ctx, o, keys, dir)
	case "load":
		return load(ctx, o, dir)
	case "live":
		return live(ctx, o, dir)
	case "again":
		return again(ctx, o, dir)
	case "store":
		return store(ctx, o, dir)
	}
	return nil, fmt.Errorf("say -all, or a -phase: %s", strings.Join([]string{"updates", "count", "load", "live", "again", "store"}, ", "))
}
