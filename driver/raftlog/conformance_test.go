package raftlog

import (
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/driver/logtest"
)

// subject is a query of a node; each life is found by another start of the node.
type subject struct {
	w *world
	q Query
}

func (s *subject) Open(t *testing.T) (driver.BatchLog, batch.Term) {
	s.w.t = t
	s.w.stop("d1")
	s.w.start("d1")
	n := s.w.leader("d1")
	if s.q.ID == "" {
		s.q = create(t, n, "hot")
	}
	l := life(t, n, s.q.ID)
	return l, l.Term()
}

func TestBatchLog(t *testing.T) {
	for name, test := range logtest.Tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) { test(t, &subject{w: w}) })
		})
	}
}
