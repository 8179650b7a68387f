//go:build linux

package partition

import (
	"fmt"
	"time"
)

// group is what a driver says of its group.
type group struct {
	Self, Leader string
	Term         uint64
}

// electionMax is how long it may take until one leads when all can speak to each other.
const electionMax = 10 * time.Second

// leader is the driver that says that it leads, in the newest term of which anybody knows;
// nil if there is none.
func (s *scene) leader() (leader *node) {
	newest := uint64(0)
	for _, d := range s.drivers {
		if !d.runs() {
			continue
		}
		var g group
		if err := s.ask(d, "/api/drivers", &g); err != nil {
			continue // it is stopped, or has just been started
		}
		if g.Leader == d.id {
			s.leads(d, g.Term)
		}
		if g.Term >= newest {
			if newest = g.Term; g.Leader == d.id {
				leader = d
			} else if leader != nil && g.Leader != leader.id {
				leader = nil
			}
		}
	}
	return leader
}

// leads notes who leads in a term: never two.
func (s *scene) leads(d *node, term uint64) {
	s.t.Helper()
	if was := s.terms[term]; was != "" && was != d.id {
		s.t.Fatalf("in term %d both %s and %s lead", term, was, d.id)
	}
	s.terms[term] = d.id
}

// led waits until a driver leads.
func (s *scene) led(long bool) time.Duration {
	s.t.Helper()
	begun := time.Now()
	s.until("a driver leads", func() (bool, string) {
		var said []string
		for _, d := range s.drivers {
			var g group
			err := s.ask(d, "/api/drivers", &g)
			said = append(said, fmt.Sprint(d.id, " ", g, " ", err))
		}
		return s.leader() != nil, fmt.Sprint(said)
	})
	took := time.Since(begun)
	if long && took > electionMax { // a machine that has no time for it says nothing
		s.t.Errorf("it took %s until a driver led", took)
	}
	return took
}
