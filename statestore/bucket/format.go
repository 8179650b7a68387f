package bucket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// The journal's objects: a record of changes is called by its number, the whole of
// all files as of a number has another suffix.
const (
	recordSuffix = ".rec"
	wholeSuffix  = ".all"
	digits       = 20
)

func recordName(seq uint64) string { return fmt.Sprintf("%0*d%s", digits, seq, recordSuffix) }
func wholeName(seq uint64) string  { return fmt.Sprintf("%0*d%s", digits, seq, wholeSuffix) }

// numberOf reads the number out of an object's name.
func numberOf(name, suffix string) (uint64, bool) {
	d, ok := strings.CutSuffix(name, suffix)
	if !ok || len(d) != digits {
		return 0, false
	}
	n, err := strconv.ParseUint(d, 10, 64)
	return n, err == nil
}

// Kinds of change.
const (
	opFile   = 'F' // a file has this content
	opWrite  = 'W' // these bytes stand at a place of a file, at its end at most
	opRemove = 'R' // a file is gone
)

// change is one change of a file; paths are relative to the checkpoint's folder.
type change struct {
	kind byte
	path string
	at   int64 // of opWrite
	data []byte
}

const (
	magic     = "sluicej\x01" // the last byte is the version
	headBytes = len(magic) + 16 + 8 + 4
	sumBytes  = 8
	objectMax = 1 << 30
)

// encode makes an object of changes: magic with the version, who wrote it, its
// number, how many changes, the changes, and the checksum of all that.
func encode(writer [16]byte, seq uint64, changes []change) []byte {
	n := headBytes + sumBytes
	for _, c := range changes {
		n += 2*binary.MaxVarintLen64 + 1 + binary.MaxVarintLen32 + len(c.path) + len(c.data)
	}
	b := append(make([]byte, 0, n), magic...)
	b = append(b, writer[:]...)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(changes)))
	for _, c := range changes {
		b = append(b, c.kind)
		b = binary.AppendUvarint(b, uint64(len(c.path)))
		b = append(b, c.path...)
		b = binary.AppendUvarint(b, uint64(c.at))
		b = binary.AppendUvarint(b, uint64(len(c.data)))
		b = append(b, c.data...)
	}
	return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b))
}

// decode reads an object. The changes point into b.
func decode(b []byte, seq uint64) (writer [16]byte, changes []change, err error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
	}
	if len(b) < headBytes+sumBytes {
		return writer, nil, bad("%d bytes are no record", len(b))
	}
	if title := len(magic) - 1; string(b[:title]) != magic[:title] {
		return writer, nil, bad("it is no part of a journal")
	} else if b[title] != magic[title] {
		return writer, nil, fmt.Errorf("its version is %d, and this program knows %d: use a newer one", b[title], magic[title])
	}
	body := b[:len(b)-sumBytes]
	if binary.LittleEndian.Uint64(b[len(body):]) != xxhash.Sum64(body) {
		return writer, nil, bad("the checksum is wrong")
	}
	copy(writer[:], body[len(magic):])
	if n := binary.LittleEndian.Uint64(body[len(magic)+16:]); n != seq {
		return writer, nil, bad("it is number %d under another's name", n)
	}
	count := int(binary.LittleEndian.Uint32(body[headBytes-4:]))
	d := decoder{b: body[headBytes:]}
	for range count {
		c := change{kind: d.byte(), path: string(d.bytes())}
		c.at, c.data = int64(d.uvarint()), d.bytes()
		if d.bad || c.at < 0 || !plainPath(c.path) || bytes.IndexByte([]byte{opFile, opWrite, opRemove}, c.kind) < 0 {
			return writer, nil, bad("a change cannot be read")
		}
		changes = append(changes, c)
	}
	if len(d.b) > 0 {
		return writer, nil, bad("bytes follow its changes")
	}
	return writer, changes, nil
}

// plainPath reports whether a path leads below the folder.
func plainPath(p string) bool {
	if p == "" || strings.ContainsAny(p, "\\\x00") {
		return false
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// decoder reads from bytes that nobody vouches for.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad = true
	}
	if d.bad {
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}
