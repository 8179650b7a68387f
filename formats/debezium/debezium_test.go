package debezium

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

var table = arrow.NewSchema([]arrow.Field{
	{Name: "id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "v", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: batch.OpColumn, Type: arrow.PrimitiveTypes.Int8},
}, nil)

// texts prints rows as "op id v".
func texts(rec arrow.RecordBatch) []string {
	var out []string
	last := int(rec.NumCols()) - 1
	for i := range int(rec.NumRows()) {
		row := []string{batch.Op(rec.Column(last).(*array.Int8).Value(i)).String()}
		for _, c := range rec.Columns()[:last] {
			row = append(row, c.ValueStr(i))
		}
		out = append(out, strings.Join(row, " "))
	}
	return out
}

func config(o ...string) formats.Config {
	m := options.Map{}
	for i := 0; i < len(o); i += 2 {
		m[o[i]] = o[i+1]
	}
	return formats.Config{Options: m}
}

// read reads a text as a file in small batches; bad rows go to aside.
func read(t *testing.T, text string, s formats.ReadSpec, aside *[]batch.BadRow) ([]string, error) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	s.Alloc, s.MaxRows = mem, 3
	f := formats.File{ReaderAt: strings.NewReader(text), Name: "a.json", Size: int64(len(text))}
	r, err := New().NewReader(t.Context(), f, formats.Piece{To: f.Size}, s)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	if aside != nil {
		r.(formats.Quarantiner).SetAside(func(b batch.BadRow) error {
			b.Raw = bytes.Clone(b.Raw)
			*aside = append(*aside, b)
			return nil
		})
	}
	var out []string
	for {
		rec, err := r.Next(t.Context())
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, texts(rec)...)
		rec.Release()
	}
}

