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
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice"
)

var (
	batches  = flag.Int("batches", 20_000, "batches of a run")
	rounds   = flag.Int("rounds", 3, "runs of each, by turns")
	parts    = flag.Int("parallelism", 2, "partitions of the second stage")
	only     = flag.String("only", "", "measure one of them: process or cluster")
	worker   = flag.String("worker", "", "be the worker ID,DRIVER")
	profiles = flag.String("profile", "", "folder for CPU profiles of a run on a cluster")
)

func main() {
	flag.Parse()
	err := func() error {
		if id, driver, ok := strings.Cut(*worker, ","); ok {
			return work(id, driver)
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
		measure func(context.Context, string, *stopwatch) (string, error)
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
			var watch stopwatch
			own, others := cpuTime(syscall.RUSAGE_SELF), cpuTime(syscall.RUSAGE_CHILDREN)
			seen, err := w.measure(ctx, dir, &watch)
			own, others = cpuTime(syscall.RUSAGE_SELF)-own, cpuTime(syscall.RUSAGE_CHILDREN)-others
			if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			n := int64(*batches)
			fmt.Printf("| %s | %s | %d | %d | %s |\n", w.name, watch.line(), (own+others).Microseconds()/n, own.Microseconds()/n, seen)
		}
	}
	return nil
}

// cpuTime is of this process, or of those that it has waited for.
func cpuTime(who int) time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(who, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// stopwatch is the log of a driver: it takes the time of a batch's first line and its last.
type stopwatch struct {
	mu struct {
		sync.Mutex
		begun map[int64]time.Time
		took  []time.Duration
		ended chan struct{}
	}
}

func (w *stopwatch) Enabled(context.Context, slog.Level) bool { return true }

// Handle reads what driver.LogTo writes.
func (w *stopwatch) Handle(_ context.Context, r slog.Record) error {
	now := time.Now()
	id := int64(-1)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "batch" {
			id = a.Value.Int64()
		}
		return id < 0
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case r.Message == "batch started":
		if w.mu.begun == nil {
			w.mu.begun = map[int64]time.Time{}
		}
		w.mu.begun[id] = now
	case r.Message == "batch done":
		w.mu.took = append(w.mu.took, now.Sub(w.mu.begun[id]))
		delete(w.mu.begun, id)
	case r.Level >= slog.LevelWarn:
		fmt.Fprintln(os.Stderr, r.Message)
	}
	return nil
}

func (w *stopwatch) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w *stopwatch) WithGroup(string) slog.Handler      { return w }

// line leaves the first tenth out, in which everything is new.
func (w *stopwatch) line() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.mu.took[len(w.mu.took)/10:]
	slices.Sort(all)
	at := func(p float64) float64 {
		return float64(all[min(len(all)-1, int(p*float64(len(all))))].Microseconds()) / 1000
	}
	return fmt.Sprintf("%d | %.2f | %.2f | %.2f | %.2f | %.1f", len(w.mu.took), at(.5), at(.9), at(.99), at(.999), at(1))
}

func inProcess(ctx context.Context, dir string, w *stopwatch) (_ string, err error) {
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

func onCluster(ctx context.Context, dir string, w *stopwatch) (seen string, err error) {
	d, err := sluice.StartDriver(ctx, sluice.DriverOptions{ID: "d1", Data: dir, Listen: "127.0.0.1:0", Logger: slog.New(w), Stdout: io.Discard})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	pids := []int{os.Getpid()}
	for _, id := range []string{"w1", "w2"} {
		cmd := exec.CommandContext(ctx, self, "-worker", id+","+d.Addr(), "-profile", *profiles)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			return "", err
		}
		pids = append(pids, cmd.Process.Pid)
		defer func() {
			err = errors.Join(err, cmd.Process.Signal(syscall.SIGINT), cmd.Wait())
		}()
	}
	if err := until(ctx, func() (bool, error) { return len(d.Workers()) == 2, nil }); err != nil {
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
	return until(ctx, func() (bool, error) {
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

// look is how long until waits before it asks again.
const look = 20 * time.Millisecond

func until(ctx context.Context, f func() (bool, error)) error {
	for {
		if done, err := f(); done || err != nil {
			return err
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

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
	f, err := os.Create(filepath.Join(*profiles, name+".prof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // a profile that is cut short says so when it is read
	}, nil
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
	w, err := sluice.JoinCluster(context.Background(), sluice.WorkerOptions{ID: id, Join: []string{driver}, Slots: slots, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT)
	<-ended
	return w.Close()
}
