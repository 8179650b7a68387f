package vec

import (
	"sync"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Fixed lists the Go types that a column's value buffer may be read as.
type Fixed interface {
	~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~float32 | ~float64 | decimal128.Num
}

// Value lists the Go types that a kernel may be written over.
type Value interface {
	bool | int8 | int16 | int32 | int64 | float32 | float64 | decimal128.Num | string | []byte
}

// Values returns the value buffer of a fixed-width array as a slice of its rows.
func Values[T Fixed](arr arrow.Array) []T {
	d := arr.Data()
	if d.Len() == 0 || d.Buffers()[1] == nil {
		return nil
	}
	b := d.Buffers()[1].Bytes()
	var z T
	all := unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(z)))
	return all[d.Offset() : d.Offset()+d.Len()]
}

// Bits is a bitmap from some offset on. The zero Bits is all ones.
type Bits struct {
	Buf []byte
	Off int
}

// Get returns bit i.
func (b Bits) Get(i int) bool {
	return b.Buf == nil || b.Buf[(b.Off+i)>>3]&(1<<(uint(b.Off+i)&7)) != 0
}

// Validity returns the bitmap of an array's rows that are not NULL. An array of
// the type VOID has no bitmap and is all NULL: ask arr.NullN first.
func Validity(arr arrow.Array) Bits {
	if arr.NullN() == 0 {
		return Bits{}
	}
	if b := arr.NullBitmapBytes(); len(b) > 0 {
		return Bits{Buf: b, Off: arr.Data().Offset()}
	}
	return Bits{}
}

// BoolBits returns the values of a boolean array as a bitmap.
func BoolBits(arr arrow.Array) Bits {
	d := arr.Data()
	if d.Len() == 0 || d.Buffers()[1] == nil {
		return Bits{}
	}
	return Bits{Buf: d.Buffers()[1].Bytes(), Off: d.Offset()}
}

// Strings is a view of a STRING or BINARY array.
type Strings struct {
	Off  []int32 // one more than rows
	Data []byte
}

// StringsOf views a STRING or BINARY array.
func StringsOf(arr arrow.Array) Strings {
	d := arr.Data()
	if d.Len() == 0 || d.Buffers()[1] == nil {
		return Strings{Off: []int32{0}}
	}
	b := d.Buffers()[1].Bytes()
	off := unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
	s := Strings{Off: off[d.Offset() : d.Offset()+d.Len()+1]}
	if d.Buffers()[2] != nil {
		s.Data = d.Buffers()[2].Bytes()
	}
	return s
}

// At returns the bytes of row i.
func (s Strings) At(i int) []byte { return s.Data[s.Off[i]:s.Off[i+1]:s.Off[i+1]] }

// Str returns row i as a string that shares the array's memory.
func (s Strings) Str(i int) string {
	b := s.Data[s.Off[i]:s.Off[i+1]]
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// Col is a column read as Go values: row i of n rows is Vals[i&Mask], where the
// mask is 0 for a constant, so that kernels need one loop for both.
type Col[T Value] struct {
	Vals []T
	Mask int
	free func()
}

// At returns row i.
func (c *Col[T]) At(i int) T { return c.Vals[i&c.Mask] }

// Release gives scratch memory back.
func (c *Col[T]) Release() {
	if c.free != nil {
		c.free()
		c.free = nil
	}
}

var stringPool = sync.Pool{New: func() any { return new([]string) }}

// Load reads an argument as Go values. A column of fixed width is not copied;
// of strings and booleans the headers are.
func Load[T Value](v expr.Vec) Col[T] {
	c := Col[T]{Mask: -1}
	if v.Const {
		c.Mask = 0
	}
	n := v.Arr.Len()
	if v.Arr.DataType().ID() == arrow.NULL {
		c.Vals = make([]T, n)
		return c
	}
	switch p := any(&c.Vals).(type) {
	case *[]int8:
		*p = Values[int8](v.Arr)
	case *[]int16:
		*p = Values[int16](v.Arr)
	case *[]int32:
		*p = Values[int32](v.Arr)
	case *[]int64:
		*p = Values[int64](v.Arr)
	case *[]float32:
		*p = Values[float32](v.Arr)
	case *[]float64:
		*p = Values[float64](v.Arr)
	case *[]decimal128.Num:
		*p = Values[decimal128.Num](v.Arr)
	case *[]bool:
		b := BoolBits(v.Arr)
		out := make([]bool, n)
		for i := range out {
			out[i] = b.Get(i)
		}
		*p = out
	case *[]string:
		*p, c.free = loadStrings(v.Arr, n)
	case *[][]byte:
		s := StringsOf(v.Arr)
		out := make([][]byte, n)
		for i := range out {
			out[i] = s.At(i)
		}
		*p = out
	}
	return c
}

func loadStrings(arr arrow.Array, n int) ([]string, func()) {
	box := stringPool.Get().(*[]string)
	if cap(*box) < n {
		*box = make([]string, n)
	}
	out := (*box)[:n]
	s := StringsOf(arr)
	for i := range out {
		out[i] = s.Str(i)
	}
	return out, func() {
		clear(out)
		stringPool.Put(box)
	}
}

// ListView is a view of an ARRAY or MAP column: row i holds the elements
// [Start(i), End(i)) of Elems (for a map, of Keys and Elems).
type ListView struct {
	Off   []int32
	Keys  arrow.Array // of a map
	Elems arrow.Array
}

// ListOf views an ARRAY or MAP array.
func ListOf(arr arrow.Array) ListView {
	d := arr.Data()
	v := ListView{Off: []int32{0}}
	if d.Len() > 0 && d.Buffers()[1] != nil {
		b := d.Buffers()[1].Bytes()
		off := unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
		v.Off = off[d.Offset() : d.Offset()+d.Len()+1]
	}
	switch a := arr.(type) {
	case *array.Map:
		v.Keys, v.Elems = a.Keys(), a.Items()
	case *array.List:
		v.Elems = a.ListValues()
	}
	return v
}

// Start returns the first element's position of row i.
func (v ListView) Start(i int) int { return int(v.Off[i]) }

// End returns the position after the last element of row i.
func (v ListView) End(i int) int { return int(v.Off[i+1]) }

// Len returns the number of elements of row i.
func (v ListView) Len(i int) int { return int(v.Off[i+1] - v.Off[i]) }

// IsNull reports whether row i is NULL, also of the type VOID, whose arrays say no.
func IsNull(arr arrow.Array, i int) bool {
	return arr.DataType().ID() == arrow.NULL || arr.IsNull(i)
}
