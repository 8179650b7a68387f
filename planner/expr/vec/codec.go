package vec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// The first byte of an encoded value: NULL sorts before values, and inside a
// list the end sorts before a further element.
const (
	tagEnd   = 0x00
	tagNull  = 0x01
	tagValue = 0x02
)

// Encode appends row i of arr in a form whose bytes compare as the values do
// (NULL first, -0.0 = 0.0, NaN last). Decoded reads it back.
func Encode(dst []byte, arr arrow.Array, i int) []byte {
	if arr.DataType().ID() == arrow.NULL || arr.IsNull(i) {
		return append(dst, tagNull)
	}
	return encodeValue(append(dst, tagValue), arr, i)
}

func encodeValue(dst []byte, arr arrow.Array, i int) []byte {
	switch a := arr.(type) {
	case *array.Boolean:
		if a.Value(i) {
			return append(dst, 1)
		}
		return append(dst, 0)
	case *array.Int8:
		return append(dst, byte(a.Value(i))^0x80)
	case *array.Int16:
		return binary.BigEndian.AppendUint16(dst, uint16(a.Value(i))^0x8000)
	case *array.Float32:
		return binary.BigEndian.AppendUint64(dst, orderedFloat(float64(a.Value(i))))
	case *array.Float64:
		return binary.BigEndian.AppendUint64(dst, orderedFloat(a.Value(i)))
	case *array.Decimal128:
		v := a.Value(i)
		dst = binary.BigEndian.AppendUint64(dst, uint64(v.HighBits())^(1<<63))
		return binary.BigEndian.AppendUint64(dst, v.LowBits())
	case *array.String:
		return EncodeBytes(dst, []byte(a.Value(i)))
	case *array.Binary:
		return EncodeBytes(dst, a.Value(i))
	case *array.Struct:
		for f := range a.NumField() {
			dst = Encode(dst, a.Field(f), i)
		}
		return dst
	case *array.List:
		return encodeRange(dst, a.ListValues(), ListOf(a), i)
	case *array.Map:
		return encodeRange(dst, a.ListValues(), ListOf(a), i)
	case *array.Dictionary:
		return encodeValue(dst, a.Dictionary(), a.GetValueIndex(i))
	}
	switch w := arr.DataType().(arrow.FixedWidthDataType).BitWidth(); w {
	case 32:
		return binary.BigEndian.AppendUint32(dst, uint32(Values[int32](arr)[i])^(1<<31))
	default:
		return binary.BigEndian.AppendUint64(dst, uint64(Values[int64](arr)[i])^(1<<63))
	}
}

func encodeRange(dst []byte, elems arrow.Array, v ListView, i int) []byte {
	for j := v.Start(i); j < v.End(i); j++ {
		dst = Encode(dst, elems, j)
	}
	return append(dst, tagEnd)
}

// EncodeBytes appends b with zeros escaped and an end mark that sorts first.
func EncodeBytes(dst, b []byte) []byte {
	for {
		z := bytes.IndexByte(b, 0)
		if z < 0 {
			return append(append(dst, b...), 0, 0)
		}
		dst = append(append(dst, b[:z]...), 0, 0xFF)
		b = b[z+1:]
	}
}

func orderedFloat(f float64) uint64 {
	if f == 0 {
		f = 0 // -0.0 and 0.0 are one value
	}
	if f != f {
		f = math.NaN()
	}
	u := math.Float64bits(f)
	if u>>63 != 0 {
		return ^u
	}
	return u | 1<<63
}

func unorderedFloat(u uint64) float64 {
	if u>>63 != 0 {
		return math.Float64frombits(u &^ (1 << 63))
	}
	return math.Float64frombits(^u)
}

var errShort = fmt.Errorf("encoded value is cut short")

// Decoded reads one value that Encode wrote, appends it to b and returns the rest.
func Decoded(b array.Builder, src []byte) ([]byte, error) {
	if len(src) == 0 {
		return nil, errShort
	}
	switch src[0] {
	case tagNull:
		b.AppendNull()
		return src[1:], nil
	case tagValue:
		return decodeValue(b, src[1:])
	default:
		return nil, fmt.Errorf("encoded value starts with %#x", src[0])
	}
}

