package driver

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/inproc"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
)

// BenchmarkImmediateBatch times a batch of ten rows from the source's
// notification until its commit is durable and its output shown, with the batch
// log and state checkpoints on the disk and a worker that does next to nothing.
// SLUICE_BENCH_BATCHES sets the number of batches of a run (default 2,000); files,
// heap and time of the first and the last tenth are reported side by side.
func BenchmarkImmediateBatch(b *testing.B) {
	batches := 2000
	if n, err := strconv.Atoi(os.Getenv("SLUICE_BENCH_BATCHES")); err == nil {
		batches = n
	}
	for b.Loop() {
		immediate(b, batches)
	}
}

func immediate(b *testing.B, batches int) {
	dir := filepath.Join(b.TempDir(), "ck")
	log, err := filelog.Open(filelog.Options{Dir: dir, Metadata: filelog.Metadata{Name: "bench"}})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	net := inproc.New(inproc.Options{})
	w := startWorkerAt(b, net, "w", vfsx.Default, filepath.Join(dir, "state"))
	w.keep = false
	defer w.stop()
	node, err := net.Join("driver")
	if err != nil {
		b.Fatal(err)
	}
	defer node.Close()
	src, out := newNumbers(0), newShelf()
	src.splitRows, out.keep = 100, false
	committed := make(chan struct{}, 1)
	q, err := Start(b.Context(), Options{Name: "bench", Query: log.Metadata().Query, Plan: countPlan(), Log: log, Transport: node,
		Workers: []transport.NodeID{"w"}, Parallelism: 2, Sources: map[string]sources.Source{"n#0": pushing{src}}, Sinks: map[string]sinks.Sink{"out#0": out},
		Protocol: microbatch.Options{CheckpointInterval: time.Second},
		Listener: ListenerFunc(func(_ Origin, e Event) {
			if _, ok := e.(BatchCommitted); ok {
				committed <- struct{}{}
			}
		})})
	if err != nil {
		b.Fatal(err)
	}
	took := make([]time.Duration, batches)
	var early, late gauge
	for i := range took {
		start := time.Now()
		src.grow(int64(i+1) * 10)
		<-committed
		took[i] = time.Since(start)
		<-out.seen
		switch i {
		case batches / 10:
			early = measure(dir)
		case batches - 1:
			late = measure(dir)
		}
	}
	if err := q.Stop(b.Context(), false); err != nil {
		b.Fatal(err)
	}
	out.check(b, int64(batches)*10)
	b.Logf("first tenth p50 %v, last tenth p50 %v; %v -> %v", at(took[:batches/10], 50), at(took[batches-batches/10:], 50), early, late)
	b.ReportMetric(float64(at(took, 50).Microseconds()), "p50-µs")
	b.ReportMetric(float64(at(took, 99).Microseconds()), "p99-µs")
	b.ReportMetric(float64(at(took, 99.9).Microseconds()), "p99.9-µs")
	b.ReportMetric(float64(late.files), "files")
}

func at(d []time.Duration, percent float64) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[min(int(float64(len(s))*percent/100), len(s)-1)]
}

// gauge is what must not grow.
type gauge struct {
	files int
	disk  int64
	heap  uint64
}

func (g gauge) String() string {
	return fmt.Sprintf("%d files, %d KiB, heap %d KiB", g.files, g.disk>>10, g.heap>>10)
}

func measure(dir string) gauge {
	var g gauge
	_ = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			g.files++
			g.disk += info.Size()
		}
		return nil
	})
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	g.heap = m.HeapAlloc
	return g
}
