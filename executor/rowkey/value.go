package rowkey

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/float16"
)

// valueVersion is the first byte of every value; see docs/formats/state-rows.md.
const valueVersion = 1

// ValueCodec makes the stored form of rows: exact, compact, without order. It is
// used by one goroutine.
type ValueCodec struct {
	types   []arrow.DataType
	mask    int // bytes of the NULL mask
	readers []valueReader
}

// NewValueCodec returns a codec for rows of the given types.
func NewValueCodec(types []arrow.DataType) (*ValueCodec, error) {
	for i, dt := range types {
		if err := checkType(dt, 0); err != nil {
			return nil, fmt.Errorf("value column %d: %w", i, err)
		}
	}
	return &ValueCodec{types: types, mask: (len(types) + 7) / 8, readers: make([]valueReader, len(types))}, nil
}

// Encode replaces rows with the values of n rows.
func (c *ValueCodec) Encode(cols []arrow.Array, n int, rows *Rows) error {
	if len(cols) != len(c.types) {
		return fmt.Errorf("encode a value of %d columns: got %d", len(c.types), len(cols))
	}
	for i, col := range cols {
		if col.Len() != n {
			return fmt.Errorf("encode value column %d: %d rows, want %d", i, col.Len(), n)
		}
		c.readers[i] = newValueReader(col)
	}
	rows.Reset()
	dst := rows.Data
	for i := range n {
		dst = append(dst, valueVersion)
		at := len(dst)
		for range c.mask {
			dst = append(dst, 0)
		}
		for k := range c.readers {
			r := &c.readers[k]
			if r.null(i) {
				dst[at+k/8] |= 1 << (k % 8)
				continue
			}
			dst = r.append(dst, i)
		}
		rows.Offsets = append(rows.Offsets, len(dst))
	}
	rows.Data = dst
	return nil
}

