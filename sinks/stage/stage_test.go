package stage

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

var schema = arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, nil)

func nothing(context.Context, batch.ID, []arrow.RecordBatch) error { return nil }

func prepare(t *testing.T, target *Target, mem memory.Allocator, id batch.ID, rows int) (batch.Prepared, error) {
	t.Helper()
	b := array.NewRecordBuilder(mem, schema)
	defer b.Release()
	for range rows {
		b.Field(0).(*array.Int64Builder).Append(1)
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	w, err := target.Writers().NewWriter(t.Context(), sinks.Attempt{Task: batch.TaskID{Batch: id}}, schema, mem)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(t.Context(), rec); err != nil {
		return batch.Prepared{}, err
	}
	p, err := w.Prepare(t.Context())
	if err != nil {
		return p, errors.Join(err, w.Discard())
	}
	return p, nil
}

func TestHandleOfAnotherProcessIsRefused(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	spec := sinks.Spec{Name: "s#0", Query: "q"}
	before, after := NewHub(0).Target(spec), NewHub(0).Target(spec)
	p, err := prepare(t, before, mem, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := after.Sink(nothing).Commit(t.Context(), 0, 1, []batch.Prepared{p}); !errors.Is(err, ErrLost) {
		t.Errorf("commit gave %v", err)
	}
	if err := before.Sink(nothing).Commit(t.Context(), 0, 1, []batch.Prepared{p}); err != nil {
		t.Error(err)
	}
}

func TestLimit(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	hub := NewHub(4096)
	target := hub.Target(sinks.Spec{Name: "s#0", Query: "q"})
	if _, err := prepare(t, target, mem, 0, 10_000); err == nil || !strings.Contains(err.Error(), "exceeds the limit of 4096") {
		t.Errorf("a large output gave %v", err)
	}
	var parts []batch.Prepared
	for {
		p, err := prepare(t, target, mem, 0, 100)
		if err != nil {
			if k, _ := batch.KindOf(err); k != batch.User || !strings.Contains(err.Error(), "wait in memory already") {
				t.Errorf("got %v", err)
			}
			break
		}
		parts = append(parts, p)
		if len(parts) > 100 {
			t.Fatal("G2: no limit")
		}
	}
	if hub.Bytes() > 4096 || len(parts) == 0 {
		t.Errorf("G2: %d bytes in %d parts", hub.Bytes(), len(parts))
	}
	if err := target.Sink(nothing).Commit(t.Context(), 0, 1, nil); err != nil || hub.Bytes() != 0 {
		t.Errorf("G1: %d bytes are left after the commit (%v)", hub.Bytes(), err)
	}
}

func TestStatementsWithoutANameAreNewEachTime(t *testing.T) {
	hub := NewHub(0)
	for _, spec := range []sinks.Spec{{Name: "s#0"}, {Name: "s#0", Query: "q", Batch: true}} {
		for range 2 {
			shown := 0
			s := hub.Target(spec).Sink(func(context.Context, batch.ID, []arrow.RecordBatch) error { shown++; return nil })
			if err := s.Commit(t.Context(), 0, 1, nil); err != nil || shown != 1 {
				t.Errorf("batch 0 of %+v was shown %d times (%v)", spec, shown, err)
			}
		}
	}
}
