package handover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// holder is a sink that prepares in memory, and whose commits fail now and then.
type holder struct {
	mu      sync.Mutex        // of waiting and made
	waiting map[string]string // by handle: rows
	shown   []string
	last    batch.ID
	made    int
	fail    error
	aborted int
}

func (h *holder) NewWriter(_ context.Context, a sinks.Attempt, _ *arrow.Schema, _ memory.Allocator) (sinks.Writer, error) {
	return &holderWriter{h: h, a: a}, nil
}

func (h *holder) Commit(_ context.Context, id batch.ID, _ batch.Term, parts []batch.Prepared) error {
	if id <= h.last {
		return nil
	}
	if h.fail != nil {
		err := h.fail
		h.fail = nil
		return err
	}
	for _, p := range parts {
		rows, ok := h.waiting[string(p.Payload)]
		if len(p.Payload) > 0 && !ok {
			return fmt.Errorf("the handle %s is strange", p.Payload)
		}
		h.shown = append(h.shown, fmt.Sprintf("%s%d/%s", rows, p.Rows, p.Digest))
	}
	h.last = id
	return nil
}

func (h *holder) Abort(_ context.Context, _ batch.ID, _ batch.Term, parts []batch.Prepared) error {
	h.aborted += len(parts)
	return nil
}
func (h *holder) Holds(context.Context) (batch.ID, batch.Digest, error) {
	return h.last, batch.Digest{}, nil
}
func (h *holder) Close() error { return nil }

type holderWriter struct {
	h    *holder
	a    sinks.Attempt
	rows string
}

func (w *holderWriter) Write(_ context.Context, rec arrow.RecordBatch) error {
	for i := range int(rec.NumRows()) {
		w.rows += fmt.Sprintf("%s@%d ", rec.Column(0).ValueStr(i), w.a.Now)
	}
	return nil
}

func (w *holderWriter) Prepare(context.Context) (batch.Prepared, error) {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	w.h.made++
	key := fmt.Sprint("held ", w.h.made)
	w.h.waiting[key] = w.rows
	return batch.Prepared{Payload: []byte(key)}, nil
}
func (w *holderWriter) Discard() error { return nil }

// shelf keeps rows as a worker does.
type shelf struct {
	rows map[Place][]arrow.RecordBatch
	mu   sync.Mutex // of cut: parts are read side by side
	cut  error      // what a reader meets behind the first batch
}

// cutOnce is cut for the first who asks.
func (s *shelf) cutOnce() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.cut
	s.cut = nil
	return err
}

type shelved struct {
	s    *shelf
	at   Place
	recs []arrow.RecordBatch
}

func (s *shelf) keep(at Place) Rows { return &shelved{s: s, at: at} }

func (r *shelved) Append(rec arrow.RecordBatch) error {
	rec.Retain()
	r.recs = append(r.recs, rec)
	return nil
}

func (r *shelved) Commit() error {
	r.s.drop(func(at Place) bool { return at == r.at })
	r.s.rows[r.at], r.recs = r.recs, nil
	return nil
}

func (r *shelved) Discard() {
	for _, rec := range r.recs {
		rec.Release()
	}
	r.recs = nil
}

func (s *shelf) drop(gone func(Place) bool) {
	for at, recs := range s.rows {
		if gone(at) {
			for _, rec := range recs {
				rec.Release()
			}
			delete(s.rows, at)
		}
	}
}

func (s *shelf) fetch(_ context.Context, at Place) (Reader, error) {
	recs, ok := s.rows[at]
	if !ok {
		return nil, errors.New("the plan is not deployed on this worker")
	}
	return &shelfReader{s: s, recs: recs}, nil
}

type shelfReader struct {
	s    *shelf
	recs []arrow.RecordBatch
	at   int
}

func (r *shelfReader) Next(context.Context) (arrow.RecordBatch, error) {
	if r.at > 0 {
		if err := r.s.cutOnce(); err != nil {
			return nil, err
		}
	}
	if r.at == len(r.recs) {
		return nil, io.EOF
	}
	r.recs[r.at].Retain()
	r.at++
	return r.recs[r.at-1], nil
}

func (r *shelfReader) Close() error { return nil }

