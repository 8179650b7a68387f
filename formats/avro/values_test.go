package avro

import (
	"bytes"
	"encoding/hex"
	stdjson "encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/formats/json"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// golden is a case of testdata/values.json, which test/foreign/avro_golden.py writes.
type golden struct {
	Name     string
	Schema   stdjson.RawMessage
	Columns  []string
	Reader   stdjson.RawMessage
	Error    string
	Messages []struct {
		Hex string
		Row any
	}
}

func goldens(t testing.TB) []golden {
	t.Helper()
	b, err := os.ReadFile("testdata/values.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []golden
	d := stdjson.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

func (g golden) compile(t testing.TB, mem memory.Allocator, lenient bool) (*Schema, *Decoder) {
	t.Helper()
	w, err := Parse(string(g.Schema))
	if err != nil {
		t.Fatal(err)
	}
	o := DecoderOptions{Alloc: mem, Lenient: lenient}
	if len(g.Reader) > 4 {
		if o.Reader, err = Parse(string(g.Reader)); err != nil {
			t.Fatal(err)
		}
	}
	return w, NewDecoder(columnsOf(t, g.Columns...), o)
}

// columnsOf makes columns of texts such as "a INT".
func columnsOf(t testing.TB, texts ...string) *arrow.Schema {
	t.Helper()
	var fields []arrow.Field
	for _, c := range texts {
		name, typ, _ := strings.Cut(c, " ")
		dt, rest := parseType(t, typ)
		if rest != "" {
			t.Fatalf("%q behind a type", rest)
		}
		fields = append(fields, arrow.Field{Name: name, Type: dt, Nullable: true})
	}
	return arrow.NewSchema(fields, nil)
}

var plainTypes = map[string]arrow.DataType{
	"BOOLEAN": arrow.FixedWidthTypes.Boolean, "TINYINT": arrow.PrimitiveTypes.Int8, "INT": arrow.PrimitiveTypes.Int32, "BIGINT": arrow.PrimitiveTypes.Int64, "FLOAT": arrow.PrimitiveTypes.Float32,
	"DOUBLE": arrow.PrimitiveTypes.Float64, "STRING": arrow.BinaryTypes.String, "BINARY": arrow.BinaryTypes.Binary, "DATE": arrow.FixedWidthTypes.Date32,
	"TIME": arrow.FixedWidthTypes.Time64us, "TIMESTAMP": instant, "TIMESTAMP_NTZ": wall,
}

func parseType(t testing.TB, s string) (arrow.DataType, string) {
	t.Helper()
	n := strings.IndexFunc(s, func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') })
	if n < 0 {
		n = len(s)
	}
	word, rest := s[:n], s[n:]
	switch word {
	case "ARRAY":
		elem, rest := parseType(t, rest[1:])
		return arrow.ListOf(elem), rest[1:]
	case "MAP":
		key, rest := parseType(t, rest[1:])
		item, rest := parseType(t, rest[2:])
		return arrow.MapOf(key, item), rest[1:]
	case "STRUCT":
		var fields []arrow.Field
		for rest = rest[1:]; ; rest = rest[2:] {
			name, more, _ := strings.Cut(rest, ": ")
			dt, more := parseType(t, more)
			fields = append(fields, arrow.Field{Name: name, Type: dt, Nullable: true})
			if rest = more; rest[0] == '>' {
				return arrow.StructOf(fields...), rest[1:]
			}
		}
	case "DECIMAL":
		var p, s int32
		if _, err := fmt.Sscanf(rest, "(%d,%d)", &p, &s); err != nil {
			t.Fatal(err)
		}
		_, rest, _ = strings.Cut(rest, ")")
		return &arrow.Decimal128Type{Precision: p, Scale: s}, rest
	}
	dt, ok := plainTypes[word]
	if !ok {
		t.Fatalf("no type %q", word)
	}
	return dt, rest
}

// rowsOf prints rows as JSON and reads them again; numbers are texts.
func rowsOf(t testing.TB, rec arrow.RecordBatch) []any {
	t.Helper()
	row, err := json.NewEncoder(rec.Schema()).Columns(rec)
	if err != nil {
		t.Fatal(err)
	}
	var out []any
	for i := range int(rec.NumRows()) {
		d := stdjson.NewDecoder(bytes.NewReader(row(nil, i)))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		out = append(out, plain(v))
	}
	return out
}

func plain(v any) any {
	switch v := v.(type) {
	case stdjson.Number:
		return v.String()
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

// TestForeignValues reads what another implementation has written.
func TestForeignValues(t *testing.T) {
	for _, g := range goldens(t) {
		for _, lenient := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lenient %t", g.Name, lenient), func(t *testing.T) {
				mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
				defer mem.AssertSize(t, 0)
				w, d := g.compile(t, mem, lenient)
				defer d.Release()
				var want []any
				for _, m := range g.Messages {
					b, err := hex.DecodeString(m.Hex)
					if err != nil {
						t.Fatal(err)
					}
					rest, rows, err := d.Append(w, b)
					if g.Error != "" {
						if err == nil || !strings.Contains(err.Error(), g.Error) || rows != 0 {
							t.Errorf("got %d rows and %v", rows, err)
						}
						return
					}
					if err != nil || rows != 1 || len(rest) != 0 {
						t.Fatalf("%d rows, %d bytes left, %v", rows, len(rest), err)
					}
					want = append(want, plain(m.Row))
				}
				rec := d.Flush()
				defer rec.Release()
				if got := rowsOf(t, rec); !reflect.DeepEqual(got, want) {
					t.Errorf("got  %v\nwant %v", got, want)
				}
			})
		}
	}
}

// TestWriteAndRead holds that rows come back as they were, by the schema that is made of
// their columns, and by its own text.
func TestWriteAndRead(t *testing.T) {
	for _, g := range goldens(t) {
		if g.Error != "" {
			continue
		}
		t.Run(g.Name, func(t *testing.T) {
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			defer mem.AssertSize(t, 0)
			w, d := g.compile(t, mem, false)
			defer d.Release()
			for _, m := range g.Messages {
				b, _ := hex.DecodeString(m.Hex)
				if _, _, err := d.Append(w, b); err != nil {
					t.Fatal(err)
				}
			}
			rec := d.Flush()
			defer rec.Release()
			made, err := SchemaFor(rec.Schema(), "a.row")
			if err != nil {
				t.Fatal(err)
			}
			again, err := Parse(made.Text())
			if err != nil {
				t.Fatalf("%v: %s", err, made.Text())
			}
			if again.Text() != made.Text() {
				t.Errorf("%s\nbecame\n%s", made.Text(), again.Text())
			}
			row, err := Encode(again, rec)
			if err != nil {
				t.Fatal(err)
			}
			back := NewDecoder(rec.Schema(), DecoderOptions{Alloc: mem})
			defer back.Release()
			for i := range int(rec.NumRows()) {
				b, err := row(nil, i)
				if err != nil {
					t.Fatal(err)
				}
				if rest, _, err := back.Append(made, b); err != nil || len(rest) != 0 {
					t.Fatalf("%d left, %v", len(rest), err)
				}
			}
			got := back.Flush()
			defer got.Release()
			if !array.RecordEqual(got, rec) {
				t.Errorf("wrote\n%v\nread\n%v", rec, got)
			}
		})
	}
}

// TestLenient holds that a bad value is NULL, or a row of NULLs, and told.
func TestLenient(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	w, err := Parse(`{"type":"record","name":"r","fields":[{"name":"a","type":"long"},{"name":"l","type":{"type":"array","items":["int","string"]}},{"name":"m","type":{"type":"map","values":"bytes"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(columnsOf(t, "a TINYINT", "l ARRAY<STRING>", "m MAP<STRING, STRING>"), DecoderOptions{Alloc: mem, Lenient: true})
	defer d.Release()
	for _, m := range []struct{ hex, want string }{
		{"02 00 00", ""},
		{"9003 00 00", `field "a": 200: it is out of the column's range`},
		{"04 04 02 02 78 00 0a 00 00", `field "l[]": it is int, which cannot be read as utf8`},
		{"06 00 02 02 ff 02 fe 00", `field "m": a key`},
		{"08 00 02", "beyond the end"},
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(m.hex, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		_, rows, err := d.Append(w, b)
		if rows == 0 {
			d.AppendNull()
		}
		if (err == nil) != (m.want == "") || err != nil && !strings.Contains(err.Error(), m.want) {
			t.Errorf("%s: %d rows, %v", m.hex, rows, err)
		}
	}
	rec := d.Flush()
	defer rec.Release()
	want := `[map[a:1 l:[] m:map[]] map[a:<nil> l:[] m:map[]] map[a:2 l:[x <nil>] m:map[]] map[a:3 l:[] m:map[�:<nil>]] map[a:<nil> l:<nil> m:<nil>]]`
	if got := fmt.Sprint(rowsOf(t, rec)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