func TestEvents(t *testing.T) {
	const upsert = "upsert"
	for name, c := range map[string]struct {
		line, changelog string
		opts            []string
		want            string // rows with commas, or what the error holds
		fails           bool
	}{
		"create":                    {line: `{"before":null,"after":{"id":1,"v":"a"},"op":"c"}`, want: "+I 1 a"},
		"snapshot":                  {line: `{"after":{"v":"a","id":1},"op":"r","ts_ms":5,"source":{"x":[1,{}]}}`, want: "+I 1 a"},
		"update":                    {line: `{"before":{"id":1,"v":"a"},"after":{"id":1,"v":"b"},"op":"u"}`, want: "-U 1 a,+U 1 b"},
		"delete":                    {line: `{"before":{"id":1,"v":"a"},"after":null,"op":"d"}`, want: "-D 1 a"},
		"wrapped":                   {line: `{"schema":{"type":"struct"},"payload":{"after":{"id":2},"op":"c"}}`, want: "+I 2 (null)"},
		"wrapped, said so":          {line: `{"schema":null,"payload":{"after":{"id":2},"op":"c"}}`, opts: []string{"debezium-json.schema-include", "true"}, want: "+I 2 (null)"},
		"not wrapped, said so":      {line: `{"after":{"id":2},"op":"c"}`, opts: []string{"debezium-json.schema-include", "true"}, want: "not in a wrapper", fails: true},
		"tombstone":                 {line: `null`},
		"wrapped tombstone":         {line: `{"schema":null,"payload":null}`},
		"a message of the log":      {line: `{"op":"m","message":{"prefix":"x"}}`},
		"escaped":                   {line: `{"after":{"id":1,"v":"a\"\u00e9\n"},"\u006fp":"c"}`, want: "+I 1 a\"é\n"},
		"no before":                 {line: `{"before":null,"after":{"id":1},"op":"u"}`, want: "REPLICA IDENTITY FULL", fails: true},
		"no before of a deletion":   {line: `{"before":null,"key":{"id":1},"op":"d"}`, want: "'changelog' = 'upsert'", fails: true},
		"no after":                  {line: `{"before":{"id":1},"op":"c"}`, want: `no row "after"`, fails: true},
		"truncate":                  {line: `{"op":"t"}`, want: "truncated", fails: true},
		"unknown op":                {line: `{"op":"x","after":{}}`, want: `op "x" is unknown`, fails: true},
		"no event":                  {line: `{"id":1}`, want: `has no "op"`, fails: true},
		"no object":                 {line: `[1]`, want: "want an object", fails: true},
		"cut off":                   {line: `{"after":{"id":1`, want: "goes on on the next line", fails: true},
		"a value that does not fit": {line: `{"after":{"id":"x"},"op":"c"}`, want: `column 16, field "id"`, fails: true},
		"upsert":                    {line: `{"after":{"id":1,"v":"b"},"op":"u"}`, changelog: upsert, want: "+U 1 b"},
		"upsert of another key":     {line: `{"before":{"id":0},"after":{"id":1,"v":"b"},"op":"u"}`, changelog: upsert, want: "-U 0 (null),+U 1 b"},
		"delete by key":             {line: `{"key":{"id":1},"op":"d"}`, changelog: upsert, want: "-D 1 (null)"},
		"delete by a wrapped key":   {line: `{"key":{"schema":{},"payload":{"id":1}},"op":"d"}`, changelog: upsert, want: "-D 1 (null)"},
		"delete by nothing":         {line: `{"op":"d"}`, changelog: upsert, want: "nor a key", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			spec := formats.ReadSpec{Schema: table, Config: config(append(c.opts, "changelog", c.changelog)...)}
			got, err := read(t, c.line+"\n", spec, nil)
			switch {
			case c.fails != (err != nil):
				t.Fatalf("got %q and error %v", got, err)
			case err != nil && (!strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), `file "a.json", line 1`)):
				t.Errorf("error %q, want %q", err, c.want)
			case err == nil && strings.Join(got, ",") != c.want:
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestBadEventsAreSetAsideWhole holds that of an event with one bad row neither comes out.
func TestBadEventsAreSetAsideWhole(t *testing.T) {
	lines := []string{
		`{"after":{"id":1,"v":"a"},"op":"c"}`,
		`{"before":{"id":1,"v":"a"},"after":{"id":"x","v":"b"},"op":"u"}`,
		`{"after":{"id":2},"op":"c"}`,
		`{"before":{"id":"y"},"after":{"id":3},"op":"u"}`,
		`broken`,
		`{"before":{"id":2},"op":"d"}`,
	}
	for _, policy := range []string{"quarantine", "fail"} {
		var bad []batch.BadRow
		got, err := read(t, strings.Join(lines, "\n"), formats.ReadSpec{Schema: table, Config: config("bad-rows", policy)}, &bad)
		if policy == "fail" {
			if err == nil || len(bad) > 0 || !strings.Contains(err.Error(), "line 2, column 42") {
				t.Errorf("stops with %v and %d bad rows", err, len(bad))
			}
			continue
		}
		if want := "+I 1 a,+I 2 (null),-D 2 (null)"; err != nil || strings.Join(got, ",") != want {
			t.Errorf("got %q (%v), want %q", got, err, want)
		}
		if len(bad) != 3 {
			t.Fatalf("%d rows set aside, want 3", len(bad))
		}
		for i, at := range []int{1, 3, 4} {
			if string(bad[i].Raw) != lines[at] || bad[i].Line != int64(at+1) {
				t.Errorf("set aside %q of line %d, want %q", bad[i].Raw, bad[i].Line, lines[at])
			}
		}
	}
}

func TestMetadata(t *testing.T) {
	keys := []string{"value.schema", "value.ingestion-timestamp", "value.source.timestamp", "value.source.database", "value.source.schema", "value.source.table", "value.source.properties"}
	meta, fields := map[int]string{}, []arrow.Field{table.Field(0)}
	for i, k := range keys {
		meta[i+1] = k
		fields = append(fields, arrow.Field{Name: fmt.Sprint("m", i), Type: Meta[k], Nullable: true})
	}
	spec := formats.ReadSpec{Schema: arrow.NewSchema(append(fields, table.Field(2)), nil), Meta: meta, Config: config("changelog", "upsert")}
	got, err := read(t, `{"schema":{"a":1},"payload":{"after":{"id":1},"op":"c","ts_ms":1500,"source":{"ts_ms":2000,"db":"d","schema":"s","table":"t","n":1,"x":null}}}`+"\n"+
		`{"after":{"id":2},"op":"c"}`, spec, nil)
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	for _, part := range []string{`{"a":1}`, "1970-01-01 00:00:01.5Z", "1970-01-01 00:00:02Z", " d s t ", `"n"`} {
		if !strings.Contains(strings.ReplaceAll(got[0], "T", " "), part) {
			t.Errorf("row %q lacks %q", got[0], part)
		}
	}
	if want := "+I 2" + strings.Repeat(" (null)", len(keys)); got[1] != want {
		t.Errorf("got %q, want %q", got[1], want)
	}
	_, err = read(t, `{"after":{"id":1},"op":"c","ts_ms":"soon"}`, spec, nil)
	if err == nil || !strings.Contains(err.Error(), "milliseconds") {
		t.Errorf("a time that is none gives %v", err)
	}
}

func TestDecodeKeyed(t *testing.T) {
	d, err := NewDecoder(formats.ReadSpec{Schema: table, Config: config("changelog", "upsert")})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Release()
	for _, m := range [][2]string{{`{"id":1}`, `{"op":"d"}`}, {`{"id":2}`, ""}, {`{"schema":{},"payload":{"id":3}}`, `{"payload":{"op":"d","before":null}}`}, {"", `{"op":"c","after":{"id":4}}`}} {
		if _, err := d.DecodeKeyed([]byte(m[0]), []byte(m[1])); err != nil {
			t.Errorf("message %q: %v", m, err)
		}
	}
	rec := d.Flush()
	defer rec.Release()
	if got := strings.Join(texts(rec), ","); got != "-D 1 (null),-D 3 (null),+I 4 (null)" {
		t.Errorf("got %q", got)
	}
}

// TestWriteAndRead holds that what is written is read as the same changes, but that an
// update is one event.
func TestWriteAndRead(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	b := array.NewRecordBuilder(mem, table)
	defer b.Release()
	ops := []batch.Op{batch.Insert, batch.UpdateBefore, batch.UpdateAfter, batch.UpdateBefore, batch.Delete, batch.UpdateAfter}
	for i, op := range ops {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		b.Field(1).(*array.StringBuilder).Append(strings.Repeat(`"`, i))
		b.Field(2).(*array.Int8Builder).Append(int8(op))
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	var out bytes.Buffer
	w, err := New().NewWriter(&out, table, config(), mem)
	if err == nil {
		err = w.Write(rec)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 5 {
		t.Errorf("%d events, want 5:\n%s", n, &out)
	}
	got, err := read(t, out.String(), formats.ReadSpec{Schema: table, Config: config()}, nil)
	if want := `+I 0 ,-U 1 ",+U 2 "",-D 3 """,-D 4 """",+I 5 """""`; err != nil || strings.Join(got, ",") != want {
		t.Errorf("read %q (%v), want %q", got, err, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"before":{"id":1},"after":{"id":2},"op":"u"}`))
	f.Add([]byte(`{"schema":{},"payload":{"op":"d","before":{"id":1,"v":"x"},"source":{"ts_ms":1}}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, policy := range []string{"fail", "null", "quarantine"} {
			d, err := NewDecoder(formats.ReadSpec{Schema: table, Config: config("bad-rows", policy)})
			if err != nil {
				t.Fatal(err)
			}
			n, err := d.Decode(line)
			if n > 2 || err == nil && n != d.Rows() {
				t.Errorf("%d rows of one event, %d held", n, d.Rows())
			}
			if err == nil || policy == "quarantine" {
				rec := d.Flush()
				if rec.Column(0).Len() != rec.Column(2).Len() {
					t.Errorf("columns of %d and %d rows", rec.Column(0).Len(), rec.Column(2).Len())
				}
				rec.Release()
			}
			d.Release()
		}
	})
}
