package microbatch

import (
	"fmt"

	"github.com/sluice-stream/sluice/batch"
)

// sinkState is what is known of one sink; only transactional ones are asked.
type sinkState struct {
	asked, known bool
	tries        int
	retryAt      batch.EventTime
	holds        batch.ID
	digest       batch.Digest
	ahead        bool // it shows the planned batch, whose commit the log lost
}

// revealState is the reveal of the last committed batch. There is never more
// than one, since the next batch commits after it (M4).
type revealState struct {
	done     batch.ID // newest batch that every sink shows
	batch    batch.ID // being revealed, if active
	active   bool
	parts    []batch.Prepared
	left     []string // sinks that do not show it yet
	busy     bool
	checking bool // sinks are asked before the next try (C7)
	attempt  int
	tries    int
	retryAt  batch.EventTime
	sinks    []sinkState
}

// newSinks starts without knowing what any sink shows.
func newSinks(n int) []sinkState {
	sinks := make([]sinkState, n)
	for i := range sinks {
		sinks[i].holds = batch.None
	}
	return sinks
}

// forgetSinks makes every transactional sink be asked again.
func (m *Machine) forgetSinks() {
	for i := range m.reveal.sinks {
		s := &m.reveal.sinks[i]
		s.asked, s.known, s.tries, s.retryAt = false, !m.opt.Sinks[i].Transactional, 0, batch.NoTime
	}
}

// decideSinks asks the sinks whose state is not known and reports whether all are.
func (m *Machine) decideSinks() bool {
	all := true
	wake := batch.EndOfTime
	for i := range m.reveal.sinks {
		s := &m.reveal.sinks[i]
		if s.known {
			continue
		}
		all = false
		switch {
		case s.asked:
		case m.now < s.retryAt:
			wake = min(wake, s.retryAt)
		default:
			s.asked = true
			m.out.AskSinks = append(m.out.AskSinks, AskSink{Sink: m.opt.Sinks[i].Name, Term: m.term})
			m.has = true
		}
	}
	if wake != batch.EndOfTime {
		m.reveal.retryAt = max(m.reveal.retryAt, wake)
	}
	return all
}

func (m *Machine) sinkState(name string) *sinkState {
	for i := range m.reveal.sinks {
		if m.opt.Sinks[i].Name == name {
			return &m.reveal.sinks[i]
		}
	}
	return nil
}

func (m *Machine) sinkHolds(ev SinkHolds) error {
	s := m.sinkState(ev.Sink)
	if s == nil || !s.asked {
		return nil
	}
	s.asked, s.known, s.tries = false, true, 0
	s.holds, s.digest = ev.Batch, ev.Digest
	return nil
}

func (m *Machine) sinkUnknown(ev SinkUnknown) error {
	s := m.sinkState(ev.Sink)
	if s == nil || !s.asked {
		return nil
	}
	s.asked = false
	s.tries++
	if !ev.Retry || s.tries >= m.opt.RevealTriesMax {
		return fmt.Errorf("ask sink %q what it holds: %w", ev.Sink, ev.Err)
	}
	s.retryAt = m.backoff(s.tries)
	return nil
}

// judgeSinks compares what transactional sinks hold with the log, at the start.
func (m *Machine) judgeSinks() error {
	n := m.committed
	checked, _ := m.history.checkpoint()
	for i := range m.reveal.sinks {
		s, spec := &m.reveal.sinks[i], m.opt.Sinks[i]
		if !spec.Transactional {
			continue
		}
		switch {
		case s.holds == n:
			if n == batch.None {
				continue
			}
			if err := m.sameOutput(spec.Name, n, m.lastDone.Prepared, s.digest); err != nil {
				return err
			}
		case s.holds == batch.None && n == m.history.adopted:
			// A sink that is new with the plan, or of a new query: it is shown the batch
			// with what the log has for it, which is nothing, and goes on from there.
		case s.holds == n+1 && m.cur != nil:
			s.ahead = true // compared when the batch has run again
		case s.holds > n:
			return fmt.Errorf("%w: %q holds batch %d, the log ends with batch %d; going back needs a new query ID or an emptied sink",
				ErrSinkAhead, spec.Name, s.holds, n)
		case s.holds == n-1 && checked < n:
			m.replay.missing = append(m.replay.missing, spec.Name)
		default:
			return fmt.Errorf("%w: %q holds batch %d, batch %d was shown", ErrSinkBehind, spec.Name, s.holds, max(n-1, checked))
		}
	}
	return nil
}

