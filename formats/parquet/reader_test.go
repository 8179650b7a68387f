package parquet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

// randomArray fills a builder with n random values of any type.
func randomArray(r *rand.Rand, b array.Builder, nullable bool) {
	if nullable && r.IntN(4) == 0 {
		b.AppendNull()
		return
	}
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(r.IntN(2) == 0)
	case *array.Int8Builder:
		b.Append(int8(r.Uint32()))
	case *array.Int16Builder:
		b.Append(int16(r.Uint32()))
	case *array.Int32Builder:
		b.Append(int32(r.Uint32()))
	case *array.Int64Builder:
		b.Append(r.Int64N(50))
	case *array.Float32Builder:
		b.Append(r.Float32())
	case *array.Float64Builder:
		b.Append(r.Float64())
	case *array.Date32Builder:
		b.Append(arrow.Date32(r.IntN(30000)))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(r.Int64N(1 << 50)))
	case *array.Decimal128Builder:
		b.Append(decimal128.New(0, r.Uint64()>>20))
	case *array.StringBuilder:
		b.Append(strings.Repeat("x", r.IntN(5)) + fmt.Sprint(r.IntN(20)))
	case *array.BinaryBuilder:
		b.Append([]byte{byte(r.Uint32()), 0})
	case *array.ListBuilder:
		b.Append(true)
		for range r.IntN(4) {
			randomArray(r, b.ValueBuilder(), true)
		}
	case *array.MapBuilder:
		b.Append(true)
		for i := range r.IntN(3) {
			b.KeyBuilder().(*array.StringBuilder).Append(fmt.Sprint("k", i))
			randomArray(r, b.ItemBuilder(), true)
		}
	case *array.StructBuilder:
		b.Append(true)
		for i := range b.NumField() {
			randomArray(r, b.FieldBuilder(i), b.Type().(*arrow.StructType).Field(i).Nullable)
		}
	default:
		panic(fmt.Sprintf("%T", b))
	}
}

func randomType(r *rand.Rand, depth int) arrow.DataType {
	k := r.IntN(15)
	if depth == 0 {
		k = r.IntN(11)
	}
	switch k {
	case 0:
		return arrow.FixedWidthTypes.Boolean
	case 1:
		return arrow.PrimitiveTypes.Int8
	case 2:
		return arrow.PrimitiveTypes.Int32
	case 3:
		return arrow.PrimitiveTypes.Int64
	case 4:
		return arrow.PrimitiveTypes.Float32
	case 5:
		return arrow.PrimitiveTypes.Float64
	case 6:
		return arrow.FixedWidthTypes.Date32
	case 7:
		return []arrow.DataType{instant, local}[r.IntN(2)]
	case 8:
		return &arrow.Decimal128Type{Precision: int32(15 + r.IntN(20)), Scale: 3}
	case 9:
		return arrow.BinaryTypes.String
	case 10:
		return arrow.BinaryTypes.Binary
	case 11:
		return arrow.MapOf(arrow.BinaryTypes.String, randomType(r, depth-1))
	case 12:
		fields := make([]arrow.Field, 1+r.IntN(3))
		for i := range fields {
			fields[i] = arrow.Field{Name: fmt.Sprint("f", i), Type: randomType(r, depth-1), Nullable: r.IntN(3) > 0}
		}
		return arrow.StructOf(fields...)
	default:
		return arrow.ListOf(randomType(r, depth-1))
	}
}

func randomBatch(r *rand.Rand, schema *arrow.Schema, rows int) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i, f := range schema.Fields() {
		for range rows {
			randomArray(r, b.Field(i), f.Nullable)
		}
	}
	return b.NewRecordBatch()
}

func memFile(name string, b []byte) formats.File {
	return formats.File{ReaderAt: bytes.NewReader(b), Name: name, Size: int64(len(b))}
}

