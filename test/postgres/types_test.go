package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/postgres"
)

var (
	instant = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	wall    = &arrow.TimestampType{Unit: arrow.Microsecond}
	span    = &arrow.DurationType{Unit: arrow.Microsecond}
)

// everyType is a column of each type, with the database's type, a value as JSON and what the
// database then shows.
var everyType = []struct {
	name, in, made, want string
	dt                   arrow.DataType
}{
	{"b", `true`, "boolean", "t", arrow.FixedWidthTypes.Boolean},
	{"i8", `-128`, "smallint", "-128", arrow.PrimitiveTypes.Int8},
	{"i16", `-32768`, "smallint", "-32768", arrow.PrimitiveTypes.Int16},
	{"i32", `-2147483648`, "integer", "-2147483648", arrow.PrimitiveTypes.Int32},
	{"i64", `-9223372036854775808`, "bigint", "-9223372036854775808", arrow.PrimitiveTypes.Int64},
	{"f32", `0.1`, "real", "0.1", arrow.PrimitiveTypes.Float32},
	{"f64", `1e300`, "double precision", "1e+300", arrow.PrimitiveTypes.Float64},
	{"dec", `"-12345678901234567890.123456789012345678"`, "numeric(38,18)", "-12345678901234567890.123456789012345678", &arrow.Decimal128Type{Precision: 38, Scale: 18}},
	{"s", `"tab\tline\nback\\slash \"q\" '\\N' \r\u0008"`, "text", "tab\tline\nback\\slash \"q\" '\\N' \r\b", arrow.BinaryTypes.String},
	{"bin", `"AAEC/w=="`, "bytea", `\x000102ff`, arrow.BinaryTypes.Binary},
	{"d", `"2024-02-29"`, "date", "2024-02-29", arrow.FixedWidthTypes.Date32},
	{"ts", `"2024-03-31 01:30:00.123456Z"`, "timestamp with time zone", "2024-03-31 01:30:00.123456+00", instant},
	{"ntz", `"2024-03-31 02:30:00.5"`, "timestamp without time zone", "2024-03-31 02:30:00.5", wall},
	{"t", `"23:59:59.999999"`, "time without time zone", "23:59:59.999999", arrow.FixedWidthTypes.Time64us},
	{"list", `["a,b",null,"\"\\{}", "NULL", ""]`, "text[]", `{"a,b",NULL,"\"\\{}","NULL",""}`, arrow.ListOf(arrow.BinaryTypes.String)},
	{"ints", `[1,null,3]`, "bigint[]", `{1,NULL,3}`, arrow.ListOf(arrow.PrimitiveTypes.Int64)},
	{"nested", `[[1],[2,3]]`, "jsonb", `[[1], [2, 3]]`, arrow.ListOf(arrow.ListOf(arrow.PrimitiveTypes.Int64))},
	{"st", `{"x":1,"y":"\"\t"}`, "jsonb", `{"x": 1, "y": "\"\t"}`, arrow.StructOf(arrow.Field{Name: "x", Type: arrow.PrimitiveTypes.Int64, Nullable: true}, arrow.Field{Name: "y", Type: arrow.BinaryTypes.String, Nullable: true})},
	{"m", `[{"key":"k","value":7}]`, "jsonb", `{"k": 7}`, arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64)},
	{"dict", `"word"`, "text", "word", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}},
}

func TestEveryType(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	var fields []arrow.Field
	var values, nulls, made, want []string
	for _, c := range everyType {
		fields = append(fields, arrow.Field{Name: c.name, Type: c.dt, Nullable: true})
		values, nulls = append(values, `"`+c.name+`":`+c.in), append(nulls, `"`+c.name+`":null`)
		made, want = append(made, c.name+"|"+c.made), append(want, c.want)
	}
	f := openSink(t, s.spec(t, schema+".out", arrow.NewSchema(fields, nil), sinks.Append))
	f.commit(0, 1, nil, "[{"+strings.Join(values, ",")+"},{"+strings.Join(nulls, ",")+"}]")
	if got := rowsOf(t, conn, "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '"+schema+".out'::regclass AND attnum > 0"); !slices.Equal(got, made) {
		t.Errorf("columns were made as %q", got)
	}
	got := rowsOf(t, conn, "SELECT * FROM "+schema+".out ORDER BY b NULLS LAST")
	if got[0] != strings.Join(want, "|") {
		t.Errorf("the row is %s\nand should be %s", strings.ReplaceAll(got[0], "|", "\n"), strings.Join(want, "\n"))
	}
	if got[1] != strings.TrimSuffix(strings.Repeat("NULL|", len(want)), "|") {
		t.Errorf("NULLs are %s", got[1])
	}
}

