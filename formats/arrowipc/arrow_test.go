package arrowipc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

var ctx = context.Background()

// made is a batch of every kind of column, foreign ones among them.
func made(t testing.TB, mem memory.Allocator) arrow.RecordBatch {
	t.Helper()
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	fields := []arrow.Field{
		{Name: "i", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "u64", Type: arrow.PrimitiveTypes.Uint64, Nullable: true},
		{Name: "u8", Type: arrow.PrimitiveTypes.Uint8, Nullable: true}, {Name: "d", Type: dict, Nullable: true},
		{Name: "ls", Type: arrow.BinaryTypes.LargeString, Nullable: true}, {Name: "sv", Type: arrow.BinaryTypes.StringView, Nullable: true},
		{Name: "ns", Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "Europe/Paris"}, Nullable: true},
		{Name: "l", Type: arrow.LargeListOf(arrow.PrimitiveTypes.Uint16), Nullable: true},
		{Name: "st", Type: arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Uint32, Nullable: true}, arrow.Field{Name: "y", Type: arrow.BinaryTypes.String, Nullable: true}), Nullable: true},
		{Name: "m", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int32), Nullable: true},
		{Name: "f", Type: arrow.FixedSizeListOf(2, arrow.PrimitiveTypes.Float64), Nullable: true},
		{Name: "bin", Type: &arrow.FixedSizeBinaryType{ByteWidth: 2}, Nullable: true}, {Name: "d64", Type: arrow.FixedWidthTypes.Date64, Nullable: true},
	}
	json := `[{"i":1,"u64":18446744073709551615,"u8":255,"d":"a","ls":"long","sv":"a view that is longer than twelve bytes","ns":-1,"l":[1,65535],"st":{"x":4294967295,"y":"q"},"m":[{"key":"k","value":7}],"f":[1.5,2],"bin":"AAE=","d64":"2024-02-29"},
	 {}, {"i":-5,"u64":0,"u8":0,"d":"b","ls":"","sv":"","ns":1704067200000000000,"l":[],"st":{},"m":[],"f":[0,0],"bin":"/wA=","d64":"1970-01-01"}]`
	rec, _, err := array.RecordFromJSON(mem, arrow.NewSchema(fields, nil), strings.NewReader(json))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func encoded(t testing.TB, rec arrow.RecordBatch, times int, opts options.Map) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := newWriter(&out, rec.Schema(), formats.Config{Options: opts}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	for range times {
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func asFile(b []byte) formats.File {
	return formats.File{ReaderAt: bytes.NewReader(b), Name: "x.arrow", Size: int64(len(b))}
}

// readAll reads by inference, or by a schema.
func readAll(f formats.File, schema *arrow.Schema, mem memory.Allocator, maxRows int, opts options.Map) (rows []string, err error) {
	c := formats.Config{Options: opts}
	if schema == nil {
		if schema, err = infer(f); err != nil {
			return nil, err
		}
	}
	pieces, err := cut(ctx, f, c)
	if err != nil {
		return nil, err
	}
	for _, p := range pieces {
		r, err := newReader(ctx, f, p, formats.ReadSpec{Config: c, Schema: schema, Alloc: mem, MaxRows: maxRows})
		if err != nil {
			return nil, err
		}
		for {
			rec, err := r.Next(ctx)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, errors.Join(err, r.Close())
			}
			for i := range int(rec.NumRows()) {
				var row []string
				for _, c := range rec.Columns() {
					row = append(row, c.ValueStr(i))
				}
				rows = append(rows, strings.Join(row, " | "))
			}
			rec.Release()
		}
		if err := r.Close(); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func TestTypesOfOthersAreReadAsOurs(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	rec := made(t, memory.DefaultAllocator)
	defer rec.Release()
	want := []string{
		`1 | 18446744073709551615 | 255 | a | long | a view that is longer than twelve bytes | 1969-12-31T23:59:59.999999Z | [1,65535] | {"x":4294967295,"y":"q"} | [{"key":"k","value":7}] | [1.5,2] | AAE= | 2024-02-29`,
		strings.TrimSuffix(strings.Repeat("(null) | ", 13), " | "),
		`-5 | 0 | 0 | b |  |  | 2024-01-01T00:00:00Z | [] | {"x":null,"y":null} | [] | [0,0] | /wA= | 1970-01-01`,
	}
	for _, opts := range []options.Map{{}, {"arrow.compression": "lz4"}, {"arrow.compression": "zstd"}, {"arrow.layout": "stream"}, {"arrow.layout": "stream", "arrow.compression": "zstd"}} {
		b := encoded(t, rec, 2, opts)
		for _, maxRows := range []int{0, 1, 2} {
			got, err := readAll(asFile(b), nil, mem, maxRows, nil)
			if err != nil {
				t.Fatal(opts, err)
			}
			for i, row := range got {
				if row != want[i%3] {
					t.Errorf("%v row %d:\ngot  %s\nwant %s", opts, i, row, want[i%3])
				}
			}
			if len(got) != 6 {
				t.Errorf("%v: %d rows", opts, len(got))
			}
		}
	}
	s, err := infer(asFile(encoded(t, rec, 1, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(s.Field(1).Type, s.Field(6).Type, s.Field(7).Type), "decimal(20, 0) timestamp[us, tz=UTC] list<item: int32, nullable>"; got != want {
		t.Errorf("types %s, want %s", got, want)
	}
}

func TestDeclaredColumns(t *testing.T) {
	rec := made(t, memory.DefaultAllocator)
	defer rec.Release()
	f := asFile(encoded(t, rec, 1, nil))
	schema := func(name string, dt arrow.DataType) *arrow.Schema {
		return arrow.NewSchema([]arrow.Field{{Name: name, Type: dt, Nullable: true}}, nil)
	}
	if got, err := readAll(f, schema("I", arrow.PrimitiveTypes.Int8), memory.DefaultAllocator, 0, nil); err != nil || fmt.Sprint(got) != "[1 (null) -5]" {
		t.Error(got, err)
	}
	if got, err := readAll(f, schema("none", arrow.PrimitiveTypes.Int8), memory.DefaultAllocator, 0, options.Map{"arrow.missing-columns": "null"}); err != nil || fmt.Sprint(got) != "[(null) (null) (null)]" {
		t.Error(got, err)
	}
	for want, s := range map[string]*arrow.Schema{
		`file "x.arrow" has no column "none"`:                                       schema("none", arrow.PrimitiveTypes.Int8),
		`file "x.arrow": column "ls" holds large_utf8`:                              schema("ls", arrow.PrimitiveTypes.Int64),
		`batch 0 of Arrow file "x.arrow", column "u64": cannot read uint64 as int8`: schema("u64", arrow.PrimitiveTypes.Int8),
	} {
		_, err := readAll(f, s, memory.DefaultAllocator, 0, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		} else if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("%v is of kind %v", err, k)
		}
	}
}

// TestDamagedBytes changes and cuts files everywhere: an error of kind User that names
// the file, or rows; never a panic, and nothing is kept.
func TestDamagedBytes(t *testing.T) {
	rec := made(t, memory.DefaultAllocator)
	defer rec.Release()
	rng := rand.New(rand.NewPCG(7, 7))
	for _, opts := range []options.Map{{}, {"arrow.compression": "zstd"}, {"arrow.layout": "stream"}} {
		whole := encoded(t, rec, 1, opts)
		try := func(b []byte) {
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			_, err := readAll(asFile(b), nil, mem, 0, nil)
			mem.AssertSize(t, 0)
			if k, _ := batch.KindOf(err); err != nil && (k != batch.User || !strings.Contains(err.Error(), `"x.arrow"`)) {
				t.Fatalf("%v", err)
			}
		}
		for n := 0; n < len(whole); n += 13 {
			try(whole[:n])
		}
		for range 1500 {
			b := bytes.Clone(whole)
			for range 1 + rng.IntN(3) {
				b[rng.IntN(len(b))] = byte(rng.Uint32())
			}
			try(b)
		}
	}
	_, err := infer(asFile([]byte("FEA1....FEA1")))
	if err == nil || !strings.Contains(err.Error(), "Feather version 1") {
		t.Error(err)
	}
}

// FuzzRead reads any bytes, and what it can read is what the library reads.
func FuzzRead(f *testing.F) {
	rec := made(f, memory.DefaultAllocator)
	for _, opts := range []options.Map{{}, {"arrow.compression": "lz4"}, {"arrow.layout": "stream"}} {
		f.Add(encoded(f, rec, 1, opts))
	}
	rec.Release()
	f.Fuzz(func(t *testing.T, b []byte) {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		defer mem.AssertSize(t, 0)
		rows, err := readAll(asFile(b), nil, mem, 0, nil)
		if err != nil || bytes.HasPrefix(b, magic) {
			return
		}
		r, err := ipc.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("the library cannot read what gave %d rows: %v", len(rows), err)
		}
		defer r.Release()
		n := int64(0)
		for r.Next() {
			n += r.RecordBatch().NumRows()
		}
		if n != int64(len(rows)) {
			t.Fatalf("%d rows, the library has %d", len(rows), n)
		}
	})
}
