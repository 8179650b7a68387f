package sluice

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/logical"
)

// goCodec makes the stored form of Go values: the number of fields, then a row of
// rowkey. A value with fewer fields than there are now was written before the last
// ones were added; they are zero.
type goCodec[T any] struct {
	fields   []logical.StateField
	types    []arrow.DataType
	indexes  [][]int // of each field in the struct; nil for a value that is none
	codecs   []*rowkey.ValueCodec
	builders []array.Builder
	arrays   []arrow.Array
	rows     rowkey.Rows
	buf      []byte
}

func newGoCodec[T any]() (*goCodec[T], error) {
	t := reflect.TypeFor[T]()
	c := &goCodec[T]{}
	add := func(name string, t reflect.Type, index []int) error {
		dt, err := typeOfGo(t)
		if err != nil {
			return err
		}
		null := t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map
		c.fields = append(c.fields, logical.StateField{Name: name, Type: dt.String(), Nullable: null})
		c.types, c.indexes = append(c.types, dt), append(c.indexes, index)
		c.builders = append(c.builders, array.NewBuilder(memory.DefaultAllocator, dt))
		return nil
	}
	if t.Kind() == reflect.Struct && t != timeType {
		for _, f := range reflect.VisibleFields(t) {
			if name := fieldName(f); name != "" {
				if err := add(name, f.Type, f.Index); err != nil {
					return nil, fmt.Errorf("field %s of %s: %w", f.Name, t, err)
				}
			}
		}
	} else if err := add("value", t, nil); err != nil {
		return nil, err
	}
	c.codecs, c.arrays = make([]*rowkey.ValueCodec, len(c.types)+1), make([]arrow.Array, len(c.types))
	_, err := c.codec(len(c.types))
	return c, err
}

// codec is that of the first n fields.
func (c *goCodec[T]) codec(n int) (*rowkey.ValueCodec, error) {
	if n < 0 || n > len(c.types) {
		return nil, rowkey.ErrDamaged
	}
	var err error
	if c.codecs[n] == nil {
		c.codecs[n], err = rowkey.NewValueCodec(c.types[:n])
	}
	return c.codecs[n], err
}

func (c *goCodec[T]) field(v reflect.Value, i int) reflect.Value {
	if c.indexes[i] == nil {
		return v
	}
	return v.FieldByIndex(c.indexes[i])
}

// encode returns the stored form, which is good until the next call.
func (c *goCodec[T]) encode(v *T) ([]byte, error) {
	rv := reflect.ValueOf(v).Elem()
	for i, b := range c.builders {
		appendGo(b, c.field(rv, i))
		c.arrays[i] = b.NewArray()
	}
	err := c.codecs[len(c.types)].Encode(c.arrays, 1, &c.rows)
	for _, a := range c.arrays {
		a.Release()
	}
	if err != nil {
		return nil, err
	}
	c.buf = append(binary.AppendUvarint(c.buf[:0], uint64(len(c.types))), c.rows.Row(0)...)
	return c.buf, nil
}

func (c *goCodec[T]) decode(stored []byte) (v T, err error) {
	n, k := binary.Uvarint(stored)
	if k <= 0 || n > uint64(len(c.types)) {
		return v, rowkey.ErrDamaged
	}
	codec, err := c.codec(int(n))
	if err != nil {
		return v, err
	}
	if err := codec.Decode(stored[k:], c.builders[:n]); err != nil {
		return v, err
	}
	rv := reflect.ValueOf(&v).Elem()
	for i, b := range c.builders[:n] {
		arr := b.NewArray()
		if err == nil {
			err = setGo(c.field(rv, i), arr, 0)
		}
		arr.Release()
	}
	return v, err
}

// setGo puts a value of an array into a Go variable, without boxing the common ones.
func setGo(to reflect.Value, arr arrow.Array, i int) error {
	if arr.IsNull(i) {
		to.SetZero()
		return nil
	}
	switch a := arr.(type) {
	case *array.Int64:
		if k := to.Kind(); (k == reflect.Int64 || k == reflect.Int) && !to.OverflowInt(a.Value(i)) {
			to.SetInt(a.Value(i))
			return nil
		}
	case *array.Float64:
		if to.Kind() == reflect.Float64 {
			to.SetFloat(a.Value(i))
			return nil
		}
	case *array.String:
		if to.Kind() == reflect.String {
			to.SetString(strings.Clone(a.Value(i)))
			return nil
		}
	case *array.Boolean:
		if to.Kind() == reflect.Bool {
			to.SetBool(a.Value(i))
			return nil
		}
	}
	return assign(to, value(arr, i))
}

// appendAny appends a Go value to a column, if it fits there without loss.
func appendAny(b array.Builder, v any) error {
	switch x := v.(type) {
	case nil:
		b.AppendNull()
		return nil
	case int64:
		if b, ok := b.(*array.Int64Builder); ok {
			b.Append(x)
			return nil
		}
	case float64:
		if b, ok := b.(*array.Float64Builder); ok {
			b.Append(x)
			return nil
		}
	case string:
		if b, ok := b.(*array.StringBuilder); ok {
			b.Append(x)
			return nil
		}
	case time.Time:
		return appendTime(b, x)
	case time.Duration:
		if b, ok := b.(*array.DurationBuilder); ok {
			b.Append(arrow.Duration(x / time.Microsecond))
			return nil
		}
	}
	return appendReflected(b, reflect.ValueOf(v))
}

