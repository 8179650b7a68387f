package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	limits "github.com/sluice-stream/sluice/internal/memory"
)

// The fields of Flight's FlightData.
const (
	fieldHeader = 2
	fieldMeta   = 3
	fieldBody   = 1000
)

// app_metadata is a version and the CRC32C of header and body. Where the rows of several
// tasks come by one stream there is the task's place in the list, too, which the CRC covers
// first.
const (
	sumVersion   = 1
	sumBytes     = 5
	placeVersion = 2
	placeBytes   = sumBytes + 4
)

// pieceBytes is the size above which a batch is cut. A piece is what one stream holds
// beyond its window on either side.
const pieceBytes = 4 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is returned when rows that came over the network are not those that were sent.
var ErrDamaged = errors.New("rows were damaged on their way")

// outgoing is a FlightData, laid out as it travels.
type outgoing struct{ bufs mem.BufferSlice }

func (o *outgoing) take() mem.BufferSlice {
	b := o.bufs
	o.bufs = nil
	return b
}

// flightWriter sends batches as a Flight stream.
type flightWriter struct {
	stream grpc.ServerStream
	alloc  memory.Allocator
	pack   Compression
	max    int64
	tasks  bool   // there are several, and
	place  uint32 // is that of the one whose rows are written
	schema *arrow.Schema
	w      *ipc.Writer
}

