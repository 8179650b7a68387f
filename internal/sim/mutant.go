package sim

import (
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// Mutant breaks one rule of the protocol on purpose, at the seam between machine
// and world, to prove that the checkers can fail.
type Mutant int

// The mutants; None is the protocol as it is.
const (
	None             Mutant = iota
	NoSync                  // a record is reported durable before it is
	NoFence                 // neither log nor sinks refuse older terms
	EarlyReveal             // output is shown when it is prepared
	Replan                  // a plan found in the log is made again
	ForgetWatermark         // event times do not survive a restart
	BlindRetry              // a sink is not believed that it shows a batch
	Nondeterministic        // the result depends on the number of tasks
	SkipReplay              // a replay repeats what was committed and rebuilds no state
	DoubleAdopt             // both attempts at a task are adopted
	SkipReveal              // a reveal is taken for done
	EarlyRelease            // sources are released at the commit
	NoQuorum                // a leader acts on a record that no majority holds yet
	mutants
)

var mutantNames = [...]string{"none", "no-sync", "no-fence", "early-reveal", "replan", "forget-watermark", "blind-retry",
	"nondeterministic", "skip-replay", "double-adopt", "skip-reveal", "early-release", "no-quorum"}

// String names the mutant as the command's -mutant does.
func (m Mutant) String() string { return mutantNames[m] }

// Mutants lists all but None.
func Mutants() []Mutant {
	var all []Mutant
	for m := None + 1; m < mutants; m++ {
		all = append(all, m)
	}
	return all
}

// replayed is what the mutant lets the machine see of the log.
func (m Mutant) replayed(recs []microbatch.Record) []microbatch.Record {
	switch m {
	case Replan:
		if n := len(recs); n > 0 {
			if _, ok := recs[n-1].(microbatch.Planned); ok {
				return recs[:n-1]
			}
		}
	case ForgetWatermark:
		out := make([]microbatch.Record, len(recs))
		for i, r := range recs {
			switch r := r.(type) {
			case microbatch.Committed:
				r.Marks, r.NextWatermark = nil, batch.NoTime
				out[i] = r
			case microbatch.Started, microbatch.Planned, microbatch.Checkpointed, microbatch.Adopted:
				out[i] = r
			}
		}
		return out
	default: // the others see the log as it is
	}
	return recs
}
