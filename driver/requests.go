package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/fault"
	"github.com/sluice-stream/sluice/microbatch"
)

// restore loads a state version on all workers.
func (q *Query) restore(ctx context.Context, r microbatch.Restore) {
	at := q.opt.Clock.Now()
	q.run.forget()
	id, kept, err := q.d.resume(ctx, r)
	if err != nil {
		if q.unreachable(err) {
			return
		}
		q.post(microbatch.RestoreFailed{Batch: r.Batch, Err: err})
		return
	}
	took, held := q.opt.Clock.Now().Sub(at), q.d.holding()
	q.tellCheckpoint(ctx, r.Batch, r.Manifests)
	q.postNoting(microbatch.Restored{Batch: id}, func() { q.noteRestored(r.Batch, id, kept, took, held) })
}

// askSink asks a sink what it shows.
func (q *Query) askSink(ctx context.Context, name string, recovering bool, log logged) {
	id, digest, err := q.opt.Sinks[name].Holds(ctx)
	if err != nil {
		_, retry := batch.KindOf(err)
		q.post(microbatch.SinkUnknown{Sink: name, Err: err, Retry: retry})
		return
	}
	if q.opt.Volatile[name] {
		id, digest = log.volatile(id, recovering)
	}
	q.post(microbatch.SinkHolds{Sink: name, Batch: id, Digest: digest})
}

// logged is what the log says of a sink.
type logged struct {
	batch      batch.ID // newest committed batch, None if none
	digest     batch.Digest
	checkpoint batch.ID // newest checkpoint
}

func (q *Query) known(sink string) logged {
	l := logged{batch: batch.None, checkpoint: batch.None}
	if q.last != nil {
		l.batch = q.last.Batch
		_, l.digest = microbatch.SinkSum(q.last.Prepared, sink)
	}
	if n := len(q.checkpoints); n > 0 {
		l.checkpoint = q.checkpoints[n-1].Batch
	}
	return l
}

// volatile answers for a sink that remembers nothing beyond its process: what it
// has shown in this one counts; otherwise the last committed batch counts as
// shown only if a checkpoint of it exists, since one is not recorded before.
func (l logged) volatile(holds batch.ID, recovering bool) (batch.ID, batch.Digest) {
	switch {
	case l.batch == batch.None:
		return batch.None, batch.Digest{}
	case holds >= l.batch || recovering && l.checkpoint >= l.batch:
		return l.batch, l.digest
	case recovering:
		return l.batch - 1, batch.Digest{}
	}
	return holds, batch.Digest{}
}

// fullDiskTries is how often a batch is shown on a full disk, some seconds in all.
// A sink that is down is waited for much longer, but nobody makes room on a disk
// that they do not know to be full: the query ends with an error, and the batch,
// which is committed, is shown by the next start.
const fullDiskTries = 7

// reveal shows a committed batch in its sinks, all at the same time.
func (q *Query) reveal(ctx context.Context, r microbatch.Reveal) {
	bySink := map[string][]batch.Prepared{}
	for _, p := range r.Prepared {
		bySink[p.Sink] = append(bySink[p.Sink], p)
	}
	errs := make([]error, len(r.Sinks))
	commit := func(i int) {
		name := r.Sinks[i]
		if err := q.opt.Sinks[name].Commit(ctx, r.Batch, r.Term, bySink[name]); err != nil {
			errs[i] = fmt.Errorf("show batch %d in sink %q: %w", r.Batch, name, err)
		}
	}
	if len(r.Sinks) == 1 {
		commit(0)
	} else {
		var wg sync.WaitGroup
		for i := range r.Sinks {
			wg.Go(func() {
				commit(i)
				fault.Hit(fault.C9)
			})
		}
		wg.Wait()
	}
	if err := errors.Join(errs...); err != nil {
		if ctx.Err() != nil {
			return
		}
		retry := true
		for _, e := range errs {
			if _, again := batch.KindOf(e); e != nil && (!again || errors.Is(e, batch.ErrFenced)) {
				retry = false
			}
			if r.Attempt >= fullDiskTries && (errors.Is(e, syscall.ENOSPC) || errors.Is(e, syscall.EDQUOT)) {
				retry = false
			}
		}
		q.post(microbatch.RevealFailed{Batch: r.Batch, Err: err, Retry: retry})
		return
	}
	fault.Hit(fault.C8)
	q.post(microbatch.Revealed{Batch: r.Batch})
}

