// Command state measures state that is larger than memory.
//
//	GOMAXPROCS=2 go run ./bench/state -keys 10000000         counts rows per key through the whole engine
//	GOMAXPROCS=2 go run ./bench/state -store 1               a store with 1 GB of state by itself
//
// The first runs a streaming query over random keys under a memory limit, in
// a session of its own, and prints rows a second, CPU time and the most resident memory. The
// second makes a store with so many gigabytes of rows, most of which are not in
// memory, and prints: the times of batches while a checkpoint is written in the
// background, beside those of an empty store; what a checkpoint writes after one
// key in a hundred has changed; and how long it takes from opening the folder to
// the first batch that is sealed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice"
)

type options struct {
	keys, rows, batch int64
	gigabytes         float64
	limit, dir        string
	profile           string
}

func main() {
	var o options
	flag.Int64Var(&o.keys, "keys", 0, "count rows per key over so many keys")
	flag.Int64Var(&o.rows, "rows", 0, "rows of that query; twice the keys by default")
	flag.Int64Var(&o.batch, "batch", 1_000_000, "rows of a micro-batch")
	flag.Float64Var(&o.gigabytes, "store", 0, "gigabytes of keys and values of a store")
	flag.StringVar(&o.limit, "limit", "1GB", "memory_limit")
	flag.StringVar(&o.dir, "dir", "", "folder for what is written; a temporary one by default")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for a CPU profile")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "state:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp(o.dir, "sluice-bench-state-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	var report any
	switch {
	case o.keys > 0:
		report, err = countPerKey(ctx, o, dir)
	case o.gigabytes > 0:
		report, err = store(ctx, o, dir)
	default:
		return errors.New("say -keys or -store")
	}
	if err != nil {
		return err
	}
	enc := json.NewEncoder(os.Stdout)
	return enc.Encode(report)
}

// counted is what counting per key took.
type counted struct {
	Keys    int64   `json:"keys"`
	Rows    int64   `json:"rows"`
	Limit   string  `json:"memory_limit"`
	Seconds float64 `json:"seconds"`
	PerSec  float64 `json:"rows_per_second"`
	CPU     float64 `json:"cpu_seconds"`
	PeakMB  int64   `json:"peak_rss_mb"`
	StateMB int64   `json:"checkpoint_mb"`
}

func countPerKey(ctx context.Context, o options, dir string) (*counted, error) {
	if o.rows == 0 {
		o.rows = 2 * o.keys
	}
	s, err := sluice.NewSession(sluice.Options{Settings: map[string]string{
		"memory_limit": o.limit, "spill.dir": dir, "checkpoint.interval": "10s",
	}})
	if err != nil {
		return nil, err
	}
	begin, cpu := time.Now(), cpuTime()
	script := fmt.Sprintf(`
CREATE TABLE events (k BIGINT, v BIGINT) WITH ('connector'='datagen', 'number-of-rows'='%d', 'max-rows-per-trigger'='%d',
  'fields.k.min'='0', 'fields.k.max'='%d');
CREATE TABLE counts (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='blackhole');
CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE update CHECKPOINT '%s' AS
  INSERT INTO counts SELECT k, count(*) FROM events GROUP BY k;`, o.rows, o.batch, o.keys-1, filepath.Join(dir, "ck"))
	err = s.Exec(ctx, script)
	if q, ok := s.Query("q"); ok && err == nil {
		err = q.Await(ctx)
	}
	took, used := time.Since(begin), cpuTime()-cpu
	if err := errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	size := int64(0)
	err = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			var info os.FileInfo
			if info, err = e.Info(); err == nil {
				size += info.Size()
			}
		}
		return err
	})
	return &counted{Keys: o.keys, Rows: o.rows, Limit: o.limit, Seconds: took.Seconds(), PerSec: float64(o.rows) / took.Seconds(),
		CPU: used.Seconds(), PeakMB: peak(), StateMB: size >> 20}, err
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peak is the most resident memory that the process has had, in MB.
func peak() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return kb >> 10
		}
	}
	return 0
}
