package sluice

import (
	"context"
	"errors"
	"maps"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
)

// Nobody watches over a query of a pipeline as a user does over the one in his terminal.
// One that a passing fault has ended, a full disk (E4) or a system that does not answer for
// long, is paused, and its driver starts it again until it goes on. The others go on
// meanwhile.
const (
	tendEvery   = 250 * time.Millisecond
	pauseFirst  = time.Second
	pauseMax    = 30 * time.Second
	pauseForget = time.Minute // a query that has run for so long begins with pauseFirst again
)

// paused is a query that was ended by a passing fault, or was so not long ago.
type paused struct {
	wait time.Duration // before it is started
	next time.Time
}

// pauses are the paused by what they are called.
type pauses map[string]*paused

// tend starts paused queries again until the driver ends.
func (d *Driver) tend() {
	c, all := clock.System(), pauses{}
	for clock.Wait(d.ctx, c, tendEvery) == nil {
		ctx, err := d.leading(d.ctx)
		if err != nil {
			clear(all) // who leads tends them
			continue
		}
		d.submits.Lock() // no pipeline comes or goes
		d.tendPipelines(ctx, d.list(), all, c.Now())
		d.submits.Unlock()
	}
}

func (d *Driver) tendPipelines(ctx context.Context, list []*pipeline, all pauses, now time.Time) {
	for _, p := range list {
		d.tendPipeline(ctx, p, all, now)
	}
	all.forget(now)
}

func (d *Driver) tendPipeline(ctx context.Context, p *pipeline, all pauses, now time.Time) {
	if p.s == nil {
		if all.due("pipeline "+p.Name, passes(p.err), now) && ctx.Err() == nil {
			d.begin(ctx, &pipeline{stored: p.stored})
		}
		return
	}
	for _, q := range p.s.Queries() {
		err := q.ended()
		q.paused.Store(passes(err))
		if !all.due("query "+q.Name(), passes(err), now) || ctx.Err() != nil {
			continue
		}
		d.opts.Logger.Warn("a paused query is started again", "query", q.Name(), "reason", err)
		_ = q.Await(ctx) // it has ended: what it holds is closed
		if _, err := p.s.start(ctx, q.def); err != nil {
			d.opts.Logger.Warn("a paused query could not be started", "query", q.Name(), "err", err)
		}
	}
}

// due reports whether what is called so is to be started now, if it stands still.
func (all pauses) due(name string, still bool, now time.Time) bool {
	if !still {
		return false
	}
	w := all[name]
	if w == nil {
		all[name] = &paused{wait: pauseFirst, next: now.Add(pauseFirst)}
		return false
	}
	if !now.After(w.next) {
		return false
	}
	w.wait = min(2*w.wait, pauseMax)
	w.next = now.Add(w.wait)
	return true
}

// forget drops what has run for long, or is there no more; what stands still is never so
// late.
func (all pauses) forget(now time.Time) {
	maps.DeleteFunc(all, func(_ string, w *paused) bool { return now.Sub(w.next) > pauseForget })
}

// ended returns the error that has ended the query, nil while it runs.
func (q *Query) ended() error {
	select {
	case <-q.drv.Done():
		return q.drv.Await(context.Background())
	default:
		return nil
	}
}

// passes reports whether an error that has ended a query says something of the world
// outside that may be otherwise later. A query that another one has fenced has ended for good.
func passes(err error) bool {
	if err == nil || errors.Is(err, batch.ErrFenced) {
		return false
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	kind, again := batch.KindOf(err)
	return kind == batch.External && again
}
