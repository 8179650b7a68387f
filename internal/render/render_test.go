package render

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"pgregory.net/rapid"
)

func formatter(t testing.TB, zone string) *Formatter {
	t.Helper()
	f, err := New(zone)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fromJSON makes an array with Arrow's own reader.
func fromJSON(t testing.TB, dt arrow.DataType, values string) arrow.Array {
	t.Helper()
	arr, _, err := array.FromJSON(memory.DefaultAllocator, dt, strings.NewReader(values))
	if err != nil {
		t.Fatalf("%s %s: %v", dt, values, err)
	}
	return arr
}

func TestValuesOfEachType(t *testing.T) {
	us := arrow.Microsecond
	for _, c := range []struct {
		dt               arrow.DataType
		values           string // the first is rendered; a second, NULL, is appended
		text, json, csv_ string
	}{
		{arrow.FixedWidthTypes.Boolean, `[true]`, "true", "true", "true"},
		{arrow.PrimitiveTypes.Int8, `[-128]`, "-128", "-128", "-128"},
		{arrow.PrimitiveTypes.Uint64, `[18446744073709551615]`, "18446744073709551615", "18446744073709551615", "18446744073709551615"},
		{arrow.PrimitiveTypes.Float64, `[1e10]`, "1.0E10", "1.0E10", "1.0E10"},
		{arrow.PrimitiveTypes.Float32, `[0.1]`, "0.1", "0.1", "0.1"},
		{arrow.FixedWidthTypes.Float16, `[1.5]`, "1.5", "1.5", "1.5"},
		{&arrow.Decimal128Type{Precision: 10, Scale: 3}, `["-0.050"]`, "-0.050", "-0.050", "-0.050"},
		{&arrow.Decimal32Type{Precision: 5, Scale: 2}, `["-123.40"]`, "-123.40", "-123.40", "-123.40"},
		{&arrow.Decimal64Type{Precision: 18, Scale: 0}, `["7"]`, "7", "7", "7"},
		{&arrow.Decimal256Type{Precision: 50, Scale: 1}, `["1234567890123456789012345678901234567890.5"]`,
			"1234567890123456789012345678901234567890.5", "1234567890123456789012345678901234567890.5", "1234567890123456789012345678901234567890.5"},
		{arrow.BinaryTypes.String, `["a\"b,\n"]`, "a\"b,\n", `"a\"b,\n"`, "\"a\"\"b,\n\""},
		{arrow.BinaryTypes.String, `[""]`, "", `""`, `""`},
		{arrow.BinaryTypes.LargeString, `["x"]`, "x", `"x"`, "x"},
		{arrow.BinaryTypes.StringView, `[" x"]`, " x", `" x"`, `" x"`},
		{arrow.BinaryTypes.Binary, `["Af8="]`, "[01 FF]", `"Af8="`, "Af8="},
		{&arrow.FixedSizeBinaryType{ByteWidth: 2}, `["Af8="]`, "[01 FF]", `"Af8="`, "Af8="},
		{arrow.FixedWidthTypes.Date32, `["2024-02-29"]`, "2024-02-29", `"2024-02-29"`, "2024-02-29"},
		{arrow.FixedWidthTypes.Date64, `["1969-12-31"]`, "1969-12-31", `"1969-12-31"`, "1969-12-31"},
		{arrow.FixedWidthTypes.Time32ms, `["01:02:03.5"]`, "01:02:03.5", `"01:02:03.5"`, "01:02:03.5"},
		{arrow.FixedWidthTypes.Time64ns, `["23:59:59.000000001"]`, "23:59:59.000000001", `"23:59:59.000000001"`, "23:59:59.000000001"},
		{&arrow.TimestampType{Unit: us, TimeZone: "UTC"}, `["2024-07-01T12:00:00.250Z"]`, "2024-07-01 14:00:00.25", `"2024-07-01T14:00:00.25+02:00"`, "2024-07-01 14:00:00.25"},
		{&arrow.TimestampType{Unit: us}, `["2024-07-01T12:00:00"]`, "2024-07-01 12:00:00", `"2024-07-01T12:00:00"`, "2024-07-01 12:00:00"},
		{&arrow.TimestampType{Unit: arrow.Nanosecond}, `["1960-01-01T00:00:00.000000001"]`, "1960-01-01 00:00:00.000000001", `"1960-01-01T00:00:00.000000001"`, "1960-01-01 00:00:00.000000001"},
		{&arrow.DurationType{Unit: us}, `[-93784500000]`, "INTERVAL '-1 02:03:04.5' DAY TO SECOND", `"INTERVAL '-1 02:03:04.5' DAY TO SECOND"`, "INTERVAL '-1 02:03:04.5' DAY TO SECOND"},
		{arrow.FixedWidthTypes.MonthInterval, `[{"months":-14}]`, "INTERVAL '-1-2' YEAR TO MONTH", `"INTERVAL '-1-2' YEAR TO MONTH"`, "INTERVAL '-1-2' YEAR TO MONTH"},
		{arrow.FixedWidthTypes.DayTimeInterval, `[{"days":1,"milliseconds":1500}]`, "INTERVAL '1 00:00:01.5' DAY TO SECOND", `"INTERVAL '1 00:00:01.5' DAY TO SECOND"`, "INTERVAL '1 00:00:01.5' DAY TO SECOND"},
		{arrow.FixedWidthTypes.MonthDayNanoInterval, `[{"months":13,"days":-2,"nanoseconds":61500000000}]`, "1 years 1 months -2 days 1 minutes 1.5 seconds", `"1 years 1 months -2 days 1 minutes 1.5 seconds"`, "1 years 1 months -2 days 1 minutes 1.5 seconds"},
		{arrow.ListOf(arrow.PrimitiveTypes.Int64), `[[1,null]]`, "[1, NULL]", "[1,null]", `"[1,null]"`},
		{arrow.FixedSizeListOf(2, arrow.BinaryTypes.String), `[["a","b"]]`, "[a, b]", `["a","b"]`, `"[""a"",""b""]"`},
		{arrow.MapOf(arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String), `[[{"key":1,"value":"a"},{"key":2,"value":null}]]`, "{1 -> a, 2 -> NULL}", `{"1":"a","2":null}`, `"{""1"":""a"",""2"":null}"`},
		{arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, arrow.Field{Name: "b", Type: arrow.ListOf(arrow.BinaryTypes.String), Nullable: true}), `[{"a":null,"b":["x"]}]`, "{NULL, [x]}", `{"a":null,"b":["x"]}`, `"{""a"":null,""b"":[""x""]}"`},
		{&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}, `["x"]`, "x", `"x"`, "x"},
	} {
		f := formatter(t, "Europe/Berlin")
		arr := fromJSON(t, c.dt, strings.TrimSuffix(c.values, "]")+",null]")
		// A slice has an offset, and so has what is inside it.
		twice, err := array.Concatenate([]arrow.Array{arr, arr}, memory.DefaultAllocator)
		if err != nil {
			t.Fatal(err)
		}
		sliced := array.NewSlice(twice, 2, 4)
		for _, arr := range []arrow.Array{arr, sliced} {
			for form, check := range map[string]struct{ got, want, null, wantNull string }{
				"text": {string(f.AppendText(nil, arr, 0)), c.text, string(f.AppendText(nil, arr, 1)), "NULL"},
				"json": {string(f.AppendJSON(nil, arr, 0)), c.json, string(f.AppendJSON(nil, arr, 1)), "null"},
				"csv":  {string(f.AppendCSV(nil, arr, 0)), c.csv_, string(f.AppendCSV(nil, arr, 1)), ""},
			} {
				if check.got != check.want || check.null != check.wantNull {
					t.Errorf("%s as %s: %s and %s, want %s and %s", c.dt, form, check.got, check.null, check.want, check.wantNull)
				}
			}
		}
	}
}

