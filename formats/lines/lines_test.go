package lines

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

func read(t testing.TB, b []byte, name string, dt arrow.DataType, opts options.Map) (rows []string, err error) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	schema := arrow.NewSchema([]arrow.Field{{Name: "value", Type: dt, Nullable: true}}, nil)
	f := formats.File{ReaderAt: bytes.NewReader(b), Name: name, Size: int64(len(b))}
	r, err := newReader(context.Background(), f, formats.Piece{To: f.Size}, formats.ReadSpec{Config: formats.Config{Options: opts}, Schema: schema, Alloc: mem, MaxRows: 3})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		rec, err := r.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
		for i := range int(rec.NumRows()) {
			switch a := rec.Column(0).(type) {
			case *array.String:
				rows = append(rows, strings.Clone(a.Value(i)))
			case *array.Binary:
				rows = append(rows, string(a.Value(i)))
			}
		}
		rec.Release()
	}
}

func TestLines(t *testing.T) {
	got, err := read(t, []byte("\ufeffa\r\n\nb\nc\nlast"), "x.text", arrow.BinaryTypes.String, nil)
	if want := []string{"a", "", "b", "c", "last"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q %v", got, err)
	}
	got, err = read(t, []byte("a\nb\n"), "x.text", arrow.BinaryTypes.String, options.Map{"text.whole-file": "true"})
	if err != nil || !slices.Equal(got, []string{"a\nb\n"}) {
		t.Errorf("%q %v", got, err)
	}
	got, err = read(t, []byte("a\n\xff\n"), "x.text", arrow.BinaryTypes.String, nil)
	if err == nil || !strings.Contains(err.Error(), `file "x.text", line 2: not valid UTF-8`) {
		t.Errorf("%q %v", got, err)
	}
	got, err = read(t, []byte("a\n\xff\n"), "x.text", arrow.BinaryTypes.Binary, nil)
	if err != nil || !slices.Equal(got, []string{"a", "\xff"}) {
		t.Errorf("%q %v", got, err)
	}
	_, err = read(t, bytes.Repeat([]byte("x"), formats.MaxRecord+10), "x.text", arrow.BinaryTypes.String, nil)
	if err == nil || !strings.Contains(err.Error(), "line 1: a record is longer than") {
		t.Error(err)
	}
	_, err = read(t, []byte("not gzip"), "x.text.gz", arrow.BinaryTypes.String, nil)
	if err == nil || !strings.Contains(err.Error(), `"x.text.gz"`) {
		t.Error(err)
	}
}

func TestWhatIsWrittenReadsBack(t *testing.T) {
	for _, c := range formats.Compressions {
		var out bytes.Buffer
		schema := arrow.NewSchema([]arrow.Field{{Name: "value", Type: arrow.BinaryTypes.String}}, nil)
		w, err := newWriter(&out, schema, formats.Config{Options: options.Map{"text.compression": c}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		b.Field(0).(*array.StringBuilder).AppendValues([]string{"a", "", "c"}, nil)
		rec := b.NewRecordBatch()
		if err := errors.Join(w.Write(rec), w.Close()); err != nil {
			t.Fatal(err)
		}
		rec.Release()
		got, err := read(t, out.Bytes(), "x.text"+formats.Compression(c).Extension(), arrow.BinaryTypes.String, nil)
		if err != nil || !slices.Equal(got, []string{"a", "", "c"}) {
			t.Errorf("%s: %q %v", c, got, err)
		}
	}
}

// FuzzRead compares with strings.Split.
func FuzzRead(f *testing.F) {
	f.Add([]byte("a\r\nb\n\nc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := read(t, b, "x.text", arrow.BinaryTypes.String, nil)
		want := strings.Split(strings.TrimPrefix(string(b), "\ufeff"), "\n")
		if want[len(want)-1] == "" {
			want = want[:len(want)-1]
		}
		for i := range want {
			if i < len(want)-1 || bytes.HasSuffix(b, []byte("\n")) {
				want[i] = strings.TrimSuffix(want[i], "\r")
			}
		}
		if !utf8.Valid(b) {
			if err == nil {
				t.Fatal("bytes that are not UTF-8 were read")
			}
			return
		}
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("got %q want %q %v", got, want, err)
		}
	})
}