// checkpoint sends the request now and waits for the upload beside later batches.
func (q *Query) checkpoint(ctx context.Context, id batch.ID) {
	at := q.opt.Clock.Now()
	q.uploading = id
	finish := q.d.beginCheckpoint(ctx, id)
	q.work.Go(func() {
		ms, err := finish()
		if err != nil {
			if ctx.Err() == nil {
				q.post(microbatch.CheckpointFailed{Batch: id, Err: err})
			}
			return
		}
		size := int64(0)
		for _, m := range ms {
			size += m.Bytes
		}
		q.noteUpload(id, q.opt.Clock.Now().Sub(at))
		q.listen.send(Checkpointed{Batch: id, Bytes: size, Took: q.opt.Clock.Now().Sub(at)})
		held := q.d.holding()
		q.postNoting(microbatch.CheckpointDone{Batch: id, Manifests: ms}, func() { q.noteFiles(held.Files) })
	})
}

// housekeeping hands on what needs no answer.
func (q *Query) housekeeping(rd microbatch.Ready) {
	if rd.Prune == batch.None && rd.Truncate == batch.None && len(rd.Release) == 0 {
		return
	}
	j := chores{prune: rd.Prune, committed: rd.Prune, truncate: rd.Truncate, release: rd.Release}
	if q.uploading != batch.None {
		j.prune = min(j.prune, q.uploading) // workers read that version
	}
	if rd.Truncate != batch.None {
		for _, c := range q.checkpoints {
			if c.Batch >= rd.Truncate {
				j.live = append(j.live, refsOf(c.Manifests)...)
			}
		}
		for _, c := range q.saves.pinned {
			j.live = append(j.live, refsOf(c.Manifests)...)
		}
		for len(q.checkpoints) > 0 && q.checkpoints[0].Batch < rd.Truncate {
			q.checkpoints = q.checkpoints[1:]
		}
	}
	q.keeper.add(j)
}

// chores is work that may be put together with later work of its kind.
type chores struct {
	prune, truncate batch.ID // None: nothing
	committed       batch.ID // with prune: the newest version that is
	live            [][]byte // checkpoint files that stay; with truncate
	needless        []string // checkpoint files that go
	release         []microbatch.Release
}

// needlessMax is how many files may wait to be deleted.
const needlessMax = 10_000

// janitor does chores one after the other on a goroutine of its own. What it
// cannot do it reports; the next chore of the kind covers it.
type janitor struct {
	q    *Query
	more chan struct{}

	mu struct {
		sync.Mutex
		todo  chores
		ready bool
	}
}

func newJanitor(q *Query) *janitor { return &janitor{q: q, more: make(chan struct{}, 1)} }

// add never waits and never grows: newer chores take the place of older ones.
func (j *janitor) add(c chores) {
	j.mu.Lock()
	t := &j.mu.todo
	if !j.mu.ready {
		*t = c
	} else {
		t.prune, t.committed = max(t.prune, c.prune), max(t.committed, c.committed)
		if c.truncate != batch.None {
			t.truncate, t.live = c.truncate, c.live
		}
		if len(c.release) > 0 {
			t.release = c.release
		}
		if len(t.needless) < needlessMax { // those above it are named again
			t.needless = append(t.needless, c.needless...)
		}
	}
	j.mu.ready = true
	j.mu.Unlock()
	select {
	case j.more <- struct{}{}:
	default:
	}
}

func (j *janitor) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.more:
		}
		j.mu.Lock()
		c := j.mu.todo
		j.mu.ready = false
		j.mu.Unlock()
		j.do(ctx, c)
	}
}

func (j *janitor) do(ctx context.Context, c chores) {
	warn := func(doing string, err error) {
		if err != nil && ctx.Err() == nil {
			j.q.listen.send(Warning{Doing: doing, Err: err})
		}
	}
	if c.truncate != batch.None {
		err := j.q.opt.Log.Truncate(ctx, c.truncate)
		warn("truncate the batch log", err)
		if err != nil {
			c.live = nil // a recovery may still need the older files
		} else {
			for _, l := range j.q.opt.Lookers {
				warn("trim what batches were answered", l.Trim(ctx, c.truncate))
			}
		}
	}
	if c.live != nil && j.q.opt.Roots != nil {
		// Looked up now, and not when the chore was thought of: what was made a root
		// since is one. Who makes a root has its checkpoint pinned meanwhile.
		roots, err := j.q.opt.Roots()
		warn("find out which state must stay", err)
		if c.live = append(c.live, roots...); err != nil {
			c.live = nil
		}
	}
	if c.prune != batch.None || len(c.live) > 0 {
		warn("let workers forget old state", j.q.d.prune(ctx, c.prune, c.committed, c.live))
	}
	if len(c.needless) > 0 && j.q.opt.Reclaim != nil {
		warn("delete old state checkpoints", j.q.opt.Reclaim(ctx, c.needless))
	}
	for _, r := range c.release {
		warn("release source "+r.Source, j.q.opt.Sources[r.Source].Release(ctx, r.To))
	}
}

