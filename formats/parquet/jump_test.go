package parquet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/sluice-stream/sluice/formats"
)

// TestChecksumsOfPages: files of pyarrow with checksums. Whatever byte of a page's body is
// changed, no other value comes out of it.
func TestChecksumsOfPages(t *testing.T) {
	for _, name := range []string{"checksums1.parquet", "checksums2.parquet"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := readAll(memFile(name, b), formats.ReadSpec{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(b, []byte("text 43"))
		if at < 0 {
			t.Fatal("no plain text")
		}
		b = slices.Clone(b)
		b[at]++
		got, err := readAll(memFile(name, b), formats.ReadSpec{}, nil)
		if err == nil || !strings.Contains(err.Error(), "checksum") || !strings.Contains(err.Error(), `column "s"`) {
			t.Errorf("%s: %v", name, err)
		}
		for _, r := range slices.Concat(want, got) {
			r.Release()
		}
	}
}

const jumpTotal = 120_000

// paged is a file of one row group with small pages: numbers that count up, text with
// a dictionary, text without, NULLs in both.
func paged(t *testing.T, version apq.DataPageVersion) []byte {
	schema := arrow.NewSchema([]arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Int64}, {Name: "d", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range jumpTotal {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		if i%5 == 0 {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(fmt.Sprint("key ", i%100))
		}
		if i%3 == 0 {
			b.Field(2).AppendNull()
		} else {
			b.Field(2).(*array.StringBuilder).Append(fmt.Sprint("row ", i))
		}
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, apq.NewWriterProperties(apq.WithDataPageSize(4000), apq.WithDataPageVersion(version), apq.WithPageIndexEnabled(true),
		apq.WithDictionaryDefault(false), apq.WithDictionaryFor("d", true), apq.WithBatchSize(200), apq.WithCompression(0)), pqarrow.DefaultWriterProps())
	if err == nil {
		err = errors.Join(w.Write(rec), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// measured counts the bytes that are read.
type measured struct {
	io.ReaderAt
	bytes int64
}

func (m *measured) ReadAt(p []byte, at int64) (int, error) {
	m.bytes += int64(len(p))
	return m.ReaderAt.ReadAt(p, at)
}

// TestJumpsOverPages: rows far apart are the right ones, and what lies between is not read.
func TestJumpsOverPages(t *testing.T) {
	for _, version := range []apq.DataPageVersion{apq.DataPageV1, apq.DataPageV2} {
		b := paged(t, version)
		for _, wanted := range [][]int{{3}, {70_001}, {0, 119_999}, {20_000, 20_001, 60_007, 99_999}, {119_998}} {
			// A condition that nothing prunes: late materialisation alone passes rows over.
			ok := map[string]bool{}
			var want []string
			for _, w := range wanted {
				ok[fmt.Sprint(w)] = true
				d, s := fmt.Sprint("key ", w%100), fmt.Sprint("row ", w)
				if w%5 == 0 {
					d = "null"
				}
				if w%3 == 0 {
					s = "null"
				}
				want = append(want, fmt.Sprintf("%d|%s|%s", w, d, s))
			}
			got, read := sparse(t, b, &matching{cols: []int{0}, total: true, ok: func(c []string) bool { return ok[c[0]] }})
			if strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("%v: got %v, want %v", wanted, got, want)
			}
			// The numbers are read whole: a megabyte. Of the text some pages are, unless its first row is wanted.
			if bound := int64(jumpTotal*8 + 200<<10 + 4*len(wanted)*jumpBytes); wanted[0] > jumpRows && read > bound {
				t.Errorf("%v: %d bytes of %d were read, want at most %d", wanted, read, len(b), bound)
			}
		}
	}
}

func sparse(t *testing.T, b []byte, cond formats.Condition) (out []string, read int64) {
	t.Helper()
	f := memFile("paged", b)
	in := &measured{ReaderAt: f.ReaderAt}
	f.ReaderAt = in
	fl, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	r, err := fl.NewReader(formats.Piece{To: 1}, formats.ReadSpec{Schema: fl.Schema()})
	if err != nil {
		t.Fatal(err)
	}
	r.Where([]formats.Condition{cond})
	for {
		rec, err := r.Next(t.Context())
		if err == io.EOF {
			return out, in.bytes
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(rec.NumRows()) {
			out = append(out, cell(rec.Column(0), i)+"|"+cell(rec.Column(1), i)+"|"+cell(rec.Column(2), i))
		}
		rec.Release()
	}
}
