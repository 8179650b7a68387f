// Command kafka measures latency from a topic through a query to a topic, against a
// real broker: what a producer stamped until a consumer has it.
//
//	make kafka-up
//	go build -o lat ./bench/latency/kafka
//	./lat                                             every mode at 10,000 and at 1,000 events a second
//	./lat -modes project-exactly-once -phases 10000:10:20 -cpuprofile F
//	./lat -modes count-exactly-once -backlog 10000000  how long the latency takes to return after a backlog
//	./lat -label kstreams -committed -- COMMAND..      another engine, over the same topics
//
// The engine is a process of its own (this program with -engine), whose CPU seconds
// and peak memory are sampled. Input, topic lat_in: JSON with a timestamp "ts" in
// nanoseconds, taken before the record is handed to the producer. Output, topic
// lat_out: records with the "ts" of their input, of the key's latest input where the
// query counts. Each record of the output is timed when the consumer has it, and all
// of them are counted: what is missing or too much makes the run fail.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

type options struct {
	brokers string
	modes   string
	phases  string
	trigger string
	keys    int
	backlog int
	set     string

	label     string
	committed bool
	folded    bool
	boot      time.Duration
	command   []string

	engine   string // script of the engine's process
	dir      string
	profile  string
	progress bool
}

func main() {
	var o options
	flag.StringVar(&o.brokers, "brokers", "127.0.0.1:9092", "bootstrap servers")
	flag.StringVar(&o.modes, "modes", "project-exactly-once,count-exactly-once,project-at-least-once,count-at-least-once", "what is measured")
	flag.StringVar(&o.phases, "phases", "10000:10:20,1000:4:20", "events a second : seconds of warm-up : seconds measured, one after the other")
	flag.StringVar(&o.trigger, "trigger", "IMMEDIATE", "the query's TRIGGER")
	flag.IntVar(&o.keys, "keys", 10000, "distinct keys, in turn")
	flag.IntVar(&o.backlog, "backlog", 0, "events that wait in the topic when the engine starts")
	flag.StringVar(&o.set, "sink", "", "further options of the sink, as 'k'='v', ..")
	flag.StringVar(&o.label, "label", "", "name of another engine, whose command follows")
	flag.BoolVar(&o.committed, "committed", false, "read only what is committed of the other engine")
	flag.BoolVar(&o.folded, "count", false, "the other engine counts: there is a record for each input, not for every other")
	flag.DurationVar(&o.boot, "boot", 3*time.Second, "time between an engine's start and the first event")
	flag.StringVar(&o.engine, "engine", "", "be the engine and run this script")
	flag.StringVar(&o.dir, "dir", "", "folder of the checkpoint; a temporary one by default")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a CPU profile of the engine")
	flag.BoolVar(&o.progress, "progress", false, "print how long the phases of batches took")
	flag.Parse()
	o.command = flag.Args()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "kafka:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.engine != "" {
		return runEngine(ctx, o)
	}
	phases, err := parsePhases(o.phases)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "sluice-bench-latency-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Println(header)
	if len(o.command) > 0 {
		m := mode{name: o.label, committed: o.committed, counts: o.folded, command: o.command}
		return measure(ctx, o, m, phases, dir)
	}
	for name := range strings.SplitSeq(o.modes, ",") {
		m, err := modeOf(o, name)
		if err != nil {
			return err
		}
		if err := measure(ctx, o, m, phases, dir); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