func write(t testing.TB, recs []arrow.RecordBatch, opts options.Map) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := newWriter(&out, recs[0].Schema(), formats.Config{Options: opts}, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs {
		if err := w.Write(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readAll(f formats.File, spec formats.ReadSpec, pieces []formats.Piece) (recs []arrow.RecordBatch, err error) {
	defer func() {
		if err != nil {
			for _, rec := range recs {
				rec.Release()
			}
			recs = nil
		}
	}()
	fl, err := Open(f)
	if err != nil {
		return nil, err
	}
	if spec.Schema == nil {
		spec.Schema = fl.Schema()
	}
	if pieces == nil {
		pieces = fl.Pieces()
	}
	for _, p := range pieces {
		r, err := fl.NewReader(p, spec)
		if err != nil {
			return recs, err
		}
		for {
			rec, err := r.Next(context.Background())
			if err == io.EOF {
				break
			}
			if err != nil {
				return recs, errors.Join(err, r.Close())
			}
			recs = append(recs, rec)
		}
		if err := r.Close(); err != nil {
			return recs, err
		}
	}
	return recs, nil
}

func text(recs []arrow.RecordBatch) string {
	var sb strings.Builder
	for _, rec := range recs {
		for i := range int(rec.NumRows()) {
			for c := range int(rec.NumCols()) {
				sb.WriteString(rec.Column(c).ValueStr(i))
				sb.WriteByte('|')
			}
			sb.WriteByte('\n')
		}
	}
	return sb.String()
}

// TestRandomNested writes random nested columns and reads them back; the rows
// written and arrow-go's own reader are the oracles.
func TestRandomNested(t *testing.T) {
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 1))
		fields := make([]arrow.Field, 1+r.IntN(4))
		for i := range fields {
			fields[i] = arrow.Field{Name: fmt.Sprint("c", i), Type: randomType(r, 3), Nullable: r.IntN(3) > 0}
		}
		schema := arrow.NewSchema(fields, nil)
		in := []arrow.RecordBatch{randomBatch(r, schema, 1+r.IntN(300)), randomBatch(r, schema, 1+r.IntN(300))}
		b := write(t, in, options.Map{"parquet.row-group-rows": fmt.Sprint(1 + r.IntN(200)), "parquet.compression": compression.Values[r.IntN(4)]})
		alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
		out, err := readAll(memFile("x", b), formats.ReadSpec{Alloc: alloc, MaxRows: 1 + r.IntN(100)}, nil)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, schema)
		}
		if got, want := text(out), text(in); got != want {
			t.Fatalf("seed %d: %s\ngot:\n%s\nwant:\n%s", seed, schema, got, want)
		}
		for _, rec := range out {
			rec.Release()
		}
		alloc.AssertSize(t, 0)
	}
}

func flatSchema() *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "Name", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "s", Type: arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
			arrow.Field{Name: "b", Type: arrow.BinaryTypes.String, Nullable: true}), Nullable: true},
	}, nil)
}

func TestProjection(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	in := randomBatch(r, flatSchema(), 50)
	f := memFile("p", write(t, []arrow.RecordBatch{in}, nil))
	want := arrow.NewSchema([]arrow.Field{
		{Name: "s", Type: arrow.StructOf(arrow.Field{Name: "b", Type: arrow.BinaryTypes.String, Nullable: true},
			arrow.Field{Name: "zz", Type: arrow.PrimitiveTypes.Int64, Nullable: true}), Nullable: true},
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "id", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
	}, nil)
	out, err := readAll(f, formats.ReadSpec{Schema: want}, nil)
	if err != nil {
		t.Fatal(err)
	}
	rec := out[0]
	for i := range 50 {
		if rec.Column(2).ValueStr(i) != in.Column(0).ValueStr(i) || rec.Column(1).ValueStr(i) != in.Column(1).ValueStr(i) {
			t.Fatalf("row %d differs", i)
		}
		s, ws := rec.Column(0).(*array.Struct), in.Column(2).(*array.Struct)
		if s.IsNull(i) != ws.IsNull(i) || s.IsValid(i) && (s.Field(0).ValueStr(i) != ws.Field(1).ValueStr(i) || s.Field(1).IsValid(i)) {
			t.Fatalf("struct of row %d differs", i)
		}
	}
	// No column at all still counts rows.
	out, err = readAll(f, formats.ReadSpec{Schema: arrow.NewSchema(nil, nil)}, nil)
	if err != nil || len(out) != 1 || out[0].NumRows() != 50 {
		t.Fatalf("no columns: %v %v", out, err)
	}
}