// Decode appends the columns of a value to builders of their types, one each.
func (c *ValueCodec) Decode(value []byte, builders []array.Builder) error {
	if len(value) < 1+c.mask {
		return fmt.Errorf("decode value: %w", damaged("%d bytes are too few", len(value)))
	}
	if value[0] != valueVersion {
		return fmt.Errorf("decode value: %w", damaged("version %d, this build reads %d", value[0], valueVersion))
	}
	mask, rest := value[1:1+c.mask], value[1+c.mask:]
	if used := len(c.types) % 8; used > 0 && mask[c.mask-1]>>used != 0 {
		return fmt.Errorf("decode value: %w", damaged("NULL mask of other columns"))
	}
	var err error
	for k, b := range builders[:len(c.types)] {
		if mask[k/8]>>(k%8)&1 != 0 {
			b.AppendNull()
			continue
		}
		if rest, err = decodeValue(rest, b); err != nil {
			return fmt.Errorf("decode value column %d: %w", k, err)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("decode value: %w", damaged("%d bytes too many", len(rest)))
	}
	return nil
}

// valueReader reads one column row by row without a type switch for the common types.
type valueReader struct {
	arr    arrow.Array
	nulls  bool
	width  int // of raw fixed-width values, 0 for others
	varint bool
	raw    []byte
	bytes  bytesCol
	text   bool
}

func newValueReader(arr arrow.Array) valueReader {
	dt := arr.DataType()
	r := valueReader{arr: arr, nulls: arr.NullN() > 0 || dt.ID() == arrow.NULL || dt.ID() == arrow.DICTIONARY}
	data := arr.Data()
	switch {
	case dt.ID() == arrow.DECIMAL128:
		r.width = 16
	case dt.ID() != arrow.BOOL && Width(dt) > 0:
		r.width = Width(dt)
		r.varint = isVarint(dt)
	case isBytes(dt):
		r.bytes, r.text = newBytesCol(arr), true
	}
	if r.width > 0 && data.Buffers()[1] != nil {
		r.raw = data.Buffers()[1].Bytes()[data.Offset()*r.width:]
	}
	return r
}

// isVarint says which types are stored by size: counts and sums are mostly small.
func isVarint(dt arrow.DataType) bool {
	return dt.ID() == arrow.INT64 || dt.ID() == arrow.DURATION
}

func (r *valueReader) null(i int) bool { return r.nulls && nullAt(r.arr, i) }

func (r *valueReader) append(dst []byte, i int) []byte {
	switch {
	case r.varint:
		return binary.AppendVarint(dst, int64(binary.LittleEndian.Uint64(r.raw[i*8:])))
	case r.width > 0:
		return append(dst, r.raw[i*r.width:(i+1)*r.width]...)
	case r.text:
		v := r.bytes.value(i)
		return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
	}
	return appendNested(dst, r.arr, i)
}

// appendValue appends a presence byte and the value, the form inside nested types.
func appendValue(dst []byte, arr arrow.Array, i int) []byte {
	if nullAt(arr, i) {
		return append(dst, markNull)
	}
	r := newValueReader(arr)
	return r.append(append(dst, markValue), i)
}

func appendNested(dst []byte, arr arrow.Array, i int) []byte {
	switch a := arr.(type) {
	case *array.Boolean:
		if a.Value(i) {
			return append(dst, 1)
		}
		return append(dst, 0)
	case *array.Struct:
		for f := range a.NumField() {
			dst = appendValue(dst, a.Field(f), i)
		}
	case *array.Map:
		start, end := a.ValueOffsets(i)
		dst = binary.AppendUvarint(dst, uint64(end-start))
		for j := int(start); j < int(end); j++ {
			dst = appendValue(appendValue(dst, a.Keys(), j), a.Items(), j)
		}
	case array.ListLike:
		start, end := a.ValueOffsets(i)
		dst = binary.AppendUvarint(dst, uint64(end-start))
		for j := int(start); j < int(end); j++ {
			dst = appendValue(dst, a.ListValues(), j)
		}
	case *array.Dictionary:
		r := newValueReader(a.Dictionary())
		return r.append(dst, a.GetValueIndex(i))
	}
	return dst
}

func decodeValue(b []byte, to array.Builder) ([]byte, error) {
	dt := to.Type()
	w := Width(dt)
	switch {
	case isVarint(dt):
		v, n := binary.Varint(b)
		if n <= 0 {
			return nil, damaged("a number of %d bytes", len(b))
		}
		return b[n:], appendFixed(to, uint64(v)^1<<63)
	case w > 0:
		if len(b) < w {
			return nil, damaged("%d bytes for %s", len(b), dt)
		}
		return b[w:], appendRaw(to, leWord(b, w), w)
	case dt.ID() == arrow.NULL:
		return nil, damaged("a value in a column of NULLs")
	}
	if d, ok := to.(*array.Decimal128Builder); ok {
		if len(b) < 16 {
			return nil, damaged("%d bytes for a decimal", len(b))
		}
		d.Append(decimal128.New(int64(binary.LittleEndian.Uint64(b[8:])), binary.LittleEndian.Uint64(b)))
		return b[16:], nil
	}
	if s, ok := to.(*array.StructBuilder); ok {
		s.Append(true)
		var err error
		for f := range s.NumField() {
			if b, err = decodeOptional(b, s.FieldBuilder(f)); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, damaged("a length beyond the row")
	}
	return decodeSized(b[k:], int(n), to)
}

// decodeSized decodes what starts with a length: every element has at least one
// byte, so that n is bounded by the row.
func decodeSized(b []byte, n int, to array.Builder) ([]byte, error) {
	var parts []array.Builder
	switch to := to.(type) {
	case *array.MapBuilder:
		to.Append(true)
		parts = []array.Builder{to.KeyBuilder(), to.ItemBuilder()}
	case *array.FixedSizeListBuilder:
		if want := to.Type().(*arrow.FixedSizeListType).Len(); n != int(want) {
			return nil, damaged("%d elements, want %d", n, want)
		}
		to.Append(true)
		parts = []array.Builder{to.ValueBuilder()}
	case array.ListLikeBuilder:
		to.Append(true)
		parts = []array.Builder{to.ValueBuilder()}
	default:
		return b[n:], appendBytes(to, b[:n])
	}
	var err error
	for range n {
		for _, p := range parts {
			if b, err = decodeOptional(b, p); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

func decodeOptional(b []byte, to array.Builder) ([]byte, error) {
	if len(b) == 0 || b[0] > markValue {
		return nil, damaged("no presence byte")
	}
	if b[0] == markNull {
		to.AppendNull()
		return b[1:], nil
	}
	return decodeValue(b[1:], to)
}

func leWord(b []byte, width int) uint64 {
	switch width {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	}
	return binary.LittleEndian.Uint64(b)
}

// appendRaw appends a value from its bits in memory.
func appendRaw(to array.Builder, bits uint64, width int) error {
	switch to := to.(type) {
	case *array.Float16Builder:
		to.Append(float16.FromBits(uint16(bits)))
	case *array.Float32Builder:
		to.Append(math.Float32frombits(uint32(bits)))
	case *array.Float64Builder:
		to.Append(math.Float64frombits(bits))
	case *array.BooleanBuilder, *array.Uint8Builder, *array.Uint16Builder, *array.Uint32Builder, *array.Uint64Builder:
		return appendFixed(to, bits)
	default:
		return appendFixed(to, bits^1<<(8*width-1))
	}
	return nil
}
