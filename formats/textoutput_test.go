package formats_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/formats"
)

func TestTextOutput(t *testing.T) {
	row := strings.Repeat("x", 999)
	for _, c := range []formats.Compression{formats.NoCompression, formats.Gzip, formats.Zstd, formats.Snappy} {
		var file bytes.Buffer
		out, err := formats.NewTextOutput(&file, c, "CSV")
		if err != nil {
			t.Fatal(err)
		}
		var want strings.Builder
		for i := range 200 { // more than is held back
			want.WriteString(row + "\n")
			out.Buf = append(out.Buf, row...)
			if err := out.EndRow(); err != nil {
				t.Fatal(err)
			}
			if c == formats.NoCompression && out.Size() != int64(want.Len()) {
				t.Fatalf("after row %d the size is %d, want %d", i, out.Size(), want.Len())
			}
		}
		if len(out.Buf) >= want.Len()/2 {
			t.Errorf("%s: %d bytes of %d still wait", c, len(out.Buf), want.Len())
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		if out.Size() != int64(file.Len()) {
			t.Errorf("%s: the size is %d, the file has %d bytes", c, out.Size(), file.Len())
		}
		size := int64(file.Len())
		plain, err := formats.Decompress(formats.File{ReaderAt: bytes.NewReader(file.Bytes()), Name: "f.csv" + c.Extension(), Size: size}, 0, size)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(plain)
		if err != nil || string(got) != want.String() {
			t.Errorf("%s: %d bytes read back (%v), want %d", c, len(got), err, want.Len())
		}
	}
}

var errFull = errors.New("no space left")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestTextOutputSaysWhatFailed(t *testing.T) {
	out, err := formats.NewTextOutput(full{}, formats.NoCompression, "CSV")
	if err != nil {
		t.Fatal(err)
	}
	out.Buf = append(out.Buf, 'x')
	if err := out.EndRow(); err != nil {
		t.Errorf("a short row is written at once: %v", err)
	}
	if err := out.Close(); !errors.Is(err, errFull) || !strings.Contains(err.Error(), "write a CSV file") {
		t.Errorf("close: %v", err)
	}
	out, err = formats.NewTextOutput(full{}, formats.Gzip, "JSON")
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); !errors.Is(err, errFull) {
		t.Errorf("close of a compressed file: %v", err)
	}
}
