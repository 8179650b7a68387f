// Command latency measures batches of ten rows through a count by key, which is two stages,
// in one process and on two worker processes over the loopback interface, by turns:
//
//	go run ./bench/cluster/latency [-batches 20000] [-rounds 3] [-parallelism 2]
//
// What is measured is the time from a batch's trigger until its output is shown; the next
// batch begins when one is committed. The driver is this process. Of the connections of
// workers it tells what went over them for a batch.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/bench/cluster/internal/node"
)

var (
	batches  = flag.Int("batches", 20_000, "batches of a run")
	rounds   = flag.Int("rounds", 3, "runs of each, by turns")
	parts    = flag.Int("parallelism", 2, "partitions of the second stage")
	only     = flag.String("only", "", "measure one of them: process or cluster")
	profiles = flag.String("profile", "", "folder for CPU profiles of a run on a cluster")
)

func main() {
	flag.Parse()
	err := func() error {
		if role := node.Role(); role != nil {
			return work(role[0], role[1])
		}
		return run(context.Background())
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "latency:", err)
		os.Exit(1)
	}
}

// script counts rows by key, ten of them in each batch.
func script(dir string) string {
	return fmt.Sprintf(`CREATE TABLE events (k BIGINT, v BIGINT) WITH ('connector'='datagen', 'number-of-rows'='%d', 'max-rows-per-trigger'='10', 'fields.k.min'='0', 'fields.k.max'='9');
CREATE TABLE result (k BIGINT, n BIGINT, s BIGINT) WITH ('connector'='blackhole');
SET 'parallelism' = '%d';
CREATE STREAMING QUERY q TRIGGER IMMEDIATE OUTPUT MODE update CHECKPOINT '%s' AS
INSERT INTO result SELECT k, count(*), sum(v %% 1000) FROM events GROUP BY k;
`, *batches*10, *parts, filepath.Join(dir, "q"))
}

func run(ctx context.Context) error {
	ways := []struct {
		name    string
		measure func(context.Context, string, *node.Stopwatch) (string, error)
	}{{"process", inProcess}, {"cluster", onCluster}}
	fmt.Println("| ten rows, two stages | batches | p50 ms | p90 ms | p99 ms | p99.9 ms | most ms | CPU µs a batch | of this process | of connections, a batch |")
	fmt.Println("|---|---:|---:|---:|---:|---:|---:|---:|---:|---|")
	for range *rounds {
		for _, w := range ways {
			if *only != "" && *only != w.name {
				continue
			}
			dir, err := os.MkdirTemp("", "latency")
			if err != nil {
				return err
			}
			watch := node.Stopwatch{Query: "q", Level: slog.LevelWarn}
			own, others := node.CPU(syscall.RUSAGE_SELF), node.CPU(syscall.RUSAGE_CHILDREN)
			seen, err := w.measure(ctx, dir, &watch)
			own, others = node.CPU(syscall.RUSAGE_SELF)-own, node.CPU(syscall.RUSAGE_CHILDREN)-others
			if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			n := int64(*batches)
			fmt.Printf("| %s | %s | %d | %d | %s |\n", w.name, line(&watch), (own+others).Microseconds()/n, own.Microseconds()/n, seen)
		}
	}
	return nil
}

// line leaves the first tenth out, in which everything is new.
func line(w *node.Stopwatch) string {
	took, _ := w.Took()
	all := took[len(took)/10:]
	slices.Sort(all)
	at := func(q float64) float64 { return node.Milliseconds(node.Quantile(all, q)) }
	return fmt.Sprintf("%d | %.2f | %.2f | %.2f | %.2f | %.1f", len(took), at(.5), at(.9), at(.99), at(.999), at(1))
}

func inProcess(ctx context.Context, dir string, w *node.Stopwatch) (_ string, err error) {
	s, err := sluice.NewSession(sluice.Options{CheckpointDir: dir, Logger: slog.New(w), Stdout: io.Discard})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Exec(ctx, script(dir)); err != nil {
		return "", err
	}
	return "", done(ctx, s.Queries)
}

func onCluster(ctx context.Context, dir string, w *node.Stopwatch) (seen string, err error) {
	d, err := sluice.StartDriver(ctx, sluice.DriverOptions{ID: "d1", Data: dir, Listen: "127.0.0.1:0", Logger: slog.New(w), Stdout: io.Discard})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	pids := []int{os.Getpid()}
	for _, id := range []string{"w1", "w2"} {
		cmd, err := node.Command(id, d.Addr())
		if err != nil {
			return "", err
		}
		cmd.Args = append(cmd.Args, "-profile", *profiles)
		if err := cmd.Start(); err != nil {
			return "", err
		}
		pids = append(pids, cmd.Process.Pid)
		defer func() {
			err = errors.Join(err, cmd.Process.Signal(syscall.SIGINT), cmd.Wait())
		}()
	}
	if err := node.Until(ctx, look, func() (bool, error) { return len(d.Workers()) == 2, nil }); err != nil {
		return "", err
	}
	if *profiles != "" {
		stop, err := profile("driver")
		if err != nil {
			return "", err
		}
		defer stop()
	}
	if _, err := d.Submit(ctx, "bench", script(dir)); err != nil {
		return "", err
	}
	if err := done(ctx, d.Queries); err != nil {
		return "", err
	}
	return connections(ctx, pids)
}

// done waits until all rows have been counted.
func done(ctx context.Context, queries func() []*sluice.Query) error {
	return node.Until(ctx, look, func() (bool, error) {
		for _, q := range queries() {
			if q.Status() == "failed" {
				return true, errors.New("the query has failed")
			}
			if q.Totals().RowsIn >= int64(*batches*10) {
				return true, nil
			}
		}
		return false, nil
	})
}

// look is how long a condition is left alone before it is looked at again.
const look = 20 * time.Millisecond

var counted = regexp.MustCompile(`(bytes_sent|data_segs_out):(\d+)`)

// connections sums what the processes have sent, by what the system's ss tells of their
// connections.
func connections(ctx context.Context, pids []int) (string, error) {
	out, err := exec.CommandContext(ctx, "ss", "-tinpH").Output()
	if err != nil {
		return "not known", nil //nolint:nilerr // there is no ss here
	}
	sums := map[string]int{}
	mine := false
	in := bufio.NewScanner(strings.NewReader(string(out)))
	for in.Scan() {
		if !strings.HasPrefix(in.Text(), "\t") {
			mine = slices.ContainsFunc(pids, func(pid int) bool { return strings.Contains(in.Text(), fmt.Sprintf("pid=%d,", pid)) })
			continue
		}
		if !mine {
			continue
		}
		for _, m := range counted.FindAllStringSubmatch(in.Text(), -1) {
			n, err := strconv.Atoi(m[2])
			if err != nil {
				return "", err
			}
			sums[m[1]] += n
		}
	}
	n := float64(*batches)
	return fmt.Sprintf("%.0f bytes, %.1f segments with data", float64(sums["bytes_sent"])/n, float64(sums["data_segs_out"])/n), in.Err()
}

func profile(name string) (stop func(), err error) {
	return node.Profile(filepath.Join(*profiles, name+".prof"))
}

// work is a worker until it is interrupted.
func work(id, driver string) error {
	if *profiles != "" {
		stop, err := profile(id)
		if err != nil {
			return err
		}
		defer stop()
	}
	slots := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(slots + 1) // as sluice worker does
	return node.Work(context.Background(), sluice.WorkerOptions{ID: id, Join: []string{driver}, Slots: slots, Logger: slog.New(slog.DiscardHandler)})
}
