package avro

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

func fileOf(name string, b []byte) formats.File {
	return formats.File{ReaderAt: bytes.NewReader(b), Name: name, Size: int64(len(b))}
}

// readAll reads a file piece by piece, in small batches.
func readAll(t testing.TB, f formats.File, columns *arrow.Schema, o options.Map) (rows []string, err error) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	c := formats.Config{Options: o}
	if columns == nil {
		if columns, err = New().Infer(t.Context(), f, c); err != nil {
			return nil, err
		}
	}
	pieces, err := New().Cut(t.Context(), f, c)
	if err != nil {
		return nil, err
	}
	for _, p := range pieces {
		r, err := New().NewReader(t.Context(), f, p, formats.ReadSpec{Config: c, Schema: columns, Alloc: mem, MaxRows: 300})
		if err != nil {
			return rows, err
		}
		for {
			rec, err := r.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return rows, errors.Join(err, r.Close())
			}
			for i := range int(rec.NumRows()) {
				var cells []string
				for _, col := range rec.Columns() {
					cells = append(cells, col.ValueStr(i))
				}
				rows = append(rows, strings.Join(cells, " "))
			}
			rec.Release()
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	return rows, nil
}

// TestForeignFiles reads files of another implementation, compressed in all ways.
func TestForeignFiles(t *testing.T) {
	for _, codec := range []string{"null", "deflate", "snappy", "zstandard", "bzip2"} {
		b, err := os.ReadFile("testdata/" + codec + ".avro")
		if err != nil {
			t.Fatal(err)
		}
		rows, err := readAll(t, fileOf(codec+".avro", b), nil, nil)
		if err != nil || len(rows) != 1000 {
			t.Fatalf("%s: %d rows, %v", codec, len(rows), err)
		}
		for i, want := range map[int]string{0: `0 (null) 0 2026-01-01T00:00:00Z []`, 1: `1 name 1 1 2026-01-01T00:00:01Z ["1"]`, 995: `995 name 995 995 2026-01-01T00:16:35Z ["2","2","2"]`} {
			if rows[i] != want {
				t.Errorf("%s: row %d is %q, want %q", codec, i, rows[i], want)
			}
		}
		some, err := readAll(t, fileOf(codec+".avro", b), columnsOf(t, "ID BIGINT", "none STRING"), nil)
		if err != nil || some[999] != "999 (null)" {
			t.Errorf("%s: %v, %v", codec, some[len(some)-1], err)
		}
		if _, err := readAll(t, fileOf(codec+".avro", b), columnsOf(t, "none STRING"), options.Map{"avro.missing-columns": "fail"}); err == nil || !strings.Contains(err.Error(), `no field "none"`) {
			t.Errorf("a column that is not there gives %v", err)
		}
		if _, err := readAll(t, fileOf(codec+".avro", b), columnsOf(t, "name BIGINT"), nil); err == nil || !strings.Contains(err.Error(), `field "name" is written as string`) {
			t.Errorf("a column of another type gives %v", err)
		}
	}
}

// write writes n rows as a file.
func write(t testing.TB, o options.Map, n int) []byte {
	t.Helper()
	columns := columnsOf(t, "id BIGINT", "s STRING", "l ARRAY<INT>")
	b := array.NewRecordBuilder(memory.DefaultAllocator, columns)
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%3 == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(strings.Repeat("x", i%50))
		}
		l := b.Field(2).(*array.ListBuilder)
		l.Append(true)
		l.ValueBuilder().(*array.Int32Builder).AppendValues([]int32{int32(i), 1}, nil)
	}
	rec := b.NewRecordBatch()
	var out bytes.Buffer
	w, err := New().NewWriter(&out, columns, formats.Config{Options: o}, memory.DefaultAllocator)
	if err == nil {
		err = errors.Join(w.Write(rec), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(out.Len()) {
		t.Errorf("a file of %d bytes says it has %d", out.Len(), w.Size())
	}
	return out.Bytes()
}

func TestWriteFiles(t *testing.T) {
	for _, codec := range []string{"null", "deflate", "snappy", "zstandard"} {
		b := write(t, options.Map{"avro.codec": codec}, 10_000)
		if !bytes.Equal(b, write(t, options.Map{"avro.codec": codec}, 10_000)) {
			t.Errorf("%s: the same rows are other bytes", codec)
		}
		rows, err := readAll(t, fileOf("a.avro", b), nil, nil)
		if err != nil || len(rows) != 10_000 {
			t.Fatalf("%s: %d rows, %v", codec, len(rows), err)
		}
		for i, row := range rows {
			s := strings.Repeat("x", i%50)
			if i%3 == 0 {
				s = "(null)"
			}
			if want := fmt.Sprintf("%d %s [%d,1]", i, s, i); row != want {
				t.Fatalf("%s: row %d is %q, want %q", codec, i, row, want)
			}
		}
	}
}

// TestDamagedFiles holds that a file that was cut off or changed is an error.
func TestDamagedFiles(t *testing.T) {
	whole := write(t, options.Map{"avro.codec": "snappy"}, 5000)
	for _, n := range []int{0, 3, 10, 100, 300, len(whole) / 2, len(whole) - 1} {
		if rows, err := readAll(t, fileOf("a.avro", whole[:n]), nil, nil); err == nil || !strings.Contains(err.Error(), "a.avro") {
			t.Errorf("a file cut off at %d gives %d rows, %v", n, len(rows), err)
		}
	}
	for at := 350; at < len(whole); at += 997 {
		b := bytes.Clone(whole)
		b[at] ^= 0x55
		if rows, err := readAll(t, fileOf("a.avro", b), nil, nil); err == nil {
			t.Errorf("a file changed at %d gives %d rows and no error", at, len(rows))
		}
	}
}

func FuzzFile(f *testing.F) {
	for _, codec := range []string{"null", "deflate", "snappy", "zstandard"} {
		f.Add(write(f, options.Map{"avro.codec": codec}, 3))
	}
	columns := columnsOf(f, "id BIGINT", "l ARRAY<INT>")
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = readAll(t, fileOf("a.avro", b), columns, options.Map{"bad-rows": "null"})
		_, _ = readAll(t, fileOf("a.avro", b), nil, nil)
	})
}

func BenchmarkDecode(b *testing.B) {
	file := write(b, options.Map{"avro.codec": "null"}, 10_000)
	columns := columnsOf(b, "id BIGINT", "s STRING", "l ARRAY<INT>")
	b.ReportAllocs()
	for b.Loop() {
		rows, err := 0, error(nil)
		f := fileOf("a.avro", file)
		r, err := New().NewReader(b.Context(), f, formats.Piece{To: f.Size}, formats.ReadSpec{Schema: columns})
		for err == nil {
			var rec arrow.RecordBatch
			if rec, err = r.Next(b.Context()); err == nil {
				rows += int(rec.NumRows())
				rec.Release()
			}
		}
		if rows != 10_000 {
			b.Fatal(rows, err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*10_000/b.Elapsed().Seconds()/1e6, "Mrows/s")
}
