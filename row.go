package sluice

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/sources"
)

// Reader returns a result batch by batch; io.EOF ends it.
type Reader = sources.Reader

// Row is one row of a result as Go values: nil, bool, int64, float64, string,
// []byte, time.Time (TIMESTAMP in UTC, TIMESTAMP_NTZ as if it were UTC, DATE at
// midnight), time.Duration (INTERVAL DAY TO SECOND), decimals as string, arrays as
// []any, maps as map[any]any and structs as map[string]any.
type Row []any

// collect reads and releases everything.
func collect(ctx context.Context, r Reader) (rows []Row, err error) {
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		rec, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		for i := range int(rec.NumRows()) {
			rows = append(rows, rowOf(rec, i))
		}
		rec.Release()
	}
}

// value copies one value out of an array.
func value(arr arrow.Array, i int) any {
	if arr.IsNull(i) {
		return nil
	}
	switch a := arr.(type) {
	case *array.Null: // it has no bitmap, so that IsNull says false
		return nil
	case *array.Boolean:
		return a.Value(i)
	case *array.Int8:
		return int64(a.Value(i))
	case *array.Int16:
		return int64(a.Value(i))
	case *array.Int32:
		return int64(a.Value(i))
	case *array.Int64:
		return a.Value(i)
	case *array.Float32:
		return float64(a.Value(i))
	case *array.Float64:
		return a.Value(i)
	case *array.String:
		return string(append([]byte{}, a.Value(i)...))
	case *array.Binary:
		return append([]byte{}, a.Value(i)...)
	case *array.Date32:
		return time.Unix(int64(a.Value(i))*86400, 0).UTC()
	case *array.Timestamp:
		return time.UnixMicro(int64(a.Value(i))).UTC()
	case *array.Duration:
		return time.Duration(a.Value(i)) * time.Microsecond
	case *array.MonthInterval:
		return int64(a.Value(i))
	case *array.Dictionary:
		return value(a.Dictionary(), a.GetValueIndex(i))
	case *array.Map:
		return mapValue(a, i)
	case *array.List:
		return listValue(a, i)
	case *array.Struct:
		out := map[string]any{}
		for f, field := range a.DataType().(*arrow.StructType).Fields() {
			out[field.Name] = value(a.Field(f), i)
		}
		return out
	}
	return arr.ValueStr(i)
}

func listValue(a *array.List, i int) []any {
	from, to := a.ValueOffsets(i)
	out := make([]any, 0, to-from)
	for j := from; j < to; j++ {
		out = append(out, value(a.ListValues(), int(j)))
	}
	return out
}

func mapValue(a *array.Map, i int) map[any]any {
	from, to := a.ValueOffsets(i)
	out := make(map[any]any, to-from)
	for j := from; j < to; j++ {
		k := value(a.Keys(), int(j))
		if b, ok := k.([]byte); ok {
			k = string(b)
		}
		out[k] = value(a.Items(), int(j))
	}
	return out
}
