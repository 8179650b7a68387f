package foreachbatch

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/sinktest"
	"github.com/sluice-stream/sluice/sinks/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collect returns a case whose function gathers lines.
func collect(testing.TB) sinktest.Case {
	var lines []string
	c := Connector("mine", func(_ context.Context, b Batch) error {
		for _, rec := range b.Records {
			ids, names := rec.Column(0).(*array.Int64), rec.Column(1).(*array.String)
			for i := range ids.Len() {
				lines = append(lines, sinktest.Line(ids.Value(i), names.Value(i), names.IsValid(i)))
			}
		}
		return nil
	})
	return sinktest.Case{
		Open: func(t testing.TB) (sinks.Sink, sinks.WriterFactory) {
			s, w, err := c.New(t.Context(), sinktest.Spec())
			if err != nil {
				t.Fatal(err)
			}
			return s, w
		},
		Visible:  func(testing.TB) []string { return lines },
		Volatile: true,
	}
}

func TestConformance(t *testing.T) {
	sinktest.Run(t, collect)
	sinktest.Discarded(t, collect(t))
}

// write prepares one row as a batch.
func write(t *testing.T, w sinks.WriterFactory, id batch.ID, mem memory.Allocator) batch.Prepared {
	t.Helper()
	b := array.NewRecordBuilder(mem, sinktest.Schema())
	defer b.Release()
	b.Field(0).(*array.Int64Builder).Append(int64(id))
	b.Field(1).AppendNull()
	rec := b.NewRecordBatch()
	defer rec.Release()
	writer, err := w.NewWriter(t.Context(), sinks.Attempt{Task: batch.TaskID{Query: "q", Batch: id}, Term: 1}, sinktest.Schema(), mem)
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Write(t.Context(), rec); err != nil {
		t.Fatal(err)
	}
	p, err := writer.Prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestFailedBatchIsHandedOverAgain(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	hub := stage.NewHub(0)
	broken := errors.New("broken")
	var got []Batch
	result := broken
	s, w := New(hub, sinktest.Spec(), func(_ context.Context, b Batch) error {
		got = append(got, b)
		if b.ID == 1 {
			panic("at batch 1")
		}
		return result
	})
	p := write(t, w, 0, mem)
	if err := s.Commit(t.Context(), 0, 1, []batch.Prepared{p}); !errors.Is(err, broken) {
		t.Fatalf("commit gave %v", err)
	}
	result = nil
	for range 2 {
		if err := s.Commit(t.Context(), 0, 1, []batch.Prepared{p}); err != nil {
			t.Fatal(err)
		}
	}
	if len(got) != 2 || got[1].ID != 0 || got[1].Rows != 1 || got[1].Query != sinktest.Query {
		t.Errorf("the function was called with %v", got)
	}
	p = write(t, w, 1, mem)
	if err := s.Commit(t.Context(), 1, 1, []batch.Prepared{p}); err == nil || !strings.Contains(err.Error(), "panicked: at batch 1") {
		t.Errorf("a panic gave %v", err)
	}
	if err := s.Abort(t.Context(), 1, 1, []batch.Prepared{p}); err != nil {
		t.Fatal(err)
	}
	if hub.Bytes() != 0 {
		t.Errorf("G1: %d bytes are left", hub.Bytes())
	}
}
