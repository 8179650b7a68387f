package datagen

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/sources/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// everyType has a column of each type that can be made, named after it.
var everyType = func() *arrow.Schema {
	var fields []arrow.Field
	for _, dt := range []arrow.DataType{
		arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int8, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32,
		arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint8, arrow.PrimitiveTypes.Uint16, arrow.PrimitiveTypes.Uint32,
		arrow.PrimitiveTypes.Uint64, arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64,
		&arrow.Decimal128Type{Precision: 10, Scale: 2}, arrow.BinaryTypes.String, arrow.BinaryTypes.Binary,
		arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Date64, arrow.FixedWidthTypes.Time32ms, arrow.FixedWidthTypes.Time64us,
		&arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, arrow.FixedWidthTypes.Duration_us,
		arrow.FixedWidthTypes.MonthInterval,
	} {
		fields = append(fields, arrow.Field{Name: dt.Name(), Type: dt, Nullable: true})
	}
	return arrow.NewSchema(fields, nil)
}()

func specOf(schema *arrow.Schema, kv ...string) sources.Spec {
	m := options.Map{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return sources.Spec{Name: "d#0", Table: "d", Stream: true, Schema: schema, Options: m}
}

func open(t testing.TB, spec sources.Spec) (sources.Source, sources.Opener) {
	t.Helper()
	return sourcetest.Open(t, Connector(clock.System()), spec)
}

func TestConformance(t *testing.T) {
	sourcetest.Run(t, sourcetest.Case{
		Open: func(t testing.TB) (sources.Source, sources.Opener) {
			return open(t, specOf(everyType, "number-of-rows", "500", "split-rows", "64", "fields.utf8.null-rate", "0.3",
				"fields.int64.kind", "sequence", "fields.utf8.length", "9"))
		},
		Limit: sources.Limit{Rows: 70}, Rows: 500,
	})
}

// readAll returns all rows of a bounded spec in one batch.
func readAll(t testing.TB, spec sources.Spec) arrow.RecordBatch {
	t.Helper()
	src, o := open(t, spec)
	end, err := src.Latest(t.Context(), "", sources.Limit{})
	if err != nil || !src.(sources.Bounded).Ended(end) {
		t.Fatal(end, err)
	}
	splits, err := src.Plan(t.Context(), batch.Range{End: end})
	if err != nil || len(splits) != 1 {
		t.Fatal(splits, err)
	}
	r, err := o.Open(t.Context(), splits[0], nil, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := r.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("more than one batch (%v)", err)
	}
	return rec
}

func one(name string, dt arrow.DataType) *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{{Name: name, Type: dt, Nullable: true}}, nil)
}

func TestRandomKeepsToItsRange(t *testing.T) {
	rec := readAll(t, specOf(one("x", arrow.PrimitiveTypes.Int32), "number-of-rows", "5000", "fields.x.min", "-3", "fields.x.max", "3"))
	counts := map[int32]int{}
	for _, v := range rec.Column(0).(*array.Int32).Int32Values() {
		counts[v]++
	}
	for v := int32(-3); v <= 3; v++ {
		if n := counts[v]; n < 600 || n > 830 {
			t.Errorf("%d came %d times of 5000, want about 714", v, n)
		}
	}
	if len(counts) != 7 {
		t.Errorf("values %v", counts)
	}
	floats := readAll(t, specOf(one("x", arrow.PrimitiveTypes.Float64), "number-of-rows", "5000", "fields.x.min", "10", "fields.x.max", "20"))
	sum := 0.0
	for _, v := range floats.Column(0).(*array.Float64).Float64Values() {
		if v < 10 || v >= 20 {
			t.Fatalf("%v is out of range", v)
		}
		sum += v
	}
	if mean := sum / 5000; math.Abs(mean-15) > 0.2 {
		t.Errorf("the mean is %v", mean)
	}
}

func TestNullRate(t *testing.T) {
	rec := readAll(t, specOf(one("x", arrow.BinaryTypes.String), "number-of-rows", "5000", "fields.x.null-rate", "0.25", "fields.x.length", "4"))
	if n := rec.Column(0).NullN(); n < 1100 || n > 1400 {
		t.Errorf("%d NULLs of 5000, want about 1250", n)
	}
	all := readAll(t, specOf(one("x", arrow.BinaryTypes.String), "number-of-rows", "50", "fields.x.null-rate", "1"))
	if all.Column(0).NullN() != 50 {
		t.Error("a null-rate of 1 left values")
	}
}

