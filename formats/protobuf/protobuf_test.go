package protobuf

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
	"github.com/sluice-stream/sluice/formats/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// shop compiles the schema of the golden messages, without the lines that hold a text.
func shop(t testing.TB, without ...string) *File {
	t.Helper()
	text := read(t, "shop.proto")
	for _, w := range without {
		text = strings.Replace(text, w, "", 1)
	}
	f, err := Parse(text, Named{"shared/address.proto", read(t, "shared/address.proto")})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

type golden struct {
	Name string
	Hex  string
	Row  any
}

func (g golden) message(t testing.TB) (place []int, b []byte) {
	t.Helper()
	b, err := hex.DecodeString(g.Hex)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, err := registry.Head(b)
	if err != nil {
		t.Fatal(err)
	}
	if place, rest, err = registry.Indexes(rest, nil); err != nil {
		t.Fatal(err)
	}
	return place, rest
}

func goldens(t testing.TB) []golden {
	t.Helper()
	d := stdjson.NewDecoder(strings.NewReader(read(t, "values.json")))
	d.UseNumber()
	var all []golden
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// columnsFor are those of a golden type, but for the field in which it holds itself.
func columnsFor(t testing.TB, place []int) *arrow.Schema {
	t.Helper()
	typ, err := shop(t, "Order again = 2000;").At(place)
	if err != nil {
		t.Fatal(err)
	}
	cols, err := typ.Columns()
	if err != nil {
		t.Fatal(err)
	}
	return cols
}

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
		out = append(out, v)
	}
	return out
}

// TestForeignMessages reads what Google's library has written, by the text of its schema
// and by the descriptor set of protoc.
func TestForeignMessages(t *testing.T) {
	set, err := ParseSet([]byte(read(t, "shop.set")))
	if err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]*File{"text": shop(t), "set": set} {
		for _, g := range goldens(t) {
			for _, lenient := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, lenient %t", what, g.Name, lenient), func(t *testing.T) {
					mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
					defer mem.AssertSize(t, 0)
					place, b := g.message(t)
					typ, err := f.At(place)
					if err != nil {
						t.Fatal(err)
					}
					if !reflect.DeepEqual(typ.Place(), place) {
						t.Errorf("the type of place %v says it is at %v", place, typ.Place())
					}
					d := NewDecoder(columnsFor(t, place), DecoderOptions{Alloc: mem, Lenient: lenient})
					defer d.Release()
					for range 2 {
						if rows, err := d.Append(typ, b); rows != 1 || err != nil {
							t.Fatalf("%d rows, %v", rows, err)
						}
					}
					rec := d.Flush()
					defer rec.Release()
					for _, got := range rowsOf(t, rec) {
						if !reflect.DeepEqual(got, g.Row) {
							t.Errorf("got  %v\nwant %v", got, g.Row)
						}
					}
				})
			}
		}
	}
}

