package arrowipc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/sluice-stream/sluice/formats"
)

// The library makes room for as many fields, blocks and buffers as the metadata
// claims, before it looks for them. So the claims are checked first: all metadata of
// a file is walked, which is little beside the rows.
const (
	maxFields = 1 << 20 // of a schema, at any depth
	maxDepth  = 64
	maxRows   = 1 << 31 // of a batch
)

var errMeta = errors.New("the metadata is damaged")

// flat reads a flatbuffer; a place out of its bounds sets bad.
type flat struct {
	b      []byte
	fields int
	bad    bool
}

func (f *flat) u16(at int) int {
	if at < 0 || at+2 > len(f.b) {
		f.bad = true
		return 0
	}
	return int(binary.LittleEndian.Uint16(f.b[at:]))
}

func (f *flat) u32(at int) int {
	if at < 0 || at+4 > len(f.b) {
		f.bad = true
		return 0
	}
	return int(binary.LittleEndian.Uint32(f.b[at:]))
}

func (f *flat) i64(at int) int64 {
	if at < 0 || at+8 > len(f.b) {
		f.bad = true
		return 0
	}
	return int64(binary.LittleEndian.Uint64(f.b[at:]))
}

// slot returns the place of a table's field, 0 if it is not set.
func (f *flat) slot(table, i int) int {
	vtable := table - int(int32(f.u32(table)))
	if f.bad || 4+2*i >= f.u16(vtable) {
		return 0
	}
	if off := f.u16(vtable + 4 + 2*i); off > 0 {
		return table + off
	}
	return 0
}

// table follows a field to another table, 0 if it is not set.
func (f *flat) table(of, i int) int {
	at := f.slot(of, i)
	if at == 0 {
		return 0
	}
	at += f.u32(at)
	if at+4 > len(f.b) {
		f.bad = true
	}
	return at
}

// vector returns the start and length of a vector with elements of a size.
func (f *flat) vector(of, i, size int) (from, n int) {
	at := f.table(of, i)
	if at == 0 || f.bad {
		return 0, 0
	}
	n = f.u32(at)
	if n > (len(f.b)-at-4)/size {
		f.bad = true
		return 0, 0
	}
	return at + 4, n
}

// schema checks the fields of a schema, or the children of a field.
func (f *flat) schema(of, slot, depth int) {
	from, n := f.vector(of, slot, 4)
	if f.fields += n; f.fields > maxFields || depth > maxDepth {
		f.bad = true
	}
	for i := 0; i < n && !f.bad; i++ {
		field := from + 4*i
		field += f.u32(field)
		f.vector(field, 0, 1) // the name
		f.pairs(field, 6)
		if t := f.table(field, 3); t > 0 {
			if kind := f.slot(field, 2); kind > 0 && kind < len(f.b) && f.b[kind] == unionType {
				f.vector(t, 1, 4)
			}
		}
		f.schema(field, 5, depth+1)
	}
}

// unionType is the number of unions among the types: their numbers are a vector.
const unionType = 14

// pairs checks the metadata of a table.
func (f *flat) pairs(of, slot int) {
	from, n := f.vector(of, slot, 4)
	for i := 0; i < n && !f.bad; i++ {
		kv := from + 4*i
		kv += f.u32(kv)
		f.vector(kv, 0, 1)
		f.vector(kv, 1, 1)
	}
}

func (f *flat) root() int {
	at := f.u32(0)
	if at+4 > len(f.b) {
		f.bad = true
	}
	return at
}

// The kinds of messages.
const (
	kindSchema     = 1
	kindDictionary = 2
	kindBatch      = 3
)

