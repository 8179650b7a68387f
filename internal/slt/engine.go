package slt

import (
	"context"
	"testing"
)

// Column describes a column of a result.
type Column struct {
	Name string
	Type string // T, I, R, B, or empty if the engine does not tell
}

// Engine runs SQL. Rows come back as text, the way that the command line prints
// them, with NULL for a null.
type Engine interface {
	Exec(ctx context.Context, sql string) error
	Query(ctx context.Context, sql string) (cols []Column, rows [][]string, err error)
}

// Feeder is an engine whose tables can be given rows; batch mode needs one for
// files with feed blocks.
type Feeder interface {
	Feed(ctx context.Context, f Feed) error
}

// Streamer is an engine that can run a query over input that arrives bit by bit.
type Streamer interface {
	// Stream runs the query in sql as a streaming query until all of plan has
	// been delivered and processed, and returns the accumulated result: what a
	// reader of the sink sees at the end.
	Stream(ctx context.Context, sql string, plan Plan) (cols []Column, rows [][]string, err error)
	// Streams reports whether sql is a query that can be streamed at all, and no
	// statement that shows something.
	Streams(sql string) bool
}

// Feed is the rows of one feed block, or a part of them, or a statement that adds
// rows. A value of NULL stands for a null; quotes are gone.
type Feed struct {
	Source string
	Rows   [][]string
	SQL    string // INSERT INTO ..; Source and Rows are empty then
}

// size is how much of the input a feed is: its rows, or one statement.
func (f *Feed) size() int {
	if f.SQL != "" {
		return 1
	}
	return len(f.Rows)
}

// Plan says in which pieces the input arrives, and how the query is run.
type Plan struct {
	// Batches holds what arrives before each micro-batch, in order. A later one
	// may not be read before the one before it is committed.
	Batches [][]Feed
	// Restart asks for the driver to be killed after each micro-batch and to come
	// back with another number of partitions.
	Restart bool
	// Turn differs from one run of a query to the next: an engine with several ways of
	// putting out a changing result takes each in its turn.
	Turn int
	// Check is called with the result accumulated so far when the first n pieces have
	// been processed; open says that rows may be missing whose windows have not
	// closed. Its error ends the run.
	Check func(n int, rows [][]string, open bool) error
}

// Mode is one way of running a file.
type Mode string

// The modes.
const (
	Batch   Mode = "batch"
	Stream  Mode = "stream"
	Restart Mode = "restart"
)

// Factory makes a fresh, empty engine for one pass over one file. What has to be
// closed goes into t.Cleanup; a failure to make one ends the test. It is called for
// the engine of a pass and, in the modes that stream, for engines in mode Batch that
// answer over a part of the input.
type Factory func(t *testing.T, mode Mode) Engine
