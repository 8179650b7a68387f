package run

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/mutant"
)

// ErrDamaged is what every failure to read a run because of its bytes wraps.
var ErrDamaged = errors.New("damaged state run")

// ID tells a file from every other one. It is in the file's name as well, so
// that the bytes of another file are noticed before any row of them is read.
type ID [12]byte

// Info is the tail of a file: what it holds.
type Info struct {
	Shard   batch.Shard
	Version batch.ID // the newest state version that rows of it belong to
	ID      ID

	// The rest is filled in by the writer.
	Rows    int64 // deleted ones included
	Deleted int64
	Low     []byte // the first key
	High    []byte // the last key
	Table   int64  // bytes before the tail
}

const (
	tailMagic   = "SLRUN\x00\x00\x01"
	tailVersion = 1
	tailEnd     = 16      // checksum, length, magic
	tailMax     = 1 << 30 // two keys are the only part that varies
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendTail writes the body, its checksum and length, and the magic.
func appendTail(b []byte, in *Info) []byte {
	from := len(b)
	b = append(b, tailVersion)
	b = append(b, in.ID[:]...)
	for _, s := range [][]byte{[]byte(in.Shard.Operator), in.Low, in.High} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	for _, v := range []int64{int64(in.Shard.Partition), int64(in.Shard.FirstGroup), int64(in.Shard.EndGroup),
		int64(in.Version), in.Rows, in.Deleted, in.Table} {
		b = binary.AppendVarint(b, v)
	}
	body := b[from:]
	n := len(body)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	return append(b, tailMagic...)
}

// tailLength reads how long the body is from a file's last bytes.
func tailLength(end []byte, size int64) (int64, error) {
	if string(end[8:]) != tailMagic {
		return 0, fmt.Errorf("%w: not a state run of a version that this program reads", ErrDamaged)
	}
	n := int64(binary.LittleEndian.Uint32(end[4:]))
	if n > min(size-tailEnd, tailMax) {
		return 0, fmt.Errorf("%w: a tail of %d bytes in a file of %d", ErrDamaged, n, size)
	}
	return n, nil
}

// decodeTail reads a body whose checksum and length are in end.
func decodeTail(body, end []byte, size int64) (Info, error) {
	var in Info
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(end) && !mutant.On(mutant.TailUnchecked) {
		return in, fmt.Errorf("%w: wrong checksum of its tail", ErrDamaged)
	}
	bad := func() (Info, error) { return Info{}, fmt.Errorf("%w: malformed tail", ErrDamaged) }
	if len(body) < 1+len(in.ID) {
		return bad()
	}
	if body[0] != tailVersion {
		return in, fmt.Errorf("%w: format version %d, this program reads %d", ErrDamaged, body[0], tailVersion)
	}
	copy(in.ID[:], body[1:])
	b := body[1+len(in.ID):]
	var op []byte
	for _, p := range []*[]byte{&op, &in.Low, &in.High} {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return bad()
		}
		*p, b = append([]byte(nil), b[w:w+int(n)]...), b[w+int(n):]
	}
	var nums [7]int64
	for i := range nums {
		v, w := binary.Varint(b)
		if w <= 0 {
			return bad()
		}
		nums[i], b = v, b[w:]
	}
	in.Shard = batch.Shard{Operator: string(op), Partition: int(nums[0]), FirstGroup: int(nums[1]), EndGroup: int(nums[2])}
	in.Version, in.Rows, in.Deleted, in.Table = batch.ID(nums[3]), nums[4], nums[5], nums[6]
	if len(b) > 0 || in.Rows <= 0 || in.Deleted < 0 || in.Deleted > in.Rows || len(in.Low) == 0 || len(in.High) == 0 ||
		in.Table <= 0 || in.Table+int64(len(body))+tailEnd != size {
		return bad()
	}
	return in, nil
}
