package sluice

import (
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/inproc"
	"github.com/sluice-stream/sluice/worker"
)

// crew is the workers of the session's own process. They share its connectors and
// its budget of memory, and nothing else: rows go from one to the other as they
// would between machines.
type crew struct {
	ids     []transport.NodeID
	nodes   []*inproc.Node
	workers []*worker.Worker
}

// startCrew starts n workers on the session's network.
func (s *Session) startCrew(n int) error {
	for i := range max(n, 1) {
		id := transport.NodeID("worker")
		if i > 0 {
			id = transport.NodeID(fmt.Sprintf("worker%d", i+1))
		}
		node, err := s.net.Join(id)
		if err != nil {
			return errors.Join(err, s.crew.close())
		}
		s.crew.ids, s.crew.nodes = append(s.crew.ids, id), append(s.crew.nodes, node)
		s.crew.workers = append(s.crew.workers, worker.New(node, s.conns, worker.Options{
			SpillDir: s.spill, Memory: s.memory, Alloc: buffers, Clock: clock.System(),
		}))
	}
	return nil
}

func (c *crew) close() error {
	var errs []error
	for _, w := range c.workers {
		errs = append(errs, w.Close())
	}
	for _, n := range c.nodes {
		errs = append(errs, n.Close())
	}
	return errors.Join(errs...)
}
