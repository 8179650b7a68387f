package postgres

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/pgclient"
	"github.com/sluice-stream/sluice/sinks"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{"": "", "plain": "plain", "a\tb": `a\tb`, "a\nb\r": `a\nb\r`, `\N`: `\\N`, `\.`: `\\.`, "é\x08": "é\x08"} {
		if got := string(escape(nil, []byte(in))); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for micros, want := range map[int64]string{0: "0.000000 seconds", -1: "-0.000001 seconds", 1_500_000: "1.500000 seconds", -1 << 63: "-9223372036854.775808 seconds"} {
		if got := string(appendSeconds(nil, micros)); got != want {
			t.Errorf("%d is %s, want %s", micros, got, want)
		}
	}
}

// A zero byte, which no text of a database holds, is told with its column.
func TestZeroByteIsRefused(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	schema := arrow.NewSchema([]arrow.Field{{Name: "s", Type: arrow.BinaryTypes.String}}, nil)
	target, err := parse(sinks.Spec{Table: "t", Schema: schema, Mode: sinks.Append, Options: options.Map{"url": "postgres://h/d"}})
	if err != nil {
		t.Fatal(err)
	}
	target.columns = []pgclient.Column{{Name: "s", Base: "text"}}
	b := array.NewStringBuilder(mem)
	defer b.Release()
	b.AppendValues([]string{"good", "b\x00d"}, nil)
	a := b.NewArray()
	defer a.Release()
	fs, err := target.rowFields([]arrow.Array{a})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fs[0](nil, 0); err != nil || string(got) != "good" {
		t.Errorf("got %q (%v)", got, err)
	}
	_, err = fs[0](nil, 1)
	if k, _ := batch.KindOf(err); k != batch.User || !strings.Contains(err.Error(), `column "s": a text holds a zero byte`) {
		t.Errorf("got %v", err)
	}
}
