package avro

import (
	"encoding/binary"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/builders"
)

// Append appends the value of a row. After an error dst is as it was.
type Append func(dst []byte, row int) ([]byte, error)

// Encode returns what writes the rows of a batch by a schema: of a record each field
// takes the column of its name, or its default. The batch must outlive the result. A
// schema that is no record takes a batch of one column.
func Encode(s *Schema, rec arrow.RecordBatch) (Append, error) {
	s, _ = s.Nullable()
	if s.Kind != Record {
		if rec.NumCols() != 1 {
			return nil, batch.UserErrorf("the schema is %s and no record: it can be written from one column only, not from %d", s, rec.NumCols())
		}
		return encode(s, rec.Column(0), rec.ColumnName(0))
	}
	cols, fields := rec.Columns(), rec.Schema().Fields()
	return record(s, fields, cols, "")
}

// record writes the fields of a record, in the schema's order.
func record(s *Schema, fields []arrow.Field, cols []arrow.Array, path string) (Append, error) {
	parts := make([]Append, len(s.Fields))
	used := 0
	for i, f := range s.Fields {
		at := columnOf(fields, f)
		if at < 0 {
			if !f.HasDefault {
				return nil, batch.UserErrorf("field %q of the schema has neither a column nor a default", path+f.Name)
			}
			text, err := appendDefault(nil, f.Schema, f.Default)
			if err != nil {
				return nil, batch.UserErrorf("the default of field %q: %w", path+f.Name, err)
			}
			parts[i] = func(dst []byte, _ int) ([]byte, error) { return append(dst, text...), nil }
			continue
		}
		used++
		var err error
		if parts[i], err = encode(f.Schema, cols[at], path+f.Name); err != nil {
			return nil, err
		}
	}
	if used < len(fields) {
		for _, f := range fields {
			if s.field(f.Name) == nil {
				return nil, batch.UserErrorf("column %q has no field in the schema of %s", path+f.Name, s)
			}
		}
	}
	return func(dst []byte, row int) ([]byte, error) {
		from := len(dst)
		for _, p := range parts {
			out, err := p(dst, row)
			if err != nil {
				return dst[:from], err
			}
			dst = out
		}
		return dst, nil
	}, nil
}

func columnOf(fields []arrow.Field, f Field) int {
	for i := range fields {
		if fields[i].Name == f.Name {
			return i
		}
	}
	for i := range fields {
		if s := (&Schema{Kind: Record, Fields: []Field{f}}); s.field(fields[i].Name) != nil {
			return i
		}
	}
	return -1
}

// encode writes a column's values, NULL among them.
func encode(s *Schema, a arrow.Array, path string) (Append, error) {
	values, at := builders.Plain(a)
	branch, null, some := 0, -1, s
	if s.Kind == Union {
		var err error
		if some, branch, null, err = branchFor(s, values, path); err != nil {
			return nil, err
		}
	}
	put, err := encodeValue(some, values, path)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, row int) ([]byte, error) {
		if a.IsNull(row) {
			if null < 0 {
				if s.Kind == Null {
					return dst, nil
				}
				return dst, batch.UserErrorf("column %q is NULL in a row, and its type in the schema, %s, does not allow it", path, s)
			}
			return binary.AppendVarint(dst, int64(null)), nil
		}
		if at != nil {
			row = at(row)
		}
		if s.Kind == Union {
			dst = binary.AppendVarint(dst, int64(branch))
		}
		return put(dst, row)
	}, nil
}

// branchFor picks the branch of a union that a column's values are written as: the first
// that takes them.
func branchFor(s *Schema, a arrow.Array, path string) (some *Schema, branch, null int, err error) {
	null, branch = -1, -1
	for i, b := range s.Branches {
		if b.Kind == Null {
			null = i
			continue
		}
		if branch >= 0 {
			continue
		}
		if _, e := encodeValue(b, a, path); e == nil {
			branch, some = i, b
		} else if err == nil {
			err = e
		}
	}
	if branch < 0 && a.DataType().ID() == arrow.NULL && null >= 0 {
		return s.Branches[null], null, null, nil
	}
	if branch < 0 {
		return nil, 0, 0, err
	}
	return some, branch, null, nil
}

