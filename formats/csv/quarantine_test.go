package csv

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

// TestQuarantineOfRandomFiles mixes good rows and bad ones of each kind, cuts the
// file into pieces, and wants the good ones in the result and each bad one aside,
// with its text at the offset and on the line that it is said to have.
func TestQuarantineOfRandomFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 9))
	kinds := []string{"x,b", "1,2,3", "1", `1,"b"c`, `1,"open`, "9999999999,b", ","}
	for range 200 {
		text := "a,b\n"
		var good, bad []string
		for i := range r.IntN(40) {
			line := fmt.Sprintf("%d,v%d", i, i)
			if k := r.IntN(2 * len(kinds)); k < len(kinds)-1 {
				line = kinds[k]
				bad = append(bad, line)
			} else {
				good = append(good, fmt.Sprint(i))
			}
			text += line + []string{"\n", "\r\n"}[r.IntN(2)]
		}
		f := memFile("x.csv", []byte(text))
		opts := options.Map{"bad-rows": "quarantine", "csv.multiline": "false"}
		pieces, err := formats.CutLines(f, int64(20+r.IntN(200)))
		if err != nil {
			t.Fatal(err)
		}
		gotGood, gotBad := quarantined(t, f, opts, pieces)
		if fmt.Sprint(gotGood) != fmt.Sprint(good) || fmt.Sprint(gotBad) != fmt.Sprint(bad) {
			t.Fatalf("%q in %d pieces\ngood %q, want %q\nbad  %q, want %q", text, len(pieces), gotGood, good, gotBad, bad)
		}
	}
}

// quarantined reads the first column of the good rows and the texts of the bad ones.
func quarantined(t *testing.T, f formats.File, opts options.Map, pieces []formats.Piece) (good, bad []string) {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	whole := make([]byte, f.Size)
	if _, err := f.ReadAt(whole, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	for _, p := range pieces {
		rd, err := newReader(context.Background(), f, p, formats.ReadSpec{Schema: fields("a int", "b"), Config: formats.Config{Options: opts}, MaxRows: 4, Alloc: alloc})
		if err != nil {
			t.Fatal(err)
		}
		rd.(formats.Quarantiner).SetAside(func(row batch.BadRow) error {
			bad = append(bad, string(row.Raw))
			if !strings.HasPrefix(string(whole[row.Offset:]), string(row.Raw)) {
				t.Errorf("%q is not at %d", row.Raw, row.Offset)
			}
			if line := int64(strings.Count(string(whole[:row.Offset]), "\n")) + 1; line != row.Line {
				t.Errorf("%q is on line %d, not %d", row.Raw, line, row.Line)
			}
			return nil
		})
		for {
			rec, err := rd.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range int(rec.NumRows()) {
				good = append(good, fmt.Sprint(rec.Column(0).(*array.Int32).Value(i)))
			}
			rec.Release()
		}
		if err := rd.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return good, bad
}

// TestQuarantineWithoutATaker stops at the first bad row.
func TestQuarantineWithoutATaker(t *testing.T) {
	_, err := read(memFile("x.csv", []byte("a,b\nx,1\n")), fields("a int", "b"), options.Map{"bad-rows": "quarantine"})
	if err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Error(err)
	}
}
