package json

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func memFile(name string, b []byte) formats.File {
	return formats.File{ReaderAt: bytes.NewReader(b), Name: name, Size: int64(len(b))}
}

var testSchema = arrow.NewSchema([]arrow.Field{
	{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "s", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "t", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
	{Name: "l", Type: arrow.ListOf(arrow.PrimitiveTypes.Int32), Nullable: true},
	{Name: "o", Type: arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Float64, Nullable: true}), Nullable: true},
	{Name: "m", Type: arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64), Nullable: true},
	{Name: "d", Type: &arrow.Decimal128Type{Precision: 10, Scale: 2}, Nullable: true},
	{Name: "b", Type: arrow.FixedWidthTypes.Boolean, Nullable: true},
}, nil)

// read returns the rows of a file as JSON lines of our own writer.
func read(f formats.File, schema *arrow.Schema, opts options.Map, pieces ...formats.Piece) (string, error) {
	var out bytes.Buffer
	w, err := newWriter(&out, schema, formats.Config{}, nil)
	if err != nil {
		return "", err
	}
	if pieces == nil {
		pieces = []formats.Piece{{To: f.Size}}
	}
	for _, p := range pieces {
		r, err := newReader(context.Background(), f, p, formats.ReadSpec{Schema: schema, Config: formats.Config{Options: opts}, MaxRows: 3})
		if err != nil {
			return "", err
		}
		defer r.Close()
		for {
			rec, err := r.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				return "", err
			}
			err = w.Write(rec)
			rec.Release()
			if err != nil {
				return "", err
			}
		}
	}
	err = w.Close()
	return out.String(), err
}

func TestDecode(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"a":1,"s":"x","t":"2024-02-29T12:00:00.5+01:00","l":[1,null,2],"o":{"x":1.5},"m":{"k":1,"k":2,"j":null},"d":"1.005","b":true}`,
			`{"a":1,"s":"x","t":"2024-02-29T11:00:00.5Z","l":[1,null,2],"o":{"x":1.5},"m":{"k":2,"j":null},"d":1.01,"b":true}`},
		{`{"zz":[{"q":[]}],"a":"7"}`, `{"a":7,"s":null,"t":null,"l":null,"o":null,"m":null,"d":null,"b":null}`},
		{`{"a":1,"a":2,"s":{"k": [1, 2]}}`, `{"a":2,"s":"{\"k\": [1, 2]}","t":null,"l":null,"o":null,"m":null,"d":null,"b":null}`},
		{`{"s":"\u00e9\ud83d\ude00\ud83d\"\\\n","\u0061":3}`, `{"a":3,"s":"é😀` + "\ufffd" + `\"\\\n","t":null,"l":null,"o":null,"m":null,"d":null,"b":null}`},
		{" \t{ } \r", `{"a":null,"s":null,"t":null,"l":null,"o":null,"m":null,"d":null,"b":null}`},
	} {
		got, err := read(memFile("x", []byte("\ufeff"+c.in+"\n\n")), testSchema, nil)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
		} else if strings.TrimSpace(got) != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"a":1`, "line 2, column 7: the object goes on on the next line"},
		{`{"a":x}`, `line 2, column 6: want a value, found "x}"`},
		{`{"a":01}`, "line 2, column 7: not a number"},
		{`{"a":1}}`, "line 2, column 8: text behind the object"},
		{`[1]`, "line 2, column 1: want an object"},
		{`{"a":"zz"}`, `line 2, column 6, field "a": cannot read "\"zz\"" as int64: not a whole number`},
		{`{"a":1.5}`, `line 2, column 6, field "a": cannot read "1.5" as int64`},
		{`{"l":{"a":1}}`, `field "l": cannot read "{\"a\":1}" as an array`},
		{`{"l":[1,"q"]}`, `column 9, field "l[]": cannot read`},
		{`{"o":{"x":"u"}}`, `field "o.x"`},
		{`{"d":123456789012}`, `out of range`},
		{"{\"s\":\"\xff\"}", "column 7: not valid UTF-8"},
		{strings.Repeat(`{"a":`, 300) + "1" + strings.Repeat("}", 300), "nested too deep"},
		{`{"s":"\x"}`, "column 7: an unknown escape"},
	} {
		f := memFile("dir/x.json", []byte("{\"a\":1}\n"+c.in+"\n{\"a\":3}\n"))
		_, err := read(f, testSchema, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `"dir/x.json", line 2`) {
			t.Errorf("%.40s: got %v, want %s", c.in, err, c.want)
			continue
		}
		if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("kind of %v", err)
		}
		got, err := read(f, testSchema, options.Map{"bad-rows": "null"})
		if err != nil || strings.Count(got, "\n") != 3 || !strings.Contains(got, `{"a":3`) {
			t.Errorf("bad-rows null: %s %v", got, err)
		}
	}
}

// TestRandomAgainstStd decodes random objects; encoding/json is the oracle.
func TestRandomAgainstStd(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: arrow.BinaryTypes.String, Nullable: true}, {Name: "w", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true}}, nil)
	for range 3000 {
		doc := map[string]any{"v": randomString(r), "w": []any{randomString(r), nil, randomString(r)}, randomString(r): randomString(r)}
		line, err := stdjson.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(memFile("x", line), schema, nil)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		var back, want map[string]any
		if err := stdjson.Unmarshal([]byte(got), &back); err != nil {
			t.Fatalf("our writer made %s: %v", got, err)
		}
		_ = stdjson.Unmarshal(line, &want)
		if !reflect.DeepEqual(back["v"], want["v"]) || !reflect.DeepEqual(back["w"], want["w"]) {
			t.Fatalf("%s\ngot %s", line, got)
		}
	}
}

