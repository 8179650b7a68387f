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

// Message is what one node tells another. It is sealed: Deploy, Undeploy, Run,
// Cancel, Finished, Failed, Checkpoint, Checkpointed, Restore, Restored and Prune,
// and Reset and Lost, which a node is told by its own transport.
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
	// Homes says where tasks run unless they are tried again.
	Homes Homes
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

// Undeploy ends a plan: its tasks are closed and its state dropped from memory.
type Undeploy struct{ Key string }

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

// Prune lets a worker forget state versions and exchange outputs before Oldest,
// and delete checkpoint files that none of Live names (if Live is not nil). The
// newest output of a static stage stays, however old: later batches read it.
type Prune struct {
	Key    string
	Oldest batch.ID
	Live   [][]byte
}

// Reset tells a worker that no driver counts on it any more: its lease has ended, or it
// has come to a driver that does not know it. Every plan that was deployed before is to
// be ended; what comes behind Reset is new.
type Reset struct{ Reason string }

// Lost tells a driver that the worker it comes from is gone, and all that it held.
// Nothing of it comes behind; a worker that comes again under the name is a new one.
type Lost struct{ Reason string }

func (Deploy) message()       {}
func (Undeploy) message()     {}
func (Run) message()          {}
func (Cancel) message()       {}
func (Finished) message()     {}
func (Failed) message()       {}
func (Checkpoint) message()   {}
func (Checkpointed) message() {}
func (Restore) message()      {}
func (Restored) message()     {}
func (Prune) message()        {}
func (Reset) message()        {}
func (Lost) message()         {}

// Envelope is a received message and its sender.
type Envelope struct {
	From    NodeID
	Message Message
}

// StreamRef names the part of a stage's output that one task reads.
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
}

// Transport is one node's way to the others.
type Transport interface {
	Local() NodeID
	// Send hands a message over. It returns an error only if the other end is known to be gone.
	Send(ctx context.Context, to NodeID, m Message) error
	Inbox() <-chan Envelope
	// Fetch reads exchange output that lies on another node. What has to be copied for
	// that is taken from alloc; nil means Arrow's.
	Fetch(ctx context.Context, from NodeID, ref StreamRef, alloc memory.Allocator) (sources.Reader, error)
	// Serve registers who answers the Fetches of others.
	Serve(func(ctx context.Context, ref StreamRef) (sources.Reader, error))
	Close() error
}
