package vec

import (
	"fmt"
	"math"
	"sync"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// NewFixed allocates a value buffer for n rows. Its content is undefined.
func NewFixed[T Fixed](alloc memory.Allocator, n int) (*memory.Buffer, []T) {
	var z T
	buf := memory.NewResizableBuffer(alloc)
	buf.Resize(n * int(unsafe.Sizeof(z)))
	if n == 0 {
		return buf, nil
	}
	return buf, unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(buf.Bytes()))), n)
}

// NewBits allocates a zeroed bitmap of n rows, padded to whole words.
func NewBits(alloc memory.Allocator, n int) *memory.Buffer {
	buf := memory.NewResizableBuffer(alloc)
	buf.Reserve((n + 63) / 64 * 8)
	buf.Resize(int(bitutil.BytesForBits(int64(n))))
	fill(buf.Buf(), 0)
	return buf
}

// Words views a bitmap made by NewBits as 64-bit words.
func Words(buf *memory.Buffer, n int) []uint64 {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(buf.Buf()))), (n+63)/64)
}

var bytePool = sync.Pool{New: func() any { return new([]byte) }}

// Charger is an allocator that counts memory that it did not give out as well: n
// bytes were taken, or given back if n is negative. It panics where they are too many.
type Charger interface{ Charge(n int64) }

// chargeFrom is from how many bytes on text in Go's memory is counted.
const chargeFrom = 1 << 20

// StrOut writes a STRING or BINARY column row by row, in order.
type StrOut struct {
	alloc memory.Allocator
	offB  *memory.Buffer
	off   []int32
	box   *[]byte
	buf   []byte // Go memory from a pool; the result gets an exact copy
	rows  int
	over  bool
	// charged is how much of buf is counted, and chargeFrom at first.
	charged int
}

// NewStrOut returns a writer for n rows.
func NewStrOut(alloc memory.Allocator, n int) *StrOut {
	o := &StrOut{alloc: alloc, charged: chargeFrom}
	o.offB, o.off = NewFixed[int32](alloc, n+1)
	o.off[0] = 0
	o.box = bytePool.Get().(*[]byte)
	o.buf = (*o.box)[:0]
	return o
}

// Begin returns the bytes written so far, to append the next row's to.
func (o *StrOut) Begin() []byte { return o.buf }

// End ends a row: b is what Begin returned with the row's bytes appended.
func (o *StrOut) End(b []byte) {
	o.buf = b
	o.rows++
	if cap(b) > o.charged {
		o.charge(cap(b))
	}
	if len(b) > math.MaxInt32 {
		o.over = true
		o.buf = b[:o.off[o.rows-1]]
	}
	o.off[o.rows] = int32(len(o.buf))
}

// charge counts what has grown: doubling a text a few times is all it takes to fill
// a machine.
func (o *StrOut) charge(to int) {
	if c, ok := o.alloc.(Charger); ok {
		c.Charge(int64(to - o.charged))
		o.charged = to
	}
}

// Append writes a row.
func (o *StrOut) Append(s string) { o.End(append(o.buf, s...)) }

// Skip writes an empty row, as under a NULL.
func (o *StrOut) Skip() { o.End(o.buf) }

// Release gives memory back without making an array.
func (o *StrOut) Release() {
	if o.offB != nil {
		o.offB.Release()
		o.offB = nil
		o.recycle()
	}
}

func (o *StrOut) recycle() {
	if o.charged > chargeFrom {
		o.charge(chargeFrom)
	}
	if cap(o.buf) <= 1<<22 {
		*o.box = o.buf[:0]
		bytePool.Put(o.box)
	}
	o.buf, o.box = nil, nil
}

// Array makes the array and consumes mask and writer, also when it fails.
func (o *StrOut) Array(dt arrow.DataType, m *Mask) (arrow.Array, error) {
	if o.over {
		o.Release()
		m.Release()
		return nil, fmt.Errorf("strings of one column in one batch exceed %d bytes", math.MaxInt32)
	}
	data := memory.NewResizableBuffer(o.alloc)
	data.Resize(len(o.buf))
	copy(data.Bytes(), o.buf)
	o.recycle()
	offB := o.offB
	o.offB = nil
	return m.Array(dt, offB, data), nil
}

// Repeat makes a STRING or BINARY column of n rows of one text.
func Repeat(alloc memory.Allocator, dt arrow.DataType, text []byte, n int) (arrow.Array, error) {
	if len(text)*n > math.MaxInt32 {
		return nil, fmt.Errorf("strings of one column in one batch exceed %d bytes", math.MaxInt32)
	}
	offB, off := NewFixed[int32](alloc, n+1)
	data := memory.NewResizableBuffer(alloc)
	data.Resize(len(text) * n)
	for i := range off {
		off[i] = int32(i * len(text))
	}
	b := data.Bytes()
	for done := copy(b, text); done < len(b); {
		done += copy(b[done:], b[:done])
	}
	return NewMask(alloc, n).Array(dt, offB, data), nil
}

// Writer writes a column of Go values. Put is called once a row, in order.
type Writer[T Value] struct {
	buf  *memory.Buffer
	vals []T
	bits []byte
	str  *StrOut
}

// NewWriter returns a writer of n rows.
func NewWriter[T Value](alloc memory.Allocator, n int) *Writer[T] {
	w := &Writer[T]{}
	switch p := any(&w.vals).(type) {
	case *[]int8:
		w.buf, *p = NewFixed[int8](alloc, n)
	case *[]int16:
		w.buf, *p = NewFixed[int16](alloc, n)
	case *[]int32:
		w.buf, *p = NewFixed[int32](alloc, n)
	case *[]int64:
		w.buf, *p = NewFixed[int64](alloc, n)
	case *[]float32:
		w.buf, *p = NewFixed[float32](alloc, n)
	case *[]float64:
		w.buf, *p = NewFixed[float64](alloc, n)
	case *[]decimal128.Num:
		w.buf, *p = NewFixed[decimal128.Num](alloc, n)
	case *[]bool:
		w.buf = NewBits(alloc, n)
		w.bits = w.buf.Bytes()
	default:
		w.str = NewStrOut(alloc, n)
	}
	return w
}

// Put writes row i.
func (w *Writer[T]) Put(i int, v T) {
	switch {
	case w.vals != nil:
		w.vals[i] = v
	case w.str != nil:
		w.putBytes(v)
	default:
		if *(*bool)(unsafe.Pointer(&v)) {
			w.bits[i>>3] |= 1 << (uint(i) & 7)
		}
	}
}

func (w *Writer[T]) putBytes(v T) {
	switch p := any(&v).(type) {
	case *string:
		w.str.End(append(w.str.buf, *p...))
	case *[]byte:
		w.str.End(append(w.str.buf, *p...))
	}
}

// Skip leaves row i without a value, under a NULL.
func (w *Writer[T]) Skip(i int) {
	switch {
	case w.vals != nil:
		var z T
		w.vals[i] = z
	case w.str != nil:
		w.str.Skip()
	}
}

// Release gives memory back without making an array.
func (w *Writer[T]) Release() {
	if w.str != nil {
		w.str.Release()
	}
	if w.buf != nil {
		w.buf.Release()
	}
}

// Array makes the array and consumes writer and mask, also when it fails.
func (w *Writer[T]) Array(dt arrow.DataType, m *Mask) (arrow.Array, error) {
	if w.str != nil {
		return w.str.Array(dt, m)
	}
	return m.Array(dt, w.buf), nil
}
