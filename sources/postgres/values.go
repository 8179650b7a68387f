package postgres

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/formats/text"
	"github.com/sluice-stream/sluice/internal/pgclient"
)

var (
	typeInstant = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	typeWall    = &arrow.TimestampType{Unit: arrow.Microsecond}
)

// typeOf is the type of a column that nobody has declared.
func typeOf(c pgclient.Column) arrow.DataType {
	dt := elementOf(c)
	if c.Array {
		return arrow.ListOf(dt)
	}
	return dt
}

func elementOf(c pgclient.Column) arrow.DataType {
	switch c.Base {
	case "bool":
		return arrow.FixedWidthTypes.Boolean
	case "int2":
		return arrow.PrimitiveTypes.Int16
	case "int4":
		return arrow.PrimitiveTypes.Int32
	case "int8":
		return arrow.PrimitiveTypes.Int64
	case "float4":
		return arrow.PrimitiveTypes.Float32
	case "float8":
		return arrow.PrimitiveTypes.Float64
	case "bytea":
		return arrow.BinaryTypes.Binary
	case "date":
		return arrow.FixedWidthTypes.Date32
	case "time":
		return arrow.FixedWidthTypes.Time64us
	case "timestamp":
		return typeWall
	case "timestamptz":
		return typeInstant
	case "numeric":
		if c.Precision > 0 && c.Precision <= 38 && c.Scale >= 0 && c.Scale <= c.Precision {
			return &arrow.Decimal128Type{Precision: int32(c.Precision), Scale: int32(c.Scale)}
		}
		return &arrow.Decimal128Type{Precision: 38, Scale: 18}
	}
	return arrow.BinaryTypes.String
}

// expression is what is selected for a column to be read as a type; "" if it cannot.
func expression(dt arrow.DataType, c pgclient.Column, zone string) string {
	name := pgclient.QuoteIdent(c.Name)
	is := func(bases ...string) bool {
		for _, b := range bases {
			if !c.Array && c.Base == b {
				return true
			}
		}
		return false
	}
	const micros = "(extract(epoch from %s) * 1000000)::bigint"
	switch dt.ID() {
	case arrow.STRING:
		return name + "::text"
	case arrow.BOOL:
		if is("bool") {
			return name
		}
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64:
		if is("int2", "int4", "int8", "oid") {
			return name
		}
	case arrow.FLOAT32, arrow.FLOAT64, arrow.DECIMAL128:
		if is("int2", "int4", "int8", "numeric", "float4", "float8") {
			return name
		}
	case arrow.BINARY:
		if is("bytea") {
			return "encode(" + name + ", 'hex')"
		}
	case arrow.DATE32:
		if is("date") {
			return "(" + name + " - DATE '1970-01-01')"
		}
	case arrow.TIME64:
		if is("time") {
			return fmt.Sprintf(micros, name)
		}
	case arrow.TIMESTAMP:
		instant := dt.(*arrow.TimestampType).TimeZone != ""
		switch {
		case instant && is("timestamptz"), !instant && is("timestamp"):
			return fmt.Sprintf(micros, name)
		case instant && is("timestamp"): // the session's wall clock
			return fmt.Sprintf(micros, "("+name+" AT TIME ZONE '"+strings.ReplaceAll(zone, "'", "''")+"')")
		}
	case arrow.DURATION:
		if is("interval") { // months have no fixed length
			return fmt.Sprintf("CASE WHEN extract(year from %[1]s) = 0 AND extract(month from %[1]s) = 0 THEN (extract(epoch from %[1]s) * 1000000)::bigint ELSE ('an interval with months: ' || %[1]s)::bigint END", name)
		}
	case arrow.INTERVAL_MONTHS:
		if is("interval") {
			m := fmt.Sprintf("(extract(year from %[1]s) * 12 + extract(month from %[1]s))::int", name)
			return fmt.Sprintf("CASE WHEN %[1]s = make_interval(months => %[2]s) THEN %[2]s ELSE ('an interval with days: ' || %[1]s)::int END", name, m)
		}
	case arrow.LIST, arrow.STRUCT, arrow.MAP:
		if c.Array || is("json", "jsonb") {
			return "to_jsonb(" + name + ")::text"
		}
	default:
	}
	return ""
}

