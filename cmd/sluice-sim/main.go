// Command sluice-sim lives through seeded simulations of the micro-batch
// protocol and reports the first that breaks it.
//
//	sluice-sim -seeds 20000        seeds 0 to 19999 on all cores
//	sluice-sim -seed 7             one seed, with its options and every step
//	sluice-sim -mutant no-sync     how many seeds it takes to catch a broken protocol
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-stream/sluice/internal/sim"
)

func main() {
	debug.SetGCPercent(800) // lives are short and their memory is small
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, out, errs io.Writer) int {
	fs := flag.NewFlagSet("sluice-sim", flag.ContinueOnError)
	fs.SetOutput(errs)
	seeds := fs.Uint64("seeds", 20_000, "how many seeds to live through")
	first := fs.Uint64("first", 0, "the first of them")
	seed := fs.Int64("seed", -1, "live through this one alone and print every step")
	name := fs.String("mutant", "none", "break the protocol on purpose: none, all or a name")
	workers := fs.Int("workers", runtime.GOMAXPROCS(0), "seeds at a time")
	regress := fs.String("regress", "", "folder to write a failing seed to, e.g. test/regress")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	mutants, ok := pick(*name)
	if !ok {
		fmt.Fprintf(errs, "sluice-sim: unknown mutant %q\n", *name)
		return 2
	}
	if *seed >= 0 {
		return one(uint64(*seed), mutants[0], out)
	}
	if *name != "none" {
		return hunt(mutants, *seeds, out)
	}
	return many(*first, *seeds, max(1, *workers), *regress, out)
}

func pick(name string) ([]sim.Mutant, bool) {
	if name == "none" {
		return []sim.Mutant{sim.None}, true
	}
	if name == "all" {
		return sim.Mutants(), true
	}
	for _, m := range sim.Mutants() {
		if m.String() == name {
			return []sim.Mutant{m}, true
		}
	}
	return nil, false
}

// one replays a seed verbosely.
func one(seed uint64, m sim.Mutant, out io.Writer) int {
	rep := sim.Run(seed, m, true)
	fmt.Fprintf(out, "%s\n\n%s\n%d batches, %d rows, %d drivers; %s\n", rep.Options, rep.Trace, rep.Batches, rep.Rows, rep.Drivers, &rep.Hits)
	if rep.Err != nil {
		fmt.Fprintln(out, rep.Err)
		return 1
	}
	return 0
}

// hunt counts the seeds that each mutant survives.
func hunt(mutants []sim.Mutant, seeds uint64, out io.Writer) int {
	code := 0
	for _, m := range mutants {
		caught := false
		for seed := range seeds {
			if rep := sim.Run(seed, m, false); rep.Err != nil {
				fmt.Fprintf(out, "%-16s caught after %d seeds: %v\n", m, seed+1, rep.Err)
				caught = true
				break
			}
		}
		if !caught {
			fmt.Fprintf(out, "%-16s NOT caught by %d seeds\n", m, seeds)
			code = 1
		}
	}
	return code
}

// many lives through a range of seeds; each is a single goroutine's.
func many(first, seeds uint64, workers int, regress string, out io.Writer) int {
	begun := time.Now()
	var next atomic.Uint64
	var mu sync.Mutex
	var wg sync.WaitGroup
	var hits sim.Hits
	var failed *sim.Report
	batches := 0
	for range workers {
		wg.Go(func() {
			var mine sim.Hits
			n := 0
			for i := next.Add(1) - 1; i < seeds; i = next.Add(1) - 1 {
				rep := sim.Run(first+i, sim.None, false)
				mine.Add(&rep.Hits)
				n += rep.Batches
				if rep.Err != nil {
					mu.Lock()
					if failed == nil || rep.Options.Seed < failed.Options.Seed {
						failed = &rep
					}
					mu.Unlock()
					next.Store(seeds)
				}
			}
			mu.Lock()
			hits.Add(&mine)
			batches += n
			mu.Unlock()
		})
	}
	wg.Wait()
	took := time.Since(begun)
	fmt.Fprintf(out, "%d seeds in %.1f s (%.0f a second, %d at a time), %d batches committed\n",
		min(next.Load(), seeds), took.Seconds(), float64(seeds)/took.Seconds(), workers, batches)
	fmt.Fprintf(out, "crash points hit: %s\n", &hits)
	if failed == nil {
		return 0
	}
	fmt.Fprintf(out, "FAILED %v\n%s\nreplay: go run ./cmd/sluice-sim -seed %d\n", failed.Err, failed.Options, failed.Options.Seed)
	if regress != "" {
		path, err := sim.WriteRegression(regress, *failed)
		if err != nil {
			fmt.Fprintln(out, err)
		} else {
			fmt.Fprintf(out, "kept as %s\n", path)
		}
	}
	return 1
}