func TestRefusals(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	f := memFile("data/p.parquet", write(t, []arrow.RecordBatch{randomBatch(r, flatSchema(), 5)}, nil))
	one := func(name string, dt arrow.DataType) *arrow.Schema {
		return arrow.NewSchema([]arrow.Field{{Name: name, Type: dt, Nullable: true}}, nil)
	}
	for _, c := range []struct {
		schema *arrow.Schema
		want   string
	}{
		{one("idd", arrow.PrimitiveTypes.Int64), `data/p.parquet" has no column "idd", did you mean "id"?`},
		{one("id", arrow.BinaryTypes.String), `column "id" of Parquet file "data/p.parquet": it holds int64 and cannot be read as declared utf8`},
		{one("Name", arrow.PrimitiveTypes.Int64), `cannot be read as declared int64`},
		{one("s", arrow.PrimitiveTypes.Int64), `cannot be read as declared int64`},
	} {
		_, err := readAll(f, formats.ReadSpec{Schema: c.schema}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
		if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("kind of %v is %v", err, k)
		}
	}
	out, err := readAll(f, formats.ReadSpec{Schema: one("nope", arrow.PrimitiveTypes.Int64), Config: formats.Config{Options: options.Map{"parquet.missing-columns": "null"}}}, nil)
	if err != nil || out[0].Column(0).NullN() != 5 {
		t.Fatalf("missing column as null: %v %v", out, err)
	}
}

func TestNarrowing(t *testing.T) {
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "v", Type: arrow.PrimitiveTypes.Int64}}, nil))
	b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 1 << 40}, nil)
	f := memFile("n", write(t, []arrow.RecordBatch{b.NewRecordBatch()}, nil))
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	_, err := readAll(f, formats.ReadSpec{Alloc: alloc, Schema: arrow.NewSchema([]arrow.Field{{Name: "v", Type: arrow.PrimitiveTypes.Int32}}, nil)}, nil)
	if err == nil || !strings.Contains(err.Error(), `row group 0, column "v" of Parquet file "n": dictionary page at byte 18: the value 1099511627776 is out of the declared type's range`) {
		t.Fatal(err)
	}
}

// TestForeignTypes reads what only other writers make.
func TestForeignTypes(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "ms", Type: &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}},
		{Name: "ns", Type: &arrow.TimestampType{Unit: arrow.Nanosecond}},
		{Name: "u8", Type: arrow.PrimitiveTypes.Uint8}, {Name: "u16", Type: arrow.PrimitiveTypes.Uint16},
		{Name: "u32", Type: arrow.PrimitiveTypes.Uint32}, {Name: "u64", Type: arrow.PrimitiveTypes.Uint64},
		{Name: "d9", Type: &arrow.Decimal128Type{Precision: 9, Scale: 2}},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	b.Field(0).(*array.TimestampBuilder).Append(-1)
	b.Field(1).(*array.TimestampBuilder).Append(-1)
	b.Field(2).(*array.Uint8Builder).Append(255)
	b.Field(3).(*array.Uint16Builder).Append(65535)
	b.Field(4).(*array.Uint32Builder).Append(1<<32 - 1)
	b.Field(5).(*array.Uint64Builder).Append(1<<64 - 1)
	b.Field(6).(*array.Decimal128Builder).Append(decimal128.FromI64(-12345))
	rec := b.NewRecordBatch()
	for _, ints := range []bool{false, true} {
		for _, int96 := range []bool{false, true} {
			var out bytes.Buffer
			w, err := pqarrow.NewFileWriter(schema, &out, apq.NewWriterProperties(apq.WithStoreDecimalAsInteger(ints)), pqarrow.NewArrowWriterProperties(pqarrow.WithDeprecatedInt96Timestamps(int96)))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(w.Write(rec), w.Close()); err != nil {
				t.Fatal(err)
			}
			recs, err := readAll(memFile("f", out.Bytes()), formats.ReadSpec{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i, f := range recs[0].Schema().Fields() {
				got = append(got, f.Type.String()+"="+recs[0].Column(i).ValueStr(0))
			}
			nsType := "timestamp[us]"
			if int96 {
				nsType = "timestamp[us, tz=UTC]"
			}
			want := "timestamp[us, tz=UTC]=1969-12-31T23:59:59.999Z " + nsType + "=1969-12-31T23:59:59.999999 int16=255 int32=65535 int64=4294967295 decimal(20, 0)=18446744073709551615 decimal(9, 2)=-123.45"
			if int96 {
				want = strings.Replace(want, "59.999999", "59.999999Z", 1)
			}
			g := strings.Join(got, " ")
			if strings.ReplaceAll(g, "999999Z", "999999") != strings.ReplaceAll(want, "999999Z", "999999") {
				t.Errorf("ints=%v int96=%v\ngot  %s\nwant %s", ints, int96, g, want)
			}
		}
	}
}

func TestPiecesAndStats(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 1))
	in := randomBatch(r, flatSchema(), 100)
	f := memFile("p", write(t, []arrow.RecordBatch{in}, options.Map{"parquet.row-group-rows": "30"}))
	fl, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	if p := fl.Pieces(); len(p) != 1 || p[0].To != 4 || p[0].Rows != 100 {
		t.Errorf("pieces %v", p)
	}
	rg, err := fl.RowGroups()
	if err != nil || len(rg) != 4 {
		t.Fatal(rg, err)
	}
	lo, hi := int64(1<<62), int64(-1)
	for i := range 30 {
		v := in.Column(0).(*array.Int64).Value(i)
		lo, hi = min(lo, v), max(hi, v)
	}
	if st := rg[0].Columns["id"]; st.Min != lo || st.Max != hi || st.Nulls != 0 || rg[3].Rows != 10 {
		t.Errorf("stats %+v, want %d..%d", st, lo, hi)
	}
	recs, err := readAll(f, formats.ReadSpec{}, []formats.Piece{{From: 1, To: 2}})
	if err != nil {
		t.Fatal(err)
	}
	s := in.NewSlice(30, 60)
	if text(recs) != text([]arrow.RecordBatch{s}) {
		t.Error("row group 1 differs")
	}
}

