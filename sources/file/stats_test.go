package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/csv"
	"github.com/sluice-stream/sluice/formats/parquet"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/sources"
)

var statsSchema = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "kind", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// writeRows writes rows numbered from..to-1, of three kinds and now and then NULL.
func writeRows(t *testing.T, path string, from, to int) {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, statsSchema)
	defer b.Release()
	for i := from; i < to; i++ {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%10 == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("kind %d", i%3))
		}
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	var out bytes.Buffer
	w, err := parquet.New().NewWriter(&out, statsSchema, formats.Config{}, memory.DefaultAllocator)
	if err == nil {
		err = errors.Join(w.Write(rec), w.Close())
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, out.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func statsOfPath(t *testing.T, schema *arrow.Schema, path string) batch.TableStats {
	t.Helper()
	c := Connector(vfsx.Default, formats.NewRegistry(parquet.New(), csv.New()))
	st, err := c.Stats(t.Context(), sources.Spec{Name: "t#0", Table: "t", Schema: schema, Options: options.Map{"path": path}})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestStatsOfParquetFiles(t *testing.T) {
	dir := t.TempDir()
	writeRows(t, filepath.Join(dir, "day=1", "a.parquet"), 0, 1000)
	writeRows(t, filepath.Join(dir, "day=2", "b.parquet"), 1000, 3000)
	schema := arrow.NewSchema(append(statsSchema.Fields(), arrow.Field{Name: "day", Type: arrow.PrimitiveTypes.Int32}), nil)
	st := statsOfPath(t, schema, dir)
	if st.Rows != 3000 || !st.Exact || st.Bytes < 3000*12 || len(st.Columns) != 3 {
		t.Fatalf("%+v", st)
	}
	id, kind, day := st.Columns[0], st.Columns[1], st.Columns[2]
	if id.Min != int64(0) || id.Max != int64(2999) || id.Nulls != 0 || id.Distinct != 3000 || id.Width != 8 {
		t.Errorf("id: %+v", id)
	}
	if kind.Min != "kind 0" || kind.Max != "kind 2" || kind.Nulls != 300 || kind.Distinct != 3 || kind.Width != 10 {
		t.Errorf("kind: %+v", kind)
	}
	if day.Min != int64(1) || day.Max != int64(2) || day.Distinct != 2 {
		t.Errorf("day: %+v", day)
	}
}

func TestStatsOfManyFilesAreTakenFromSome(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 * statsFiles {
		writeRows(t, filepath.Join(dir, fmt.Sprintf("%03d.parquet", i)), i*100, i*100+100)
	}
	st := statsOfPath(t, statsSchema, dir)
	if st.Exact || st.Rows < 90*3*statsFiles || st.Rows > 110*3*statsFiles {
		t.Errorf("%+v", st)
	}
}

func TestStatsOfTextAreGuessedByItsSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.csv")
	if err := os.WriteFile(path, bytes.Repeat([]byte("12345,some text\n"), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	st := statsOfPath(t, statsSchema, path)
	if st.Exact || st.Rows < 300 || st.Rows > 3000 || st.Columns != nil {
		t.Errorf("%+v", st)
	}
}

// A file is read again only when it has changed.
func TestFootersAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.parquet")
	writeRows(t, path, 0, 10)
	read := 0
	counting := parquet.New()
	stats := counting.Stats
	counting.Stats = func(ctx context.Context, f formats.File, c formats.Config) (formats.Stats, error) {
		read++
		return stats(ctx, f, c)
	}
	c := Connector(vfsx.Default, formats.NewRegistry(counting))
	spec := sources.Spec{Name: "t#0", Table: "t", Schema: statsSchema, Options: options.Map{"path": path}}
	for _, want := range []struct{ read, rows int }{{1, 10}, {1, 10}, {2, 25}} {
		if want.read == 2 {
			writeRows(t, path, 0, 25)
		}
		st, err := c.Stats(t.Context(), spec)
		if err != nil || st.Rows != int64(want.rows) || read != want.read {
			t.Errorf("%d rows after %d reads, want %+v (%v)", st.Rows, read, want, err)
		}
	}
}
