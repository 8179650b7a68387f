package gather

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	limits "github.com/sluice-stream/sluice/internal/memory"
)

// Take returns the rows idx of arr, in that order; the caller owns the result.
// A negative position gives NULL.
func Take(alloc memory.Allocator, arr arrow.Array, idx []int32) (arrow.Array, error) {
	data, err := take(alloc, arr, idx)
	if err != nil {
		return nil, err
	}
	defer data.Release()
	return array.MakeFromData(data), nil
}

// Columns is Take for several columns.
func Columns(alloc memory.Allocator, cols []arrow.Array, idx []int32) ([]arrow.Array, error) {
	out := make([]arrow.Array, 0, len(cols))
	for _, c := range cols {
		a, err := Take(alloc, c, idx)
		if err != nil {
			Release(out)
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// Batch is Take for a record batch.
func Batch(alloc memory.Allocator, rec arrow.RecordBatch, idx []int32) (arrow.RecordBatch, error) {
	cols, err := Columns(alloc, rec.Columns(), idx)
	if err != nil {
		return nil, err
	}
	defer Release(cols)
	return array.NewRecordBatch(rec.Schema(), cols, int64(len(idx))), nil
}

// Release releases arrays; nil ones are skipped.
func Release(arrs []arrow.Array) {
	for _, a := range arrs {
		if a != nil {
			a.Release()
		}
	}
}

func take(alloc memory.Allocator, arr arrow.Array, idx []int32) (arrow.ArrayData, error) {
	dt := arr.DataType()
	valid, nulls := takeValidity(alloc, arr, idx)
	bufs := []*memory.Buffer{valid}
	var children []arrow.ArrayData
	var err error
	defer func() {
		for _, b := range bufs {
			if b != nil {
				b.Release()
			}
		}
		for _, c := range children {
			c.Release()
		}
	}()
	switch t := dt.(type) {
	case *arrow.NullType:
		return array.NewData(dt, len(idx), []*memory.Buffer{nil}, nil, len(idx), 0), nil
	case *arrow.BooleanType:
		bufs = append(bufs, takeBits(alloc, arr, idx))
	case *arrow.StringType, *arrow.BinaryType:
		var off, val *memory.Buffer
		off, val, err = takeBytes[int32](alloc, arr, idx, math.MaxInt32)
		bufs = append(bufs, off, val)
	case *arrow.LargeStringType, *arrow.LargeBinaryType:
		var off, val *memory.Buffer
		off, val, err = takeBytes[int64](alloc, arr, idx, math.MaxInt64)
		bufs = append(bufs, off, val)
	case *arrow.StructType:
		s := arr.(*array.Struct)
		for f := range s.NumField() {
			var c arrow.ArrayData
			if c, err = take(alloc, s.Field(f), idx); err != nil {
				return nil, err
			}
			children = append(children, c)
		}
	case *arrow.ListType, *arrow.MapType:
		var off *memory.Buffer
		var c arrow.ArrayData
		off, c, err = takeList(alloc, arr.(array.ListLike), idx)
		bufs = append(bufs, off)
		if c != nil {
			children = append(children, c)
		}
	case arrow.FixedWidthDataType:
		bufs = append(bufs, takeFixed(alloc, arr, idx, t.Bytes()))
		if d, ok := arr.(*array.Dictionary); ok && err == nil {
			return array.NewDataWithDictionary(dt, len(idx), bufs, nulls, 0, d.Dictionary().Data().(*array.Data)), nil
		}
	default:
		err = fmt.Errorf("take rows of a %s column: not supported", dt)
	}
	if err != nil {
		return nil, err
	}
	return array.NewData(dt, len(idx), bufs, children, nulls, 0), nil
}

// takeValidity returns the bitmap, or nil if no row of the result is NULL.
func takeValidity(alloc memory.Allocator, arr arrow.Array, idx []int32) (*memory.Buffer, int) {
	source := arr.NullN() > 0
	if !source && !anyNegative(idx) {
		return nil, 0
	}
	buf := newBuffer(alloc, int(bitutil.BytesForBits(int64(len(idx)))))
	bits := buf.Bytes()
	clear(bits)
	nulls := 0
	var have []byte
	if b := arr.Data().Buffers(); len(b) > 0 && b[0] != nil {
		have = b[0].Bytes()
	}
	first := arr.Data().Offset()
	for i, at := range idx {
		if at < 0 || source && !present(have, arr, first, int(at)) {
			nulls++
			continue
		}
		bits[i>>3] |= 1 << (i & 7)
	}
	return buf, nulls
}

// present reports whether row at is no NULL. Types without a bitmap know best themselves.
func present(have []byte, arr arrow.Array, first, at int) bool {
	if have == nil {
		return arr.IsValid(at)
	}
	at += first
	return have[at>>3]>>(at&7)&1 != 0
}

func anyNegative(idx []int32) bool {
	or := int32(0)
	for _, at := range idx {
		or |= at
	}
	return or < 0
}

func takeBits(alloc memory.Allocator, arr arrow.Array, idx []int32) *memory.Buffer {
	a := arr.(*array.Boolean)
	buf := newBuffer(alloc, int(bitutil.BytesForBits(int64(len(idx)))))
	bits := buf.Bytes()
	clear(bits)
	for i, at := range idx {
		if at >= 0 && a.Value(int(at)) {
			bitutil.SetBit(bits, i)
		}
	}
	return buf
}

func takeFixed(alloc memory.Allocator, arr arrow.Array, idx []int32, width int) *memory.Buffer {
	buf := newBuffer(alloc, len(idx)*width)
	dst := buf.Bytes()
	var src []byte
	if b := arr.Data().Buffers()[1]; b != nil {
		src = b.Bytes()[arr.Data().Offset()*width:]
	}
	switch width {
	case 16:
		pick(words16(dst), words16(src), idx)
	case 8:
		pick(arrow.Uint64Traits.CastFromBytes(dst), arrow.Uint64Traits.CastFromBytes(src), idx)
	case 4:
		pick(arrow.Uint32Traits.CastFromBytes(dst), arrow.Uint32Traits.CastFromBytes(src), idx)
	case 2:
		pick(arrow.Uint16Traits.CastFromBytes(dst), arrow.Uint16Traits.CastFromBytes(src), idx)
	case 1:
		pick(dst, src, idx)
	default:
		for i, at := range idx {
			if at < 0 {
				clear(dst[i*width : (i+1)*width])
				continue
			}
			copy(dst[i*width:(i+1)*width], src[int(at)*width:])
		}
	}
	return buf
}

// words16 sees bytes as values of 16 bytes: decimals, intervals, UUIDs.
func words16(b []byte) [][2]uint64 {
	if len(b) < 16 {
		return nil
	}
	return unsafe.Slice((*[2]uint64)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/16)
}

func pick[T any](dst, src []T, idx []int32) {
	dst = dst[:len(idx)]
	if !anyNegative(idx) {
		for i, at := range idx {
			dst[i] = src[at]
		}
		return
	}
	for i, at := range idx {
		if at < 0 {
			var zero T
			dst[i] = zero
			continue
		}
		dst[i] = src[at]
	}
}

func takeBytes[O int32 | int64](alloc memory.Allocator, arr arrow.Array, idx []int32, limit int64) (offsets, values *memory.Buffer, err error) {
	data := arr.Data()
	var off []O
	var src []byte
	if b := data.Buffers()[1]; b != nil && b.Len() > 0 {
		off = arrow.GetData[O](b.Bytes())[data.Offset():]
	}
	if b := data.Buffers()[2]; b != nil {
		src = b.Bytes()
	}
	var total int64
	for _, at := range idx {
		if at >= 0 {
			total += int64(off[at+1] - off[at])
		}
	}
	if total > limit {
		return nil, nil, fmt.Errorf("take %d rows of a %s column: %d bytes of text do not fit one batch", len(idx), arr.DataType(), total)
	}
	var o O
	width := 4
	if limit > math.MaxInt32 {
		width = 8
	}
	offsets = newBuffer(alloc, (len(idx)+1)*width)
	values = newBuffer(alloc, int(total)+shortText)
	to := arrow.GetData[O](offsets.Bytes())
	dst := values.Bytes()
	to[0] = 0
	safe := O(max(len(src)-shortText, 0)) // from here on fewer bytes follow than are copied of a short text
	for i, at := range idx {
		if at < 0 {
			to[i+1] = o
			continue
		}
		s, e := off[at], off[at+1]
		if e-s <= shortText && s < safe {
			*(*[shortText]byte)(dst[o:]) = *(*[shortText]byte)(src[s:])
			o += e - s
		} else {
			o += O(copy(dst[o:], src[s:e]))
		}
		to[i+1] = o
	}
	values.ResizeNoShrink(int(total))
	return offsets, values, nil
}

// shortText is how many bytes are copied of any text that has no more: a copy of
// fixed length takes no call. The destination has as much room to spare.
const shortText = 32

func takeList(alloc memory.Allocator, arr array.ListLike, idx []int32) (*memory.Buffer, arrow.ArrayData, error) {
	var total int64
	for _, at := range idx {
		if at >= 0 && arr.IsValid(int(at)) {
			s, e := arr.ValueOffsets(int(at))
			total += e - s
		}
	}
	if total > math.MaxInt32 {
		return nil, nil, fmt.Errorf("take %d rows of a %s column: %d elements do not fit one batch", len(idx), arr.DataType(), total)
	}
	offsets := newBuffer(alloc, (len(idx)+1)*4)
	to := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	rows := newBuffer(alloc, int(total)*4) // counted: arrays in arrays multiply
	defer rows.Release()
	inner := arrow.Int32Traits.CastFromBytes(rows.Bytes())[:0]
	to[0] = 0
	for i, at := range idx {
		if at >= 0 && arr.IsValid(int(at)) {
			s, e := arr.ValueOffsets(int(at))
			for j := s; j < e; j++ {
				inner = append(inner, int32(j))
			}
		}
		to[i+1] = int32(len(inner))
	}
	child, err := take(alloc, arr.ListValues(), inner)
	return offsets, child, err
}

// newBuffer returns n bytes that hold anything.
func newBuffer(alloc memory.Allocator, n int) *memory.Buffer {
	b := memory.NewResizableBuffer(limits.Uncleared(alloc))
	b.Resize(n)
	return b
}
