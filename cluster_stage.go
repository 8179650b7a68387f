package sluice

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sinks"
)

// Some sinks keep what their writers have prepared in memory, so that it is shown by
// the process that wrote it. On a cluster their rows go by way of files: a worker puts
// them into the folder that it shares with the driver, and the driver's writers take
// them from there when the batch is committed. The files count for no more than the
// memory does: a sink that is asked for a batch that is gone says so, and the batch is
// run again.

// staged reports whether a sink's rows go by way of files.
func staged(c sinks.Connector) bool { return c.Volatile && c.Name != "blackhole" }

// stagedDir is where the rows of a sink wait, beside the state of its query.
func stagedDir(stateDir, sink string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, sink)
	return filepath.Join(filepath.Dir(stateDir), "staged", fmt.Sprintf("%s-%08x", safe, uint32(xxh3.HashString(sink))))
}

// stagedPart is the handle of a file of rows.
type stagedPart struct {
	File string          `json:"file"`
	Sum  uint64          `json:"sum"` // xxh3 of the file
	Task batch.TaskID    `json:"task"`
	Term batch.Term      `json:"term"`
	Now  batch.EventTime `json:"now"`
}

// stagedWriters is the worker's half.
type stagedWriters struct{ dir, sink string }

var _ sinks.WriterFactory = stagedWriters{}

// NewWriter implements sinks.WriterFactory.
func (f stagedWriters) NewWriter(_ context.Context, a sinks.Attempt, schema *arrow.Schema, alloc memory.Allocator) (sinks.Writer, error) {
	return &stagedWriter{f: f, a: a, schema: schema, alloc: alloc}, nil
}

// stagedWriter makes its file with the first rows.
type stagedWriter struct {
	f      stagedWriters
	a      sinks.Attempt
	schema *arrow.Schema
	alloc  memory.Allocator
	rows   int64
	file   *os.File
	buf    *bufio.Writer
	sum    *xxh3.Hasher
	w      *ipc.Writer
}

func (w *stagedWriter) Write(ctx context.Context, rec arrow.RecordBatch) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if w.file == nil {
		if err := os.MkdirAll(w.f.dir, 0o700); err != nil {
			return fmt.Errorf("stage rows of %s: %w", w.f.sink, err)
		}
		t := w.a.Task
		name := fmt.Sprintf("b%d-t%d-s%d-p%d-a%d.arrow", t.Batch, w.a.Term, t.Stage, t.Partition, t.Attempt)
		f, err := os.OpenFile(filepath.Join(w.f.dir, name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("stage rows of %s: %w", w.f.sink, err)
		}
		w.file, w.sum = f, xxh3.New()
		w.buf = bufio.NewWriter(io.MultiWriter(f, w.sum))
		w.w = ipc.NewWriter(w.buf, ipc.WithSchema(rec.Schema()), ipc.WithAllocator(w.alloc))
	}
	w.rows += rec.NumRows()
	if err := w.w.Write(rec); err != nil {
		return fmt.Errorf("stage rows of %s: %w", w.f.sink, err)
	}
	return nil
}

func (w *stagedWriter) Prepare(context.Context) (batch.Prepared, error) {
	p := batch.Prepared{Sink: w.f.sink, Partition: w.a.Task.Partition, Rows: w.rows}
	if w.file == nil {
		return p, nil
	}
	err := w.w.Close()
	if err == nil {
		err = w.buf.Flush()
	}
	if err = errors.Join(err, w.file.Close()); err != nil {
		return p, fmt.Errorf("stage rows of %s: %w", w.f.sink, err)
	}
	w.w = nil
	p.Payload, err = json.Marshal(stagedPart{File: filepath.Base(w.file.Name()), Sum: w.sum.Sum64(), Task: w.a.Task, Term: w.a.Term, Now: w.a.Now})
	return p, err
}

