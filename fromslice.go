package sluice

import (
	"fmt"
	"reflect"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// FromSlice makes a DataFrame of Go structs, with a column for each exported field
// (named like it, or by the tag `sluice:"name"`; "-" leaves it out). A pointer may be
// NULL. Slices become arrays, maps maps, structs structs.
func FromSlice[T any](s *Session, rows []T) *DataFrame {
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Struct || t == timeType {
		return &DataFrame{s: s, err: batch.UserErrorf("make a DataFrame of %s: want structs", t)}
	}
	dt, err := typeOfGo(t)
	if err != nil {
		return &DataFrame{s: s, err: fmt.Errorf("make a DataFrame of %s: %w", t, err)}
	}
	schema := arrow.NewSchema(dt.(*arrow.StructType).Fields(), nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range rows {
		v := reflect.ValueOf(&rows[i]).Elem()
		at := 0
		for _, f := range reflect.VisibleFields(t) {
			if fieldName(f) == "" {
				continue
			}
			appendGo(b.Field(at), v.FieldByIndex(f.Index))
			at++
		}
	}
	rec := b.NewRecordBatch()
	defer rec.Release()
	return s.CreateDataFrame(schema, rec)
}

// typeOfGo is the column type for a Go type.
func typeOfGo(t reflect.Type) (arrow.DataType, error) {
	switch t {
	case timeType:
		return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, nil
	case reflect.TypeFor[time.Duration]():
		return arrow.FixedWidthTypes.Duration_us, nil
	case reflect.TypeFor[[]byte]():
		return arrow.BinaryTypes.Binary, nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeOfGo(t.Elem())
	case reflect.Bool:
		return expr.TypeBool, nil
	case reflect.Int8:
		return arrow.PrimitiveTypes.Int8, nil
	case reflect.Int16, reflect.Uint8:
		return arrow.PrimitiveTypes.Int16, nil
	case reflect.Int32, reflect.Uint16:
		return expr.TypeInt32, nil
	case reflect.Int, reflect.Int64, reflect.Uint32:
		return arrow.PrimitiveTypes.Int64, nil
	case reflect.Float32:
		return arrow.PrimitiveTypes.Float32, nil
	case reflect.Float64:
		return expr.TypeDouble, nil
	case reflect.String:
		return arrow.BinaryTypes.String, nil
	case reflect.Slice, reflect.Array:
		elem, err := typeOfGo(t.Elem())
		if err != nil {
			return nil, err
		}
		return arrow.ListOf(elem), nil
	case reflect.Map:
		key, err := typeOfGo(t.Key())
		if err != nil {
			return nil, err
		}
		item, err := typeOfGo(t.Elem())
		if err != nil {
			return nil, err
		}
		return arrow.MapOf(key, item), nil
	case reflect.Struct:
		var fields []arrow.Field
		for _, f := range reflect.VisibleFields(t) {
			name := fieldName(f)
			if name == "" {
				continue
			}
			dt, err := typeOfGo(f.Type)
			if err != nil {
				return nil, fmt.Errorf("field %s: %w", f.Name, err)
			}
			fields = append(fields, arrow.Field{Name: name, Type: dt, Nullable: true})
		}
		return arrow.StructOf(fields...), nil
	}
	return nil, batch.UserErrorf("there is no column type for %s", t)
}

// appendGo appends a value of a type that typeOfGo took.
func appendGo(b array.Builder, v reflect.Value) {
	if v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		if v.IsNil() {
			b.AppendNull()
			return
		}
	}
	if v.Kind() == reflect.Pointer {
		appendGo(b, v.Elem())
		return
	}
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(v.Bool())
	case *array.Int8Builder:
		b.Append(int8(v.Int()))
	case *array.Int16Builder:
		b.Append(int16(whole(v)))
	case *array.Int32Builder:
		b.Append(int32(whole(v)))
	case *array.Int64Builder:
		b.Append(whole(v))
	case *array.Float32Builder:
		b.Append(float32(v.Float()))
	case *array.Float64Builder:
		b.Append(v.Float())
	case *array.StringBuilder:
		b.Append(v.String())
	case *array.BinaryBuilder:
		b.Append(v.Bytes())
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v.Interface().(time.Time).UnixMicro()))
	case *array.DurationBuilder:
		b.Append(arrow.Duration(v.Int() / int64(time.Microsecond)))
	case *array.MapBuilder:
		b.Append(true)
		for _, k := range sortedKeys(v) {
			appendGo(b.KeyBuilder(), k)
			appendGo(b.ItemBuilder(), v.MapIndex(k))
		}
	case *array.ListBuilder:
		b.Append(true)
		for i := range v.Len() {
			appendGo(b.ValueBuilder(), v.Index(i))
		}
	case *array.StructBuilder:
		b.Append(true)
		at := 0
		for _, f := range reflect.VisibleFields(v.Type()) {
			if fieldName(f) != "" {
				appendGo(b.FieldBuilder(at), v.FieldByIndex(f.Index))
				at++
			}
		}
	}
}

func whole(v reflect.Value) int64 {
	if v.CanUint() {
		return int64(v.Uint())
	}
	return v.Int()
}
