package parquet

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

var (
	instant = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	local   = &arrow.TimestampType{Unit: arrow.Microsecond}
)

// naturalType maps a leaf to the engine's types.
func naturalType(p *schema.PrimitiveNode) (arrow.DataType, error) {
	switch lt := p.LogicalType().(type) {
	case schema.DecimalLogicalType:
		if lt.Precision() < 1 || lt.Precision() > 38 || lt.Scale() < 0 || lt.Scale() > lt.Precision() {
			return nil, fmt.Errorf("DECIMAL(%d,%d) is not supported: want at most 38 digits", lt.Precision(), lt.Scale())
		}
		return &arrow.Decimal128Type{Precision: lt.Precision(), Scale: lt.Scale()}, nil
	case schema.IntLogicalType:
		return intType(lt, p)
	case schema.TimestampLogicalType:
		if lt.IsAdjustedToUTC() {
			return instant, nil
		}
		return local, nil
	case schema.DateLogicalType:
		return arrow.FixedWidthTypes.Date32, nil
	case schema.StringLogicalType, schema.EnumLogicalType, schema.JSONLogicalType:
		return arrow.BinaryTypes.String, nil
	case schema.UUIDLogicalType:
		return arrow.BinaryTypes.String, nil
	}
	switch p.PhysicalType() {
	case apq.Types.Boolean:
		return arrow.FixedWidthTypes.Boolean, nil
	case apq.Types.Int32:
		return arrow.PrimitiveTypes.Int32, nil
	case apq.Types.Int64:
		return arrow.PrimitiveTypes.Int64, nil
	case apq.Types.Int96:
		return instant, nil // Spark's and Hive's old timestamps, always adjusted to UTC
	case apq.Types.Float:
		return arrow.PrimitiveTypes.Float32, nil
	case apq.Types.Double:
		return arrow.PrimitiveTypes.Float64, nil
	case apq.Types.ByteArray, apq.Types.FixedLenByteArray:
		return arrow.BinaryTypes.Binary, nil
	}
	return nil, fmt.Errorf("type %s is not supported", p.PhysicalType())
}

// intType widens unsigned integers to the next signed ones; UINT_64 becomes
// DECIMAL(20,0), as in Spark.
func intType(lt schema.IntLogicalType, p *schema.PrimitiveNode) (arrow.DataType, error) {
	w := lt.BitWidth()
	if !lt.IsSigned() {
		w *= 2
		if lt.BitWidth() == 64 {
			return &arrow.Decimal128Type{Precision: 20}, nil
		}
	}
	if p.PhysicalType() != apq.Types.Int32 && p.PhysicalType() != apq.Types.Int64 {
		return nil, fmt.Errorf("integers stored as %s are not supported", p.PhysicalType())
	}
	switch w {
	case 8:
		return arrow.PrimitiveTypes.Int8, nil
	case 16:
		return arrow.PrimitiveTypes.Int16, nil
	case 32:
		return arrow.PrimitiveTypes.Int32, nil
	}
	return arrow.PrimitiveTypes.Int64, nil
}
