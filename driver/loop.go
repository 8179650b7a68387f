package driver

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// now is the wall clock at the start plus the monotonic time since.
func (q *Query) now() batch.EventTime {
	return batch.TimeOf(q.begun.Add(q.opt.Clock.Now().Sub(q.begun)))
}

// loop owns the machine until the query ends.
func (q *Query) loop(ctx context.Context) error {
	defer func() {
		if q.disarm != nil {
			q.disarm()
		}
	}()
	q.resume()
	for {
		for rd, ok := q.m.Ready(); ok; rd, ok = q.m.Ready() {
			q.carryOut(ctx, rd)
			q.m.Advance(rd)
			if rd.Done {
				return rd.Err
			}
		}
		q.arm()
		select {
		case p := <-q.events:
			q.take(p)
		case <-q.wake:
			q.armed = batch.EndOfTime
			q.step(nil)
		}
	}
}

// take tells the machine an event and what else has queued up behind it, so that
// what they lead to goes into one Ready, and its records into one durable write.
func (q *Query) take(p posted) {
	for {
		if p.life == 0 || p.life == q.life {
			if p.note != nil {
				p.note()
			}
			ev := p.ev
			if d, ok := ev.(deferredEvent); ok {
				ev = *d.ProcessAll
			}
			if ev != nil {
				q.observe(ev)
				q.step(ev)
			}
		}
		select {
		case p = <-q.events:
		default:
			return
		}
	}
}

// deferredEvent is a ProcessAll whose token is drawn by its note.
type deferredEvent struct{ *microbatch.ProcessAll }

// step tells the machine the time and the event. Its error is in the Ready that
// follows, which says Done.
func (q *Query) step(ev microbatch.Event) {
	if err := q.m.Step(microbatch.Tick{At: q.now()}); err != nil || ev == nil {
		return
	}
	_ = q.m.Step(ev)
}

// arm sets the timer, unless it rings early enough anyhow: then that ring sets
// it again. So a batch costs no timer.
func (q *Query) arm() {
	rd, _ := q.m.Ready()
	if rd.WakeAt == batch.EndOfTime || rd.WakeAt >= q.armed {
		return
	}
	if q.disarm != nil {
		q.disarm()
	}
	q.armed = rd.WakeAt
	d := max(time.Duration(rd.WakeAt-q.now())*time.Microsecond, 0)
	q.disarm = q.opt.Clock.AfterFunc(d, func() {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	})
}

// carryOut starts everything that a Ready asks for.
func (q *Query) carryOut(ctx context.Context, rd microbatch.Ready) {
	q.append(ctx, rd)
	if r := rd.Restore; r != nil {
		q.work.Go(func() { q.restore(ctx, *r) })
	}
	for _, a := range rd.AskSinks {
		recovering, known := rd.Status.Phase == microbatch.Recovering, q.known(a.Sink)
		q.work.Go(func() { q.askSink(ctx, a.Sink, recovering, known) })
	}
	for _, a := range rd.Ask {
		q.asked[a.Source] = asking{a.Seq, q.opt.Clock.Now()}
		q.sources[a.Source].ask(a)
	}
	if c := rd.Checkpoint; c != nil {
		q.checkpoint(ctx, c.Batch)
	}
	if r := rd.Run; r != nil {
		q.noteReplay(*r)
		q.listen.send(BatchStarted{Batch: r.Plan.Batch, Attempt: r.Attempt, Mode: r.Mode})
		q.work.Go(func() { q.run.do(ctx, *r) })
	}
	if r := rd.Reveal; r != nil {
		q.work.Go(func() { q.reveal(ctx, *r) })
	}
	q.housekeeping(rd)
	for _, t := range rd.Processed {
		if done := q.tokens[t]; done != nil {
			close(done)
			delete(q.tokens, t)
		}
	}
	st := rd.Status
	if old := q.status.Load(); old == nil || *old != st {
		q.status.Store(&st)
		q.notePhase(st.Phase)
		q.rescale.status(st)
		q.listen.send(StatusChanged{Status: st})
	}
}

// append hands records to the log's goroutine and starts to follow their batches.
func (q *Query) append(ctx context.Context, rd microbatch.Ready) {
	if len(rd.Append) == 0 {
		return
	}
	now := q.opt.Clock.Now()
	for i, rec := range rd.Append {
		switch rec := rec.(type) {
		case microbatch.Planned:
			q.planned(rec, now, rd.AppendThrough)
		case microbatch.Committed:
			q.committing(rec, now, rd.AppendThrough)
			q.stage(ctx, rec)
		case microbatch.Checkpointed:
			q.noteCheckpoint(rec)
			q.waiting = append(q.waiting, durable{rd.AppendThrough, func() {
				q.checkpointed(rec)
				if len(q.d.follows) > 0 {
					q.work.Go(func() { q.tellCheckpoint(ctx, rec.Batch, rec.Manifests) })
				}
			}})
		case microbatch.Started:
			if q.opt.Members != nil {
				for _, w := range q.opt.Workers {
					rec.Workers = append(rec.Workers, string(w))
				}
				rd.Append[i] = rec
			}
		case microbatch.Adopted:
		}
	}
	select {
	case q.log.queue <- appendRequest{recs: rd.Append, through: rd.AppendThrough}:
	case <-ctx.Done():
	}
}

