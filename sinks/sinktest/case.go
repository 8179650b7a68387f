package sinktest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// Case is one sink over one empty target, in append mode, for query Query.
type Case struct {
	// Open opens both halves over the target. The suite opens it again for a
	// restart; the two are then used one after the other, and for K4 at the
	// same time.
	Open func(t testing.TB) (sinks.Sink, sinks.WriterFactory)
	// Visible reads the target as a stranger does and returns a Line for each
	// row, in any order. Nil where the target shows nothing (a blackhole).
	Visible func(t testing.TB) []string
	// Volatile is Connector.Volatile: handles do not outlive the process. An
	// Open still stands for a restart of the query in the same process.
	Volatile bool
	// Forgets says that the target cannot tell after Open what it holds (a terminal).
	Forgets bool
}

// Query is the query that the suite writes for.
const Query batch.QueryID = "q"

// Schema is that of the suite's rows: id BIGINT, name STRING.
func Schema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
}

// Spec is what Open passes to a connector, besides its options.
func Spec() sinks.Spec {
	return sinks.Spec{Name: "out#0", Table: "out", Query: Query, Schema: Schema(), Mode: sinks.Append, Zone: "UTC"}
}

// Line is how Visible reports a row; hasName is false for a NULL name.
func Line(id int64, name string, hasName bool) string {
	if !hasName {
		return fmt.Sprintf("%d|NULL", id)
	}
	return fmt.Sprintf("%d|%q", id, name)
}

// fixture drives one case.
type fixture struct {
	Case
	t       *testing.T
	mem     *memory.CheckedAllocator
	sink    sinks.Sink
	writers sinks.WriterFactory
	want    []string
}

func newFixture(t *testing.T, c Case) *fixture {
	t.Helper()
	f := &fixture{Case: c, t: t, mem: memory.NewCheckedAllocator(memory.NewGoAllocator())}
	f.sink, f.writers = c.Open(t)
	return f
}

// reopen restarts the query over the same target.
func (f *fixture) reopen() {
	f.t.Helper()
	f.close()
	f.sink, f.writers = f.Open(f.t)
}

func (f *fixture) close() {
	f.t.Helper()
	if err := f.sink.Close(); err != nil {
		f.t.Fatalf("close: %v", err)
	}
}

// rows makes the rows of ids [from, to) and their lines. Names repeat, hold what
// text formats have to quote, and are NULL for every seventh.
func (f *fixture) rows(from, to int64) (arrow.RecordBatch, []string) {
	b := array.NewRecordBuilder(f.mem, Schema())
	defer b.Release()
	var lines []string
	for id := from; id < to; id++ {
		name, ok := []string{"plain", "", "a,\"b\"\nc", "é|\\"}[id%4], id%7 != 0
		b.Field(0).(*array.Int64Builder).Append(id)
		if ok {
			b.Field(1).(*array.StringBuilder).Append(name)
		} else {
			b.Field(1).AppendNull()
		}
		lines = append(lines, Line(id, name, ok))
	}
	return b.NewRecordBatch(), lines
}

// writer starts an attempt.
func (f *fixture) writer(id batch.ID, partition, attempt int, term batch.Term) sinks.Writer {
	f.t.Helper()
	a := sinks.Attempt{
		Task: batch.TaskID{Query: Query, Batch: id, Stage: 1, Partition: partition, Attempt: attempt},
		Term: term, Now: 1_700_000_000_000_000,
	}
	w, err := f.writers.NewWriter(f.t.Context(), a, Schema(), f.mem)
	if err != nil {
		f.t.Fatalf("writer for %v: %v", a.Task, err)
	}
	return w
}

// write writes the rows [from, to) in two batches.
func (f *fixture) write(w sinks.Writer, from, to int64) []string {
	f.t.Helper()
	var lines []string
	mid := (from + to) / 2
	for _, part := range [][2]int64{{from, mid}, {mid, to}} {
		rec, l := f.rows(part[0], part[1])
		err := w.Write(f.t.Context(), rec)
		rec.Release()
		if err != nil {
			f.t.Fatalf("write: %v", err)
		}
		lines = append(lines, l...)
	}
	return lines
}

func (f *fixture) prepare(w sinks.Writer) batch.Prepared {
	f.t.Helper()
	p, err := w.Prepare(f.t.Context())
	if err != nil {
		f.t.Fatalf("prepare: %v", err)
	}
	return p
}

// prepared writes [from, to) as two partitions of a batch and returns handles and lines.
func (f *fixture) prepared(id batch.ID, term batch.Term, from, to int64) ([]batch.Prepared, []string) {
	f.t.Helper()
	var parts []batch.Prepared
	var lines []string
	mid := (from + to) / 2
	for p, part := range [][2]int64{{from, mid}, {mid, to}} {
		w := f.writer(id, p, 0, term)
		lines = append(lines, f.write(w, part[0], part[1])...)
		parts = append(parts, f.prepare(w))
		if got := parts[p].Rows; got != part[1]-part[0] {
			f.t.Errorf("the handle says %d rows, want %d", got, part[1]-part[0])
		}
	}
	return parts, lines
}

func (f *fixture) commit(id batch.ID, term batch.Term, parts []batch.Prepared) {
	f.t.Helper()
	if err := f.sink.Commit(f.t.Context(), id, term, parts); err != nil {
		f.t.Fatalf("commit batch %d: %v", id, err)
	}
}

// commitRows runs a whole batch.
func (f *fixture) commitRows(id batch.ID, term batch.Term, from, to int64) []batch.Prepared {
	f.t.Helper()
	parts, lines := f.prepared(id, term, from, to)
	f.commit(id, term, parts)
	f.want = append(f.want, lines...)
	return parts
}

// visible compares the target with what was committed.
func (f *fixture) visible(when string) {
	f.t.Helper()
	if f.Visible == nil {
		return
	}
	got := slices.Sorted(slices.Values(f.Visible(f.t)))
	want := slices.Sorted(slices.Values(f.want))
	if !slices.Equal(got, want) {
		f.t.Fatalf("%s: the target shows %d rows %q\nwant %d rows %q", when, len(got), got, len(want), want)
	}
}

// holds compares what the target says that it holds.
func (f *fixture) holds(want batch.ID) {
	f.t.Helper()
	got, _, err := f.sink.Holds(f.t.Context())
	if err != nil || got != want {
		f.t.Errorf("the target holds batch %d (%v), want %d", got, err, want)
	}
}
