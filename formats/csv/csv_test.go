package csv

import (
	"bytes"
	"context"
	stdcsv "encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
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

func fields(types ...string) *arrow.Schema {
	var out []arrow.Field
	for _, t := range types {
		name, kind, _ := strings.Cut(t, " ")
		dt := map[string]arrow.DataType{"": arrow.BinaryTypes.String, "int": arrow.PrimitiveTypes.Int32, "long": arrow.PrimitiveTypes.Int64, "double": arrow.PrimitiveTypes.Float64,
			"bool": arrow.FixedWidthTypes.Boolean, "date": arrow.FixedWidthTypes.Date32, "ts": &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"},
			"dec": &arrow.Decimal128Type{Precision: 6, Scale: 2}}[kind]
		out = append(out, arrow.Field{Name: name, Type: dt, Nullable: true})
	}
	return arrow.NewSchema(out, nil)
}

// read prints rows as values between bars, NULL as (null).
func read(f formats.File, schema *arrow.Schema, opts options.Map, pieces ...formats.Piece) (string, error) {
	if pieces == nil {
		pieces = []formats.Piece{{To: f.Size}}
	}
	var sb strings.Builder
	for _, p := range pieces {
		r, err := newReader(context.Background(), f, p, formats.ReadSpec{Schema: schema, Config: formats.Config{Options: opts}, MaxRows: 4})
		if err != nil {
			return sb.String(), err
		}
		defer r.Close()
		for {
			rec, err := r.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				return sb.String(), err
			}
			for i := range int(rec.NumRows()) {
				for c := range int(rec.NumCols()) {
					sb.WriteString(rec.Column(c).ValueStr(i) + "|")
				}
				sb.WriteByte('\n')
			}
			rec.Release()
		}
	}
	return sb.String(), nil
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		in   string
		s    *arrow.Schema
		opts options.Map
		want string
	}{
		{"\ufeffa,b,c\r\n1,\"x,\"\"y\"\"\nz\",\r\n\r\n2,\"\",3", fields("c int", "b", "a long"), nil, "(null)|x,\"y\"\nz|1|\n3||2|\n"},
		{"1;NA;true\n2;'a\\'b';FALSE\n", fields("x int", "y", "z bool"), options.Map{"csv.header": "false", "csv.delimiter": ";", "csv.null-value": "NA", "csv.quote": "'", "csv.escape": "\\"},
			"1|(null)|true|\n2|a'b|false|\n"},
		{"A\tB\n# no\n 1 \t 2013-1-5 \n", fields("a int", "b date"), options.Map{"csv.delimiter": `\t`, "csv.comment": "#", "csv.trim": "true"}, "1|2013-01-05|\n"},
		{"t,u\n2013-01-01T05:00:00Z,12.345\n2013-01-01 05:00:00.25-05:00,-0.005\n", fields("t ts", "u dec"), nil, "2013-01-01T05:00:00Z|12.35|\n2013-01-01T10:00:00.25Z|-0.01|\n"},
		{"t\n31/12/2023 23:59:58\n", fields("t ts"), options.Map{"csv.timestamp-format": "dd/MM/yyyy HH:mm:ss"}, "2023-12-31T23:59:58Z|\n"},
		{"t\n1700000000\n1700000000.5\n", fields("t ts"), options.Map{"csv.timestamp-format": "epoch-seconds"}, "2023-11-14T22:13:20Z|\n2023-11-14T22:13:20.5Z|\n"},
		{"one\nx\n\ny\n", fields("one"), nil, "x|\n(null)|\ny|\n"},
		{"", fields("a"), nil, ""},
		{"a,b\n", fields("a"), nil, ""},
	} {
		got, err := read(memFile("x.csv", []byte(c.in)), c.s, c.opts)
		if err != nil || got != c.want {
			t.Errorf("%q:\ngot  %q %v\nwant %q", c.in, got, err, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	s := fields("a int", "b")
	for _, c := range []struct{ in, want string }{
		{"a,b\n1,2\n3,4,5\n", `file "d/x.csv", line 3: too many fields: 3 where 2 are expected, in "3,4,5"`},
		{"a,b\n\"\n\",2\n3\n", `line 2, column "a" (field 1): cannot read "\n" as int32: not a whole number`},
		{"a,b\n1,\"x\ny\"\n3\n", `line 4: too few fields`},
		{"a,b\n1,2\nq,2\n", `line 3, column "a" (field 1): cannot read "q" as int32: not a whole number`},
		{"a,b\n3000000000,2\n", `cannot read "3000000000" as int32: out of range`},
		{"a,b\n1,\"x\n", `line 2: a quoted field is not closed`},
		{"a,b\n1,\"x\"y\n", `line 2: text behind the closing quote`},
		{"aa,b\n1,2\n", `has no column "a", did you mean "aa"?; its header is aa, b (without one, set 'csv.header' = 'false')`},
	} {
		f := memFile("d/x.csv", []byte(c.in))
		_, err := read(f, s, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.in, err, c.want)
			continue
		}
		if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("kind of %v", err)
		}
	}
	got, err := read(memFile("x", []byte("a,b\n1,2,3\nq,4\n5\n")), s, options.Map{"bad-rows": "null"})
	if err != nil || got != "1|2|\n(null)|4|\n5|(null)|\n" {
		t.Errorf("bad-rows null: %q %v", got, err)
	}
	for _, o := range []options.Map{{"csv.delimiter": "ab"}, {"csv.delimiter": `"`}, {"csv.timestamp-format": "QQ"}} {
		if _, err := read(memFile("x", nil), s, o); err == nil {
			t.Errorf("%v accepted", o)
		}
	}
}

