//go:build linux

package upgrade

import (
	"strings"
	"testing"
)

// begun is a cluster of one build on which the queries run.
func begun(t *testing.T, bin string) *scene {
	t.Helper()
	s := newScene(t)
	for _, d := range driverIDs {
		s.start(bin, d)
	}
	s.start(bin, "w1")
	s.leader()
	s.joined("w1")
	s.feed()
	s.submit(bin)
	s.goesOn("on one worker")
	return s
}

// A worker that speaks another protocol is told so, by name, and ends; the queries do not
// notice it.
func TestAnotherProtocolIsRefused(t *testing.T) {
	if !*others {
		t.Skip("builds another program; -others does it")
	}
	v1 := build(t, "v1")
	v9 := build(t, "v9", "internal/transport/wire/options.go", "const Protocol = ", "const Protocol = 1000 + ")
	s := begun(t, v1)
	n := s.start(v9, "w2")
	s.until("the worker ends", func() (bool, string) { return n.over(), s.said("w2") })
	if said := s.said("w2"); n.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(said, `worker w2 speaks version`) || !strings.Contains(said, "run builds of one release") {
		t.Errorf("a worker of another protocol ends with %v and says %s", n.cmd.ProcessState, said)
	}
	s.goesOn("without the worker that was refused")
	s.check(v1)
	for q, n := range s.lives("") {
		if n > 1 {
			t.Errorf("query %s has begun %d lives", q, n)
		}
	}
}

// A worker whose build plans the queries otherwise runs none of them, and says so by name.
// They go on without it, and on its like once a driver of that build leads.
func TestAnotherPlanIsRefused(t *testing.T) {
	if !*others {
		t.Skip("builds another program; -others does it")
	}
	v1 := build(t, "v1")
	v8 := build(t, "v8", "cluster_query.go", `return hash + "/" + q.Plan.Key`, `return "other" + hash + "/" + q.Plan.Key`)
	s := begun(t, v1)
	s.start(v8, "w2")
	s.joined("w1", "w2")
	s.until("the worker is refused by name", func() (bool, string) {
		s.alive("with a worker that plans otherwise")
		said := ""
		for _, d := range driverIDs {
			said += s.said(d)
		}
		return strings.Contains(said, "w2") && strings.Contains(said, "program of another version"), s.states()
	})
	s.goesOn("without the worker that was refused")

	// The drivers follow, the leader last. Then the old worker is refused.
	leader, _ := s.leader()
	for _, d := range driverIDs {
		if d != leader {
			s.replaceDriver(v8, d)
		}
	}
	s.begin("handover of %s", leader)
	before := s.lives("[w2]")
	s.stop(leader)
	s.runOn("[w2]", before)
	s.goesOn("on the new worker")
	s.start(v8, leader)
	s.stop("w1")
	s.start(v8, "w1")
	s.joined("w1", "w2")
	s.goesOn("on workers of the new build")
	s.check(v8)
	s.gaps()
}
