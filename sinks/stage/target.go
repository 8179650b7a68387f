package stage

import (
	"context"
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// Target is one sink of one query: it orders its batches and fences old terms.
type Target struct {
	hub  *Hub
	sink string

	// commits is held while a batch is revealed, so that two leaders cannot.
	commits sync.Mutex
	term    batch.Term
	last    batch.ID
}

// Reveal shows the rows of a batch; the record batches are borrowed. If it fails
// the commit fails, and is tried again with the same rows.
type Reveal func(ctx context.Context, id batch.ID, recs []arrow.RecordBatch) error

// Sink returns the driver's half, which reveals through reveal.
func (t *Target) Sink(reveal Reveal) sinks.Sink { return &sink{target: t, reveal: reveal} }

// Writers returns the worker's half.
func (t *Target) Writers() sinks.WriterFactory { return writers{t} }

type sink struct {
	target *Target
	reveal Reveal
}

var _ sinks.Sink = (*sink)(nil)

// fenceLocked refuses an older term; commits is held.
func (t *Target) fenceLocked(id batch.ID, term batch.Term) error {
	if term < t.term {
		return fmt.Errorf("batch %d of sink %q under term %d, it has seen term %d: %w", id, t.sink, term, t.term, batch.ErrFenced)
	}
	t.term = term
	return nil
}

func (s *sink) Commit(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	t := s.target
	t.commits.Lock()
	defer t.commits.Unlock()
	if err := t.fenceLocked(id, term); err != nil {
		return err
	}
	if id > t.last {
		recs, err := t.hub.borrow(t, parts)
		if err != nil {
			return fmt.Errorf("commit batch %d: %w", id, err)
		}
		if err := s.reveal(ctx, id, recs); err != nil {
			return fmt.Errorf("reveal batch %d in sink %q: %w", id, t.sink, err)
		}
		t.last = id
	}
	last := t.last
	t.hub.drop(func(_ string, e *entry) bool { return e.target == t && e.id <= last })
	return nil
}

func (s *sink) Abort(_ context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	t := s.target
	t.commits.Lock()
	defer t.commits.Unlock()
	if err := t.fenceLocked(id, term); err != nil {
		return err
	}
	keys := map[string]bool{}
	for _, p := range parts {
		keys[string(p.Payload)] = true
	}
	t.hub.drop(func(key string, e *entry) bool { return e.target == t && keys[key] })
	return nil
}

// Holds returns the last batch that was revealed in this process.
func (s *sink) Holds(context.Context) (batch.ID, batch.Digest, error) {
	s.target.commits.Lock()
	defer s.target.commits.Unlock()
	return s.target.last, batch.Digest{}, nil
}

func (s *sink) Close() error { return nil }

type writers struct{ target *Target }

var _ sinks.WriterFactory = writers{}

func (w writers) NewWriter(_ context.Context, a sinks.Attempt, _ *arrow.Schema, _ memory.Allocator) (sinks.Writer, error) {
	return &writer{entry: entry{target: w.target, id: a.Task.Batch}, partition: a.Task.Partition}, nil
}

// writer gathers the output of one attempt.
type writer struct {
	entry
	partition int
	rows      int64
	key       string // once prepared
}

var _ sinks.Writer = (*writer)(nil)

// Write keeps the rows. The limit is judged here already, so that an output too
// large for memory fails before it is all there.
func (w *writer) Write(_ context.Context, rec arrow.RecordBatch) error {
	if rec.NumRows() == 0 {
		return nil
	}
	size := sizeOf(rec)
	if w.bytes+size > w.target.hub.bytesMax {
		return batch.UserErrorf("write batch %d to sink %q: one task's output exceeds the limit of %d bytes in memory; write to files instead",
			w.id, w.target.sink, w.target.hub.bytesMax)
	}
	rec.Retain()
	w.recs = append(w.recs, rec)
	w.bytes += size
	w.rows += rec.NumRows()
	return nil
}

func (w *writer) Prepare(context.Context) (batch.Prepared, error) {
	p := batch.Prepared{Sink: w.target.sink, Partition: w.partition, Rows: w.rows}
	if w.rows == 0 {
		return p, nil
	}
	e := w.entry
	key, err := w.target.hub.put(&e)
	if err != nil {
		return batch.Prepared{}, err
	}
	w.key, w.recs = key, nil
	p.Payload = []byte(key)
	return p, nil
}

func (w *writer) Discard() error {
	if key := w.key; key != "" {
		w.target.hub.drop(func(k string, _ *entry) bool { return k == key })
	}
	for _, r := range w.recs {
		r.Release()
	}
	w.recs = nil
	return nil
}
