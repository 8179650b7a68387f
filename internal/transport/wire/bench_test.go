package wire

import (
	"context"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/transporttest"
	"github.com/sluice-stream/sluice/sources"
)

// pair is a driver's endpoint and a worker over the loopback interface.
func pair(b *testing.B) (*Endpoint, *Node) {
	b.Helper()
	h, err := Listen(b.Context(), Options{ID: "d", Listen: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	n, err := Join(b.Context(), Options{ID: "w", Listen: "127.0.0.1:0", Join: []string{h.Addr()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := n.Close(); err != nil {
			b.Error(err)
		}
		if err := h.Close(); err != nil {
			b.Error(err)
		}
	})
	await(h, 1)
	attached(n)
	e, err := h.Join("q")
	if err != nil {
		b.Fatal(err)
	}
	return e, n
}

// BenchmarkRoundTrip is a task that takes no time: Run there, Finished back.
func BenchmarkRoundTrip(b *testing.B) {
	e, n := pair(b)
	go func() {
		for env := range n.Inbox() {
			if r, ok := env.Message.(transport.Run); ok && n.Send(context.Background(), env.From, transport.Finished{Result: batch.TaskResult{Task: r.Spec.Task}}) != nil {
				return
			}
		}
	}()
	run := transport.Run{Spec: batch.TaskSpec{Plan: "k", Splits: []batch.Split{{Source: "s", Payload: make([]byte, 200)}}}}
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Send(b.Context(), "w", run); err != nil {
			b.Fatal(err)
		}
		<-e.Inbox()
	}
}

// BenchmarkFetchSmall is an exchange of ten rows.
func BenchmarkFetchSmall(b *testing.B) {
	e, n := pair(b)
	rec := transporttest.Wide(memory.DefaultAllocator, 10)
	defer rec.Release()
	n.Serve(func(context.Context, transport.StreamRef) (sources.Reader, error) {
		return transporttest.NewReader(nil, rec), nil
	})
	b.ReportAllocs()
	for b.Loop() {
		r, err := e.Fetch(b.Context(), "w", transport.StreamRef{}, nil)
		if err != nil {
			b.Fatal(err)
		}
		for {
			got, err := r.Next(b.Context())
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			got.Release()
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
