package parquet

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	apq "github.com/apache/arrow-go/v18/parquet"
)

// values holds the non-null values of one leaf that were read and not yet
// handed out, in a form that is one step from Arrow's.
type values interface {
	// read reads at most n levels of the current page behind those held.
	read(n int, defs, reps []int16) (levels int, err error)
	count() int
	drop(n int)
	// width is the size of a slot in bytes; 0 for bits and -1 for variable length.
	width() int
	// emit writes the first n values densely into the array's buffers.
	emit(n, slots int, alloc memory.Allocator) ([]*memory.Buffer, error)
	// flat is the column that reads the same values where nothing is nested.
	flat(n *node, want arrow.DataType) flatColumn
}

// pageReader is what arrow-go's typed column chunk readers share.
type pageReader[T any] interface {
	ReadBatchInPage(batchSize int64, values []T, defLvls, repLvls []int16) (total int64, valuesRead int, err error)
}

// fixed holds values of a fixed width: S as stored, converted to D when emitted.
type fixed[S any, D any] struct {
	in   pageReader[S]
	vals []S
	size int // of D in bytes
	conv func(src []S, dst []D) error
	cast func([]byte) []D
}

func (f *fixed[S, D]) read(n int, defs, reps []int16) (int, error) {
	at := len(f.vals)
	f.vals = slices.Grow(f.vals, n)[:at+n]
	t, v, err := f.in.ReadBatchInPage(int64(n), f.vals[at:], defs, reps)
	f.vals = f.vals[:at+max(v, 0)]
	return int(t), err
}

func (f *fixed[S, D]) count() int { return len(f.vals) }
func (f *fixed[S, D]) drop(n int) { f.vals = f.vals[:copy(f.vals, f.vals[n:])] }
func (f *fixed[S, D]) width() int { return f.size }

func (f *fixed[S, D]) flat(n *node, want arrow.DataType) flatColumn {
	return newFlat[D](n, want, plainFixed[S, D]{conv: f.conv})
}

func (f *fixed[S, D]) emit(n, slots int, alloc memory.Allocator) ([]*memory.Buffer, error) {
	buf := newBuffer(alloc, slots*f.size)
	if err := f.conv(f.vals[:n], f.cast(buf.Bytes())[:n]); err != nil {
		buf.Release()
		return nil, err
	}
	return []*memory.Buffer{buf}, nil
}

// bools holds booleans; they are spread while they are packed to bits.
type bools struct {
	in   pageReader[bool]
	vals []bool
}

func (b *bools) read(n int, defs, reps []int16) (int, error) {
	at := len(b.vals)
	b.vals = slices.Grow(b.vals, n)[:at+n]
	t, v, err := b.in.ReadBatchInPage(int64(n), b.vals[at:], defs, reps)
	b.vals = b.vals[:at+max(v, 0)]
	return int(t), err
}

func (b *bools) count() int { return len(b.vals) }
func (b *bools) drop(n int) { b.vals = b.vals[:copy(b.vals, b.vals[n:])] }
func (b *bools) width() int { return 0 }

func (b *bools) flat(n *node, want arrow.DataType) flatColumn {
	return newFlat[boolByte](n, want, plainBools{plainFixed[boolByte, boolByte]{conv: same[boolByte]}})
}

func (b *bools) emit(n, slots int, alloc memory.Allocator) ([]*memory.Buffer, error) {
	buf := newBuffer(alloc, (slots+7)/8)
	bits := buf.Bytes()
	clear(bits)
	for i, v := range b.vals[:n] {
		if v {
			bits[i>>3] |= 1 << (i & 7)
		}
	}
	return []*memory.Buffer{buf}, nil
}

// bytes holds strings and binaries: their bytes one behind the other, and the ends.
type bytesOf[S ~[]byte] struct {
	in   pageReader[S]
	tmp  []S
	data []byte
	ends []int32
	text func(dst []byte, src []byte) ([]byte, error) // nil: as it is
}

// maxBatchText bounds the bytes of one string column in a batch: Arrow's offsets are 32 bits.
const maxBatchText = 1 << 30

func (b *bytesOf[S]) read(n int, defs, reps []int16) (int, error) {
	b.tmp = slices.Grow(b.tmp[:0], n)[:n]
	t, v, err := b.in.ReadBatchInPage(int64(n), b.tmp, defs, reps)
	if err != nil {
		return int(t), err
	}
	for _, s := range b.tmp[:v] {
		if len(b.data)+len(s) > maxBatchText {
			return int(t), fmt.Errorf("more than %d bytes of text in %d values", maxBatchText, len(b.ends))
		}
		if b.text == nil {
			b.data = append(b.data, s...)
		} else if b.data, err = b.text(b.data, s); err != nil {
			return int(t), err
		}
		b.ends = append(b.ends, int32(len(b.data)))
	}
	return int(t), nil
}

