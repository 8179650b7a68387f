package sluice

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
)

// Rows are the rows of one key in a batch. Columns are asked for by their position,
// which Index tells.
type Rows struct {
	rec      arrow.RecordBatch
	from, to int
	cols     []arrow.Array // without the kind of change
	ops      *array.Int8
	names    map[string]int
	shape    *arrow.Schema
	slice    arrow.RecordBatch
	plans    map[reflect.Type][]fieldOf
}

func (r *Rows) schema(s *arrow.Schema) {
	fields := s.Fields()
	if last := len(fields) - 1; last >= 0 && fields[last].Name == batch.OpColumn {
		fields = fields[:last]
	}
	r.shape, r.names = arrow.NewSchema(fields, nil), map[string]int{}
	for i, f := range fields {
		r.names[strings.ToLower(f.Name)] = i
	}
}

// set turns to the rows of a key.
func (r *Rows) set(rec arrow.RecordBatch, from, to int) {
	r.from, r.to = from, to
	if r.rec == rec {
		return
	}
	r.rec, r.cols, r.ops = rec, rec.Columns(), nil
	if n := r.shape.NumFields(); n < len(r.cols) {
		r.ops, _ = r.cols[n].(*array.Int8)
		r.cols = r.cols[:n]
	}
}

func (r *Rows) done() {
	if r.slice != nil {
		r.slice.Release()
		r.slice = nil
	}
}

// Len is the number of rows.
func (r *Rows) Len() int { return r.to - r.from }

// Schema is that of the rows.
func (r *Rows) Schema() *arrow.Schema { return r.shape }

// Index is the position of a column, whatever the case of its name, or -1.
func (r *Rows) Index(column string) int {
	if i, ok := r.names[strings.ToLower(column)]; ok {
		return i
	}
	return -1
}

// Record is the rows as columns. To keep it, retain it.
func (r *Rows) Record() arrow.RecordBatch {
	if r.slice == nil {
		cols := make([]arrow.Array, len(r.cols))
		for i, c := range r.cols {
			cols[i] = array.NewSlice(c, int64(r.from), int64(r.to))
		}
		r.slice = array.NewRecordBatch(r.shape, cols, int64(r.Len()))
		gather.Release(cols)
	}
	return r.slice
}

// Row copies a row, see Row.
func (r *Rows) Row(i int) Row {
	row := make(Row, len(r.cols))
	for c, col := range r.cols {
		row[c] = value(col, r.from+i)
	}
	return row
}

// Change is what became of a row: 0 insert, 1 update before, 2 update after, 3 delete.
// It is 0 for all rows of an input that only grows.
func (r *Rows) Change(i int) int8 {
	if r.ops == nil {
		return 0
	}
	return r.ops.Value(r.from + i)
}

// Value copies a value, as in Row.
func (r *Rows) Value(i, column int) any { return value(r.cols[column], r.from+i) }

// IsNull reports whether a value is NULL.
func (r *Rows) IsNull(i, column int) bool { return r.cols[column].IsNull(r.from + i) }

// Int64 is a whole number; 0 for NULL and other types.
func (r *Rows) Int64(i, column int) int64 {
	if a, ok := r.cols[column].(*array.Int64); ok && a.IsValid(r.from+i) {
		return a.Value(r.from + i)
	}
	n, _ := r.Value(i, column).(int64)
	return n
}

// Float64 is a number; 0 for NULL and other types.
func (r *Rows) Float64(i, column int) float64 {
	switch v := r.Value(i, column).(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	}
	return 0
}

// String is a copy of a text; "" for NULL and other types.
func (r *Rows) String(i, column int) string {
	s, _ := r.Value(i, column).(string)
	return s
}

// Bool is a truth value; false for NULL and other types.
func (r *Rows) Bool(i, column int) bool {
	b, _ := r.Value(i, column).(bool)
	return b
}

// Time is a time; the zero time for NULL and other types.
func (r *Rows) Time(i, column int) time.Time {
	t, _ := r.Value(i, column).(time.Time)
	return t
}

// RowsAs copies the rows into values of T, as Scan does.
func RowsAs[T any](r *Rows) ([]T, error) {
	t := reflect.TypeFor[T]()
	fields, ok := r.plans[t]
	if !ok {
		var err error
		if fields, err = fieldsFor(t, r.shape); err != nil {
			return nil, err
		}
		if r.plans == nil {
			r.plans = map[reflect.Type][]fieldOf{}
		}
		r.plans[t] = fields
	}
	out := make([]T, r.Len())
	for i := range out {
		v := reflect.ValueOf(&out[i]).Elem()
		for _, f := range fields {
			to := v
			if f.index != nil {
				to = v.FieldByIndex(f.index)
			}
			if err := setGo(to, r.cols[f.column], r.from+i); err != nil {
				return nil, fmt.Errorf("column %q: %w", r.shape.Field(f.column).Name, err)
			}
		}
	}
	return out, nil
}
