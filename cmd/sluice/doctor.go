package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-stream/sluice/internal/memory"
)

// slowSync is from where on a durable write is worth a warning: two of them bound
// the latency of every batch.
const slowSync = 5 * time.Millisecond

func doctorCommand(env *environment) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check this machine: cores, memory, clock, and how long a durable write takes",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintf(env.out, "cores         %d\n", runtime.GOMAXPROCS(0))
			fmt.Fprintf(env.out, "memory        %s\n", memory.FormatBytes(memory.Machine()))
			fmt.Fprintf(env.out, "open files    %s\n", openFiles())
			took, err := syncTime(dir)
			if err != nil {
				return fmt.Errorf("a durable write in %s: %w; choose another --checkpoint-dir", dir, err)
			}
			fmt.Fprintf(env.out, "durable write %s in %s\n", took.Round(time.Microsecond), dir)
			if took > slowSync {
				fmt.Fprintf(env.out, "warning: each batch waits for two durable writes; a faster disk lowers latency\n")
			}
			if y := time.Now().Year(); y < 2024 {
				fmt.Fprintf(env.out, "warning: the clock says %d\n", y)
			}
			fmt.Fprintln(env.out, "ok")
			return nil
		},
	}
	c.Flags().StringVar(&dir, "checkpoint-dir", ".", "the folder whose disk is tried")
	return c
}

// syncTime is the median of some appends with fdatasync in dir.
func syncTime(dir string) (took time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".sluice-doctor-*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		_ = os.Remove(f.Name())
	}()
	const tries = 21
	var all [tries]time.Duration
	for i := range all {
		start := time.Now()
		if _, err := f.Write(make([]byte, 256)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		all[i] = time.Since(start)
	}
	slices.Sort(all[:])
	return all[tries/2], nil
}

func openFiles() string {
	entries, err := os.ReadDir(filepath.Join("/proc", "self", "fd"))
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%d in use by this process", len(entries))
}
