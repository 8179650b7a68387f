package microbatch

import "github.com/sluice-stream/sluice/batch"

// Goal is how far a query reads that ends by its trigger: what there was when it began. A
// machine that goes on where another one of the same run has left off is told it, so that
// the run ends where it would have.
type Goal struct {
	At batch.EventTime // when the run began
	// To is where each stream ended then, by name, and Over are those that have ended for ever.
	To   map[string]batch.Offset
	Over map[string]bool
}

// Goal is what the machine's run reads up to; nil if that is not known yet, or the query
// does not end by its trigger.
func (m *Machine) Goal() *Goal {
	if m.trig.goal != nil {
		return m.trig.goal
	}
	return m.opt.Goal
}

// noteGoal takes down what the trigger's own drain reads up to, once all streams have told.
func (m *Machine) noteGoal() {
	d := m.drain
	if d == nil || !d.own || !m.opt.Trigger.Bounded() || m.trig.goal != nil {
		return
	}
	g := &Goal{At: d.at, To: map[string]batch.Offset{}, Over: map[string]bool{}}
	for i, spec := range m.opt.Sources {
		s := &m.sources[i]
		if spec.Static {
			continue
		}
		if !s.hasTarget {
			return
		}
		g.To[spec.Name], g.Over[spec.Name] = s.target, s.ended && s.endAt == s.target
	}
	m.trig.goal = g
}

// pursue begins the drain of a run that another machine has begun.
func (m *Machine) pursue(g *Goal) {
	m.trig.goal, m.drain.at = g, g.At
	for i, spec := range m.opt.Sources {
		s := &m.sources[i]
		if to, ok := g.To[spec.Name]; ok && !spec.Static {
			s.target, s.hasTarget = to, true
			if g.Over[spec.Name] {
				s.ended, s.endAt = true, to
			}
		}
	}
}