// write sends a batch, borrowed, in pieces that are not too large.
func (f *flightWriter) write(rec arrow.RecordBatch) error {
	if f.w == nil || f.schema != rec.Schema() && !f.schema.Equal(rec.Schema()) {
		if err := f.close(); err != nil {
			return err
		}
		opts := []ipc.Option{ipc.WithSchema(rec.Schema()), ipc.WithAllocator(f.alloc)}
		f.schema, f.w = rec.Schema(), ipc.NewWriterWithPayloadWriter(f, append(opts, f.pack.options()...)...)
	}
	rows := rec.NumRows()
	size := int64(0)
	for _, c := range rec.Columns() {
		size += sizeOf(c)
	}
	if size <= pieceBytes || rows <= 1 {
		return f.w.Write(rec)
	}
	step := max(rows*pieceBytes/size, 1)
	for from := int64(0); from < rows; from += step {
		piece := rec.NewSlice(from, min(from+step, rows))
		err := f.w.Write(piece)
		piece.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *flightWriter) close() error {
	if f.w == nil {
		return nil
	}
	w := f.w
	f.w = nil
	return w.Close()
}

// Start is of ipc.PayloadWriter.
func (f *flightWriter) Start() error { return nil }

// Close is of ipc.PayloadWriter.
func (f *flightWriter) Close() error { return nil }

// counter is a writer that counts.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// WritePayload lays a message out once, in memory that gRPC gives back when it is sent.
func (f *flightWriter) WritePayload(p ipc.Payload) error {
	meta := p.Meta()
	defer meta.Release()
	header := meta.Bytes()
	var body counter
	if err := p.SerializeBody(&body); err != nil {
		return err
	}
	if int64(body) > f.max {
		return fmt.Errorf("a row, or a dictionary, of %d bytes is above the limit of %d", body, f.max)
	}
	m := lay(header, int(body), f.tasks, f.place)
	if err := p.SerializeBody(m); err != nil {
		return err
	}
	return f.stream.SendMsg(m.done(header))
}

// layout is a FlightData whose body is being filled in.
type layout struct {
	buf           *[]byte
	b             []byte
	meta, metaLen int // app_metadata
	body          int // where it begins
}

// frames are buffers that messages are laid out in, and that gRPC reads into. It gives them
// back when they are sent, or parsed. Its own pool clears what it hands out, which is a tenth
// of all that sending costs.
var frames framePool

// framePool keeps buffers by the power of two that they hold.
type framePool [33]sync.Pool

// Get is of mem.BufferPool.
func (p *framePool) Get(length int) *[]byte {
	class := bits.Len(uint(max(length, 1) - 1))
	if class < len(p) {
		if b, ok := p[class].Get().(*[]byte); ok {
			*b = (*b)[:length]
			return b
		}
	}
	b := make([]byte, length, max(1<<class, length))
	return &b
}

// Put is of mem.BufferPool.
func (p *framePool) Put(b *[]byte) {
	if class := bits.Len(uint(cap(*b))) - 1; class >= 0 && class < len(p) && cap(*b) == 1<<class {
		p[class].Put(b)
	}
}

// lay begins a message; of several tasks it says whose it is.
func lay(header []byte, body int, tasks bool, place uint32) *layout {
	m := &layout{buf: frames.Get(len(header) + placeBytes + body + 4*binary.MaxVarintLen64 + 8)}
	b := protowire.AppendTag((*m.buf)[:0], fieldHeader, protowire.BytesType)
	b = protowire.AppendBytes(b, header)
	b = protowire.AppendTag(b, fieldMeta, protowire.BytesType)
	meta := [placeBytes]byte{sumVersion}
	m.metaLen = sumBytes
	if tasks {
		meta[0], m.metaLen = placeVersion, placeBytes
		binary.LittleEndian.PutUint32(meta[sumBytes:], place)
	}
	b = protowire.AppendVarint(b, uint64(m.metaLen))
	m.meta = len(b)
	b = append(b, meta[:m.metaLen]...)
	b = protowire.AppendTag(b, fieldBody, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(body))
	m.body, m.b = len(b), b
	return m
}

// Write appends to the body.
func (m *layout) Write(b []byte) (int, error) {
	m.b = append(m.b, b...)
	return len(b), nil
}

// done fills the checksum in.
func (m *layout) done(header []byte) *outgoing {
	sum := crc32.Checksum(m.b[m.meta+sumBytes:m.meta+m.metaLen], castagnoli)
	sum = crc32.Update(crc32.Update(sum, castagnoli, header), castagnoli, m.b[m.body:])
	binary.LittleEndian.PutUint32(m.b[m.meta+1:], sum)
	*m.buf = m.b
	return &outgoing{mem.BufferSlice{mem.NewBuffer(m.buf, &frames)}}
}

// sizeOf estimates the bytes of an array's values, as far as the array goes.
func sizeOf(a arrow.Array) int64 {
	n := a.Len()
	if n == 0 {
		return 0
	}
	switch a := a.(type) {
	case array.BinaryLike:
		return int64(len(a.ValueBytes())) + 4*int64(n)
	case array.ListLike:
		from, _ := a.ValueOffsets(0)
		_, to := a.ValueOffsets(n - 1)
		v := a.ListValues()
		return 4*int64(n) + sizeOf(v)*max(to-from, 0)/int64(max(v.Len(), 1))
	case *array.Struct:
		sum := int64(0)
		for i := range a.NumField() {
			sum += sizeOf(a.Field(i))
		}
		return sum
	case array.ExtensionArray:
		return sizeOf(a.Storage())
	}
	if w, ok := a.DataType().(arrow.FixedWidthDataType); ok {
		return (int64(w.BitWidth())*int64(n) + 7) / 8
	}
	sum := int64(0)
	for _, b := range a.Data().Buffers() {
		if b != nil {
			sum += int64(b.Len())
		}
	}
	return sum
}

// headerMax bounds the metadata of a message.
const headerMax = 16 << 20

// incoming is a FlightData on its way in. Its body is copied once, out of what the network
// gave and into memory of alloc.
type incoming struct {
	alloc  memory.Allocator
	header []byte
	sum    []byte
	body   *memory.Buffer
	// err is what is wrong with the message: gRPC would make a text of it.
	err error
}

func (i *incoming) release() {
	if i.body != nil {
		i.body.Release()
	}
	i.header, i.sum, i.body = nil, nil, nil
}

// parse reads a message. No length is believed before as many bytes are there (X6). An
// allocator that is at its limit panics, which is an error here.
func (i *incoming) parse(data mem.BufferSlice) {
	if i.err = i.read(data); i.err != nil {
		i.release()
	}
}

func (i *incoming) read(data mem.BufferSlice) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if e, ok := p.(error); ok {
				err = fmt.Errorf("make room for rows: %w", e)
			} else {
				err = fmt.Errorf("make room for rows: %v", p)
			}
		}
	}()
	r := data.Reader()
	defer func() { err = errors.Join(err, r.Close()) }()
	for r.Remaining() > 0 {
		tag, err := binary.ReadUvarint(r)
		if err != nil {
			return fmt.Errorf("%w: %w", errFrame, err)
		}
		switch tag {
		case fieldHeader<<3 | uint64(protowire.BytesType):
			i.header, err = readBytes(r, headerMax)
		case fieldMeta<<3 | uint64(protowire.BytesType):
			i.sum, err = readBytes(r, headerMax)
		case fieldBody<<3 | uint64(protowire.BytesType):
			err = i.readBody(r)
		case 1<<3 | uint64(protowire.BytesType): // a descriptor, which says nothing here
			_, err = readBytes(r, headerMax)
		default:
			err = fmt.Errorf("field %d: %w", tag>>3, errFrame)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readLen(r *mem.Reader, most int) (int, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errFrame, err)
	}
	if n > uint64(min(most, r.Remaining())) {
		return 0, fmt.Errorf("%d bytes are announced and %d are there: %w", n, r.Remaining(), errFrame)
	}
	return int(n), nil
}

