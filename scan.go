package sluice

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
)

// Scan runs the query and returns its rows as values of T: a struct, whose
// exported fields take the columns of their names (or of the tag `sluice:"name"`)
// whatever their case, or for a single column any other type. A NULL becomes the
// zero value; a field that is a pointer tells it apart. A field without a column is
// a fault, a column without a field is not; the tag "-" leaves a field out.
func Scan[T any](ctx context.Context, d *DataFrame) ([]T, error) {
	var out []T
	for v, err := range Each[T](ctx, d) {
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Each is Scan row by row.
func Each[T any](ctx context.Context, d *DataFrame) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		schema, err := d.Schema()
		if err != nil {
			yield(zero, err)
			return
		}
		fields, err := fieldsFor(reflect.TypeFor[T](), schema)
		if err != nil {
			yield(zero, err)
			return
		}
		for row, err := range d.Rows(ctx) {
			var v T
			if err == nil {
				err = fill(reflect.ValueOf(&v).Elem(), row, fields, schema)
			}
			if err != nil {
				yield(zero, err)
				return
			}
			if !yield(v, nil) {
				return
			}
		}
	}
}

// fieldOf is a field of a struct and the column that it takes.
type fieldOf struct {
	index  []int // nil: the value itself
	column int
}

var timeType = reflect.TypeFor[time.Time]()

func fieldsFor(t reflect.Type, schema *arrow.Schema) ([]fieldOf, error) {
	var names []string
	for _, f := range schema.Fields() {
		names = append(names, f.Name)
	}
	if t.Kind() != reflect.Struct || t == timeType {
		if len(names) != 1 {
			return nil, batch.UserErrorf("scan into %s: the query has %d columns; scan into a struct", t, len(names))
		}
		return []fieldOf{{column: 0}}, nil
	}
	var out []fieldOf
	for _, f := range reflect.VisibleFields(t) {
		name := fieldName(f)
		if name == "" {
			continue
		}
		at := nameAt(names, name)
		if at < 0 {
			return nil, batch.UserErrorf("scan into %s: there is no column %q for field %s; the columns are %s", t, name, f.Name, strings.Join(names, ", "))
		}
		out = append(out, fieldOf{index: f.Index, column: at})
	}
	return out, nil
}

// fieldName is the column that a field stands for, "" for none.
func fieldName(f reflect.StructField) string {
	if !f.IsExported() || f.Anonymous {
		return ""
	}
	switch tag := f.Tag.Get("sluice"); tag {
	case "":
		return f.Name
	case "-":
		return ""
	default:
		return tag
	}
}

func fill(v reflect.Value, row Row, fields []fieldOf, schema *arrow.Schema) error {
	for _, f := range fields {
		to := v
		if f.index != nil {
			to = v.FieldByIndex(f.index)
		}
		if err := assign(to, row[f.column]); err != nil {
			return fmt.Errorf("scan column %q: %w", schema.Field(f.column).Name, err)
		}
	}
	return nil
}

// assign puts one value into a Go variable, converted where nothing is lost.
func assign(to reflect.Value, v any) error {
	if v == nil {
		to.SetZero()
		return nil
	}
	from := reflect.ValueOf(v)
	if from.Type().AssignableTo(to.Type()) {
		to.Set(from)
		return nil
	}
	switch to.Kind() {
	case reflect.Pointer:
		p := reflect.New(to.Type().Elem())
		if err := assign(p.Elem(), v); err != nil {
			return err
		}
		to.Set(p)
		return nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n, ok := v.(int64); ok && !to.OverflowInt(n) {
			to.SetInt(n)
			return nil
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if n, ok := v.(int64); ok && n >= 0 && !to.OverflowUint(uint64(n)) {
			to.SetUint(uint64(n))
			return nil
		}
	case reflect.Float32, reflect.Float64:
		if f, ok := v.(float64); ok {
			to.SetFloat(f)
			return nil
		}
	case reflect.String:
		if s, ok := v.(string); ok {
			to.SetString(s)
			return nil
		}
	case reflect.Bool:
		if b, ok := v.(bool); ok {
			to.SetBool(b)
			return nil
		}
	case reflect.Slice, reflect.Map, reflect.Struct:
		return assignNested(to, v)
	}
	return batch.UserErrorf("a value of type %T, %v, does not fit into %s", v, v, to.Type())
}

// assignNested fills slices of arrays, maps of maps and structs of structs.
func assignNested(to reflect.Value, v any) error {
	switch v := v.(type) {
	case []any:
		if to.Kind() == reflect.Slice {
			out := reflect.MakeSlice(to.Type(), len(v), len(v))
			for i, e := range v {
				if err := assign(out.Index(i), e); err != nil {
					return err
				}
			}
			to.Set(out)
			return nil
		}
	case map[any]any:
		if to.Kind() == reflect.Map {
			out := reflect.MakeMapWithSize(to.Type(), len(v))
			for k, e := range v {
				key, item := reflect.New(to.Type().Key()).Elem(), reflect.New(to.Type().Elem()).Elem()
				if err := firstErr(assign(key, k), assign(item, e)); err != nil {
					return err
				}
				out.SetMapIndex(key, item)
			}
			to.Set(out)
			return nil
		}
	case map[string]any:
		if to.Kind() == reflect.Struct {
			for _, f := range reflect.VisibleFields(to.Type()) {
				name := fieldName(f)
				for k, e := range v {
					if name != "" && strings.EqualFold(k, name) {
						if err := assign(to.FieldByIndex(f.Index), e); err != nil {
							return fmt.Errorf("field %q: %w", k, err)
						}
					}
				}
			}
			return nil
		}
	}
	return batch.UserErrorf("a value of type %T does not fit into %s", v, to.Type())
}
