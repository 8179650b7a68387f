package microbatch

import (
	"cmp"
	"slices"

	"github.com/sluice-stream/sluice/batch"
)

// noteTimes merges what a batch saw into the marks. A partition that is named
// without a time is known from then on and holds its source back.
func (m *Machine) noteTimes(now batch.EventTime, times []batch.SourceTime) {
	for _, t := range times {
		i, found := slices.BinarySearchFunc(m.marks, t, func(k Mark, t batch.SourceTime) int {
			return cmp.Or(cmp.Compare(k.Source, t.Source), cmp.Compare(k.Partition, t.Partition))
		})
		if !found {
			m.marks = slices.Insert(m.marks, i, Mark{Source: t.Source, Partition: t.Partition, Max: batch.NoTime, Seen: now})
		}
		if t.Max != batch.NoTime {
			m.marks[i].Max = max(m.marks[i].Max, t.Max)
			m.marks[i].Seen = max(m.marks[i].Seen, now)
		}
	}
}

// watermark is the one that a batch planned now would have in force: the highest
// event time of each source less its delay, over the sources by the policy,
// never less than before (M2). It also names what holds it back.
func (m *Machine) watermark() (batch.EventTime, string) {
	floor := batch.NoTime
	if m.lastPlan != nil {
		floor = m.lastPlan.Watermark
	}
	if m.lastDone != nil {
		floor = max(floor, m.lastDone.NextWatermark)
	}
	w, by, first := batch.NoTime, "", true
	goOn, speak := m.someGoOn()
	for i, spec := range m.opt.Sources {
		if !spec.EventTime || m.opt.Policy == MinWatermark && (goOn && m.over(i) || speak && m.silent(i)) {
			continue
		}
		t, partition := m.sourceTime(i)
		if t != batch.NoTime {
			t = less(t, spec.Delay.Microseconds())
		}
		if first || (m.opt.Policy == MinWatermark && t < w) || (m.opt.Policy == MaxWatermark && t > w) {
			w, by = t, spec.Name
			if partition != "" {
				by += "#" + partition
			}
		}
		first = false
	}
	return max(floor, w), by
}

// over reports whether a source has ended and all of it is planned: it can no
// longer hold others back.
func (m *Machine) over(i int) bool {
	s := &m.sources[i]
	return s.ended && s.pos == s.endAt
}

// someGoOn reports whether any source with event time is not over, and whether one
// of these is not silent: then the others do not hold it back.
func (m *Machine) someGoOn() (goOn, speak bool) {
	for i, spec := range m.opt.Sources {
		if spec.EventTime && !m.over(i) {
			goOn, speak = true, speak || !m.silent(i)
		}
	}
	return goOn, speak
}

// silent reports whether every partition of a source is idle, or that it has had no
// row since the query started, for as long.
func (m *Machine) silent(i int) bool {
	if m.opt.Sources[i].IdleTimeout == 0 {
		return false
	}
	quiet, known := m.quietUntil(i), false
	for _, k := range m.marks {
		if k.Source != m.opt.Sources[i].Name {
			continue
		}
		if known = true; quiet < m.idleAt(i, k) {
			return false
		}
	}
	return known || quiet >= m.idleAt(i, Mark{Seen: batch.NoTime})
}

// less subtracts a delay without falling below the first time there is.
func less(t batch.EventTime, delay int64) batch.EventTime {
	if t < batch.NoTime+1+batch.EventTime(delay) {
		return batch.NoTime + 1
	}
	return t - batch.EventTime(delay)
}

// sourceTime is the lowest of the highest event times over the partitions of a
// source that count: those that are not idle, or all if all are (then the
// highest, since none can be waited for).
func (m *Machine) sourceTime(i int) (t batch.EventTime, partition string) {
	name := m.opt.Sources[i].Name
	low, high, lowAt, known := batch.EndOfTime, batch.NoTime, "", false
	for _, k := range m.marks {
		if k.Source != name {
			continue
		}
		high = max(high, k.Max)
		if at := m.idleAt(i, k); at != batch.EndOfTime && m.quietUntil(i) >= at {
			continue
		}
		if !known || k.Max < low {
			low, lowAt = k.Max, k.Partition
		}
		known = true
	}
	if !known {
		return high, ""
	}
	return low, lowAt
}

// idleAt is when a partition turns idle if no row comes; EndOfTime: never. Time
// while the query was down does not count: what came then is still to be read.
func (m *Machine) idleAt(i int, k Mark) batch.EventTime {
	d := m.opt.Sources[i].IdleTimeout
	if d == 0 {
		return batch.EndOfTime
	}
	return max(k.Seen, m.startAt) + batch.EventTime(d.Microseconds())
}

// quietUntil is up to when it is known which partitions of a source had no
// rows: now if everything was read, else the time of the newest plan. So a
// partition does not turn idle while its rows wait for a long batch to end.
func (m *Machine) quietUntil(i int) batch.EventTime {
	if s := &m.sources[i]; m.cur == nil && s.known && s.to == s.pos {
		return m.now
	}
	if m.lastPlan != nil {
		return m.lastPlan.Now
	}
	return batch.NoTime
}

// nextIdle is when the next partition turns idle while nothing else happens.
func (m *Machine) nextIdle() batch.EventTime {
	at := batch.EndOfTime
	if m.lastDone == nil || m.lastDone.NextDue == batch.EndOfTime || !m.trig.free() {
		return at
	}
	for i, spec := range m.opt.Sources {
		if s := &m.sources[i]; spec.IdleTimeout == 0 || !s.known || s.to != s.pos {
			continue
		}
		known := false
		for _, k := range m.marks {
			if k.Source != spec.Name {
				continue
			}
			if known = true; m.idleAt(i, k) > m.now {
				at = min(at, m.idleAt(i, k))
			}
		}
		if t := m.idleAt(i, Mark{Seen: batch.NoTime}); !known && t > m.now {
			at = min(at, t)
		}
	}
	return at
}

// due reports whether a batch without data would emit something, and its watermark.
func (m *Machine) due() (batch.EventTime, bool) {
	w, _ := m.watermark()
	if m.lastPlan == nil || m.lastDone == nil || m.opt.Trigger.Kind == Once {
		return w, false
	}
	return w, w > m.lastPlan.Close && m.lastDone.NextDue <= w || m.rings()
}
