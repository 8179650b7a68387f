package protobuf

import (
	"fmt"
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/builders"
	"github.com/sluice-stream/sluice/formats/text"
)

// FieldError names the column whose value could not be read.
type FieldError struct {
	Field string
	Err   error
}

// Error names field and cause.
func (e *FieldError) Error() string { return fmt.Sprintf("field %q: %v", e.Field, e.Err) }

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }

// object plans how a message's fields become columns.
func (d *Decoder) object(m protoreflect.MessageDescriptor, cols []arrow.Field, bs []array.Builder, path string, depth int) (*object, error) {
	if depth > maxDepth {
		return nil, batch.UserErrorf("column %q nests deeper than %d levels", path, maxDepth)
	}
	o := &object{}
	for i, col := range cols {
		desc := find(m, col.Name)
		if desc == nil {
			b := bs[i]
			if !col.Nullable {
				return nil, batch.UserErrorf("message %s has no field for the column %q, which is NOT NULL", m.FullName(), path+col.Name)
			}
			o.fields = append(o.fields, &field{wire: -1, put: func(*seen) error { b.AppendNull(); return nil }})
			continue
		}
		f, err := d.field(desc, bs[i], path+col.Name, depth)
		if err != nil {
			return nil, err
		}
		if o.place(desc.Number()) >= 0 {
			return nil, batch.UserErrorf("two columns are the field %s of message %s", desc.Name(), m.FullName())
		}
		o.know(desc.Number(), len(o.fields))
		o.fields = append(o.fields, f)
	}
	return o, nil
}

func wireOf(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	}
	return protowire.VarintType
}

func incompatible(f protoreflect.FieldDescriptor, b array.Builder, path string) error {
	what := f.Kind().String()
	if f.Message() != nil {
		what += " " + string(f.Message().FullName())
	}
	if f.IsMap() {
		what = "map"
	} else if f.IsList() {
		what = "repeated " + what
	}
	return batch.UserErrorf("field %q is written as %s, which cannot be read as %s", path, what, b.Type())
}

func (d *Decoder) field(desc protoreflect.FieldDescriptor, b array.Builder, path string, depth int) (*field, error) {
	if desc.IsMap() {
		return d.mapping(desc, b, path, depth)
	}
	if desc.IsList() {
		return d.list(desc, b, path, depth)
	}
	f := &field{wire: wireOf(desc.Kind()), join: desc.Message() != nil}
	add, inner, err := d.single(desc, b, path, depth)
	if err != nil {
		return nil, err
	}
	f.inner = inner
	zero := !desc.HasPresence() && !d.o.NoZeros
	f.put = func(s *seen) error {
		switch {
		case len(s.all) == 0 && !zero:
			b.AppendNull()
			return nil
		case len(s.all) == 0:
			return add(value{})
		case f.join:
			return add(value{b: d.together(s)})
		}
		return add(s.all[0])
	}
	return f, nil
}

