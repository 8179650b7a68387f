package render

import (
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// Formatter renders values in one time zone. It may be used by several goroutines.
type Formatter struct{ zone *time.Location }

// New returns a formatter for a zone: a name of the time-zone database, an offset
// such as "+05:30", or "" for UTC.
func New(zone string) (*Formatter, error) {
	if zone == "" {
		return UTC(), nil
	}
	if zone[0] == '+' || zone[0] == '-' {
		t, err := time.Parse("-07:00", zone)
		if err != nil {
			return nil, fmt.Errorf("time zone %q: want an offset such as '+05:30'", zone)
		}
		_, offset := t.Zone()
		return &Formatter{zone: time.FixedZone(zone, offset)}, nil
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: %w", zone, err)
	}
	return &Formatter{zone: loc}, nil
}

// UTC returns the formatter for UTC, which cannot fail.
func UTC() *Formatter { return &Formatter{zone: time.UTC} }

// physical follows the encodings that stand for another array (dictionaries,
// runs, extensions, unions) down to the array and row that hold the value.
func physical(arr arrow.Array, row int) (arrow.Array, int) {
	for {
		switch a := arr.(type) {
		case *array.Dictionary:
			if a.IsNull(row) {
				return arr, row
			}
			arr, row = a.Dictionary(), a.GetValueIndex(row)
		case *array.RunEndEncoded:
			arr, row = a.Values(), a.GetPhysicalIndex(row)
		case array.ExtensionArray:
			arr = a.Storage()
		case *array.DenseUnion:
			arr, row = a.Field(a.ChildID(row)), int(a.ValueOffset(row))
		case *array.SparseUnion:
			arr = a.Field(a.ChildID(row))
		default:
			return arr, row
		}
	}
}

// isNull also knows arrays of the type of a bare NULL, which have no bitmap.
func isNull(arr arrow.Array, row int) bool {
	return arr.DataType().ID() == arrow.NULL || arr.IsNull(row)
}

// AppendText appends a value as Spark SQL shows it.
func (f *Formatter) AppendText(dst []byte, arr arrow.Array, row int) []byte {
	arr, row = physical(arr, row)
	if isNull(arr, row) {
		return append(dst, "NULL"...)
	}
	switch a := arr.(type) {
	case *array.Map:
		start, end := a.ValueOffsets(row)
		dst = append(dst, '{')
		for i := int(start); i < int(end); i++ {
			if i > int(start) {
				dst = append(dst, ", "...)
			}
			dst = f.AppendText(dst, a.Keys(), i)
			dst = f.AppendText(append(dst, " -> "...), a.Items(), i)
		}
		return append(dst, '}')
	case array.ListLike:
		start, end := a.ValueOffsets(row)
		dst = append(dst, '[')
		for i := int(start); i < int(end); i++ {
			if i > int(start) {
				dst = append(dst, ", "...)
			}
			dst = f.AppendText(dst, a.ListValues(), i)
		}
		return append(dst, ']')
	case *array.Struct:
		dst = append(dst, '{')
		for i := range a.NumField() {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			dst = f.AppendText(dst, a.Field(i), row)
		}
		return append(dst, '}')
	}
	if b, ok := bytesOf(arr, row); ok {
		return appendHex(dst, b)
	}
	if s, ok := stringOf(arr, row); ok {
		return append(dst, s...)
	}
	return f.appendLeaf(dst, arr, row, ' ', false)
}

// stringOf returns a value of one of the text types without copying it.
func stringOf(arr arrow.Array, row int) (string, bool) {
	switch a := arr.(type) {
	case *array.String:
		return a.Value(row), true
	case *array.LargeString:
		return a.Value(row), true
	case *array.StringView:
		return a.Value(row), true
	}
	return "", false
}

// bytesOf returns a value of one of the binary types without copying it.
func bytesOf(arr arrow.Array, row int) ([]byte, bool) {
	switch a := arr.(type) {
	case *array.Binary:
		return a.Value(row), true
	case *array.LargeBinary:
		return a.Value(row), true
	case *array.BinaryView:
		return a.Value(row), true
	case *array.FixedSizeBinary:
		return a.Value(row), true
	}
	return nil, false
}

const hexDigits = "0123456789ABCDEF"

// appendHex appends bytes as Spark shows binary: [1F 00].
func appendHex(dst, b []byte) []byte {
	dst = append(dst, '[')
	for i, c := range b {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return append(dst, ']')
}
