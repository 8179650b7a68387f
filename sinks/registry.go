package sinks

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

// Mode is an output mode.
type Mode string

// The output modes.
const (
	Append    Mode = "append"
	Update    Mode = "update"
	Complete  Mode = "complete"
	Changelog Mode = "changelog"
)

// Spec is what a query's INSERT and the table's DDL say of a sink.
type Spec struct {
	Name        string        // within the query, e.g. "hot#0"
	Table       string        // the table's name, for errors
	Query       batch.QueryID // fences and names files
	Schema      *arrow.Schema // rows, without OpColumn
	Keys        []string      // PRIMARY KEY, or in update mode the result's own key
	OneRow      bool          // in update mode: the result is one row, which each change replaces
	PartitionBy []string
	Mode        Mode
	Options     options.Map
	Batch       bool // a one-shot INSERT over bounded input: one batch, no checkpoint
	Zone        string
}

// Connector is one entry of the registry.
type Connector struct {
	Name    string
	Doc     string
	Options []options.Option
	Modes   []Mode // what it can take; Changelog and Update need OpColumn
	// Volatile says that prepared output lives in memory and not on a disk: after
	// a crash of the process the last committed batch has to be run again with
	// Reveal, and committed again, to be revealed. Commit of a handle from before
	// the crash is an error.
	Volatile bool
	// Transactional says of a table that its target stores (query, batch, digest) in
	// one transaction with a batch's rows: Holds tells it after any restart, and the
	// last committed batch is run again only if the target does not hold it. It
	// takes the place of Volatile. Nil is no.
	Transactional func(spec Spec) bool
	// Check refuses, when a query is planned, what New would refuse of the table and
	// the mode. Nil refuses nothing.
	Check func(spec Spec) error
	New   func(ctx context.Context, spec Spec) (Sink, WriterFactory, error)
}

// Registry holds the connectors by name.
type Registry = options.Registry[Connector]

// NewRegistry makes a registry of the given connectors.
func NewRegistry(cs ...Connector) *Registry {
	return options.NewRegistry("sink connector", func(c Connector) string { return c.Name }, cs...)
}