// message checks one message's metadata and returns the length of its body.
func message(b []byte) (body int64, err error) {
	f := &flat{b: b}
	m := f.root()
	kind := f.slot(m, 1)
	head := f.table(m, 2)
	if kind == 0 || head == 0 || f.bad || kind >= len(b) {
		return 0, errMeta
	}
	if at := f.slot(m, 3); at > 0 {
		body = f.i64(at)
	}
	switch b[kind] {
	case kindSchema:
		f.schema(head, 1, 0)
		f.pairs(head, 2)
		f.vector(head, 3, 8)
	case kindDictionary:
		if head = f.table(head, 1); head > 0 {
			f.batch(head)
		}
	case kindBatch:
		f.batch(head)
	}
	if f.bad || body < 0 {
		return 0, errMeta
	}
	return body, nil
}

func (f *flat) batch(head int) {
	if at := f.slot(head, 0); at > 0 && (f.i64(at) < 0 || f.i64(at) > maxRows) {
		f.bad = true
	}
	from, n := f.vector(head, 1, 16)
	for i := range n {
		if rows := f.i64(from + 16*i); rows < 0 || rows > maxRows {
			f.bad = true
		}
	}
	_, buffers := f.vector(head, 2, 16)
	from, n = f.vector(head, 4, 8)
	for i := range n { // of a view's buffers
		if c := f.i64(from + 8*i); c < 0 || c > int64(buffers) {
			f.bad = true
		}
	}
}

// verifyStream walks over the messages of a stream.
func verifyStream(f formats.File) error {
	for at, n := int64(0), 0; ; n++ {
		body, size, err := messageAt(f, at)
		if errors.Is(err, io.EOF) || err == nil && size == 0 {
			return nil // a stream may end without its mark
		}
		if err != nil {
			return fmt.Errorf("message %d at byte %d: %w", n, at, err)
		}
		if at += size + body; at > f.Size {
			return fmt.Errorf("message %d goes on behind the end at byte %d", n, f.Size)
		}
	}
}

// messageAt checks the message at a place and returns the sizes of its parts; no
// metadata is the end.
func messageAt(f formats.File, at int64) (body, size int64, err error) {
	if at < 0 || at >= f.Size {
		return 0, 0, io.EOF
	}
	head := make([]byte, 8)
	n, _ := f.ReadAt(head, at)
	if n < 4 {
		return 0, 0, errMeta
	}
	length, prefix := int64(int32(binary.LittleEndian.Uint32(head))), int64(4)
	if length == -1 { // the mark of streams since 0.15
		if n < 8 {
			return 0, 0, errMeta
		}
		length, prefix = int64(int32(binary.LittleEndian.Uint32(head[4:]))), 8
	}
	if length == 0 {
		return 0, 0, nil
	}
	if length < 0 || length > maxMetadata || at+prefix+length > f.Size {
		return 0, 0, fmt.Errorf("%w: %d bytes of it", errMeta, length)
	}
	meta := make([]byte, length)
	if _, err := f.ReadAt(meta, at+prefix); err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	body, err = message(meta)
	return body, prefix + length, err
}

// verifyFile checks the footer and the messages that it points to.
func verifyFile(f formats.File) error {
	tail := make([]byte, 10)
	if _, err := f.ReadAt(tail, f.Size-10); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	n := int64(int32(binary.LittleEndian.Uint32(tail)))
	if string(tail[4:]) != string(magic) || n <= 0 || n > maxMetadata || n+10+8 > f.Size {
		return errors.New("it has no footer: it was cut off, or is still being written")
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, f.Size-10-n); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	m := &flat{b: b}
	root := m.root()
	if s := m.table(root, 1); s > 0 {
		m.schema(s, 1, 0)
		m.pairs(s, 2)
		m.vector(s, 3, 8)
	}
	m.pairs(root, 4)
	for _, slot := range []int{2, 3} {
		from, n := m.vector(root, slot, 24)
		for i := 0; i < n && !m.bad; i++ {
			at := m.i64(from + 24*i)
			if _, size, err := messageAt(f, at); err != nil || size == 0 {
				return fmt.Errorf("block %d at byte %d: %w", i, at, errMeta)
			}
		}
	}
	if m.bad {
		return errMeta
	}
	return nil
}
