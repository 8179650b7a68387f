package expr

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// NullOf returns a NULL of the given type.
func NullOf(dt arrow.DataType) *Literal { return &Literal{DT: dt} }

// Int64 returns a BIGINT literal.
func Int64(v int64) *Literal { return &Literal{Value: v, DT: arrow.PrimitiveTypes.Int64} }

// Bool returns a BOOLEAN literal.
func Bool(v bool) *Literal { return &Literal{Value: v, DT: arrow.FixedWidthTypes.Boolean} }

// Text returns a STRING literal.
func Text(v string) *Literal { return &Literal{Value: v, DT: arrow.BinaryTypes.String} }

// IsNull reports whether e is a NULL literal.
func IsNull(e Expr) bool {
	l, ok := e.(*Literal)
	return ok && l.Value == nil
}

// String prints the literal as SQL writes it.
func (e *Literal) String() string {
	switch v := e.Value.(type) {
	case nil:
		return "NULL"
	case bool:
		return strconv.FormatBool(v)
	case string:
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	case []byte:
		return fmt.Sprintf("X'%X'", v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case decimal128.Num:
		return v.ToString(e.DT.(*arrow.Decimal128Type).Scale)
	case int64:
		return e.intString(v)
	default:
		return fmt.Sprint(v)
	}
}

func (e *Literal) intString(v int64) string {
	switch e.DT.ID() {
	case arrow.DATE32:
		return "DATE'" + time.Unix(v*86400, 0).UTC().Format("2006-01-02") + "'"
	case arrow.TIMESTAMP:
		return "TIMESTAMP'" + time.UnixMicro(v).UTC().Format("2006-01-02 15:04:05.999999") + "'"
	case arrow.DURATION:
		return "INTERVAL '" + (time.Duration(v) * time.Microsecond).String() + "'"
	case arrow.INTERVAL_MONTHS:
		return fmt.Sprintf("INTERVAL '%d' MONTH", v)
	default:
		return strconv.FormatInt(v, 10)
	}
}

// Array returns an array of one row that holds the literal. The caller owns it.
func (e *Literal) Array(alloc memory.Allocator) (arrow.Array, error) {
	b := array.NewBuilder(alloc, e.DT)
	defer b.Release()
	if err := e.AppendTo(b); err != nil {
		return nil, err
	}
	return b.NewArray(), nil
}

// AppendTo appends the literal to a builder of its type.
func (e *Literal) AppendTo(b array.Builder) error {
	if e.Value == nil {
		b.AppendNull()
		return nil
	}
	bad := func() error { return fmt.Errorf("literal %v (%T) does not fit type %s", e.Value, e.Value, e.DT) }
	switch b := b.(type) {
	case *array.BooleanBuilder:
		v, ok := e.Value.(bool)
		if !ok {
			return bad()
		}
		b.Append(v)
	case *array.StringBuilder:
		v, ok := e.Value.(string)
		if !ok {
			return bad()
		}
		b.Append(v)
	case *array.BinaryBuilder:
		v, ok := e.Value.([]byte)
		if !ok {
			return bad()
		}
		b.Append(v)
	case *array.Decimal128Builder:
		v, ok := e.Value.(decimal128.Num)
		if !ok {
			return bad()
		}
		b.Append(v)
	case *array.Float32Builder:
		v, ok := e.Value.(float64)
		if !ok {
			return bad()
		}
		b.Append(float32(v))
	case *array.Float64Builder:
		v, ok := e.Value.(float64)
		if !ok {
			return bad()
		}
		b.Append(v)
	default:
		v, ok := e.Value.(int64)
		if !ok || !appendInt(b, v) {
			return bad()
		}
	}
	return nil
}

func appendInt(b array.Builder, v int64) bool {
	switch b := b.(type) {
	case *array.Int8Builder:
		b.Append(int8(v))
	case *array.Int16Builder:
		b.Append(int16(v))
	case *array.Int32Builder:
		b.Append(int32(v))
	case *array.Int64Builder:
		b.Append(v)
	case *array.Date32Builder:
		b.Append(arrow.Date32(v))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v))
	case *array.Time64Builder:
		b.Append(arrow.Time64(v))
	case *array.DurationBuilder:
		b.Append(arrow.Duration(v))
	case *array.MonthIntervalBuilder:
		b.Append(arrow.MonthInterval(v))
	default:
		return false
	}
	return true
}

// LiteralOf reads row i of an array back into a literal. It reports false for
// types that literals do not have (arrays, maps, structs).
func LiteralOf(arr arrow.Array, i int) (*Literal, bool) {
	l := &Literal{DT: arr.DataType()}
	if arr.IsNull(i) {
		return l, true
	}
	switch a := arr.(type) {
	case *array.Boolean:
		l.Value = a.Value(i)
	case *array.Int8:
		l.Value = int64(a.Value(i))
	case *array.Int16:
		l.Value = int64(a.Value(i))
	case *array.Int32:
		l.Value = int64(a.Value(i))
	case *array.Int64:
		l.Value = a.Value(i)
	case *array.Float32:
		l.Value = float64(a.Value(i))
	case *array.Float64:
		l.Value = a.Value(i)
	case *array.Decimal128:
		l.Value = a.Value(i)
	case *array.String:
		l.Value = strings.Clone(a.Value(i))
	case *array.Binary:
		l.Value = append([]byte{}, a.Value(i)...)
	case *array.Date32:
		l.Value = int64(a.Value(i))
	case *array.Timestamp:
		l.Value = int64(a.Value(i))
	case *array.Time64:
		l.Value = int64(a.Value(i))
	case *array.Duration:
		l.Value = int64(a.Value(i))
	case *array.MonthInterval:
		l.Value = int64(a.Value(i))
	default:
		return nil, false
	}
	return l, true
}
