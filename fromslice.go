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
	memorysource "github.com/sluice-stream/sluice/sources/memory"
)

// FromSlice makes a DataFrame of Go structs, with a column for each exported field
// (named like it, or by the tag `sluice:"name"`; "-" leaves it out). A pointer may be
// NULL. Slices become arrays, maps maps, structs structs.
func FromSlice[T any](s *Session, rows []T) *DataFrame {
	schema, err := schemaOfGo(reflect.TypeFor[T]())
	if err != nil {
		return &DataFrame{s: s, err: err}
	}
	rec := recordOfGo(schema, rows)
	defer rec.Release()
	return s.CreateDataFrame(schema, rec)
}

// Change is a row and what became of it.
type Change[T any] struct {
	Op  Op
	Row T
}

// FromChanges makes a DataFrame of the rows that a list of changes leaves: what was
// added and not taken back. A row that is taken back and not there is a fault when the
// DataFrame is run. A stream takes changes with AddChanges.
func FromChanges[T any](s *Session, changes []Change[T]) *DataFrame {
	schema, err := schemaOfGo(reflect.TypeFor[T]())
	if err != nil {
		return &DataFrame{s: s, err: err}
	}
	st := memorysource.NewStream(schema)
	st.Changes = batch.Retracts
	if err := addChanges(st, schema, changes); err != nil {
		st.Close()
		return &DataFrame{s: s, err: fmt.Errorf("create a DataFrame of changes: %w", err)}
	}
	st.End()
	return s.ownStream(st)
}

// AddChanges adds changes to a stream that was made with Retractions or Upserts; the
// fields of T are its columns, in their order.
func AddChanges[T any](st *Stream, changes ...Change[T]) error {
	schema, err := schemaOfGo(reflect.TypeFor[T]())
	if err == nil {
		err = addChanges(st.s, schema, changes)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", st.name, err)
	}
	return nil
}

func addChanges[T any](st *memorysource.Stream, schema *arrow.Schema, changes []Change[T]) error {
	rows := make([]T, len(changes))
	ops := array.NewInt8Builder(memory.DefaultAllocator)
	defer ops.Release()
	for i, c := range changes {
		rows[i] = c.Row
		ops.Append(int8(c.Op))
	}
	rec := recordOfGo(schema, rows)
	defer rec.Release()
	kinds := ops.NewArray()
	defer kinds.Release()
	// The names and what cannot be NULL are the stream's: Go's types do not say.
	want := st.Schema()
	fields := schema.Fields()
	if want.NumFields() == len(fields) {
		fields = want.Fields()
	}
	for i, f := range fields {
		if !arrow.TypeEqual(f.Type, rec.Column(i).DataType()) {
			return batch.UserErrorf("column %q is %s, and field %d of the changes is %s", f.Name, f.Type, i+1, rec.Column(i).DataType())
		}
	}
	fields = append(fields, arrow.Field{Name: OpColumn, Type: arrow.PrimitiveTypes.Int8})
	all := array.NewRecordBatch(arrow.NewSchema(fields, nil), append(rec.Columns(), kinds), rec.NumRows())
	defer all.Release()
	_, err := st.AddData(all)
	return err
}

// schemaOfGo has a column for each field of a struct.
func schemaOfGo(t reflect.Type) (*arrow.Schema, error) {
	if t.Kind() != reflect.Struct || t == timeType {
		return nil, batch.UserErrorf("make a DataFrame of %s: want structs", t)
	}
	dt, err := typeOfGo(t)
	if err != nil {
		return nil, fmt.Errorf("make a DataFrame of %s: %w", t, err)
	}
	return arrow.NewSchema(dt.(*arrow.StructType).Fields(), nil), nil
}

// recordOfGo makes a batch of structs, which the caller owns.
func recordOfGo[T any](schema *arrow.Schema, rows []T) arrow.RecordBatch {
	t := reflect.TypeFor[T]()
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
	return b.NewRecordBatch()
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
