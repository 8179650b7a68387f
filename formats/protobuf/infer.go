package protobuf

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sluice-stream/sluice/batch"
)

var (
	instant = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	unsign  = &arrow.Decimal128Type{Precision: 20}
)

// The messages of google.protobuf that stand for a value.
const (
	timestampName = "google.protobuf.Timestamp"
	durationName  = "google.protobuf.Duration"
)

// wrapped is the field of a wrapper message, nil for any other.
func wrapped(m protoreflect.MessageDescriptor) protoreflect.FieldDescriptor {
	switch m.FullName() {
	case "google.protobuf.DoubleValue", "google.protobuf.FloatValue", "google.protobuf.Int64Value", "google.protobuf.UInt64Value", "google.protobuf.Int32Value",
		"google.protobuf.UInt32Value", "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue":
		return m.Fields().ByName("value")
	}
	return nil
}

// Columns returns the columns that messages of a type have.
func (t *Type) Columns() (*arrow.Schema, error) {
	fields, err := columns(t.desc, map[protoreflect.FullName]bool{})
	if err != nil {
		return nil, err
	}
	return arrow.NewSchema(fields, nil), nil
}

func columns(m protoreflect.MessageDescriptor, around map[protoreflect.FullName]bool) ([]arrow.Field, error) {
	if around[m.FullName()] {
		return nil, batch.UserErrorf("message %s holds itself: declare the columns, as deep as they are wanted", m.FullName())
	}
	around[m.FullName()] = true
	defer delete(around, m.FullName())
	var fields []arrow.Field
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		dt, err := typeOf(f, around)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", f.Name(), err)
		}
		fields = append(fields, arrow.Field{Name: string(f.Name()), Type: dt, Nullable: true})
	}
	return fields, nil
}

func typeOf(f protoreflect.FieldDescriptor, around map[protoreflect.FullName]bool) (arrow.DataType, error) {
	if f.IsMap() {
		key, err := single(f.MapKey(), around)
		if err != nil {
			return nil, err
		}
		item, err := single(f.MapValue(), around)
		if err != nil {
			return nil, err
		}
		return arrow.MapOf(key, item), nil
	}
	dt, err := single(f, around)
	if err == nil && f.IsList() {
		dt = arrow.ListOf(dt)
	}
	return dt, err
}

// single is the type of one value of a field.
func single(f protoreflect.FieldDescriptor, around map[protoreflect.FullName]bool) (arrow.DataType, error) {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return arrow.FixedWidthTypes.Boolean, nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return arrow.PrimitiveTypes.Int32, nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return arrow.PrimitiveTypes.Int64, nil
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return unsign, nil
	case protoreflect.FloatKind:
		return arrow.PrimitiveTypes.Float32, nil
	case protoreflect.DoubleKind:
		return arrow.PrimitiveTypes.Float64, nil
	case protoreflect.BytesKind:
		return arrow.BinaryTypes.Binary, nil
	case protoreflect.MessageKind, protoreflect.GroupKind:
		m := f.Message()
		switch inner := wrapped(m); {
		case inner != nil:
			return single(inner, around)
		case m.FullName() == timestampName:
			return instant, nil
		case m.FullName() == durationName:
			return arrow.FixedWidthTypes.Duration_us, nil
		}
		fields, err := columns(m, around)
		if err != nil {
			return nil, err
		}
		return arrow.StructOf(fields...), nil
	}
	return arrow.BinaryTypes.String, nil // strings and enums
}

// SchemaFor returns the text of a .proto file with one message for rows of these columns.
// Columns that hold one value are optional, so that NULL is told from zero.
func SchemaFor(cols *arrow.Schema, name string) (string, error) {
	w := &protoWriter{imports: map[string]bool{}}
	space, own := "", name
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		space, own = name[:i], name[i+1:]
	}
	if err := w.message(cols.Fields(), own, "", 0); err != nil {
		return "", err
	}
	head := "syntax = \"proto3\";\n"
	if space != "" {
		head += "package " + space + ";\n"
	}
	for _, m := range []string{"duration", "timestamp"} {
		if w.imports[m] {
			head += "import \"google/protobuf/" + m + ".proto\";\n"
		}
	}
	return head + w.b.String(), nil
}

