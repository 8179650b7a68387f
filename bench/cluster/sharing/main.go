// Command sharing measures what queries that share two workers have of them: how long the
// batches of a small query take alone, beside queries that would take all there is, and by
// which settings that changes; and how two busy queries divide the workers' time, of equal
// weight and of one to three.
//
//	go run ./bench/cluster/sharing [-time 12s]
//
// The driver is this process, the workers are processes of one slot each. The small query
// counts ten rows every 20 ms by key, in two stages; its times are from a batch's trigger
// until its output is shown.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/bench/cluster/internal/node"
)

var (
	lasts   = flag.Duration("time", 12*time.Second, "how long each is measured, after a sixth of it in which everything is new")
	memory  = flag.String("memory", "1GB", "memory_limit of a worker")
	only    = flag.String("only", "", "measure those alone whose name contains this")
	verbose = flag.Bool("v", false, "tell in which phases the small query's batches were")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := func() error {
		if role := node.Role(); role != nil { // ID, DRIVER, MEMORY
			return node.Work(ctx, sluice.WorkerOptions{ID: role[0], Join: role[1:2], Slots: 1, Logger: slog.New(slog.DiscardHandler), Settings: map[string]string{"memory_limit": role[2]}})
		}
		if err := small(ctx); err != nil {
			return err
		}
		return shares(ctx)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sharing:", err)
		os.Exit(1)
	}
}

// The pipelines. $SET is replaced by settings of the query.
const (
	smallQuery = `CREATE TABLE events (k BIGINT, v BIGINT) WITH ('connector'='datagen', 'number-of-rows'='100000000', 'max-rows-per-trigger'='10', 'fields.k.min'='0', 'fields.k.max'='9');
CREATE TABLE result (k BIGINT, n BIGINT, s BIGINT) WITH ('connector'='blackhole');
SET parallelism = 2; $SET
CREATE STREAMING QUERY small TRIGGER EVERY '20 ms' OUTPUT MODE update AS INSERT INTO result SELECT k, count(*), sum(v % 1000) FROM events GROUP BY k;`
	// One batch of it is 100,000 rows by 100,000 others, none of which is kept: minutes.
	crossJoin = `CREATE TABLE a (x BIGINT) WITH ('connector'='datagen', 'number-of-rows'='10000000000', 'max-rows-per-trigger'='100000', 'fields.x.min'='0', 'fields.x.max'='1000000');
CREATE TABLE pairs (z BIGINT) WITH ('connector'='blackhole');
SET parallelism = 8; $SET
CREATE STREAMING QUERY crossing TRIGGER IMMEDIATE AS INSERT INTO pairs SELECT x + y FROM a CROSS JOIN UNNEST(sequence(1, 100000)) AS t(y) WHERE x + y < 0;`
	// Its answer is kept in memory until a batch ends, and has no room there.
	hugeJoin = `CREATE TABLE l (x BIGINT) WITH ('connector'='datagen', 'number-of-rows'='200000', 'max-rows-per-trigger'='200000', 'fields.x.min'='0', 'fields.x.max'='1000000');
CREATE TABLE r (y BIGINT) WITH ('connector'='datagen', 'number-of-rows'='200000', 'max-rows-per-trigger'='200000', 'fields.y.min'='0', 'fields.y.max'='1000000');
CREATE TABLE joined (z BIGINT) WITH ('connector'='blackhole');
SET parallelism = 8; $SET
CREATE STREAMING QUERY joining TRIGGER IMMEDIATE AS INSERT INTO joined SELECT x + y FROM l JOIN r ON x + y > 0;`
	// Its state has a key for almost every row, and grows until memory is full and beyond.
	hugeState = `CREATE TABLE wide (k BIGINT, v BIGINT) WITH ('connector'='datagen', 'number-of-rows'='10000000000', 'max-rows-per-trigger'='1000000', 'fields.k.min'='0', 'fields.k.max'='1000000000');
CREATE TABLE counts (k BIGINT, n BIGINT, s BIGINT) WITH ('connector'='blackhole');
SET parallelism = 8; $SET
CREATE STREAMING QUERY growing TRIGGER IMMEDIATE OUTPUT MODE update AS INSERT INTO counts SELECT k, count(*), sum(v % 1000) FROM wide GROUP BY k;`
	busyQuery = `CREATE TABLE src_$NAME (k BIGINT, v BIGINT) WITH ('connector'='datagen', 'number-of-rows'='10000000000', 'max-rows-per-trigger'='2000000', 'fields.k.min'='0', 'fields.k.max'='99');
CREATE TABLE out_$NAME (k BIGINT, n BIGINT, s BIGINT) WITH ('connector'='blackhole');
SET parallelism = 4; $SET
CREATE STREAMING QUERY $NAME TRIGGER IMMEDIATE OUTPUT MODE update AS INSERT INTO out_$NAME SELECT k, count(*), sum((v % 1000) * (v % 77)) FROM src_$NAME GROUP BY k;`
)

func with(script, settings string) string { return strings.ReplaceAll(script, "$SET", settings) }