func (d *Decoder) list(desc protoreflect.FieldDescriptor, b array.Builder, path string, depth int) (*field, error) {
	list, ok := b.(*array.ListBuilder)
	if !ok {
		return nil, incompatible(desc, b, path)
	}
	add, inner, err := d.single(desc, list.ValueBuilder(), path+"[]", depth)
	if err != nil {
		return nil, err
	}
	wire := wireOf(desc.Kind())
	return &field{
		wire: wire, many: true, inner: inner, packed: wire != protowire.BytesType && wire != protowire.StartGroupType,
		put: func(s *seen) error {
			list.Append(true)
			for _, v := range s.all {
				if err := add(v); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}

func (d *Decoder) mapping(desc protoreflect.FieldDescriptor, b array.Builder, path string, depth int) (*field, error) {
	m, ok := b.(*array.MapBuilder)
	if !ok {
		return nil, incompatible(desc, b, path)
	}
	key, _, err := d.single(desc.MapKey(), m.KeyBuilder(), path+" (key)", depth)
	if err != nil {
		return nil, err
	}
	item, inner, err := d.single(desc.MapValue(), m.ItemBuilder(), path+"[]", depth)
	if err != nil {
		return nil, err
	}
	// An entry is a message of a key and a value.
	entry := &object{fields: []*field{{wire: wireOf(desc.MapKey().Kind())}, {wire: wireOf(desc.MapValue().Kind()), join: desc.MapValue().Message() != nil, inner: inner}}}
	entry.know(1, 0)
	entry.know(2, 1)
	f := &field{wire: protowire.BytesType, many: true, inner: entry}
	f.put = func(s *seen) error {
		m.Append(true)
		last := map[string]int{} // of equal keys the last one counts
		if len(s.all) > 1 {
			for i, v := range s.all {
				last[entryKey(entry, v.b)] = i
			}
		}
		for i, v := range s.all {
			if len(s.all) > 1 && last[entryKey(entry, v.b)] != i {
				continue
			}
			parts := entry.take()
			if err := entry.walk(v.b, parts); err != nil {
				return unreadable(err)
			}
			var k, e value
			if n := len(parts[0].all); n > 0 {
				k = parts[0].all[n-1]
			}
			if len(parts[1].all) > 0 {
				if e = parts[1].all[0]; entry.fields[1].join {
					e = value{b: d.together(&parts[1])}
				}
			}
			entry.give(parts)
			if err := key(k); err != nil {
				return err
			}
			if err := item(e); err != nil {
				return err
			}
		}
		return nil
	}
	return f, nil
}

// entryKey tells the keys of entries apart.
func entryKey(entry *object, b []byte) string {
	parts := entry.take()
	defer entry.give(parts)
	if entry.walk(b, parts) != nil || len(parts[0].all) == 0 {
		return ""
	}
	k := parts[0].all[len(parts[0].all)-1]
	if k.b != nil {
		return string(k.b)
	}
	if k.num == 0 {
		return ""
	}
	return strconv.FormatUint(k.num, 10)
}

// add puts one value.
type add func(v value) error

// noted names the column in an error, or puts NULL for what does not fit.
func (d *Decoder) noted(put add, b array.Builder, path string) add {
	_, isKey := b.(*array.StringBuilder)
	return func(v value) error {
		err := put(v)
		if err == nil {
			return nil
		}
		if _, named := err.(*FieldError); !named {
			err = &FieldError{Field: path, Err: err}
		}
		if !d.o.Lenient {
			return err
		}
		if d.wrong == nil {
			d.wrong = err
		}
		if isKey && len(path) > 6 && path[len(path)-6:] == " (key)" {
			b.(*array.StringBuilder).Append("\ufffd") // a map has no key that is NULL; the row is bad anyhow
			return nil
		}
		b.AppendNull()
		return nil
	}
}

// single returns what puts one value of a field.
func (d *Decoder) single(desc protoreflect.FieldDescriptor, b array.Builder, path string, depth int) (add, *object, error) {
	if desc.Message() != nil {
		put, inner, err := d.message(desc, b, path, depth)
		if err != nil || inner != nil {
			return put, inner, err
		}
		return d.noted(put, b, path), nil, nil
	}
	put := d.scalar(desc, b)
	if put == nil {
		return nil, nil, incompatible(desc, b, path)
	}
	return d.noted(put, b, path), nil, nil
}

func (d *Decoder) message(desc protoreflect.FieldDescriptor, b array.Builder, path string, depth int) (add, *object, error) {
	m := desc.Message()
	if st, ok := b.(*array.StructBuilder); ok {
		bs := make([]array.Builder, st.NumField())
		for i := range bs {
			bs[i] = st.FieldBuilder(i)
		}
		o, err := d.object(m, st.Type().(*arrow.StructType).Fields(), bs, path+".", depth+1)
		if err != nil {
			return nil, nil, err
		}
		return func(v value) error {
			st.Append(true)
			return d.fill(o, v.b)
		}, o, nil
	}
	if raw, ok := b.(*array.BinaryBuilder); ok && wrapped(m) == nil {
		return func(v value) error { raw.Append(v.b); return nil }, nil, nil
	}
	switch m.FullName() {
	case timestampName:
		if put, ok := builders.Micros(b, 1); ok {
			return spanOf(put), nil, nil
		}
	case durationName:
		if put, ok := builders.Duration(b); ok {
			return spanOf(put), nil, nil
		}
	}
	if inner := wrapped(m); inner != nil {
		if put := d.scalar(inner, b); put != nil {
			o := &object{fields: []*field{{wire: wireOf(inner.Kind())}}}
			o.know(1, 0)
			return func(v value) error {
				s := o.take()
				defer o.give(s)
				if err := o.walk(v.b, s); err != nil {
					return unreadable(err)
				}
				if len(s[0].all) == 0 {
					return put(value{})
				}
				return put(s[0].all[0])
			}, nil, nil
		}
	}
	return nil, nil, incompatible(desc, b, path)
}

// spanOf reads seconds and nanoseconds as microseconds.
func spanOf(put func(int64) error) add {
	o := &object{fields: []*field{{wire: protowire.VarintType}, {wire: protowire.VarintType}}}
	o.know(1, 0)
	o.know(2, 1)
	return func(v value) error {
		s := o.take()
		defer o.give(s)
		if err := o.walk(v.b, s); err != nil {
			return unreadable(err)
		}
		var sec, nano int64
		if len(s[0].all) > 0 {
			sec = int64(s[0].all[0].num)
		}
		if len(s[1].all) > 0 {
			nano = int64(int32(s[1].all[0].num))
		}
		if sec > math.MaxInt64/1_000_000-1 || sec < math.MinInt64/1_000_000+1 || nano > 999_999_999 || nano < -999_999_999 {
			return fmt.Errorf("%d seconds and %d nanoseconds are out of range", sec, nano)
		}
		micro := nano / 1000
		if nano%1000 < 0 {
			micro--
		}
		return put(sec*1_000_000 + micro)
	}
}

// scalar returns what puts a value that holds no others, nil if the column cannot hold it.
func (d *Decoder) scalar(desc protoreflect.FieldDescriptor, b array.Builder) add {
	k := desc.Kind()
	switch k {
	case protoreflect.BoolKind:
		if put, ok := builders.Bool(b); ok {
			return func(v value) error { return put(v.num != 0) }
		}
	case protoreflect.StringKind, protoreflect.BytesKind:
		return textual(k, b)
	case protoreflect.FloatKind:
		if put, ok := builders.Float(b); ok {
			return func(v value) error { return put(float64(math.Float32frombits(uint32(v.num)))) }
		}
	case protoreflect.DoubleKind:
		if _, narrow := b.(*array.Float32Builder); narrow {
			return nil
		}
		if put, ok := builders.Float(b); ok {
			return func(v value) error { return put(math.Float64frombits(v.num)) }
		}
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		if put, ok := builders.Uint(b); ok {
			return func(v value) error { return put(v.num) }
		}
	case protoreflect.EnumKind:
		return d.enum(desc, b)
	default:
		if put := whole(b); put != nil {
			get := integer(k)
			return func(v value) error { return put(get(v.num)) }
		}
	}
	return nil
}

// whole puts whole numbers, also those that SchemaFor writes days and times as.
func whole(b array.Builder) func(int64) error {
	for _, into := range []func(array.Builder) (func(int64) error, bool){
		builders.Int, builders.Days,
		func(b array.Builder) (func(int64) error, bool) { return builders.TimeOfDay(b, 1) },
		func(b array.Builder) (func(int64) error, bool) {
			if t, ok := b.Type().(*arrow.TimestampType); !ok || t.TimeZone != "" {
				return nil, false
			}
			return builders.Micros(b, 1)
		},
	} {
		if put, ok := into(b); ok {
			return put
		}
	}
	return nil
}

// integer reads the number that a wire value is.
func integer(k protoreflect.Kind) func(uint64) int64 {
	switch k {
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		return func(v uint64) int64 { return int64(int32(v)) }
	case protoreflect.Sint32Kind:
		return func(v uint64) int64 { return int64(int32(protowire.DecodeZigZag(v & math.MaxUint32))) }
	case protoreflect.Sint64Kind:
		return protowire.DecodeZigZag
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return func(v uint64) int64 { return int64(uint32(v)) }
	}
	return func(v uint64) int64 { return int64(v) }
}

// textual puts texts and bytes; a decimal number is written as a text.
func textual(k protoreflect.Kind, b array.Builder) add {
	if dec, ok := b.(*array.Decimal128Builder); ok && k == protoreflect.StringKind {
		t := dec.Type().(*arrow.Decimal128Type)
		return func(v value) error {
			if len(v.b) == 0 {
				dec.AppendNull() // a string without presence is empty where there is none
				return nil
			}
			n, err := text.ParseDecimal(v.b, t.Precision, t.Scale)
			if err == nil {
				dec.Append(n)
			}
			return err
		}
	}
	put, ok := builders.Bytes(b)
	if !ok {
		return nil
	}
	return func(v value) error { return put(v.b) }
}

// enum puts the name of an enum's value, or its number where it has none.
func (d *Decoder) enum(desc protoreflect.FieldDescriptor, b array.Builder) add {
	if put, ok := builders.Int(b); ok {
		return func(v value) error { return put(int64(int32(v.num))) }
	}
	s, ok := b.(*array.StringBuilder)
	if !ok {
		return nil
	}
	values := desc.Enum().Values()
	return func(v value) error {
		n := protoreflect.EnumNumber(int32(v.num))
		if e := values.ByNumber(n); e != nil && !d.o.EnumNumbers {
			s.Append(string(e.Name()))
			return nil
		}
		s.Append(strconv.Itoa(int(n)))
		return nil
	}
}
