package damage

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	sluice "github.com/sluice-stream/sluice"
)

// TestSoak updates a thousand keys a batch with a checkpoint every few batches: neither
// memory, goroutines nor files may grow with the number of batches.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds and more")
	}
	const (
		between = 100 // batches between two looks
		looks   = 12
		keys    = 1000
		all     = 20 * keys
	)
	dir := t.TempDir()
	s, err := sluice.NewSession(sluice.Options{Settings: map[string]string{"parallelism": "3", "checkpoint.interval": "30ms"},
		CheckpointDir: dir, Logger: slog.New(slog.DiscardHandler), Stdout: io.Discard, Pipeline: true})
	if err != nil {
		t.Fatal(err)
	}
	schema := arrow.NewSchema([]arrow.Field{{Name: "k", Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.PrimitiveTypes.Float64}}, nil)
	stream, err := s.CreateStream("updates", schema, sluice.DropRead())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), `CREATE TABLE sunk (k BIGINT, n BIGINT, a DOUBLE) WITH ('connector'='blackhole');
		CREATE STREAMING QUERY soak OUTPUT MODE update AS INSERT INTO sunk SELECT k, count(*) AS n, avg(v) AS a FROM updates GROUP BY k`); err != nil {
		t.Fatal(err)
	}
	q, _ := s.Query("soak")
	var samples []sample
	for n := 1; n <= looks*between; n++ {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for i := range keys {
			b.Field(0).(*array.Int64Builder).Append(int64((n*keys + i*7) % all))
			b.Field(1).(*array.Float64Builder).Append(float64(i))
		}
		rec := b.NewRecordBatch()
		b.Release()
		err := stream.Add(rec)
		rec.Release()
		if err == nil {
			err = q.ProcessAllAvailable(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		if n%between == 0 {
			samples = append(samples, look(t, dir, q.Totals().Batches))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i, x := range samples {
		t.Logf("%2d: %+v", i, x)
	}
	// The first third fills caches and the state; from there on nothing grows by
	// more than noise, however many batches there are.
	early, late := samples[len(samples)/3], samples[len(samples)-1]
	for _, c := range []struct {
		what               string
		early, late, noise int64
	}{
		{"bytes on the heap", early.Heap, late.Heap, early.Heap/3 + 8<<20},
		{"goroutines", early.Goroutines, late.Goroutines, 20},
		{"files of the checkpoint", early.Files, late.Files, early.Files/2 + 30},
		{"bytes of the checkpoint", early.Bytes, late.Bytes, early.Bytes/2 + 4<<20},
	} {
		if c.late > c.early+c.noise {
			t.Errorf("%s grow from %d to %d", c.what, c.early, c.late)
		}
	}
}

// sample is what must not grow.
type sample struct{ Batches, Heap, Goroutines, Files, Bytes int64 }

func look(t *testing.T, dir string, batches int64) sample {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	out := sample{Batches: batches, Heap: int64(m.HeapAlloc), Goroutines: int64(runtime.NumGoroutine())}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files come and go while they are counted
		}
		if info, err := os.Stat(path); err == nil {
			out.Files, out.Bytes = out.Files+1, out.Bytes+info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(fmt.Errorf("look at the checkpoint: %w", err))
	}
	return out
}