func TestEncodedArrays(t *testing.T) {
	f := formatter(t, "")
	values := fromJSON(t, arrow.BinaryTypes.String, `["a",null]`)
	ree := array.NewRunEndEncodedArray(fromJSON(t, arrow.PrimitiveTypes.Int32, `[2,3]`), values, 3, 0)
	ids, err := array.NewSparseUnionFromArrays(fromJSON(t, arrow.PrimitiveTypes.Int8, `[0,1]`),
		[]arrow.Array{fromJSON(t, arrow.PrimitiveTypes.Int64, `[1,2]`), fromJSON(t, arrow.BinaryTypes.String, `["x","y"]`)})
	if err != nil {
		t.Fatal(err)
	}
	dense, err := array.NewDenseUnionFromArrays(fromJSON(t, arrow.PrimitiveTypes.Int8, `[1,0]`), fromJSON(t, arrow.PrimitiveTypes.Int32, `[0,0]`),
		[]arrow.Array{fromJSON(t, arrow.PrimitiveTypes.Int64, `[1]`), fromJSON(t, arrow.BinaryTypes.String, `["x"]`)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		arr  arrow.Array
		want []string
	}{{ree, []string{"a", "a", "NULL"}}, {ids, []string{"1", "y"}}, {dense, []string{"x", "1"}}} {
		for i, want := range c.want {
			if got := string(f.AppendText(nil, c.arr, i)); got != want {
				t.Errorf("%s row %d is %s, want %s", c.arr.DataType(), i, got, want)
			}
		}
	}
}

func TestFloatsAsJavaPrintsThem(t *testing.T) {
	for _, c := range []struct {
		v    float64
		want string
	}{
		{0, "0.0"}, {math.Copysign(0, -1), "-0.0"}, {1, "1.0"}, {-1.5, "-1.5"}, {100, "100.0"}, {9999999, "9999999.0"},
		{1e7, "1.0E7"}, {12345678.9, "1.23456789E7"}, {0.001, "0.001"}, {0.0009, "9.0E-4"}, {1e-5, "1.0E-5"},
		{1e21, "1.0E21"}, {math.MaxFloat64, "1.7976931348623157E308"}, {math.NaN(), "NaN"}, {math.Inf(1), "Infinity"}, {math.Inf(-1), "-Infinity"},
	} {
		if got := string(AppendFloat(nil, c.v, 64)); got != c.want {
			t.Errorf("%v is %s, want %s", c.v, got, c.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
		if math.IsNaN(v) {
			return
		}
		got, err := strconv.ParseFloat(string(AppendFloat(nil, v, 64)), 64)
		if err != nil || got != v {
			t.Fatalf("%v came back as %v (%v)", v, got, err)
		}
	})
}

func TestDecimalsAsArrowPrintsThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := decimal128.New(rapid.Int64Range(-1<<62, 1<<62).Draw(t, "high")>>rapid.IntRange(0, 63).Draw(t, "shift"), rapid.Uint64().Draw(t, "low"))
		scale := rapid.Int32Range(0, 38).Draw(t, "scale")
		if got, want := string(AppendDecimal(nil, v, scale)), v.ToString(scale); got != want {
			t.Fatalf("got %s, Arrow says %s", got, want)
		}
	})
	if got := string(AppendDecimal(nil, decimal128.FromI64(math.MinInt64), 2)); got != "-92233720368547758.08" {
		t.Errorf("the lowest is %s", got)
	}
}

func TestTimesAsGoPrintsThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMicro(rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(t, "µs")).UTC()
		if got, want := string(AppendTime(nil, at, ' ')), at.Format("2006-01-02 15:04:05.999999"); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
	far := time.Date(12345, 1, 2, 0, 0, 0, 0, time.UTC)
	if got := string(AppendTime(nil, far, 'T')); got != "+12345-01-02T00:00:00" {
		t.Errorf("got %s", got)
	}
}

func TestJSONReadsBack(t *testing.T) {
	f := formatter(t, "")
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		b := array.NewStringBuilder(memory.DefaultAllocator)
		b.Append(s)
		text := f.AppendJSON(nil, b.NewArray(), 0)
		var got string
		if err := json.Unmarshal(text, &got); err != nil || !utf8.Valid(text) {
			t.Fatalf("%q: %v", text, err)
		}
		if utf8.ValidString(s) && got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
	floats := array.NewFloat64Builder(memory.DefaultAllocator)
	floats.AppendValues([]float64{math.NaN(), math.Inf(-1)}, nil)
	arr := floats.NewArray()
	if got := string(f.AppendJSON(f.AppendJSON(nil, arr, 0), arr, 1)); got != `"NaN""-Infinity"` {
		t.Errorf("got %s", got)
	}
}

func TestCSVReadsBack(t *testing.T) {
	f := formatter(t, "")
	schema := arrow.NewSchema([]arrow.Field{{Name: "a,b", Type: arrow.BinaryTypes.String}, {Name: "c", Type: arrow.BinaryTypes.String}}, nil)
	rapid.Check(t, func(t *rapid.T) {
		cell := rapid.StringOf(rapid.SampledFrom([]rune("ab \t,\"\n'é;")))
		want := []string{cell.Draw(t, "first"), cell.Draw(t, "second")}
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		for i, s := range want {
			b.Field(i).(*array.StringBuilder).Append(s)
		}
		text := AppendCSVHeader(nil, schema)
		text = append(f.AppendCSVRow(append(text, '\n'), b.NewRecordBatch(), 0), '\n')
		rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
		if err != nil || len(rows) != 2 || rows[0][0] != "a,b" || rows[1][0] != want[0] || rows[1][1] != want[1] {
			t.Fatalf("%q came back as %q (%v)", want, rows, err)
		}
	})
}

