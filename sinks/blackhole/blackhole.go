package blackhole

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/stage"
)

// Connector returns the connector. It is volatile: another process does not know
// which batches were thrown away, and must not be taken for a sink that lost them.
func Connector() sinks.Connector {
	hub := stage.NewHub(0)
	return sinks.Connector{
		Name: "blackhole",
		Doc:  "Counts rows and throws them away.",

		Volatile: true,
		Modes:    []sinks.Mode{sinks.Append, sinks.Update, sinks.Complete, sinks.Changelog},
		New: func(_ context.Context, spec sinks.Spec) (sinks.Sink, sinks.WriterFactory, error) {
			if err := options.Check(fmt.Sprintf("table %q", spec.Table), spec.Options, nil); err != nil {
				return nil, nil, err
			}
			reveal := func(context.Context, batch.ID, []arrow.RecordBatch) error { return nil }
			return &sink{hub.Target(spec).Sink(reveal)}, writers{spec.Name}, nil
		},
	}
}

// sink keeps order and terms, and takes any handle: behind none of them are rows.
type sink struct{ sinks.Sink }

func (s *sink) Commit(ctx context.Context, id batch.ID, term batch.Term, _ []batch.Prepared) error {
	return s.Sink.Commit(ctx, id, term, nil)
}

type writers struct{ sink string }

func (w writers) NewWriter(_ context.Context, a sinks.Attempt, _ *arrow.Schema, _ memory.Allocator) (sinks.Writer, error) {
	return &writer{prepared: batch.Prepared{Sink: w.sink, Partition: a.Task.Partition}}, nil
}

type writer struct{ prepared batch.Prepared }

var _ sinks.Writer = (*writer)(nil)

func (w *writer) Write(_ context.Context, rec arrow.RecordBatch) error {
	w.prepared.Rows += rec.NumRows()
	return nil
}

func (w *writer) Prepare(context.Context) (batch.Prepared, error) { return w.prepared, nil }

func (w *writer) Discard() error { return nil }
