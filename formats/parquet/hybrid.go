package parquet

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

var errRuns = errors.New("damaged runs of indexes or levels")

// hybrid reads numbers of a fixed width in Parquet's mix of repeated and
// bit-packed runs: dictionary indexes, levels and booleans. It never makes room
// for more than it is asked for, however long a run claims to be.
type hybrid struct {
	b     []byte // behind the run in hand
	width int
	left  int    // numbers of the run in hand
	value uint32 // of a repeated run
	bits  []byte // of a bit-packed run; nil for a repeated one
	at    int    // the next number of the bit-packed run
}

const maxIndexWidth = 32

func newHybrid(b []byte, width int) (hybrid, error) {
	if width < 0 || width > maxIndexWidth {
		return hybrid{}, errRuns
	}
	return hybrid{b: b, width: width}, nil
}

// run reads the header of the next run.
func (h *hybrid) run() error {
	v, n := binary.Uvarint(h.b)
	if n <= 0 || v>>1 > maxPageValues {
		return errRuns
	}
	h.b = h.b[n:]
	if v&1 == 0 {
		size := (h.width + 7) / 8
		if size > len(h.b) || v == 0 {
			return errRuns
		}
		h.value = 0
		for i := range size {
			h.value |= uint32(h.b[i]) << (8 * i)
		}
		h.b, h.left, h.bits = h.b[size:], int(v>>1), nil
		return nil
	}
	groups := int(v >> 1)
	// The last run of a page may be cut off behind the values that are there.
	size := min(groups*h.width, len(h.b))
	h.left, h.at, h.bits = groups*8, 0, h.b[:size:size]
	if h.width > 0 {
		h.left = min(h.left, size*8/h.width)
	}
	if h.left == 0 {
		return errRuns
	}
	h.b = h.b[size:]
	return nil
}

// run0 reads the first header, if no run was given.
func (h *hybrid) run0() error {
	if h.left > 0 || len(h.b) == 0 {
		return nil
	}
	return h.run()
}

// read fills dst.
func (h *hybrid) read(dst []uint32) error {
	for len(dst) > 0 {
		if h.left == 0 {
			if err := h.run(); err != nil {
				return err
			}
		}
		n := min(h.left, len(dst))
		if h.bits == nil {
			part := dst[:n]
			for i := range part {
				part[i] = h.value
			}
		} else {
			unpack(dst[:n], h.bits, h.at, h.width)
			h.at += n
		}
		h.left -= n
		dst = dst[n:]
	}
	return nil
}

func (h *hybrid) skip(n int) error {
	for n > 0 {
		if h.left == 0 {
			if err := h.run(); err != nil {
				return err
			}
		}
		k := min(h.left, n)
		h.at += k
		h.left -= k
		n -= k
	}
	return nil
}

// unpack reads numbers of width bits from the at-th on. The caller has checked
// that the bytes hold them.
func unpack(dst []uint32, src []byte, at, width int) {
	if width == 0 {
		clear(dst)
		return
	}
	mask := uint64(1)<<width - 1
	i := 0
	if at&7 == 0 { // whole groups of eight numbers start at a byte
		p := at / 8 * width
		switch {
		case width <= 8:
			for ; i+8 <= len(dst) && p+8 <= len(src); i, p = i+8, p+width {
				group((*[8]uint32)(dst[i:]), binary.LittleEndian.Uint64(src[p:]), width, mask)
			}
		case width <= 16:
			for ; i+8 <= len(dst) && p+width/2+8+1 <= len(src); i, p = i+8, p+width {
				d := (*[8]uint32)(dst[i:])
				lo := binary.LittleEndian.Uint64(src[p:])
				hi := binary.LittleEndian.Uint64(src[p+width/2:]) >> ((width & 1) * 4)
				d[0], d[1], d[2] = uint32(lo&mask), uint32(lo>>width&mask), uint32(lo>>(2*width)&mask)
				d[3], d[4], d[5] = uint32(lo>>(3*width)&mask), uint32(hi&mask), uint32(hi>>width&mask)
				d[6], d[7] = uint32(hi>>(2*width)&mask), uint32(hi>>(3*width)&mask)
			}
		}
	}
	bit := (at + i) * width
	for ; i < len(dst) && bit>>3+8 <= len(src); i, bit = i+1, bit+width {
		dst[i] = uint32(binary.LittleEndian.Uint64(src[bit>>3:]) >> (bit & 7) & mask)
	}
	for ; i < len(dst); i, bit = i+1, bit+width {
		var tail [8]byte
		copy(tail[:], src[bit>>3:])
		dst[i] = uint32(binary.LittleEndian.Uint64(tail[:]) >> (bit & 7) & mask)
	}
}

