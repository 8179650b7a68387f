package driver

import (
	"context"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sinks"
)

// stage tells sinks that want to know of a batch whose commit is about to become durable.
func (q *Query) stage(ctx context.Context, c microbatch.Committed) {
	for _, spec := range q.opt.Plan.Sinks {
		s, ok := q.opt.Sinks[spec.Name].(sinks.Stager)
		if !ok {
			continue
		}
		var parts []batch.Prepared
		for _, p := range c.Prepared {
			if p.Sink == spec.Name {
				parts = append(parts, p)
			}
		}
		q.work.Go(func() { s.Stage(ctx, c.Batch, c.Term, parts) })
	}
}
