package json

import (
	"context"
	stdjson "encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

var small = arrow.NewSchema([]arrow.Field{
	{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, {Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

type endless struct {
	head string
	fill byte
	size int64
}

func (e endless) ReadAt(p []byte, at int64) (int, error) {
	for i := range p {
		if at+int64(i) >= e.size {
			return i, io.EOF
		}
		p[i] = e.fill
		if j := at + int64(i); j < int64(len(e.head)) {
			p[i] = e.head[j]
		}
	}
	return len(p), nil
}

// TestHostileFiles: an error of kind User that says where.
func TestHostileFiles(t *testing.T) {
	const huge = 1 << 30
	deep := strings.Repeat(`{"s":`, 1_000_000)
	for name, c := range map[string]struct {
		f    formats.File
		want string
	}{
		"one line without an end":    {formats.File{ReaderAt: endless{`{"s":"`, 'x', huge}, Name: "f.json", Size: huge}, `file "f.json", line 1: a record is longer than 67108864 bytes`},
		"an array without an end":    {formats.File{ReaderAt: endless{`[{"s":"`, 'x', huge}, Name: "f.json", Size: huge}, `file "f.json", line 1: a record is longer than`},
		"nested a million times":     {memFile("f.json", []byte(deep+"1")), `file "f.json", line 1, column 1001: nested too deep`},
		"deep in an array":           {memFile("f.json", []byte("[\n"+deep+strings.Repeat("}", 1_000_000)+"]")), `file "f.json", line 2, column`},
		"a number that is too large": {memFile("f.json", []byte(`{"a":1}`+"\n"+`{"a":`+strings.Repeat("9", 5000)+`}`)), `file "f.json", line 2, column 6, field "a"`},
		"not UTF-8":                  {memFile("f.json", []byte("{\"s\":\"\xff\"}")), `file "f.json", line 1, column 7: not valid UTF-8`},
		"a NUL":                      {memFile("f.json", []byte("{\"s\":\"\x00\"}")), `a control character inside a string`},
		"cut off":                    {memFile("f.json", []byte(`[{"a":1},`)), `file "f.json", line 1: the array is not closed`},
		"text behind the array":      {memFile("f.json", []byte("[{\"a\":1}]\n x")), `file "f.json", line 2: text behind the array`},
		"no comma":                   {memFile("f.json", []byte("[{\"a\":1}\n{\"a\":1}]")), `file "f.json", line 2: want a comma`},
		"no object":                  {memFile("f.json", []byte("[1]")), `file "f.json", line 1: want an object`},
		"gzip by name alone":         {memFile("f.json.gz", []byte(`{"a":1}`)), `file "f.json.gz"`},
	} {
		_, err := read(c.f, small, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 1000 {
			t.Errorf("%s: got %.300v, want %s", name, err, c.want)
			continue
		}
		if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("%s: %v is of kind %v", name, err, k)
		}
		if _, err := infer(context.Background(), c.f, formats.Config{}); err == nil && !strings.Contains(name, "UTF-8") && !strings.Contains(name, "number") {
			t.Errorf("%s: a schema was found", name)
		}
	}
}

func TestObjectsOverLines(t *testing.T) {
	want := "{\"a\":1,\"s\":\"x\\ny ] }\"}\n{\"a\":2,\"s\":null}\n"
	for _, text := range []string{
		"[\n {\"a\": 1,\n  \"s\": \"x\\ny ] }\"},\n {\"a\": 2}\n]\n", "\ufeff[{\"a\":1,\"s\":\"x\\ny ] }\"},{\"a\":2}]",
	} {
		got, err := read(memFile("f.json", []byte(text)), small, nil)
		if err != nil || got != want {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	got, err := read(memFile("f.json", []byte("{\n\"a\":1,\"s\":\"x\\ny ] }\"}{\"a\":2\n}")), small, options.Map{"json.multiline": "true"})
	if err != nil || got != want {
		t.Errorf("%q %v", got, err)
	}
	if got, err := read(memFile("f.json", []byte("[ ]")), small, nil); err != nil || got != "" {
		t.Errorf("%q %v", got, err)
	}
	_, err = read(memFile("f.json", []byte("[{\"a\":1},\n\n{\"a\":\"q\"}]")), small, nil)
	if err == nil || !strings.Contains(err.Error(), `file "f.json", line 3, column 6, field "a": cannot read`) {
		t.Error(err)
	}
	got, err = read(memFile("f.json", []byte(`{"a":1,"a":2}`)), small, nil)
	if err != nil || got != "{\"a\":2,\"s\":null}\n" {
		t.Errorf("of equal keys the last: %q %v", got, err)
	}
}

// TestManyFields reads objects of 100,000 fields.
func TestManyFields(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"a":7`)
	for i := range 100_000 {
		fmt.Fprintf(&b, `,"k%d":%d`, i, i)
	}
	b.WriteString("}")
	got, err := read(memFile("f.json", []byte(b.String())), small, nil)
	if err != nil || got != "{\"a\":7,\"s\":null}\n" {
		t.Errorf("%q %v", got, err)
	}
	s, err := infer(context.Background(), memFile("f.json", []byte(b.String())), formats.Config{})
	if err != nil || s.NumFields() != 100_001 {
		t.Error(err)
	}
}

// FuzzFile reads what encoding/json reads, one object after the other or in an array.
func FuzzFile(f *testing.F) {
	for _, s := range []string{`{"s":"x"}`, "[{\"s\":\"a\\u00e9\"},\n{\"s\":null}]", "{\"s\":\"\\\"\"}\n{\"s\":\"}\"}", `[]`, `{"s":"a","s":"b","t":[{}]}`} {
		f.Add([]byte(s))
	}
	schema := arrow.NewSchema(small.Fields()[1:], nil)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := read(memFile("f.json", b), schema, options.Map{"json.multiline": "true"})
		if err != nil || !utf8.Valid(b) || strings.HasPrefix(string(b), "\ufeff") {
			return
		}
		var want []string
		d := stdjson.NewDecoder(strings.NewReader(string(b)))
		add := func(m map[string]stdjson.RawMessage) {
			v := "null"
			if raw, ok := m["s"]; ok {
				var text string
				if stdjson.Unmarshal(raw, &text) != nil {
					text = string(raw) // not a string: its text
				}
				if string(raw) != "null" {
					q, _ := stdjson.Marshal(text)
					v = string(q)
				}
			}
			want = append(want, v)
		}
		if trimmed := strings.TrimSpace(string(b)); strings.HasPrefix(trimmed, "[") {
			var all []map[string]stdjson.RawMessage
			if err := d.Decode(&all); err != nil {
				t.Fatalf("%q was read and is no JSON: %v", b, err)
			}
			for _, m := range all {
				add(m)
			}
		} else {
			for d.More() {
				var m map[string]stdjson.RawMessage
				if err := d.Decode(&m); err != nil {
					t.Fatalf("%q was read and is no JSON: %v", b, err)
				}
				add(m)
			}
		}
		lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
		if got == "" {
			lines = nil
		}
		if len(lines) != len(want) {
			t.Fatalf("%q: %d rows, encoding/json has %d", b, len(lines), len(want))
		}
		for i, line := range lines {
			var have, should struct{ S *string }
			if err := stdjson.Unmarshal([]byte(line), &have); err != nil {
				t.Fatal(line, err)
			}
			if err := stdjson.Unmarshal([]byte(`{"S":`+want[i]+`}`), &should); err != nil {
				t.Fatal(want[i], err)
			}
			if (have.S == nil) != (should.S == nil) || have.S != nil && *have.S != *should.S {
				t.Fatalf("%q row %d: %s, encoding/json has %s", b, i, line, want[i])
			}
		}
	})
}
