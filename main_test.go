package sluice

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/internal/render"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openSession makes a session in a folder, which the test's end closes.
func openSession(t testing.TB, opts Options) *Session {
	t.Helper()
	if opts.CheckpointDir == "" {
		opts.CheckpointDir = t.TempDir()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Stdout == nil {
		opts.Stdout = io.Discard
	}
	s, err := NewSession(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the session: %v", err)
		}
	})
	return s
}

// must executes a script.
func must(t testing.TB, s *Session, script string) {
	t.Helper()
	if err := s.Exec(t.Context(), script); err != nil {
		t.Fatalf("%s\n%v", script, err)
	}
}

// wantError holds an error against a part of its text.
func wantError(t testing.TB, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("got the error %v, want one with %q", err, part)
	}
}

// schemaOf makes a schema of column declarations "a BIGINT, b STRING".
func schemaOf(t testing.TB, s *Session, columns string) *arrow.Schema {
	t.Helper()
	must(t, s, "CREATE OR REPLACE TABLE schema_of ("+columns+") WITH ('connector'='blackhole')")
	rel, err := s.cat.Relation("schema_of")
	if err != nil {
		t.Fatal(err)
	}
	s.cat.drop("schema_of")
	return rel.Table.Physical
}

// recordOf makes a batch of CSV lines; NULL is a null.
func recordOf(t testing.TB, alloc memory.Allocator, schema *arrow.Schema, lines string) arrow.RecordBatch {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(lines)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	b := array.NewRecordBuilder(alloc, schema)
	defer b.Release()
	for _, row := range rows {
		for i, v := range row {
			if v == "NULL" {
				v = array.NullValueStr
			}
			if err := b.Field(i).AppendValueFromString(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b.NewRecordBatch()
}

// add gives CSV lines to a stream.
func add(t testing.TB, st *Stream, lines string) {
	t.Helper()
	rec := recordOf(t, memory.DefaultAllocator, st.s.Schema(), lines)
	defer rec.Release()
	if err := st.Add(rec); err != nil {
		t.Fatal(err)
	}
}

// linesOf renders batches row by row, values with a bar between them.
func linesOf(recs ...arrow.RecordBatch) []string {
	var lines []string
	f := render.UTC()
	for _, rec := range recs {
		for i := range int(rec.NumRows()) {
			var cells []string
			for c, col := range rec.Columns() {
				text := string(f.AppendText(nil, col, i))
				if rec.ColumnName(c) == OpColumn {
					text = [...]string{"+I", "-U", "+U", "-D"}[col.(*array.Int8).Value(i)]
				}
				cells = append(cells, text)
			}
			lines = append(lines, strings.Join(cells, "|"))
		}
	}
	return lines
}

// read runs a reader to its end and renders the rows, sorted.
func read(ctx context.Context, r Reader) ([]string, error) {
	var lines []string
	for {
		rec, err := r.Next(ctx)
		if err == io.EOF {
			slices.Sort(lines)
			return lines, r.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("%w (close: %v)", err, r.Close())
		}
		lines = append(lines, linesOf(rec)...)
		rec.Release()
	}
}

// rowsOf runs a DataFrame and renders its rows, sorted.
func rowsOf(t testing.TB, d *DataFrame) []string {
	t.Helper()
	r, err := d.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lines, err := read(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// query runs SQL and renders its rows, sorted.
func query(t testing.TB, s *Session, text string) []string {
	t.Helper()
	d, err := s.SQL(t.Context(), text)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return rowsOf(t, d)
}

// same compares rows.
func same(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s\n got %q\nwant %q", what, got, want)
	}
}

// process waits for all that the sources hold now.
func process(t testing.TB, q *Query) {
	t.Helper()
	if err := q.ProcessAllAvailable(t.Context()); err != nil {
		t.Fatal(err)
	}
}