func (q *Query) planned(p microbatch.Planned, now time.Time, through uint64) {
	t := q.follow(p.Batch)
	t.planned, t.ranges, t.watermark, t.noData = now, p.Ranges, p.Watermark, p.NoData
	// How long ago that was by the query's own time: the wall clock may have been set since,
	// and the log may be ahead of it.
	t.triggered = now.Add(-max(time.Duration(q.now()-p.TriggeredAt)*time.Microsecond, 0))
	if !t.triggered.After(q.lastPlanned) {
		t.triggered = now // one of several batches of a trigger: each begins when it is planned
	}
	q.lastPlanned = now
	t.phases[phaseLatest] = q.askTime
	q.askTime = 0
	q.listen.send(BatchPlanned{Plan: p})
	q.waiting = append(q.waiting, durable{through, func() { t.phases[phaseWAL] = q.opt.Clock.Now().Sub(now) }})
}

// follow returns the trace of a batch, a new one if it is not followed yet.
func (q *Query) follow(id batch.ID) *trace {
	t := q.traces[id]
	if t == nil {
		t = &trace{phases: map[string]time.Duration{}, triggered: q.opt.Clock.Now(), watermark: batch.NoTime}
		q.traces[id] = t
	}
	return t
}

func (q *Query) committing(c microbatch.Committed, now time.Time, through uint64) {
	q.last = &c
	t := q.follow(c.Batch)
	t.prepared, t.counters = now, c.Counters
	t.outRows = 0
	own := q.opt.Plan.OwnSinks()
	for _, p := range c.Prepared {
		if !own[p.Sink] {
			t.outRows += p.Rows
		}
	}
	q.waiting = append(q.waiting, durable{through, func() {
		t.committed = q.opt.Clock.Now()
		t.phases[phaseCommit] = t.committed.Sub(now)
		t.phases[phaseTotal] = t.committed.Sub(t.triggered)
		q.listen.send(BatchCommitted{Batch: c.Batch, Counters: c.Counters})
	}})
}

// observe notes what an answer says about a batch, before the machine is told.
func (q *Query) observe(ev microbatch.Event) {
	switch ev := ev.(type) {
	case microbatch.LogAppended:
		n := 0
		for n < len(q.waiting) && q.waiting[n].through <= ev.Through {
			q.waiting[n].note()
			n++
		}
		q.waiting = slices.Delete(q.waiting, 0, n)
	case microbatch.SourceAvailable:
		q.answered(ev.Source, ev.Ask)
		if ev.Pin == "" {
			q.latest[ev.Source] = ev.To
		}
	case microbatch.SourceFailed:
		q.answered(ev.Source, ev.Ask)
		if ev.Retry { // else the end of the query tells it
			q.listen.send(Warning{Doing: "ask source " + ev.Source + " how far it can be read", Err: ev.Err})
		}
	case microbatch.BatchFailed:
		q.listen.send(BatchFailed(ev))
	case microbatch.Revealed:
		q.shown(ev.Batch)
	case microbatch.RevealFailed:
		q.listen.send(RevealFailed{Batch: ev.Batch, Try: q.Status().RevealTries + 1, Err: ev.Err, Retry: ev.Retry})
	case microbatch.RestoreFailed:
		q.listen.send(Warning{Doing: fmt.Sprintf("restore the checkpoint of batch %d", ev.Batch), Err: ev.Err})
	case microbatch.CheckpointDone:
		q.uploading = batch.None
	case microbatch.CheckpointFailed:
		q.uploading = batch.None
		q.listen.send(CheckpointFailed(ev))
		q.saves.fail(ev.Err)
	default:
	}
}

// asking is the newest ask of a source.
type asking struct {
	seq uint64
	at  time.Time
}

func (q *Query) answered(source string, seq uint64) {
	if a, ok := q.asked[source]; ok && a.seq == seq {
		q.askTime += q.opt.Clock.Now().Sub(a.at)
		delete(q.asked, source)
	}
}

// shown reports a finished batch.
func (q *Query) shown(id batch.ID) {
	t := q.traces[id]
	if t == nil {
		return
	}
	delete(q.traces, id)
	now := q.opt.Clock.Now()
	if !t.committed.IsZero() {
		t.phases[phaseReveal] = now.Sub(t.committed)
	}
	since := now.Sub(q.begun)
	if !q.lastTrigger.IsZero() {
		since = t.triggered.Sub(q.lastTrigger)
	}
	q.lastTrigger = t.triggered
	p := q.progress(id, t, now, since)
	q.adopted.Add(p.TasksAdopted)
	p.LatencyMs = q.latency.shown(t.arrived, q.now())
	q.tellSources(t.ranges)
	q.keep(p, t.stages)
	q.listen.send(BatchRevealed{Progress: p})
}

// resume asks a new life's machine for what was asked of the one before.
func (q *Query) resume() {
	for _, t := range slices.Sorted(maps.Keys(q.tokens)) {
		q.step(microbatch.ProcessAll{Token: t})
	}
	if len(q.saves.waiting) > 0 {
		q.step(microbatch.CheckpointRequested{})
	}
}

// noteCheckpoint remembers which checkpoint files are live.
func (q *Query) noteCheckpoint(c microbatch.Checkpointed) {
	// Those after Prev were found unusable.
	q.checkpoints = slices.DeleteFunc(q.checkpoints, func(o microbatch.Checkpointed) bool { return o.Batch > c.Prev })
	q.checkpoints = append(q.checkpoints, c)
}

func sortManifests(ms []microbatch.Manifest) {
	slices.SortFunc(ms, func(a, b microbatch.Manifest) int {
		return cmp.Or(cmp.Compare(a.Shard.Operator, b.Shard.Operator), cmp.Compare(a.Shard.Partition, b.Shard.Partition))
	})
}

func sortShards(list []batch.Shard) {
	slices.SortFunc(list, func(a, b batch.Shard) int {
		return cmp.Or(cmp.Compare(a.Operator, b.Operator), cmp.Compare(a.Partition, b.Partition))
	})
}