func (m *Machine) sameOutput(sink string, id batch.ID, parts []batch.Prepared, held batch.Digest) error {
	if _, sum := SinkSum(parts, sink); sum != held {
		return fmt.Errorf("%w: %q holds batch %d with digest %s, the batch has %s", ErrSinkDiverged, sink, id, held, sum)
	}
	return nil
}

// beginReveal starts showing a batch in every sink that does not show it.
func (m *Machine) beginReveal(id batch.ID, parts []batch.Prepared) {
	r := &m.reveal
	r.batch, r.parts, r.active = id, parts, true
	r.busy, r.checking, r.tries, r.attempt, r.retryAt = false, false, 0, 0, batch.NoTime
	r.left = r.left[:0:0]
	for i, spec := range m.opt.Sinks {
		if s := &r.sinks[i]; !spec.Transactional || s.holds < id {
			r.left = append(r.left, spec.Name)
		}
	}
}

func (m *Machine) decideReveal() {
	r := &m.reveal
	if !r.active || r.busy || r.checking || m.now < r.retryAt {
		return
	}
	if len(r.left) == 0 {
		m.revealDone()
		m.moved = true
		return
	}
	r.busy = true
	r.attempt++
	rv := &Reveal{Batch: r.batch, Term: m.term, Attempt: r.attempt, Sinks: append([]string(nil), r.left...)}
	for _, name := range r.left {
		for _, p := range r.parts {
			if p.Sink == name {
				rv.Prepared = append(rv.Prepared, p)
			}
		}
	}
	m.out.Reveal = rv
	m.has = true
}

func (m *Machine) revealed(id batch.ID) {
	if r := &m.reveal; r.active && r.busy && r.batch == id {
		if r.attempt == 1 && m.pace.since > 0 { // else it was committed by a life before
			m.pace.shown.observe(m.now - m.pace.since)
		}
		m.revealDone()
	}
}

func (m *Machine) revealDone() {
	r := &m.reveal
	r.done, r.active, r.busy, r.tries = r.batch, false, false, 0
	// Not before: the batch may have to be run again for a sink that lost its output.
	m.out.Prune = r.done
	m.has = true
	r.parts, r.left = nil, nil
	r.retryAt = batch.NoTime
	for i := range r.sinks {
		r.sinks[i].ahead = false
		r.sinks[i].holds = max(r.sinks[i].holds, r.done)
	}
}

// revealFailed tries again, but never blindly: a transactional sink is asked
// first whether the failed commit went through after all (C7).
func (m *Machine) revealFailed(ev RevealFailed) error {
	r := &m.reveal
	if !r.active || !r.busy || r.batch != ev.Batch {
		return nil
	}
	r.busy = false
	r.tries++
	if !ev.Retry || r.tries >= m.opt.RevealTriesMax {
		return fmt.Errorf("reveal batch %d, try %d: %w", ev.Batch, r.tries, ev.Err)
	}
	r.retryAt = m.backoff(r.tries)
	m.forgetSinks()
	r.checking = true
	return nil
}

// decideChecking waits for the answers of asked sinks and drops those that show the batch.
func (m *Machine) decideChecking() error {
	r := &m.reveal
	if !r.checking || m.now < r.retryAt || !m.decideSinks() {
		return nil
	}
	r.checking, m.moved = false, true
	left := r.left[:0]
	for _, name := range r.left {
		i := m.sinkIndex(name)
		s := &r.sinks[i]
		switch {
		case !m.opt.Sinks[i].Transactional || s.holds == r.batch-1:
			left = append(left, name)
		case s.holds == r.batch:
			if err := m.sameOutput(name, r.batch, r.parts, s.digest); err != nil {
				return err
			}
		case s.holds > r.batch:
			return fmt.Errorf("%w: %q holds batch %d while batch %d is revealed", ErrSinkAhead, name, s.holds, r.batch)
		default:
			return fmt.Errorf("%w: %q holds batch %d while batch %d is revealed", ErrSinkBehind, name, s.holds, r.batch)
		}
	}
	r.left = left
	return nil
}

func (m *Machine) sinkIndex(name string) int {
	for i := range m.opt.Sinks {
		if m.opt.Sinks[i].Name == name {
			return i
		}
	}
	return -1
}
