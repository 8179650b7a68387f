package state

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
)

// Live is a process in which queries run.
type Live interface {
	// LiveForm says how the rows of an operator's state lie.
	LiveForm(query, operator string) (physical.StateForm, error)
	// LiveKey encodes a key of texts.
	LiveKey(query, operator string, key []string) ([]byte, error)
	// LiveRows visits the rows of keys, or with nil of all keys, after the newest
	// committed batch. again is called where it begins anew.
	LiveRows(ctx context.Context, query, operator string, keys [][]byte, visit func(key, value []byte) error, again func()) error
}

var (
	optQuery     = options.Option{Key: "query", Kind: options.Text, Doc: "Running query of this process."}
	optLiveOp    = options.Option{Key: "operator", Kind: options.Text, Doc: "Operator whose state is read, by the name that EXPLAIN shows."}
	optKey       = options.Option{Key: "key", Kind: options.Text, Doc: "Key to look up, as a JSON list of texts in the order of GROUP BY; all rows without one."}
	declaredLive = []options.Option{optQuery, optLiveOp, optKey}
)

// LiveConnector returns the connector of the state of running queries.
func LiveConnector(live Live) sources.Connector {
	return sources.Connector{
		Name:    "query-state",
		Doc:     "State of a running query's operator, after its newest committed batch; see query_state(..).",
		Options: declaredLive,
		Infer: func(_ context.Context, spec sources.Spec) (*arrow.Schema, error) {
			t, err := openLive(live, spec)
			if err != nil {
				return nil, err
			}
			return t.Schema(), nil
		},
		New: func(_ context.Context, spec sources.Spec) (sources.Source, error) { return openLive(live, spec) },
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			return openLive(live, spec)
		},
	}
}

// liveTable is both halves: the query runs in this process.
type liveTable struct {
	live  Live
	query string
	op    string
	keys  [][]byte // nil: all
	form  physical.StateForm
}

var (
	_ sources.Source = (*liveTable)(nil)
	_ sources.Pinner = (*liveTable)(nil)
	_ sources.Opener = (*liveTable)(nil)
)

func openLive(live Live, spec sources.Spec) (*liveTable, error) {
	m := spec.Options
	if err := options.Check(spec.String(), m, declaredLive); err != nil {
		return nil, err
	}
	t := &liveTable{live: live, query: m.Get(optQuery), op: m.Get(optLiveOp)}
	var err error
	if t.form, err = live.LiveForm(t.query, t.op); err != nil {
		return nil, err
	}
	if k := m.Get(optKey); k != "" {
		var texts []string
		if err := json.Unmarshal([]byte(k), &texts); err != nil {
			return nil, batch.UserErrorf("%s: option 'key': want a JSON list of texts: %w", spec, err)
		}
		key, err := live.LiveKey(t.query, t.op, texts)
		t.keys = [][]byte{key}
		return t, err
	}
	t.keys, _ = wantedKeys(t.form, 1, spec.Where) // behind the key group
	return t, nil
}

// Access implements sources.Accessor.
func (t *liveTable) Access() string { return access(t.keys) }

// Schema implements sources.Source.
func (t *liveTable) Schema() *arrow.Schema { return Columns(t.form, false) }

// Pin implements sources.Pinner. What a running query holds cannot be read again.
func (t *liveTable) Pin(context.Context) (string, error) { return "live", nil }

// Latest implements sources.Source.
func (t *liveTable) Latest(_ context.Context, from batch.Offset, _ sources.Limit) (batch.Offset, error) {
	return from, nil
}

// Plan implements sources.Source.
func (t *liveTable) Plan(_ context.Context, r batch.Range) ([]batch.Split, error) {
	return []batch.Split{{Source: r.Source}}, nil
}

// Release implements sources.Source.
func (t *liveTable) Release(context.Context, batch.Offset) error { return nil }

// Close implements sources.Source.
func (t *liveTable) Close() error { return nil }

// Open implements sources.Opener: the rows are of one batch, so they are read at once.
func (t *liveTable) Open(ctx context.Context, s batch.Split, columns []int, alloc memory.Allocator) (_ sources.Reader, err error) {
	dec, err := NewDecoder(t.form, false, alloc)
	if err != nil {
		return nil, err
	}
	defer dec.Release()
	r := &sources.Batches{Columns: columns}
	if r.Schema, err = sources.Project(dec.Schema(), columns); err != nil {
		return nil, fmt.Errorf("open split %d of the state of %s: %w", s.Index, t.query, err)
	}
	err = t.live.LiveRows(ctx, t.query, t.op, t.keys, func(key, value []byte) error {
		if dec.Len() == recordRows {
			r.Rows = append(r.Rows, dec.Take())
		}
		return dec.Add("", key, value)
	}, func() {
		dec.Take().Release()
		_ = r.Close() // it frees memory alone
	})
	if err != nil {
		return nil, err
	}
	if dec.Len() > 0 {
		r.Rows = append(r.Rows, dec.Take())
	}
	return r, nil
}