func TestBinaryInCSV(t *testing.T) {
	arr := fromJSON(t, arrow.BinaryTypes.Binary, `["","AAH/"]`)
	f := formatter(t, "")
	if got := string(f.AppendCSV(nil, arr, 0)); got != `""` {
		t.Errorf("empty bytes are %s", got)
	}
	if got, err := base64.StdEncoding.DecodeString(string(f.AppendCSV(nil, arr, 1))); err != nil || !bytes.Equal(got, []byte{0, 1, 255}) {
		t.Errorf("got %v (%v)", got, err)
	}
}

func TestTable(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}, {Name: "text", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	b.Field(0).(*array.Int64Builder).AppendValues([]int64{1, 1000, 3, 4}, nil)
	b.Field(1).(*array.StringBuilder).AppendValues([]string{"a\nb\x1b[2J", "日本語", "cafe\u0301 and more than that", "last"}, nil)
	rec := b.NewRecordBatch()
	f := formatter(t, "")
	var out strings.Builder
	if err := f.WriteTable(&out, schema, []arrow.RecordBatch{rec}, TableOptions{Rows: 3, Width: 14}); err != nil {
		t.Fatal(err)
	}
	want := `+------+----------------+
|    n | text           |
+------+----------------+
|    1 | a\nb\u001B[2J  |
| 1000 | 日本語         |
|    3 | café and mo... |
+------+----------------+
only showing top 3 of 4 rows
`
	want = strings.ReplaceAll(want, "é", "e\u0301")
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	if err := f.WriteTable(&out, schema, nil, TableOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "+---+------+\n| n | text |\n+---+------+\n+---+------+\n" {
		t.Errorf("an empty table is\n%s", got)
	}
	out.Reset()
	if err := f.WriteTable(&out, arrow.NewSchema(nil, nil), nil, TableOptions{}); err != nil || out.Len() != 0 {
		t.Errorf("a table without columns is %q (%v)", out.String(), err)
	}
}

func TestZones(t *testing.T) {
	arr := fromJSON(t, &arrow.TimestampType{Unit: arrow.Second, TimeZone: "UTC"}, `["2024-01-01T00:00:00Z"]`)
	for zone, want := range map[string]string{
		"": "2024-01-01T00:00:00Z", "UTC": "2024-01-01T00:00:00Z", "+05:30": "2024-01-01T05:30:00+05:30", "-03:30": "2023-12-31T20:30:00-03:30",
		"America/New_York": "2023-12-31T19:00:00-05:00",
	} {
		if got := string(formatter(t, zone).AppendJSON(nil, arr, 0)); got != strconv.Quote(want) {
			t.Errorf("in %q: %s, want %s", zone, got, want)
		}
	}
	for _, zone := range []string{"Mars/Olympus", "+25:99", "+5"} {
		if _, err := New(zone); err == nil {
			t.Errorf("took %q for a zone", zone)
		}
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	f := formatter(t, "Europe/Berlin")
	for _, arr := range []arrow.Array{
		fromJSON(t, arrow.PrimitiveTypes.Int64, `[123456]`),
		fromJSON(t, arrow.PrimitiveTypes.Float64, `[1.5e-9]`),
		fromJSON(t, arrow.BinaryTypes.String, `["a \"quoted\" string"]`),
		fromJSON(t, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, `["2024-01-01T00:00:00.123456Z"]`),
		fromJSON(t, &arrow.Decimal128Type{Precision: 12, Scale: 3}, `["1234.567"]`),
		fromJSON(t, arrow.ListOf(arrow.PrimitiveTypes.Int64), `[[1,2,3]]`),
	} {
		buf := make([]byte, 0, 1024)
		if n := testing.AllocsPerRun(100, func() {
			buf = f.AppendText(buf[:0], arr, 0)
			buf = f.AppendJSON(buf, arr, 0)
			buf = f.AppendCSV(buf, arr, 0)
		}); n > 0 {
			t.Errorf("%s: %v allocations a value", arr.DataType(), n)
		}
	}
}

// TestBareNull renders the type of a bare NULL, which Arrow keeps without a bitmap.
func TestBareNull(t *testing.T) {
	f, err := New("UTC")
	if err != nil {
		t.Fatal(err)
	}
	n := array.NewNull(1)
	defer n.Release()
	if got := string(f.AppendCSV(nil, n, 0)); got != "" {
		t.Errorf("CSV: %q", got)
	}
	if got := string(f.AppendJSON(nil, n, 0)); got != "null" {
		t.Errorf("JSON: %q", got)
	}
	if got := string(f.AppendText(nil, n, 0)); got != "NULL" {
		t.Errorf("text: %q", got)
	}
}
