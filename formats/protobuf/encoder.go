package protobuf

import (
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/builders"
)

// Append appends the message of a row. After an error dst is of no use.
type Append func(dst []byte, row int) ([]byte, error)

// Encode returns what writes the rows of a batch as messages of a type: each column is the
// field of its name. NULL is a field that is not there. The batch must outlive the result.
func Encode(t *Type, rec arrow.RecordBatch) (Append, error) {
	return message(t.desc, rec.Schema().Fields(), rec.Columns(), "", 0)
}

func message(m protoreflect.MessageDescriptor, fields []arrow.Field, cols []arrow.Array, path string, depth int) (Append, error) {
	if depth > maxDepth {
		return nil, batch.UserErrorf("column %q nests deeper than %d levels", path, maxDepth)
	}
	parts := make([]Append, len(cols))
	for i, f := range fields {
		desc := find(m, f.Name)
		if desc == nil {
			return nil, batch.UserErrorf("column %q has no field in message %s", path+f.Name, m.FullName())
		}
		var err error
		if parts[i], err = encodeField(desc, cols[i], path+f.Name, depth); err != nil {
			return nil, err
		}
	}
	return func(dst []byte, row int) ([]byte, error) {
		var err error
		for _, p := range parts {
			if dst, err = p(dst, row); err != nil {
				return dst, err
			}
		}
		return dst, nil
	}, nil
}

func unfit(desc protoreflect.FieldDescriptor, a arrow.Array, path string) error {
	what := desc.Kind().String()
	switch {
	case desc.IsMap():
		what = "a map"
	case desc.IsList():
		what = "repeated " + what
	case desc.Message() != nil:
		what = string(desc.Message().FullName())
	}
	return batch.UserErrorf("column %q of type %s cannot be written as %s", path, a.DataType(), what)
}

func encodeField(desc protoreflect.FieldDescriptor, a arrow.Array, path string, depth int) (Append, error) {
	switch {
	case desc.IsMap():
		return encodeMap(desc, a, path, depth)
	case desc.IsList():
		return encodeList(desc, a, path, depth)
	}
	values, at := builders.Plain(a)
	put, err := encodeSingle(desc, values, path, depth)
	if err != nil {
		return nil, err
	}
	tag := protowire.AppendTag(nil, desc.Number(), wireOf(desc.Kind()))
	bare := !desc.HasPresence()
	return func(dst []byte, row int) ([]byte, error) {
		if a.IsNull(row) {
			return dst, nil
		}
		if at != nil {
			row = at(row)
		}
		from := len(dst)
		dst = append(dst, tag...)
		begin := len(dst)
		dst, err := put(dst, row)
		if bare && err == nil && zeroValue(dst[begin:]) {
			return dst[:from], nil // as every writer of proto3 does
		}
		return dst, err
	}, nil
}

