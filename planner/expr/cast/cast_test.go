package cast

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// convert casts JSON values of one type to another and prints them; an error as "error: ..".
func convertJSON(t *testing.T, from arrow.DataType, json string, to arrow.DataType, try bool, zone string) string {
	t.Helper()
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	in, _, err := array.FromJSON(alloc, from, strings.NewReader(json))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Release()
	kc := &expr.KernelContext{Alloc: alloc, Zone: zone}
	out, err := Array(kc, in, to, try)
	if err != nil {
		return "error: " + err.Error()
	}
	defer out.Release()
	if !arrow.TypeEqual(out.DataType(), to) {
		t.Fatalf("%s to %s gave %s", from, to, out.DataType())
	}
	text, err := Array(kc, out, expr.TypeString, false)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Release()
	var parts []string
	for i := range text.Len() {
		if vec.IsNull(text, i) {
			parts = append(parts, "NULL")
		} else {
			parts = append(parts, text.(*array.String).Value(i))
		}
	}
	return strings.Join(parts, ";")
}

// TestCasts pins conversions between columns, also of Arrow types that SQL has no name for.
func TestCasts(t *testing.T) {
	ny := "America/New_York"
	ms := &arrow.TimestampType{Unit: arrow.Millisecond, TimeZone: "UTC"}
	for _, c := range []struct {
		from arrow.DataType
		in   string
		to   arrow.DataType
		zone string
		want string
	}{
		{expr.TypeInt64, `[1, null, -129]`, expr.TypeInt8, "", "error: [CAST_OVERFLOW] the value -129 of type BIGINT does not fit TINYINT"},
		{expr.TypeString, `["127", "x", "128", null]`, expr.TypeInt8, "", "error: [CAST_INVALID_INPUT] the value 'x'"},
		{expr.TypeString, `["1e3", " -1.25 ", "nan", "1d"]`, expr.TypeDouble, "", "1000.0;-1.25;NaN;1.0"},
		{expr.TypeString, `["12.345", "-0.005", "1e2"]`, expr.Decimal(10, 2), "", "12.35;-0.01;100.00"},
		{expr.TypeString, `["t", "NO", "1"]`, expr.TypeBool, "", "true;false;true"},
		{expr.TypeDouble, `[1.5, -2.5, 1e15]`, expr.TypeInt64, "", "1;-2;1000000000000000"},
		{expr.TypeDouble, `[0.1, 123456789.125]`, expr.Decimal(20, 3), "", "0.100;123456789.125"},
		{expr.Decimal(10, 2), `["1.50", "-1.99"]`, expr.TypeInt32, "", "1;-1"},
		{expr.Decimal(10, 2), `["123.45"]`, expr.Decimal(4, 2), "", "error: [CAST_OVERFLOW]"},
		{expr.TypeString, `["2024-07-01 12:00:00", "2024-07-01", "2024-07-01T00:00Z"]`, expr.TypeTimestamp, ny, "2024-07-01 12:00:00;2024-07-01 00:00:00;2024-06-30 20:00:00"},
		{expr.TypeDate, `["2024-03-10"]`, expr.TypeTimestamp, ny, "2024-03-10 00:00:00"},
		{expr.TypeTimestamp, `["2024-01-01T03:00:00Z"]`, expr.TypeDate, ny, "2023-12-31"},
		{expr.TypeTimestamp, `["2024-01-01T03:00:00Z"]`, expr.TypeLocalTime, ny, "2023-12-31 22:00:00"},
		{ms, `["2024-01-01T00:00:00.123Z"]`, expr.TypeTimestamp, "", "2024-01-01 00:00:00.123"},
		{arrow.FixedWidthTypes.Timestamp_ns, `["2024-01-01T00:00:00.123456Z"]`, expr.TypeTimestamp, "", "2024-01-01 00:00:00.123456"},
		{arrow.PrimitiveTypes.Uint64, `[18446744073709551615, null]`, expr.Decimal(20, 0), "", "18446744073709551615;NULL"},
		{arrow.PrimitiveTypes.Uint8, `[255]`, expr.TypeInt64, "", "255"},
		{arrow.BinaryTypes.LargeString, `["a", null, "bc"]`, expr.TypeString, "", "a;NULL;bc"},
		{arrow.BinaryTypes.StringView, `["a", "a long string beyond the inline size"]`, expr.TypeString, "", "a;a long string beyond the inline size"},
		{arrow.ListOf(expr.TypeString), `[["1", null], null, []]`, arrow.ListOf(expr.TypeInt32), "", "[1, null];NULL;[]"},
		{arrow.LargeListOf(expr.TypeInt32), `[[1, 2], null]`, arrow.ListOf(expr.TypeInt64), "", "[1, 2];NULL"},
		{arrow.FixedSizeListOf(2, expr.TypeInt32), `[[1, 2], [3, 4]]`, arrow.ListOf(expr.TypeInt64), "", "[1, 2];[3, 4]"},
		{arrow.StructOf(arrow.Field{Name: "a", Type: expr.TypeInt32, Nullable: true}), `[{"a": 1}, null]`,
			arrow.StructOf(arrow.Field{Name: "b", Type: expr.TypeString, Nullable: true}), "", "{1};NULL"},
		{arrow.MapOf(expr.TypeString, expr.TypeInt32), `[[{"key": "k", "value": 1}]]`, arrow.MapOf(expr.TypeString, expr.TypeDouble), "", "{k -> 1.0}"},
		{expr.TypeDate, `["2024-01-01"]`, expr.TypeInt32, "", "error: [CAST_WITHOUT_MEANING] cannot cast DATE to INT"},
		{expr.TypeString, `["1 02:03:04.5", "-0 00:00:01"]`, expr.TypeDuration, "", "INTERVAL '1 02:03:04.5' DAY TO SECOND;INTERVAL '-0 00:00:01' DAY TO SECOND"},
	} {
		got := convertJSON(t, c.from, c.in, c.to, false, c.zone)
		if got != c.want && !(strings.HasPrefix(c.want, "error") && strings.HasPrefix(got, c.want)) {
			t.Errorf("%s %s to %s\n got %s\nwant %s", c.from, c.in, c.to, got, c.want)
		}
	}
}

