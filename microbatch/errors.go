package microbatch

import "errors"

// The refusals of a machine. Each is wrapped with what was found.
var (
	// ErrNoIdentity: the log holds batches but no record of whose they are (C22).
	ErrNoIdentity = errors.New("the batch log has lost its identity")
	// ErrForeignLog: the log belongs to another query (C20).
	ErrForeignLog = errors.New("the checkpoint belongs to another query")
	// ErrPlanChanged: the query's plan or fixed options differ from the log's (C15).
	ErrPlanChanged = errors.New("the query has changed since its checkpoint was written")
	// ErrLogGap: records are missing from the log.
	ErrLogGap = errors.New("the batch log has a gap")
	// ErrLogConflict: two records contradict each other.
	ErrLogConflict = errors.New("the batch log contradicts itself")
	// ErrDiverged: a replayed batch differs from what was committed.
	ErrDiverged = errors.New("a replayed batch differs from what was committed")
	// ErrSinkDiverged: a sink holds other rows for a batch than the log says.
	ErrSinkDiverged = errors.New("a sink holds other output than was committed")
	// ErrSinkAhead: a sink holds a batch that the log does not know (C21).
	ErrSinkAhead = errors.New("a sink is ahead of the checkpoint")
	// ErrSinkBehind: a sink has lost output that had been revealed.
	ErrSinkBehind = errors.New("a sink has lost output that it had shown")
	// ErrNoCheckpoint: no checkpoint can be loaded and the log does not reach back to the start.
	ErrNoCheckpoint = errors.New("no usable checkpoint")
	// ErrProtocol: the driver told the machine something that cannot be.
	ErrProtocol = errors.New("the protocol was broken")
)

// IsRefusal reports whether err is one of the named refusals of this package:
// starting again by itself cannot help.
func IsRefusal(err error) bool {
	for _, e := range []error{ErrNoIdentity, ErrForeignLog, ErrPlanChanged, ErrLogGap, ErrLogConflict,
		ErrDiverged, ErrSinkDiverged, ErrSinkAhead, ErrSinkBehind, ErrNoCheckpoint, ErrProtocol} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