// zeroValue reports whether a scalar's bytes are those of its zero.
func zeroValue(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func encodeList(desc protoreflect.FieldDescriptor, a arrow.Array, path string, depth int) (Append, error) {
	list, ok := a.(*array.List)
	if !ok {
		return nil, unfit(desc, a, path)
	}
	values, at := builders.Plain(list.ListValues())
	put, err := encodeSingle(desc, values, path+"[]", depth)
	if err != nil {
		return nil, err
	}
	tag, packed := protowire.AppendTag(nil, desc.Number(), wireOf(desc.Kind())), desc.IsPacked()
	if packed {
		tag = protowire.AppendTag(nil, desc.Number(), protowire.BytesType)
	}
	each := func(dst []byte, row int, tag []byte) ([]byte, error) {
		from, to := list.ValueOffsets(row)
		for j := int(from); j < int(to); j++ {
			if list.ListValues().IsNull(j) {
				return dst, batch.UserErrorf("column %q: a list in Protocol Buffers holds no NULL", path)
			}
			k := j
			if at != nil {
				k = at(j)
			}
			var err error
			if dst, err = put(append(dst, tag...), k); err != nil {
				return dst, err
			}
		}
		return dst, nil
	}
	return func(dst []byte, row int) ([]byte, error) {
		if a.IsNull(row) {
			return dst, nil
		}
		if !packed {
			return each(dst, row, tag)
		}
		if from, to := list.ValueOffsets(row); from == to {
			return dst, nil
		}
		return sized(append(dst, tag...), func(dst []byte) ([]byte, error) { return each(dst, row, nil) })
	}, nil
}

// sized puts the length before what fill appends.
func sized(dst []byte, fill func(dst []byte) ([]byte, error)) ([]byte, error) {
	from := len(dst)
	dst, err := fill(dst)
	if err != nil {
		return dst, err
	}
	n := len(dst) - from
	var head [10]byte
	size := protowire.AppendVarint(head[:0], uint64(n))
	dst = append(dst, size...)
	copy(dst[from+len(size):], dst[from:from+n])
	copy(dst[from:], size)
	return dst, nil
}

func encodeMap(desc protoreflect.FieldDescriptor, a arrow.Array, path string, depth int) (Append, error) {
	m, ok := a.(*array.Map)
	if !ok {
		return nil, unfit(desc, a, path)
	}
	key, err := encodeSingle(desc.MapKey(), m.Keys(), path+" (key)", depth)
	if err != nil {
		return nil, err
	}
	items, at := builders.Plain(m.Items())
	item, err := encodeSingle(desc.MapValue(), items, path+"[]", depth)
	if err != nil {
		return nil, err
	}
	tag := protowire.AppendTag(nil, desc.Number(), protowire.BytesType)
	keyTag, itemTag := protowire.AppendTag(nil, 1, wireOf(desc.MapKey().Kind())), protowire.AppendTag(nil, 2, wireOf(desc.MapValue().Kind()))
	return func(dst []byte, row int) ([]byte, error) {
		if a.IsNull(row) {
			return dst, nil
		}
		from, to := m.ValueOffsets(row)
		for j := int(from); j < int(to); j++ {
			if m.Items().IsNull(j) {
				return dst, batch.UserErrorf("column %q: a map in Protocol Buffers holds no NULL", path)
			}
			var err error
			dst, err = sized(append(dst, tag...), func(dst []byte) ([]byte, error) {
				dst, err := key(append(dst, keyTag...), j)
				if err != nil {
					return dst, err
				}
				k := j
				if at != nil {
					k = at(j)
				}
				return item(append(dst, itemTag...), k)
			})
			if err != nil {
				return dst, err
			}
		}
		return dst, nil
	}, nil
}

// encodeSingle writes one value without its tag.
func encodeSingle(desc protoreflect.FieldDescriptor, a arrow.Array, path string, depth int) (Append, error) {
	switch desc.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return encodeMessage(desc, a, path, depth)
	case protoreflect.BoolKind:
		if b, ok := a.(*array.Boolean); ok {
			return func(dst []byte, i int) ([]byte, error) {
				return protowire.AppendVarint(dst, protowire.EncodeBool(b.Value(i))), nil
			}, nil
		}
	case protoreflect.FloatKind:
		if _, wide := a.(*array.Float64); wide {
			break
		}
		if get, ok := builders.Floats(a); ok {
			return func(dst []byte, i int) ([]byte, error) {
				return protowire.AppendFixed32(dst, math.Float32bits(float32(get(i)))), nil
			}, nil
		}
	case protoreflect.DoubleKind:
		if get, ok := builders.Floats(a); ok {
			return func(dst []byte, i int) ([]byte, error) {
				return protowire.AppendFixed64(dst, math.Float64bits(get(i))), nil
			}, nil
		}
	case protoreflect.StringKind, protoreflect.BytesKind:
		return encodeText(desc, a, path)
	case protoreflect.EnumKind:
		return encodeEnum(desc, a, path)
	default:
		if put := encodeInt(desc, a, path); put != nil {
			return put, nil
		}
	}
	return nil, unfit(desc, a, path)
}

func encodeText(desc protoreflect.FieldDescriptor, a arrow.Array, path string) (Append, error) {
	if d, ok := a.(*array.Decimal128); ok && desc.Kind() == protoreflect.StringKind {
		scale := d.DataType().(*arrow.Decimal128Type).Scale
		return func(dst []byte, i int) ([]byte, error) {
			return protowire.AppendString(dst, d.Value(i).ToString(scale)), nil
		}, nil
	}
	get, ok := builders.Texts(a)
	if !ok {
		return nil, unfit(desc, a, path)
	}
	check := a.DataType().ID() == arrow.BINARY && desc.Kind() == protoreflect.StringKind
	return func(dst []byte, i int) ([]byte, error) {
		v := get(i)
		if check && !utf8.Valid(v) {
			return dst, batch.UserErrorf("column %q: %.60q is not valid UTF-8, and its field is a string", path, v)
		}
		return protowire.AppendBytes(dst, v), nil
	}, nil
}

func encodeEnum(desc protoreflect.FieldDescriptor, a arrow.Array, path string) (Append, error) {
	if get, ok := builders.Ints(a); ok {
		return func(dst []byte, i int) ([]byte, error) {
			return protowire.AppendVarint(dst, uint64(int64(int32(get(i))))), nil
		}, nil
	}
	get, ok := builders.Texts(a)
	if !ok {
		return nil, unfit(desc, a, path)
	}
	values := desc.Enum().Values()
	return func(dst []byte, i int) ([]byte, error) {
		e := values.ByName(protoreflect.Name(get(i)))
		if e == nil {
			return dst, batch.UserErrorf("column %q: %.60q is no value of %s", path, get(i), desc.Enum().FullName())
		}
		return protowire.AppendVarint(dst, uint64(int64(e.Number()))), nil
	}, nil
}

