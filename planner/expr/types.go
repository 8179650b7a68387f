package expr

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// The types of values, as this package's users name them.
var (
	TypeNull      = arrow.Null
	TypeBool      = arrow.FixedWidthTypes.Boolean
	TypeInt8      = arrow.PrimitiveTypes.Int8
	TypeInt16     = arrow.PrimitiveTypes.Int16
	TypeInt32     = arrow.PrimitiveTypes.Int32
	TypeInt64     = arrow.PrimitiveTypes.Int64
	TypeFloat     = arrow.PrimitiveTypes.Float32
	TypeDouble    = arrow.PrimitiveTypes.Float64
	TypeString    = arrow.BinaryTypes.String
	TypeBinary    = arrow.BinaryTypes.Binary
	TypeDate      = arrow.FixedWidthTypes.Date32
	TypeTimestamp = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"} // an instant, shown in the session's zone
	TypeLocalTime = &arrow.TimestampType{Unit: arrow.Microsecond}                  // TIMESTAMP_NTZ: a wall clock without zone
	TypeMonths    = arrow.FixedWidthTypes.MonthInterval                            // INTERVAL YEAR TO MONTH
	TypeTime      = arrow.FixedWidthTypes.Time64us                                 // TIME: a time of day
	TypeDuration  = &arrow.DurationType{Unit: arrow.Microsecond}                   // INTERVAL DAY TO SECOND
)

// Decimal returns DECIMAL(precision, scale), at most 38 digits.
func Decimal(precision, scale int32) arrow.DataType {
	return &arrow.Decimal128Type{Precision: precision, Scale: scale}
}

// TypeName prints a type as Spark SQL writes it.
func TypeName(dt arrow.DataType) string {
	switch t := dt.(type) {
	case *arrow.TimestampType:
		if t.TimeZone == "" {
			return "TIMESTAMP_NTZ"
		}
		return "TIMESTAMP"
	case *arrow.Decimal128Type:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
	case *arrow.ListType:
		return "ARRAY<" + TypeName(t.Elem()) + ">"
	case *arrow.MapType:
		return "MAP<" + TypeName(t.KeyType()) + ", " + TypeName(t.ItemType()) + ">"
	case *arrow.DictionaryType:
		return TypeName(t.ValueType)
	case *arrow.StructType:
		parts := make([]string, t.NumFields())
		for i, f := range t.Fields() {
			parts[i] = f.Name + ": " + TypeName(f.Type)
		}
		return "STRUCT<" + strings.Join(parts, ", ") + ">"
	}
	if n, ok := typeNames[dt.ID()]; ok {
		return n
	}
	return strings.ToUpper(dt.Name())
}

var typeNames = map[arrow.Type]string{
	arrow.NULL: "VOID", arrow.BOOL: "BOOLEAN", arrow.INT8: "TINYINT", arrow.INT16: "SMALLINT",
	arrow.INT32: "INT", arrow.INT64: "BIGINT", arrow.FLOAT32: "FLOAT", arrow.FLOAT64: "DOUBLE",
	arrow.STRING: "STRING", arrow.BINARY: "BINARY", arrow.DATE32: "DATE",
	arrow.TIME64: "TIME(6)", arrow.INTERVAL_MONTHS: "INTERVAL YEAR TO MONTH", arrow.DURATION: "INTERVAL DAY TO SECOND",
}
