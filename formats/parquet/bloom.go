package parquet

import (
	"encoding/binary"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"github.com/cespare/xxhash/v2"

	"github.com/apache/arrow-go/v18/arrow"
)

// bloomSalt is the format's.
var bloomSalt = [8]uint32{0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31}

const (
	bloomBlock  = 32
	bloomHeader = 256 // bytes that hold a header
	// bloomPoints is how many values are looked up: more are hardly ever all absent.
	bloomPoints = 64
)

// bloomExcludes reports that the Bloom filter of a column chunk, if there is one,
// has none of the values. One block is read for each value, not the filter.
func (c *column) bloomExcludes(f *File, md *metadata.ColumnChunkMetaData, points []any) bool {
	at := md.BloomFilterOffset()
	if at <= 0 || at >= f.in.Size || len(points) == 0 || len(points) > bloomPoints {
		return false
	}
	head := make([]byte, min(bloomHeader, f.in.Size-at))
	if _, err := f.in.ReadAt(head, at); err != nil {
		return false
	}
	w := thriftWalk{b: head}
	size := int64(-1)
	sound := true
	err := w.fields(func(id int, t byte) (err error) {
		if id == 1 {
			size, err = w.signed()
			return err
		}
		// Unions of which the first member is the only one that is defined: split
		// blocks, xxHash, uncompressed.
		return w.fields(func(id int, t byte) error {
			sound = sound && id == 1
			return w.field(t)
		})
	})
	at += int64(len(head) - len(w.b))
	if err != nil || !sound || size < bloomBlock || size%bloomBlock != 0 || at > f.in.Size-size {
		return false
	}
	for _, p := range points {
		b, ok := c.plainBytes(p)
		if !ok {
			return false
		}
		h := xxhash.Sum64(b)
		var block [bloomBlock]byte
		if _, err := f.in.ReadAt(block[:], at+int64(((h>>32)*uint64(size/bloomBlock))>>32)*bloomBlock); err != nil || bloomHas(&block, uint32(h)) {
			return false
		}
	}
	return true
}

func bloomHas(block *[bloomBlock]byte, key uint32) bool {
	for i, s := range bloomSalt {
		if binary.LittleEndian.Uint32(block[4*i:])>>((key*s)>>27)&1 == 0 {
			return false
		}
	}
	return true
}

// plainBytes is a value as it stands in the file. ok is false where that cannot
// be told: where the file's type is not the wanted one.
func (c *column) plainBytes(v any) ([]byte, bool) {
	if !arrow.TypeEqual(c.n.typ, c.want) {
		return nil, false
	}
	if d, ok := v.(decimal128.Num); ok {
		if x := int64(d.LowBits()); d.HighBits() == x>>63 {
			v = x
		}
	} else if lt, ok := c.n.prim.LogicalType().(schema.TimestampLogicalType); ok && lt.TimeUnit() != schema.TimeUnitMicros {
		return nil, false
	}
	switch x := v.(type) {
	case int64:
		switch c.n.prim.PhysicalType() {
		case apq.Types.Int32:
			return binary.LittleEndian.AppendUint32(nil, uint32(x)), true
		case apq.Types.Int64:
			return binary.LittleEndian.AppendUint64(nil, uint64(x)), true
		}
	case string:
		if c.n.prim.PhysicalType() == apq.Types.ByteArray {
			return []byte(x), true
		}
	}
	return nil, false
}
