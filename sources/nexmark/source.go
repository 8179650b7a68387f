package nexmark

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sources/counted"
)

// Connector returns the connector; c paces a table with 'realtime' = 'true'.
func Connector(c clock.Clock) sources.Connector {
	cache := &textCache{}
	return sources.Connector{
		Name:    "nexmark",
		Doc:     "Events of the Nexmark benchmark (persons, auctions, bids), the same for the same options.",
		Options: declared,
		Infer: func(_ context.Context, spec sources.Spec) (*arrow.Schema, error) {
			_, schema, _, err := prepare(spec)
			return schema, err
		},
		New: func(_ context.Context, spec sources.Spec) (sources.Source, error) {
			config, schema, _, err := prepare(spec)
			if err != nil {
				return nil, err
			}
			return counted.New(config.table(spec, schema, c)), nil
		},
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			config, schema, columns, err := prepare(spec)
			if err != nil {
				return nil, err
			}
			return &opener{spec: spec, config: config, schema: schema, columns: columns, texts: cache.of(config.seed)}, nil
		},
		Rewinds: true,
		Unbounded: func(spec sources.Spec) bool {
			_, ends := spec.Options[optEvents.Key]
			return spec.Stream || !ends
		},
	}
}

// prepare checks options and declared columns.
func prepare(spec sources.Spec) (config, *arrow.Schema, []output, error) {
	c, err := parse(spec)
	if err != nil {
		return config{}, nil, nil, err
	}
	schema := spec.Schema
	if schema == nil {
		schema = schemaOf(c.kind)
	}
	columns, err := compile(spec, c.kind, schema)
	return c, schema, columns, err
}

// table is the stream as rows that are counted. What is counted are events: a
// table of one type has fewer rows (N2).
func (c *config) table(spec sources.Spec, schema *arrow.Schema, now clock.Clock) counted.Table {
	t := counted.Table{
		Spec: spec, Schema: schema, Unit: "event", Rows: c.events, Limit: maxEvents, Split: c.split,
		Trigger: c.trigger, Clock: now, RowBytes: eventBytes,
		Estimate: func(n int64) int64 { return n * share[c.kind] / proportion },
	}
	if c.realtime {
		t.PerSecond = c.rate
	}
	return t
}

// eventBytes is about the size of an average event in memory.
const eventBytes = 240

// share is how many of 50 events a table has.
var share = [...]int64{person: 1, auction: auctionsAPeriod, bid: proportion - 1 - auctionsAPeriod, all: proportion}

// opener is the worker's half.
type opener struct {
	spec    sources.Spec
	config  config
	schema  *arrow.Schema
	columns []output
	texts   *texts
}

var _ sources.Opener = (*opener)(nil)

func (o *opener) Open(_ context.Context, s batch.Split, columns []int, alloc memory.Allocator) (sources.Reader, error) {
	from, end, err := counted.Rows(s.Payload, maxEvents)
	if err != nil {
		return nil, fmt.Errorf("open split %d of %s: %w", s.Index, o.spec, err)
	}
	schema, err := sources.Project(o.schema, columns)
	if err != nil {
		return nil, fmt.Errorf("open split %d of %s: %w", s.Index, o.spec, err)
	}
	r := &reader{config: &o.config, texts: o.texts, schema: schema, columns: o.columns, alloc: alloc, next: from, end: end}
	if columns != nil {
		r.columns = make([]output, len(columns))
		for i, c := range columns {
			r.columns[i] = o.columns[c]
		}
	}
	return r, nil
}