// What JSON cannot say: intervals, numbers that are none, times before the first year; and
// types of the database that are not those that would be made.
func TestOtherTypes(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	exec1(t, conn, "CREATE TYPE "+schema+".mood AS ENUM ('sad', 'ok'); CREATE DOMAIN "+schema+".pos AS numeric(10,2) CHECK (VALUE > 0);"+
		"CREATE TABLE "+schema+".out (mons interval, dur interval, neg interval, nan float8, inf float8, bc date, bct timestamptz, berlin timestamp, u uuid, ub uuid, mood "+schema+".mood, "+
		"vc varchar(3), j json, num numeric, dom "+schema+".pos, txt text, extra int DEFAULT 7, gen int GENERATED ALWAYS AS (extra * 2) STORED)")
	u := []byte{0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00}
	mem := memory.NewGoAllocator()
	b := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{
		{Name: "mons", Type: arrow.FixedWidthTypes.MonthInterval}, {Name: "dur", Type: span}, {Name: "neg", Type: span}, {Name: "nan", Type: arrow.PrimitiveTypes.Float64},
		{Name: "inf", Type: arrow.PrimitiveTypes.Float64}, {Name: "bc", Type: arrow.FixedWidthTypes.Date32}, {Name: "bct", Type: instant}, {Name: "berlin", Type: instant},
		{Name: "u", Type: arrow.BinaryTypes.String}, {Name: "ub", Type: arrow.BinaryTypes.Binary}, {Name: "mood", Type: arrow.BinaryTypes.String}, {Name: "vc", Type: arrow.BinaryTypes.String},
		{Name: "j", Type: arrow.BinaryTypes.String}, {Name: "num", Type: arrow.PrimitiveTypes.Int64}, {Name: "dom", Type: &arrow.Decimal128Type{Precision: 4, Scale: 1}}, {Name: "txt", Type: arrow.PrimitiveTypes.Int32},
	}, nil))
	defer b.Release()
	b.Field(0).(*array.MonthIntervalBuilder).Append(-14)
	b.Field(1).(*array.DurationBuilder).Append(90_061_000_001)
	b.Field(2).(*array.DurationBuilder).Append(-500_000)
	for i, v := range []string{"NaN", "-Inf"} {
		if err := b.Field(3 + i).AppendValueFromString(v); err != nil {
			t.Fatal(err)
		}
	}
	b.Field(5).(*array.Date32Builder).Append(-719529)                  // the last day before year 0: 2 BC
	b.Field(6).(*array.TimestampBuilder).Append(-62_135_596_800e6 - 1) // just before year 1
	b.Field(7).(*array.TimestampBuilder).Append(1_720_000_000e6)
	b.Field(8).(*array.StringBuilder).Append("123e4567-e89b-12d3-a456-426614174000")
	b.Field(9).(*array.BinaryBuilder).Append(u)
	b.Field(10).(*array.StringBuilder).Append("ok")
	b.Field(11).(*array.StringBuilder).Append("äöü")
	b.Field(12).(*array.StringBuilder).Append(`{"a":  1}`)
	b.Field(13).(*array.Int64Builder).Append(9)
	if err := b.Field(14).AppendValueFromString("1.5"); err != nil {
		t.Fatal(err)
	}
	b.Field(15).(*array.Int32Builder).Append(4)
	rec := b.NewRecordBatch()
	defer rec.Release()
	f := openSink(t, s.spec(t, schema+".out", rec.Schema(), sinks.Append))
	w, err := f.writers.NewWriter(t.Context(), sinks.Attempt{}, rec.Schema(), mem)
	if err == nil {
		err = w.Write(t.Context(), rec)
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Prepare(t.Context())
	if err == nil {
		err = f.sink.Commit(t.Context(), 0, 1, []batch.Prepared{p})
	}
	if err != nil {
		t.Fatal(err)
	}
	want := `-1 years -2 mons|25:01:01.000001|-00:00:00.5|NaN|-Infinity|0002-12-31 BC|0001-12-31 23:59:59.999999+00 BC|2024-07-03 11:46:40|` +
		`123e4567-e89b-12d3-a456-426614174000|123e4567-e89b-12d3-a456-426614174000|ok|äöü|{"a":  1}|9|1.50|4|7|14`
	if got := rowsOf(t, conn, "SELECT * FROM "+schema+".out"); got[0] != want {
		t.Errorf("the row is\n%s\nand should be\n%s", got[0], want)
	}
}

