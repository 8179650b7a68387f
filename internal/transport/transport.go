package transport

import (
	"context"
	"errors"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

// NodeID names a driver or a worker.
type NodeID string

// ErrGone is wrapped by Send and Fetch when the other node is not, or no longer, there.
var ErrGone = errors.New("the node is gone")

// Message is what one node tells another. It is sealed: Deploy, Deployed, Undeploy, Survey,
// Surveyed, Run, Cancel, Finished, Failed, Checkpoint, Checkpointed, Restore, Restored,
// Prune and Needless, and Reset and Lost, which a node is told by its own transport.
type Message interface{ message() }

// Deploy hands a worker the plan that later Runs name. Plan is a
// *physical.Plan in process and a PlanText between processes.
type Deploy struct {
	Key   string // of this run of the query: two queries with one plan have two keys
	Query batch.QueryID
	Plan  any
	// Parts is the number of partitions of every Hash stage, and so of every
	// exchange by hash, whatever kind of stage writes it. TaskSpec.Parts is that
	// of the task's own stage: 1 for a Single stage, which owns all key groups.
	Parts int
	// StateDir is where the query's state checkpoints lie; empty for a query
	// without state.
	StateDir string
	// Elsewhere are the shards of the query that other workers hold. Their files
	// in StateDir are not the receiver's to delete.
	Elsewhere []batch.Shard
	// Follows are shards of other workers of which the receiver is to have copies, and
	// follow what becomes of them.
	Follows []batch.Shard
	// Homes says where tasks run unless they are tried again.
	Homes Homes
	// Quota is what the query may have of the worker.
	Quota Quota
	// Measure asks for what each operator holds and spills, in the results of tasks.
	Measure bool
}

// Quota is what a query may have of each worker that it runs on, beside others.
type Quota struct {
	// Weight is the query's share of the slots while several want them; 0 is 1.
	Weight int
	// Memory is how many bytes the query may hold; 0 is what the worker may.
	Memory int64
}

// Deployed answers the Deploy of a PlanText, before anything else that names its key: the
// plan is ready, or Err is why this worker cannot run it.
type Deployed struct {
	Key string
	Err error
}

// Homes is where the tasks of a plan run at first. Driver and workers both know it, so
// that a Run need not name the node of every task before it: with n tasks a stage that
// would be n times n names a batch.
type Homes struct {
	Workers []NodeID
	Places  []int // of tasks with these numbers: a place in Workers; others go round
}

// Of returns the home of a task by its number within its stage; none without workers.
func (h Homes) Of(task int) NodeID {
	if len(h.Workers) == 0 {
		return ""
	}
	return h.Workers[h.Place(task)]
}

// Place is the place in Workers of a task's home.
func (h Homes) Place(task int) int {
	if task < len(h.Places) {
		return h.Places[task]
	}
	return task % len(h.Workers)
}

// PlanText is a plan as it travels between processes: what it is planned from. Both
// ends plan it, and the one that comes to a plan with another key refuses it.
type PlanText struct {
	Key string // of the plan, made from its text: equal keys are equal plans
	// Query is the statement, and Definitions are the statements that made what it
	// names, in order.
	Query       string
	Definitions []string
	// Settings are those of the session that a plan depends on.
	Settings map[string]string
}

// Undeploy ends a plan: its tasks are closed and its state dropped from memory. With Keep
// the state stays for a while: the next life of the query may find it useful.
type Undeploy struct {
	Key  string
	Keep bool
}

// Survey asks a worker what it keeps of a query's state from the life before.
type Survey struct {
	Key   string // of the question
	Query batch.QueryID
}

// Surveyed answers Survey.
type Surveyed struct {
	Key  string
	Term batch.Term // of the life that left it
	Kept []Kept
}

// Kept is a sealed version of a shard that a worker holds.
type Kept struct {
	Shard   batch.Shard
	Version batch.ID
	Digest  batch.Digest
	Copy    bool // of a shard that another worker had
}

// Run starts a task. The driver keeps a bounded number of tasks under way with
// each worker and sends the next one when one is answered.
type Run struct {
	Spec batch.TaskSpec
	// Where holds, for each of Spec.Inputs, the node on which each task of that
	// stage left its output. Nil: everything lies on the receiver. An entry that is
	// nil: each task's output lies at its home. The result does not depend on it.
	Where [][]NodeID
}

// Cancel stops a task whose result is no longer wanted. The task is answered all
// the same, by Failed or, if it was done already, by Finished: the driver starts
// nothing on the same state before that.
type Cancel struct{ Task batch.TaskID }

// Finished is the result of a task.
type Finished struct{ Result batch.TaskResult }

// Failed reports a task that ended with an error.
type Failed struct {
	Task batch.TaskID
	Term batch.Term
	Err  error
}

// Checkpoint asks for version Batch of the shards to be made durable.
type Checkpoint struct {
	Key    string
	Batch  batch.ID
	Shards []batch.Shard
}

// Checkpointed answers Checkpoint. Manifests are statestore.Manifest values in JSON.
type Checkpointed struct {
	Key       string
	Batch     batch.ID
	Manifests [][]byte
	Holding   Holding
	Err       error
}

// Restore asks for version Batch of the shards to be loaded from manifests, in
// place of whatever the worker holds. Batch None is the empty state.
type Restore struct {
	Key       string
	Batch     batch.ID
	Shards    []batch.Shard
	Manifests [][]byte
	// Kept are shards of which the worker is to go on with what it keeps, all of version
	// Batch, from the life of term Before. If it cannot it says so and restores nothing.
	Kept   []Kept
	Before batch.Term
	// Term is of the life that begins: an older one is refused from now on.
	Term batch.Term
}

// Restored answers Restore.
type Restored struct {
	Key     string
	Batch   batch.ID
	Holding Holding
	Err     error
}

// Holding is what a worker holds of a query's state.
type Holding struct {
	Shards, Rows int64
	Bytes        int64 // of keys and values
	RowsLoaded   int64 // rows of shards that read nothing from files
	Files        batch.FileUse
}

// Follow tells a worker of a checkpoint from which its copies can be read.
type Follow struct {
	Key       string
	Batch     batch.ID
	Manifests [][]byte
}

// Followed tells how far all copies of a worker have followed; None if one of them is not
// to be had.
type Followed struct {
	Key   string
	Batch batch.ID
}

// Prune lets a worker forget state versions and exchange outputs before Oldest,
// and delete checkpoint files that none of Live names (if Live is not nil). The
// newest output of a static stage stays, however old: later batches read it.
type Prune struct {
	Key    string
	Oldest batch.ID
	Live   [][]byte
	// Committed is the newest version that is committed: copies follow up to it, and
	// outputs before it go.
	Committed batch.ID
}

// Needless tells the driver which files of the state nobody needs any more, in a store
// from which it alone deletes: it knows whether the checkpoint is still its own.
type Needless struct {
	Key   string
	Files []string
}

// Reset tells a worker that no driver counts on it any more: its lease has ended, or it
// has come to a driver that does not know it. Every plan that was deployed before is to
// be ended; what comes behind Reset is new.
type Reset struct{ Reason string }

// Lost tells a driver that the worker it comes from is gone, and all that it held.
// Nothing of it comes behind; a worker that comes again under the name is a new one.
type Lost struct{ Reason string }

func (Deploy) message()       {}
func (Deployed) message()     {}
func (Undeploy) message()     {}
func (Survey) message()       {}
func (Surveyed) message()     {}
func (Run) message()          {}
func (Cancel) message()       {}
func (Finished) message()     {}
func (Failed) message()       {}
func (Checkpoint) message()   {}
func (Checkpointed) message() {}
func (Restore) message()      {}
func (Restored) message()     {}
func (Follow) message()       {}
func (Followed) message()     {}
func (Prune) message()        {}
func (Needless) message()     {}
func (Reset) message()        {}
func (Lost) message()         {}

// Envelope is a received message and its sender.
type Envelope struct {
	From    NodeID
	Message Message
}

// StreamRef names the part of a stage's output that one task reads, or asks for other rows.
type StreamRef struct {
	Key       string // the plan
	Batch     batch.ID
	Stage     int
	Task      int // the writing task
	Partition int // of the exchange; 0 for one and all
	// Follow reads the rows of Attempt while they are made, which it waits for. Else
	// what is read is done.
	Follow  bool
	Attempt int
	// Ask is a question that the rows answer, in place of output; nil for output. Of the
	// rest of the ref Key alone counts then.
	Ask Ask
}

// TasksReader reads the outputs of several tasks in their order.
type TasksReader interface {
	sources.Reader
	// Place says whose the rows are that Next has returned last: a place in the list that
	// was asked for. It never falls. A task without rows has none.
	Place() int
}

// Ask is a question that a node answers with rows. It is sealed: ReadState and Changes, which a
// worker answers, and Look and Settle, which the driver's node of a query does.
type Ask interface{ ask() }

// ReadState asks for the rows of a sealed version of a shard, as the columns key and value.
type ReadState struct {
	Shard   batch.Shard
	Version batch.ID
	// Keys are the rows that are wanted; nil means all. With Ends those from a key up to
	// its end are.
	Keys, Ends [][]byte
}

// Look asks for the rows of a table in an outside system that have one of the keys, see
// sources.Looker.
type Look struct {
	Source string
	Batch  batch.ID
	On     []int
	// Columns are those that are wanted, nil for all.
	Columns []int
	Keys    []byte // see PackKeys
}

// Settle asks that what a batch was answered is durable; the answer has no rows.
type Settle struct {
	Source string
	Batch  batch.ID
}

// Changes asks a shard's worker for what differs between two sealed versions, as the
// columns key and value, which is null of a row that is deleted. The first row has no key,
// and tells what the newer version is.
type Changes struct {
	Shard     batch.Shard
	Since, To batch.ID
}

func (ReadState) ask() {}
func (Changes) ask()   {}
func (Look) ask()      {}
func (Settle) ask()    {}

// Transport is one node's way to the others.
type Transport interface {
	Local() NodeID
	// Send hands a message over. It returns an error only if the other end is known to be gone.
	Send(ctx context.Context, to NodeID, m Message) error
	Inbox() <-chan Envelope
	// Fetch reads exchange output that lies on another node. What has to be copied for
	// that is taken from alloc; nil means Arrow's.
	Fetch(ctx context.Context, from NodeID, ref StreamRef, alloc memory.Allocator) (sources.Reader, error)
	// FetchTasks is Fetch of the outputs of several tasks of ref's stage that lie on one
	// node, one after the other; ref.Task means nothing. For the other node it is so many
	// Fetches.
	FetchTasks(ctx context.Context, from NodeID, ref StreamRef, tasks []int, alloc memory.Allocator) (TasksReader, error)
	// Serve registers who answers the Fetches of others.
	Serve(func(ctx context.Context, ref StreamRef) (sources.Reader, error))
	Close() error
}
