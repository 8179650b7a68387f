package sourcetest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sources"
)

// Case is one source under test, with all its data there before Run.
type Case struct {
	// Open opens both halves over the same data, metadata folder and options, as
	// a restart would. It is called many times; the suite closes each source
	// before it opens the next.
	Open func(t testing.TB) (sources.Source, sources.Opener)
	// Fresh, if there is one, is called before each subtest and brings back data
	// and metadata folder as they were: for sources whose Release throws away.
	Fresh func(t testing.TB)
	// Limit is small enough that the data takes several batches.
	Limit sources.Limit
	// Rows is the number of rows up to the furthest position, -1 if a source
	// never ends: then Batches of them are taken.
	Rows int64
	// Batches bounds how many ranges are taken; 0 means 1000, more than which is a failure.
	Batches int
	// Unordered says that the rows of two ranges come in another order than the
	// rows of both in one (a source with partitions of its own).
	Unordered bool
	// Unsliced says that positions come from durable plans (a log of files), so
	// that a range may only be cut where Latest has cut it before.
	Unsliced bool
}

// maxBatches bounds the loop over Latest for a source that should end.
const maxBatches = 1000

// step is one planned range.
type step = batch.Range

// row is a row as text, one cell for each column, so that rows of different
// batches compare.
type row string

// offsets asks for one limited position after the other until nothing comes.
func (c Case) offsets(t testing.TB, src sources.Source) []batch.Offset {
	t.Helper()
	stop := c.Batches
	if stop == 0 {
		stop = maxBatches
	}
	at := []batch.Offset{""}
	for len(at) <= stop {
		from := at[len(at)-1]
		to, err := src.Latest(t.Context(), from, c.Limit)
		if err != nil {
			t.Fatalf("latest after %q: %v", from, err)
		}
		if to == from {
			return at
		}
		if slices.Contains(at, to) {
			t.Fatalf("Latest went back from %q to %q", from, to)
		}
		at = append(at, to)
	}
	if c.Batches == 0 {
		t.Fatalf("the source did not end within %d batches", maxBatches)
	}
	return at
}

// ranges is offsets as ranges.
func (c Case) ranges(t testing.TB, src sources.Source) []step {
	t.Helper()
	at := c.offsets(t, src)
	if len(at) < 3 {
		t.Fatalf("the data took %d batches, want several: choose a smaller limit", len(at)-1)
	}
	out := make([]step, 0, len(at)-1)
	for i := range at[1:] {
		out = append(out, step{Source: "src#0", Start: at[i], End: at[i+1]})
	}
	return out
}

// plan returns the splits of a range and checks their numbering (S2).
func plan(t testing.TB, src sources.Source, r step) []batch.Split {
	t.Helper()
	splits, err := src.Plan(t.Context(), r)
	if err != nil {
		t.Fatalf("plan %v: %v", r, err)
	}
	for i, s := range splits {
		if s.Index != i || s.Source != r.Source {
			t.Fatalf("split %d of %v has index %d and source %q", i, r, s.Index, s.Source)
		}
	}
	return splits
}

// readRange reads all splits of a range in order.
func readRange(t testing.TB, src sources.Source, op sources.Opener, r step, columns []int) []row {
	t.Helper()
	var rows []row
	for _, s := range plan(t, src, r) {
		rows = append(rows, readSplit(t, src.Schema(), op, s, columns)...)
	}
	return rows
}

// readSplit reads one split and checks that everything is given back.
func readSplit(t testing.TB, schema *arrow.Schema, op sources.Opener, s batch.Split, columns []int) []row {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	rows, err := readAll(t, schema, op, s, columns, mem)
	if err != nil {
		t.Fatalf("read split %d: %v", s.Index, err)
	}
	mem.AssertSize(t, 0)
	return rows
}

func readAll(t testing.TB, schema *arrow.Schema, op sources.Opener, s batch.Split, columns []int, mem memory.Allocator) ([]row, error) {
	r, err := op.Open(t.Context(), s, columns, mem)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	rows, err := drain(t, schema, r, columns)
	return rows, errors.Join(err, r.Close())
}

func drain(t testing.TB, schema *arrow.Schema, r sources.Reader, columns []int) ([]row, error) {
	var rows []row
	for {
		rec, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("next: %w", err)
		}
		err = checkSchema(schema, rec.Schema(), columns)
		rows = appendRows(rows, rec)
		rec.Release()
		if err != nil {
			return nil, err
		}
	}
}

// checkSchema compares names and types of a batch with what was asked for.
func checkSchema(full, got *arrow.Schema, columns []int) error {
	if columns == nil {
		for i := range full.NumFields() {
			columns = append(columns, i)
		}
	}
	if got.NumFields() != len(columns) {
		return fmt.Errorf("a batch has %d columns, want %d", got.NumFields(), len(columns))
	}
	for i, c := range columns {
		w, g := full.Field(c), got.Field(i)
		if w.Name != g.Name || !arrow.TypeEqual(w.Type, g.Type) {
			return fmt.Errorf("column %d of a batch is %s %s, want %s %s", i, g.Name, g.Type, w.Name, w.Type)
		}
	}
	return nil
}

const cellEnd, null = "\x1f", "\x00null"

func appendRows(rows []row, rec arrow.RecordBatch) []row {
	var b strings.Builder
	for i := range int(rec.NumRows()) {
		b.Reset()
		for _, c := range rec.Columns() {
			if c.IsNull(i) {
				b.WriteString(null)
			} else {
				b.WriteString(c.ValueStr(i))
			}
			b.WriteString(cellEnd)
		}
		rows = append(rows, row(b.String()))
	}
	return rows
}

// pick projects a row of all columns.
func (r row) pick(columns []int) row {
	cells := strings.Split(string(r), cellEnd)
	var b strings.Builder
	for _, c := range columns {
		b.WriteString(cells[c] + cellEnd)
	}
	return row(b.String())
}

// sameRows fails with the first difference.
func (c Case) sameRows(t testing.TB, what string, got, want []row) {
	t.Helper()
	if c.Unordered {
		got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	}
	equalRows(t, what, got, want)
}

func equalRows(t testing.TB, what string, got, want []row) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: row %d is %q, want %q", what, i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d rows, want %d", what, len(got), len(want))
	}
}