func TestTablesThatDoNotFit(t *testing.T) {
	s := theServer(t)
	conn := s.connect(t)
	schema := s.schema(t, conn)
	exec1(t, conn, "CREATE TABLE "+schema+`.out (k text, "V" date, must int NOT NULL, id int GENERATED ALWAYS AS IDENTITY);
		CREATE TABLE `+schema+`.good (k text, v bigint); CREATE TABLE `+schema+`.unique1 (k text UNIQUE, v bigint); CREATE TABLE `+schema+`.small (k varchar(2), v smallint)`)
	open := func(table string, mode sinks.Mode, keys []string, more ...string) error {
		spec := sinks.Spec{Name: "o#0", Table: "o", Query: "q", Schema: kv(), Mode: mode, Keys: keys, Zone: "UTC", Options: s.options(schema+"."+table, more...)}
		sink, _, err := postgres.Connector().New(t.Context(), spec)
		if err == nil {
			err = sink.Close()
		}
		return err
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{open("nothing", sinks.Append, nil), `has no table ` + schema + `.nothing: set 'create-table' = 'true', or run` + "\n  CREATE TABLE IF NOT EXISTS \"" + schema + `"."nothing" ("k" text, "V" bigint)`},
		{open("nothing", sinks.Update, []string{"k"}), `("k" text, "V" bigint, PRIMARY KEY ("k"))`},
		{open("out", sinks.Append, nil), `its column "V" is of type date, which does not take values of type int64 (bigint would)`},
		{open("out", sinks.Append, nil), `its column "must" may not be NULL, has no default`},
		{open("good", sinks.Update, []string{"k"}), `no unique index has just the key's columns`},
		{open("good", sinks.Append, nil, "password", "${env:SLUICE_TEST_NOTHING}"), `the environment has no SLUICE_TEST_NOTHING`},
		{open("good", sinks.Append, nil, "username", "nobody"), `connect to database`},
		{open("good", sinks.Append, nil, "password", "secret"), `option 'password' does not hold the secret`},
		{open("good", sinks.Append, nil, "url", "postgres://me:secret@h/db"), `option 'url' holds a password`},
		{open("good", sinks.Append, nil, "url", "mysql://h/db"), `option 'url' is to be postgres://`},
		{open("good", sinks.Changelog, nil), `output mode changelog has no form there`},
		{open("good", sinks.Append, []string{"z"}), `the key's column "z" is not among the columns`},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || strings.Contains(c.err.Error(), "me:secret") {
			t.Errorf("got %v, want %s", c.err, c.want)
		} else if k, _ := batch.KindOf(c.err); k != batch.User {
			t.Errorf("%v is of kind %v", c.err, k)
		}
	}
	if err := open("good", sinks.Append, nil); err != nil {
		t.Error(err)
	}
	if err := open("unique1", sinks.Update, []string{"k"}); err != nil {
		t.Error(err)
	}
	// What only the database can tell, it tells when rows come.
	f := openSink(t, sinks.Spec{Name: "o#0", Table: "o", Query: "q", Schema: kv(), Mode: sinks.Append, Zone: "UTC", Options: s.options(schema + ".small")})
	for rows, want := range map[string]string{`[{"k":"a","V":70000}]`: `"70000" is out of range for type smallint`, `[{"k":"abc","V":1}]`: `value too long`} {
		err := f.sink.Commit(t.Context(), 0, 1, f.prepare(0, 1, nil, rows))
		if k, _ := batch.KindOf(err); err == nil || k != batch.User || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gave %v", rows, err)
		}
	}
}
