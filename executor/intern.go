package executor

import (
	"bytes"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/executor/rowkey"
)

// slots is an open-addressing table of numbered entries. A slot holds the
// entry's number plus one and 32 bits of its hash; the position comes from the
// same 32 bits, so that growing never looks at an entry again.
type slots struct {
	table []uint64
	mask  uint32
	used  int
}

const minSlots = 256

func (s *slots) reset() {
	// A table that one large batch has blown up would cost every small one after it.
	if s.table == nil || len(s.table) > 1<<16 && s.used < len(s.table)/16 {
		s.table = make([]uint64, minSlots)
	}
	clear(s.table)
	s.mask = uint32(len(s.table) - 1)
	s.used = 0
}

// reserve keeps the table at most half full with n more entries.
func (s *slots) reserve(n int) {
	size := max(len(s.table), minSlots)
	for size < 2*(s.used+n) {
		size *= 2
	}
	if size == len(s.table) {
		return
	}
	old := s.table
	s.table = make([]uint64, size)
	s.mask = uint32(size - 1)
	for _, slot := range old {
		if slot != 0 {
			at := uint32(slot>>32) & s.mask
			for s.table[at] != 0 {
				at = (at + 1) & s.mask
			}
			s.table[at] = slot
		}
	}
}

func (s *slots) bytes() int64 { return 8 * int64(len(s.table)) }

// interner numbers distinct byte strings from 1; 0 stands for NULL.
type interner struct {
	slots
	data []byte
	ends []int
	dict []uint32 // of the batch at hand: numbers of a dictionary's entries, 0 if not looked up
	buf  []byte
}

// absent is the number of a value that was looked up and is not there.
const absent = ^uint32(0)

func (t *interner) reset() {
	t.slots.reset()
	t.data, t.ends = t.data[:0], t.ends[:0]
}

func (t *interner) bytes() int64 {
	return t.slots.bytes() + int64(cap(t.data)) + 8*int64(cap(t.ends))
}

func (t *interner) value(number uint32) []byte {
	start := 0
	if number > 1 {
		start = t.ends[number-2]
	}
	return t.data[start:t.ends[number-1]]
}

func (t *interner) lookup(v []byte, insert bool) uint32 {
	tag := uint32(xxh3.Hash(v) >> 32)
	at := tag & t.mask
	for {
		slot := t.table[at]
		if slot == 0 {
			break
		}
		if uint32(slot>>32) == tag && bytes.Equal(t.value(uint32(slot)), v) {
			return uint32(slot)
		}
		at = (at + 1) & t.mask
	}
	if !insert {
		return absent
	}
	if 2*(t.used+1) > len(t.table) {
		t.reserve(len(t.table) / 2)
		for at = tag & t.mask; t.table[at] != 0; at = (at + 1) & t.mask {
		}
	}
	t.data = append(t.data, v...)
	t.ends = append(t.ends, len(t.data))
	number := uint32(len(t.ends))
	t.table[at] = uint64(tag)<<32 | uint64(number)
	t.used++
	return number
}

// words fills out with the number of each row's value.
func (t *interner) words(arr arrow.Array, insert bool, out []uint64) {
	if d, ok := arr.(*array.Dictionary); ok && d.Dictionary().Len() <= 4*len(out)+64 {
		t.dictionaryWords(d, insert, out)
		return
	}
	r := newRawReader(arr)
	for i := range out {
		v, null := r.value(i, &t.buf)
		if null {
			out[i] = 0
			continue
		}
		out[i] = uint64(t.lookup(v, insert))
	}
}

// dictionaryWords looks each entry of a dictionary up once, and only if a row uses it.
func (t *interner) dictionaryWords(d *array.Dictionary, insert bool, out []uint64) {
	values := d.Dictionary()
	if cap(t.dict) < values.Len() {
		t.dict = make([]uint32, values.Len())
	}
	t.dict = t.dict[:values.Len()]
	clear(t.dict)
	r := newRawReader(values)
	for i := range out {
		if d.IsNull(i) {
			out[i] = 0
			continue
		}
		e := d.GetValueIndex(i)
		if t.dict[e] == 0 {
			if v, null := r.value(e, &t.buf); !null {
				t.dict[e] = t.lookup(v, insert)
			}
		}
		out[i] = uint64(t.dict[e])
	}
}

// rawReader reads what an interner keeps of a value: text as it is, anything
// else in its key form.
type rawReader struct {
	arr arrow.Array
	str interface{ Value(int) string }
	bin interface{ Value(int) []byte }
}

func newRawReader(arr arrow.Array) rawReader {
	r := rawReader{arr: arr}
	switch a := arr.(type) {
	case *array.String:
		r.str = a
	case *array.LargeString:
		r.str = a
	case *array.Binary:
		r.bin = a
	case *array.LargeBinary:
		r.bin = a
	}
	return r
}

func (r *rawReader) value(i int, buf *[]byte) (v []byte, null bool) {
	if r.arr.IsNull(i) {
		return nil, true
	}
	switch {
	case r.str != nil:
		return unsafeBytes(r.str.Value(i)), false
	case r.bin != nil:
		return r.bin.Value(i), false
	}
	if d, ok := r.arr.(*array.Dictionary); ok {
		inner := newRawReader(d.Dictionary())
		return inner.value(d.GetValueIndex(i), buf)
	}
	*buf = rowkey.AppendKey((*buf)[:0], r.arr, i)
	return *buf, (*buf)[0] == 0
}

// column builds the values of numbers as an array of type dt.
func (t *interner) column(alloc memory.Allocator, dt arrow.DataType, words []uint64) (arrow.Array, error) {
	b := array.NewBuilder(alloc, dt)
	defer b.Release()
	b.Reserve(len(words))
	var dec *rowkey.Encoder
	for _, w := range words {
		if w == 0 {
			b.AppendNull()
			continue
		}
		v := t.value(uint32(w))
		switch b := b.(type) {
		case *array.StringBuilder:
			b.BinaryBuilder.Append(v)
		case *array.LargeStringBuilder:
			b.BinaryBuilder.Append(v)
		case *array.BinaryBuilder:
			b.Append(v)
		case *array.BinaryDictionaryBuilder:
			if err := b.Append(v); err != nil {
				return nil, err
			}
		default:
			if dec == nil {
				var err error
				if dec, err = rowkey.NewEncoder([]arrow.DataType{dt}); err != nil {
					return nil, err
				}
			}
			if err := dec.Decode(v, []array.Builder{b}); err != nil {
				return nil, err
			}
		}
	}
	return b.NewArray(), nil
}
