package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

// lookupsMax is how many keys are looked up rather than all rows read.
const lookupsMax = 256

// wantedKeys are the keys of state that a query's conditions ask for, encoded; false if
// they do not name values for each key column. first is the position of the first key
// column in the table.
func wantedKeys(f physical.StateForm, first int, where sources.Selection) ([][]byte, bool) {
	if !Typed(f) || len(f.Keys) == 0 {
		return nil, false
	}
	points := make([][]any, len(f.Keys))
	for _, c := range where.Conditions {
		cols, ps := c.Columns(), c.Points()
		if len(cols) != 1 || ps == nil {
			continue
		}
		at := cols[0]
		if where.Columns != nil {
			at = where.Columns[at]
		}
		if k := at - first; k >= 0 && k < len(points) && (points[k] == nil || len(ps) < len(points[k])) {
			points[k] = ps
		}
	}
	combos := [][]any{nil}
	for _, ps := range points {
		if ps == nil || len(combos)*len(ps) > lookupsMax {
			return nil, false
		}
		var next [][]any
		for _, c := range combos {
			for _, p := range ps {
				next = append(next, append(append(make([]any, 0, len(points)), c...), p))
			}
		}
		combos = next
	}
	keys := make([][]byte, 0, len(combos))
	for _, c := range combos {
		key, ok := encodePoint(f, c)
		if !ok {
			return nil, false
		}
		keys = append(keys, key)
	}
	return sortedKeys(keys), true
}

func sortedKeys(keys [][]byte) [][]byte {
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal)
}

func encodePoint(f physical.StateForm, values []any) ([]byte, bool) {
	cols := make([]arrow.Array, len(values))
	defer releaseArrays(cols)
	for i, v := range values {
		if cols[i] = pointArray(f.Keys[i].Type, v); cols[i] == nil {
			return nil, false
		}
	}
	key, err := EncodeKey(f, cols)
	return key, err == nil
}

// pointArray is a column of one value, nil for a value that the type does not hold
// exactly: then rows are read and compared as any others.
func pointArray(dt arrow.DataType, v any) arrow.Array {
	b := array.NewBuilder(memory.DefaultAllocator, dt)
	defer b.Release()
	n, isInt := v.(int64)
	within := func(low, high int64) bool { return isInt && n >= low && n <= high }
	switch b := b.(type) {
	case *array.Int8Builder:
		if !within(math.MinInt8, math.MaxInt8) {
			return nil
		}
		b.Append(int8(n))
	case *array.Int16Builder:
		if !within(math.MinInt16, math.MaxInt16) {
			return nil
		}
		b.Append(int16(n))
	case *array.Int32Builder:
		if !within(math.MinInt32, math.MaxInt32) {
			return nil
		}
		b.Append(int32(n))
	case *array.Int64Builder:
		if !isInt {
			return nil
		}
		b.Append(n)
	case *array.Date32Builder:
		if !within(math.MinInt32, math.MaxInt32) {
			return nil
		}
		b.Append(arrow.Date32(n))
	case *array.TimestampBuilder:
		if !isInt || dt.(*arrow.TimestampType).Unit != arrow.Microsecond {
			return nil
		}
		b.Append(arrow.Timestamp(n))
	case *array.StringBuilder:
		s, ok := v.(string)
		if !ok {
			return nil
		}
		b.Append(s)
	default:
		return nil
	}
	return b.NewArray()
}

// EncodeKey makes a key of state of columns of one row, which are in the form's order:
// the key group is that of the columns in the order of GROUP BY.
func EncodeKey(f physical.StateForm, cols []arrow.Array) ([]byte, error) {
	given := make([]arrow.Array, 0, len(cols))
	if f.EndKey < 0 {
		given = append(given, cols...)
	} else {
		given = append(given, cols[1:f.EndKey+1]...)
		given = append(given, cols[0])
		given = append(given, cols[f.EndKey+1:]...)
	}
	enc, err := rowkey.NewEncoder(typesOf(f.Keys))
	if err != nil {
		return nil, err
	}
	var h rowkey.Hasher
	hashes, groups := make([]uint64, 1), make([]uint8, 1)
	h.Hash(given, hashes)
	rowkey.Groups(hashes, groups)
	var rows rowkey.Rows
	if err := enc.EncodeGrouped(groups, cols, &rows); err != nil {
		return nil, err
	}
	return bytes.Clone(rows.Row(0)), nil
}

// lookUp yields the rows of some keys of a version, in key order: of a form of rows all
// that begin with the key. The manifests are in the order of their groups.
func lookUp(ctx context.Context, fs vfsx.FS, dir string, ms []statestore.Manifest, keys [][]byte, prefixes bool) iter.Seq2[kv, error] {
	return func(yield func(kv, error) bool) {
		for _, m := range ms {
			first, _ := slices.BinarySearchFunc(keys, m.Shard.FirstGroup, func(k []byte, g int) int { return int(k[0]) - g })
			end, _ := slices.BinarySearchFunc(keys, m.Shard.EndGroup, func(k []byte, g int) int { return int(k[0]) - g })
			if first == end {
				continue
			}
			for row, err := range lookUpShard(ctx, fs, dir, m, keys[first:end], prefixes) {
				if !yield(row, err) || err != nil {
					return
				}
			}
		}
	}
}

func lookUpShard(ctx context.Context, fs vfsx.FS, dir string, m statestore.Manifest, keys [][]byte, prefixes bool) iter.Seq2[kv, error] {
	return func(yield func(kv, error) bool) {
		r, err := checkpoint.View(fs, dir).NewReader(ctx, m, nil)
		if err != nil {
			yield(kv{}, gone(err))
			return
		}
		wanted := true
		if prefixes {
			for _, k := range keys {
				if err = r.Scan(k, After(k), func(key, value []byte) (bool, error) {
					wanted = yield(kv{key, value}, nil)
					return wanted, nil
				}); err != nil || !wanted {
					break
				}
			}
		} else {
			err = r.Get(keys, func(i int, value []byte) error {
				if wanted = yield(kv{keys[i], value}, nil); !wanted {
					return errStopped
				}
				return nil
			})
		}
		if err = errors.Join(err, r.Close()); err != nil && wanted {
			yield(kv{}, gone(err))
		}
	}
}

// After is the first key behind all that begin with a prefix; nil is the end.
func After(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// access says for EXPLAIN how rows are found.
func access(keys [][]byte) string {
	switch len(keys) {
	case 0:
		return "all rows are read"
	case 1:
		return "1 key is looked up"
	}
	return fmt.Sprintf("%d keys are looked up", len(keys))
}
