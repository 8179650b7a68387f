package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/mutant"
)

// Kind says what the rows of a file are.
type Kind uint8

// The kinds of files.
const (
	Snapshot Kind = 1 // every row of the version, in key order, none deleted
	Changes  Kind = 2 // the rows that differ between Base and Version, in key order
)

// String is also the end of a file's name.
func (k Kind) String() string {
	switch k {
	case Snapshot:
		return "snap"
	case Changes:
		return "chg"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Header opens a file.
type Header struct {
	Kind    Kind
	Shard   batch.Shard
	Version batch.ID // the state version that holds once this file is applied
	Base    batch.ID // of Changes: the version that they apply to; else batch.None
	Rows    int64
}

// ErrDamaged is what every failure to read a part because of its bytes wraps.
var ErrDamaged = errors.New("damaged state checkpoint")

const (
	magic         = "SLSTATE\x01"
	formatVersion = 1
	headerMax     = 64 << 10 // an operator's name is the only part of it that varies
	blockTarget   = 256 << 10
	prefixLen     = 8 // length and checksum of a header or block
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Visit receives a row. Key and value are valid during the call only.
type Visit = func(key, value []byte, deleted bool) error

// Put writes a row; it copies what it is given.
type Put = func(key, value []byte, deleted bool) error

// encoder writes a file front to back.
type encoder struct {
	w     io.Writer
	sum   *xxhash.Digest
	bytes int64
	block []byte // prefixLen bytes kept free at its front
	rows  int64
	err   error
}

func newEncoder(w io.Writer, h Header) *encoder {
	e := &encoder{w: w, sum: xxhash.New(), block: make([]byte, prefixLen, blockTarget+4096)}
	e.write([]byte(magic))
	e.block = appendHeader(e.block, h)
	e.flush()
	return e
}

func appendHeader(b []byte, h Header) []byte {
	b = append(b, formatVersion, byte(h.Kind))
	b = binary.AppendUvarint(b, uint64(len(h.Shard.Operator)))
	b = append(b, h.Shard.Operator...)
	for _, v := range []int64{int64(h.Shard.Partition), int64(h.Shard.FirstGroup), int64(h.Shard.EndGroup), int64(h.Version), int64(h.Base), h.Rows} {
		b = binary.AppendVarint(b, v)
	}
	return b
}

func (e *encoder) put(key, value []byte, deleted bool) error {
	e.block = binary.AppendUvarint(e.block, uint64(len(key)))
	e.block = append(e.block, key...)
	if deleted {
		e.block = binary.AppendUvarint(e.block, 0)
	} else {
		e.block = binary.AppendUvarint(e.block, uint64(len(value))+1)
		e.block = append(e.block, value...)
	}
	e.rows++
	if len(e.block) >= blockTarget {
		e.flush()
	}
	return e.err
}

// flush writes the block with its length and checksum.
func (e *encoder) flush() {
	body := e.block[prefixLen:]
	if len(body) > math.MaxUint32 && e.err == nil {
		e.err = fmt.Errorf("a state row of more than %d bytes cannot be written", uint32(math.MaxUint32))
	}
	binary.LittleEndian.PutUint32(e.block, uint32(len(body)))
	binary.LittleEndian.PutUint32(e.block[4:], crc32.Checksum(body, castagnoli))
	e.write(e.block)
	e.block = e.block[:prefixLen]
}

// finish writes what is left and the end mark: an empty block.
func (e *encoder) finish() error {
	if len(e.block) > prefixLen {
		e.flush()
	}
	e.flush()
	return e.err
}

// write sums before it writes, because a File may scribble over its argument.
func (e *encoder) write(b []byte) {
	if e.err != nil {
		return
	}
	_, _ = e.sum.Write(b) // a hash never fails to write
	n, err := e.w.Write(b)
	e.bytes += int64(n)
	e.err = err
}

// decoder reads a file of a known size front to back.
type decoder struct {
	r    io.Reader
	sum  *xxhash.Digest
	at   int64 // bytes read
	size int64
	buf  []byte
}

func newDecoder(r io.Reader, size int64) *decoder {
	return &decoder{r: r, sum: xxhash.New(), size: size}
}

func (d *decoder) damaged(at int64, format string, args ...any) error {
	return fmt.Errorf("%w at byte %d: %s", ErrDamaged, at, fmt.Sprintf(format, args...))
}

// take reads the next n bytes into the decoder's buffer.
func (d *decoder) take(n int64) ([]byte, error) {
	if n > d.size-d.at {
		return nil, d.damaged(d.at, "%d bytes wanted, %d left", n, d.size-d.at)
	}
	if int64(cap(d.buf)) < n {
		d.buf = make([]byte, n)
	}
	d.buf = d.buf[:n]
	if _, err := io.ReadFull(d.r, d.buf); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, d.damaged(d.at, "the file ends early")
		}
		return nil, err
	}
	d.at += n
	_, _ = d.sum.Write(d.buf) // a hash never fails to write
	return d.buf, nil
}

// section reads a length, a checksum and as many bytes as the length says.
func (d *decoder) section(limit int64) ([]byte, error) {
	at := d.at
	p, err := d.take(prefixLen)
	if err != nil {
		return nil, err
	}
	n, crc := int64(binary.LittleEndian.Uint32(p)), binary.LittleEndian.Uint32(p[4:])
	if n > limit {
		return nil, d.damaged(at, "a length of %d, more than %d", n, limit)
	}
	body, err := d.take(n)
	if err != nil {
		return nil, err
	}
	if crc32.Checksum(body, castagnoli) != crc && !mutant.On(mutant.PartUnchecked) {
		return nil, d.damaged(at, "wrong checksum")
	}
	return body, nil
}

func (d *decoder) header() (Header, error) {
	m, err := d.take(int64(len(magic)))
	if err != nil {
		return Header{}, err
	}
	if string(m) != magic {
		return Header{}, d.damaged(0, "not a state checkpoint")
	}
	at := d.at
	b, err := d.section(headerMax)
	if err != nil {
		return Header{}, err
	}
	if len(b) < 2 || b[0] != formatVersion {
		return Header{}, d.damaged(at, "format version %d, this program reads %d", first(b), formatVersion)
	}
	h := Header{Kind: Kind(b[1])}
	f := fields{b: b[2:]}
	h.Shard.Operator = string(f.bytes())
	h.Shard.Partition, h.Shard.FirstGroup, h.Shard.EndGroup = int(f.int()), int(f.int()), int(f.int())
	h.Version, h.Base, h.Rows = batch.ID(f.int()), batch.ID(f.int()), f.int()
	if f.bad || len(f.b) > 0 || h.Rows < 0 || (h.Kind != Snapshot && h.Kind != Changes) {
		return Header{}, d.damaged(at, "malformed header")
	}
	return h, nil
}

func first(b []byte) int {
	if len(b) == 0 {
		return -1
	}
	return int(b[0])
}

// rows visits every row of the file and checks their count and order.
func (d *decoder) rows(h Header, visit Visit) error {
	var n int64
	var last []byte
	for {
		at := d.at
		b, err := d.section(math.MaxUint32)
		if err != nil {
			return err
		}
		if len(b) == 0 {
			break
		}
		f := fields{b: b}
		for len(f.b) > 0 {
			key := f.bytes()
			size := f.uint()
			value := f.take(max(size, 1) - 1)
			switch {
			case f.bad:
				return d.damaged(at, "malformed row %d", n)
			case size == 0 && h.Kind == Snapshot:
				return d.damaged(at, "a deleted row in a snapshot")
			case n > 0 && string(last) >= string(key):
				return d.damaged(at, "row %d is out of order", n)
			}
			if err := visit(key, value, size == 0); err != nil {
				return err
			}
			last = append(last[:0], key...)
			n++
		}
	}
	if n != h.Rows {
		return d.damaged(d.at, "%d rows instead of %d", n, h.Rows)
	}
	if d.at != d.size {
		return d.damaged(d.at, "%d bytes after the end", d.size-d.at)
	}
	return nil
}

// fields reads off the front of b; after the first misfit it is bad and reads zeros.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.bad, f.b = true, nil
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) int() int64 {
	v, n := binary.Varint(f.b)
	if n <= 0 {
		f.bad, f.b = true, nil
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) take(n uint64) []byte {
	if n > uint64(len(f.b)) {
		f.bad, f.b = true, nil
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) bytes() []byte { return f.take(f.uint()) }
