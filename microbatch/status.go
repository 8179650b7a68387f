package microbatch

import "github.com/sluice-stream/sluice/batch"

// Status is where the query stands.
func (m *Machine) Status() Status {
	s := Status{
		Phase: m.phase(), Term: m.term, Planned: batch.None, Committed: m.committed, Revealed: m.reveal.done,
		Checkpointed: m.check.newest(), Watermark: batch.NoTime, NextDue: batch.EndOfTime,
		NextTrigger: m.trig.at, RevealTries: m.reveal.tries, RowLimit: m.sizer.limit(),
	}
	if m.lastPlan != nil {
		s.Planned = m.lastPlan.Batch
	}
	if m.history == nil {
		s.Watermark, s.HeldBackBy = m.watermark()
	}
	if m.lastDone != nil {
		s.NextDue = m.lastDone.NextDue
	}
	if m.cur != nil {
		s.Attempt = m.cur.attempt
	}
	return s
}

func (m *Machine) phase() Phase {
	switch {
	case m.ended:
		return Ended
	case m.history != nil && !m.history.complete:
		return Reading
	case !m.recovered():
		return Recovering
	case m.stopping:
		return Stopping
	case m.cur != nil:
		return Running
	}
	return Waiting
}

// wakeAt is the earliest time at which time alone changes a decision.
func (m *Machine) wakeAt() batch.EventTime {
	at := batch.EndOfTime
	if m.ended {
		return at
	}
	soon := func(t batch.EventTime) {
		if t > m.now {
			at = min(at, t)
		}
	}
	if m.cur != nil && m.cur.state == backingOff {
		soon(m.cur.retryAt)
	}
	soon(m.replay.retryAt)
	soon(m.heldUntil())
	soon(m.reveal.retryAt)
	if !m.recovered() || m.stopping {
		return at
	}
	if m.drain == nil && m.idleEnough() {
		soon(m.trig.at)
	}
	for i := range m.sources {
		if _, ok := m.wants(i); ok {
			soon(m.sources[i].askAt)
		}
	}
	if m.cur == nil {
		soon(m.check.dueAt(m))
		soon(m.nextIdle())
		if m.lastDone != nil && m.lastDone.NextWake != 0 && (m.trig.free() || m.trig.kind == Every) {
			soon(m.lastDone.NextWake)
		}
	}
	return at
}

// after returns the time d from now.
func (m *Machine) after(d int64) batch.EventTime { return m.now + batch.EventTime(d) }

// backoff returns when to try again after tries failures.
func (m *Machine) backoff(tries int) batch.EventTime {
	d := m.opt.RetryBackoff
	for range min(tries-1, 30) {
		if d *= 2; d >= m.opt.RetryBackoffMax {
			break
		}
	}
	return m.after(min(d, m.opt.RetryBackoffMax).Microseconds())
}
