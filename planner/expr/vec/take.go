package vec

import (
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// Take gathers rows: row i of the result is row idx[i] of arr, or NULL where
// idx[i] is negative. A run of consecutive rows is a slice without a copy.
func Take(alloc memory.Allocator, arr arrow.Array, idx []int32) (arrow.Array, error) {
	if first, ok := consecutive(idx); ok {
		return array.NewSlice(arr, int64(first), int64(first)+int64(len(idx))), nil
	}
	return take(alloc, arr, idx)
}

// consecutive reports whether idx is first, first+1, and so on.
func consecutive(idx []int32) (int32, bool) {
	if len(idx) == 0 {
		return 0, true
	}
	first := idx[0]
	if first < 0 || int(idx[len(idx)-1]-first) != len(idx)-1 {
		return 0, false
	}
	for i, x := range idx {
		if x != first+int32(i) {
			return 0, false
		}
	}
	return first, true
}

func take(alloc memory.Allocator, arr arrow.Array, idx []int32) (arrow.Array, error) {
	dt := arr.DataType()
	switch dt.ID() {
	case arrow.NULL:
		return array.NewNull(len(idx)), nil
	case arrow.BOOL:
		return takeBool(arr, idx, takeMask(alloc, arr, idx)), nil
	case arrow.STRING, arrow.BINARY:
		return takeStrings(alloc, arr, idx)
	case arrow.LIST, arrow.MAP:
		return takeList(alloc, arr, idx)
	case arrow.STRUCT:
		return takeStruct(alloc, arr, idx)
	case arrow.DICTIONARY:
		return takeDict(alloc, arr.(*array.Dictionary), idx)
	}
	if fw, ok := dt.(arrow.FixedWidthDataType); ok {
		switch fw.BitWidth() {
		case 8:
			return takeFixed[uint8](arr, idx, takeMask(alloc, arr, idx)), nil
		case 16:
			return takeFixed[uint16](arr, idx, takeMask(alloc, arr, idx)), nil
		case 32:
			return takeFixed[uint32](arr, idx, takeMask(alloc, arr, idx)), nil
		case 64:
			return takeFixed[uint64](arr, idx, takeMask(alloc, arr, idx)), nil
		case 128:
			return takeFixed[decimal128.Num](arr, idx, takeMask(alloc, arr, idx)), nil
		}
	}
	return takeSlow(alloc, arr, idx)
}

// takeMask gathers validity; a negative index is a NULL.
func takeMask(alloc memory.Allocator, arr arrow.Array, idx []int32) *Mask {
	m := NewMask(alloc, len(idx))
	valid := Validity(arr)
	if valid.Buf != nil {
		m.own()
		fill(m.bits, 0)
		set := 0
		for i, x := range idx {
			if x >= 0 && valid.Get(int(x)) {
				m.bits[i>>3] |= 1 << (uint(i) & 7)
				set++
			}
		}
		m.nulls = len(idx) - set
		return m
	}
	for i, x := range idx {
		if x < 0 {
			m.SetNull(i)
		}
	}
	return m
}

func takeFixed[T Fixed](arr arrow.Array, idx []int32, m *Mask) arrow.Array {
	vals := Values[T](arr)
	buf, out := NewFixed[T](m.alloc, len(idx))
	if m.nulls == 0 {
		for i, x := range idx {
			out[i] = vals[x]
		}
	} else {
		var zero T
		for i, x := range idx {
			if x >= 0 {
				out[i] = vals[x]
			} else {
				out[i] = zero
			}
		}
	}
	return m.Array(arr.DataType(), buf)
}

func takeBool(arr arrow.Array, idx []int32, m *Mask) arrow.Array {
	vals := BoolBits(arr)
	buf := NewBits(m.alloc, len(idx))
	bits := buf.Bytes()
	for i, x := range idx {
		if x >= 0 && vals.Get(int(x)) {
			bits[i>>3] |= 1 << (uint(i) & 7)
		}
	}
	return m.Array(arr.DataType(), buf)
}

func takeStrings(alloc memory.Allocator, arr arrow.Array, idx []int32) (arrow.Array, error) {
	s := StringsOf(arr)
	total := 0
	for _, x := range idx {
		if x >= 0 {
			total += int(s.Off[x+1] - s.Off[x])
		}
	}
	if total > math.MaxInt32 {
		return nil, fmt.Errorf("gather %d rows of strings: more than %d bytes", len(idx), math.MaxInt32)
	}
	m := takeMask(alloc, arr, idx)
	offB, off := NewFixed[int32](alloc, len(idx)+1)
	data := memory.NewResizableBuffer(alloc)
	data.Resize(total)
	out, pos := data.Bytes(), 0
	for i, x := range idx {
		off[i] = int32(pos)
		if x >= 0 {
			pos += copy(out[pos:], s.Data[s.Off[x]:s.Off[x+1]])
		}
	}
	off[len(idx)] = int32(pos)
	return m.Array(arr.DataType(), offB, data), nil
}

func takeList(alloc memory.Allocator, arr arrow.Array, idx []int32) (arrow.Array, error) {
	v := ListOf(arr)
	m := takeMask(alloc, arr, idx)
	total := 0
	for i, x := range idx {
		if x >= 0 && !m.IsNull(i) {
			total += int(v.Off[x+1] - v.Off[x])
		}
	}
	if total > math.MaxInt32 {
		m.Release()
		return nil, fmt.Errorf("gather %d rows of arrays: more than %d elements", len(idx), math.MaxInt32)
	}
	offB, off := NewFixed[int32](alloc, len(idx)+1)
	kidB, kids := NewFixed[int32](alloc, total) // counted: arrays in arrays multiply
	defer kidB.Release()
	at := int32(0)
	for i, x := range idx {
		off[i] = at
		if x >= 0 && !m.IsNull(i) {
			for j := v.Off[x]; j < v.Off[x+1]; j++ {
				kids[at] = j
				at++
			}
		}
	}
	off[len(idx)] = at
	child := v.Elems
	if mp, ok := arr.(*array.Map); ok {
		child = mp.ListValues()
	}
	ch, err := Take(alloc, child, kids)
	if err != nil {
		m.Release()
		offB.Release()
		return nil, err
	}
	return m.Nested(arr.DataType(), []*memory.Buffer{offB}, ch), nil
}

func takeStruct(alloc memory.Allocator, arr arrow.Array, idx []int32) (arrow.Array, error) {
	st := arr.(*array.Struct)
	kids := make([]arrow.Array, 0, st.NumField())
	for i := range st.NumField() {
		k, err := take(alloc, st.Field(i), idx)
		if err != nil {
			ReleaseAll(kids)
			return nil, err
		}
		kids = append(kids, k)
	}
	return takeMask(alloc, arr, idx).Nested(arr.DataType(), nil, kids...), nil
}

func takeDict(alloc memory.Allocator, d *array.Dictionary, idx []int32) (arrow.Array, error) {
	ind, err := take(alloc, d.Indices(), idx)
	if err != nil {
		return nil, err
	}
	defer ind.Release()
	return array.NewDictionaryArray(d.DataType(), ind, d.Dictionary()), nil
}

// Decode returns the plain column of a dictionary-encoded one.
func Decode(alloc memory.Allocator, d *array.Dictionary) (arrow.Array, error) {
	idx := make([]int32, d.Len())
	for i := range idx {
		if d.IsNull(i) {
			idx[i] = -1
		} else {
			idx[i] = int32(d.GetValueIndex(i))
		}
	}
	return take(alloc, d.Dictionary(), idx)
}

// takeSlow serves the types that no kernel makes: it joins runs of consecutive rows.
func takeSlow(alloc memory.Allocator, arr arrow.Array, idx []int32) (arrow.Array, error) {
	var parts []arrow.Array
	defer func() { ReleaseAll(parts) }()
	for i := 0; i < len(idx); {
		j := i + 1
		if idx[i] < 0 {
			parts = append(parts, array.MakeArrayOfNull(alloc, arr.DataType(), 1))
		} else {
			for j < len(idx) && idx[j] == idx[j-1]+1 {
				j++
			}
			parts = append(parts, array.NewSlice(arr, int64(idx[i]), int64(idx[i])+int64(j-i)))
		}
		i = j
	}
	return array.Concatenate(parts, alloc)
}

// ReleaseAll releases arrays, nil ones excepted.
func ReleaseAll(arrs []arrow.Array) {
	for _, a := range arrs {
		if a != nil {
			a.Release()
		}
	}
}

// Expand returns n rows that repeat the one row of a constant.
func Expand(alloc memory.Allocator, one arrow.Array, n int) (arrow.Array, error) {
	if n == 1 {
		one.Retain()
		return one, nil
	}
	return take(alloc, one, make([]int32, n))
}

// Interleave builds a column from several: row i is row pos[i] of parts[from[i]].
// Where a part is a constant its one row is meant, whatever pos says.
func Interleave(alloc memory.Allocator, dt arrow.DataType, parts []Part, from, pos []int32) (arrow.Array, error) {
	if arr := masked(alloc, dt, parts, from, pos); arr != nil {
		return arr, nil
	}
	if fw, ok := dt.(arrow.FixedWidthDataType); ok {
		switch {
		case dt.ID() == arrow.DICTIONARY || dt.ID() == arrow.BOOL:
		case fw.BitWidth() == 32:
			return interleaveFixed[uint32](alloc, dt, parts, from, pos), nil
		case fw.BitWidth() == 64:
			return interleaveFixed[uint64](alloc, dt, parts, from, pos), nil
		case fw.BitWidth() == 128:
			return interleaveFixed[decimal128.Num](alloc, dt, parts, from, pos), nil
		}
	}
	if dt.ID() == arrow.STRING || dt.ID() == arrow.BINARY {
		return interleaveStrings(alloc, dt, parts, from, pos)
	}
	arrs := make([]arrow.Array, len(parts))
	base := make([]int32, len(parts))
	var total int32
	for k, p := range parts {
		arrs[k], base[k] = p.Arr, total
		total += int32(p.Arr.Len())
	}
	all, err := array.Concatenate(arrs, alloc)
	if err != nil {
		return nil, fmt.Errorf("join branches of type %s: %w", dt, err)
	}
	defer all.Release()
	idx := make([]int32, len(from))
	for i, f := range from {
		idx[i] = base[f]
		if !parts[f].Const {
			idx[i] += pos[i]
		}
	}
	return take(alloc, all, idx)
}

// masked is the result of Interleave where it is one of the parts with more NULLs: its
// values are shared. It returns nil where it is not.
func masked(alloc memory.Allocator, dt arrow.DataType, parts []Part, from, pos []int32) arrow.Array {
	of := -1
	for k, p := range parts {
		switch {
		case p.Arr.NullN() == p.Arr.Len() && p.Const:
		case of >= 0 || p.Const || p.Arr.Data().Offset() != 0 || p.Arr.Len() != len(from) || !arrow.TypeEqual(p.Arr.DataType(), dt):
			return nil
		default:
			of = k
		}
	}
	if of < 0 || dt.ID() == arrow.NULL || arrow.IsUnion(dt.ID()) || dt.ID() == arrow.DICTIONARY {
		return nil
	}
	for i, f := range from {
		if int(f) == of && int(pos[i]) != i {
			return nil
		}
	}
	d := parts[of].Arr.Data()
	m := NewMask(alloc, len(from))
	valid := Validity(parts[of].Arr)
	for i, f := range from {
		if int(f) != of || !valid.Get(i) {
			m.SetNull(i)
		}
	}
	buffers := append([]*memory.Buffer{m.buf}, d.Buffers()[1:]...)
	data := array.NewData(dt, len(from), buffers, d.Children(), m.nulls, 0)
	defer data.Release()
	m.Release()
	return array.MakeFromData(data)
}

// Part is one input of Interleave.
type Part struct {
	Arr   arrow.Array
	Const bool
}

func (p Part) mask() int {
	if p.Const {
		return 0
	}
	return -1
}

func interleaveMask(alloc memory.Allocator, parts []Part, from, pos []int32) *Mask {
	m := NewMask(alloc, len(from))
	valid := make([]Bits, len(parts))
	some := false
	for k, p := range parts {
		valid[k] = Validity(p.Arr)
		some = some || p.Arr.NullN() > 0
	}
	if some {
		for i, f := range from {
			if !valid[f].Get(int(pos[i]) & parts[f].mask()) {
				m.SetNull(i)
			}
		}
	}
	return m
}

func interleaveFixed[T Fixed](alloc memory.Allocator, dt arrow.DataType, parts []Part, from, pos []int32) arrow.Array {
	buf, out := NewFixed[T](alloc, len(from))
	vals := make([][]T, len(parts))
	masks := make([]int, len(parts))
	for k, p := range parts {
		vals[k], masks[k] = Values[T](p.Arr), p.mask()
	}
	for i, f := range from {
		out[i] = vals[f][int(pos[i])&masks[f]]
	}
	return interleaveMask(alloc, parts, from, pos).Array(dt, buf)
}

func interleaveStrings(alloc memory.Allocator, dt arrow.DataType, parts []Part, from, pos []int32) (arrow.Array, error) {
	o := NewStrOut(alloc, len(from))
	vals := make([]Strings, len(parts))
	for k, p := range parts {
		vals[k] = StringsOf(p.Arr)
	}
	for i, f := range from {
		o.End(append(o.Begin(), vals[f].At(int(pos[i])&parts[f].mask())...))
	}
	return o.Array(dt, interleaveMask(alloc, parts, from, pos))
}
