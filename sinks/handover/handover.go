package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/lock"
	"github.com/sluice-stream/sluice/sinks"
)

// Place says where rows wait.
type Place struct {
	Node  string   `json:"node"`
	Key   string   `json:"key"` // of the deployment
	Batch batch.ID `json:"batch"`
	Stage int      `json:"stage"` // one that the plan does not have
	Task  int      `json:"task"`
}

// Rows are kept until Discard before Commit, and from then on as outputs of tasks are.
type Rows interface {
	Append(rec arrow.RecordBatch) error // borrowed
	Commit() error
	Discard()
}

// Keep takes rows in at a place of its node, instead of what another attempt has left.
type Keep func(Place) Rows

// Reader reads rows in their order, up to io.EOF.
type Reader interface {
	Next(ctx context.Context) (arrow.RecordBatch, error)
	Close() error
}

// Fetch reads the rows of a place.
type Fetch func(ctx context.Context, at Place) (Reader, error)

// part is the handle of rows.
type part struct {
	Place
	Attempt int             `json:"attempt"`
	Of      int             `json:"of"` // the stage
	Query   batch.QueryID   `json:"query"`
	Term    batch.Term      `json:"term"`
	Now     batch.EventTime `json:"now"`
}

func (p part) attempt() sinks.Attempt {
	return sinks.Attempt{Task: batch.TaskID{Query: p.Query, Batch: p.Batch, Stage: p.Of, Partition: p.Task, Attempt: p.Attempt}, Term: p.Term, Now: p.Now}
}

// Writers is the worker's half.
type Writers struct {
	Keep Keep
	Node string // the worker
	Key  string // of the deployment
	Sink string // within the plan
	// At is the sink's place among the Sinks of the plan.
	At, Sinks int
}

var _ sinks.WriterFactory = Writers{}

// NewWriter implements sinks.WriterFactory.
func (f Writers) NewWriter(_ context.Context, a sinks.Attempt, _ *arrow.Schema, _ memory.Allocator) (sinks.Writer, error) {
	t := a.Task
	at := Place{Node: f.Node, Key: f.Key, Batch: t.Batch, Stage: -1 - t.Stage*f.Sinks - f.At, Task: t.Partition}
	return &writer{sink: f.Sink, part: part{at, t.Attempt, t.Stage, t.Query, a.Term, a.Now}, out: f.Keep(at)}, nil
}

type writer struct {
	sink string
	part part
	rows int64
	out  Rows
}

func (w *writer) Write(ctx context.Context, rec arrow.RecordBatch) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := w.out.Append(rec); err != nil {
		return fmt.Errorf("keep rows for %s: %w", w.sink, err)
	}
	w.rows += rec.NumRows()
	return nil
}

func (w *writer) Prepare(context.Context) (p batch.Prepared, err error) {
	p = batch.Prepared{Sink: w.sink, Partition: w.part.Task, Rows: w.rows}
	if w.rows == 0 {
		return p, w.Discard()
	}
	if err := w.out.Commit(); err != nil {
		return p, fmt.Errorf("keep rows for %s: %w", w.sink, err)
	}
	p.Payload, err = json.Marshal(w.part)
	return p, err
}

// Discard lets the rows go. After Prepare they stay until those of later batches, or of
// another attempt, take their place.
func (w *writer) Discard() error {
	w.out.Discard()
	return nil
}

// Sink is the driver's half: it gives the rows to the sink's own writers before it has
// the sink commit them.
type Sink struct {
	sinks.Sink
	writers sinks.WriterFactory
	fetch   Fetch
	name    string

	mu struct {
		sync.Mutex
		held map[string]*held // by handle
	}
}

// held is what the sink's own writer has prepared of a part.
type held struct {
	batch batch.ID

	lock.Mutex // held while the rows are taken
	done       bool
	prepared   batch.Prepared
}

var (
	_ sinks.Sink   = (*Sink)(nil)
	_ sinks.Stager = (*Sink)(nil)
)

// New puts a sink of the driver behind the rows of its workers. writers are the sink's own.
func New(s sinks.Sink, writers sinks.WriterFactory, fetch Fetch, name string) *Sink {
	out := &Sink{Sink: s, writers: writers, fetch: fetch, name: name}
	out.mu.held = map[string]*held{}
	return out
}

