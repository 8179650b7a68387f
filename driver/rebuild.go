package driver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sources"
)

// Rebuild makes state from input that is read again, without a log. What is rebuilt
// is what the plan would have after it had processed the input up to a batch of
// another plan.
type Rebuild struct {
	// From is the state to go on from; Batch None is the empty state.
	From microbatch.Restore
	// Ranges say of each source of the plan, in its order, what to read: of a stream from
	// Start to End, of a table that is read whole the version Pin.
	Ranges []batch.Range
	// Ahead names streams that are read as far as there is anything, End being empty,
	// and tables whose version is that of now.
	Ahead map[string]bool
	// Late is the watermark while the input is read: rows behind it were late.
	Late batch.EventTime
	// As is the batch whose watermark and time count after it: what it closes is closed.
	As microbatch.Planned
	// Limit bounds one step.
	Limit sources.Limit
}

// Rebuilt is state that Rebuild has made.
type Rebuilt struct {
	Batch     batch.ID              // the version; it counts the steps
	Manifests []microbatch.Manifest // of it
	Ranges    []batch.Range         // where the sources stand
	Times     []batch.SourceTime    // the highest of all steps
	Last      microbatch.Result     // of the last step
}

// aheadMax bounds in how many steps the end of a source is looked for: one that makes
// rows faster than it is asked has none.
const aheadMax = 1000

// RebuildState runs the steps, on workers and sinks of its own: Sinks get what comes
// out, step by step. Of the options, Log and Protocol are not used.
func RebuildState(ctx context.Context, opt Options, r Rebuild) (out Rebuilt, err error) {
	opt = opt.withDefaults()
	if err := opt.Validate(); err != nil {
		return out, err
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return out, fmt.Errorf("draw a run ID: %w", err)
	}
	run := hex.EncodeToString(id[:])
	listen := &announcer{origin: Origin{Query: opt.Query, Name: opt.Name, Run: run}, run: run, now: opt.Clock.Now, to: opt.Listener}
	d := newDeployment(opt, listen)
	if err := d.deploy(ctx); err != nil {
		return out, errors.Join(err, d.undeploy())
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
		return out, err
	}
	return d.rebuild(ctx, r)
}

func (d *deployment) rebuild(ctx context.Context, r Rebuild) (Rebuilt, error) {
	out := Rebuilt{Batch: r.From.Batch, Ranges: slices.Clone(r.Ranges)}
	steps := make([][]batch.Offset, len(r.Ranges))
	longest := 0
	for i := range out.Ranges {
		g := &out.Ranges[i]
		src := d.opt.Sources[g.Source]
		var err error
		switch {
		case isStatic(d, g.Source):
			if r.Ahead[g.Source] {
				g.Pin, err = pinOf(ctx, src)
			}
		case r.Ahead[g.Source]:
			steps[i], err = ahead(ctx, src, g.Start, r.Limit)
		case g.Start != g.End:
			back, ok := src.(sources.Rewinder)
			if !ok {
				return out, batch.UserErrorf("source %s cannot be read again from its beginning", g.Source)
			}
			steps[i], err = back.Rewind(ctx, g.Start, g.End, r.Limit)
		}
		if err != nil {
			return out, fmt.Errorf("read source %s again: %w", g.Source, err)
		}
		g.End = g.Start
		longest = max(longest, len(steps[i]))
	}
	p := r.As
	p.Watermark, p.Close = r.Late, r.Late
	for n := range longest + 1 {
		for i := range out.Ranges {
			g := &out.Ranges[i]
			if g.Start = g.End; n < len(steps[i]) {
				g.End = steps[i][n]
			}
		}
		if n == longest { // a step without data closes what is closed
			p.Watermark, p.Close = r.As.Watermark, r.As.Close
		}
		out.Batch++
		p.Batch, p.Ranges, p.NoData = out.Batch, slices.Clone(out.Ranges), n == longest
		err := d.rerun(ctx, p, Rerun{Show: func(batch.ID) bool { return true }, Each: func(_ microbatch.Planned, res microbatch.Result) error {
			out.Last = res
			out.Times = append(out.Times, res.Times...)
			return nil
		}})
		if err != nil {
			return out, fmt.Errorf("step %d of %d: %w", n+1, longest+1, err)
		}
	}
	var err error
	out.Manifests, err = d.beginCheckpoint(ctx, out.Batch)()
	return out, err
}

// ahead walks to the end of what is there.
func ahead(ctx context.Context, src sources.Source, from batch.Offset, limit sources.Limit) ([]batch.Offset, error) {
	var out []batch.Offset
	for at := from; len(out) < aheadMax; {
		to, err := src.Latest(ctx, at, limit)
		if err != nil || to == at {
			return out, err
		}
		out, at = append(out, to), to
	}
	return out, nil
}
