package microbatch

import (
	"fmt"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// sourceState is where the planning of one source stands.
type sourceState struct {
	pos   batch.Offset // end of the newest plan
	pin   string       // a static source's version
	known bool         // to says how far it can be read from pos
	to    batch.Offset
	more  bool
	hint  bool // a push came while an ask was under way
	grown bool // a push came after the answer: to may be further
	// Of a source that is looked up: a batch is about to be planned and waits for its
	// version, or has it.
	wanted, fresh bool
	ask           uint64          // Seq of the ask under way; 0 if none
	askAt         batch.EventTime // not asked before
	tries         int
	// In a drain: where the source ended when the drain began.
	target    batch.Offset
	hasTarget bool
	stuck     int // answers without progress short of the target
	// A bounded source has told its end. It is not forgotten: an end is for ever.
	ended bool
	endAt batch.Offset
}

func newSources(n int) []sourceState {
	s := make([]sourceState, n)
	for i := range s {
		s[i].askAt = batch.NoTime
	}
	return s
}

// forget makes what is known of a source void.
func (s *sourceState) forget() {
	s.known, s.more, s.hint, s.ask, s.askAt, s.tries, s.stuck = false, false, false, 0, batch.NoTime, 0, 0
	s.wanted, s.fresh, s.grown = false, false, false
}

// staticPoll is how often the version of a table that is read whole is asked for
// while batches start by themselves; other triggers ask when they fire.
const staticPoll = time.Second

// forgetSources starts over with all sources, for another way of asking.
func (m *Machine) forgetSources() {
	for i := range m.sources {
		m.sources[i].forget()
		m.sources[i].hasTarget = false
	}
}

// wants returns what source i is to be asked, if anything, once now >= askAt.
func (m *Machine) wants(i int) (Ask, bool) {
	s, spec := &m.sources[i], m.opt.Sources[i]
	if s.ask != 0 || m.stopping || m.trig.finished || !m.recovered() {
		return Ask{}, false
	}
	a := Ask{Source: spec.Name, From: s.pos}
	if spec.Static { // a table that is replaced is read anew from then on, as Spark does with each batch
		a.Static = true
		if spec.Lookup {
			return a, s.wanted
		}
		return a, !s.known || m.drain == nil && m.trig.free()
	}
	if d := m.drain; d != nil {
		switch {
		case !s.hasTarget:
			a.All = true
			return a, true
		case d.once || s.target == s.pos:
			return a, false
		}
		a.Until = s.target
		return a, !s.known
	}
	a.Rows = m.sizer.limit()
	switch m.opt.Trigger.Kind {
	case Immediate, Latency: // a source that does not push is polled, also while a batch runs
		return a, !s.known || s.grown || !s.more && !spec.Pushes
	case Every:
		return a, m.trig.fired && !s.known
	case AvailableNow, Once, Cron:
	}
	return a, false
}

func (m *Machine) decideAsk() {
	for i := range m.sources {
		s := &m.sources[i]
		if a, ok := m.wants(i); ok && m.now >= s.askAt {
			m.asks++
			s.ask, a.Seq, s.grown = m.asks, m.asks, false
			m.out.Ask = append(m.out.Ask, a)
			m.has = true
		}
	}
}

func (m *Machine) sourceAvailable(ev SourceAvailable) error {
	i := m.opt.sourceIndex(ev.Source)
	if i < 0 {
		return fmt.Errorf("%w: an answer of an unknown source %q", ErrProtocol, ev.Source)
	}
	s, spec := &m.sources[i], m.opt.Sources[i]
	if ev.Ask == 0 {
		m.pushed(s, ev)
		return nil
	}
	if ev.Ask != s.ask {
		return nil // void
	}
	if ev.From != s.pos {
		return fmt.Errorf("%w: source %q answers from %q, it was asked from %q", ErrProtocol, ev.Source, ev.From, s.pos)
	}
	s.ask, s.tries = 0, 0
	if ev.Ended {
		s.ended, s.endAt = true, ev.To
	}
	switch {
	case spec.Lookup:
		s.pin, s.known, s.wanted, s.fresh = ev.Pin, true, false, true
		return nil
	case spec.Static:
		s.pin, s.known = ev.Pin, true
		s.askAt = m.after(max(staticPoll, m.opt.PollInterval).Microseconds())
		return nil
	case m.drain != nil && !s.hasTarget:
		s.target, s.hasTarget = ev.To, true
		m.noteGoal()
		return nil
	case m.drain != nil && ev.To == s.pos:
		return m.stuck(s, ev.Source)
	}
	s.known, s.to, s.more = true, ev.To, ev.More
	s.askAt = m.after(m.opt.PollInterval.Microseconds())
	if s.hint && s.to == s.pos { // the answer may be older than the push
		s.known, s.askAt = false, batch.NoTime
	}
	if s.hint && s.to != s.pos {
		m.further(s)
	}
	s.hint = false
	return nil
}

// further asks again how far a source can be read that has something already, while no
// plan can be made yet: what came since goes into the same batch. Other triggers take a
// push as it is.
func (m *Machine) further(s *sourceState) {
	if m.opt.Trigger.Kind == Latency && !s.more {
		s.grown, s.askAt = true, batch.NoTime
	}
}

// endsAt reports whether every stream has ended at the position that at gives:
// nothing will ever come after. Of a query without streams that is always so: one
// batch has its answer.
func (m *Machine) endsAt(at func(*sourceState) batch.Offset) bool {
	for i := range m.sources {
		s := &m.sources[i]
		if m.opt.Sources[i].Static {
			continue
		}
		if !s.ended || at(s) != s.endAt {
			return false
		}
	}
	return true
}

// lookedUp reports whether the tables that batches look up have told the version that
// there is now, for a batch that is planned at once. If not they are asked.
func (m *Machine) lookedUp() bool {
	all := true
	for i, spec := range m.opt.Sources {
		s := &m.sources[i]
		if !spec.Lookup || s.fresh {
			continue
		}
		all = false
		if !s.wanted {
			s.wanted, s.askAt, m.moved = true, batch.NoTime, true
		}
	}
	return all
}

// stuckMax bounds how often a source is asked again that contradicts itself.
const stuckMax = 20

// stuck tries again when a source says that there is nothing short of the end
// that it named before.
func (m *Machine) stuck(s *sourceState, name string) error {
	s.stuck++
	if s.stuck >= stuckMax {
		return fmt.Errorf("%w: source %q ended at %q and can now be read to %q only", ErrProtocol, name, s.target, s.pos)
	}
	s.askAt = m.backoff(s.stuck)
	return nil
}

// sourceChanged takes in that there may be more.
func (m *Machine) sourceChanged(name string) error {
	i := m.opt.sourceIndex(name)
	if i < 0 {
		return fmt.Errorf("%w: an unknown source %q has changed", ErrProtocol, name)
	}
	if m.recovered() && m.drain == nil && m.trig.free() && !m.opt.Sources[i].Static {
		m.sources[i].changed()
	}
	return nil
}

// changed asks again if what is known is that there is nothing.
func (s *sourceState) changed() {
	switch {
	case s.ask != 0: // its answer may be older
		s.hint = true
	case s.known && s.to == s.pos:
		s.known, s.askAt = false, batch.NoTime
	}
}

// pushed takes in what a source says by itself.
func (m *Machine) pushed(s *sourceState, ev SourceAvailable) {
	if !m.recovered() || m.drain != nil || !m.trig.free() || ev.To == s.pos {
		return
	}
	// A push from another position, or one that knows no row limit, says only
	// that there is more. It must not be dropped: the source may not push again.
	if ev.From != s.pos || m.opt.Trigger.Kind == Latency {
		if s.ask == 0 && s.known && s.to != s.pos {
			m.further(s)
		}
		s.changed()
		return
	}
	s.ask, s.tries = 0, 0 // an answer under way may be older than the push
	s.known, s.to, s.more = true, ev.To, ev.More
	s.askAt = m.after(m.opt.PollInterval.Microseconds())
}

func (m *Machine) sourceFailed(ev SourceFailed) error {
	i := m.opt.sourceIndex(ev.Source)
	if i < 0 {
		return fmt.Errorf("%w: an answer of an unknown source %q", ErrProtocol, ev.Source)
	}
	s := &m.sources[i]
	if ev.Ask == 0 || ev.Ask != s.ask {
		return nil
	}
	s.ask = 0
	if m.opt.Sources[i].Static && !m.opt.Sources[i].Lookup && s.known { // it is being replaced, or its store is away: what was read of it is there
		s.askAt = m.after(max(staticPoll, m.opt.PollInterval).Microseconds())
		return nil
	}
	s.tries++
	if !ev.Retry || s.tries >= m.opt.AskTriesMax {
		return fmt.Errorf("ask source %q how far it can be read after %q, try %d: %w", ev.Source, s.pos, s.tries, ev.Err)
	}
	s.known = false
	s.askAt = m.backoff(s.tries)
	return nil
}
