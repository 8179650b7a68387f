package avro

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
)

var (
	instant = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	wall    = &arrow.TimestampType{Unit: arrow.Microsecond}
)

// Columns returns the columns that a schema's values have: the fields of a record, or
// one of the name whole.
func Columns(s *Schema, whole string) (*arrow.Schema, error) {
	s, _ = s.Nullable()
	if s.Kind == Record {
		fields, err := columns(s, map[*Schema]bool{})
		if err != nil {
			return nil, err
		}
		return arrow.NewSchema(fields, nil), nil
	}
	dt, err := TypeOf(s)
	if err != nil {
		return nil, err
	}
	return arrow.NewSchema([]arrow.Field{{Name: whole, Type: dt, Nullable: true}}, nil), nil
}

// TypeOf returns the type of column that holds a schema's values.
func TypeOf(s *Schema) (arrow.DataType, error) { return typeOf(s, map[*Schema]bool{}) }

func columns(s *Schema, around map[*Schema]bool) ([]arrow.Field, error) {
	if around[s] {
		return nil, batch.UserErrorf("record %q holds itself: declare the columns, as deep as they are wanted", s.Name)
	}
	around[s] = true
	defer delete(around, s)
	fields := make([]arrow.Field, len(s.Fields))
	for i, f := range s.Fields {
		dt, err := typeOf(f.Schema, around)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", f.Name, err)
		}
		fields[i] = arrow.Field{Name: f.Name, Type: dt, Nullable: true}
	}
	return fields, nil
}

func typeOf(s *Schema, around map[*Schema]bool) (arrow.DataType, error) {
	switch s.Logical {
	case "decimal":
		return &arrow.Decimal128Type{Precision: s.Precision, Scale: s.Scale}, nil
	case "date":
		return arrow.FixedWidthTypes.Date32, nil
	case "time-millis", "time-micros":
		return arrow.FixedWidthTypes.Time64us, nil
	case "uuid":
		return arrow.BinaryTypes.String, nil
	case "":
	default:
		if strings.HasPrefix(s.Logical, "local-") {
			return wall, nil
		}
		return instant, nil
	}
	switch s.Kind {
	case Null, String, Enum:
		return arrow.BinaryTypes.String, nil
	case Boolean:
		return arrow.FixedWidthTypes.Boolean, nil
	case Int:
		return arrow.PrimitiveTypes.Int32, nil
	case Long:
		return arrow.PrimitiveTypes.Int64, nil
	case Float:
		return arrow.PrimitiveTypes.Float32, nil
	case Double:
		return arrow.PrimitiveTypes.Float64, nil
	case Bytes, Fixed:
		return arrow.BinaryTypes.Binary, nil
	case Array:
		dt, err := typeOf(s.Items, around)
		if err != nil {
			return nil, err
		}
		return arrow.ListOf(dt), nil
	case Map:
		dt, err := typeOf(s.Items, around)
		if err != nil {
			return nil, err
		}
		return arrow.MapOf(arrow.BinaryTypes.String, dt), nil
	case Record:
		fields, err := columns(s, around)
		if err != nil {
			return nil, err
		}
		return arrow.StructOf(fields...), nil
	default: // the others are behind the switch
	}
	return unionType(s, around)
}

// unionType is the type of one branch, the wider one of two numbers, or a struct with a
// field for each.
func unionType(s *Schema, around map[*Schema]bool) (arrow.DataType, error) {
	var types []arrow.DataType
	kinds := map[Kind]bool{}
	for _, b := range s.Branches {
		if b.Kind == Null {
			continue
		}
		dt, err := typeOf(b, around)
		if err != nil {
			return nil, err
		}
		types = append(types, dt)
		if b.Logical == "" {
			kinds[b.Kind] = true
		}
	}
	switch {
	case len(types) == 0:
		return arrow.BinaryTypes.String, nil
	case len(types) == 1:
		return types[0], nil
	case len(types) == 2 && kinds[Int] && kinds[Long]:
		return arrow.PrimitiveTypes.Int64, nil
	case len(types) == 2 && kinds[Float] && kinds[Double]:
		return arrow.PrimitiveTypes.Float64, nil
	}
	fields := make([]arrow.Field, len(types))
	for i, dt := range types {
		fields[i] = arrow.Field{Name: memberName(i), Type: dt, Nullable: true}
	}
	return arrow.StructOf(fields...), nil
}

