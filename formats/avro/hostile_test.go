package avro

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
)

// hostile is a schema in which values may hold themselves, and may take no bytes.
const hostile = `{"type":"record","name":"r","fields":[{"name":"next","type":["null","r"]},{"name":"n","type":{"type":"array","items":"null"}},
 {"name":"e","type":{"type":"array","items":{"type":"record","name":"empty","fields":[]}}},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":38,"scale":2}},
 {"name":"s","type":{"type":"map","values":"string"}},{"name":"k","type":{"type":"enum","name":"k","symbols":["A"]}}]}`

func FuzzAppend(f *testing.F) {
	all := goldens(f)
	for i, g := range all {
		for _, m := range g.Messages {
			b, err := hex.DecodeString(m.Hex)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(i, b)
		}
	}
	f.Add(len(all), []byte{2, 2, 2, 0, 0, 0})
	own, err := Parse(hostile)
	if err != nil {
		f.Fatal(err)
	}
	columns := columnsOf(f, "n ARRAY<STRING>", "d DECIMAL(38,2)", "s MAP<STRING, STRING>", "k STRING")
	f.Fuzz(func(t *testing.T, which int, b []byte) {
		for _, lenient := range []bool{false, true} {
			mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
			w, d := own, NewDecoder(columns, DecoderOptions{Lenient: lenient, Alloc: mem})
			if which >= 0 && which < len(all) {
				d.Release()
				w, d = all[which].compile(t, mem, lenient)
			}
			_, rows, err := d.Append(w, b)
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

func FuzzParse(f *testing.F) {
	f.Add(hostile)
	for _, g := range goldens(f) {
		f.Add(string(g.Schema))
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(s.Text())
		if err != nil || again.Text() != s.Text() {
			t.Errorf("%s became %s (%v)", text, s.Text(), err)
		}
		if _, err := Columns(s, "value"); err != nil && !strings.Contains(err.Error(), "holds itself") {
			t.Errorf("%s: %v", text, err)
		}
	})
}

func TestBadSchemas(t *testing.T) {
	for text, want := range map[string]string{
		``:                             "no JSON",
		`{"type":"record","name":"r"}`: "has no fields",
		`{"type":"strin"}`:             `"strin" is no type`,
		`["null","null"]`:              "twice",
		`["null",["int"]]`:             "a union",
		`[]`:                           "a union of nothing",
		`{"type":"fixed","name":"f"}`:  "a fixed of",
		`{"type":"enum","name":"e"}`:   "without symbols",
		`{"type":"array"}`:             "items",
		`"int" 1`:                      "text behind",
		`{"type":"record","name":"r","fields":[{"name":"r","type":"r"}]}`:                                      "no end of it",
		`{"type":"record","name":"r","fields":[{"name":"a b","type":"int"}]}`:                                  "no name of a field",
		`{"type":"record","name":"r","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}`:          "there twice",
		`["int",{"type":"record","name":"r","fields":[]},{"type":"record","name":"r","fields":[]}]`:            "there twice",
		strings.Repeat(`{"type":"array","items":`, 300) + `"int"` + strings.Repeat("}", 300):                   "nests deeper",
		`{"type":"fixed","name":"f","size":99999999999}`:                                                       "a fixed of",
		`{"type":"record","name":"r","fields":[{"name":"x","type":{"type":"record","name":"1","fields":[]}}]}`: "no name of a type",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s gives %v, want %q", text, err, want)
		}
	}
}

func TestReferencedTypes(t *testing.T) {
	s, err := Parse(`{"type":"record","name":"a.Order","fields":[{"name":"to","type":"b.Address"},{"name":"from","type":["null","b.Address"]}]}`,
		`{"type":"record","name":"Address","namespace":"b","fields":[{"name":"city","type":"string"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Fields[1].Schema.Branches[1]; got != s.Fields[0].Schema || got.Name != "b.Address" {
		t.Errorf("got %v", got)
	}
}

// TestBounds holds that a few bytes do not become many rows.
func TestBounds(t *testing.T) {
	w, err := Parse(hostile)
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(columnsOf(t, "n ARRAY<STRING>"), DecoderOptions{Lenient: true})
	defer d.Release()
	deep := strings.Repeat("\x02", 1<<20)
	for what, b := range map[string]string{
		"too many elements":   "\x00\xfe\xff\xff\xff\x0f",
		"too deep":            deep,
		"end in the middle":   "",
		"negative or goes":    "\x00\x00\x00\x01",
		"longer than 64 bits": "\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		if _, _, err := d.Append(w, []byte(b)); err == nil || !strings.Contains(err.Error(), what) && !strings.Contains(err.Error(), "ends in the middle") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
