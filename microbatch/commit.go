package microbatch

import (
	"fmt"

	"github.com/sluice-stream/sluice/batch"
)

// decideRun starts the tasks of the current batch once its plan is durable (M3).
func (m *Machine) decideRun() {
	f := m.cur
	if f == nil || f.state != backingOff || m.stopping && f.attempt > 0 || m.now < f.retryAt {
		return
	}
	f.state = running
	f.attempt++
	f.ranAt = m.now
	m.out.Run = &Run{Plan: f.plan, Attempt: f.attempt, Mode: Live, Term: m.term}
	m.has = true
}

func (m *Machine) batchDone(ev BatchDone) error {
	if m.history != nil {
		return m.replayDone(ev)
	}
	f := m.cur
	if f == nil || f.state != running || ev.Batch != f.plan.Batch || ev.Attempt != f.attempt {
		return nil // of an attempt that was given up
	}
	for _, t := range ev.Result.Times {
		if m.opt.sourceIndex(t.Source) < 0 {
			return fmt.Errorf("%w: batch %d reports event times of an unknown source %q", ErrProtocol, ev.Batch, t.Source)
		}
	}
	for i := range m.reveal.sinks {
		s := &m.reveal.sinks[i]
		if s.ahead && s.holds == ev.Batch {
			if err := m.sameOutput(m.opt.Sinks[i].Name, ev.Batch, ev.Result.Prepared, s.digest); err != nil {
				return err
			}
		}
	}
	f.result, f.state = ev.Result, prepared
	if f.attempt == 1 && f.planSeq > 0 {
		m.pace.made.observe(m.now - f.plannedAt)
	}
	m.sizer.observe(ev.Result.Counters.RowsIn, m.now-f.ranAt, f.more)
	return nil
}

func (m *Machine) batchFailed(ev BatchFailed) error {
	if m.history != nil {
		return m.replayFailed(ev)
	}
	f := m.cur
	if f == nil || f.state != running || ev.Batch != f.plan.Batch || ev.Attempt != f.attempt {
		return nil
	}
	if !ev.Retry || f.attempt >= m.opt.AttemptsMax {
		return fmt.Errorf("batch %d, attempt %d: %w", ev.Batch, f.attempt, ev.Err)
	}
	f.state, f.retryAt = backingOff, m.backoff(f.attempt)
	return nil
}

// decideCommit moves the current batch along as records become durable.
func (m *Machine) decideCommit() {
	f := m.cur
	if f == nil {
		return
	}
	switch f.state {
	case planning:
		if m.durable >= f.planSeq {
			f.state, f.retryAt = backingOff, batch.NoTime
			m.moved = true
		}
	case prepared: // M4: only the last committed batch may be unrevealed
		if m.reveal.done == f.plan.Batch-1 && !m.reveal.active {
			m.commit(f)
			m.moved = true
		}
	case committing: // M5
		if m.durable >= f.seq {
			m.committed = f.plan.Batch
			m.beginReveal(m.committed, f.result.Prepared)
			m.check.committed(m.committed, f.plan)
			m.moved = true
			m.cur, m.next = m.next, nil
		}
	case running, backingOff:
	}
}

// commit hands out the Committed record and takes over what the next plan needs,
// so that the plan can share its durable write.
func (m *Machine) commit(f *flight) {
	m.noteTimes(f.plan.Now, f.result.Times)
	c := Committed{
		Batch: f.plan.Batch, Term: m.term, Prepared: f.result.Prepared, Shards: f.result.Shards,
		Counters: f.result.Counters, Marks: append([]Mark(nil), m.marks...), NextDue: f.result.NextDue, NextWake: f.result.NextWake,
	}
	c.NextWatermark, _ = m.watermark() // never under that of the batch before
	m.lastDone = &c
	m.pace.since = m.now
	f.seq = m.append(c)
	f.state = committing
}

// decideEnd ends the query when it was stopped or has nothing left to do, and
// everything handed out is durable.
func (m *Machine) decideEnd() {
	if !m.stopping && !m.trig.finished {
		return
	}
	// A planned batch is run: no other plan could go on from here. One that waits to try
	// again is left to the next start.
	if f := m.cur; f != nil && (!m.stopping || f.state != backingOff || f.attempt == 0) {
		return
	}
	if m.reveal.active || m.durable < m.appended || m.check.pending() {
		return
	}
	if !m.opt.NoFinalCheckpoint && m.check.final(m) {
		return
	}
	m.end(nil)
}
