package sluice

import (
	"context"
	"fmt"
	"sync"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sources/state"
)

// finishing is a start that ends once a batch is committed.
type finishing struct {
	batch batch.ID
	once  sync.Once
	done  chan struct{}
}

func (f *finishing) committed(id batch.ID) {
	if f != nil && id >= f.batch {
		f.once.Do(func() { close(f.done) })
	}
}

// finishFormer lets a query that has changed finish as it was what a crash has left:
// a batch that was planned is run by the plan that planned it, and what was committed
// gets its checkpoint. Where the query before is not known any more, nothing is done,
// and the start is refused with the reason.
func (s *Session) finishFormer(ctx context.Context, d *queryDef, dir, hash string) error {
	fs := vfsx.Default
	if !s.logs.Exists(dir) || s.set.get(setEvolution) == "none" {
		return nil
	}
	_, recs, err := s.logs.Records(dir)
	if err != nil {
		return nil // the start itself tells what is wrong
	}
	h := state.ReadHistory(recs)
	if h.Hash == "" || h.Hash == hash || h.Planned == batch.None {
		return nil
	}
	if _, err := s.evolvable(dir, h); err == nil {
		return nil
	}
	info, err := state.ReadPlan(fs, dir)
	if err != nil || info == nil || info.Hash != h.Hash {
		return nil
	}
	was, _ := s.formerDef(info, d.name, dir, h.Hash)
	if was == nil {
		return nil
	}
	s.opts.Logger.Warn("the query has changed: what was planned before is finished by the plan before", "query", d.name, "batch", int64(h.Planned))
	was.from, was.boot, was.parallelism = nil, nil, d.parallelism
	was.trigger = microbatch.Trigger{Kind: microbatch.AvailableNow}
	was.finishing = &finishing{batch: h.Planned, done: make(chan struct{})}
	was.finishing.committed(h.Committed)
	q, err := s.start(ctx, was)
	if err != nil {
		return fmt.Errorf("finish batch %d by the plan before: %w", h.Planned, err)
	}
	select {
	case <-was.finishing.done:
		// The checkpoint is written by the end of the query, too, but not if it is told
		// to end before it has recovered.
		if err := q.drv.Checkpoint(ctx, func(driver.Root) error { return nil }); err == nil {
			q.Stop()
		}
	case <-q.drv.Done():
	case <-ctx.Done():
	}
	if err := q.Await(ctx); err != nil {
		q.Abandon()
		return fmt.Errorf("finish batch %d by the plan before: %w", h.Planned, err)
	}
	return nil
}
