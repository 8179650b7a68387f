package text

import (
	"encoding/binary"
	"math/bits"
)

// Eight bytes at a time: a byte of zeros(w) has its top bit set where the byte
// of w is zero. Bytes behind the first such may be wrong, which is why only the first is used.
const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

func zeros(w uint64) uint64 { return (w - ones) &^ w & tops }

// Finder looks for the first of two bytes.
type Finder struct{ a, b uint64 }

// NewFinder makes a finder of a and b.
func NewFinder(a, b byte) Finder { return Finder{uint64(a) * ones, uint64(b) * ones} }

// Find returns the place of the first of the two bytes at or behind i, or the length.
func (f Finder) Find(s []byte, i int) int {
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		if m := zeros(w^f.a) | zeros(w^f.b); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for a, b := byte(f.a), byte(f.b); i < len(s); i++ {
		if s[i] == a || s[i] == b {
			return i
		}
	}
	return i
}

// ends has the top bit of the first byte set that is a quote, a backslash or a control
// character. Of a byte below 0x80 the top bit of b-1 is set where b is zero.
func ends(w uint64) uint64 {
	return (((w ^ '"'*ones) - ones) | ((w ^ '\\'*ones) - ones) | (w - 0x20*ones)) &^ w & tops
}

// FindStringEnd returns the place of the first quote, backslash or control
// character at or behind i, or the length; and whether all before it is ASCII.
func FindStringEnd(s []byte, i int) (end int, ascii bool) {
	var high uint64
	for ; i+16 <= len(s); i += 16 {
		v, w := binary.LittleEndian.Uint64(s[i:]), binary.LittleEndian.Uint64(s[i+8:])
		if ends(v)|ends(w) != 0 {
			break
		}
		high |= v | w
	}
	for ; i+8 <= len(s); i += 8 {
		w := binary.LittleEndian.Uint64(s[i:])
		if m := ends(w); m != 0 {
			n := bits.TrailingZeros64(m) &^ 7
			return i + n/8, (high|w&(1<<n-1))&tops == 0
		}
		high |= w
	}
	for ; i < len(s); i++ {
		c := s[i]
		if c == '"' || c == '\\' || c < 0x20 {
			break
		}
		high |= uint64(c)
	}
	return i, high&tops == 0
}

// Set looks for any of up to five bytes.
type Set struct {
	words [5]uint64
	byte  [256]bool
	// above is one more than the largest, eight times, or 0 where that is above 128:
	// most texts have no byte that is smaller.
	above uint64
}

// NewSet makes a set; the bytes may be equal.
func NewSet(a, b, c, d, e byte) Set {
	var s Set
	for i, v := range [...]byte{a, b, c, d, e} {
		s.words[i], s.byte[v] = uint64(v)*ones, true
	}
	if most := max(a, b, c, d, e); most < 128 {
		s.above = (uint64(most) + 1) * ones
	}
	return s
}

// In reports whether v has a byte of the set.
func (s *Set) In(v []byte) bool {
	if s.above != 0 {
		above := s.above
		for ; len(v) >= 8; v = v[8:] {
			if w := binary.LittleEndian.Uint64(v); (w-above)&^w&tops != 0 {
				break
			}
		}
	}
	return s.exactly(v)
}

func (s *Set) exactly(v []byte) bool {
	a, b, c, d, e := s.words[0], s.words[1], s.words[2], s.words[3], s.words[4]
	for ; len(v) >= 8; v = v[8:] {
		w := binary.LittleEndian.Uint64(v)
		if zeros(w^a)|zeros(w^b)|zeros(w^c)|zeros(w^d)|zeros(w^e) != 0 {
			return true
		}
	}
	for _, x := range v {
		if s.byte[x] {
			return true
		}
	}
	return false
}
