package json

import (
	stdjson "encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
)

// shapeSchema asks for some of the keys that objects have.
var shapeSchema = arrow.NewSchema([]arrow.Field{
	{Name: "b", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "a", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "bb", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
}, nil)

// What a decoder remembers of the objects before changes nothing: objects whose keys
// come in any order, twice, with escapes, with blanks or not at all, and broken ones, are
// read as by a decoder that has seen nothing.
func TestShapeChangesNothing(t *testing.T) {
	alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer alloc.AssertSize(t, 0)
	rng := rand.New(rand.NewPCG(7, 7))
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	old, err := NewDecoder(shapeSchema, formats.Config{}, alloc)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { old.Release() }()
	for range 5_000 {
		var members []string
		for range rng.IntN(6) {
			members = append(members, pick(`"a"`, `"b"`, `"bb"`, `"c"`, `"\u0061"`, `"b "`, `b`, `"`)+pick(":", ":", ":", " :", ": ", "")+pick("1", "2", "null", `"x"`, `{"b":3}`, "[1,2]", "tru"))
		}
		line := []byte("{" + pick("", " ") + strings.Join(members, pick(",", " , ")) + pick("}", "}", "}", ""))
		fresh, err := NewDecoder(shapeSchema, formats.Config{}, alloc)
		if err != nil {
			t.Fatal(err)
		}
		got, want := old.Append(line), fresh.Append(line)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s gives %v, to a decoder that has seen nothing %v", line, got, want)
		}
		if want == nil {
			g, w := old.Flush(), fresh.Flush()
			if fmt.Sprint(g) != fmt.Sprint(w) {
				t.Errorf("%s is %v, to a decoder that has seen nothing %v", line, g, w)
			}
			g.Release()
			w.Release()
		} else { // it can only be released; what it remembers goes on in another
			shape := old.root.shape
			old.Release()
			if old, err = NewDecoder(shapeSchema, formats.Config{}, alloc); err != nil {
				t.Fatal(err)
			}
			old.root.shape = shape
		}
		fresh.Release()
	}
}

// Numbers are what the reader of texts makes of them, whether they were read along with
// the syntax or not, and none that JSON does not know passes.
func TestNumbers(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	for _, in := range []string{
		"0", "7", "-0", "-7", "00", "01", "-01", "-", "--1", "+1", "1.", ".5", "1.0", "1e3", "1E", "1e+", "-1.5", "1x", "0x1", "1_0",
		"999999999999999999", "-999999999999999999", "1000000000000000000", "9223372036854775807", "9223372036854775808",
		"-9223372036854775808", "-9223372036854775809", "99999999999999999999", "1000000000000000000000000000000000000000",
	} {
		d, err := NewDecoder(schema, formats.Config{}, memory.NewGoAllocator())
		if err != nil {
			t.Fatal(err)
		}
		err = d.Append([]byte(`{"n":` + in + `}`))
		want, wantErr := text.ParseInt([]byte(in))
		if wantErr == nil && !stdjson.Valid([]byte(in)) {
			wantErr = errNumber
		}
		if (err == nil) != (wantErr == nil) {
			t.Errorf("%s: %v, want %v", in, err, wantErr)
		}
		if err == nil {
			rec := d.Flush()
			if got := rec.Column(0).(*array.Int64).Value(0); got != want {
				t.Errorf("%s is %d", in, got)
			}
			rec.Release()
		}
		d.Release()
	}
}

// BenchmarkSkipped decodes two of seven fields, as a query asks for them.
func BenchmarkSkipped(b *testing.B) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "auction", Type: arrow.PrimitiveTypes.Int64}, {Name: "price", Type: arrow.PrimitiveTypes.Int64}}, nil)
	line := []byte(`{"auction":1000,"bidder":2001,"price":73845,"channel":"Google","url":"https://www.nexmark.com/abcd/efgh/item.htm?query=1","date_time":"2015-07-15 00:00:00.123","extra":"[MN[SYoirwtPaqbsJNTcsHjfjbbTzV"}`)
	d, err := NewDecoder(schema, formats.Config{}, memory.NewGoAllocator())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Release()
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for i := range b.N {
		if err := d.Append(line); err != nil {
			b.Fatal(err)
		}
		if i%4096 == 0 {
			d.Flush().Release()
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