// group takes eight numbers of at most 8 bits out of a word.
func group(d *[8]uint32, v uint64, width int, mask uint64) {
	w := uint(width) & 15
	d[0] = uint32(v & mask)
	v >>= w
	d[1] = uint32(v & mask)
	v >>= w
	d[2] = uint32(v & mask)
	v >>= w
	d[3] = uint32(v & mask)
	v >>= w
	d[4] = uint32(v & mask)
	v >>= w
	d[5] = uint32(v & mask)
	v >>= w
	d[6] = uint32(v & mask)
	v >>= w
	d[7] = uint32(v & mask)
}

// bitmap reads n levels of one bit into out, which is cleared and long enough,
// and counts the ones.
func (h *hybrid) bitmap(out []byte, n int) (ones int, err error) {
	for at := 0; at < n; {
		if h.left == 0 {
			if err := h.run(); err != nil {
				return 0, err
			}
		}
		k := min(h.left, n-at)
		if h.bits == nil {
			if h.value&1 == 1 {
				setBits(out, at, k)
			}
		} else {
			orBits(out, at, h.bits, h.at, k)
			h.at += k
		}
		h.left -= k
		at += k
	}
	return countBits(out, 0, n), nil
}

// setBits sets n bits from the at-th on.
func setBits(b []byte, at, n int) {
	for ; n > 0 && at&7 != 0; at, n = at+1, n-1 {
		b[at>>3] |= 1 << (at & 7)
	}
	whole := b[at>>3 : at>>3+n>>3]
	for i := range whole {
		whole[i] = 0xff
	}
	for at, n = at+n&^7, n&7; n > 0; at, n = at+1, n-1 {
		b[at>>3] |= 1 << (at & 7)
	}
}

// orBits adds n bits of src from the from-th on to the cleared bits of dst from the at-th on.
func orBits(dst []byte, at int, src []byte, from, n int) {
	for ; n > 0 && at&7 != 0; at, from, n = at+1, from+1, n-1 {
		dst[at>>3] |= src[from>>3] >> (from & 7) & 1 << (at & 7)
	}
	shift := from & 7
	for ; n >= 8; at, from, n = at+8, from+8, n-8 {
		v := src[from>>3] >> shift
		if shift > 0 {
			v |= src[from>>3+1] << (8 - shift)
		}
		dst[at>>3] = v
	}
	for ; n > 0; at, from, n = at+1, from+1, n-1 {
		dst[at>>3] |= src[from>>3] >> (from & 7) & 1 << (at & 7)
	}
}

// countBits counts the ones among n bits from the at-th on.
func countBits(b []byte, at, n int) (ones int) {
	for ; n > 0 && at&7 != 0; at, n = at+1, n-1 {
		ones += int(b[at>>3] >> (at & 7) & 1)
	}
	p := at >> 3
	for ; n >= 64; n, p = n-64, p+8 {
		ones += bits.OnesCount64(binary.LittleEndian.Uint64(b[p:]))
	}
	for ; n >= 8; n, p = n-8, p+1 {
		ones += bits.OnesCount8(b[p])
	}
	if n > 0 {
		ones += bits.OnesCount8(b[p] & (1<<n - 1))
	}
	return ones
}
