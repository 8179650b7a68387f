package driver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// Rerun is a run of batches that were committed before, from their own plans.
type Rerun struct {
	// From is the state before the first of Plans; Batch None is the empty state.
	From microbatch.Restore
	// Plans are the batches, without a gap from From on.
	Plans []microbatch.Planned
	// Show tells of which batches output is written to the sinks. The others, which
	// only rebuild state, are computed and digested.
	Show func(batch.ID) bool
	// Each is told of every batch that was shown, before it is committed to the sinks.
	Each func(microbatch.Planned, microbatch.Result) error
}

// RerunBatches runs recorded batches again, on workers and sinks of their own. Of the
// options, Log and Protocol are not used. Nothing is written to the query's own
// checkpoint: StateDir is a folder with the files that From names.
func RerunBatches(ctx context.Context, opt Options, r Rerun) (err error) {
	opt = opt.withDefaults()
	if err := opt.Validate(); err != nil {
		return err
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("draw a run ID: %w", err)
	}
	run := hex.EncodeToString(id[:])
	listen := &announcer{origin: Origin{Query: opt.Query, Name: opt.Name, Run: run}, run: run, now: opt.Clock.Now, to: opt.Listener}
	d := newDeployment(opt, listen)
	if err := d.deploy(ctx); err != nil {
		return errors.Join(err, d.undeploy())
	}
	recvCtx, stop := context.WithCancel(context.WithoutCancel(ctx)) // cancelled tasks still answer
	var recv sync.WaitGroup
	recv.Go(func() { d.receive(recvCtx) })
	defer func() {
		stop()
		recv.Wait()
		err = errors.Join(err, d.undeploy())
	}()
	if err := d.restore(ctx, r.From); err != nil {
		return err
	}
	for _, p := range r.Plans {
		if err := d.rerun(ctx, p, r); err != nil {
			return fmt.Errorf("run batch %d again: %w", p.Batch, err)
		}
	}
	return nil
}

// rerun runs one batch.
func (d *deployment) rerun(ctx context.Context, p microbatch.Planned, r Rerun) error {
	splits, err := splitsOf(ctx, d, p.Ranges, nil)
	if err != nil {
		return err
	}
	show := r.Show(p.Batch)
	spec := batch.TaskSpec{Task: batch.TaskID{Batch: p.Batch}, Term: p.Term, Plan: d.key, Base: p.Batch - 1,
		Watermark: p.Watermark, Close: p.Close, Now: p.Now}
	x, err := newExecution(d, spec, work{splits: splits, inputs: versions(d.plan, p.Ranges)}, 0, func(string) bool { return show })
	if err != nil {
		return err
	}
	res, err := x.run(ctx)
	if err == nil && show {
		if err = r.Each(p, res); err == nil {
			err = d.commitTo(ctx, p, res)
		}
	}
	if err != nil {
		for _, done := range x.adopted() {
			d.discard(context.WithoutCancel(ctx), done)
		}
		return err
	}
	return d.prune(ctx, p.Batch, p.Batch, nil)
}

// commitTo shows a batch in every sink.
func (d *deployment) commitTo(ctx context.Context, p microbatch.Planned, res microbatch.Result) error {
	for _, s := range d.plan.Sinks {
		var parts []batch.Prepared
		for _, part := range res.Prepared {
			if part.Sink == s.Name {
				parts = append(parts, part)
			}
		}
		if err := d.opt.Sinks[s.Name].Commit(ctx, p.Batch, p.Term, parts); err != nil {
			return fmt.Errorf("show it in sink %q: %w", s.Name, err)
		}
	}
	return nil
}
