package kafka

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Places in a record batch of the second message format.
const (
	atLength     = 8
	atMagic      = 16
	atCRC        = 17
	atAttributes = 21
	atLastDelta  = 23
	atFirstTime  = 27
	atMaxTime    = 35
	atProducer   = 43
	atEpoch      = 51
	atSequence   = 53
	atCount      = 57
	headerBytes  = 61
)

const transactional = 1 << 4 // in the attributes

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealed is a record batch that lacks its producer.
type sealed struct {
	bytes []byte
	count int32
}

// stamp completes the batch for a producer.
func (s sealed) stamp(id int64, epoch int16, sequence int32, inTransaction bool) []byte {
	b := s.bytes
	attributes := binary.BigEndian.Uint16(b[atAttributes:]) &^ transactional
	if inTransaction {
		attributes |= transactional
	}
	binary.BigEndian.PutUint16(b[atAttributes:], attributes)
	binary.BigEndian.PutUint64(b[atProducer:], uint64(id))
	binary.BigEndian.PutUint16(b[atEpoch:], uint16(epoch))
	binary.BigEndian.PutUint32(b[atSequence:], uint32(sequence))
	binary.BigEndian.PutUint32(b[atCRC:], crc32.Checksum(b[atAttributes:], castagnoli))
	return b
}

// packer makes the record batches of one partition.
type packer struct {
	buf   []byte // header and records so far
	count int32
	base  int64 // timestamp of the first record, in milliseconds
	last  int64 // greatest timestamp
	done  []sealed
}

// add appends a record. A nil key or value is a null one.
func (p *packer) add(key, value []byte, at int64) {
	if p.count == 0 {
		p.buf = append(p.buf[:0:0], make([]byte, headerBytes)...)
		p.base, p.last = at, at
	}
	p.last = max(p.last, at)
	delta := at - p.base
	size := 1 + varintSize(delta) + varintSize(int64(p.count)) + bytesSize(key) + bytesSize(value) + 1
	b := binary.AppendVarint(p.buf, int64(size))
	b = append(b, 0)
	b = binary.AppendVarint(b, delta)
	b = binary.AppendVarint(b, int64(p.count))
	b = appendBytes(b, key)
	b = appendBytes(b, value)
	p.buf = append(b, 0) // no headers
	p.count++
}

// seal ends the batch in hand.
func (p *packer) seal(c kgo.Compressor, codec int16) {
	if p.count == 0 {
		return
	}
	b := p.buf
	if c != nil {
		var dst bytes.Buffer
		small, used := c.Compress(&dst, b[headerBytes:])
		if used != kgo.CodecError && len(small) < len(b)-headerBytes {
			b = append(b[:headerBytes:headerBytes], small...)
			codec = int16(used)
		} else {
			codec = 0
		}
	}
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], ^uint32(0)) // the leader's epoch is not known
	b[atMagic] = 2
	binary.BigEndian.PutUint16(b[atAttributes:], uint16(codec))
	binary.BigEndian.PutUint32(b[atLastDelta:], uint32(p.count-1))
	binary.BigEndian.PutUint64(b[atFirstTime:], uint64(p.base))
	binary.BigEndian.PutUint64(b[atMaxTime:], uint64(p.last))
	binary.BigEndian.PutUint32(b[atCount:], uint32(p.count))
	p.done = append(p.done, sealed{b, p.count})
	p.buf, p.count = nil, 0
}

func appendBytes(dst, v []byte) []byte {
	if v == nil {
		return append(dst, 1) // -1
	}
	return append(binary.AppendVarint(dst, int64(len(v))), v...)
}

func bytesSize(v []byte) int {
	if v == nil {
		return 1
	}
	return varintSize(int64(len(v))) + len(v)
}

func varintSize(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	n := 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// murmur2 is the hash by which Kafka's own clients choose a key's partition.
func murmur2(key []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := binary.LittleEndian.Uint32(key) * m
		k = (k ^ k>>24) * m
		h = h*m ^ k
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(key[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
