package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// ErrNoBatch is returned to who wants a checkpoint of a query that has committed
// no batch.
var ErrNoBatch = errors.New("the query has committed no batch yet")

// Root is a durable state version with all that a query needs to go on from it.
type Root struct {
	Plan   microbatch.Planned // of the batch that made the version
	Commit microbatch.Committed
	Check  microbatch.Checkpointed
}

// saves are the checkpoints that somebody waits for. They belong to the loop's goroutine.
type saves struct {
	waiting []*save
	durable *microbatch.Checkpointed // newest in the log
	pinned  []microbatch.Checkpointed
}

// save waits for a checkpoint of batch want or a later one.
type save struct {
	want batch.ID
	done chan saved // has room for the answer
}

type saved struct {
	check microbatch.Checkpointed
	err   error
}

// checkpointed answers who waits for a checkpoint that is durable now. Its files
// are pinned until they say that they are done.
func (q *Query) checkpointed(c microbatch.Checkpointed) {
	q.saves.durable = &c
	q.saves.waiting = slices.DeleteFunc(q.saves.waiting, func(s *save) bool {
		if s.want > c.Batch {
			return false
		}
		q.saves.pinned = append(q.saves.pinned, c)
		s.done <- saved{check: c}
		return true
	})
}

// fail answers all who wait.
func (s *saves) fail(err error) {
	for _, w := range s.waiting {
		w.done <- saved{err: err}
	}
	s.waiting = nil
}

// unpin lets go of one pin of a checkpoint.
func (s *saves) unpin(id batch.ID) {
	if i := slices.IndexFunc(s.pinned, func(c microbatch.Checkpointed) bool { return c.Batch == id }); i >= 0 {
		s.pinned = slices.Delete(s.pinned, i, i+1)
	}
}

// Checkpoint makes the state of the newest committed batch durable, unless it is,
// and hands it to use. No file of it is deleted before use has returned: what is
// to live longer must be among Options.Roots by then.
func (q *Query) Checkpoint(ctx context.Context, use func(Root) error) error {
	s := &save{done: make(chan saved, 1)}
	var none bool
	taken := q.request(nil, func() {
		st := q.m.Status()
		if none = st.Committed == batch.None; none {
			s.done <- saved{err: ErrNoBatch}
			return
		}
		s.want = st.Committed
		if d := q.saves.durable; d != nil && d.Batch >= s.want {
			q.saves.pinned = append(q.saves.pinned, *d)
			s.done <- saved{check: *d}
			return
		}
		q.saves.waiting = append(q.saves.waiting, s)
		q.step(microbatch.CheckpointRequested{})
	})
	if !taken {
		return ErrEnded
	}
	var got saved
	select {
	case got = <-s.done:
	case <-q.done:
		select {
		case got = <-s.done:
		default:
			return ErrEnded
		}
	case <-ctx.Done():
		// The pin of an answer that comes later goes with the query's next loop.
		q.request(nil, func() { q.forget(s) })
		return context.Cause(ctx)
	}
	if got.err != nil {
		return fmt.Errorf("write a checkpoint: %w", got.err)
	}
	defer q.request(nil, func() { q.saves.unpin(got.check.Batch) })
	root, err := RootOf(ctx, q.opt.Log, got.check.Batch)
	if err != nil {
		return err
	}
	return use(root)
}

// forget ends a wait that nobody is interested in any more.
func (q *Query) forget(s *save) {
	q.saves.waiting = slices.DeleteFunc(q.saves.waiting, func(o *save) bool { return o == s })
	select {
	case got := <-s.done:
		if got.err == nil {
			q.saves.unpin(got.check.Batch)
		}
	default:
	}
}

// RootOf reads a checkpoint, and the batch that it is of, from a log.
func RootOf(ctx context.Context, log BatchLog, id batch.ID) (Root, error) {
	var r Root
	var plan, commit, check bool
	for rec, err := range log.Replay(ctx, id) {
		if err != nil {
			return r, fmt.Errorf("read the batch log: %w", err)
		}
		if rec.ID() != id {
			continue
		}
		switch rec := rec.(type) {
		case microbatch.Planned:
			r.Plan, plan = rec, true
		case microbatch.Committed:
			r.Commit, commit = rec, true
		case microbatch.Checkpointed:
			r.Check, check = rec, true
		case microbatch.Adopted:
			r.Plan, r.Commit, r.Check = rec.Plan, rec.Commit, rec.Checkpointed()
			plan, commit, check = true, true, true
		case microbatch.Started:
		}
	}
	if !plan || !commit || !check {
		return r, fmt.Errorf("the batch log holds no checkpoint of batch %d any more", id)
	}
	return r, nil
}
