package gather

import (
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// At is a row of one of several batches.
type At uint32

// What an At has room for.
const (
	MergeMax     = 1 << (32 - rowBits) // batches
	MergeRowsMax = 1 << rowBits        // rows of each
	rowBits      = 16
)

// AtRow is a row of a batch by their numbers.
func AtRow(batch, row int) At { return At(batch<<rowBits | row) }

func (a At) batch() int { return int(a >> rowBits) }

func (a At) row() int { return int(a & (MergeRowsMax - 1)) }

// Merge returns the rows of several batches of one schema as one, in the order of at, which
// names each of them once; the caller owns it. It is Batch over all of them put together,
// but copies each value once, and from where it lies in the cache yet.
func Merge(alloc memory.Allocator, recs []arrow.RecordBatch, at []At) (arrow.RecordBatch, error) {
	m := merger{alloc: alloc, at: at, recs: recs}
	cols := make([]arrow.Array, 0, recs[0].NumCols())
	defer func() { Release(cols) }()
	for c := range int(recs[0].NumCols()) {
		col, err := m.column(c)
		if err != nil {
			return nil, err
		}
		cols = append(cols, col)
	}
	return array.NewRecordBatch(recs[0].Schema(), cols, int64(len(at))), nil
}

type merger struct {
	alloc memory.Allocator
	recs  []arrow.RecordBatch
	at    []At
	flat  []int32 // at as positions in all batches put together; made when it is asked for
}

func (m *merger) column(c int) (arrow.Array, error) {
	parts := make([]arrow.Array, len(m.recs))
	for i, rec := range m.recs {
		parts[i] = rec.Column(c)
	}
	dt := parts[0].DataType()
	var bufs []*memory.Buffer
	defer func() {
		for _, b := range bufs {
			if b != nil {
				b.Release()
			}
		}
	}()
	switch t := dt.(type) {
	case *arrow.StringType, *arrow.BinaryType:
		off, val, err := m.bytes(parts)
		if err != nil {
			return nil, err
		}
		bufs = []*memory.Buffer{nil, off, val}
	case *arrow.Int64Type, *arrow.TimestampType, *arrow.Float64Type:
		bufs = []*memory.Buffer{nil, words[uint64](m, parts, 8)}
	case *arrow.Int32Type, *arrow.Date32Type, *arrow.Float32Type:
		bufs = []*memory.Buffer{nil, words[uint32](m, parts, 4)}
	default:
		return m.joined(t, parts)
	}
	var nulls int
	bufs[0], nulls = m.validity(parts)
	data := array.NewData(dt, len(m.at), bufs, nil, nulls, 0)
	defer data.Release()
	return array.MakeFromData(data), nil
}

// joined is column for types that are rare.
func (m *merger) joined(dt arrow.DataType, parts []arrow.Array) (arrow.Array, error) {
	if m.flat == nil {
		from := make([]int32, len(m.recs)+1)
		for i, rec := range m.recs {
			from[i+1] = from[i] + int32(rec.NumRows())
		}
		m.flat = make([]int32, len(m.at))
		for i, at := range m.at {
			m.flat[i] = from[at.batch()] + int32(at.row())
		}
	}
	one, err := array.Concatenate(parts, m.alloc)
	if err != nil {
		return nil, fmt.Errorf("put %d columns of %s together: %w", len(parts), dt, err)
	}
	defer one.Release()
	return Take(m.alloc, one, m.flat)
}

// validity returns the bitmap, or nil if no row is NULL.
func (m *merger) validity(parts []arrow.Array) (*memory.Buffer, int) {
	some := false
	for _, p := range parts {
		some = some || p.NullN() > 0
	}
	if !some {
		return nil, 0
	}
	buf := newBuffer(m.alloc, int(bitutil.BytesForBits(int64(len(m.at)))))
	bits := buf.Bytes()
	clear(bits)
	nulls := 0
	for i, at := range m.at {
		if parts[at.batch()].IsNull(at.row()) {
			nulls++
			continue
		}
		bits[i>>3] |= 1 << (i & 7)
	}
	return buf, nulls
}

// words gathers values of a fixed width.
func words[T uint32 | uint64](m *merger, parts []arrow.Array, width int) *memory.Buffer {
	src := make([][]T, len(parts))
	for i, p := range parts {
		d := p.Data()
		if b := d.Buffers()[1]; b != nil {
			src[i] = arrow.GetData[T](b.Bytes())[d.Offset():]
		}
	}
	buf := newBuffer(m.alloc, len(m.at)*width)
	dst := arrow.GetData[T](buf.Bytes())
	dst = dst[:len(m.at)]
	for i, at := range m.at {
		dst[i] = src[at.batch()][at.row()]
	}
	return buf
}

// texts are the buffers of a column of texts.
type texts struct {
	off  []int32
	src  []byte
	safe int32 // from here on fewer bytes follow than are copied of a text that is not long
}

// bytes gathers texts.
func (m *merger) bytes(parts []arrow.Array) (offsets, values *memory.Buffer, err error) {
	from := make([]texts, len(parts))
	var total int64
	for i, p := range parts {
		d := p.Data()
		if b := d.Buffers()[1]; b != nil && b.Len() > 0 {
			off := arrow.Int32Traits.CastFromBytes(b.Bytes())[d.Offset():]
			from[i].off = off
			total += int64(off[p.Len()] - off[0])
		}
		if b := d.Buffers()[2]; b != nil {
			from[i].src = b.Bytes()
		}
		from[i].safe = int32(max(len(from[i].src)-middleText, 0))
	}
	if total > math.MaxInt32 {
		return nil, nil, fmt.Errorf("merge %d rows of a %s column: %d bytes of text do not fit one batch", len(m.at), parts[0].DataType(), total)
	}
	defer func() {
		if values == nil && offsets != nil { // there was no memory for them
			offsets.Release()
		}
	}()
	offsets = newBuffer(m.alloc, (len(m.at)+1)*arrow.Int32SizeBytes)
	values = newBuffer(m.alloc, int(total)+middleText)
	to := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	dst := values.Bytes()
	var o int32
	to[0] = 0
	for i, at := range m.at {
		t := &from[at.batch()]
		off := t.off[at.row():]
		b, e := off[0], off[1]
		switch n := e - b; {
		case b >= t.safe || n > middleText:
			copy(dst[o:], t.src[b:e])
		case n <= shortText:
			*(*[shortText]byte)(dst[o:]) = *(*[shortText]byte)(t.src[b:])
		default:
			*(*[middleText]byte)(dst[o:]) = *(*[middleText]byte)(t.src[b:])
		}
		o += e - b
		to[i+1] = o
	}
	values.ResizeNoShrink(int(total))
	return offsets, values, nil
}

// middleText is shortText for a second length: also a call has less to decide when it
// copies the same always.
const middleText = 96
