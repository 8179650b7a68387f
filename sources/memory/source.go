package memory

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
)

var (
	optName  = options.Option{Key: "name", Kind: options.Text, Required: true, Doc: "Name under which the program has registered the stream."}
	optSplit = options.Option{Key: "split-rows", Kind: options.Int, Default: "65536", Doc: "Rows in one split, the unit of parallel work."}
	declared = []options.Option{optName, optSplit}
)

// Connector returns the connector; lookup finds the streams that the program has.
func Connector(lookup func(name string) (*Stream, bool)) sources.Connector {
	find := func(spec sources.Spec) (*Stream, error) {
		if err := options.Check(spec.String(), spec.Options, declared); err != nil {
			return nil, err
		}
		if n := spec.Options.Int(optSplit); n < 1 {
			return nil, batch.UserErrorf("%s: option '%s' = '%d': want at least 1", spec, optSplit.Key, n)
		}
		name := spec.Options.Get(optName)
		s, ok := lookup(name)
		if !ok {
			return nil, batch.UserErrorf("%s: the program has no memory stream %q", spec, name)
		}
		if spec.Schema != nil && !spec.Schema.Equal(s.schema) {
			return nil, batch.UserErrorf("%s: declared as %v, the memory stream %q has %v", spec, spec.Schema, name, s.schema)
		}
		return s, nil
	}
	return sources.Connector{
		Name:    "memory",
		Doc:     "Rows that a Go program adds to a stream in memory.",
		Options: declared,
		Infer: func(_ context.Context, spec sources.Spec) (*arrow.Schema, error) {
			s, err := find(spec)
			if err != nil {
				return nil, err
			}
			return s.schema, nil
		},
		New: func(_ context.Context, spec sources.Spec) (sources.Source, error) {
			s, err := find(spec)
			if err != nil {
				return nil, err
			}
			return s.open(spec), nil
		},
		NewOpener: func(spec sources.Spec) (sources.Opener, error) {
			s, err := find(spec)
			if err != nil {
				return nil, err
			}
			return &opener{stream: s}, nil
		},
		Stats: func(_ context.Context, spec sources.Spec) (batch.TableStats, error) {
			s, err := find(spec)
			if err != nil {
				return batch.TableStats{}, err
			}
			return s.Stats(), nil
		},
		Changes: func(spec sources.Spec) (batch.Changes, error) {
			if s, ok := lookup(spec.Options.Get(optName)); ok {
				return s.Changes, nil
			}
			return batch.OnlyGrows, nil // a table that queries write to
		},
		Rewinds:   true,
		Unbounded: func(spec sources.Spec) bool { return spec.Stream },
	}
}

// source is the driver's half over a stream.
type source struct {
	stream     *Stream
	splitRows  int64
	end        int64 // of a static read: the rows there were when it began; -1 for a stream
	lookup     bool  // a static read whose batches see the rows that came meanwhile
	changed    chan struct{}
	releasedTo atomic.Int64
}

var (
	_ sources.Source   = (*source)(nil)
	_ sources.Pinner   = (*source)(nil)
	_ sources.Notifier = (*source)(nil)
	_ sources.Bounded  = (*source)(nil)
)

func (s *Stream) open(spec sources.Spec) *source {
	src := &source{stream: s, splitRows: spec.Options.Int(optSplit), end: -1, changed: make(chan struct{}, 1)}
	s.state.Lock()
	defer s.state.Unlock()
	if !spec.Stream {
		src.end, src.lookup = s.state.rows, spec.Lookup
	}
	s.state.readers[src] = struct{}{}
	return src
}

func (s *source) Schema() *arrow.Schema { return s.stream.schema }

func (s *source) Changed() <-chan struct{} { return s.changed }

func (s *source) Latest(_ context.Context, from batch.Offset, limit sources.Limit) (batch.Offset, error) {
	n, err := rowsOf(from)
	if err != nil {
		return "", err
	}
	st := &s.stream.state
	st.RLock()
	defer st.RUnlock()
	end := st.rows
	if s.end >= 0 {
		end = s.end
	}
	if n > end {
		return "", s.stream.missingLocked(n, n)
	}
	if limit.Rows > 0 {
		end = min(end, n+limit.Rows)
	}
	return offsetOf(end), nil
}

// Pin is how many rows there are, or were when a static read began.
func (s *source) Pin(context.Context) (string, error) {
	s.stream.state.RLock()
	defer s.stream.state.RUnlock()
	if s.end >= 0 && !s.lookup {
		return string(offsetOf(s.end)), nil
	}
	return string(offsetOf(s.stream.state.rows)), nil
}

func (s *source) Plan(_ context.Context, r batch.Range) ([]batch.Split, error) {
	if r.Pin != "" {
		r.Start, r.End = "", batch.Offset(r.Pin)
	}
	from, err := rowsOf(r.Start)
	if err != nil {
		return nil, err
	}
	to, err := rowsOf(r.End)
	if err != nil {
		return nil, err
	}
	var splits []batch.Split
	for ; from < to; from += s.splitRows {
		end := min(from+s.splitRows, to)
		splits = append(splits, batch.Split{
			Source: r.Source, Index: len(splits), Payload: fmt.Appendf(nil, "%d %d", from, end), Rows: end - from,
		})
	}
	return splits, nil
}

func (s *source) Release(_ context.Context, to batch.Offset) error {
	n, err := rowsOf(to)
	if err != nil {
		return err
	}
	if n > s.releasedTo.Load() {
		s.releasedTo.Store(n)
		s.stream.released()
	}
	return nil
}

func (s *source) Ended(at batch.Offset) bool {
	n, err := rowsOf(at)
	if err != nil {
		return false
	}
	if s.end >= 0 {
		return n >= s.end
	}
	s.stream.state.RLock()
	defer s.stream.state.RUnlock()
	return s.stream.state.ended && n >= s.stream.state.rows
}

// Close leaves the rows that this source has not released to the others.
func (s *source) Close() error {
	s.stream.state.Lock()
	defer s.stream.state.Unlock()
	delete(s.stream.state.readers, s)
	return nil
}

// opener is the worker's half: it is in the same process as the stream.
type opener struct{ stream *Stream }

var _ sources.Opener = (*opener)(nil)

func (o *opener) Open(_ context.Context, s batch.Split, columns []int, _ memory.Allocator) (sources.Reader, error) {
	first, second, ok := strings.Cut(string(s.Payload), " ")
	from, err := rowsOf(batch.Offset(first))
	to, err2 := rowsOf(batch.Offset(second))
	if !ok || err != nil || err2 != nil || from > to {
		return nil, fmt.Errorf("open split %d of a memory stream: %q is no range of rows", s.Index, s.Payload)
	}
	schema, err := sources.Project(o.stream.full(), columns)
	if err != nil {
		return nil, fmt.Errorf("open split %d of a memory stream: %w", s.Index, err)
	}
	recs, err := o.stream.slices(from, to)
	if err != nil {
		return nil, err
	}
	return &sources.Batches{Schema: schema, Columns: columns, Rows: recs}, nil
}
