package microbatch

import "github.com/sluice-stream/sluice/batch"

// Event is something that happened. The types in this file are all there are.
type Event interface{ event() }

// Tick moves the machine's time. The driver steps one before any other event.
type Tick struct{ At batch.EventTime }

// LogRecord hands over one record of the log at start, oldest first.
type LogRecord struct{ Record Record }

// LogEnd says that the log has been read; recovery starts.
type LogEnd struct{}

// LogAppended says that every record up to Ready.AppendThrough is durable.
type LogAppended struct{ Through uint64 }

// AppendFailed says that an append failed. A failed append is never repeated
// (fsync may have lost the page): the query stops, or is fenced if Err is ErrFenced.
type AppendFailed struct{ Err error }

// Restored answers Ready.Restore: the workers hold state version Batch, its own or one
// of Later.
type Restored struct{ Batch batch.ID }

// RestoreFailed answers Ready.Restore: that checkpoint cannot be used. The
// machine falls back on the one before, if the log still holds it.
type RestoreFailed struct {
	Batch batch.ID
	Err   error
}

// SourceAvailable answers an Ask, or is pushed by a source that sees new data.
type SourceAvailable struct {
	Source string
	Ask    uint64       // the Ask's Seq; 0 for a push
	From   batch.Offset // the Ask's; a push from another position makes the source be asked
	To     batch.Offset // how far it can be read now, under the Ask's limits; From if there is nothing
	Pin    string       // a static source's version
	More   bool         // a limit cut it short: there is more to read after To
	// Ended says that nothing will ever come after To: the source is bounded.
	// When all have ended and are processed, every window closes and the query ends.
	Ended bool
}

// SourceChanged says that a source may have more to read, without saying how far:
// it is asked at once, if the trigger would plan a batch.
type SourceChanged struct{ Source string }

// SourceFailed answers an Ask that failed.
type SourceFailed struct {
	Source string
	Ask    uint64 // the Ask's Seq
	Err    error
	Retry  bool
}

// BatchDone answers Run: every task has prepared its output. Result comes from a Collector.
type BatchDone struct {
	Batch   batch.ID
	Attempt int
	Result  Result
}

// BatchFailed answers Run: the attempt is given up and its state and output are thrown away.
type BatchFailed struct {
	Batch   batch.ID
	Attempt int
	Err     error
	Retry   bool
}

// Revealed answers Reveal: every sink shows the batch.
type Revealed struct{ Batch batch.ID }

// RevealFailed answers Reveal. Some sinks may show the batch, some not; whether
// the one that failed does may be unknown (C7).
type RevealFailed struct {
	Batch batch.ID
	Err   error
	Retry bool // false: trying again cannot help, the query stops
}

// SinkHolds answers AskSinks: the newest batch of this query that the sink
// shows (None if none) and the sum of the digests of its rows.
type SinkHolds struct {
	Sink   string
	Batch  batch.ID
	Digest batch.Digest
}

// SinkUnknown answers AskSinks when the sink could not be asked.
type SinkUnknown struct {
	Sink  string
	Err   error
	Retry bool
}

// CheckpointDone answers Checkpoint: the state version is durable.
type CheckpointDone struct {
	Batch     batch.ID
	Manifests []Manifest
}

// CheckpointFailed answers Checkpoint. The next one is asked for by the usual policy.
type CheckpointFailed struct {
	Batch batch.ID
	Err   error
}

// CheckpointRequested asks for a checkpoint of the newest committed batch, whatever
// the policy says, unless there is one. If it fails the policy decides again.
type CheckpointRequested struct{}

// ProcessAll asks to process all that sources hold at this moment, whatever the
// trigger says; Ready.Processed names the token when its output is visible. A
// query that is stopped or fails first never names it.
type ProcessAll struct{ Token int }

// StopRequested ends the query: after what is planned is revealed, or at
// once with Abandon, which leaves a planned batch for the next start.
type StopRequested struct{ Abandon bool }

// TermLost says that a newer term leads: nothing may be started any more.
type TermLost struct{}

func (Tick) event()                {}
func (LogRecord) event()           {}
func (LogEnd) event()              {}
func (LogAppended) event()         {}
func (AppendFailed) event()        {}
func (Restored) event()            {}
func (RestoreFailed) event()       {}
func (SourceAvailable) event()     {}
func (SourceChanged) event()       {}
func (SourceFailed) event()        {}
func (BatchDone) event()           {}
func (BatchFailed) event()         {}
func (Revealed) event()            {}
func (RevealFailed) event()        {}
func (SinkHolds) event()           {}
func (SinkUnknown) event()         {}
func (CheckpointDone) event()      {}
func (CheckpointFailed) event()    {}
func (CheckpointRequested) event() {}
func (ProcessAll) event()          {}
func (StopRequested) event()       {}
func (TermLost) event()            {}