type protoWriter struct {
	b       strings.Builder
	imports map[string]bool
}

func (w *protoWriter) message(fields []arrow.Field, name, indent string, depth int) error {
	if depth > maxDepth {
		return batch.UserErrorf("the columns nest deeper than %d levels", maxDepth)
	}
	fmt.Fprintf(&w.b, "%smessage %s {\n", indent, name)
	for i, f := range fields {
		if !plainName(f.Name) {
			return batch.UserErrorf("column %q: Protocol Buffers name fields with letters, digits and _ only; give it another name", f.Name)
		}
		label, typ, err := w.field(f.Type, fmt.Sprintf("T%d_%s", i+1, f.Name), indent+"  ", depth)
		if err != nil {
			return fmt.Errorf("column %q: %w", f.Name, err)
		}
		fmt.Fprintf(&w.b, "%s  %s%s %s = %d;\n", indent, label, typ, f.Name, fieldNumber(i))
	}
	fmt.Fprintf(&w.b, "%s}\n", indent)
	return nil
}

// fieldNumber is the number of the i-th column's field: some numbers are reserved.
func fieldNumber(i int) int {
	if i+1 >= 19000 {
		return i + 1001
	}
	return i + 1
}

func plainName(s string) bool {
	for i, c := range []byte(s) {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func (w *protoWriter) field(dt arrow.DataType, name, indent string, depth int) (label, typ string, err error) {
	switch t := dt.(type) {
	case *arrow.ListType:
		if id := t.Elem().ID(); id == arrow.LIST || id == arrow.MAP {
			return "", "", batch.UserErrorf("Protocol Buffers have no lists of lists or maps")
		}
		typ, err = w.single(t.Elem(), name, indent, depth)
		return "repeated ", typ, err
	case *arrow.MapType:
		key, err := w.single(t.KeyType(), name, indent, depth)
		if err != nil {
			return "", "", err
		}
		if id := t.ItemType().ID(); key != "string" && key != "int32" && key != "int64" && key != "bool" || id == arrow.LIST || id == arrow.MAP {
			return "", "", batch.UserErrorf("Protocol Buffers have no %s", dt)
		}
		item, err := w.single(t.ItemType(), name, indent, depth)
		return "", "map<" + key + ", " + item + ">", err
	}
	typ, err = w.single(dt, name, indent, depth)
	return "optional ", typ, err
}

func (w *protoWriter) single(dt arrow.DataType, name, indent string, depth int) (string, error) {
	switch t := dt.(type) {
	case *arrow.BooleanType:
		return "bool", nil
	case *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type, *arrow.Date32Type, *arrow.MonthIntervalType:
		return "int32", nil
	case *arrow.Int64Type, *arrow.Time64Type:
		return "int64", nil
	case *arrow.TimestampType:
		if t.TimeZone == "" {
			return "int64", nil
		}
		w.imports["timestamp"] = true
		return timestampName, nil
	case *arrow.DurationType:
		w.imports["duration"] = true
		return durationName, nil
	case *arrow.Float32Type:
		return "float", nil
	case *arrow.Float64Type:
		return "double", nil
	case *arrow.StringType, *arrow.Decimal128Type:
		return "string", nil
	case *arrow.BinaryType:
		return "bytes", nil
	case *arrow.DictionaryType:
		return w.single(t.ValueType, name, indent, depth)
	case *arrow.StructType:
		return name, w.message(t.Fields(), name, indent, depth+1)
	}
	return "", batch.UserErrorf("values of type %s cannot be written as Protocol Buffers", dt)
}