// small measures the small query beside others.
func small(ctx context.Context) error {
	fmt.Println("| the small query | batches | p50 ms | p90 ms | p99 ms | most ms | the others |")
	fmt.Println("|---|---:|---:|---:|---:|---:|---|")
	plain := with(smallQuery, "")
	for _, c := range []struct {
		name    string
		scripts []string
	}{
		{"alone", []string{plain}},
		{"beside a join that does not end", []string{with(crossJoin, ""), plain}},
		{"beside one that takes all memory", []string{with(hugeJoin, ""), plain}},
		{"beside state that grows", []string{with(hugeState, ""), plain}},
		{"beside both", []string{with(crossJoin, ""), with(hugeState, ""), plain}},
		{"beside both, with weight 10", []string{with(crossJoin, ""), with(hugeState, ""), with(smallQuery, "SET query.weight = 10;")}},
		{"beside both, which have one slot and 200 MB each", []string{with(crossJoin, "SET query.slots-max = 1; SET query.memory-limit = '200MB';"),
			with(hugeState, "SET query.slots-max = 1; SET query.memory-limit = '200MB';"), plain}},
	} {
		if !strings.Contains(c.name, *only) {
			continue
		}
		err := onCluster(ctx, func(ctx context.Context, d *sluice.Driver, w *node.Stopwatch) error {
			for i, script := range c.scripts {
				if _, err := d.Submit(ctx, fmt.Sprintf("p%d", i), script); err != nil {
					return err
				}
			}
			if err := node.Pause(ctx, *lasts/6); err != nil {
				return err
			}
			w.Clear()
			if err := node.Pause(ctx, *lasts); err != nil {
				return err
			}
			fmt.Printf("| %s | %s | %s |\n", c.name, line(w), othersOf(d))
			if *verbose {
				phases(d)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// phases says where the time of the small query's newest batches went, on average.
func phases(d *sluice.Driver) {
	for _, q := range d.Queries() {
		if q.Name() != "small" {
			continue
		}
		sums, all := map[string]float64{}, q.Recent()
		for _, p := range all {
			for k, ms := range p.Phases {
				sums[k] += ms
			}
		}
		for _, k := range slices.Sorted(maps.Keys(sums)) {
			fmt.Printf("  %-16s %8.2f ms\n", k, sums[k]/float64(len(all)))
		}
	}
}

// othersOf says what became of the other queries.
func othersOf(d *sluice.Driver) string {
	var out []string
	for _, q := range d.Queries() {
		if q.Name() != "small" {
			out = append(out, fmt.Sprintf("%s: %s, %.1f million rows", q.Name(), q.Status(), float64(q.Totals().RowsIn)/1e6))
		}
	}
	return strings.Join(out, "; ")
}

// shares measures how two busy queries divide the workers.
func shares(ctx context.Context) error {
	fmt.Println("\n| two busy queries of weights | million rows in a second | share of the second |")
	fmt.Println("|---|---:|---:|")
	for _, weights := range [][]int{{1}, {1, 1}, {1, 3}} {
		name := strings.ReplaceAll(strings.Trim(fmt.Sprint(weights), "[]"), " ", " and ")
		if !strings.Contains(name, *only) {
			continue
		}
		err := onCluster(ctx, func(ctx context.Context, d *sluice.Driver, _ *node.Stopwatch) error {
			names := []string{"one", "two"}[:len(weights)]
			for i, n := range names {
				script := with(strings.ReplaceAll(busyQuery, "$NAME", n), fmt.Sprintf("SET query.weight = %d;", weights[i]))
				if _, err := d.Submit(ctx, n, script); err != nil {
					return err
				}
			}
			if err := node.Pause(ctx, *lasts/6); err != nil {
				return err
			}
			rows := func() (n []int64) {
				for _, name := range names {
					for _, q := range d.Queries() {
						if q.Name() == name {
							n = append(n, q.Totals().RowsIn)
						}
					}
				}
				return n
			}
			before, at := rows(), time.Now()
			if err := node.Pause(ctx, *lasts*3/2); err != nil {
				return err
			}
			took := time.Since(at).Seconds()
			var speeds []string
			sum, last := int64(0), int64(0)
			for i, n := range rows() {
				last = n - before[i]
				sum += last
				speeds = append(speeds, fmt.Sprintf("%.2f", float64(last)/took/1e6))
			}
			fmt.Printf("| %s | %s | %.0f %% |\n", name, strings.Join(speeds, " and "), 100*float64(last)/float64(sum))
			return nil
		})
		if err != nil {
			return fmt.Errorf("weights %s: %w", name, err)
		}
	}
	return nil
}

// onCluster measures on a driver and two workers of its own.
func onCluster(ctx context.Context, measure func(context.Context, *sluice.Driver, *node.Stopwatch) error) (err error) {
	dir, err := os.MkdirTemp("", "sharing")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w := &node.Stopwatch{Query: "small", Level: slog.LevelError}
	d, err := sluice.StartDriver(ctx, sluice.DriverOptions{ID: "d1", Data: dir, Listen: "127.0.0.1:0", Logger: slog.New(w), Stdout: io.Discard})
	if err != nil {
		return err
	}
	var workers []*exec.Cmd
	// What runs would end after its running batch, which does not end: the workers go first.
	defer func() {
		for _, cmd := range workers {
			node.Kill(cmd)
		}
		err = errors.Join(err, d.Close())
	}()
	for _, id := range []string{"w1", "w2"} {
		cmd, err := node.Start(id, d.Addr(), *memory)
		if err != nil {
			return err
		}
		workers = append(workers, cmd)
	}
	if err := node.Until(ctx, 20*time.Millisecond, func() (bool, error) { return len(d.Workers()) == 2, nil }); err != nil {
		return err
	}
	return measure(ctx, d, w)
}

// line is what the small query's batches took.
func line(w *node.Stopwatch) string {
	ended, running := w.Took()
	all := append(ended, running...)
	if len(all) == 0 {
		return "0 | – | – | – | –"
	}
	slices.Sort(all)
	at := func(q float64) float64 { return node.Milliseconds(node.Quantile(all, q)) }
	return fmt.Sprintf("%d | %.2f | %.2f | %.2f | %.1f", len(all), at(.5), at(.9), at(.99), at(1))
}
