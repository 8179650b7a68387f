package parquet

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/sluice-stream/sluice/formats"
)

// cell prints a value so that it does not matter by which reader and in which unit it came.
func cell(a arrow.Array, i int) string {
	if a.IsNull(i) {
		return "null"
	}
	switch a := a.(type) {
	case *array.Timestamp:
		v := int64(a.Value(i))
		switch a.DataType().(*arrow.TimestampType).Unit {
		case arrow.Millisecond:
			v *= 1000
		case arrow.Nanosecond:
			v /= 1000
		}
		return fmt.Sprint(v)
	case array.ExtensionArray:
		return a.ValueStr(i)
	case *array.FixedSizeBinary:
		return hex.EncodeToString(a.Value(i))
	case *array.Binary:
		return hex.EncodeToString(a.Value(i))
	case *array.String:
		return a.Value(i)
	case *array.List:
		from, to := a.ValueOffsets(i)
		var b strings.Builder
		for j := from; j < to; j++ {
			b.WriteString("," + cell(a.ListValues(), int(j)))
		}
		return "[" + b.String() + "]"
	case *array.Struct:
		var b strings.Builder
		for k := range a.NumField() {
			b.WriteString("," + cell(a.Field(k), i))
		}
		return "{" + b.String() + "}"
	}
	return a.ValueStr(i)
}

func cells(recs []arrow.RecordBatch, col int) (out []string) {
	for _, rec := range recs {
		for i := range int(rec.NumRows()) {
			out = append(out, cell(rec.Column(col), i))
		}
	}
	return out
}

// byArrow reads a file with arrow-go's own reader.
func byArrow(b []byte) (cols [][]string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	r, err := file.NewParquetReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	ar, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	tbl, err := ar.ReadTable(context.Background())
	if err != nil {
		return nil, err
	}
	defer tbl.Release()
	for c := range int(tbl.NumCols()) {
		var col []string
		for _, ch := range tbl.Column(c).Data().Chunks() {
			for i := range ch.Len() {
				col = append(col, cell(ch, i))
			}
		}
		cols = append(cols, col)
	}
	return cols, nil
}

// agree reads a file with both readers. Where both can, they agree.
func agree(t *testing.T, name string, b []byte) error {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	recs, err := readAll(memFile(name, b), formats.ReadSpec{Alloc: alloc, MaxRows: 100}, nil)
	defer func() {
		for _, rec := range recs {
			rec.Release()
		}
		alloc.AssertSize(t, 0)
	}()
	if err != nil {
		return err
	}
	want, err := byArrow(b)
	if err != nil {
		return fmt.Errorf("arrow-go: %w", err)
	}
	if len(recs) == 0 {
		return nil
	}
	for c := range want {
		got := cells(recs, c)
		if len(got) != len(want[c]) {
			t.Fatalf("%s: column %d has %d rows, arrow-go reads %d", name, c, len(got), len(want[c]))
		}
		for i, w := range want[c] {
			if got[i] != w {
				t.Fatalf("%s: column %q row %d: %q, arrow-go reads %q", name, recs[0].ColumnName(c), i, got[i], w)
			}
		}
	}
	return nil
}

func seeds(t testing.TB) map[string][]byte {
	files, err := filepath.Glob("testdata/seeds/*.parquet")
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no seeds")
	}
	out := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(f)] = b
	}
	return out
}

// TestAgreesOnForeignFiles reads what PyArrow and DuckDB wrote: all encodings, codecs and page versions.
func TestAgreesOnForeignFiles(t *testing.T) {
	for name, b := range seeds(t) {
		if err := agree(t, name, b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var plainSchema = arrow.NewSchema([]arrow.Field{
	{Name: "i", Type: arrow.PrimitiveTypes.Int64}, {Name: "n", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "d", Type: &arrow.Decimal128Type{Precision: 15, Scale: 3}, Nullable: true},
	{Name: "w", Type: &arrow.Decimal128Type{Precision: 30, Scale: 3}}, {Name: "b", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
	{Name: "f", Type: arrow.PrimitiveTypes.Float64, Nullable: true}, {Name: "ts", Type: instant}}, nil)

// arrowFile writes with arrow-go in many shapes.
func arrowFile(t testing.TB, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	rec := randomBatch(r, plainSchema, 1+r.IntN(3000))
	defer rec.Release()
	opts := []apq.WriterProperty{apq.WithDictionaryDefault(r.IntN(2) == 0), apq.WithDataPageSize(int64(200 + r.IntN(20000))),
		apq.WithCompression([]compress.Compression{compress.Codecs.Snappy, compress.Codecs.Zstd, compress.Codecs.Lz4Raw, compress.Codecs.Uncompressed}[r.IntN(4)]),
		apq.WithDataPageVersion([]apq.DataPageVersion{apq.DataPageV1, apq.DataPageV2}[r.IntN(2)]), apq.WithBatchSize(int64(16 + r.IntN(512))),
		apq.WithDictionaryPageSizeLimit(int64(64 + r.IntN(5000))), apq.WithMaxRowGroupLength(int64(100 + r.IntN(3000)))}
	if r.IntN(2) == 0 {
		opts = append(opts, apq.WithDictionaryFor("i", false), apq.WithEncodingFor("i", apq.Encodings.DeltaBinaryPacked),
			apq.WithDictionaryFor("s", false), apq.WithEncodingFor("s", []apq.Encoding{apq.Encodings.DeltaByteArray, apq.Encodings.DeltaLengthByteArray}[r.IntN(2)]))
	}
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(plainSchema, &out, apq.NewWriterProperties(opts...), pqarrow.DefaultWriterProps())
	if err == nil {
		err = errors.Join(w.Write(rec), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAgreesOnRandomFiles(t *testing.T) {
	for seed := range uint64(30) {
		if err := agree(t, fmt.Sprint("seed ", seed), arrowFile(t, seed)); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// FuzzPages damages files: no panic escapes, memory stays small, and what both readers can read is the same.
// Its files are small, so that thousands are tried in a second; those of all encodings
// and codecs are damaged by TestDamage. Go takes a minute to shorten each input that finds
// new code: -fuzzminimizetime=10x makes 240 tries a second of none.
func FuzzPages(f *testing.F) {
	files, err := filepath.Glob("testdata/small/*.parquet")
	if err != nil || len(files) == 0 {
		f.Fatal(err, "no files")
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint32(0), byte(0))
		for i := range 10 {
			f.Add(b, uint32(i*len(b)/10), byte(1<<(i%8)))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint32, flip byte) {
		b = bytes.Clone(b)
		if len(b) > 0 {
			b[int(at)%len(b)] ^= flip
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readAll(memFile("fuzzed", b), formats.ReadSpec{MaxRows: 256}, nil)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<30 {
			t.Errorf("%d bytes were allocated for a file of %d", n, len(b))
		}
		if err != nil && strings.Contains(err.Error(), "runtime error") {
			t.Logf("a caught panic: %v", err)
		}
	})
}
