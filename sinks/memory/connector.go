package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/stage"
)

var (
	optName    = options.Option{Key: "name", Kind: options.Text, Doc: "Name under which the program finds the table; unset, the table's own."}
	optBatches = options.Option{Key: "keep-batches", Kind: options.Int, Default: "1000", Doc: "How many of the last batches are remembered as they came."}
	declared   = []options.Option{optName, optBatches}
)

// maxBatches bounds keep-batches.
const maxBatches = 1_000_000

// Tables holds the tables of a program by name.
type Tables struct {
	state struct {
		sync.Mutex
		byName map[string]*Table
	}
}

// NewTables returns an empty set.
func NewTables() *Tables {
	t := &Tables{}
	t.state.byName = map[string]*Table{}
	return t
}

// Get returns a table that a query has been started into.
func (ts *Tables) Get(name string) (*Table, bool) {
	ts.state.Lock()
	defer ts.state.Unlock()
	t, ok := ts.state.byName[name]
	return t, ok
}

// Names lists the tables in order.
func (ts *Tables) Names() []string {
	ts.state.Lock()
	defer ts.state.Unlock()
	names := make([]string, 0, len(ts.state.byName))
	for n := range ts.state.byName {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Drop forgets a table and gives its rows back.
func (ts *Tables) Drop(name string) {
	ts.state.Lock()
	t, ok := ts.state.byName[name]
	delete(ts.state.byName, name)
	ts.state.Unlock()
	if ok {
		t.Close()
	}
}

// Close drops all tables.
func (ts *Tables) Close() {
	for _, name := range ts.Names() {
		ts.Drop(name)
	}
}

// open returns the table of that name, made if it is not there.
func (ts *Tables) open(name string, schema *arrow.Schema, batches int) (*Table, error) {
	ts.state.Lock()
	defer ts.state.Unlock()
	t, ok := ts.state.byName[name]
	if !ok {
		t = newTable(schema, batches)
		ts.state.byName[name] = t
		return t, nil
	}
	if !t.schema.Equal(schema) {
		return nil, batch.UserErrorf("the memory table %q exists with the schema %v, this query's is %v", name, t.schema, schema)
	}
	return t, nil
}

// Connector returns the connector over a program's tables.
func Connector(tables *Tables) sinks.Connector {
	hub := stage.NewHub(0)
	return sinks.Connector{
		Name:     "memory",
		Doc:      "Keeps the result in the memory of the program.",
		Options:  declared,
		Modes:    []sinks.Mode{sinks.Append, sinks.Update, sinks.Complete, sinks.Changelog},
		Volatile: true,
		New: func(_ context.Context, spec sinks.Spec) (sinks.Sink, sinks.WriterFactory, error) {
			what := fmt.Sprintf("table %q", spec.Table)
			if err := options.Check(what, spec.Options, declared); err != nil {
				return nil, nil, err
			}
			keep := spec.Options.Int(optBatches)
			if keep < 0 || keep > maxBatches {
				return nil, nil, batch.UserErrorf("%s: option '%s' = '%d': want 0 to %d", what, optBatches.Key, keep, maxBatches)
			}
			keys, err := keyColumns(spec)
			if err != nil {
				return nil, nil, err
			}
			name := spec.Options.Get(optName)
			if name == "" {
				name = spec.Table
			}
			table, err := tables.open(name, spec.Schema, int(keep))
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", what, err)
			}
			t := hub.Target(spec)
			return t.Sink(func(_ context.Context, id batch.ID, recs []arrow.RecordBatch) error {
				return table.commit(Batch{Query: spec.Query, ID: id, Mode: spec.Mode, Records: recs}, keys)
			}), t.Writers(), nil
		},
	}
}

func keyColumns(spec sinks.Spec) ([]int, error) {
	if spec.OneRow && len(spec.Keys) == 0 {
		return []int{oneRow}, nil
	}
	keys := make([]int, len(spec.Keys))
	for i, k := range spec.Keys {
		at := spec.Schema.FieldIndices(k)
		if len(at) != 1 {
			return nil, batch.UserErrorf("table %q: the key %q is no column of the result", spec.Table, k)
		}
		keys[i] = at[0]
	}
	return keys, nil
}
