package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/metrics"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// measured is what a phase took. Each fills in what it has.
type measured struct {
	Phase   string  `json:"phase"`
	Limit   string  `json:"memory_limit,omitempty"`
	Keys    int64   `json:"keys,omitempty"`
	Rows    int64   `json:"rows,omitempty"`
	GB      float64 `json:"state_gb,omitempty"` // of keys and values
	Files   int64   `json:"files_mb,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Load    float64 `json:"load_seconds,omitempty"`
	PerSec  float64 `json:"rows_per_second,omitempty"`

	Batch    *quantiles `json:"batch_ms,omitempty"`
	Runs     int64      `json:"sorted_runs,omitempty"`                // of all shards, at the end
	Uploads  float64    `json:"checkpoint_after_1_percent,omitempty"` // of the bytes of the state's files
	Recovery float64    `json:"recovery_seconds,omitempty"`

	CPU    float64   `json:"cpu_seconds"`
	PeakMB int64     `json:"peak_rss_mb"`
	Pauses quantiles `json:"gc_pause_ms"`
	Cycles uint64    `json:"gc_cycles"`
}

type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func quantilesOf(all []time.Duration) *quantiles {
	slices.Sort(all)
	ms := func(percent float64) float64 {
		return float64(all[int(float64(len(all)-1)*percent/100)].Microseconds()) / 1000
	}
	return &quantiles{ms(50), ms(99), ms(100)}
}

// finish fills in what the whole process took.
func (m *measured) finish() {
	m.CPU, m.PeakMB = cpuTime().Seconds(), peak()
	s := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}, {Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(s)
	m.Cycles = s[1].Value.Uint64()
	h := s[0].Value.Float64Histogram()
	total := uint64(0)
	for _, n := range h.Counts {
		total += n
	}
	at := func(percent float64) float64 {
		left := uint64(math.Ceil(float64(total) * percent / 100))
		for i, n := range h.Counts {
			if n >= left {
				if end := h.Buckets[i+1]; !math.IsInf(end, 1) {
					return end * 1000
				}
				return h.Buckets[i] * 1000
			}
			left -= n
		}
		return 0
	}
	if total > 0 {
		m.Pauses = quantiles{at(50), at(99), at(100)}
	}
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

// watchHeap writes a profile of the heap to a file whenever the process takes more
// memory than ever before, and what Go's runtime knows of it beside it, until it is
// told to end.
func watchHeap(name string) (end func() error) {
	if name == "" {
		return func() error { return nil }
	}
	over, ended := make(chan struct{}), make(chan error)
	go func() {
		most := int64(0)
		for {
			select {
			case <-over:
				ended <- nil
				return
			case <-time.After(2 * time.Millisecond): // most of it may be gone in ten
			}
			if now := peak(); now > most+most/50 {
				most = now
				if err := writeHeap(name); err != nil {
					ended <- err
					return
				}
			}
		}
	}()
	return func() error { close(over); return <-ended }
}

func writeHeap(name string) error {
	var text strings.Builder
	var s []metrics.Sample
	for _, d := range metrics.All() {
		if strings.HasPrefix(d.Name, "/memory/classes/") || strings.HasPrefix(d.Name, "/gc/heap/live") || strings.HasPrefix(d.Name, "/gc/heap/goal") {
			s = append(s, metrics.Sample{Name: d.Name})
		}
	}
	metrics.Read(s)
	fmt.Fprintf(&text, "%6d MB at most\n", peak())
	if status, err := os.ReadFile("/proc/self/smaps_rollup"); err == nil {
		text.Write(status)
	}
	for _, m := range s {
		fmt.Fprintf(&text, "%6d MB %s\n", m.Value.Uint64()>>20, m.Name)
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("heap").WriteTo(f, 0), f.Close(), os.WriteFile(name+".txt", []byte(text.String()), 0o644))
}

// size is how many bytes the files below a folder have.
func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			if info, err := e.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil // a file that has gone meanwhile has no size
	})
	return n
}
