package functions

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash/crc32"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/expr/vec"
)

func hashes() []*Entry {
	digest := func(names, doc, ex, res string, sum func(s string) []byte) *Entry {
		return fn(names, doc, ex, res, sig("binary -> string", s1(func(dst []byte, s string) ([]byte, error) {
			return hex.AppendEncode(dst, sum(s)), nil
		}))).safe().tight()
	}
	return []*Entry{
		digest("md5", "The MD5 digest in hexadecimal digits.", "md5('Spark')", "8cde774d6f7333752ed72cacddb05126", func(s string) []byte { d := md5.Sum([]byte(s)); return d[:] }),
		digest("sha1|sha", "The SHA-1 digest in hexadecimal digits.", "sha1('Spark')", "85f5955f4b27a9a4c2aab6ffe5d7189fc298b92c", func(s string) []byte { d := sha1.Sum([]byte(s)); return d[:] }),
		fn("sha2", "The SHA-2 digest of 224, 256 (or 0), 384 or 512 bits in hexadecimal digits.", "sha2('Spark', 256)", "529bc3b07127ecb7e53a4dcf1991d9152c24537d919178022b2c42657f79a26b",
			sig("binary, int -> string", s2(sha2))).safe(),
		fn("crc32", "The CRC-32 checksum.", "crc32('Spark')", "1557323817", sig("binary -> bigint", k1(func(s string) (int64, error) { return int64(crc32.ChecksumIEEE([]byte(s))), nil }))).safe().tight(),
		fn("hash", "Spark's 32-bit Murmur3 hash of the arguments.", "hash('Spark', array(123), 2)", "-1321691492", sig("any... -> int", expr.Kernel(murmur))).lax().safe().tight(),
		fn("xxhash64", "Spark's 64-bit XXH64 hash of the arguments.", "xxhash64('Spark', array(123), 2)", "5602566077635097486", sig("any... -> bigint", expr.Kernel(xxhash))).lax().safe().tight(),
	}
}

func sha2(dst []byte, s string, n int32) ([]byte, error) {
	b := []byte(s)
	switch n {
	case 224:
		d := sha256.Sum224(b)
		return hex.AppendEncode(dst, d[:]), nil
	case 0, 256:
		d := sha256.Sum256(b)
		return hex.AppendEncode(dst, d[:]), nil
	case 384:
		d := sha512.Sum384(b)
		return hex.AppendEncode(dst, d[:]), nil
	case 512:
		d := sha512.Sum512(b)
		return hex.AppendEncode(dst, d[:]), nil
	}
	return nil, vec.ErrNull
}

// hasher is a hash function over values: each value's hash is the next one's seed.
type hasher struct {
	i32   func(v uint32, seed uint64) uint64
	i64   func(v uint64, seed uint64) uint64
	bytes func(b []byte, seed uint64) uint64
}

// value hashes row i as Spark does: NULL leaves the seed, small types count as
// INT, nested ones by their parts.
func (h hasher) value(arr arrow.Array, i int, seed uint64) uint64 {
	if vec.IsNull(arr, i) {
		return seed
	}
	switch a := arr.(type) {
	case *array.Boolean:
		return h.i32(uint32(b2u(a.Value(i))), seed)
	case *array.Int8:
		return h.i32(uint32(int32(a.Value(i))), seed)
	case *array.Int16:
		return h.i32(uint32(int32(a.Value(i))), seed)
	case *array.Float32:
		return h.i32(floatBits32(a.Value(i)), seed)
	case *array.Float64:
		return h.i64(floatBits(a.Value(i)), seed)
	case *array.String:
		return h.bytes([]byte(a.Value(i)), seed)
	case *array.Binary:
		return h.bytes(a.Value(i), seed)
	case *array.Decimal128:
		v := a.Value(i)
		if a.DataType().(*arrow.Decimal128Type).Precision <= 18 {
			return h.i64(v.LowBits(), seed)
		}
		return h.bytes(javaBytes(v.BigInt()), seed)
	case *array.Struct:
		for f := range a.NumField() {
			seed = h.value(a.Field(f), i, seed)
		}
		return seed
	case *array.Map:
		v := vec.ListOf(a)
		for j := v.Start(i); j < v.End(i); j++ {
			seed = h.value(v.Elems, j, h.value(v.Keys, j, seed))
		}
		return seed
	case *array.List:
		v := vec.ListOf(a)
		for j := v.Start(i); j < v.End(i); j++ {
			seed = h.value(v.Elems, j, seed)
		}
		return seed
	}
	if arr.DataType().(arrow.FixedWidthDataType).BitWidth() == 32 {
		return h.i32(vec.Values[uint32](arr)[i], seed)
	}
	return h.i64(vec.Values[uint64](arr)[i], seed)
}

func murmur(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	h := hasher{i32: murmurInt, i64: murmurLong, bytes: murmurBytes}
	n = vec.Rows(args, n)
	buf, out := vec.NewFixed[int32](kc.Alloc, n)
	for i := range out {
		seed := uint64(42)
		for _, a := range args {
			seed = h.value(a.Arr, row(a, i), seed)
		}
		out[i] = int32(seed)
	}
	return vec.NewMask(kc.Alloc, n).Array(kc.Result, buf), nil
}

func xxhash(kc *expr.KernelContext, args []expr.Vec, n int) (arrow.Array, error) {
	h := hasher{i32: xxInt, i64: xxLong, bytes: xxBytes}
	n = vec.Rows(args, n)
	buf, out := vec.NewFixed[int64](kc.Alloc, n)
	for i := range out {
		seed := uint64(42)
		for _, a := range args {
			seed = h.value(a.Arr, row(a, i), seed)
		}
		out[i] = int64(seed)
	}
	return vec.NewMask(kc.Alloc, n).Array(kc.Result, buf), nil
}
