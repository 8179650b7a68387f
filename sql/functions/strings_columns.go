package functions

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

// The kernels of this file take whole columns where those are of the common kind,
// text of ASCII for instance, and leave others to a kernel that goes by rows.

// Eight bytes at a time, as in formats/text.
const (
	eachByte = 0x0101010101010101
	topBits  = 0x8080808080808080
)

// columnText is the text of an argument that is a column of strings, and all its
// bytes from the first row to the last.
func columnText(v expr.Vec) (s vec.Strings, all []byte, ok bool) {
	if v.Const || v.Arr.DataType().ID() != arrow.STRING || v.Arr.Len() == 0 {
		return s, nil, false
	}
	s = vec.StringsOf(v.Arr)
	n := len(s.Off) - 1
	return s, s.Data[s.Off[0]:s.Off[n]], n == v.Arr.Len()
}

func allASCII(b []byte) bool {
	var seen uint64
	for ; len(b) >= 32; b = b[32:] {
		seen |= binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) | binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:])
	}
	for _, c := range b {
		seen |= uint64(c)
	}
	return seen&topBits == 0
}

// lengthColumn counts characters by offsets where each is a byte.
func lengthColumn(each expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		s, all, ok := columnText(args[0])
		if !ok || !allASCII(all) {
			return each(kc, args, n)
		}
		m := vec.StrictMask(kc.Alloc, args, n)
		buf, out := vec.NewFixed[int32](kc.Alloc, n)
		for i := range out {
			out[i] = s.Off[i+1] - s.Off[i]
		}
		return m.Array(kc.Result, buf), nil
	}
}

// caseColumn turns the letters from lo to hi around where all text is ASCII.
func caseColumn(lo, hi byte, each expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		s, all, ok := columnText(args[0])
		if !ok || !allASCII(all) {
			return each(kc, args, n)
		}
		m := vec.StrictMask(kc.Alloc, args, n)
		data := memory.NewResizableBuffer(kc.Alloc)
		data.Resize(len(all))
		turnCase(data.Bytes(), all, lo, hi)
		offB, off := vec.NewFixed[int32](kc.Alloc, n+1)
		first := s.Off[0]
		for i := range off {
			off[i] = s.Off[i] - first
		}
		return m.Array(kc.Result, offB, data), nil
	}
}

// turnCase copies ASCII and flips the case of the letters from lo to hi.
func turnCase(dst, src []byte, lo, hi byte) {
	from, behind := (0x80-uint64(lo))*eachByte, (0x7f-uint64(hi))*eachByte
	i := 0
	for ; i+8 <= len(src); i += 8 {
		w := binary.LittleEndian.Uint64(src[i:])
		// The top bit of a byte tells whether it is at least lo, and whether it is above hi.
		w ^= ((w + from) &^ (w + behind) & topBits) >> 2
		binary.LittleEndian.PutUint64(dst[i:], w)
	}
	for ; i < len(src); i++ {
		c := src[i]
		if c >= lo && c <= hi {
			c ^= 0x20
		}
		dst[i] = c
	}
}

// splitColumn takes a part between constant delimiters of one byte.
func splitColumn(each expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		s, _, ok := columnText(args[0])
		if !ok || !args[1].Const || !args[2].Const || args[1].Arr.NullN() > 0 || args[2].Arr.NullN() > 0 {
			return each(kc, args, n)
		}
		delimiter, parts := vec.Load[string](args[1]), vec.Load[int32](args[2])
		defer delimiter.Release()
		defer parts.Release()
		d, part := delimiter.At(0), int(parts.At(0))
		if len(d) != 1 || part < 1 {
			return each(kc, args, n)
		}
		return cutColumn(kc, args, s, n, func(i int) (from, to int32) {
			from, to = s.Off[i], s.Off[i+1]
			first, size := partOf(s.Data[from:to], d[0], part)
			return from + int32(first), from + int32(first+size)
		})
	}
}

// places is scratch for where the rows of a result lie.
var places = sync.Pool{New: func() any { return new([]int32) }}

