package parquet

import (
	"encoding/binary"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/sluice-stream/sluice/batch"
)

// bound reads the least or greatest value of a page or a column chunk, which is
// PLAIN, in the form of batch.ColumnStats and in the wanted type; decimals are
// decimal128.Num in its scale. nil is unknown: it prunes nothing.
func (c *column) bound(b []byte) any {
	v := naturalBound(c.n, b)
	switch c.want.ID() {
	case arrow.INT8, arrow.INT16, arrow.INT32, arrow.INT64, arrow.DATE32, arrow.TIMESTAMP:
		// A date that is read as a timestamp has bounds in days.
		if x, ok := v.(int64); ok && (c.n.typ.ID() == arrow.TIMESTAMP) == (c.want.ID() == arrow.TIMESTAMP) {
			return x
		}
	case arrow.FLOAT32, arrow.FLOAT64:
		if x, ok := v.(float64); ok {
			return x
		}
	case arrow.STRING, arrow.BINARY:
		if x, ok := v.(string); ok {
			return x
		}
	case arrow.DECIMAL128:
		want := c.want.(*arrow.Decimal128Type)
		from, ok := c.n.typ.(*arrow.Decimal128Type)
		x, isNum := v.(decimal128.Num)
		if !ok || !isNum || want.Scale < from.Scale || !x.FitsInPrecision(want.Precision-(want.Scale-from.Scale)) {
			return nil
		}
		return x.IncreaseScaleBy(want.Scale - from.Scale)
	}
	return nil
}

func naturalBound(n *node, b []byte) any {
	lt := n.prim.LogicalType()
	_, isDecimal := lt.(schema.DecimalLogicalType)
	switch n.prim.PhysicalType() {
	case apq.Types.Int32:
		if len(b) != 4 {
			return nil
		}
		return intBound(n, lt, int64(int32(binary.LittleEndian.Uint32(b))), isDecimal)
	case apq.Types.Int64:
		if len(b) != 8 {
			return nil
		}
		return intBound(n, lt, int64(binary.LittleEndian.Uint64(b)), isDecimal)
	case apq.Types.Float:
		if len(b) != 4 {
			return nil
		}
		return floatBound(float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
	case apq.Types.Double:
		if len(b) != 8 {
			return nil
		}
		return floatBound(math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case apq.Types.ByteArray, apq.Types.FixedLenByteArray:
		if isDecimal {
			// Bounds of decimals of various lengths were ordered as bytes by some writers.
			if n.prim.PhysicalType() == apq.Types.ByteArray || len(b) != n.prim.TypeLength() {
				return nil
			}
			x, err := decimalFromBytes(b)
			if err != nil {
				return nil
			}
			return x
		}
		if _, ok := lt.(schema.UUIDLogicalType); ok || n.prim.PhysicalType() == apq.Types.FixedLenByteArray {
			return nil
		}
		return string(b)
	}
	return nil
}

func intBound(n *node, lt schema.LogicalType, v int64, isDecimal bool) any {
	if isDecimal {
		return decimal128.FromI64(v)
	}
	if it, ok := lt.(schema.IntLogicalType); ok && !it.IsSigned() {
		if n.prim.PhysicalType() == apq.Types.Int64 {
			return nil
		}
		return int64(uint32(v))
	}
	if lo, _ := int64Bounds(n, v, v); lo != nil {
		return lo
	}
	return nil
}

// floatBound leaves NaN alone, which some writers put there, and takes zeros for
// either: -0 and +0 are equal for a query.
func floatBound(v float64) any {
	if math.IsNaN(v) {
		return nil
	}
	return v + 0
}

// groupStats is what the footer says of a column in a row group.
func (c *column) groupStats(md *metadata.ColumnChunkMetaData) (batch.ColumnStats, bool) {
	st, err := md.Statistics()
	if err != nil || st == nil { // statistics that cannot be read prune nothing
		return batch.ColumnStats{}, false
	}
	s := batch.ColumnStats{Nulls: -1}
	if st.HasNullCount() {
		s.Nulls = st.NullCount()
	}
	if st.HasMinMax() {
		s.Min, s.Max = c.bound(st.EncodeMin()), c.bound(st.EncodeMax())
	}
	return ordered(s), true
}

// ordered forgets bounds that are turned round: damaged ones, or of another order.
func ordered(s batch.ColumnStats) batch.ColumnStats {
	turned := false
	switch lo := s.Min.(type) {
	case int64:
		hi, ok := s.Max.(int64)
		turned = ok && lo > hi
	case float64:
		hi, ok := s.Max.(float64)
		turned = ok && lo > hi
	case string:
		hi, ok := s.Max.(string)
		turned = ok && lo > hi
	case decimal128.Num:
		hi, ok := s.Max.(decimal128.Num)
		turned = ok && lo.Greater(hi)
	}
	if turned {
		s.Min, s.Max = nil, nil
	}
	return s
}
