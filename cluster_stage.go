package sluice

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/handover"
	"github.com/sluice-stream/sluice/worker"
)

// staged reports whether a sink's rows go by way of the driver: those of one that keeps
// what its writers have prepared in memory, for the process that shows it.
func staged(c sinks.Connector) bool { return c.Volatile && c.Name != "blackhole" }

// keeps lets such rows wait with a worker.
func keeps(w *worker.Worker) handover.Keep {
	return func(at handover.Place) handover.Rows {
		return waiting{w.Keep(exchange.Ref{Key: at.Key, Batch: at.Batch, Stage: at.Stage, Task: at.Task})}
	}
}

// waiting are rows among the outputs of tasks.
type waiting struct{ *exchange.Writer }

func (w waiting) Append(rec arrow.RecordBatch) error { return w.Writer.Append(rec, nil) }

// takes lets the driver read them.
func takes(node transport.Transport) handover.Fetch {
	return func(ctx context.Context, at handover.Place) (handover.Reader, error) {
		ref := transport.StreamRef{Key: at.Key, Batch: at.Batch, Stage: at.Stage, Task: at.Task}
		return node.Fetch(ctx, transport.NodeID(at.Node), ref, memory.DefaultAllocator)
	}
}
