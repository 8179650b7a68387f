// Command recovery measures how long a cluster commits nothing after one of its processes
// was killed: a driver and some workers, each a process, and a keyed aggregation.
//
//	go run ./bench/cluster/recovery [-keys 5000000] [-pad 180] [-standby 1] [-kill worker,driver]
//
// The time counts from the signal (kill -9) to the first batch that is committed
// afterwards; the phases between are read from the driver's log.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/bench/cluster/internal/node"
)

var (
	keys     = flag.Int64("keys", 5_000_000, "keys of the state")
	pad      = flag.Int("pad", 160, "bytes of text kept for each key")
	rate     = flag.Int64("rate", 20_000, "rows a second while processes are killed")
	rounds   = flag.Int("rounds", 4, "kills of each kind")
	kinds    = flag.String("kill", "worker,driver", "what is killed, by turns")
	workers  = flag.Int("workers", 3, "workers")
	slots    = flag.Int("slots", 2, "tasks at a time on a worker")
	memory   = flag.String("memory", "700MB", "memory_limit of a worker")
	standby  = flag.Int("standby", 0, "state.standby-replicas")
	interval = flag.Duration("checkpoint", 10*time.Second, "checkpoint.interval")
	trigger  = flag.String("trigger", "EVERY '100 ms'", "the query's trigger")
	dir      = flag.String("dir", "", "where everything lies; default a new folder of the system's")
	verbose  = flag.Bool("v", false, "print the driver's log")
)

func main() {
	if role := node.Role(); role != nil {
		if err := be(role); err != nil {
			fmt.Fprintln(os.Stderr, "node:", err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "recovery:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	s := &scene{dir: *dir, workers: map[string]*process{}}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "recovery"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	}
	defer s.end()
	if err := s.begin(ctx); err != nil {
		return err
	}
	fmt.Printf("| killed | replayed | seen | life over | workers have the plan | state restored | replayed | next commit |\n|---|---:|---:|---:|---:|---:|---:|---:|\n")
	for round := range *rounds {
		for kind := range strings.SplitSeq(*kinds, ",") {
			// At another place between two checkpoints each time.
			at := time.Duration(round+1) * *interval * 9 / 10 / time.Duration(*rounds)
			if err := s.round(ctx, kind, at); err != nil {
				return fmt.Errorf("round %d, %s: %w", round, kind, err)
			}
		}
	}
	return nil
}

// round kills one process and prints what came of it.
func (s *scene) round(ctx context.Context, kind string, at time.Duration) error {
	if _, err := s.await(ctx, "a checkpoint", func(l line) bool { return l.Msg == "state checkpointed" }); err != nil {
		return err
	}
	time.Sleep(at)
	var killed time.Time
	victim := ""
	switch kind {
	case "worker":
		victim = s.newest()
		killed = time.Now()
		s.workers[victim].kill()
		delete(s.workers, victim)
	case "driver":
		killed = time.Now()
		s.driver.kill()
		if err := s.startDriver(ctx); err != nil {
			return err
		}
	default:
		return fmt.Errorf("nothing is called %q", kind)
	}
	phases := map[string]line{}
	note := func(l line) bool {
		if _, ok := phases[l.Msg]; !ok && l.Time.After(killed) {
			phases[l.Msg] = l
		}
		return l.Msg == "batch committed" && l.Time.After(killed) && phases["query runs on workers"].Msg != "" && l.Time.After(phases["query runs on workers"].Time)
	}
	next, err := s.await(ctx, "a batch", note)
	if err != nil {
		return err
	}
	ms := func(msg string) string {
		if l, ok := phases[msg]; ok {
			return fmt.Sprintf("%.0f", float64(l.Time.Sub(killed).Microseconds())/1000)
		}
		return "–"
	}
	fmt.Printf("| %s | %d batches | %s | %s | %s | %s | %s | %.0f |\n", kind, phases["query recovered"].Replayed, ms("worker lost"), ms("query started"),
		ms("query runs on workers"), ms("state restored"), ms("query recovered"), float64(next.Time.Sub(killed).Microseconds())/1000)
	if victim != "" {
		return s.startWorker(ctx, victim)
	}
	return nil
}