// runner runs batches, one at a time.
type runner struct {
	q *Query

	// Touched by one request at a time: the machine waits for the answer of a
	// run or restore before it asks for the next.
	static map[int]kept
	last   batch.ID
	again  int // runs of batch last before
}

// forget drops the outputs of static stages: workers may have lost them.
func (r *runner) forget() { r.static = nil }

// do answers one Run.
func (r *runner) do(ctx context.Context, run microbatch.Run) {
	q := r.q
	began := q.opt.Clock.Now()
	p := run.Plan
	if p.Batch == r.last {
		r.again++
	} else {
		r.last, r.again = p.Batch, 0
	}
	fail := func(err error) {
		r.forget()
		if ctx.Err() != nil || q.unreachable(err) {
			return
		}
		_, retry := batch.KindOf(err)
		q.post(microbatch.BatchFailed{Batch: p.Batch, Attempt: run.Attempt, Err: err, Retry: retry})
	}
	w, err := r.prepare(ctx, p)
	if err != nil {
		fail(err)
		return
	}
	cut := q.opt.Clock.Now()
	spec := batch.TaskSpec{Task: batch.TaskID{Batch: p.Batch}, Term: run.Term, Plan: q.d.key, Base: p.Batch - 1,
		Watermark: p.Watermark, Close: p.Close, Now: p.Now}
	x, err := newExecution(q.d, spec, w, r.again*q.opt.TaskAttemptsMax, revealOf(run))
	if err != nil {
		fail(err)
		return
	}
	res, err := x.run(ctx)
	if err != nil {
		q.abort(ctx, x)
		fail(err)
		return
	}
	r.keep(x)
	ended := q.opt.Clock.Now()
	states, rows, stages, spread, seen, arrived := x.states(), x.rowsBySource(), x.stageTraces(), x.spread(), x.seen(), x.arrived()
	measured := q.measure(p, res.Prepared)
	q.postNoting(microbatch.BatchDone{Batch: p.Batch, Attempt: run.Attempt, Result: res}, func() {
		t := q.traces[p.Batch]
		if t == nil && run.Mode == microbatch.Live {
			t = q.follow(p.Batch) // planned in an earlier run of the query
			t.ranges, t.watermark, t.noData = p.Ranges, p.Watermark, p.NoData
		}
		if t != nil {
			t.times, t.states, t.rows, t.stages, t.spread, t.seen, t.measured = res.Times, states, rows, stages, spread, seen, measured
			t.phases[phasePlanning] += cut.Sub(began)
			t.phases[phaseRun] += ended.Sub(cut)
			t.arrived = arrived
		}
	})
}

// revealOf says which sinks prepare output in a run.
func revealOf(run microbatch.Run) func(string) bool {
	switch run.Mode {
	case microbatch.Live:
		return func(string) bool { return true }
	case microbatch.Reprepare:
		return func(sink string) bool {
			for _, s := range run.Sinks {
				if s == sink {
					return true
				}
			}
			return false
		}
	case microbatch.Replay:
	}
	return func(string) bool { return false }
}

// abort throws away what the tasks of a failed run have prepared.
func (q *Query) abort(ctx context.Context, x *execution) {
	for _, r := range x.adopted() {
		q.d.discard(context.WithoutCancel(ctx), r)
	}
}

// prepare cuts the ranges into splits and finds the static stages whose output
// is still good.
func (r *runner) prepare(ctx context.Context, p microbatch.Planned) (work, error) {
	d := r.q.d
	w := work{reuse: map[int]kept{}, inputs: versions(d.plan, p.Ranges)}
	for id, k := range r.static {
		if k.input.Version == w.inputs[id] {
			w.reuse[id] = k
		}
	}
	splits, err := splitsOf(ctx, d, p.Ranges, w.reuse)
	w.splits = splits
	return w, err
}

// keep remembers the outputs of static stages for later batches.
func (r *runner) keep(x *execution) {
	for i, s := range x.d.plan.Stages {
		if !s.Static {
			continue
		}
		if r.static == nil {
			r.static = map[int]kept{}
		}
		in, nodes := x.output(i)
		r.static[i] = kept{input: in, nodes: nodes}
	}
}