func (w *stagedWriter) Discard() error {
	if w.file == nil {
		return nil
	}
	var err error
	if w.w != nil {
		err = errors.Join(w.w.Close(), w.file.Close())
		w.w = nil
	}
	if e := os.Remove(w.file.Name()); !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

// stagedSink is the driver's half: it gives the rows to the sink's own writers before
// it has the sink commit them.
type stagedSink struct {
	sinks.Sink
	writers sinks.WriterFactory
	dir     string
	name    string

	mu   sync.Mutex
	held map[string]heldPart // by file
}

// heldPart is what the sink's own writer has prepared of a file.
type heldPart struct {
	batch    batch.ID
	prepared batch.Prepared
	writer   sinks.Writer
}

func newStagedSink(s sinks.Sink, w sinks.WriterFactory, dir, name string) *stagedSink {
	return &stagedSink{Sink: s, writers: w, dir: dir, name: name, held: map[string]heldPart{}}
}

// Commit implements sinks.Sink.
func (s *stagedSink) Commit(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := make([]batch.Prepared, len(parts))
	for i, p := range parts {
		var err error
		if own[i], err = s.take(ctx, p); err != nil {
			return err
		}
	}
	if err := s.Sink.Commit(ctx, id, term, own); err != nil {
		return err
	}
	for name, h := range s.held {
		if h.batch <= id {
			delete(s.held, name)
		}
	}
	return s.sweep(id)
}

// take hands the rows of a part to the sink's own writer, once. A file that is gone is
// of a batch that was shown, or the sink finds its handle strange.
func (s *stagedSink) take(ctx context.Context, p batch.Prepared) (batch.Prepared, error) {
	if len(p.Payload) == 0 {
		return p, nil
	}
	var part stagedPart
	if err := json.Unmarshal(p.Payload, &part); err != nil {
		return p, nil // of a program that stages nothing
	}
	if h, ok := s.held[part.File]; ok {
		return h.prepared, nil
	}
	data, err := vfsx.ReadFile(vfsx.Default, filepath.Join(s.dir, filepath.Base(part.File)), stagedMax)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, batch.ExternalError(fmt.Errorf("read rows for %s: %w", s.name, err), true)
	}
	if xxh3.Hash(data) != part.Sum {
		return p, fmt.Errorf("read rows for %s: file %s is damaged", s.name, part.File)
	}
	h, err := s.give(ctx, part, data)
	if err != nil {
		return p, fmt.Errorf("hand rows to %s: %w", s.name, err)
	}
	h.prepared.Partition, h.prepared.Rows, h.prepared.Digest = p.Partition, p.Rows, p.Digest
	s.held[part.File] = h
	return h.prepared, nil
}

// stagedMax bounds the rows of one task.
const stagedMax = 4 << 30

func (s *stagedSink) give(ctx context.Context, part stagedPart, data []byte) (h heldPart, err error) {
	r, err := ipc.NewReader(bytes.NewReader(data))
	if err != nil {
		return h, err
	}
	defer r.Release()
	w, err := s.writers.NewWriter(ctx, sinks.Attempt{Task: part.Task, Term: part.Term, Now: part.Now}, r.Schema(), memory.DefaultAllocator)
	if err != nil {
		return h, err
	}
	for r.Next() {
		if err := w.Write(ctx, r.RecordBatch()); err != nil {
			return h, errors.Join(err, w.Discard())
		}
	}
	if err := r.Err(); err != nil {
		return h, errors.Join(err, w.Discard())
	}
	prepared, err := w.Prepare(ctx)
	if err != nil {
		return h, errors.Join(err, w.Discard())
	}
	return heldPart{batch: part.Task.Batch, prepared: prepared, writer: w}, nil
}

// Abort implements sinks.Sink.
func (s *stagedSink) Abort(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, p := range parts {
		var part stagedPart
		if len(p.Payload) == 0 || json.Unmarshal(p.Payload, &part) != nil {
			continue
		}
		if h, ok := s.held[part.File]; ok {
			delete(s.held, part.File)
			errs = append(errs, s.Sink.Abort(ctx, id, term, []batch.Prepared{h.prepared}))
		}
		if err := os.Remove(filepath.Join(s.dir, filepath.Base(part.File))); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sweep removes the files of batches up to one.
func (s *stagedSink) sweep(id batch.ID) error {
	list, err := os.ReadDir(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep staged rows of %s: %w", s.name, err)
	}
	for _, e := range list {
		num, _, _ := strings.Cut(strings.TrimPrefix(e.Name(), "b"), "-")
		if n, err := strconv.ParseInt(num, 10, 64); err != nil || batch.ID(n) > id {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("sweep staged rows of %s: %w", s.name, err)
		}
	}
	return nil
}