func decodeValue(b array.Builder, src []byte) ([]byte, error) {
	switch b := b.(type) {
	case *array.StringBuilder:
		v, rest, err := DecodeBytes(src)
		if err == nil {
			b.BinaryBuilder.Append(v)
		}
		return rest, err
	case *array.BinaryBuilder:
		v, rest, err := DecodeBytes(src)
		if err == nil {
			b.Append(v)
		}
		return rest, err
	case *array.StructBuilder:
		b.Append(true)
		var err error
		for f := range b.NumField() {
			if src, err = Decoded(b.FieldBuilder(f), src); err != nil {
				return nil, err
			}
		}
		return src, nil
	case *array.MapBuilder:
		b.Append(true)
		return decodeMap(b, src)
	case *array.ListBuilder:
		b.Append(true)
		return decodeElems(b.ValueBuilder(), src)
	}
	return decodeFixed(b, src)
}

func decodeElems(b array.Builder, src []byte) ([]byte, error) {
	var err error
	for len(src) > 0 && src[0] != tagEnd {
		if src, err = Decoded(b, src); err != nil {
			return nil, err
		}
	}
	if len(src) == 0 {
		return nil, errShort
	}
	return src[1:], nil
}

// decodeMap reads entries, each encoded as a struct of key and item.
func decodeMap(b *array.MapBuilder, src []byte) ([]byte, error) {
	var err error
	for len(src) > 0 && src[0] != tagEnd {
		if src, err = Decoded(b.KeyBuilder(), src[1:]); err != nil {
			return nil, err
		}
		if src, err = Decoded(b.ItemBuilder(), src); err != nil {
			return nil, err
		}
	}
	if len(src) == 0 {
		return nil, errShort
	}
	return src[1:], nil
}

func decodeFixed(b array.Builder, src []byte) ([]byte, error) {
	w := fixedWidth(b)
	if len(src) < w {
		return nil, errShort
	}
	rest := src[w:]
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(src[0] != 0)
	case *array.Int8Builder:
		b.Append(int8(src[0] ^ 0x80))
	case *array.Int16Builder:
		b.Append(int16(binary.BigEndian.Uint16(src) ^ 0x8000))
	case *array.Int32Builder:
		b.Append(int32(binary.BigEndian.Uint32(src) ^ 1<<31))
	case *array.Date32Builder:
		b.Append(arrow.Date32(binary.BigEndian.Uint32(src) ^ 1<<31))
	case *array.MonthIntervalBuilder:
		b.Append(arrow.MonthInterval(binary.BigEndian.Uint32(src) ^ 1<<31))
	case *array.Int64Builder:
		b.Append(int64(binary.BigEndian.Uint64(src) ^ 1<<63))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(binary.BigEndian.Uint64(src) ^ 1<<63))
	case *array.Time64Builder:
		b.Append(arrow.Time64(binary.BigEndian.Uint64(src) ^ 1<<63))
	case *array.DurationBuilder:
		b.Append(arrow.Duration(binary.BigEndian.Uint64(src) ^ 1<<63))
	case *array.Float32Builder:
		b.Append(float32(unorderedFloat(binary.BigEndian.Uint64(src))))
	case *array.Float64Builder:
		b.Append(unorderedFloat(binary.BigEndian.Uint64(src)))
	case *array.Decimal128Builder:
		b.Append(decimal128.New(int64(binary.BigEndian.Uint64(src)^1<<63), binary.BigEndian.Uint64(src[8:])))
	default:
		return nil, fmt.Errorf("no value encoding for type %s", b.Type())
	}
	return rest, nil
}

func fixedWidth(b array.Builder) int {
	switch b.(type) {
	case *array.BooleanBuilder, *array.Int8Builder:
		return 1
	case *array.Int16Builder:
		return 2
	case *array.Int32Builder, *array.Date32Builder, *array.MonthIntervalBuilder:
		return 4
	case *array.Decimal128Builder:
		return 16
	default:
		return 8
	}
}

// DecodeBytes reads what EncodeBytes wrote.
func DecodeBytes(src []byte) (v, rest []byte, err error) {
	for {
		z := bytes.IndexByte(src, 0)
		if z < 0 || z+1 >= len(src) {
			return nil, nil, errShort
		}
		if src[z+1] == 0 {
			if v == nil {
				return src[:z], src[z+2:], nil
			}
			return append(v, src[:z]...), src[z+2:], nil
		}
		v = append(append(v, src[:z]...), 0)
		src = src[z+2:]
	}
}
