package rowkey

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Markers of the key format. NULL sorts before every value, the end of a list
// before every element, the end of a string before every byte.
const (
	markNull    = 0x00
	markValue   = 0x01
	endOfList   = 0x00
	element     = 0x01
	escape      = 0x00
	endOfBytes  = 0x01 // after escape
	escapedZero = 0xff // after escape
)

// maxDepth bounds the nesting of types, and with it the recursion over them.
const maxDepth = 64

// checkType refuses types that have no order or no place in a row.
func checkType(dt arrow.DataType, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("type %s is nested more than %d deep", dt, maxDepth)
	}
	if dt.ID() == arrow.NULL || dt.ID() == arrow.DECIMAL128 || Width(dt) > 0 || isBytes(dt) {
		return nil
	}
	switch t := dt.(type) {
	case *arrow.DictionaryType:
		return checkType(t.ValueType, depth+1)
	case *arrow.StructType:
		for _, f := range t.Fields() {
			if err := checkType(f.Type, depth+1); err != nil {
				return err
			}
		}
		return nil
	case *arrow.MapType:
		if err := checkType(t.KeyType(), depth+1); err != nil {
			return err
		}
		return checkType(t.ItemType(), depth+1)
	case arrow.ListLikeType:
		return checkType(t.Elem(), depth+1)
	}
	return fmt.Errorf("type %s cannot be part of a key or of state", dt)
}

// nullAt is arr.IsNull(i), seeing through dictionaries that hold a NULL.
func nullAt(arr arrow.Array, i int) bool {
	if arr.IsNull(i) || arr.DataType().ID() == arrow.NULL {
		return true
	}
	if d, ok := arr.(*array.Dictionary); ok {
		return nullAt(d.Dictionary(), d.GetValueIndex(i))
	}
	return false
}

// AppendKey appends the key form of row i of arr.
func AppendKey(dst []byte, arr arrow.Array, i int) []byte {
	if nullAt(arr, i) {
		return append(dst, markNull)
	}
	return appendPresent(append(dst, markValue), arr, i)
}

func appendPresent(dst []byte, arr arrow.Array, i int) []byte {
	if isBytes(arr.DataType()) {
		c := newBytesCol(arr)
		return appendEscaped(dst, c.value(i))
	}
	switch a := arr.(type) {
	case *array.Decimal128:
		v := a.Value(i)
		dst = binary.BigEndian.AppendUint64(dst, uint64(v.HighBits())^1<<63)
		return binary.BigEndian.AppendUint64(dst, v.LowBits())
	case *array.Dictionary:
		return appendPresent(dst, a.Dictionary(), a.GetValueIndex(i))
	case *array.Struct:
		for f := range a.NumField() {
			dst = AppendKey(dst, a.Field(f), i)
		}
		return dst
	case *array.Map:
		return appendMap(dst, a, i)
	case array.ListLike:
		start, end := a.ValueOffsets(i)
		for j := start; j < end; j++ {
			dst = AppendKey(append(dst, element), a.ListValues(), int(j))
		}
		return append(dst, endOfList)
	}
	return appendWord(dst, wordAt(arr, i), Width(arr.DataType()))
}

// appendMap sorts the entries, so that maps with equal entries have equal keys.
func appendMap(dst []byte, a *array.Map, i int) []byte {
	start, end := a.ValueOffsets(i)
	entries := make([][]byte, 0, end-start)
	for j := start; j < end; j++ {
		e := AppendKey([]byte{element}, a.Keys(), int(j))
		entries = append(entries, AppendKey(e, a.Items(), int(j)))
	}
	slices.SortFunc(entries, bytes.Compare)
	for _, e := range entries {
		dst = append(dst, e...)
	}
	return append(dst, endOfList)
}

// wordAt is Words for one row.
func wordAt(arr arrow.Array, i int) uint64 {
	var out [1]uint64
	switch a := arr.(type) {
	case *array.Int64:
		return uint64(a.Value(i)) ^ 1<<63
	case *array.Timestamp:
		return uint64(a.Value(i)) ^ 1<<63
	case *array.Int32:
		return uint64(uint32(a.Value(i)) ^ 1<<31)
	case *array.Float64:
		return float64Word(a.Value(i))
	}
	one := array.NewSlice(arr, int64(i), int64(i+1))
	defer one.Release()
	Words(one, out[:])
	return out[0]
}

func appendWord(dst []byte, w uint64, width int) []byte {
	switch width {
	case 1:
		return append(dst, byte(w))
	case 2:
		return binary.BigEndian.AppendUint16(dst, uint16(w))
	case 4:
		return binary.BigEndian.AppendUint32(dst, uint32(w))
	}
	return binary.BigEndian.AppendUint64(dst, w)
}

func appendEscaped(dst, v []byte) []byte {
	for {
		z := bytes.IndexByte(v, escape)
		if z < 0 {
			break
		}
		dst = append(append(dst, v[:z]...), escape, escapedZero)
		v = v[z+1:]
	}
	return append(append(dst, v...), escape, endOfBytes)
}
