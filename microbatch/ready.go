package microbatch

import "github.com/sluice-stream/sluice/batch"

// Ready is what the driver is to do now. See the package comment for the loop
// and for the order of effects; parts that are nil, empty or zero ask for nothing.
type Ready struct {
	// Append is written in order in one durable write (group commit), after all
	// records of earlier Readys; LogAppended{AppendThrough} answers it.
	Append        []Record
	AppendThrough uint64

	Restore    *Restore
	AskSinks   []AskSink
	Ask        []Ask
	Checkpoint *Checkpoint // takes its state version before Run starts
	Run        *Run
	Reveal     *Reveal

	// Release says how far each source will never be read again. It follows the
	// oldest kept checkpoint, since replay reads what came after it.
	Release []Release
	// Prune, if not None, says that state versions before it are not asked for
	// again (a checkpoint being uploaded keeps its own).
	Prune batch.ID
	// Truncate, if not None, says that log records whose ID is smaller may go.
	Truncate batch.ID

	Processed []int           // tokens of ProcessAll that are done
	WakeAt    batch.EventTime // when the machine wants a Tick at the latest; EndOfTime: no need
	Status    Status

	// Done ends the loop: running work is cancelled and waited for. Err is nil
	// after a stop or when a bounded trigger has processed everything.
	Done bool
	Err  error
}

// Restore asks to load a state version on all workers, in place of whatever they hold
// but for what Later allows (M11).
type Restore struct {
	Batch     batch.ID // None: empty state, no manifests
	Manifests []Manifest
	// Later are the newest versions after Batch, the newest first, at most LaterMax. If
	// workers still hold one of them with these digests, all of it and from the life of
	// term Before, it will do as well; Restored says which.
	Later        []Version
	Term, Before batch.Term
}

// LaterMax bounds how many versions are named that workers may still hold: copies of
// state are some batches behind when these are short.
const LaterMax = 32

// Version is the state after a committed batch.
type Version struct {
	Batch  batch.ID
	Shards []batch.ShardDigest
}

// AskSink asks what a transactional sink holds of this query.
type AskSink struct {
	Sink string
	Term batch.Term // the sink refuses older terms from now on
}

// Ask asks how far a source can be read. An Ask makes older ones of the same
// source void: their answers are ignored.
type Ask struct {
	Source string
	Seq    uint64 // repeated in the answer
	From   batch.Offset
	Until  batch.Offset // never past this offset; empty: no bound
	Rows   int64        // at most about so many rows, besides the source's own limit; 0: no such limit
	All    bool         // ignore the source's own limit: the end of what is there now
	Static bool         // the source has no offsets: answer with its Pin
}

// Mode says what is done with a run's output.
type Mode int

// The modes of a run.
const (
	// Live prepares output for a batch that is not committed yet.
	Live Mode = iota
	// Replay rebuilds state: output is computed, digested and thrown away. The
	// Result's Prepared carry sink, partition, rows and digest, no payload.
	Replay
	// Reprepare is a replay that prepares output again for the sinks in
	// Run.Sinks, whose prepared output did not survive; the others as in Replay.
	Reprepare
)

// String names the mode in lower case.
func (m Mode) String() string {
	switch m {
	case Live:
		return "live"
	case Replay:
		return "replay"
	case Reprepare:
		return "reprepare"
	}
	return "unknown"
}

// Run asks to run every task of a batch on state version Plan.Batch-1.
type Run struct {
	Plan    Planned
	Attempt int
	Mode    Mode
	Term    batch.Term // the running term, which may be newer than the plan's
	Sinks   []string   // under Reprepare
}

// Reveal asks to show the output of a committed batch. It is idempotent by
// (query, batch), so it is asked for again after every restart.
type Reveal struct {
	Batch    batch.ID
	Term     batch.Term
	Attempt  int
	Prepared []batch.Prepared // of the sinks in Sinks alone, by sink, then partition
	Sinks    []string         // every one is committed, also when it has no part
}

// Release says that a source is never read again before To.
type Release struct {
	Source string
	To     batch.Offset
}

// Checkpoint asks to make a state version durable outside the workers. The
// version is taken before the same Ready's Run; the upload is not waited for.
type Checkpoint struct{ Batch batch.ID }

// Phase says what a query is doing, for progress and for EXPLAIN of a stuck one.
type Phase int

// The phases of a machine.
const (
	Reading    Phase = iota // the log is being read
	Recovering              // restoring, replaying
	Waiting                 // for the trigger or for data
	Running                 // a batch runs
	Stopping                // the last batch is being finished
	Ended
)

// String names the phase in lower case.
func (p Phase) String() string {
	names := [...]string{"reading", "recovering", "waiting", "running", "stopping", "ended"}
	if int(p) < len(names) && p >= 0 {
		return names[p]
	}
	return "unknown"
}

// Status is where the query stands. It is a snapshot: cheap, complete, and not
// cleared by Advance.
type Status struct {
	Phase        Phase
	Term         batch.Term
	Planned      batch.ID // newest batch with a durable plan
	Committed    batch.ID
	Revealed     batch.ID
	Checkpointed batch.ID
	Watermark    batch.EventTime // that the next plan would have
	NextDue      batch.EventTime
	NextTrigger  batch.EventTime // EndOfTime if there is none
	Attempt      int             // of the running batch
	RevealTries  int             // failed reveals of the last committed batch
	RowLimit     int64           // that LATENCY proposes now; 0 if none
	HeldBackBy   string          // source#partition that keeps the watermark where it is
}
