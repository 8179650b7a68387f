package sim

import (
	"errors"
	"strconv"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/sim/model"
	"github.com/sluice-stream/sluice/microbatch"
)

// run is one attempt at a batch.
type run struct {
	ask     microbatch.Run
	collect *microbatch.Collector
	state   model.State
	parts   []model.Part
	given   bool // given up: what its tasks still do is a zombie's work
}

// startRun checks that the batch may run and starts its tasks.
func (n *node) startRun(ask microbatch.Run) {
	w := n.w
	r := &run{ask: ask}
	if n.run != nil {
		w.fail(model.Violationf("batch %d runs while batch %d runs", ask.Plan.Batch, n.run.ask.Plan.Batch))
		return
	}
	if ask.Mode == microbatch.Live {
		w.check.mayRun(n, ask.Plan)
	}
	n.run = r
	w.tracef("driver %d runs batch %d attempt %d %s", n.owner, ask.Plan.Batch, ask.Attempt, ask.Mode)
	n.later("split", func() (microbatch.Event, bool) {
		base, ok := n.states[ask.Plan.Batch-1]
		if !ok {
			w.fail(model.Violationf("batch %d runs without state version %d", ask.Plan.Batch, ask.Plan.Batch-1))
			return nil, false
		}
		var err error
		if r.state, r.parts, err = w.query.Compute(ask.Plan, base, n.parts); err != nil {
			if n.zombie { // its successor may have released what it still wants to read
				r.given, n.run = true, nil
				return microbatch.BatchFailed{Batch: ask.Plan.Batch, Attempt: ask.Attempt, Err: errors.New("source is gone")}, false
			}
			w.fail(err)
			return nil, false
		}
		if w.mutant == Nondeterministic && n.parts == 3 && len(r.parts[0].Out) > 0 {
			r.parts[0].Out[0].Count++
		}
		return nil, n.startTasks(r)
	})
}

func (n *node) startTasks(r *run) bool {
	w := n.w
	ids := make([]batch.TaskID, len(r.parts))
	for p := range r.parts {
		ids[p] = batch.TaskID{Query: queryID, Batch: r.ask.Plan.Batch, Partition: p, Attempt: r.ask.Attempt}
	}
	c, err := microbatch.NewCollector(r.ask.Plan.Batch, n.term, ids)
	if err != nil {
		w.fail(err)
		return false
	}
	r.collect = c
	for p := range r.parts {
		n.startTask(r, ids[p], "")
		if w.chance(w.o.Faults.Duplicate) {
			n.startTask(r, ids[p], "+")
		}
	}
	return false
}

// startTask prepares one task's output, then reports it. Both may come late.
func (n *node) startTask(r *run, id batch.TaskID, mark string) {
	w := n.w
	var res *batch.TaskResult
	n.later("task", func() (microbatch.Event, bool) {
		if res == nil {
			if w.chance(w.o.Faults.Task) && !r.given && r.collect.Left() > 0 {
				r.given = true
				n.run = nil
				w.tracef("driver %d: task %s fails", n.owner, id)
				return microbatch.BatchFailed{Batch: id.Batch, Attempt: r.ask.Attempt, Err: errors.New("task failed"), Retry: true}, false
			}
			res = n.prepare(r, id, mark)
			return nil, true
		}
		if r.given {
			w.hits.At(18)
		}
		before := r.collect.Left()
		if !r.collect.Add(*res) {
			w.hits.At(19)
			if w.mutant != DoubleAdopt || before == 0 {
				return nil, false
			}
			r.parts[id.Partition].Result.Prepared = append(r.parts[id.Partition].Result.Prepared, res.Prepared...)
		}
		return n.finishTasks(r)
	})
}

func (n *node) prepare(r *run, id batch.TaskID, mark string) *batch.TaskResult {
	part := r.parts[id.Partition]
	res := part.Result
	res.Task, res.Term = id, n.term
	if mark != "" {
		res.Task.Attempt += 100
	}
	res.Prepared = nil
	for _, s := range n.w.sinks {
		again := r.ask.Mode == microbatch.Live
		for _, name := range r.ask.Sinks {
			again = again || name == s.Name
		}
		if !again {
			res.Prepared = append(res.Prepared, batch.Prepared{Sink: s.Name, Partition: id.Partition, Rows: int64(len(part.Out)), Digest: model.Sum(part.Out)})
			continue
		}
		n.w.serial++
		handle := "h" + strconv.Itoa(n.w.serial) + mark
		res.Prepared = append(res.Prepared, s.Prepare(n.owner, handle, id.Partition, part.Out))
	}
	return &res
}

// finishTasks reports the batch when every task has; a batch that was given up
// reports too, as a zombie worker would, and must be ignored.
func (n *node) finishTasks(r *run) (microbatch.Event, bool) {
	w := n.w
	result, ok := r.collect.Result()
	if !ok {
		return nil, false
	}
	id := r.ask.Plan.Batch
	if w.mutant == DoubleAdopt {
		for p := range r.parts {
			result.Prepared = append(result.Prepared, r.parts[p].Result.Prepared...)
		}
	}
	if c := w.check.commits; w.mutant == SkipReplay && r.ask.Mode == microbatch.Replay && int(id) < len(c) {
		result = microbatch.Result{Prepared: c[id].Prepared, Shards: c[id].Shards, NextDue: c[id].NextDue}
		r.state = n.states[id-1]
	}
	if !r.given {
		n.run = nil
		n.states[id] = r.state
		if w.mutant == EarlyReveal && r.ask.Mode == microbatch.Live {
			for _, s := range w.sinks {
				if s.Holds == id-1 {
					did, err := s.Commit(id, n.term, result.Prepared)
					w.check.shown(s, id, did, err)
				}
			}
		}
	}
	return microbatch.BatchDone{Batch: id, Attempt: r.ask.Attempt, Result: result}, false
}

// reveal shows a batch sink by sink, in any order, with failures before and
// after the effect.
func (n *node) reveal(rv microbatch.Reveal) {
	w := n.w
	n.showing, n.shown = &rv, 0
	order := w.rng.Perm(len(rv.Sinks))
	n.later("reveal", func() (microbatch.Event, bool) {
		if w.mutant == SkipReveal && rv.Attempt == 1 && w.rng.IntN(4) == 0 {
			n.showing = nil
			return microbatch.Revealed{Batch: rv.Batch}, false
		}
		if n.shown == len(order) {
			n.showing = nil
			return microbatch.Revealed{Batch: rv.Batch}, false
		}
		s := w.sink(rv.Sinks[order[n.shown]])
		if w.chance(w.o.Faults.Reveal) {
			n.showing = nil
			return microbatch.RevealFailed{Batch: rv.Batch, Err: errors.New("sink is down"), Retry: true}, false
		}
		did, err := s.Commit(rv.Batch, n.term, rv.Prepared)
		w.tracef("driver %d: sink %s shows batch %d: changed %t, %v", n.owner, s.Name, rv.Batch, did, err)
		switch {
		case errors.Is(err, model.ErrOutputLost):
			n.showing = nil
			return microbatch.RevealFailed{Batch: rv.Batch, Err: err}, false
		case errors.Is(err, batch.ErrFenced):
			n.showing = nil
			return microbatch.TermLost{}, false
		}
		w.check.shown(s, rv.Batch, did, err)
		if w.chance(w.o.Faults.LostReply) {
			w.hits.At(7)
			n.showing = nil
			return microbatch.RevealFailed{Batch: rv.Batch, Err: errors.New("no answer"), Retry: true}, false
		}
		n.shown++
		return nil, true
	})
}
