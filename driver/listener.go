package driver

import (
	"sync"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
)

// Event is something that a query did. The types in this file are all there are.
type Event interface{ event() }

// Origin says which run of which query an event belongs to.
type Origin struct {
	Query batch.QueryID
	Name  string
	Run   string // drawn anew at every start
	At    time.Time
}

// Listener is told of every event, one at a time, in the order in which they
// happened as far as there is one. It must return soon: the query waits.
type Listener interface {
	On(o Origin, e Event)
}

// ListenerFunc makes a Listener of a function.
type ListenerFunc func(o Origin, e Event)

// On calls the function.
func (f ListenerFunc) On(o Origin, e Event) { f(o, e) }

// Listeners tells several listeners.
type Listeners []Listener

// On tells each listener in turn.
func (l Listeners) On(o Origin, e Event) {
	for _, one := range l {
		one.On(o, e)
	}
}

// QueryStarted is the first event of a run: the log was read and accepted.
type QueryStarted struct {
	Records int      // in the log
	Planned batch.ID // newest batch in the log, None if none
	Trigger string
}

// BatchPlanned says that a batch's plan is handed to the log.
type BatchPlanned struct{ Plan microbatch.Planned }

// BatchStarted says that a batch's tasks start. Mode is Live unless state is rebuilt.
type BatchStarted struct {
	Batch   batch.ID
	Attempt int
	Mode    microbatch.Mode
}

// TaskFinished is the result of a task, adopted or not.
type TaskFinished struct {
	Result batch.TaskResult
	Worker transport.NodeID
	Took   time.Duration
}

// TaskFailed is the failure of an attempt at a task. Again: it is tried again.
type TaskFailed struct {
	Task   batch.TaskID
	Worker transport.NodeID
	Err    error
	Again  bool
}

// BatchFailed is the failure of an attempt at a batch. Retry: trying again may help.
type BatchFailed struct {
	Batch   batch.ID
	Attempt int
	Err     error
	Retry   bool
}

// BatchCommitted says that a batch's commit is durable.
type BatchCommitted struct {
	Batch    batch.ID
	Counters batch.Counters
}

// BatchRevealed says that every sink shows a batch.
type BatchRevealed struct{ Progress Progress }

// RevealFailed is a failed try to show a batch.
type RevealFailed struct {
	Batch batch.ID
	Try   int
	Err   error
	Retry bool
}

// Checkpointed says that a state version is durable outside the workers.
type Checkpointed struct {
	Batch batch.ID
	Bytes int64
	Took  time.Duration
}

// CheckpointFailed says that it is not; the next one is tried by the usual policy.
type CheckpointFailed struct {
	Batch batch.ID
	Err   error
}

// Restored says that workers hold a state version. Recovery has what is known so far.
type Restored struct {
	Batch    batch.ID
	Took     time.Duration
	Recovery Recovery
}

// Recovered says that the batches since have been run again, too.
type Recovered struct{ Recovery Recovery }

// Warning is a failure that does the query no harm by itself.
type Warning struct {
	Doing string
	Err   error
}

// StatusChanged carries where the query stands after every step.
type StatusChanged struct{ Status microbatch.Status }

// WorkersTaken says on which workers a life of the query runs.
type WorkersTaken struct {
	Workers     []transport.NodeID
	Parallelism int
}

// WorkerRefused says that a worker cannot run the query, which goes on with others.
type WorkerRefused struct {
	Worker transport.NodeID
	Err    error
}

// WorkerLost says that a worker of the query is gone, and what it was doing.
type WorkerLost struct {
	Worker transport.NodeID
	Reason string
	Tasks  []batch.TaskID
}

// QueryEnded is the last event of a run. Err is nil after a stop or when a
// bounded trigger has processed everything.
type QueryEnded struct{ Err error }

func (QueryStarted) event()     {}
func (BatchPlanned) event()     {}
func (BatchStarted) event()     {}
func (TaskFinished) event()     {}
func (TaskFailed) event()       {}
func (BatchFailed) event()      {}
func (BatchCommitted) event()   {}
func (BatchRevealed) event()    {}
func (RevealFailed) event()     {}
func (Checkpointed) event()     {}
func (CheckpointFailed) event() {}
func (Restored) event()         {}
func (Recovered) event()        {}
func (Warning) event()          {}
func (StatusChanged) event()    {}
func (WorkersTaken) event()     {}
func (WorkerLost) event()       {}
func (WorkerRefused) event()    {}
func (QueryEnded) event()       {}

// announcer stamps events and tells the listener one at a time.
type announcer struct {
	origin Origin
	run    string
	now    func() time.Time
	to     Listener

	mu sync.Mutex // held while the listener is told
}

func (a *announcer) send(e Event) {
	if a.to == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.origin
	o.At = a.now()
	a.to.On(o, e)
}

// task spares the making of an event that nobody hears.
func (a *announcer) task(r batch.TaskResult, w transport.NodeID, took time.Duration) {
	if a.to != nil {
		a.send(TaskFinished{Result: r, Worker: w, Took: took})
	}
}
