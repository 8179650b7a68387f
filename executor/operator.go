package executor

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
)

// Operator is a node of a task's tree.
type Operator interface {
	sources.Reader
	Schema() *arrow.Schema
	// Open starts a micro-batch: it opens the inputs, then itself. After an error
	// the operator may be opened again for another batch.
	Open(ctx context.Context, tc *TaskContext) error
	Inputs() []Operator
	fmt.Stringer // the EXPLAIN line
}

// TaskContext is all that operators may use besides their inputs.
type TaskContext struct {
	Spec  batch.TaskSpec
	Alloc memory.Allocator
	Zone  string
	// Opener returns the worker's half of a source.
	Opener func(source string) (sources.Opener, error)
	// Fetch reads the output of an upstream stage for this task, in (task, sequence) order.
	Fetch func(ctx context.Context, in batch.Input) (sources.Reader, error)
	// FetchPart is Fetch for part sub of subs of this task's rows, cut by key group;
	// only for the output of a hash exchange. Nil: nothing can be read in parts.
	FetchPart func(ctx context.Context, in batch.Input, sub, subs int) (sources.Reader, error)
	// State starts this task's part of an operator's state; nil for stages without state.
	State func(ctx context.Context, operator string) (statestore.Txn, error)
	// Writer makes the sink writer of a stage that ends in a sink.
	Writer func(ctx context.Context, sink string, schema *arrow.Schema) (sinks.Writer, error)
	// Charge takes memory that is not Arrow's (tables, keys) from the task's budget,
	// or gives it back if n is negative. Nil: nobody counts.
	Charge func(n int64) error
	// Budget is the limit that Charge and Alloc work under, in bytes; 0 for none.
	Budget int64
	// Pressure reports that memory is short: operators with much in hand spill. Nil never does.
	Pressure func() bool
	// Spill is a folder for what does not fit into memory; it is emptied when the task ends.
	Spill string
	// Tables are the join tables that tasks of the plan share on this worker; nil
	// shares none.
	Tables *Tables
	// Lend is called by a task that waits for another one of the plan: it may run in its
	// place until what Lend returned is called. Nil: it waits where it is.
	Lend func() (resume func())
	// Result collects what the task reports: counters, times, next due.
	Result *batch.TaskResult
	// bad takes rows that cannot be decoded or computed; nil takes none. unfit is what
	// becomes of the latter; nil stops at the first.
	bad   *quarantine
	unfit *unfit
	// opened is about the operators' states, for progress; nil outside of a task's run.
	opened *openedState
	late   *lateRows // takes late rows; nil drops them
	// Seed is of (query, batch, stage, partition), for functions such as rand().
	Seed uint64
}
