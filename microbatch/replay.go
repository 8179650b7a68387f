package microbatch

import (
	"fmt"
	"slices"

	"github.com/sluice-stream/sluice/batch"
)

// replay rebuilds state: load the newest usable checkpoint S, run S+1..N again
// and compare.
type replay struct {
	asked     bool // sinks were asked
	judged    bool
	restoring bool
	restored  bool
	next      batch.ID // batch to run
	busy      bool     // next runs
	attempt   int
	tries     int
	retryAt   batch.EventTime
	missing   []string // transactional sinks that do not show the last committed batch
	again     Result   // of the last committed batch, where output was prepared again
}

// decideRecovery takes the next step from the log's end to a machine that plans.
func (m *Machine) decideRecovery() error {
	if !m.history.ready() {
		return nil
	}
	if !m.started {
		if m.startSeq == 0 || m.durable < m.startSeq {
			return nil
		}
		m.started = true // M9: from here on older terms are refused
	}
	r := &m.replay
	if !r.asked {
		r.asked = true
		m.forgetSinks()
	}
	if !m.decideSinks() {
		return nil
	}
	if !r.judged {
		if err := m.judgeSinks(); err != nil {
			return err
		}
		r.judged = true
	}
	if !r.restored {
		m.decideRestore()
		return nil
	}
	if r.next > m.committed {
		m.finishRecovery()
		return nil
	}
	if !r.busy && m.now >= r.retryAt {
		m.replayNext()
	}
	return nil
}

func (h *history) ready() bool { return h != nil && h.complete }

// checkpoint returns the newest checkpoint that has not failed to load.
func (h *history) checkpoint() (id batch.ID, parts []Manifest) {
	if n := len(h.checks); n > 0 {
		return h.checks[n-1].Batch, h.checks[n-1].Manifests
	}
	return batch.None, nil
}

func (m *Machine) decideRestore() {
	if m.replay.restoring {
		return
	}
	m.replay.restoring = true
	id, parts := m.history.checkpoint()
	m.out.Restore = &Restore{Batch: id, Manifests: parts, Later: m.later(id), Term: m.term, Before: m.before}
	m.has = true
}

// later lists the committed versions after a checkpoint that may be gone on from. The
// last committed batch has to be run again if some sink needs its output.
func (m *Machine) later(than batch.ID) (out []Version) {
	if m.opt.Stateless {
		return nil
	}
	newest := m.committed
	if len(m.replay.missing) > 0 {
		newest--
	}
	for id := newest; id > than && id >= m.history.base && id >= 0 && len(out) < LaterMax; id-- {
		out = append(out, Version{Batch: id, Shards: m.history.commits[id-m.history.base].Shards})
	}
	return out
}

func (m *Machine) restored(id batch.ID) {
	r := &m.replay
	if m.history.ready() && r.restoring && !r.restored {
		want, _ := m.history.checkpoint()
		kept := func(v Version) bool { return v.Batch == id }
		if want == id || slices.ContainsFunc(m.later(want), kept) {
			r.restored, r.next = true, id+1
			if m.opt.Stateless {
				r.next = max(r.next, m.firstWithoutState())
			}
		}
	}
}

// firstWithoutState is where the replay of a query without state begins: behind
// the last committed batch, or at it if some sink needs its output again.
func (m *Machine) firstWithoutState() batch.ID {
	if len(m.replay.missing) > 0 {
		return m.committed
	}
	return m.committed + 1
}

func (m *Machine) restoreFailed(ev RestoreFailed) error {
	r, h := &m.replay, m.history
	if !h.ready() || !r.restoring || r.restored {
		return nil
	}
	id, _ := h.checkpoint()
	if id != ev.Batch {
		return nil
	}
	if id == batch.None {
		return fmt.Errorf("start with empty state: %w", ev.Err)
	}
	h.checks = h.checks[:len(h.checks)-1]
	m.check.drop(id)
	if len(h.checks) == 0 && (h.base > 0 || h.adopted != batch.None) {
		return fmt.Errorf("%w: the one of batch %d is unusable and the log begins with batch %d: %w", ErrNoCheckpoint, id, h.base, ev.Err)
	}
	r.restoring = false
	return nil
}

func (m *Machine) replayNext() {
	r, h := &m.replay, m.history
	r.busy = true
	r.attempt++
	run := &Run{Plan: h.plans[r.next-h.base], Attempt: r.attempt, Mode: Replay, Term: m.term}
	if r.next == m.committed && len(r.missing) > 0 {
		run.Mode, run.Sinks = Reprepare, r.missing
	}
	m.out.Run = run
	m.has = true
}

