package sourcetest

import (
	"errors"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

// Open opens both halves of a connector over one table.
func Open(t testing.TB, c sources.Connector, spec sources.Spec) (sources.Source, sources.Opener) {
	t.Helper()
	src, err := c.New(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	o, err := c.NewOpener(spec)
	if err != nil {
		t.Fatal(err)
	}
	return src, o
}

// Read reads a split to its end and calls visit with each record batch, which is
// released after it. Reading is all that it does, so that benchmarks can use it.
func Read(t testing.TB, o sources.Opener, s batch.Split, columns []int, visit func(rec arrow.RecordBatch)) {
	t.Helper()
	r, err := o.Open(t.Context(), s, columns, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	for {
		rec, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(errors.Join(err, r.Close()))
		}
		visit(rec)
		rec.Release()
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
