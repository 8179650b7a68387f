package microbatch

import "github.com/sluice-stream/sluice/batch"

// pace puts off a plan while the batch before is being shown, where showing takes
// longer than making the next batch: it could not commit sooner, and what comes in
// the meantime would have to wait for the batch after. So a batch is planned as late as
// lets it be made just when the one before is shown. What a plan holds does not depend
// on it, only when it is made; and a plan never waits for longer than the reveal.
type pace struct {
	shown, made span
	since       batch.EventTime // when the newest commit was handed out
}

// holdMin is the least time that is worth a plan with a durable write of its own
// instead of one that it shares with the commit before.
const holdMin = 1500 // µs

// span is a low estimate of how long something takes, in µs: it follows shorter times
// faster than longer ones. A sink that waits for a batch costs more than a batch that
// waits for its sink.
type span float64

func (s *span) observe(took batch.EventTime) {
	x, weight := float64(took), 1.0/16
	if x < float64(*s) {
		weight = 1.0 / 4
	}
	*s += span(weight * (x - float64(*s)))
}

// heldUntil is when the next batch may be planned; NoTime if nothing holds it.
func (m *Machine) heldUntil() batch.EventTime {
	showing := m.cur != nil && m.cur.state == committing || m.cur == nil && m.reveal.active
	if !showing || !m.trig.free() || m.drain != nil {
		return batch.NoTime
	}
	for i := range m.sources {
		if m.sources[i].more { // limits leave data behind: throughput counts
			return batch.NoTime
		}
	}
	hold := float64(m.pace.shown - m.pace.made)
	if hold < holdMin {
		return batch.NoTime
	}
	return m.pace.since + batch.EventTime(hold)
}

// held reports whether the next plan waits for its time.
func (m *Machine) held() bool { return m.heldUntil() > m.now }
