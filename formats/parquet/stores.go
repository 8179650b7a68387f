package parquet

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

func sizeOf[T any]() int {
	var zero T
	return int(unsafe.Sizeof(zero))
}

// castTo sees n values in bytes that hold them. The bytes need not be aligned:
// the types have no pointers, and the machines that Arrow runs on load any address.
func castTo[T any](b []byte, n int) []T {
	if n == 0 {
		return nil
	}
	b = b[:n*sizeOf[T]()]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// plainFixed stores values of a fixed width: S in the file, D in memory.
type plainFixed[S, D any] struct {
	conv func(src []S, dst []D) error
}

func (s plainFixed[S, D]) plain(body []byte, at int, dst []D) (int, error) {
	end := at + len(dst)*sizeOf[S]()
	if end > len(body) {
		return at, errShort
	}
	return end, s.conv(castTo[S](body[at:end], len(dst)), dst)
}

func (s plainFixed[S, D]) skip(body []byte, at, n int) (int, error) {
	if at += n * sizeOf[S](); at > len(body) {
		return at, errShort
	}
	return at, nil
}

func (plainFixed[S, D]) reshape([]byte, int) ([]byte, error) { return nil, nil }
func (plainFixed[S, D]) direct() bool                        { return true }
func (plainFixed[S, D]) buffers([]D, []segment, memory.Allocator) ([]*memory.Buffer, error) {
	return nil, nil
}

// boolByte is a boolean while it is not packed to bits.
type boolByte uint8

type plainBools struct{ plainFixed[boolByte, boolByte] }

func (plainBools) direct() bool { return false }

func (plainBools) buffers(vals []boolByte, _ []segment, alloc memory.Allocator) ([]*memory.Buffer, error) {
	buf := newBuffer(alloc, (len(vals)+7)/8)
	bits := buf.Bytes()
	clear(bits)
	for i, v := range vals {
		bits[i>>3] |= byte(v) << (i & 7)
	}
	return []*memory.Buffer{buf}, nil
}

// view is where a string lies in the bytes of its segment: its offset, and its
// length in the low half.
type view uint64

// plainText stores strings and binaries. They are views into their page until a
// batch is handed out, and are copied once.
type plainText struct {
	length int // of a fixed length; -1 if each has its own
	text   func(dst, src []byte) ([]byte, error)
	shape  int // length after text
}

func (s plainText) fixed() int {
	if s.text != nil {
		return s.shape
	}
	return s.length
}

func (s plainText) plain(body []byte, at int, dst []view) (int, error) {
	if w := s.fixed(); w >= 0 {
		if at+w*len(dst) > len(body) {
			return at, errShort
		}
		for i := range dst {
			dst[i] = view(at)<<32 | view(w)
			at += w
		}
		return at, nil
	}
	for i := range dst {
		if at+4 > len(body) {
			return at, errShort
		}
		n := binary.LittleEndian.Uint32(body[at:])
		at += 4
		if uint64(n) > uint64(len(body)-at) {
			return at, errShort
		}
		dst[i] = view(at)<<32 | view(n)
		at += int(n)
	}
	return at, nil
}

func (s plainText) skip(body []byte, at, n int) (int, error) {
	if w := s.fixed(); w >= 0 {
		if at += w * n; at > len(body) {
			return at, errShort
		}
		return at, nil
	}
	for range n {
		if at+4 > len(body) {
			return at, errShort
		}
		size := binary.LittleEndian.Uint32(body[at:])
		if at += 4; uint64(size) > uint64(len(body)-at) {
			return at, errShort
		}
		at += int(size)
	}
	return at, nil
}

func (s plainText) reshape(body []byte, n int) (out []byte, err error) {
	if s.text == nil {
		return nil, nil
	}
	if n*s.length > len(body) {
		return nil, errShort
	}
	out = make([]byte, 0, n*s.shape+copyPad)
	for i := range n {
		if out, err = s.text(out, body[i*s.length:(i+1)*s.length]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (plainText) direct() bool { return false }

func (plainText) buffers(vals []view, segs []segment, alloc memory.Allocator) ([]*memory.Buffer, error) {
	total := uint64(0)
	for _, v := range vals {
		total += uint64(uint32(v))
	}
	if total > maxBatchText {
		return nil, fmt.Errorf("more than %d bytes of text in %d values", maxBatchText, len(vals))
	}
	offs := newBuffer(alloc, (len(vals)+1)*4)
	o := arrow.Int32Traits.CastFromBytes(offs.Bytes())
	data := newBuffer(alloc, int(total)+copyPad)
	dst, at := data.Bytes(), 0
	o[0] = 0
	for i, s := range segs {
		end := len(vals)
		if i+1 < len(segs) {
			end = segs[i+1].from
		}
		if s.from < end {
			at = copyViews(dst, at, s.base, vals[s.from:end], o[s.from+1:end+1])
		}
	}
	data.ResizeNoShrink(int(total))
	return []*memory.Buffer{offs, data}, nil
}

// copyViews copies strings behind one another from dst[at:] on. Short ones go by
// words, over what comes after them.
func copyViews(dst []byte, at int, base []byte, vals []view, ends []int32) int {
	ends = ends[:len(vals)]
	base = base[:cap(base)] // pages are padded: what lies behind is copied over again, or cut off
	for i, v := range vals {
		n, from := int(uint32(v)), int(v>>32)
		if n <= copyPad && from+copyPad <= len(base) {
			src, to := base[from:from+copyPad], dst[at:at+copyPad]
			binary.LittleEndian.PutUint64(to, binary.LittleEndian.Uint64(src))
			binary.LittleEndian.PutUint64(to[8:], binary.LittleEndian.Uint64(src[8:]))
		} else {
			copy(dst[at:at+n], base[from:from+n])
		}
		at += n
		ends[i] = int32(at)
	}
	return at
}

// plainDecimals stores decimals as big-endian bytes.
type plainDecimals struct {
	length int // -1 if each has its own
	scale  decimalScale
}

func (s plainDecimals) plain(body []byte, at int, dst []decimal128.Num) (int, error) {
	for i := range dst {
		n := s.length
		if n < 0 {
			if at+4 > len(body) {
				return at, errShort
			}
			n = int(binary.LittleEndian.Uint32(body[at:]))
			at += 4
		}
		if n > len(body)-at {
			return at, errShort
		}
		x, err := decimalFromBytes(body[at : at+n])
		if err == nil {
			x, err = s.scale.apply(x)
		}
		if err != nil {
			return at, err
		}
		dst[i] = x
		at += n
	}
	return at, nil
}

func (s plainDecimals) skip(body []byte, at, n int) (int, error) {
	return plainText{length: s.length}.skip(body, at, n)
}

func (plainDecimals) reshape([]byte, int) ([]byte, error) { return nil, nil }
func (plainDecimals) direct() bool                        { return true }
func (plainDecimals) buffers([]decimal128.Num, []segment, memory.Allocator) ([]*memory.Buffer, error) {
	return nil, nil
}