func unfit(s *Schema, a arrow.Array, path string) error {
	return batch.UserErrorf("column %q of type %s cannot be written as %s", path, a.DataType(), s)
}

// encodeValue writes values that are not NULL.
func encodeValue(s *Schema, a arrow.Array, path string) (Append, error) {
	switch s.Kind {
	case Null:
		if a.DataType().ID() == arrow.NULL {
			return func(dst []byte, _ int) ([]byte, error) { return dst, nil }, nil
		}
	case Boolean:
		if b, ok := a.(*array.Boolean); ok {
			return func(dst []byte, i int) ([]byte, error) {
				if b.Value(i) {
					return append(dst, 1), nil
				}
				return append(dst, 0), nil
			}, nil
		}
	case Int, Long:
		return encodeInt(s, a, path)
	case Float, Double:
		return encodeFloat(s, a, path)
	case Bytes, String, Fixed, Enum:
		return encodeBytes(s, a, path)
	case Array, Map, Record:
		return encodeNested(s, a, path)
	case Union:
		return encode(s, a, path)
	}
	return nil, unfit(s, a, path)
}

// intLogical says which columns go with a logical type of a number.
func intLogical(s *Schema, a arrow.Array) bool {
	switch a.(type) {
	case *array.Date32:
		return s.Logical == "date"
	case *array.Time64:
		return s.Logical == "time-millis" || s.Logical == "time-micros"
	case *array.Timestamp:
		return perMicro[s.Logical] != 0 && s.Logical[0] != 't' || len(s.Logical) > 9 && s.Logical[:9] == "timestamp"
	}
	return s.Logical == ""
}

func encodeInt(s *Schema, a arrow.Array, path string) (Append, error) {
	get, ok := builders.Ints(a)
	if !ok || !intLogical(s, a) {
		return nil, unfit(s, a, path)
	}
	scale := func(v int64) (int64, error) { return v, nil }
	switch n := perMicro[s.Logical]; {
	case n < 0: // milliseconds of microseconds, rounded down
		scale = func(v int64) (int64, error) {
			q := v / -n
			if v%-n < 0 {
				q--
			}
			return q, nil
		}
	case n > 1:
		scale = func(v int64) (int64, error) {
			if v > math.MaxInt64/n || v < math.MinInt64/n {
				return 0, batch.UserErrorf("column %q: a time is out of the range of %s", path, s)
			}
			return v * n, nil
		}
	}
	narrow := s.Kind == Int
	return func(dst []byte, i int) ([]byte, error) {
		v, err := scale(get(i))
		if err != nil {
			return dst, err
		}
		if narrow && (v < math.MinInt32 || v > math.MaxInt32) {
			return dst, batch.UserErrorf("column %q: %d is out of the range of %s", path, v, s)
		}
		return binary.AppendVarint(dst, v), nil
	}, nil
}

func encodeFloat(s *Schema, a arrow.Array, path string) (Append, error) {
	get, ok := builders.Floats(a)
	if _, wide := a.(*array.Float64); !ok || wide && s.Kind == Float {
		return nil, unfit(s, a, path)
	}
	if s.Kind == Float {
		return func(dst []byte, i int) ([]byte, error) {
			return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(get(i)))), nil
		}, nil
	}
	return func(dst []byte, i int) ([]byte, error) {
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(get(i))), nil
	}, nil
}

