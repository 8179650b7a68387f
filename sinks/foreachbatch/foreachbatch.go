package foreachbatch

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/stage"
)

// Batch is what the function gets.
type Batch struct {
	Query batch.QueryID
	ID    batch.ID
	// Records are the rows, in task order, borrowed: to keep one, retain it. They
	// end with the column sinks.OpColumn if the output is not append-only.
	Records []arrow.RecordBatch
	Rows    int64
}

// Func is called once for each batch until it returns nil.
type Func func(ctx context.Context, b Batch) error

// Modes are the output modes that the function can be called with.
var Modes = []sinks.Mode{sinks.Append, sinks.Update, sinks.Complete, sinks.Changelog}

// New returns both halves of a sink that calls f. Sinks of one hub share its limit.
// The sink is volatile (see sinks.Connector).
func New(hub *stage.Hub, spec sinks.Spec, f Func) (sinks.Sink, sinks.WriterFactory) {
	t := hub.Target(spec)
	return t.Sink(func(ctx context.Context, id batch.ID, recs []arrow.RecordBatch) (err error) {
		b := Batch{Query: spec.Query, ID: id, Records: recs}
		for _, r := range recs {
			b.Rows += r.NumRows()
		}
		// A panic of the program's own function is the query's failure, not the process's.
		defer func() {
			if r := recover(); r != nil {
				err = batch.UserErrorf("the function for batch %d panicked: %v", id, r)
			}
		}()
		return f(ctx, b)
	}), t.Writers()
}

// Connector wraps f as a connector named name, for programs that register it and
// then write to it from SQL.
func Connector(name string, f Func) sinks.Connector {
	hub := stage.NewHub(0)
	return sinks.Connector{
		Name:     name,
		Doc:      "Hands each committed batch to a function of the program.",
		Modes:    Modes,
		Volatile: true,
		New: func(_ context.Context, spec sinks.Spec) (sinks.Sink, sinks.WriterFactory, error) {
			if err := options.Check(fmt.Sprintf("table %q", spec.Table), spec.Options, nil); err != nil {
				return nil, nil, err
			}
			s, w := New(hub, spec, f)
			return s, w, nil
		},
	}
}
