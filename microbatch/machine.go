package microbatch

import (
	"fmt"

	"github.com/sluice-stream/sluice/batch"
)

// Machine decides for one query under one term. It is not safe for concurrent use.
type Machine struct {
	opt     Options
	pending Ready
}

// New makes a machine that waits for the log's records.
func New(opt Options) (*Machine, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	return &Machine{opt: opt.withDefaults(), pending: Ready{Prune: batch.None, Truncate: batch.None}}, nil
}

// Step tells the machine what happened. An error is final.
func (m *Machine) Step(ev Event) error { return fmt.Errorf("step %T: not wired yet", ev) }

// Ready returns what is to be done; false if nothing is. It returns the same
// until Advance.
func (m *Machine) Ready() (Ready, bool) { return m.pending, false }

// Advance says that the driver has taken everything in rd upon itself.
func (m *Machine) Advance(rd Ready) {}