// TestDamage flips bytes, cuts and lies about lengths: an error or rows, never a panic or a leak.
func TestDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	schema := arrow.NewSchema(append(flatSchema().Fields(), arrow.Field{Name: "l", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true}), nil)
	good := write(t, []arrow.RecordBatch{randomBatch(r, schema, 200)}, options.Map{"parquet.row-group-rows": "90"})
	failed := 0
	for i := range 3000 {
		b := bytes.Clone(good)
		switch {
		case i%10 == 0:
			b = b[:r.IntN(len(b))]
		case i%3 == 0: // the footer
			b[len(b)-1-r.IntN(600)] = byte(r.Uint32())
		default:
			for range 1 + r.IntN(3) {
				b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			}
		}
		recs, err := readAll(memFile("damaged.parquet", b), formats.ReadSpec{}, nil)
		if err != nil {
			failed++
			if k, _ := batch.KindOf(err); k != batch.User || !strings.Contains(err.Error(), "damaged.parquet") {
				t.Fatalf("case %d: %v", i, err)
			}
		}
		for _, rec := range recs {
			rec.Release()
		}
	}
	if failed < 500 {
		t.Errorf("only %d of 3000 damages were seen", failed)
	}
}

func FuzzReader(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 5))
	f.Add(write(f, []arrow.RecordBatch{randomBatch(r, flatSchema(), 20)}, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		recs, _ := readAll(memFile("fuzz", b), formats.ReadSpec{}, nil)
		for _, rec := range recs {
			rec.Release()
		}
	})
}

// TestPqarrowAgrees reads with arrow-go's own Arrow reader what our writer wrote.
func TestPqarrowAgrees(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 1))
	in := randomBatch(r, flatSchema(), 500)
	b := write(t, []arrow.RecordBatch{in}, nil)
	pr, err := file.NewParquetReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	tbl, err := pqarrow.ReadTable(context.Background(), bytes.NewReader(b), nil, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil || tbl.NumRows() != 500 || pr.NumRowGroups() != 1 {
		t.Fatal(err)
	}
	tr := array.NewTableReader(tbl, 500)
	tr.Next()
	if text([]arrow.RecordBatch{tr.RecordBatch()}) != text([]arrow.RecordBatch{in}) {
		t.Error("differs")
	}
}