// cutColumn makes a column of one piece of each row of s.
func cutColumn(kc *expr.KernelContext, args []expr.Vec, s vec.Strings, n int, piece func(i int) (from, to int32)) (arrow.Array, error) {
	m := vec.StrictMask(kc.Alloc, args, n)
	room := places.Get().(*[]int32)
	defer places.Put(room)
	*room = slices.Grow((*room)[:0], n)[:n]
	starts := *room
	offB, off := vec.NewFixed[int32](kc.Alloc, n+1)
	off[0] = 0
	for i := range starts {
		from, to := piece(i)
		starts[i], off[i+1] = from, off[i]+to-from
	}
	const step = 16
	size := int(off[n])
	data := memory.NewResizableBuffer(kc.Alloc)
	data.Resize(size + step)
	out := data.Bytes()
	for i, from := range starts {
		at, end := int(off[i]), int(off[i+1])
		if f := int(from); end-at <= step && f+step <= len(s.Data) {
			*(*[step]byte)(out[at:]) = *(*[step]byte)(s.Data[f:])
			continue
		}
		copy(out[at:end], s.Data[from:])
	}
	data.ResizeNoShrink(size)
	return m.Array(kc.Result, offB, data), nil
}

// withoutColumn takes a constant byte out of a text, where REPLACE has nothing to
// put in its place.
func withoutColumn(each expr.Kernel) expr.Kernel {
	return func(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
		s, all, ok := columnText(args[0])
		if !ok || !args[1].Const || !args[2].Const || args[1].Arr.NullN() > 0 || args[2].Arr.NullN() > 0 {
			return each(kc, args, n)
		}
		search, by := vec.Load[string](args[1]), vec.Load[string](args[2])
		defer search.Release()
		defer by.Release()
		if len(search.At(0)) != 1 || by.At(0) != "" {
			return each(kc, args, n)
		}
		m := vec.StrictMask(kc.Alloc, args, n)
		data := memory.NewResizableBuffer(kc.Alloc)
		data.Resize(len(all) + 8)
		offB, off := vec.NewFixed[int32](kc.Alloc, n+1)
		out, d, pos := data.Bytes(), search.At(0)[0], 0
		off[0] = 0
		for i := range n {
			pos += without(out[pos:], s.At(i), d)
			off[i+1] = int32(pos)
		}
		data.ResizeNoShrink(pos)
		return m.Array(kc.Result, offB, data), nil
	}
}

// without copies s less its bytes d and returns how many that are. dst has room for
// all of s and eight bytes more.
func without(dst, s []byte, d byte) (n int) {
	want := uint64(d) * eachByte
	for len(s) >= 8 {
		w := binary.LittleEndian.Uint64(s)
		binary.LittleEndian.PutUint64(dst[n:], w)
		w ^= want
		// The lowest bit of found is that of the first d; those above may be wrong.
		found := (w - eachByte) &^ w & topBits
		if found == 0 {
			n, s = n+8, s[8:]
			continue
		}
		before := bits.TrailingZeros64(found) / 8
		n, s = n+before, s[before+1:]
	}
	for _, c := range s {
		dst[n] = c
		if c != d {
			n++
		}
	}
	return n
}

// partOf is where the n-th part of a text begins, from 1, and how long it is; nothing
// if there are fewer.
func partOf(s []byte, d byte, n int) (from, size int) {
	if n > 1 {
		at := nth(s, d, n-1)
		if at < 0 {
			return 0, 0
		}
		from = at + 1
	}
	if end := nth(s[from:], d, 1); end >= 0 {
		return from, end
	}
	return from, len(s) - from
}

// nth is the place of the n-th byte d, or -1.
func nth(s []byte, d byte, n int) int {
	want, i := uint64(d)*eachByte, 0
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:]) ^ want
		// Exactly the bytes of w that are zero have their top bit set.
		hits := ^((w&^topBits + ^uint64(topBits)) | w | ^uint64(topBits))
		if hits == 0 {
			continue
		}
		if c := bits.OnesCount64(hits); c < n {
			n -= c
			continue
		}
		for ; n > 1; n-- {
			hits &= hits - 1
		}
		return i + bits.TrailingZeros64(hits)/8
	}
	for ; n > 0; n-- {
		at := bytes.IndexByte(s[i:], d)
		if at < 0 {
			return -1
		}
		i += at + 1
	}
	return i - 1
}