// SchemaFor returns a schema for rows of these columns, under the name of a record.
// Columns that may be NULL are unions of null, their default, and their type.
func SchemaFor(columns *arrow.Schema, name string) (*Schema, error) {
	p := &maker{seen: map[string]bool{}}
	s, err := p.record(columns.Fields(), name)
	if err != nil {
		return nil, err
	}
	if s.size(); s.least < 0 {
		return nil, batch.UserErrorf("the columns do not make an Avro schema")
	}
	return s, nil
}

type maker struct{ seen map[string]bool }

func (p *maker) record(fields []arrow.Field, name string) (*Schema, error) {
	for base, n := name, 2; p.seen[name]; n++ {
		name = fmt.Sprintf("%s_%d", base, n)
	}
	p.seen[name] = true
	s := &Schema{Kind: Record, Name: name}
	for _, f := range fields {
		if !nameText.MatchString(f.Name) {
			return nil, batch.UserErrorf("column %q: Avro names fields with letters, digits and _ only; give it another name", f.Name)
		}
		t, err := p.schema(f.Type, name+"_"+f.Name)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Name, err)
		}
		field := Field{Name: f.Name, Schema: t}
		if f.Nullable && t.Kind != Null {
			field.Schema, field.HasDefault = optional(t), true
		}
		s.Fields = append(s.Fields, field)
	}
	s.size()
	return s, nil
}

func optional(s *Schema) *Schema {
	if s.Kind == Null {
		return s
	}
	u := &Schema{Kind: Union, Branches: []*Schema{{Kind: Null}, s}}
	u.size()
	return u
}

func (p *maker) schema(dt arrow.DataType, name string) (*Schema, error) {
	s, err := p.make(dt, name)
	if err == nil {
		s.size()
	}
	return s, err
}

func (p *maker) make(dt arrow.DataType, name string) (*Schema, error) {
	switch t := dt.(type) {
	case *arrow.BooleanType:
		return &Schema{Kind: Boolean}, nil
	case *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type, *arrow.MonthIntervalType:
		return &Schema{Kind: Int}, nil
	case *arrow.Int64Type, *arrow.DurationType:
		return &Schema{Kind: Long}, nil
	case *arrow.Float32Type:
		return &Schema{Kind: Float}, nil
	case *arrow.Float64Type:
		return &Schema{Kind: Double}, nil
	case *arrow.StringType:
		return &Schema{Kind: String}, nil
	case *arrow.BinaryType:
		return &Schema{Kind: Bytes}, nil
	case *arrow.NullType:
		return &Schema{Kind: Null}, nil
	case *arrow.Date32Type:
		return &Schema{Kind: Int, Logical: "date"}, nil
	case *arrow.Time64Type:
		return &Schema{Kind: Long, Logical: "time-micros"}, nil
	case *arrow.TimestampType:
		if t.TimeZone == "" {
			return &Schema{Kind: Long, Logical: "local-timestamp-micros"}, nil
		}
		return &Schema{Kind: Long, Logical: "timestamp-micros"}, nil
	case *arrow.Decimal128Type:
		return &Schema{Kind: Bytes, Logical: "decimal", Precision: t.Precision, Scale: t.Scale}, nil
	case *arrow.DictionaryType:
		return p.make(t.ValueType, name)
	case *arrow.StructType:
		return p.record(t.Fields(), name)
	case *arrow.ListType:
		item, err := p.schema(t.Elem(), name)
		if err != nil {
			return nil, err
		}
		return &Schema{Kind: Array, Items: optional(item)}, nil
	case *arrow.MapType:
		if t.KeyType().ID() != arrow.STRING {
			return nil, batch.UserErrorf("the keys of a map in Avro are strings, not %s", t.KeyType())
		}
		item, err := p.schema(t.ItemType(), name)
		if err != nil {
			return nil, err
		}
		return &Schema{Kind: Map, Items: optional(item)}, nil
	}
	return nil, batch.UserErrorf("values of type %s cannot be written as Avro", dt)
}

var notName = regexp.MustCompile(`[^A-Za-z0-9_]+`)

// NameOf makes the name of a record of any text.
func NameOf(text string) string {
	parts := strings.Split(text, ".")
	for i, p := range parts {
		p = notName.ReplaceAllString(p, "_")
		if p == "" || p[0] >= '0' && p[0] <= '9' {
			p = "_" + p
		}
		parts[i] = p
	}
	return strings.Join(parts, ".")
}