// replayDone compares a replayed batch with its record (M8).
func (m *Machine) replayDone(ev BatchDone) error {
	r, h := &m.replay, m.history
	if !r.busy || ev.Batch != r.next || ev.Attempt != r.attempt {
		return nil
	}
	c := h.commits[r.next-h.base]
	if err := compare(c, ev.Result); err != nil {
		return fmt.Errorf("%w: batch %d: %w", ErrDiverged, r.next, err)
	}
	if r.next == m.committed {
		r.again = ev.Result
	}
	m.out.Prune = r.next
	m.has = true
	r.busy, r.tries = false, 0
	r.next++
	m.moved = true
	return nil
}

func (m *Machine) replayFailed(ev BatchFailed) error {
	r := &m.replay
	if !r.busy || ev.Batch != r.next || ev.Attempt != r.attempt {
		return nil
	}
	r.busy = false
	r.tries++
	if !ev.Retry || r.tries >= m.opt.AttemptsMax {
		return fmt.Errorf("replay batch %d, attempt %d: %w", ev.Batch, r.tries, ev.Err)
	}
	r.retryAt = m.backoff(r.tries)
	return nil
}

// finishRecovery reveals the last committed batch again and lets planning begin.
func (m *Machine) finishRecovery() {
	r := &m.replay
	if m.committed != batch.None {
		parts := m.lastDone.Prepared
		if len(r.missing) > 0 {
			parts = mergePrepared(parts, r.again.Prepared, r.missing)
		}
		m.beginReveal(m.committed, parts)
	}
	m.history, m.replay = nil, replay{retryAt: batch.NoTime}
	m.startAt = m.now
	if m.opt.WholeAtStart && m.committed != batch.None {
		c := *m.lastDone
		c.NextWake = max(m.now, 1) // as if a timer were due
		m.lastDone = &c
	}
	m.trig.start(m)
	m.moved = true
}

// mergePrepared takes the parts of the named sinks from again, the others from old.
func mergePrepared(old, again []batch.Prepared, names []string) []batch.Prepared {
	named := map[string]bool{}
	for _, n := range names {
		named[n] = true
	}
	var out []batch.Prepared
	for _, p := range old {
		if !named[p.Sink] {
			out = append(out, p)
		}
	}
	for _, p := range again {
		if named[p.Sink] {
			out = append(out, p)
		}
	}
	return out
}

// Compare says how the result of a batch that was run again differs from the committed
// one, nil if it does not.
func Compare(c Committed, r Result) error { return compare(c, r) }

// compare says how a replayed result differs from the committed one. Digests
// are sums, so they are compared over all partitions: their number may change
// between runs. What is due next is a lower bound: an operator that has run for long
// may remember a window whose rows have been taken back since, which one that has read
// its state does not know of. So a replay may say later, and never sooner.
func compare(c Committed, r Result) error {
	was, is := operatorSums(c.Shards), operatorSums(r.Shards)
	for _, s := range c.Shards {
		if op := s.Shard.Operator; was[op] != is[op] {
			return fmt.Errorf("state of %s has digest %s, committed was %s", op, is[op], was[op])
		}
	}
	for _, s := range r.Shards {
		if op := s.Shard.Operator; was[op] != is[op] {
			return fmt.Errorf("state of %s has digest %s, committed was %s", op, is[op], was[op])
		}
	}
	if r.NextDue < c.NextDue {
		return fmt.Errorf("the next window is due at %s, committed was %s", r.NextDue, c.NextDue)
	}
	if sooner(r.NextWake, c.NextWake) {
		return fmt.Errorf("the next timer by the clock is at %s, committed was %s", r.NextWake, c.NextWake)
	}
	for _, list := range [][]batch.Prepared{c.Prepared, r.Prepared} {
		for _, p := range list {
			wasRows, wasSum := SinkSum(c.Prepared, p.Sink)
			isRows, isSum := SinkSum(r.Prepared, p.Sink)
			if wasRows != isRows || wasSum != isSum {
				return fmt.Errorf("output to %s is %d rows with digest %s, committed were %d with %s",
					p.Sink, isRows, isSum, wasRows, wasSum)
			}
		}
	}
	return nil
}

// sooner says whether a timer by the clock is before another; 0 is none.
func sooner(a, b batch.EventTime) bool { return a != 0 && (b == 0 || a < b) }

func operatorSums(shards []batch.ShardDigest) map[string]batch.Digest {
	sums := make(map[string]batch.Digest, len(shards))
	for _, s := range shards {
		sums[s.Shard.Operator] = sums[s.Shard.Operator].Add(s.Digest)
	}
	return sums
}

// SinkSum returns the rows and the digest of all parts of one sink: what a
// transactional sink stores and SinkHolds repeats.
func SinkSum(parts []batch.Prepared, sink string) (rows int64, sum batch.Digest) {
	for _, p := range parts {
		if p.Sink == sink {
			rows += p.Rows
			sum = sum.Add(p.Digest)
		}
	}
	return rows, sum
}
