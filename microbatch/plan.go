package microbatch

import (
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/sluice-stream/sluice/batch"
)

// triggerState says when to look for data.
type triggerState struct {
	kind     TriggerKind
	schedule Schedule
	at       batch.EventTime // next time of EVERY or CRON; EndOfTime for others
	fired    bool            // EVERY: this firing has not been answered by a plan or by "nothing"
	firedAt  batch.EventTime
	begun    bool // AVAILABLE NOW, ONCE: the drain has begun
	finished bool // and has ended
	goal     *Goal
}

// drain processes what sources held at its beginning.
type drain struct {
	at     batch.EventTime
	once   bool // in one batch, without limits
	own    bool // the trigger's own, which ends a bounded query
	closed bool // the batch that closes every window is planned
	tokens []int
}

func (t *triggerState) init(opt Options) (err error) {
	t.kind, t.at = opt.Trigger.Kind, batch.EndOfTime
	if t.kind == Cron {
		t.schedule, err = ParseSchedule(opt.Trigger.Schedule)
	}
	return err
}

// start sets the first time, when recovery is done.
func (t *triggerState) start(m *Machine) {
	switch t.kind {
	case Every:
		t.at = m.now
	case Cron:
		t.at = t.next(m)
	case Immediate, AvailableNow, Once, Latency:
	}
}

// next returns the first time of the schedule after now.
func (t *triggerState) next(m *Machine) batch.EventTime {
	at, ok := t.schedule.Next(m.now.Time().In(m.opt.Zone))
	if !ok {
		return batch.EndOfTime
	}
	return batch.TimeOf(at)
}

// free reports whether batches start whenever there is data.
func (t *triggerState) free() bool { return t.kind == Immediate || t.kind == Latency }

// idleEnough reports whether the next batch can be planned as soon as its range is known.
func (m *Machine) idleEnough() bool {
	return m.next == nil && (m.cur == nil || m.cur.state == prepared || m.cur.state == committing)
}

func (m *Machine) decideTrigger() {
	t := &m.trig
	if m.stopping || t.finished || m.drain != nil {
		return
	}
	switch {
	case m.opt.Trigger.Bounded() && !t.begun:
		t.begun = true
		m.beginDrain(&drain{once: t.kind == Once, own: true})
		if m.opt.Goal != nil {
			m.pursue(m.opt.Goal)
		}
	case len(m.queued) > 0:
		m.beginDrain(&drain{tokens: m.queued})
		m.queued = nil
	case t.kind == Cron && m.now >= t.at:
		t.at = t.next(m)
		m.beginDrain(&drain{own: true})
	case t.kind == Every && !t.fired && m.now >= t.at && m.idleEnough():
		d := batch.EventTime(m.opt.Trigger.Interval.Microseconds())
		t.fired, t.firedAt = true, m.now
		t.at = m.now - floorMod(m.now, d) + d
		m.forgetSources()
	}
}

func floorMod(a, d batch.EventTime) batch.EventTime { return ((a % d) + d) % d }

func (m *Machine) beginDrain(d *drain) {
	d.at = m.now
	m.drain = d
	m.forgetSources()
}

// decidePlan plans the next batch if the trigger wants one and its range is known.
func (m *Machine) decidePlan() error {
	if m.stopping || m.trig.finished || m.next != nil || m.cur != nil && m.cur.state != committing || !m.staticKnown() || m.held() {
		return nil
	}
	if m.drain != nil {
		return m.planDrain()
	}
	if !m.trig.free() && !m.trig.fired {
		if m.rings() && m.trig.kind == Every && m.lookedUp() {
			return m.plan(m.now, true, false, stay)
		}
		if m.trig.kind == Cron { // between its times nothing is asked, but an end is known for ever
			return m.planEnd(m.now)
		}
		return nil
	}
	data := false
	for i := range m.sources {
		if m.opt.Sources[i].Static {
			continue
		}
		if s := &m.sources[i]; !s.known {
			return nil
		} else if s.to != s.pos {
			data = true
		}
	}
	_, due := m.due()
	if (data || due) && !m.lookedUp() {
		return nil
	}
	at := m.now
	if m.trig.fired {
		at = m.trig.firedAt
	}
	m.trig.fired = false
	if data {
		return m.plan(at, false, false, func(s *sourceState) batch.Offset { return s.to })
	}
	if due {
		return m.plan(at, true, false, stay)
	}
	return m.planEnd(at)
}

// planEnd ends a query whose streams have all ended and are processed: first
// every window closes, then there is nothing left to do.
func (m *Machine) planEnd(at batch.EventTime) error {
	if m.cur != nil || m.reveal.active || !m.endsAt(stay) {
		return nil
	}
	if m.unclosed() {
		if !m.lookedUp() {
			return nil
		}
		return m.plan(at, true, true, stay)
	}
	m.trig.finished = true
	m.out.Processed = append(m.out.Processed, m.queued...)
	m.queued = nil
	m.has = m.has || len(m.out.Processed) > 0
	m.moved = true
	return nil
}

