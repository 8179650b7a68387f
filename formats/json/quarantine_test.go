package json

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

// TestQuarantine sets lines with broken syntax, and with values that do not fit,
// aside; nested ones leave nothing behind in the builders.
func TestQuarantine(t *testing.T) {
	text := `{"a":1,"s":"x"}
{"a":"one","s":"y"}
{"a":2
[1]
{"a":3,"s":"z","l":[1,"q"]}
{"a":99999999999,"st":{"x":"n"}}
{"a":4}
`
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	f := memFile("x.json", []byte(text))
	r, err := newReader(context.Background(), f, formats.Piece{To: f.Size}, formats.ReadSpec{Schema: testSchema, Alloc: alloc,
		Config: formats.Config{Options: options.Map{"bad-rows": "quarantine"}}, MaxRows: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var bad []int64
	r.(formats.Quarantiner).SetAside(func(row batch.BadRow) error {
		bad = append(bad, row.Line)
		if got := text[row.Offset : row.Offset+int64(len(row.Raw))]; got != string(row.Raw) || row.Reason == "" {
			t.Errorf("line %d: %q, and at its offset %q (%s)", row.Line, row.Raw, got, row.Reason)
		}
		return nil
	})
	rows := int64(0)
	for {
		rec, err := r.Next(context.Background())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		rows += rec.NumRows()
		rec.Release()
	}
	if rows+int64(len(bad)) != 7 || len(bad) < 4 || fmt.Sprint(bad[:3]) != "[2 3 4]" {
		t.Errorf("%d rows, bad lines %v", rows, bad)
	}
}