// TestRandomAgainstStd: what encoding/csv writes, we read; what we write, both read.
func TestRandomAgainstStd(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	schema := fields("a", "b", "c")
	for range 500 {
		rows := [][]string{{"a", "b", "c"}}
		for range r.IntN(8) {
			row := make([]string, 3)
			for i := range row {
				for range 1 + r.IntN(4) {
					row[i] += string([]rune{'x', ',', '"', '\n', ' ', 'é', '#', '\\'}[r.IntN(8)])
				}
			}
			rows = append(rows, row)
		}
		var in bytes.Buffer
		w := stdcsv.NewWriter(&in)
		if err := w.WriteAll(rows); err != nil {
			t.Fatal(err)
		}
		want := ""
		rb := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for _, row := range rows[1:] {
			want += strings.Join(row, "|") + "|\n"
			for i, v := range row {
				rb.Field(i).(*array.StringBuilder).Append(v)
			}
		}
		if got, err := read(memFile("x", in.Bytes()), schema, nil); err != nil || got != want {
			t.Fatalf("%q: %v\ngot  %q\nwant %q", in.String(), err, got, want)
		}
		var out bytes.Buffer
		ow, err := newWriter(&out, schema, formats.Config{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := ow.Write(rb.NewRecordBatch()); err != nil {
			t.Fatal(err)
		}
		if err := ow.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := read(memFile("x", out.Bytes()), schema, nil); err != nil || got != want {
			t.Fatalf("ours %q: %v\ngot  %q\nwant %q", out.String(), err, got, want)
		}
		back, err := stdcsv.NewReader(&out).ReadAll()
		if err != nil || fmt.Sprint(back) != fmt.Sprint(rows) {
			t.Fatalf("std reads ours as %q %v", back, err)
		}
	}
}

func TestNullAndEmpty(t *testing.T) {
	for _, null := range []string{"", "NULL"} {
		for _, cols := range [][]string{{"a"}, {"a", "b"}} {
			schema := fields(cols...)
			rb := array.NewRecordBuilder(memory.DefaultAllocator, schema)
			for i := range cols {
				b := rb.Field(i).(*array.StringBuilder)
				b.Append("")
				b.AppendNull()
				b.Append("NULL")
			}
			var out bytes.Buffer
			o := options.Map{"csv.null-value": null}
			w, err := newWriter(&out, schema, formats.Config{Options: o}, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = w.Write(rb.NewRecordBatch())
			_ = w.Close()
			got, err := read(memFile("x", out.Bytes()), schema, o)
			want := "|\n(null)|\nNULL|\n"
			if len(cols) == 2 {
				want = "||\n(null)|(null)|\nNULL|NULL|\n"
			}
			if err != nil || got != want {
				t.Errorf("null %q: %q reads as %q %v", null, out.String(), got, err)
			}
		}
	}
}

func TestSplits(t *testing.T) {
	var in bytes.Buffer
	in.WriteString("a,b\n")
	want := ""
	for i := range 300 {
		fmt.Fprintf(&in, "%d,v%d\n", i, i)
		want += fmt.Sprintf("%d|v%d|\n", i, i)
	}
	f := memFile("x.csv", in.Bytes())
	o := options.Map{"csv.multiline": "false"}
	for _, size := range []int64{1, 5, 100, 1000} {
		pieces, err := formats.CutLines(f, size)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read(f, fields("a int", "b"), o, pieces...)
		if err != nil || got != want {
			t.Fatalf("size %d: %v\n%s", size, err, got)
		}
	}
	bad := append(bytes.Clone(in.Bytes()), "zz,1\n"...)
	pieces, _ := formats.CutLines(memFile("x.csv", bad), 100)
	if _, err := read(memFile("x.csv", bad), fields("a int"), o, pieces...); err == nil || !strings.Contains(err.Error(), "line 302,") {
		t.Error(err)
	}
}

func TestInfer(t *testing.T) {
	in := "i,l,d,s,dt,ts,b,n,mix\n1,3000000000,1.5,x,2024-01-01,2024-01-01 10:00:00,true,,1\n2,1,2,y,2024-01-02,2024-01-01,false,,x\n"
	s, err := infer(context.Background(), memFile("x", []byte(in)), formats.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range s.Fields() {
		got = append(got, f.Name+"="+f.Type.String())
	}
	want := "i=int32 l=int64 d=float64 s=utf8 dt=date32 ts=timestamp[us, tz=UTC] b=bool n=null mix=utf8"
	if g := strings.Join(got, " "); g != want {
		t.Errorf("got  %s\nwant %s", g, want)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("a,b\n1,\"x\"\n"), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, k byte) {
		o := options.Map{"csv.header": fmt.Sprint(k&1 == 0), "csv.trim": fmt.Sprint(k&2 == 0), "csv.multiline": fmt.Sprint(k&4 == 0)}
		if k&8 == 0 {
			o["csv.escape"] = `\`
		}
		if k&16 == 0 {
			o["bad-rows"] = "null"
		}
		_, _ = read(memFile("x", b), fields("a int", "b"), o)
		_, _ = infer(context.Background(), memFile("x", b), formats.Config{Options: o})
	})
}

func BenchmarkRead(b *testing.B) {
	var in bytes.Buffer
	in.WriteString("a,b,c,d,e\n")
	for i := range 100_000 {
		fmt.Fprintf(&in, "%d,user-%d,2024-01-01T00:00:%02d.123Z,%d.25,some text that is not read\n", i, i%1000, i%60, i)
	}
	f := memFile("x", in.Bytes())
	b.SetBytes(int64(in.Len()))
	b.ReportAllocs()
	for b.Loop() {
		r, err := newReader(context.Background(), f, formats.Piece{To: f.Size}, formats.ReadSpec{Schema: fields("a long", "b", "c ts", "d double")})
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

// TestCutsWithoutQuotes: a file without quotes is cut at line ends, one with a quote
// anywhere is not, and nothing is lost or doubled.
func TestCutsWithoutQuotes(t *testing.T) {
	var b strings.Builder
	b.WriteString("a,b\n")
	want := ""
	for i := range 5000 {
		fmt.Fprintf(&b, "%d,x%d\n", i, i)
		want += fmt.Sprintf("%d|x%d|\n", i, i)
	}
	plain := []byte(b.String())
	for _, c := range []struct {
		text   []byte
		opts   options.Map
		pieces bool
	}{
		{plain, nil, true}, {append(slices.Clone(plain), "5000,\"two\nlines\"\n"...), nil, false},
		{append(slices.Clone(plain), "5000,\"one line\"\n"...), options.Map{"csv.multiline": "false"}, true},
		{append(slices.Clone(plain), "5000,\"x\n"...), options.Map{"csv.quote": ""}, true},
	} {
		f := memFile("x.csv", c.text)
		pieces, err := cut(f, formats.Config{Options: c.opts}, 3000)
		if err != nil || (len(pieces) > 1) != c.pieces {
			t.Fatalf("%d pieces, %v", len(pieces), err)
		}
		got, err := read(f, fields("a int", "b"), c.opts, pieces...)
		if err != nil || !strings.HasPrefix(got, want) || strings.Count(got, "x4999") != 1 {
			t.Errorf("%v: %v %.100s", c.opts, err, got)
		}
	}
	if p, err := cut(memFile("x.csv.gz", plain), formats.Config{}, 3000); err != nil || len(p) != 1 {
		t.Error(p, err)
	}
}
