package sluice

import (
	"context"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// TestUpdatesReplaceRowsByTheResultsOwnKey needs no declared key: a total is one
// row, and groups are known by what they are grouped by.
func TestUpdatesReplaceRowsByTheResultsOwnKey(t *testing.T) {
	ctx := context.Background()
	s, err := NewSession(Options{CheckpointDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	schema := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int64}}, nil)
	in, err := s.CreateStream("t", schema)
	if err != nil {
		t.Fatal(err)
	}
	for name, query := range map[string]string{
		"total": "SELECT count(*) AS n FROM t", "groups": "SELECT count(*) AS n, x % 2 AS odd FROM t GROUP BY x % 2",
	} {
		df, err := s.SQL(ctx, query)
		if err != nil {
			t.Fatal(err)
		}
		q, err := df.WriteToMemory(name).Name(name).Mode(Update).Start(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"total": "[]", "groups": "[odd]"}[name]
		if keys, ok := q.UpdateKeys(); !ok || fmt.Sprint(keys) != want {
			t.Errorf("%s is replaced by %v (%v), want %s", name, keys, ok, want)
		}
	}
	for round := range 3 {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 2, 3}, nil)
		rec := b.NewRecordBatch()
		if err := in.Add(rec); err != nil {
			t.Fatal(err)
		}
		rec.Release()
		b.Release()
		for _, q := range s.Queries() {
			if err := q.ProcessAllAvailable(ctx); err != nil {
				t.Fatal(err)
			}
		}
		got := ""
		for _, name := range []string{"total", "groups"} {
			rows, err := s.MemoryTable(name).OrderBy("n").Collect(ctx)
			if err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprint(rows)
		}
		n := round + 1
		if want := fmt.Sprintf("[[%d]][[%d 0] [%d 1]]", 3*n, n, 2*n); got != want {
			t.Errorf("round %d: got %s, want %s", round, got, want)
		}
	}
}
