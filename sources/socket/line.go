package socket

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// line is one line of text and when it arrived, in µs since 1970.
type line struct {
	text string
	at   int64
}

// overhead is what a line takes besides its text.
const overhead = 32

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("damaged")

// appendLines encodes lines, of which the first has number first: a checksum of
// all that follows, first, count, and for each line its time and its text.
func appendLines(dst []byte, first int64, lines []line) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.AppendUvarint(dst, uint64(first))
	dst = binary.AppendUvarint(dst, uint64(len(lines)))
	for _, l := range lines {
		dst = binary.AppendVarint(dst, l.at)
		dst = binary.AppendUvarint(dst, uint64(len(l.text)))
		dst = append(dst, l.text...)
	}
	binary.LittleEndian.PutUint32(dst[start:], crc32.Checksum(dst[start+4:], castagnoli))
	return dst
}

// parseLines is the reverse; it returns errDamaged for anything else.
func parseLines(src []byte) (first int64, lines []line, err error) {
	if len(src) < 4 || binary.LittleEndian.Uint32(src) != crc32.Checksum(src[4:], castagnoli) {
		return 0, nil, errDamaged
	}
	src = src[4:]
	n, ok := uvarint(&src)
	count, ok2 := uvarint(&src)
	if !ok || !ok2 || n > 1<<62 || count > uint64(len(src)) {
		return 0, nil, errDamaged
	}
	lines = make([]line, 0, count)
	for range count {
		at, size := binary.Varint(src)
		if size <= 0 {
			return 0, nil, errDamaged
		}
		src = src[size:]
		length, ok := uvarint(&src)
		if !ok || length > uint64(len(src)) {
			return 0, nil, errDamaged
		}
		lines = append(lines, line{string(src[:length]), at})
		src = src[length:]
	}
	if len(src) > 0 {
		return 0, nil, errDamaged
	}
	return int64(n), lines, nil
}

func uvarint(src *[]byte) (uint64, bool) {
	v, n := binary.Uvarint(*src)
	if n <= 0 {
		return 0, false
	}
	*src = (*src)[n:]
	return v, true
}