func randomString(r *rand.Rand) string {
	var sb strings.Builder
	for range r.IntN(6) {
		sb.WriteRune([]rune{'a', '"', '\\', '\n', 'é', '😀', 1, '/', '<', '\u2028'}[r.IntN(10)])
	}
	return sb.String()
}

func TestSplitsAndCompression(t *testing.T) {
	var plain bytes.Buffer
	for i := range 500 {
		fmt.Fprintf(&plain, "{\"a\":%d}\n", i)
	}
	schema := arrow.NewSchema(testSchema.Fields()[:1], nil)
	f := memFile("x.json", plain.Bytes())
	for _, size := range []int64{1, 7, 100, 999} {
		pieces, err := formats.CutLines(f, size)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(f, schema, nil, pieces...)
		if err != nil || got != plain.String() {
			t.Fatalf("size %d: %d bytes of %d, %v", size, len(got), plain.Len(), err)
		}
	}
	bad := append(bytes.Clone(plain.Bytes()), "{\"a\":true}\n"...)
	pieces, _ := formats.CutLines(memFile("x.json", bad), 100)
	if _, err := read(memFile("x.json", bad), schema, nil, pieces...); err == nil || !strings.Contains(err.Error(), "line 501, column 6") {
		t.Errorf("line number in a piece: %v", err)
	}
	for _, c := range []formats.Compression{formats.Gzip, formats.Zstd, formats.Snappy} {
		var packed bytes.Buffer
		z, err := formats.Compress(c, &packed)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = z.Write(plain.Bytes())
		_ = z.Close()
		got, err := read(memFile("x.json"+c.Extension(), packed.Bytes()), schema, nil)
		if err != nil || got != plain.String() {
			t.Errorf("%s: %v", c, err)
		}
		_, err = read(memFile("x.json"+c.Extension(), packed.Bytes()[:packed.Len()-5]), schema, nil)
		if err == nil || !strings.Contains(err.Error(), "x.json"+c.Extension()) {
			t.Errorf("%s cut off: %v", c, err)
		}
	}
}

func TestBomb(t *testing.T) {
	var packed bytes.Buffer
	z, _ := formats.Compress(formats.Gzip, &packed)
	zeros := bytes.Repeat([]byte("\n"), 1<<20)
	for range 80 {
		_, _ = z.Write(zeros)
	}
	_ = z.Close()
	_, err := read(memFile("x.json.gz", packed.Bytes()), testSchema, nil)
	if err == nil || !strings.Contains(err.Error(), "bomb") {
		t.Error(err)
	}
}

func TestInfer(t *testing.T) {
	s, err := infer(context.Background(), memFile("x", []byte(`{"a":1,"b":null,"c":[{"x":1}]}
{"a":1.5,"d":"x","c":[{"y":true}],"e":1}
{"e":"s","f":{}}`)), formats.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range s.Fields() {
		got = append(got, f.Name+" "+f.Type.String())
	}
	want := "a float64; b null; c list<item: struct<x: int64 nullable, y: bool nullable>, nullable>; d utf8; e utf8; f null"
	if g := strings.Join(got, "; "); g != want {
		t.Errorf("got %s", g)
	}
	if _, err := infer(context.Background(), memFile("empty.json", nil), formats.Config{}); err == nil || !strings.Contains(err.Error(), "declare the table's columns") {
		t.Error(err)
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte(`{"a":1,"s":"x\u00e9","l":[1,2],"o":{"x":1},"m":{"k":1},"t":"2024-01-01"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		defer alloc.AssertSize(t, 0)
		for _, bad := range []string{"fail", "null"} {
			d, err := NewDecoder(testSchema, formats.Config{Options: options.Map{"bad-rows": bad}}, alloc)
			if err != nil {
				t.Fatal(err)
			}
			err = d.Append(b)
			if err == nil {
				d.Flush().Release()
			}
			if err == nil && bad == "fail" && !stdjson.Valid(b) {
				t.Errorf("accepted %q", b)
			}
			d.Release()
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var in bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintf(&in, `{"a":%d,"s":"user-%d","t":"2024-01-01T00:00:%02d.123Z","url":"https://example.com/some/long/path?q=%d","b":true}`+"\n", i, i%1000, i%60, i)
	}
	f := memFile("x", in.Bytes())
	schema := arrow.NewSchema([]arrow.Field{testSchema.Field(0), testSchema.Field(1), testSchema.Field(2)}, nil)
	b.SetBytes(int64(in.Len()))
	b.ReportAllocs()
	for b.Loop() {
		r, err := newReader(context.Background(), f, formats.Piece{To: f.Size}, formats.ReadSpec{Schema: schema})
		if err != nil {
			b.Fatal(err)
		}
		for {
			rec, err := r.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			rec.Release()
		}
		_ = r.Close()
	}
	b.ReportMetric(float64(b.N)*100_000/b.Elapsed().Seconds()/1e6, "Mrows/s")
}