// Rows for a sink that prepares in memory go from the worker to the sink's own writers,
// once for each batch whatever fails between.
func TestHandover(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	h := &holder{waiting: map[string]string{}, last: batch.None}
	at := &shelf{rows: map[Place][]arrow.RecordBatch{}}
	defer at.drop(func(Place) bool { return true })
	s := New(h, h, at.fetch, "out#0")
	w := Writers{Keep: at.keep, Node: "w1", Key: "k", Sink: "out#0", At: 1, Sinks: 3}
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	write := func(id batch.ID, partition, attempt int, rows ...int64) sinks.Writer {
		t.Helper()
		wr, err := w.NewWriter(t.Context(), sinks.Attempt{Task: batch.TaskID{Query: "q", Batch: id, Stage: 2, Partition: partition, Attempt: attempt}, Term: 3, Now: 7}, schema, mem)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range rows {
			b := array.NewInt64Builder(mem)
			b.Append(n)
			arr := b.NewArray()
			rec := array.NewRecordBatch(schema, []arrow.Array{arr}, 1)
			err := wr.Write(t.Context(), rec)
			rec.Release()
			arr.Release()
			b.Release()
			if err != nil {
				t.Fatal(err)
			}
		}
		return wr
	}
	prepare := func(id batch.ID, partition, attempt int, rows ...int64) batch.Prepared {
		t.Helper()
		p, err := write(id, partition, attempt, rows...).Prepare(t.Context())
		if err != nil || p.Rows != int64(len(rows)) || p.Sink != "out#0" || p.Partition != partition {
			t.Fatal(p, err)
		}
		p.Digest = batch.Digest{Lo: uint64(id)} // the task's
		return p
	}
	if err := write(0, 0, 0, 1, 2).Discard(); err != nil || len(at.rows) > 0 {
		t.Errorf("of an attempt that failed %d stay, %v", len(at.rows), err)
	}
	first := []batch.Prepared{prepare(0, 0, 1, 1, 2), prepare(0, 1, 0), prepare(0, 2, 1, 3)}
	prepare(0, 2, 0, 3) // an attempt that was lost: its rows are the same
	for place := range at.rows {
		if place.Stage != -1-2*3-1 || place.Node != "w1" || place.Key != "k" {
			t.Errorf("rows are kept at %+v", place)
		}
	}
	at.cut = errors.New("the worker is away")
	err := s.Commit(t.Context(), 0, 3, first)
	if k, again := batch.KindOf(err); err == nil || k != batch.External || !again {
		t.Fatalf("a worker that is away for a moment: %v", err)
	}
	s.Stage(t.Context(), 0, 3, first)
	h.fail = errors.New("the broker is away")
	if err := s.Commit(t.Context(), 0, 3, first); err == nil {
		t.Fatal("the failure is not told")
	}
	at.drop(func(Place) bool { return true }) // what was taken is not asked for again
	if err := s.Commit(t.Context(), 0, 3, first); err != nil {
		t.Fatal(err)
	}
	d := batch.Digest{}
	want := fmt.Sprintf("1@7 2@7 2/%s|0/%s|3@7 1/%s", d, d, d)
	if got := strings.Join(h.shown, "|"); got != want || len(h.waiting) != 2 {
		t.Errorf("shown is %s, %d parts, want %s", got, len(h.waiting), want)
	}
	if len(s.mu.held) > 0 {
		t.Errorf("%d parts of a batch that is shown are remembered", len(s.mu.held))
	}
	// A worker that has lost its rows: the life of the query ends, and the sink is asked.
	later := prepare(1, 0, 0, 4)
	at.drop(func(Place) bool { return true })
	err = s.Commit(t.Context(), 1, 3, []batch.Prepared{later})
	if k, again := batch.KindOf(err); err == nil || k != batch.External || !again {
		t.Errorf("rows that are gone: %v", err)
	}
	// One that has others than its handle says.
	short := prepare(1, 0, 0, 4)
	short.Rows++
	if err := s.Commit(t.Context(), 1, 3, []batch.Prepared{short}); err == nil || !strings.Contains(err.Error(), "1 rows came of 2") {
		t.Errorf("rows that are missing: %v", err)
	}
	again := prepare(1, 0, 1, 4)
	s.Stage(t.Context(), 1, 3, []batch.Prepared{again})
	if err := s.Abort(t.Context(), 1, 3, []batch.Prepared{again, later}); err != nil || h.aborted != 1 {
		t.Errorf("after Abort %d parts are given up, %v", h.aborted, err)
	}
	if err := s.Commit(t.Context(), 1, 3, []batch.Prepared{{Sink: "out#0", Payload: []byte("held 99"), Rows: 1}}); err == nil || !strings.Contains(err.Error(), "strange") {
		t.Errorf("a handle of another program: %v", err)
	}
}
