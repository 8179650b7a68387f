package rowkey

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// bytesCol reads strings and binaries of all widths, and dictionaries of them,
// in one way and without copying.
type bytesCol struct {
	data  []byte
	off32 []int32
	off64 []int64
	width int // of fixed-size binary
	index *array.Dictionary
	base  int
}

// isBytes reports whether columns of type dt can be read by a bytesCol.
func isBytes(dt arrow.DataType) bool {
	switch dt.ID() {
	case arrow.STRING, arrow.BINARY, arrow.LARGE_STRING, arrow.LARGE_BINARY, arrow.FIXED_SIZE_BINARY:
		return true
	case arrow.DICTIONARY:
		return isBytes(dt.(*arrow.DictionaryType).ValueType)
	}
	return false
}

func newBytesCol(arr arrow.Array) bytesCol {
	if d, ok := arr.(*array.Dictionary); ok {
		c := newBytesCol(d.Dictionary())
		c.index = d
		return c
	}
	data := arr.Data()
	bufs := data.Buffers()
	c := bytesCol{base: data.Offset()}
	if t, ok := arr.DataType().(*arrow.FixedSizeBinaryType); ok {
		c.width = t.ByteWidth
		if bufs[1] != nil {
			c.data = bufs[1].Bytes()
		}
		return c
	}
	if bufs[2] != nil {
		c.data = bufs[2].Bytes()
	}
	if bufs[1] == nil {
		return c
	}
	switch arr.DataType().ID() {
	case arrow.LARGE_STRING, arrow.LARGE_BINARY:
		c.off64 = arrow.Int64Traits.CastFromBytes(bufs[1].Bytes())
	default:
		c.off32 = arrow.Int32Traits.CastFromBytes(bufs[1].Bytes())
	}
	return c
}

// value returns row i, which must not be NULL.
func (c *bytesCol) value(i int) []byte {
	if c.index != nil {
		i = c.index.GetValueIndex(i)
	}
	i += c.base
	switch {
	case c.off32 != nil:
		return c.data[c.off32[i]:c.off32[i+1]]
	case c.off64 != nil:
		return c.data[c.off64[i]:c.off64[i+1]]
	case c.width > 0:
		return c.data[i*c.width : (i+1)*c.width]
	}
	return nil
}
