package vec

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Mask is the validity of a result under construction. Its bitmap is made only
// when the first NULL is seen.
type Mask struct {
	alloc  memory.Allocator
	buf    *memory.Buffer
	bits   []byte
	shared bool // buf belongs to an argument too and must not be written
	n      int
	nulls  int
}

// NewMask returns a mask of n valid rows.
func NewMask(alloc memory.Allocator, n int) *Mask { return &Mask{alloc: alloc, n: n} }

// Rows returns how many rows a kernel's result has: n, or 1 if all arguments are constants.
func Rows(args []expr.Vec, n int) int {
	for _, a := range args {
		if !a.Const {
			return n
		}
	}
	if len(args) == 0 {
		return n
	}
	return 1
}

// StrictMask returns the validity of a strict function's n results: the AND of
// its arguments' bitmaps, without a copy where one argument alone has NULLs.
func StrictMask(alloc memory.Allocator, args []expr.Vec, n int) *Mask {
	m := NewMask(alloc, n)
	for _, a := range args {
		switch {
		case a.Arr.NullN() == 0:
		case a.Const || a.Arr.DataType().ID() == arrow.NULL:
			m.SetAllNull()
			return m
		case m.buf == nil && a.Arr.Data().Offset() == 0:
			m.buf = a.Arr.Data().Buffers()[0]
			m.buf.Retain()
			m.bits, m.shared, m.nulls = m.buf.Bytes(), true, a.Arr.NullN()
		case m.buf == nil:
			m.own()
			bitutil.CopyBitmap(a.Arr.NullBitmapBytes(), a.Arr.Data().Offset(), n, m.bits, 0)
			m.nulls = a.Arr.NullN()
		default:
			m.own()
			bitutil.BitmapAnd(m.bits, a.Arr.NullBitmapBytes(), 0, int64(a.Arr.Data().Offset()), m.bits, 0, int64(n))
			m.nulls = n - bitutil.CountSetBits(m.bits, 0, n)
		}
	}
	return m
}

// own makes the bitmap writable, all ones if there was none.
func (m *Mask) own() {
	if m.buf != nil && !m.shared {
		return
	}
	size := int(bitutil.BytesForBits(int64(m.n)))
	nb := memory.NewResizableBuffer(m.alloc)
	nb.Resize(size)
	if m.buf == nil {
		fill(nb.Bytes(), 0xFF)
	} else {
		copy(nb.Bytes(), m.bits[:size])
		m.buf.Release()
	}
	m.buf, m.bits, m.shared = nb, nb.Bytes(), false
}

// SetNull makes row i NULL.
func (m *Mask) SetNull(i int) {
	m.own()
	if bitutil.BitIsSet(m.bits, i) {
		bitutil.ClearBit(m.bits, i)
		m.nulls++
	}
}

// SetAllNull makes every row NULL.
func (m *Mask) SetAllNull() {
	m.own()
	fill(m.bits, 0)
	m.nulls = m.n
}

// IsNull reports whether row i is NULL.
func (m *Mask) IsNull(i int) bool { return m.bits != nil && m.bits[i>>3]&(1<<(uint(i)&7)) == 0 }

// AllNull reports whether no row holds a value.
func (m *Mask) AllNull() bool { return m.n > 0 && m.nulls == m.n }

// Release gives the bitmap back; only for a mask that no array was made with.
func (m *Mask) Release() {
	if m.buf != nil {
		m.buf.Release()
		m.buf, m.bits = nil, nil
	}
}

// Array makes an array of the mask and value buffers, all of which it consumes.
func (m *Mask) Array(dt arrow.DataType, values ...*memory.Buffer) arrow.Array {
	bufs := append([]*memory.Buffer{m.validBuffer()}, values...)
	data := array.NewData(dt, m.n, bufs, nil, m.nulls, 0)
	defer data.Release()
	for _, b := range bufs {
		if b != nil {
			b.Release()
		}
	}
	m.buf, m.bits = nil, nil
	return array.MakeFromData(data)
}

// Nested makes an array with children, consuming mask, buffers and children.
func (m *Mask) Nested(dt arrow.DataType, values []*memory.Buffer, children ...arrow.Array) arrow.Array {
	bufs := append([]*memory.Buffer{m.validBuffer()}, values...)
	kids := make([]arrow.ArrayData, len(children))
	for i, c := range children {
		kids[i] = c.Data()
	}
	data := array.NewData(dt, m.n, bufs, kids, m.nulls, 0)
	defer data.Release()
	for _, b := range bufs {
		if b != nil {
			b.Release()
		}
	}
	for _, c := range children {
		c.Release()
	}
	m.buf, m.bits = nil, nil
	return array.MakeFromData(data)
}

func (m *Mask) validBuffer() *memory.Buffer {
	if m.nulls == 0 && m.buf != nil {
		m.buf.Release()
		m.buf = nil
	}
	return m.buf
}

func fill(b []byte, v byte) {
	for i := range b {
		b[i] = v
	}
}

// NullArray returns n NULLs of a type.
func NullArray(alloc memory.Allocator, dt arrow.DataType, n int) arrow.Array {
	return array.MakeArrayOfNull(alloc, dt, n)
}

// Rows returns how many rows the mask has.
func (m *Mask) Rows() int { return m.n }