// appender puts the text of a value into a column.
type appender struct {
	put  text.Appender
	null func()
	take func() arrow.Array // the column so far; the caller owns it
	drop func()
}

func newAppender(f arrow.Field, alloc memory.Allocator) (appender, error) {
	switch f.Type.(type) {
	case *arrow.ListType, *arrow.StructType, *arrow.MapType:
		return newDocuments(f, alloc)
	}
	b := array.NewBuilder(alloc, f.Type)
	a := appender{null: b.AppendNull, take: b.NewArray, drop: b.Release}
	micros := func(add func(int64)) text.Appender {
		return func(v []byte) error {
			n, err := text.ParseInt(v)
			if err == nil {
				add(n)
			}
			return err
		}
	}
	var err error
	switch b := b.(type) {
	case *array.BooleanBuilder:
		a.put = func(v []byte) error { b.Append(len(v) == 1 && v[0] == 't'); return nil }
	case *array.BinaryBuilder:
		a.put = func(v []byte) error {
			raw, err := hex.AppendDecode(nil, v)
			if err == nil {
				b.Append(raw)
			}
			return err
		}
	case *array.Date32Builder:
		a.put = micros(func(n int64) { b.Append(arrow.Date32(n)) })
	case *array.Time64Builder:
		a.put = micros(func(n int64) { b.Append(arrow.Time64(n)) })
	case *array.TimestampBuilder:
		a.put = micros(func(n int64) { b.Append(arrow.Timestamp(n)) })
	case *array.DurationBuilder:
		a.put = micros(func(n int64) { b.Append(arrow.Duration(n)) })
	case *array.MonthIntervalBuilder:
		a.put = micros(func(n int64) { b.Append(arrow.MonthInterval(n)) })
	default:
		a.put, err = text.NewAppender(b, text.TimeFormat{}, false)
	}
	if err != nil {
		b.Release()
	}
	return a, err
}

// newDocuments reads nested values, which the database gives as JSON.
func newDocuments(f arrow.Field, alloc memory.Allocator) (appender, error) {
	f.Name, f.Nullable = "v", true
	d, err := json.NewDecoder(arrow.NewSchema([]arrow.Field{f}, nil), formats.Config{}, alloc)
	if err != nil {
		return appender{}, err
	}
	var line []byte
	return appender{
		put: func(v []byte) error {
			line = append(append(append(line[:0], `{"v":`...), v...), '}')
			return d.Append(line)
		},
		null: d.AppendNull,
		take: func() arrow.Array {
			rec := d.Flush()
			defer rec.Release()
			a := rec.Column(0)
			a.Retain()
			return a
		},
		drop: d.Release,
	}, nil
}

// rows makes record batches of rows of texts.
type rows struct {
	schema *arrow.Schema
	cols   []appender
	n      int
	size   int
}

func newRows(schema *arrow.Schema, alloc memory.Allocator) (*rows, error) {
	r := &rows{schema: schema}
	for _, f := range schema.Fields() {
		a, err := newAppender(f, alloc)
		if err != nil {
			r.release()
			return nil, batch.UserErrorf("column %q: %w", f.Name, err)
		}
		r.cols = append(r.cols, a)
	}
	return r, nil
}

// add appends a row; nil is NULL.
func (r *rows) add(values [][]byte) error {
	if len(values) != len(r.cols) {
		return fmt.Errorf("a row of %d values for %d columns", len(values), len(r.cols))
	}
	for i, v := range values {
		if v == nil {
			r.cols[i].null()
			continue
		}
		if err := r.cols[i].put(v); err != nil {
			return batch.UserErrorf("column %q: the value %s cannot be read as %s: %w", r.schema.Field(i).Name, text.Quote(v), r.schema.Field(i).Type, err)
		}
		r.size += len(v)
	}
	r.n++
	return nil
}

// flush returns the rows so far; the caller owns the batch.
func (r *rows) flush() arrow.RecordBatch {
	cols := make([]arrow.Array, len(r.cols))
	for i, c := range r.cols {
		cols[i] = c.take()
		defer cols[i].Release()
	}
	rec := array.NewRecordBatch(r.schema, cols, int64(r.n))
	r.n, r.size = 0, 0
	return rec
}

func (r *rows) release() {
	for _, c := range r.cols {
		c.drop()
	}
	r.cols = nil
}
