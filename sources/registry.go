package sources

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

// Spec is what a table's DDL says of a source.
type Spec struct {
	Name    string        // within the query, e.g. "flights#0"; also the name of its metadata folder
	Table   string        // the table's name, for errors
	Schema  *arrow.Schema // declared physical columns; nil if to be inferred
	Meta    []MetaColumn  // columns declared METADATA FROM .., already part of Schema
	Options options.Map   // the WITH clause
	Stream  bool          // read as an unbounded stream; else all there is now
	Lookup  bool          // not a stream, and read again by a streaming query when it has changed
	Dir     string        // the source's own folder in the checkpoint, "" if there is none
	Zone    string        // the session's time zone
	// Inferred says that Schema was found by the connector and not declared, so that
	// what a part of the data lacks of it is NULL.
	Inferred bool
	Where    Selection // what a query over a bounded table wants of the rows
}

// Selection says which rows a query wants. A source may leave out the others.
type Selection struct {
	Columns    []int // positions in the schema of the columns that the conditions count; nil means all
	Conditions []Condition
}

// MetaColumn says that a column of the schema comes from the connector's metadata.
type MetaColumn struct {
	Column int    // position in Spec.Schema
	Key    string // e.g. "offset"
}

// Connector is one entry of the registry: everything the engine needs to know of a kind of source.
type Connector struct {
	Name    string           // the value of 'connector'
	Doc     string           // one sentence for the generated page
	Options []options.Option // all keys it takes, besides 'connector'
	// Infer returns the schema where the DDL declares no columns, or completes a
	// declared one. It may read files.
	Infer func(ctx context.Context, spec Spec) (*arrow.Schema, error)
	// New makes the driver's half; NewOpener the worker's, from the same spec.
	New       func(ctx context.Context, spec Spec) (Source, error)
	NewOpener func(spec Spec) (Opener, error)
	// Stats tells what a table that is read as it is now holds, for the choice of a
	// plan: a cheap estimate, kept where asking again would cost. nil, or a result
	// without rows, is for what is not known.
	Stats func(ctx context.Context, spec Spec) (batch.TableStats, error)
	// Changes says by the options of a table whether its rows carry a kind of change;
	// nil for a connector whose rows never do. The position behind the columns of the
	// schema then stands for batch.OpColumn in Opener.Open.
	Changes func(spec Spec) (batch.Changes, error)
	// Rewinds says that the sources of streams are Rewinders: that to open another one
	// beside that of a running query does no harm, and that what was read is kept.
	Rewinds bool
	// Keyed says that tables are of a system that others change and that keeps no
	// versions of them: a streaming query may look rows up by key alone, and the openers
	// are Lookers.
	Keyed bool
	// Unbounded reports whether the table never ends when it is read as Spec says.
	Unbounded func(spec Spec) bool
}

// Registry holds the connectors by name.
type Registry = options.Registry[Connector]

// NewRegistry makes a registry of the given connectors.
func NewRegistry(cs ...Connector) *Registry {
	return options.NewRegistry("source connector", func(c Connector) string { return c.Name }, cs...)
}

// String prints the spec for errors.
func (s Spec) String() string { return fmt.Sprintf("table %q", s.Table) }