func readBytes(r *mem.Reader, most int) ([]byte, error) {
	n, err := readLen(r, most)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}

func (i *incoming) readBody(r *mem.Reader) error {
	n, err := readLen(r, r.Remaining())
	if err != nil || i.body != nil {
		return errors.Join(err, errFrame)
	}
	i.body = memory.NewResizableBuffer(limits.Uncleared(i.alloc))
	i.body.Resize(n)
	_, err = io.ReadFull(r, i.body.Bytes())
	return err
}

// verify holds the message to its checksum.
func (i *incoming) verify() error {
	if n := len(i.sum); (n != sumBytes || i.sum[0] != sumVersion) && (n != placeBytes || i.sum[0] != placeVersion) {
		return fmt.Errorf("a message of rows has no checksum: %w", errFrame)
	}
	sum := crc32.Update(crc32.Checksum(i.sum[sumBytes:], castagnoli), castagnoli, i.header)
	if i.body != nil {
		sum = crc32.Update(sum, castagnoli, i.body.Bytes())
	}
	if want := binary.LittleEndian.Uint32(i.sum[1:]); sum != want {
		return fmt.Errorf("%w: the checksum is %08x, not %08x", ErrDamaged, sum, want)
	}
	return nil
}

// place says which of several tasks a message is of, once it is verified.
func (i *incoming) place() (place uint32, many bool) {
	if len(i.sum) != placeBytes {
		return 0, false
	}
	return binary.LittleEndian.Uint32(i.sum[sumBytes:]), true
}

// messages hands the messages of a stream to an ipc.Reader, up to the next schema.
type messages struct {
	f    *fetched
	refs atomic.Int64
	msg  *ipc.Message
}

// Message returns the next message, valid until the next call.
func (m *messages) Message() (*ipc.Message, error) {
	first := m.msg == nil
	if !first {
		m.msg.Release()
		m.msg = nil
	}
	msg, err := m.f.message()
	var s streamError
	if errors.As(err, &s) && s.err == io.EOF {
		return nil, io.EOF
	}
	if err != nil {
		return nil, err
	}
	if !first && msg.Type() == ipc.MessageSchema {
		m.f.pending = msg
		return nil, io.EOF
	}
	m.msg = msg
	return msg, nil
}

// Retain is of ipc.MessageReader.
func (m *messages) Retain() { m.refs.Add(1) }

// Release is of ipc.MessageReader.
func (m *messages) Release() {
	if m.refs.Add(-1) == 0 && m.msg != nil {
		m.msg.Release()
		m.msg = nil
	}
}