// TestTry pins that TRY gives NULL just where a value does not convert.
func TestTry(t *testing.T) {
	got := convertJSON(t, expr.TypeString, `["1", "x", null, "99999999999", " 7 "]`, expr.TypeInt32, true, "")
	if got != "1;NULL;NULL;NULL;7" {
		t.Errorf("got %s", got)
	}
}

// FuzzParse pins that no text makes a cast panic, and that what is read and
// written is read again as the same value.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"1", "-1.5e10", "2024-02-29 12:00:00.5+01:00", "1 02:03:04", "1-2", "INTERVAL '1' DAY", "true", "0x1p-2", "+", "9999999999999999999"} {
		f.Add(s)
	}
	targets := []arrow.DataType{expr.TypeInt32, expr.TypeInt64, expr.TypeDouble, expr.Decimal(20, 5), expr.TypeDate, expr.TypeTimestamp,
		expr.TypeLocalTime, expr.TypeMonths, expr.TypeDuration, expr.TypeBool}
	f.Fuzz(func(t *testing.T, s string) {
		kc := &expr.KernelContext{Alloc: memory.DefaultAllocator}
		b := array.NewStringBuilder(memory.DefaultAllocator)
		b.Append(s)
		in := b.NewArray()
		for _, dt := range targets {
			v, err := Array(kc, in, dt, true)
			if err != nil {
				t.Fatalf("TRY_CAST to %s: %v", dt, err)
			}
			text, err := Array(kc, v, expr.TypeString, false)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Array(kc, text, dt, false)
			if err != nil || vec.Compare(v, 0, again, 0) != 0 {
				t.Fatalf("%q is %s %v, again %v (%v)", s, dt, v, again, err)
			}
		}
	})
}
