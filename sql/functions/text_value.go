package functions

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/planner/expr/cast"
	"github.com/sluice-stream/sluice/planner/expr/civil"
	"github.com/sluice-stream/sluice/planner/expr/dec"
)

// valueReader appends values that are written as text to builders. It serves
// from_json and from_csv; what does not fit a type is reported, never guessed.
type valueReader struct {
	zone     *civil.Zone
	date     *timePattern
	stamp    *timePattern
	stampNTZ *timePattern
}

func newValueReader(zone string, o textOptions) (*valueReader, error) {
	z, err := civil.Load(zone)
	if err != nil {
		return nil, err
	}
	r := &valueReader{zone: z}
	for name, at := range map[string]**timePattern{"dateformat": &r.date, "timestampformat": &r.stamp, "timestampntzformat": &r.stampNTZ} {
		if p, ok := o[name]; ok {
			if *at, err = compilePattern(p); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// text appends a value given as text; false if it is none of the builder's type.
func (r *valueReader) text(b array.Builder, s string) bool {
	switch b := b.(type) {
	case *array.StringBuilder:
		b.Append(s)
	case *array.BinaryBuilder:
		v, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return false
		}
		b.Append(v)
	case *array.BooleanBuilder:
		switch strings.ToLower(s) {
		case "true", "false":
			b.Append(s[0]|0x20 == 't')
		default:
			return false
		}
	case *array.Float32Builder:
		f, why := cast.ParseFloat(s, 32)
		if why != 0 {
			return false
		}
		b.Append(float32(f))
	case *array.Float64Builder:
		f, why := cast.ParseFloat(s, 64)
		if why != 0 {
			return false
		}
		b.Append(f)
	case *array.Decimal128Builder:
		t, _ := dec.Of(b.Type())
		v, bad, over := dec.Parse(strings.TrimSpace(s), t)
		if bad || over {
			return false
		}
		b.Append(v)
	case *array.NullBuilder:
		b.AppendNull()
	default:
		return r.whole(b, s)
	}
	return true
}

// whole appends what is held as a whole number.
func (r *valueReader) whole(b array.Builder, s string) bool {
	switch b := b.(type) {
	case *array.Int8Builder:
		v, err := strconv.ParseInt(s, 10, 8)
		return err == nil && put(b.Append, int8(v))
	case *array.Int16Builder:
		v, err := strconv.ParseInt(s, 10, 16)
		return err == nil && put(b.Append, int16(v))
	case *array.Int32Builder:
		v, err := strconv.ParseInt(s, 10, 32)
		return err == nil && put(b.Append, int32(v))
	case *array.Int64Builder:
		v, err := strconv.ParseInt(s, 10, 64)
		return err == nil && put(b.Append, v)
	case *array.Date32Builder:
		d, ok := r.day(s)
		return ok && put(b.Append, arrow.Date32(d))
	case *array.TimestampBuilder:
		us, ok := r.instant(s, b.Type().(*arrow.TimestampType).TimeZone == "")
		return ok && put(b.Append, arrow.Timestamp(us))
	case *array.Time64Builder:
		st, ok := civil.ParseStamp("1970-01-01 " + strings.TrimSpace(s))
		return ok && put(b.Append, arrow.Time64(st.Local))
	case *array.MonthIntervalBuilder:
		m, ok := civil.ParseMonths(s)
		return ok && m >= math.MinInt32 && m <= math.MaxInt32 && put(b.Append, arrow.MonthInterval(m))
	case *array.DurationBuilder:
		us, ok := civil.ParseDuration(s)
		return ok && put(b.Append, arrow.Duration(us))
	}
	return false
}

func put[T any](f func(T), v T) bool { f(v); return true }

func (r *valueReader) day(s string) (int64, bool) {
	if r.date == nil {
		return civil.ParseDate(s)
	}
	us, _, err := r.date.parse(s)
	return civil.FloorDiv(us, civil.Day), err == nil
}

func (r *valueReader) instant(s string, local bool) (int64, bool) {
	p := r.stamp
	if local {
		p = r.stampNTZ
	}
	var st civil.Stamp
	if p != nil {
		us, z, err := p.parse(s)
		if err != nil {
			return 0, false
		}
		st.Local, st.Zone = us, z
	} else {
		var ok bool
		if st, ok = civil.ParseStamp(s); !ok {
			return 0, false
		}
	}
	switch {
	case local:
		return st.Local, true
	case st.Zone != nil:
		return st.Zone.Instant(st.Local), true
	}
	return r.zone.Instant(st.Local), true
}

// json appends the JSON value that comes next; where it does not fit the type,
// NULL. It is false only where the text is no JSON.
func (r *valueReader) json(b array.Builder, j *jsonText) bool {
	c := j.kind()
	if c == 'n' {
		b.AppendNull()
		return j.skip()
	}
	switch b := b.(type) {
	case *array.StructBuilder:
		if c == '{' {
			return r.jsonStruct(b, j)
		}
	case *array.MapBuilder:
		if c == '{' {
			b.Append(true)
			return j.object(func(name string) bool {
				if !r.text(b.KeyBuilder(), name) {
					return false
				}
				return r.json(b.ItemBuilder(), j)
			})
		}
	case *array.ListBuilder:
		if c == '[' {
			b.Append(true)
			return j.array(func() bool { return r.json(b.ValueBuilder(), j) })
		}
	default:
		return r.jsonLeaf(b, j, c)
	}
	b.AppendNull()
	return j.skip()
}

func (r *valueReader) jsonLeaf(b array.Builder, j *jsonText, c byte) bool {
	if c == '"' || c == '\'' {
		s, ok := j.str()
		if !ok {
			return false
		}
		switch b.(type) {
		case *array.Int8Builder, *array.Int16Builder, *array.Int32Builder, *array.Int64Builder, *array.BooleanBuilder:
			b.AppendNull() // a number in quotes is a string
			return true
		}
		if !r.text(b, s) {
			b.AppendNull()
		}
		return true
	}
	raw, ok := j.raw()
	if !ok {
		return false
	}
	switch b.(type) {
	case *array.StringBuilder:
		return r.text(b, compactJSON(raw))
	case *array.BooleanBuilder, *array.BinaryBuilder:
	default:
		if c == '{' || c == '[' || c == 't' || c == 'f' {
			b.AppendNull()
			return true
		}
	}
	if !r.text(b, raw) {
		b.AppendNull()
	}
	return true
}

// compactJSON removes the blanks between the parts of a JSON text.
func compactJSON(s string) string {
	if !strings.ContainsAny(s, " \t\r\n") {
		return s
	}
	out := make([]byte, 0, len(s))
	j := jsonText{s: s}
	for c := j.kind(); c != 0; c = j.kind() {
		start := j.at
		if c == '"' || c == '\'' {
			j.quoted()
		} else {
			j.at++
		}
		out = append(out, s[start:j.at]...)
	}
	return string(out)
}

// jsonStruct fills the fields by name; what is missing is NULL, of what occurs twice the last counts.
func (r *valueReader) jsonStruct(b *array.StructBuilder, j *jsonText) bool {
	st := b.Type().(*arrow.StructType)
	found := make([]jsonText, st.NumFields())
	ok := j.object(func(name string) bool {
		for i := range found {
			if st.Field(i).Name == name {
				j.kind()
				found[i] = *j
				found[i].depth = j.depth
			}
		}
		return j.skip()
	})
	if !ok {
		return false
	}
	b.Append(true)
	for i := range found {
		if found[i].s == "" {
			b.FieldBuilder(i).AppendNull()
		} else if !r.json(b.FieldBuilder(i), &found[i]) {
			return false
		}
	}
	return true
}
