// Command scaling measures how much faster queries of Nexmark are on two workers than on
// one, when each worker has one core and a network namespace of its own. It needs root, ip
// and taskset:
//
//	go build -o /tmp/sluice ./cmd/sluice
//	go run ./bench/cluster/scaling -sluice /tmp/sluice [-queries q0,q5,q20] [-runs 5]
//
// The driver runs in a namespace and on a core of its own, and all of them speak TLS with the
// certificates of `sluice certs`. Workers make the events themselves and throw the output
// away, so that what is measured is the query, the exchange between the workers and the
// driver. Each run is a cluster and a checkpoint of its own; runs with one worker and with
// two take turns. With -profile DIR this program runs the workers in place of -sluice and
// leaves their CPU profiles there.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-stream/sluice/test/nexmark"
)

type options struct {
	sluice, profile, set string
	runs, driverCore     int
	slots                int
	explain              int64
	trigger, rate        int64
	plain, control       bool
	workers              []int
	queries              []string
	events               map[string]int64
}

// events of a run of each query: some ten seconds of one core.
var events = map[string]int64{"q0": 16_000_000, "q5": 10_000_000, "q20": 8_000_000}

func main() {
	o := options{events: events}
	var queries, workers, role string
	var all int64
	flag.StringVar(&o.sluice, "sluice", "", "the binary that drivers and workers run")
	flag.StringVar(&queries, "queries", "q0,q5,q20", "queries of Nexmark")
	flag.StringVar(&workers, "workers", "1,2", "numbers of workers, by turns; worker n has core n-1")
	flag.IntVar(&o.runs, "runs", 5, "runs of each query with each number of workers")
	flag.IntVar(&o.driverCore, "driver-core", 2, "the driver's core")
	flag.Int64Var(&all, "events", 0, "events of a run; 0: some ten seconds of one core")
	flag.Int64Var(&o.trigger, "batch", 1_000_000, "events of a micro-batch")
	flag.Int64Var(&o.rate, "rate", 100_000, "events a second of event time")
	flag.IntVar(&o.slots, "slots", 0, "tasks that a worker runs at a time on its core; 0 is what sluice worker takes")
	flag.Int64Var(&o.explain, "explain", -1, "say where the time of the batch of this number went")
	flag.BoolVar(&o.control, "control", true, "run two clusters of one worker at once, too: what the machine's two cores can give")
	flag.BoolVar(&o.plain, "plain", false, "loopback without TLS in place of namespaces")
	flag.StringVar(&o.set, "set", "", "settings of driver and workers, key=value with commas")
	flag.StringVar(&o.profile, "profile", "", "folder for CPU profiles of the workers")
	flag.StringVar(&role, "role", "", "what the processes of this program are: watch or worker")
	flag.Parse()
	err := func() error {
		switch role {
		case "watch":
			return watch(context.Background(), flag.Args())
		case "worker":
			return work(context.Background(), flag.Args())
		}
		o.queries = strings.Split(queries, ",")
		for _, w := range strings.Split(workers, ",") {
			n, err := strconv.Atoi(w)
			if err != nil || n < 1 || n > 9 {
				return fmt.Errorf("-workers %q: want numbers from 1 to 9", workers)
			}
			o.workers = append(o.workers, n)
		}
		for _, q := range o.queries {
			o.events[q] = cmp.Or(all, o.events[q], 8_000_000)
		}
		if o.sluice == "" {
			return errors.New("-sluice: say which binary is measured")
		}
		return run(context.Background(), o)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

// outcome is one run.
type outcome struct {
	Seconds, First float64 // from the first trigger to the last output, and to the first
	Rows, Out      int64
	Batches        int64
	driver         float64 // CPU seconds
	workers        []float64
}

// run measures all queries and prints a table.
func run(ctx context.Context, o options) error {
	all := nexmark.Queries()
	fmt.Println("| query | workers | events | seconds, median (least-most) | K events/s | CPU s of workers | CPU s of driver | against one worker |")
	fmt.Println("|---|---:|---:|---:|---:|---:|---:|---:|")
	for _, name := range o.queries {
		at := slices.IndexFunc(all, func(q nexmark.Query) bool { return q.Name == name })
		if at < 0 {
			return fmt.Errorf("there is no query %s", name)
		}
		runs := make([][]outcome, len(o.workers))
		var apart []float64
		for i := range o.runs {
			for j, n := range o.workers {
				r, err := once(ctx, o, all[at], n, 0)
				if err != nil {
					return fmt.Errorf("%s on %d workers, run %d: %w", name, n, i+1, err)
				}
				r.tell(fmt.Sprintf("%s on %d workers", name, n))
				runs[j] = append(runs[j], r)
				if was := runs[0][0]; r.Rows != was.Rows || r.Out != was.Out {
					return fmt.Errorf("%s on %d workers: %d rows in and %d out, before %d and %d", name, n, r.Rows, r.Out, was.Rows, was.Out)
				}
			}
			if !o.control {
				continue
			}
			r, err := both(ctx, o, all[at])
			if err != nil {
				return fmt.Errorf("%s on two clusters at once: %w", name, err)
			}
			apart = append(apart, r)
		}
		slices.Sort(apart)
		first := 0.0
		for j, n := range o.workers {
			slices.SortFunc(runs[j], func(a, b outcome) int { return cmp.Compare(a.Seconds, b.Seconds) })
			m := runs[j][len(runs[j])/2]
			first = cmp.Or(first, m.Seconds)
			fmt.Printf("| %s | %d | %d | %.2f (%.2f-%.2f) | %.0f | %.2f | %.2f | %.2f |\n", name, n, o.events[name], m.Seconds, runs[j][0].Seconds,
				runs[j][len(runs[j])-1].Seconds, float64(o.events[name])/m.Seconds/1000, m.workers, m.driver, first/m.Seconds)
		}
		if o.control {
			m := apart[len(apart)/2]
			fmt.Printf("| %s | two clusters of 1 at once | %d each | %.2f (%.2f-%.2f) | %.0f | | | %.2f |\n", name, o.events[name], m, apart[0], apart[len(apart)-1],
				float64(2*o.events[name])/m/1000, 2*first/m)
		}
	}
	return nil
}

// both runs a query on two clusters of one worker at once, which have nothing to do with
// each other but the machine. It returns the mean of the seconds: no engine on two of its
// cores gains more than these two do.
func both(ctx context.Context, o options, q nexmark.Query) (float64, error) {
	var r [2]outcome
	g, ctx := errgroup.WithContext(ctx)
	for i := range r {
		g.Go(func() (err error) {
			r[i], err = once(ctx, o, q, 1, i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	for i := range r {
		r[i].tell(fmt.Sprintf("%s on cluster %d of two at once", q.Name, i+1))
	}
	return (r[0].Seconds + r[1].Seconds) / 2, nil
}

func (r outcome) tell(what string) {
	fmt.Fprintf(os.Stderr, "%s: %.2f s (first batch %.2f), %d rows in, %d out, %d batches, CPU of workers %.2f, of driver %.2f\n",
		what, r.Seconds, r.First, r.Rows, r.Out, r.Batches, r.workers, r.driver)
}

// script is the pipeline of a query.
func script(o options, q nexmark.Query, dir string) string {
	tables := nexmark.Tables(map[string]string{
		"events": strconv.FormatInt(o.events[q.Name], 10), "events-per-second": strconv.FormatInt(o.rate, 10), "max-events-per-trigger": strconv.FormatInt(o.trigger, 10),
	})
	return fmt.Sprintf("%s\n%s;\nCREATE STREAMING QUERY %s TRIGGER AVAILABLE NOW OUTPUT MODE %s CHECKPOINT '%s/ck' AS INSERT INTO result %s;\n",
		tables, nexmark.Sink(q, dir), q.Name, q.Mode, dir, q.SQL)
}