// TestWriteAndRead holds that rows come back by their type, and by the one that is made
// of their columns.
func TestWriteAndRead(t *testing.T) {
	for _, g := range goldens(t) {
		place, b := g.message(t)
		plain, err := Parse(strings.Replace(strings.Replace(read(t, "shop.proto"), "Order again = 2000;", "", 1), "shared.Address home", "int32 unused_home", 1),
			Named{"shared/address.proto", read(t, "shared/address.proto")})
		if err != nil {
			t.Fatal(err)
		}
		typ, err := plain.At(place)
		if err != nil {
			t.Fatal(err)
		}
		cols, err := typ.Columns()
		if err != nil {
			t.Fatal(err)
		}
		text, err := SchemaFor(cols, "a.b.Row")
		if err != nil {
			t.Fatal(err)
		}
		f, err := Parse(text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		made, err := f.Message("Row")
		if err != nil {
			t.Fatal(err)
		}
		for what, by := range map[string]*Type{"own": typ, "made": made} {
			t.Run(g.Name+", "+what, func(t *testing.T) {
				mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
				defer mem.AssertSize(t, 0)
				d := NewDecoder(cols, DecoderOptions{Alloc: mem})
				defer d.Release()
				if _, err := d.Append(typ, b); err != nil {
					t.Fatal(err)
				}
				rec := d.Flush()
				defer rec.Release()
				if g.Name == "strange" && what == "own" {
					return // a number that is no name of the enum is not written as one
				}
				row, err := Encode(by, rec)
				if err != nil {
					t.Fatal(err)
				}
				again, err := row(nil, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.Append(by, again); err != nil {
					t.Fatal(err)
				}
				got := d.Flush()
				defer got.Release()
				if !array.RecordEqual(got, rec) {
					t.Errorf("wrote\n%v\nread\n%v", rec, got)
				}
			})
		}
	}
}

func TestBadSchemas(t *testing.T) {
	for text, want := range map[string]string{
		"message":            "syntax error",
		`syntax = "proto3";`: "has no message",
		`syntax = "proto3"; import "x.proto"; message A {}`: `"x.proto" is not there`,
		`syntax = "proto3"; message A { B b = 1; }`:         "unknown type",
	} {
		f, err := Parse(text)
		if err == nil {
			_, err = f.Message("")
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %q", text, err, want)
		}
	}
	if _, err := shop(t).Message("Nobody"); err == nil || !strings.Contains(err.Error(), "shop.Order") {
		t.Errorf("an unknown message gives %v", err)
	}
	if m, err := shop(t).Message("Line"); err != nil || m.Name() != "shop.Order.Line" {
		t.Errorf("the end of a name gives %v, %v", m, err)
	}
	if m, err := shop(t).Message("shop.Order"); err != nil {
		t.Error(err)
	} else if _, err := m.Columns(); err == nil || !strings.Contains(err.Error(), "holds itself") {
		t.Errorf("a message that holds itself gives %v", err)
	}
	for _, b := range []string{"", "x", "\x0a\x05hello"} {
		if _, err := ParseSet([]byte(b)); err == nil {
			t.Errorf("%q is a descriptor set", b)
		}
	}
}

func TestLenient(t *testing.T) {
	f, err := Parse(`syntax = "proto2"; message M { optional int32 a = 1; optional bytes s = 2; repeated int64 l = 3; optional M m = 4; }`)
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.Message("M")
	if err != nil {
		t.Fatal(err)
	}
	inner := arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int8, Nullable: true})
	cols := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int8, Nullable: true}, {Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "l", Type: arrow.ListOf(arrow.PrimitiveTypes.Int16), Nullable: true}, {Name: "m", Type: inner, Nullable: true}}, nil)
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	d := NewDecoder(cols, DecoderOptions{Lenient: true, Alloc: mem})
	defer d.Release()
	for _, c := range []struct{ hex, want string }{
		{"0805", ""},
		{"08ac02", `field "a": 300: it is out of the column's range`},
		{"1201ff", `field "s": it is not valid UTF-8`},
		{"1801 18ffff7f", `field "l[]"`},
		{"2202 0801 2203 08ac02", `field "m.a"`},
		{"0805 2202 08ff", "no message of its type"},
		{"0a05", "no message of its type"},
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(c.hex, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := d.Append(m, b)
		if rows == 0 {
			d.AppendNull()
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d rows, %v", c.hex, rows, err)
		}
	}
	rec := d.Flush()
	defer rec.Release()
	const want = `[map[a:5 l:[] m:<nil> s:<nil>] map[a:<nil> l:[] m:<nil> s:<nil>] map[a:<nil> l:[] m:<nil> s:<nil>] map[a:<nil> l:[1 <nil>] m:<nil> s:<nil>] ` +
		`map[a:<nil> l:[] m:map[a:<nil>] s:<nil>] map[a:<nil> l:<nil> m:<nil> s:<nil>] map[a:<nil> l:<nil> m:<nil> s:<nil>]]`
	if got := fmt.Sprint(rowsOf(t, rec)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzAppend(f *testing.F) {
	for _, g := range goldens(f) {
		_, b := g.message(f)
		f.Add(b)
	}
	file := shop(f)
	typ, err := file.Message("Order")
	if err != nil {
		f.Fatal(err)
	}
	cols := columnsFor(f, typ.Place())
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, lenient := range []bool{false, true} {
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			d := NewDecoder(cols, DecoderOptions{Lenient: lenient, Alloc: mem})
			rows, err := d.Append(typ, b)
			if rows != d.Rows() || err == nil && rows != 1 {
				t.Errorf("%d rows, %d held, %v", rows, d.Rows(), err)
			}
			if lenient || err == nil {
				if rows == 0 {
					d.AppendNull()
				}
				rec := d.Flush()
				for _, c := range rec.Columns() {
					if c.Len() != 1 {
						t.Errorf("a column of %d rows", c.Len())
					}
				}
				rec.Release()
			}
			d.Release()
			mem.AssertSize(t, 0)
		}
	})
}
