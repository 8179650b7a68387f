package rowkey

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// ErrDamaged is wrapped by every error about bytes that no encoder has written.
var ErrDamaged = errors.New("damaged row")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// Decode appends the columns of a key to builders of their types, one each. The
// key must end with the last column; a leading key group is the caller's to cut.
func (e *Encoder) Decode(key []byte, builders []array.Builder) error {
	rest := key
	var err error
	for c := range e.types {
		if rest, err = decodeKey(rest, builders[c]); err != nil {
			return fmt.Errorf("decode key column %d: %w", c, err)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("decode key: %w", damaged("%d bytes too many", len(rest)))
	}
	return nil
}

// Behind returns what stands behind the columns of a key that others follow.
func (e *Encoder) Behind(key []byte) (rest []byte, err error) {
	rest = key
	for c, dt := range e.types {
		b := array.NewBuilder(memory.DefaultAllocator, dt)
		rest, err = decodeKey(rest, b)
		b.Release()
		if err != nil {
			return nil, fmt.Errorf("skip key column %d: %w", c, err)
		}
	}
	return rest, nil
}

// DecodeWord reads the first column of a key, which has a Width, as its word.
func DecodeWord(key []byte, width int) (word uint64, null bool, err error) {
	if len(key) > 0 && key[0] == markNull {
		return 0, true, nil
	}
	if len(key) < 1+width || key[0] != markValue {
		return 0, false, damaged("no value of %d bytes at the start of the key", width)
	}
	return beWord(key[1:], width), false, nil
}

func beWord(b []byte, width int) uint64 {
	switch width {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	}
	return binary.BigEndian.Uint64(b)
}

func decodeKey(b []byte, to array.Builder) ([]byte, error) {
	if len(b) == 0 {
		return nil, damaged("it ends before a column")
	}
	if b[0] == markNull {
		to.AppendNull()
		return b[1:], nil
	}
	if b[0] != markValue {
		return nil, damaged("marker %#x", b[0])
	}
	return decodePresent(b[1:], to)
}

func decodePresent(b []byte, to array.Builder) ([]byte, error) {
	if w := Width(to.Type()); w > 0 {
		if len(b) < w {
			return nil, damaged("%d bytes for %s", len(b), to.Type())
		}
		if err := appendFixed(to, beWord(b, w)); err != nil {
			return nil, err
		}
		return b[w:], nil
	}
	switch to := to.(type) {
	case *array.NullBuilder:
		return nil, damaged("a value in a column of NULLs")
	case *array.Decimal128Builder:
		if len(b) < 16 {
			return nil, damaged("%d bytes for a decimal", len(b))
		}
		hi, lo := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
		to.Append(decimal128.New(int64(hi^1<<63), lo))
		return b[16:], nil
	case *array.StructBuilder:
		to.Append(true)
		var err error
		for f := range to.NumField() {
			if b, err = decodeKey(b, to.FieldBuilder(f)); err != nil {
				return nil, err
			}
		}
		return b, nil
	case *array.MapBuilder:
		to.Append(true)
		return decodeElements(b, to.KeyBuilder(), to.ItemBuilder())
	case array.ListLikeBuilder:
		to.Append(true)
		return decodeElements(b, to.ValueBuilder())
	}
	v, rest, err := unescape(b)
	if err != nil {
		return nil, err
	}
	return rest, appendBytes(to, v)
}

func decodeElements(b []byte, parts ...array.Builder) ([]byte, error) {
	for {
		if len(b) == 0 {
			return nil, damaged("a list without its end")
		}
		mark := b[0]
		b = b[1:]
		if mark == endOfList {
			return b, nil
		}
		if mark != element {
			return nil, damaged("list marker %#x", mark)
		}
		var err error
		for _, p := range parts {
			if b, err = decodeKey(b, p); err != nil {
				return nil, err
			}
		}
	}
}

func unescape(b []byte) (v, rest []byte, err error) {
	copied := false
	start := 0
	for i := 0; i < len(b); i++ {
		if b[i] != escape {
			continue
		}
		if i+1 == len(b) {
			break
		}
		switch b[i+1] {
		case endOfBytes:
			if copied {
				v = append(v, b[start:i]...)
			} else {
				v = b[start:i]
			}
			return v, b[i+2:], nil
		case escapedZero:
			v = append(v, b[start:i+1]...)
			copied = true
			start = i + 2
			i++
		default:
			return nil, nil, damaged("escape %#x in a string", b[i+1])
		}
	}
	return nil, nil, damaged("a string without its end")
}

// AppendWord appends the value that has the given word, see Words.
func AppendWord(to array.Builder, w uint64) error { return appendFixed(to, w) }

func appendFixed(to array.Builder, w uint64) error {
	switch to := to.(type) {
	case *array.BooleanBuilder:
		if w > 1 {
			return damaged("boolean %d", w)
		}
		to.Append(w == 1)
	case *array.Int8Builder:
		to.Append(int8(uint8(w) ^ 1<<7))
	case *array.Int16Builder:
		to.Append(int16(uint16(w) ^ 1<<15))
	case *array.Int32Builder:
		to.Append(int32(uint32(w) ^ 1<<31))
	case *array.Date32Builder:
		to.Append(arrow.Date32(uint32(w) ^ 1<<31))
	case *array.Time32Builder:
		to.Append(arrow.Time32(uint32(w) ^ 1<<31))
	case *array.MonthIntervalBuilder:
		to.Append(arrow.MonthInterval(uint32(w) ^ 1<<31))
	case *array.Int64Builder:
		to.Append(int64(w ^ 1<<63))
	case *array.Date64Builder:
		to.Append(arrow.Date64(w ^ 1<<63))
	case *array.Time64Builder:
		to.Append(arrow.Time64(w ^ 1<<63))
	case *array.TimestampBuilder:
		to.Append(arrow.Timestamp(w ^ 1<<63))
	case *array.DurationBuilder:
		to.Append(arrow.Duration(w ^ 1<<63))
	default:
		return appendUnsigned(to, w)
	}
	return nil
}

func appendUnsigned(to array.Builder, w uint64) error {
	switch to := to.(type) {
	case *array.Uint8Builder:
		to.Append(uint8(w))
	case *array.Uint16Builder:
		to.Append(uint16(w))
	case *array.Uint32Builder:
		to.Append(uint32(w))
	case *array.Uint64Builder:
		to.Append(w)
	case *array.Float16Builder:
		to.Append(wordFloat16(uint16(w)))
	case *array.Float32Builder:
		to.Append(wordFloat32(uint32(w)))
	case *array.Float64Builder:
		to.Append(wordFloat64(w))
	default:
		return fmt.Errorf("no builder of %s for a fixed-width value", to.Type())
	}
	return nil
}

func appendBytes(to array.Builder, v []byte) error {
	switch to := to.(type) {
	case *array.StringBuilder:
		to.Append(string(v))
	case *array.BinaryBuilder:
		to.Append(v)
	case *array.LargeStringBuilder:
		to.Append(string(v))
	case *array.FixedSizeBinaryBuilder:
		if len(v) != to.Type().(*arrow.FixedSizeBinaryType).ByteWidth {
			return damaged("%d bytes for %s", len(v), to.Type())
		}
		to.Append(v)
	case *array.BinaryDictionaryBuilder:
		return to.Append(v)
	default:
		return fmt.Errorf("no builder of %s for bytes", to.Type())
	}
	return nil
}