func (b *bytesOf[S]) count() int { return len(b.ends) }
func (b *bytesOf[S]) width() int { return -1 }

func (b *bytesOf[S]) drop(n int) {
	if n == 0 {
		return
	}
	cut := b.ends[n-1]
	b.data = b.data[:copy(b.data, b.data[cut:])]
	b.ends = b.ends[:copy(b.ends, b.ends[n:])]
	for i := range b.ends {
		b.ends[i] -= cut
	}
}

func (b *bytesOf[S]) flat(n *node, want arrow.DataType) flatColumn {
	return newFlat[view](n, want, plainText{length: fixedLength(n), text: b.text, shape: uuidLength})
}

// fixedLength is that of a column's values, -1 if each has its own.
func fixedLength(n *node) int {
	if n.prim.PhysicalType() == apq.Types.FixedLenByteArray {
		return n.prim.TypeLength()
	}
	return -1
}

func (b *bytesOf[S]) emit(n, slots int, alloc memory.Allocator) ([]*memory.Buffer, error) {
	offs := newBuffer(alloc, (slots+1)*4)
	o := arrow.Int32Traits.CastFromBytes(offs.Bytes())
	o[0] = 0
	copy(o[1:], b.ends[:n])
	size := 0
	if n > 0 {
		size = int(b.ends[n-1])
	}
	data := newBuffer(alloc, size)
	copy(data.Bytes(), b.data[:size])
	return []*memory.Buffer{offs, data}, nil
}

// decimals holds decimals stored as big-endian bytes.
type decimals[S ~[]byte] struct {
	in    pageReader[S]
	tmp   []S
	vals  []decimal128.Num
	scale decimalScale
}

func (d *decimals[S]) read(n int, defs, reps []int16) (int, error) {
	d.tmp = slices.Grow(d.tmp[:0], n)[:n]
	t, v, err := d.in.ReadBatchInPage(int64(n), d.tmp, defs, reps)
	if err != nil {
		return int(t), err
	}
	for _, s := range d.tmp[:v] {
		x, err := decimalFromBytes(s)
		if err == nil {
			x, err = d.scale.apply(x)
		}
		if err != nil {
			return int(t), err
		}
		d.vals = append(d.vals, x)
	}
	return int(t), nil
}

func (d *decimals[S]) count() int { return len(d.vals) }
func (d *decimals[S]) drop(n int) { d.vals = d.vals[:copy(d.vals, d.vals[n:])] }
func (d *decimals[S]) width() int { return 16 }

func (d *decimals[S]) flat(n *node, want arrow.DataType) flatColumn {
	return newFlat[decimal128.Num](n, want, plainDecimals{length: fixedLength(n), scale: d.scale})
}

func (d *decimals[S]) emit(n, slots int, alloc memory.Allocator) ([]*memory.Buffer, error) {
	buf := newBuffer(alloc, slots*16)
	copy(arrow.Decimal128Traits.CastFromBytes(buf.Bytes()), d.vals[:n])
	return []*memory.Buffer{buf}, nil
}

func decimalFromBytes(b []byte) (decimal128.Num, error) {
	for len(b) > 16 {
		if b[0] != 0 && b[0] != 0xff || (b[0]^b[1])&0x80 != 0 {
			return decimal128.Num{}, fmt.Errorf("a decimal of %d bytes does not fit 38 digits", len(b))
		}
		b = b[1:]
	}
	var hi, lo uint64
	if len(b) > 0 && b[0]&0x80 != 0 {
		hi, lo = ^uint64(0), ^uint64(0)
	}
	for _, c := range b {
		hi, lo = hi<<8|lo>>56, lo<<8|uint64(c)
	}
	return decimal128.New(int64(hi), lo), nil
}

// decimalScale brings values of one scale to a larger one.
type decimalScale struct {
	up        int32 // digits to add
	precision int32 // of the target
}

func (s decimalScale) apply(x decimal128.Num) (decimal128.Num, error) {
	// Checked before it is scaled: 128 bits may overflow then.
	if !x.FitsInPrecision(s.precision - s.up) {
		return x, fmt.Errorf("the unscaled value %s does not fit DECIMAL with %d digits", x.BigInt(), s.precision)
	}
	if s.up == 0 {
		return x, nil
	}
	return x.IncreaseScaleBy(s.up), nil
}

// newBuffer returns a buffer of n bytes that are not cleared.
func newBuffer(alloc memory.Allocator, n int) *memory.Buffer {
	b := memory.NewResizableBuffer(alloc)
	b.Resize(n)
	return b
}

// Interfaces that arrow-go's readers satisfy.
var (
	_ values = (*fixed[int64, int64])(nil)
	_ values = (*bools)(nil)
	_ values = (*bytesOf[apq.ByteArray])(nil)
	_ values = (*decimals[apq.FixedLenByteArray])(nil)
)
