package nexmark

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/sources"
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
			return &source{spec: spec, config: config, schema: schema, clock: c}, nil
		},
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			config, schema, columns, err := prepare(spec)
			if err != nil {
				return nil, err
			}
			return &opener{spec: spec, config: config, schema: schema, columns: columns, texts: cache.of(config.seed)}, nil
		},
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

// source is the driver's half. An offset is the number of events before it.
type source struct {
	spec   sources.Spec
	config config
	schema *arrow.Schema
	clock  clock.Clock

	// pace is where real time was tied to the stream: at the first question after
	// a start. Events that fell due while the query was down are not made up for.
	pace struct {
		sync.Mutex
		set  bool
		from int64
		at   time.Time
	}
}

var (
	_ sources.Source  = (*source)(nil)
	_ sources.Bounded = (*source)(nil)
)

func (s *source) Schema() *arrow.Schema { return s.schema }

func (s *source) Latest(_ context.Context, from batch.Offset, limit sources.Limit) (batch.Offset, error) {
	n, err := s.position(from)
	if err != nil {
		return "", err
	}
	end := s.config.events
	if s.spec.Stream {
		end = min(end, n+s.config.trigger)
	}
	if limit.Rows > 0 {
		end = min(end, n+limit.Rows)
	}
	if limit.Bytes > 0 {
		end = min(end, n+max(limit.Bytes/eventBytes, 1))
	}
	if s.config.realtime && s.spec.Stream {
		end = min(end, s.due(n))
	}
	if end <= n {
		return from, nil
	}
	return batch.Offset(strconv.FormatInt(end, 10)), nil
}

// eventBytes is about the size of an average event in memory.
const eventBytes = 240

// due returns how far the stream may be read by the wall clock.
func (s *source) due(n int64) int64 {
	now := s.clock.Now()
	s.pace.Lock()
	defer s.pace.Unlock()
	if !s.pace.set {
		s.pace.set, s.pace.from, s.pace.at = true, n, now
	}
	return s.pace.from + min(int64(now.Sub(s.pace.at).Seconds()*float64(s.config.rate)), maxEvents)
}

func (s *source) position(o batch.Offset) (int64, error) {
	if o == "" {
		return 0, nil
	}
	n, err := parseEvent(string(o))
	if err != nil {
		return 0, fmt.Errorf("offset of %s: %w", s.spec, err)
	}
	if n > s.config.events {
		return 0, batch.UserErrorf("%s: the query has read %d events, now '%s' is %d", s.spec, n, optEvents.Key, s.config.events)
	}
	return n, nil
}

// Plan cuts at multiples of the split size, so that the pieces of a range do
// not depend on where it starts.
func (s *source) Plan(_ context.Context, r batch.Range) ([]batch.Split, error) {
	from, err := s.position(r.Start)
	if err != nil {
		return nil, err
	}
	end, err := s.position(r.End)
	if err != nil {
		return nil, err
	}
	var splits []batch.Split
	for from < end {
		to := min((from/s.config.split+1)*s.config.split, end)
		rows := to - from
		splits = append(splits, batch.Split{
			Source: r.Source, Index: len(splits), Payload: fmt.Appendf(nil, "%d %d", from, to),
			Rows: rows * share[s.config.kind] / proportion, Bytes: rows * eventBytes,
		})
		from = to
	}
	return splits, nil
}

// share is how many of 50 events a table has.
var share = [...]int64{person: 1, auction: auctionsAPeriod, bid: proportion - 1 - auctionsAPeriod, all: proportion}

// Release has nothing to throw away: every event can be made again.
func (s *source) Release(_ context.Context, to batch.Offset) error {
	_, err := s.position(to)
	return err
}

func (s *source) Ended(at batch.Offset) bool {
	n, err := s.position(at)
	return err == nil && s.config.bounded && n >= s.config.events
}

func (s *source) Close() error { return nil }

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
	first, second, _ := strings.Cut(string(s.Payload), " ")
	from, err := parseEvent(first)
	end, err2 := parseEvent(second)
	if err != nil || err2 != nil || from > end {
		return nil, fmt.Errorf("open split %d of %s: %q is no range of events", s.Index, o.spec, s.Payload)
	}
	r := &reader{config: &o.config, texts: o.texts, schema: o.schema, columns: o.columns, alloc: alloc, next: from, end: end}
	if columns == nil {
		return r, nil
	}
	fields := make([]arrow.Field, len(columns))
	r.columns = make([]output, len(columns))
	for i, c := range columns {
		if c < 0 || c >= len(o.columns) {
			return nil, fmt.Errorf("open split %d of %s: there is no column %d", s.Index, o.spec, c)
		}
		fields[i], r.columns[i] = o.schema.Field(c), o.columns[c]
	}
	r.schema = arrow.NewSchema(fields, nil)
	return r, nil
}
