package functions

import (
	"bytes"
	"encoding/binary"
	"math/bits"

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
		m := vec.StrictMask(kc.Alloc, args, n)
		o := vec.NewStrOut(kc.Alloc, n)
		for i := range n {
			if m.IsNull(i) {
				o.Skip()
				continue
			}
			o.End(append(o.Begin(), partOf(s.At(i), d[0], part)...))
		}
		return o.Array(kc.Result, m)
	}
}

// partOf is the n-th part of a text, from 1, or nothing.
func partOf(s []byte, d byte, n int) []byte {
	if n > 1 {
		at := nth(s, d, n-1)
		if at < 0 {
			return nil
		}
		s = s[at+1:]
	}
	if end := nth(s, d, 1); end >= 0 {
		s = s[:end]
	}
	return s
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
