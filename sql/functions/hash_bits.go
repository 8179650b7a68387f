package functions

import (
	"encoding/binary"
	"math"
	"math/big"
	"math/bits"
)

// floatBits gives equal floats equal bits: one zero, one NaN.
func floatBits(f float64) uint64 {
	if f == 0 {
		return 0
	}
	if f != f {
		return 0x7FF8000000000000
	}
	return math.Float64bits(f)
}

func floatBits32(f float32) uint32 {
	if f == 0 {
		return 0
	}
	if f != f {
		return 0x7FC00000
	}
	return math.Float32bits(f)
}

// javaBytes is the shortest two's complement form, big end first.
func javaBytes(v *big.Int) []byte {
	if v.Sign() >= 0 {
		b := v.Bytes()
		if len(b) == 0 || b[0]&0x80 != 0 {
			b = append([]byte{0}, b...)
		}
		return b
	}
	n := (new(big.Int).Not(v).BitLen())/8 + 1
	mod := new(big.Int).Lsh(big.NewInt(1), uint(n)*8)
	return mod.Add(mod, v).FillBytes(make([]byte, n))
}

func mixK1(k uint32) uint32 { return bits.RotateLeft32(k*0xCC9E2D51, 15) * 0x1B873593 }

func mixH1(h, k uint32) uint32 { return bits.RotateLeft32(h^k, 13)*5 + 0xE6546B64 }

func fmix(h, n uint32) uint64 {
	h ^= n
	h ^= h >> 16
	h *= 0x85EBCA6B
	h ^= h >> 13
	h *= 0xC2B2AE35
	return uint64(h ^ h>>16)
}

func murmurInt(v uint32, seed uint64) uint64 { return fmix(mixH1(uint32(seed), mixK1(v)), 4) }

func murmurLong(v, seed uint64) uint64 {
	h := mixH1(uint32(seed), mixK1(uint32(v)))
	return fmix(mixH1(h, mixK1(uint32(v>>32))), 8)
}

// murmurBytes treats each byte of the tail as a signed word of its own, which is Spark's way.
func murmurBytes(b []byte, seed uint64) uint64 {
	h := uint32(seed)
	i := 0
	for ; i+4 <= len(b); i += 4 {
		h = mixH1(h, mixK1(binary.LittleEndian.Uint32(b[i:])))
	}
	for ; i < len(b); i++ {
		h = mixH1(h, mixK1(uint32(int32(int8(b[i])))))
	}
	return fmix(h, uint32(len(b)))
}

const (
	prime1 uint64 = 0x9E3779B185EBCA87
	prime2 uint64 = 0xC2B2AE3D27D4EB4F
	prime3 uint64 = 0x165667B19E3779F9
	prime4 uint64 = 0x85EBCA77C2B2AE63
	prime5 uint64 = 0x27D4EB2F165667C5
)

func avalanche(h uint64) uint64 {
	h ^= h >> 33
	h *= prime2
	h ^= h >> 29
	h *= prime3
	return h ^ h>>32
}

func xxRound(acc, v uint64) uint64 { return bits.RotateLeft64(acc+v*prime2, 31) * prime1 }

func xx8(h, v uint64) uint64 { return bits.RotateLeft64(h^xxRound(0, v), 27)*prime1 + prime4 }

func xx4(h uint64, v uint32) uint64 { return bits.RotateLeft64(h^uint64(v)*prime1, 23)*prime2 + prime3 }

func xxInt(v uint32, seed uint64) uint64 { return avalanche(xx4(seed+prime5+4, v)) }

func xxLong(v, seed uint64) uint64 { return avalanche(xx8(seed+prime5+8, v)) }

func xxBytes(b []byte, seed uint64) uint64 {
	n := len(b)
	h := seed + prime5
	if n >= 32 {
		v := [4]uint64{seed + prime1 + prime2, seed + prime2, seed, seed - prime1}
		for ; len(b) >= 32; b = b[32:] {
			for k := range v {
				v[k] = xxRound(v[k], binary.LittleEndian.Uint64(b[8*k:]))
			}
		}
		h = bits.RotateLeft64(v[0], 1) + bits.RotateLeft64(v[1], 7) + bits.RotateLeft64(v[2], 12) + bits.RotateLeft64(v[3], 18)
		for _, x := range v {
			h = (h^xxRound(0, x))*prime1 + prime4
		}
	}
	h += uint64(n)
	for ; len(b) >= 8; b = b[8:] {
		h = xx8(h, binary.LittleEndian.Uint64(b))
	}
	if len(b) >= 4 {
		h = xx4(h, binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	for _, c := range b {
		h = bits.RotateLeft64(h^uint64(c)*prime5, 11) * prime1
	}
	return avalanche(h)
}
