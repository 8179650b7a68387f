package csv

import (
	"bytes"
	"context"
	stdcsv "encoding/csv"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

// endless is a file of one byte over and over, larger than any memory.
type endless struct {
	head string
	fill byte
	size int64
}

func (e endless) ReadAt(p []byte, at int64) (int, error) {
	n := 0
	for i := range p {
		if at+int64(i) >= e.size {
			return n, io.EOF
		}
		p[i] = e.fill
		if j := at + int64(i); j < int64(len(e.head)) {
			p[i] = e.head[j]
		}
		n++
	}
	return n, nil
}

// TestHostileFiles: an error of kind User that says where, in memory that is bounded.
func TestHostileFiles(t *testing.T) {
	huge := int64(1) << 30
	for name, c := range map[string]struct {
		f    formats.File
		want string
	}{
		"one line without an end":    {formats.File{ReaderAt: endless{"a,b\n", 'x', huge}, Name: "f.csv", Size: huge}, `file "f.csv", line 2: a record is longer than 67108864 bytes`},
		"a quote that is not closed": {formats.File{ReaderAt: endless{"a,b\n\"", 'x', huge}, Name: "f.csv", Size: huge}, `file "f.csv", line 2: a record is longer than`},
		"a short quote":              {memFile("f.csv", []byte("a,b\n1,2\n\"x,3\n")), `file "f.csv", line 3: a quoted field is not closed`},
		"not UTF-8":                  {memFile("f.csv", []byte("a,b\n1,2\n\xff,3\n")), `file "f.csv", line 3, column "a" (field 1): cannot read "\xff" as utf8: not valid UTF-8`},
		"UTF-16":                     {memFile("f.csv", []byte("\xff\xfea\x00,\x00")), `file "f.csv" is written in UTF-16`},
		"gzip by name alone":         {memFile("f.csv.gz", []byte("a,b\n1,2\n")), `file "f.csv.gz"`},
		"too few fields":             {memFile("f.csv", []byte("a,b\n1\n")), `file "f.csv", line 2: too few fields: 1 where 2 are expected`},
		"text behind a quote":        {memFile("f.csv", []byte("a,b\n\"1\"x,2\n")), `file "f.csv", line 2: text behind the closing quote`},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := read(c.f, fields("a", "b"), nil)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
			continue
		}
		if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("%s: %v is of kind %v", name, err, k)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 4*formats.MaxRecord {
			t.Errorf("%s: %d bytes were taken", name, used)
		}
	}
}

func TestNULBytesAreText(t *testing.T) {
	got, err := read(memFile("f.csv", []byte("a,b\n\x001,2\n")), fields("a", "b"), nil)
	if err != nil || !strings.Contains(got, "\x001") {
		t.Errorf("%q %v", got, err)
	}
}

// TestManyColumns reads and infers a file of 100,000 columns in little time.
func TestManyColumns(t *testing.T) {
	const n = 100_000
	var head, row strings.Builder
	for i := range n {
		fmt.Fprintf(&head, "c%d,", i)
		fmt.Fprintf(&row, "%d,", i)
	}
	b := []byte(head.String() + "z\n" + row.String() + "1\n")
	s, err := infer(context.Background(), memFile("f.csv", b), formats.Config{})
	if err != nil || s.NumFields() != n+1 || s.Field(7).Type.ID() != arrow.INT32 {
		t.Fatal(err)
	}
	got, err := read(memFile("f.csv", b), fields("c99999 int", "z int"), nil)
	if err != nil || !strings.Contains(got, "99999") {
		t.Fatal(got, err)
	}
	_, err = read(memFile("f.csv", b), fields("nope"), nil)
	if err == nil || len(err.Error()) > 10_000 || !strings.Contains(err.Error(), `no column "nope"`) {
		t.Error("a long error, or none")
	}
}

func TestRaggedDatesAndTabs(t *testing.T) {
	got, err := read(memFile("f.csv", []byte("a,b\n1\n1,2,3\n")), fields("a", "b"), options.Map{"csv.ragged-rows": "pad"})
	if err != nil || strings.Count(got, "(null)") != 1 {
		t.Errorf("%q %v", got, err)
	}
	_, err = read(memFile("f.csv", []byte("a,b\nx,2\n")), fields("a int", "b"), options.Map{"csv.ragged-rows": "pad"})
	if err == nil {
		t.Error("a bad value is read")
	}
	got, err = read(memFile("f.tsv.gz", nil), fields("a"), nil)
	if err == nil {
		t.Errorf("%q", got)
	}
	got, err = read(memFile("f.tsv", []byte("a\td\n1,5\t29.02.2024\n")), fields("a", "d date"), options.Map{"csv.date-format": "dd.MM.yyyy"})
	if err != nil || !strings.Contains(got, "1,5") || !strings.Contains(got, "2024-02-29") {
		t.Errorf("%q %v", got, err)
	}
	got, err = read(memFile("f.csv", []byte("a\n1\n")), fields("a", "later"), options.Map{"csv.missing-columns": "null"})
	if err != nil || !strings.Contains(got, "(null)") {
		t.Errorf("%q %v", got, err)
	}
}

// FuzzAgainstStd reads what encoding/csv reads as the same fields.
func FuzzAgainstStd(f *testing.F) {
	for _, s := range []string{"a,b\n1,2\n", "\"x\"\"y\",\n\"a\nb\",c\n", "1,2\r\n3,4", ",\n\n,", "é,\"é\"\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := stdcsv.NewReader(bytes.NewReader(b))
		r.FieldsPerRecord = 2
		want, err := r.ReadAll()
		// What the two mean otherwise on purpose: the mark of an encoding, a lone
		// carriage return, text that is not UTF-8, and the name of NULL.
		if err != nil || !utf8.Valid(b) || bytes.HasPrefix(b, []byte("\ufeff")) || bytes.ContainsAny(b, "\r\x00|") {
			return
		}
		rd, err := newReader(context.Background(), memFile("f.csv", b), formats.Piece{To: int64(len(b))}, formats.ReadSpec{Schema: fields("a", "b"), Config: formats.Config{Options: options.Map{"csv.header": "false", "csv.null-value": "\x00"}}})
		if err != nil {
			t.Fatal(err)
		}
		defer rd.Close()
		var got [][]string
		for {
			rec, err := rd.Next(context.Background())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%q: %v, encoding/csv has %q", b, err, want)
			}
			for i := range int(rec.NumRows()) {
				got = append(got, []string{rec.Column(0).ValueStr(i), rec.Column(1).ValueStr(i)})
			}
			rec.Release()
		}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("%q: got %q, encoding/csv has %q", b, got, want)
		}
	})
}
