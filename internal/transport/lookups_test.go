package transport_test

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/transporttest"
)

// Keys that are cut off anywhere are refused, or are fewer; nothing is left behind.
func TestKeysThatAreCut(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	rec := transporttest.Wide(alloc, 100)
	defer rec.Release()
	packed, err := transport.PackKeys([]arrow.RecordBatch{rec}, alloc)
	if err != nil {
		t.Fatal(err)
	}
	for n := range packed {
		recs, err := transport.UnpackKeys(packed[:n], alloc)
		if err == nil && len(recs) > 0 {
			t.Fatalf("%d of %d bytes have %d batches", n, len(packed), len(recs))
		}
	}
	recs, err := transport.UnpackKeys(packed, alloc)
	if err != nil {
		t.Fatal(err)
	}
	transporttest.Equal(t, recs, []arrow.RecordBatch{rec})
	transporttest.Release(recs)
}

func FuzzKeys(f *testing.F) {
	recs := transporttest.Small(memory.DefaultAllocator)
	defer transporttest.Release(recs)
	for _, rec := range recs {
		b, err := transport.PackKeys([]arrow.RecordBatch{rec}, memory.DefaultAllocator)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		defer alloc.AssertSize(t, 0)
		recs, err := transport.UnpackKeys(b, alloc)
		if err == nil {
			transporttest.Release(recs)
		}
	})
}