// takesMax is how many parts of a batch are taken at the same time.
const takesMax = 4

// Stage implements sinks.Stager: the rows come while the batch's commit is made durable.
func (s *Sink) Stage(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) {
	own, err := s.takeAll(ctx, id, parts)
	if err != nil {
		return // Commit meets it again, and tells
	}
	if inner, ok := s.Sink.(sinks.Stager); ok {
		inner.Stage(ctx, id, term, own)
	}
}

// Commit implements sinks.Sink.
func (s *Sink) Commit(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	own, err := s.takeAll(ctx, id, parts)
	if err != nil {
		return err
	}
	if err := s.Sink.Commit(ctx, id, term, own); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for handle, h := range s.mu.held {
		if h.batch <= id {
			delete(s.mu.held, handle)
		}
	}
	return nil
}

// takeAll hands the rows of all parts to the sink's own writers, each once (G3).
func (s *Sink) takeAll(ctx context.Context, id batch.ID, parts []batch.Prepared) ([]batch.Prepared, error) {
	own := make([]batch.Prepared, len(parts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(takesMax)
	for i, p := range parts {
		g.Go(func() (err error) {
			own[i], err = s.take(ctx, id, p)
			return err
		})
	}
	return own, g.Wait()
}

func (s *Sink) take(ctx context.Context, id batch.ID, p batch.Prepared) (batch.Prepared, error) {
	var of part
	if len(p.Payload) == 0 || json.Unmarshal(p.Payload, &of) != nil || of.Key == "" {
		return p, nil // nothing, or of a program that hands nothing over: the sink's to say
	}
	s.mu.Lock()
	h := s.mu.held[string(p.Payload)]
	if h == nil {
		h = &held{batch: id}
		s.mu.held[string(p.Payload)] = h
	}
	s.mu.Unlock()
	h.Lock()
	defer h.Unlock()
	if h.done {
		return h.prepared, nil
	}
	prepared, err := s.give(ctx, of, p.Rows)
	if err != nil {
		return p, fmt.Errorf("hand rows of task %s to %s: %w", of.attempt().Task, s.name, err)
	}
	prepared.Partition, prepared.Rows, prepared.Digest = p.Partition, p.Rows, p.Digest
	h.done, h.prepared = true, prepared
	return prepared, nil
}

// give reads the rows of a part and has the sink's own writer prepare them (G2).
func (s *Sink) give(ctx context.Context, of part, rows int64) (p batch.Prepared, err error) {
	// Whatever is wrong with a worker may pass: another life begins without it.
	away := func(err error) error {
		return batch.ExternalError(fmt.Errorf("read them from %s: %w", of.Node, err), true)
	}
	in, err := s.fetch(ctx, of.Place)
	if err != nil {
		return p, away(err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	var w sinks.Writer
	defer func() {
		if err != nil && w != nil {
			err = errors.Join(err, w.Discard())
		}
	}()
	got := int64(0)
	for {
		rec, err := in.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return p, away(err)
		}
		if w == nil {
			w, err = s.writers.NewWriter(ctx, of.attempt(), rec.Schema(), memory.DefaultAllocator)
		}
		if err == nil {
			err = w.Write(ctx, rec)
		}
		got += rec.NumRows()
		rec.Release()
		if err != nil {
			return p, err
		}
	}
	if got != rows || w == nil {
		return p, away(fmt.Errorf("%d rows came of %d", got, rows))
	}
	return w.Prepare(ctx)
}

// Abort implements sinks.Sink. What the worker keeps goes with its batch.
func (s *Sink) Abort(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	var given []*held
	s.mu.Lock()
	for _, p := range parts {
		if h := s.mu.held[string(p.Payload)]; h != nil {
			delete(s.mu.held, string(p.Payload))
			given = append(given, h)
		}
	}
	s.mu.Unlock()
	var own []batch.Prepared
	for _, h := range given {
		h.Lock()
		if h.done {
			own = append(own, h.prepared)
		}
		h.Unlock()
	}
	if len(own) == 0 {
		return nil
	}
	return s.Sink.Abort(ctx, id, term, own)
}
