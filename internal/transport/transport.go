package transport

import (
	"context"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

// NodeID names a driver or a worker.
type NodeID string

// Message is what one node tells another. It is sealed: Deploy, Undeploy, Run,
// Cancel, Finished, Failed, Checkpoint, Checkpointed, Restore, Restored and Prune.
type Message interface{ message() }

// Deploy hands a worker the plan that later Runs name. Plan is a
// *physical.Plan in process and its wire form between processes.
type Deploy struct {
	Key  string
	Plan any
}

// Undeploy ends a plan: its tasks are closed and its state dropped from memory.
type Undeploy struct{ Key string }

// Run starts a task.
type Run struct{ Spec batch.TaskSpec }

// Cancel stops a task whose result is no longer wanted.
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
	Err       error
}

// Restore asks for version Batch of the shards to be loaded from manifests.
type Restore struct {
	Key       string
	Batch     batch.ID
	Shards    []batch.Shard
	Manifests [][]byte
}

// Restored answers Restore.
type Restored struct {
	Key   string
	Batch batch.ID
	Err   error
}

// Prune lets a worker forget state versions and exchange outputs before Oldest,
// and delete checkpoint files that none of Live names (if Live is not nil).
type Prune struct {
	Key    string
	Oldest batch.ID
	Live   [][]byte
}

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
}

// Transport is one node's way to the others.
type Transport interface {
	Local() NodeID
	// Send hands a message over. It returns an error only if the other end is known to be gone.
	Send(ctx context.Context, to NodeID, m Message) error
	Inbox() <-chan Envelope
	// Fetch reads exchange output that lies on another node.
	Fetch(ctx context.Context, from NodeID, ref StreamRef) (sources.Reader, error)
	// Serve registers who answers the Fetches of others.
	Serve(func(ctx context.Context, ref StreamRef) (sources.Reader, error))
	Close() error
}