func TestSequences(t *testing.T) {
	for _, c := range []struct {
		dt      arrow.DataType
		options []string
		want    []string
	}{
		{arrow.PrimitiveTypes.Int64, []string{"fields.x.start", "5", "fields.x.end", "9", "fields.x.step", "2"}, []string{"5", "7", "9"}},
		{arrow.PrimitiveTypes.Int8, []string{"fields.x.start", "1", "fields.x.end", "-1", "fields.x.step", "-1"}, []string{"1", "0", "-1"}},
		{arrow.PrimitiveTypes.Int8, []string{"fields.x.start", "126"}, []string{"126", "127"}},
		{arrow.PrimitiveTypes.Float64, []string{"fields.x.end", "1"}, []string{"0", "1"}},
		{&arrow.Decimal128Type{Precision: 5, Scale: 2}, []string{"fields.x.start", "1.50", "fields.x.end", "2", "fields.x.step", "0.25"}, []string{"1.5", "1.75", "2"}},
		{arrow.BinaryTypes.String, []string{"fields.x.start", "9", "fields.x.end", "10"}, []string{"9", "10"}},
		{arrow.FixedWidthTypes.Date32, []string{"fields.x.start", "1969-12-31", "fields.x.end", "1970-01-02"}, []string{"1969-12-31", "1970-01-01", "1970-01-02"}},
		{&arrow.TimestampType{Unit: arrow.Millisecond}, []string{"fields.x.start", "2024-01-01 00:00:00", "fields.x.end", "2024-01-01T00:03:00Z", "fields.x.step", "2 minutes"},
			[]string{"2024-01-01T00:00:00", "2024-01-01T00:02:00"}},
		{arrow.FixedWidthTypes.Duration_ms, []string{"fields.x.end", "2s"}, []string{"0ms", "1000ms", "2000ms"}},
	} {
		rec := readAll(t, specOf(one("x", c.dt), append([]string{"fields.x.kind", "sequence"}, c.options...)...))
		var got []string
		for i := range int(rec.NumRows()) {
			got = append(got, strings.TrimSuffix(rec.Column(0).ValueStr(i), ".000"))
		}
		if strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s %v: %v, want %v", c.dt, c.options, got, c.want)
		}
	}
}

func TestColumnsKeepTheirValuesWhenOthersCome(t *testing.T) {
	alone := readAll(t, specOf(one("int16", arrow.PrimitiveTypes.Int16), "number-of-rows", "100"))
	among := readAll(t, specOf(everyType, "number-of-rows", "100"))
	other := readAll(t, specOf(everyType, "number-of-rows", "100", "seed", "1"))
	i := everyType.FieldIndices("int16")[0]
	if !array.Equal(alone.Column(0), among.Column(i)) {
		t.Error("D1: the values depend on other columns")
	}
	for c := range everyType.NumFields() {
		if array.Equal(among.Column(c), other.Column(c)) {
			t.Errorf("column %s is the same for another seed", everyType.Field(c).Name)
		}
	}
}

func TestRowsPerSecond(t *testing.T) {
	c := clock.NewManual(time.Unix(0, 0))
	src, err := Connector(c).New(t.Context(), specOf(everyType, "rows-per-second", "10"))
	if err != nil {
		t.Fatal(err)
	}
	at := batch.Offset("")
	for _, want := range []batch.Offset{"", "5", "10"} {
		if at, err = src.Latest(t.Context(), at, sources.Limit{}); err != nil || at != want {
			t.Fatalf("latest is %q (%v), want %q", at, err, want)
		}
		c.Advance(500 * time.Millisecond)
	}
}

func TestFaults(t *testing.T) {
	i32, text := one("price", arrow.PrimitiveTypes.Int32), one("s", arrow.BinaryTypes.String)
	static := specOf(i32)
	static.Stream = false
	notNull := arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int8}}, nil)
	for _, f := range []struct {
		spec sources.Spec
		want string
	}{
		{specOf(nil), "it declares none"},
		{specOf(i32, "fields.pric.min", "1"), `no column "pric", did you mean "price"?`},
		{specOf(i32, "fields.price.mni", "1"), `did you mean "fields.price.min"?`},
		{specOf(i32, "fields.price.min", "x"), "want a whole number from -2147483648"},
		{specOf(i32, "fields.price.min", "2", "fields.price.max", "1"), "min is greater than max"},
		{specOf(i32, "fields.price.length", "3"), "has no meaning for a column of type int32 and kind random"},
		{specOf(i32, "fields.price.start", "3"), "has no meaning"},
		{specOf(i32, "fields.price.kind", "sequence", "fields.price.start", "3", "fields.price.end", "2"), "no values"},
		{specOf(i32, "fields.price.kind", "sequence", "fields.price.step", "0"), "other than 0"},
		{specOf(i32, "fields.price.null-rate", "1.1"), "want 0 to 1"},
		{specOf(notNull, "fields.x.null-rate", "0.1"), "declared NOT NULL"},
		{specOf(text, "fields.s.length", "-1"), "want 0 to"},
		{specOf(one("l", arrow.ListOf(arrow.PrimitiveTypes.Int8))), "cannot make values of type list"},
		{specOf(one("b", arrow.FixedWidthTypes.Boolean), "fields.b.kind", "sequence"), "a sequence of type bool is not possible"},
		{specOf(one("d", arrow.FixedWidthTypes.Date32), "fields.d.min", "soon"), "want a time such as"},
		{specOf(i32, "max-rows-per-trigger", "0"), "want 1 to"},
		{static, "'number-of-rows' is missing"},
	} {
		_, err := Connector(clock.System()).New(t.Context(), f.spec)
		if err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("%v: got %v, want %q", f.spec.Options, err, f.want)
			continue
		}
		if k, _ := batch.KindOf(err); k != batch.User {
			t.Errorf("%v is of kind %v", err, k)
		}
	}
}

func BenchmarkGenerate(b *testing.B) {
	_, o := open(b, specOf(everyType, "fields.utf8.length", "20", "fields.binary.length", "20"))
	b.ReportAllocs()
	for b.Loop() {
		sourcetest.Read(b, o, batch.Split{Payload: []byte("0 65536")}, nil, func(arrow.RecordBatch) {})
	}
	b.ReportMetric(65536*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