func encodeBytes(s *Schema, a arrow.Array, path string) (Append, error) {
	if s.Logical == "decimal" {
		return encodeDecimal(s, a, path)
	}
	get, ok := builders.Texts(a)
	if !ok {
		return nil, unfit(s, a, path)
	}
	switch s.Kind {
	case Enum:
		at := map[string]int64{}
		for i, symbol := range s.Symbols {
			at[symbol] = int64(i)
		}
		return func(dst []byte, i int) ([]byte, error) {
			n, ok := at[string(get(i))]
			if !ok {
				return dst, batch.UserErrorf("column %q: %.60q is no symbol of %s", path, get(i), s)
			}
			return binary.AppendVarint(dst, n), nil
		}, nil
	case Fixed:
		return func(dst []byte, i int) ([]byte, error) {
			v := get(i)
			if len(v) == 36 && s.Logical == "uuid" {
				u, err := parseUUID(v)
				return append(dst, u[:]...), err
			}
			if len(v) != s.Size {
				return dst, batch.UserErrorf("column %q: a value of %d bytes cannot be written as %s of %d", path, len(v), s, s.Size)
			}
			return append(dst, v...), nil
		}, nil
	default: // the others are behind the switch
	}
	if _, text := a.(*array.String); !text && s.Kind == String {
		return nil, unfit(s, a, path)
	}
	return func(dst []byte, i int) ([]byte, error) {
		v := get(i)
		return append(binary.AppendVarint(dst, int64(len(v))), v...), nil
	}, nil
}

func encodeDecimal(s *Schema, a arrow.Array, path string) (Append, error) {
	d, ok := a.(*array.Decimal128)
	if !ok {
		return nil, unfit(s, a, path)
	}
	t := d.DataType().(*arrow.Decimal128Type)
	up := s.Scale - t.Scale
	if up < 0 {
		return nil, unfit(s, a, path)
	}
	return func(dst []byte, i int) ([]byte, error) {
		n := d.Value(i)
		if !n.FitsInPrecision(s.Precision - up) {
			return dst, batch.UserErrorf("column %q: %s is out of the range of %s", path, n.ToString(t.Scale), s)
		}
		if up > 0 {
			n = n.IncreaseScaleBy(up)
		}
		var buf [16]byte
		v := builders.AppendBytes(buf[:0], n)
		if s.Kind == Bytes {
			return append(binary.AppendVarint(dst, int64(len(v))), v...), nil
		}
		if len(v) > s.Size {
			return dst, batch.UserErrorf("column %q: %s does not fit into %d bytes", path, n.ToString(s.Scale), s.Size)
		}
		fill := byte(int8(v[0]) >> 7)
		for range s.Size - len(v) {
			dst = append(dst, fill)
		}
		return append(dst, v...), nil
	}, nil
}

func encodeNested(s *Schema, a arrow.Array, path string) (Append, error) {
	switch a := a.(type) {
	case *array.Struct:
		if s.Kind != Record {
			break
		}
		cols := make([]arrow.Array, a.NumField())
		for i := range cols {
			cols[i] = a.Field(i)
		}
		return record(s, a.DataType().(*arrow.StructType).Fields(), cols, path+".")
	case *array.Map:
		if s.Kind != Map {
			break
		}
		key, ok := builders.Texts(a.Keys())
		item, err := encode(s.Items, a.Items(), path+"[]")
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		return blocks(a, func(dst []byte, j int) ([]byte, error) {
			k := key(j)
			return item(append(binary.AppendVarint(dst, int64(len(k))), k...), j)
		}), nil
	case *array.List:
		if s.Kind != Array {
			break
		}
		item, err := encode(s.Items, a.ListValues(), path+"[]")
		if err != nil {
			return nil, err
		}
		return blocks(a, item), nil
	}
	return nil, unfit(s, a, path)
}

// blocks writes the elements of a list in one block.
func blocks(a interface{ ValueOffsets(i int) (int64, int64) }, item Append) Append {
	return func(dst []byte, i int) ([]byte, error) {
		from, to := a.ValueOffsets(i)
		if to > from {
			dst = binary.AppendVarint(dst, to-from)
		}
		var err error
		for j := from; j < to; j++ {
			if dst, err = item(dst, int(j)); err != nil {
				return dst, err
			}
		}
		return append(dst, 0), nil
	}
}

// parseUUID reads the text of a UUID.
func parseUUID(v []byte) (u [16]byte, err error) {
	n := 0
	for i, c := range v {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return u, batch.UserErrorf("%q is no UUID", v)
			}
			continue
		}
		var d byte
		switch {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			d = c | 0x20 - 'a' + 10
		default:
			return u, batch.UserErrorf("%q is no UUID", v)
		}
		u[n/2] = u[n/2]<<4 | d
		n++
	}
	return u, nil
}