// unclosed reports whether a batch that closes every window would put out
// anything. A query without any input still has an answer: count(*) is 0.
func (m *Machine) unclosed() bool {
	return m.lastPlan == nil || m.lastDone != nil && (m.lastDone.NextDue != batch.EndOfTime || m.lastDone.NextWake != 0)
}

// rings reports whether a timer by the clock is due. It does not wait for the time at
// which a trigger looks for data.
func (m *Machine) rings() bool {
	return m.lastDone != nil && m.lastDone.NextWake != 0 && m.lastDone.NextWake <= m.now
}

func stay(s *sourceState) batch.Offset { return s.pos }

// staticKnown reports whether every static source has told its version.
func (m *Machine) staticKnown() bool {
	for i := range m.sources {
		if spec := m.opt.Sources[i]; spec.Static && !spec.Lookup && !m.sources[i].known {
			return false
		}
	}
	return true
}

// planDrain plans towards the targets, then what the watermark has made due,
// then ends the drain.
func (m *Machine) planDrain() error {
	d := m.drain
	data, known := false, true
	for i := range m.sources {
		s := &m.sources[i]
		switch {
		case m.opt.Sources[i].Static:
		case !s.hasTarget:
			return nil
		case s.pos != s.target:
			data = true
			known = known && (s.known || d.once)
		}
	}
	// The end of every stream closes every window, whoever drains; without an end a
	// query that ends by its trigger may be told to.
	closing := d.own && m.opt.Trigger.Bounded() && m.opt.CloseAtEnd ||
		m.endsAt(func(s *sourceState) batch.Offset { return s.target })
	_, due := m.due()
	last := closing && !d.closed
	if (data && known || !data && (due && !last || last && m.unclosed())) && !m.lookedUp() {
		return nil
	}
	if data {
		if !known {
			return nil
		}
		d.closed = d.once && closing
		return m.plan(d.at, false, d.closed, func(s *sourceState) batch.Offset {
			if d.once || s.pos == s.target {
				return s.target
			}
			return s.to
		})
	}
	if due && !last {
		return m.plan(d.at, true, false, stay)
	}
	if last && m.unclosed() {
		d.closed = true
		return m.plan(d.at, true, true, stay)
	}
	if m.cur == nil && !m.reveal.active {
		m.endDrain()
	}
	return nil
}

func (m *Machine) endDrain() {
	d := m.drain
	m.drain = nil
	m.out.Processed = append(m.out.Processed, d.tokens...)
	if d.own && m.opt.Trigger.Bounded() {
		m.trig.finished = true
		m.out.Processed = append(m.out.Processed, m.queued...)
		m.queued = nil
	}
	m.has = m.has || len(m.out.Processed) > 0
	m.forgetSources()
	m.moved = true
}

// plan fixes the next batch and hands out its record.
func (m *Machine) plan(at batch.EventTime, noData, closing bool, end func(*sourceState) batch.Offset) error {
	p := Planned{Batch: 0, Term: m.term, TriggeredAt: at, Now: m.now, PlanHash: m.opt.PlanHash, NoData: noData}
	p.Watermark, _ = m.watermark()
	p.Close = p.Watermark
	if last := m.lastPlan; last != nil {
		p.Batch, p.Now, p.Close = last.Batch+1, max(p.Now, last.Now), max(p.Close, last.Close)
	}
	if closing {
		p.Close = batch.EndOfTime
	}
	p.Seed = seed(m.opt.Query, p.Batch)
	p.Ranges = make([]batch.Range, len(m.sources))
	more := false
	for i := range m.sources {
		s := &m.sources[i]
		g := batch.Range{Source: m.opt.Sources[i].Name, Start: s.pos, End: s.pos, Pin: s.pin}
		s.fresh = false
		if !m.opt.Sources[i].Static {
			if g.End = end(s); g.End == "" && g.Start != "" {
				return fmt.Errorf("%w: source %q goes back from %q to its beginning", ErrProtocol, g.Source, g.Start)
			}
			more = more || s.known && s.more
			s.pos = g.End
			target, has := s.target, s.hasTarget
			s.forget()
			s.target, s.hasTarget = target, has
		}
		p.Ranges[i] = g
	}
	if last := m.lastPlan; last != nil {
		if err := follows(*last, p); err != nil { // M1, M2: also on in production
			return err
		}
	}
	f := &flight{plan: p, planSeq: m.append(p), more: more, plannedAt: m.now}
	if m.lastPlan = &p; m.cur == nil {
		m.cur = f
	} else {
		m.next = f
	}
	m.moved = true
	return nil
}

// seed gives every batch of every query random numbers of its own, the same
// whenever it is planned.
func seed(q batch.QueryID, id batch.ID) uint64 {
	h := fnv.New64a()
	h.Write([]byte(string(q) + "/" + strconv.FormatInt(int64(id), 10)))
	// The last bytes of FNV change few bits: mix them (the finalizer of MurmurHash3).
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