// encodeInt writes whole numbers, days and times of day; nil if the column has none.
func encodeInt(desc protoreflect.FieldDescriptor, a arrow.Array, path string) Append {
	get, ok := builders.Ints(a)
	if !ok {
		return encodeUnsigned(desc, a, path)
	}
	lo, hi := int64(math.MinInt64), int64(math.MaxInt64)
	var put func(dst []byte, v int64) []byte
	switch desc.Kind() {
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		put = func(dst []byte, v int64) []byte { return protowire.AppendVarint(dst, uint64(v)) }
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		put = func(dst []byte, v int64) []byte { return protowire.AppendVarint(dst, protowire.EncodeZigZag(v)) }
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		put = func(dst []byte, v int64) []byte { return protowire.AppendFixed32(dst, uint32(v)) }
	default:
		put = func(dst []byte, v int64) []byte { return protowire.AppendFixed64(dst, uint64(v)) }
	}
	switch desc.Kind() {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		lo, hi = math.MinInt32, math.MaxInt32
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		lo, hi = 0, math.MaxUint32
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		lo = 0
	}
	return func(dst []byte, i int) ([]byte, error) {
		v := get(i)
		if v < lo || v > hi {
			return dst, batch.UserErrorf("column %q: %d is out of the range of %s", path, v, desc.Kind())
		}
		return put(dst, v), nil
	}
}

// encodeUnsigned writes decimals without fraction digits, which is what unsigned numbers
// of 64 bits are read as.
func encodeUnsigned(desc protoreflect.FieldDescriptor, a arrow.Array, path string) Append {
	d, ok := a.(*array.Decimal128)
	fixed := desc.Kind() == protoreflect.Fixed64Kind
	if !ok || d.DataType().(*arrow.Decimal128Type).Scale != 0 || !fixed && desc.Kind() != protoreflect.Uint64Kind {
		return nil
	}
	return func(dst []byte, i int) ([]byte, error) {
		n := d.Value(i)
		if n.HighBits() != 0 {
			return dst, batch.UserErrorf("column %q: %s is out of the range of %s", path, n.ToString(0), desc.Kind())
		}
		if fixed {
			return protowire.AppendFixed64(dst, n.LowBits()), nil
		}
		return protowire.AppendVarint(dst, n.LowBits()), nil
	}
}

func encodeMessage(desc protoreflect.FieldDescriptor, a arrow.Array, path string, depth int) (Append, error) {
	m := desc.Message()
	if desc.Kind() == protoreflect.GroupKind {
		return nil, batch.UserErrorf("column %q: groups are not written", path)
	}
	var put Append
	switch a := a.(type) {
	case *array.Struct:
		cols := make([]arrow.Array, a.NumField())
		for i := range cols {
			cols[i] = a.Field(i)
		}
		var err error
		if put, err = message(m, a.DataType().(*arrow.StructType).Fields(), cols, path+".", depth+1); err != nil {
			return nil, err
		}
	case *array.Timestamp:
		if m.FullName() == timestampName {
			put = encodeSpan(func(i int) int64 { return int64(a.Value(i)) }, true)
		}
	case *array.Duration:
		if m.FullName() == durationName {
			put = encodeSpan(func(i int) int64 { return int64(a.Value(i)) }, false)
		}
	}
	if inner := wrapped(m); inner != nil && put == nil {
		value, err := encodeSingle(inner, a, path, depth)
		if err != nil {
			return nil, err
		}
		tag := protowire.AppendTag(nil, 1, wireOf(inner.Kind()))
		put = func(dst []byte, i int) ([]byte, error) { return value(append(dst, tag...), i) }
	}
	if put == nil {
		return nil, unfit(desc, a, path)
	}
	return func(dst []byte, i int) ([]byte, error) {
		return sized(dst, func(dst []byte) ([]byte, error) { return put(dst, i) })
	}, nil
}

// encodeSpan writes microseconds as seconds and nanoseconds; the latter have the sign of
// a duration, and never one in an instant.
func encodeSpan(get func(i int) int64, floor bool) Append {
	return func(dst []byte, i int) ([]byte, error) {
		v := get(i)
		sec, nano := v/1_000_000, v%1_000_000*1000
		if floor && nano < 0 {
			sec, nano = sec-1, nano+1_000_000_000
		}
		if sec != 0 {
			dst = protowire.AppendVarint(protowire.AppendTag(dst, 1, protowire.VarintType), uint64(sec))
		}
		if nano != 0 {
			dst = protowire.AppendVarint(protowire.AppendTag(dst, 2, protowire.VarintType), uint64(nano))
		}
		return dst, nil
	}
}
