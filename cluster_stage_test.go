package sluice

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// holder is a sink that prepares in memory, and whose commits fail now and then.
type holder struct {
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
	w.h.made++
	key := fmt.Sprint("held ", w.h.made)
	w.h.waiting[key] = w.rows
	return batch.Prepared{Payload: []byte(key)}, nil
}
func (w *holderWriter) Discard() error { return nil }

// Rows for a sink that prepares in memory go by way of files, once for each batch
// whatever fails between.
func TestStagedSink(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	dir := stagedDir(filepath.Join(t.TempDir(), "state"), "out#0")
	h := &holder{waiting: map[string]string{}, last: batch.None}
	s := newStagedSink(h, h, dir, "out#0")
	w := stagedWriters{dir: dir, sink: "out#0"}
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)
	prepare := func(id batch.ID, partition, attempt int, rows ...int64) batch.Prepared {
		t.Helper()
		wr, err := w.NewWriter(t.Context(), sinks.Attempt{Task: batch.TaskID{Query: "q", Batch: id, Partition: partition, Attempt: attempt}, Term: 3, Now: 7}, schema, mem)
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
		p, err := wr.Prepare(t.Context())
		if err != nil || p.Rows != int64(len(rows)) || p.Sink != "out#0" || p.Partition != partition {
			t.Fatal(p, err)
		}
		p.Digest = batch.Digest{Lo: uint64(id)} // the task's
		return p
	}
	files := func() int {
		list, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return len(list)
	}
	first := []batch.Prepared{prepare(0, 0, 0, 1, 2), prepare(0, 1, 0), prepare(0, 2, 1, 3)}
	prepare(0, 2, 0, 3) // an attempt that was lost
	later := prepare(1, 0, 0, 4)
	h.fail = errors.New("the broker is away")
	if err := s.Commit(t.Context(), 0, 3, first); err == nil {
		t.Fatal("the failure is not told")
	}
	if err := s.Commit(t.Context(), 0, 3, first); err != nil {
		t.Fatal(err)
	}
	d := batch.Digest{}
	want := fmt.Sprintf("1@7 2@7 2/%s|0/%s|3@7 1/%s", d, d, d)
	if got := strings.Join(h.shown, "|"); got != want || h.made != 2 {
		t.Errorf("shown is %s, written by %d writers, want %s", got, h.made, want)
	}
	if n := files(); n != 1 {
		t.Errorf("%d files stay, want that of the next batch", n)
	}
	// Its files are gone: a batch that was shown is passed over, one that was not is told.
	if err := s.Commit(t.Context(), 0, 3, first); err != nil {
		t.Errorf("a batch that is shown again: %v", err)
	}
	again := newStagedSink(&holder{waiting: map[string]string{}, last: batch.None}, h, dir, "out#0")
	if err := again.Commit(t.Context(), 0, 4, first); err == nil || !strings.Contains(err.Error(), "strange") {
		t.Errorf("a batch whose rows are gone: %v", err)
	}
	name := filepath.Join(dir, "b1-t3-s0-p0-a0.arrow")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), 1, 3, []batch.Prepared{later}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged file: %v", err)
	}
	if err := s.Abort(t.Context(), 1, 3, []batch.Prepared{later}); err != nil || files() != 0 {
		t.Errorf("after Abort %d files stay, %v", files(), err)
	}
	wr, _ := w.NewWriter(t.Context(), sinks.Attempt{}, schema, mem)
	if err := wr.Discard(); err != nil {
		t.Errorf("a writer without rows: %v", err)
	}
}