func appendTime(b array.Builder, t time.Time) error {
	switch b := b.(type) {
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(t.UnixMicro()))
	case *array.Date32Builder:
		b.Append(arrow.Date32FromTime(t.UTC()))
	default:
		return batch.UserErrorf("a time does not fit into %s", b.Type())
	}
	return nil
}

func appendReflected(b array.Builder, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			b.AppendNull()
			return nil
		}
		return appendAny(b, v.Elem().Interface())
	case reflect.Slice, reflect.Map:
		if v.IsNil() {
			b.AppendNull()
			return nil
		}
		return appendNestedGo(b, v)
	case reflect.Struct, reflect.Array:
		return appendNestedGo(b, v)
	case reflect.Bool:
		if b, ok := b.(*array.BooleanBuilder); ok {
			b.Append(v.Bool())
			return nil
		}
	case reflect.String:
		switch b := b.(type) {
		case *array.StringBuilder:
			b.Append(v.String())
			return nil
		case *array.BinaryBuilder:
			b.Append([]byte(v.String()))
			return nil
		case *array.Decimal128Builder:
			return b.AppendValueFromString(v.String())
		}
	case reflect.Float32, reflect.Float64:
		switch b := b.(type) {
		case *array.Float64Builder:
			b.Append(v.Float())
			return nil
		case *array.Float32Builder:
			if f := float32(v.Float()); float64(f) == v.Float() || math.IsNaN(v.Float()) {
				b.Append(f)
				return nil
			}
		}
	default:
		if v.CanInt() || v.CanUint() && v.Uint() <= math.MaxInt64 {
			return appendWhole(b, whole(v))
		}
	}
	return misfit(b, v)
}

func misfit(b array.Builder, v reflect.Value) error {
	return batch.UserErrorf("a value of type %s, %v, does not fit into %s", v.Type(), v, b.Type())
}

func appendWhole(b array.Builder, n int64) error {
	switch b := b.(type) {
	case *array.Int64Builder:
		b.Append(n)
		return nil
	case *array.Int32Builder:
		if n == int64(int32(n)) {
			b.Append(int32(n))
			return nil
		}
	case *array.Int16Builder:
		if n == int64(int16(n)) {
			b.Append(int16(n))
			return nil
		}
	case *array.Int8Builder:
		if n == int64(int8(n)) {
			b.Append(int8(n))
			return nil
		}
	case *array.Float64Builder:
		if f := float64(n); int64(f) == n {
			b.Append(f)
			return nil
		}
	case *array.Decimal128Builder:
		return b.AppendValueFromString(fmt.Sprint(n))
	}
	return batch.UserErrorf("the number %d does not fit into %s", n, b.Type())
}

func appendNestedGo(b array.Builder, v reflect.Value) error {
	switch b := b.(type) {
	case *array.BinaryBuilder:
		if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
			b.Append(v.Bytes())
			return nil
		}
	case *array.ListBuilder:
		if v.Kind() == reflect.Slice || v.Kind() == reflect.Array {
			b.Append(true)
			for i := range v.Len() {
				if err := appendAny(b.ValueBuilder(), v.Index(i).Interface()); err != nil {
					return err
				}
			}
			return nil
		}
	case *array.MapBuilder:
		if v.Kind() == reflect.Map {
			b.Append(true)
			for _, k := range sortedKeys(v) {
				if err := firstErr(appendAny(b.KeyBuilder(), k.Interface()), appendAny(b.ItemBuilder(), v.MapIndex(k).Interface())); err != nil {
					return err
				}
			}
			return nil
		}
	case *array.StructBuilder:
		return appendStruct(b, v)
	}
	return misfit(b, v)
}

// appendStruct takes the fields by their names from a struct or a map.
func appendStruct(b *array.StructBuilder, v reflect.Value) error {
	get := map[string]reflect.Value{}
	switch {
	case v.Kind() == reflect.Struct:
		for _, f := range reflect.VisibleFields(v.Type()) {
			if name := fieldName(f); name != "" {
				get[strings.ToLower(name)] = v.FieldByIndex(f.Index)
			}
		}
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		for it := v.MapRange(); it.Next(); {
			get[strings.ToLower(it.Key().String())] = it.Value()
		}
	default:
		return misfit(b, v)
	}
	b.Append(true)
	for i, f := range b.Type().(*arrow.StructType).Fields() {
		x, ok := get[strings.ToLower(f.Name)]
		if !ok {
			b.FieldBuilder(i).AppendNull()
		} else if err := appendAny(b.FieldBuilder(i), x.Interface()); err != nil {
			return fmt.Errorf("field %q: %w", f.Name, err)
		}
	}
	return nil
}
