package parquet

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

// errType says that a file's column cannot be read as declared.
var errType = errors.New("cannot be read as declared")

// newValues picks the reader of a leaf for the wanted type. It is the one
// place that says which stored type may become which declared one.
func newValues(n *node, want arrow.DataType, zone *time.Location, in file.ColumnChunkReader) (values, error) {
	refuse := fmt.Errorf("it holds %s and %w %s", n.typ, errType, want)
	switch r := in.(type) {
	case *file.Int32ColumnChunkReader:
		return int32Values(n, want, zone, r, refuse)
	case *file.Int64ColumnChunkReader:
		return int64Values(n, want, r, refuse)
	case *file.Int96ColumnChunkReader:
		if want.ID() == arrow.TIMESTAMP {
			return &fixed[apq.Int96, int64]{in: r, size: 8, conv: int96Micros, cast: arrow.Int64Traits.CastFromBytes}, nil
		}
	case *file.Float32ColumnChunkReader:
		switch want.ID() {
		case arrow.FLOAT32:
			return &fixed[float32, float32]{in: r, size: 4, conv: same[float32], cast: arrow.Float32Traits.CastFromBytes}, nil
		case arrow.FLOAT64:
			return &fixed[float32, float64]{in: r, size: 8, conv: widen[float32, float64], cast: arrow.Float64Traits.CastFromBytes}, nil
		}
	case *file.Float64ColumnChunkReader:
		if want.ID() == arrow.FLOAT64 {
			return &fixed[float64, float64]{in: r, size: 8, conv: same[float64], cast: arrow.Float64Traits.CastFromBytes}, nil
		}
	case *file.BooleanColumnChunkReader:
		if want.ID() == arrow.BOOL {
			return &bools{in: r}, nil
		}
	case *file.ByteArrayColumnChunkReader:
		return bytesValues[apq.ByteArray](n, want, r, refuse)
	case *file.FixedLenByteArrayColumnChunkReader:
		return bytesValues[apq.FixedLenByteArray](n, want, r, refuse)
	}
	return nil, refuse
}

func bytesValues[S ~[]byte](n *node, want arrow.DataType, r pageReader[S], refuse error) (values, error) {
	if from, ok := n.typ.(*arrow.Decimal128Type); ok {
		sc, err := scaleTo(from, want, refuse)
		return &decimals[S]{in: r, scale: sc}, err
	}
	if want.ID() != arrow.STRING && want.ID() != arrow.BINARY {
		return nil, refuse
	}
	v := &bytesOf[S]{in: r}
	if _, ok := n.prim.LogicalType().(schema.UUIDLogicalType); ok && want.ID() == arrow.STRING {
		v.text = uuidText
	}
	return v, nil
}

func scaleTo(from *arrow.Decimal128Type, want arrow.DataType, refuse error) (decimalScale, error) {
	to, ok := want.(*arrow.Decimal128Type)
	if !ok || to.Scale < from.Scale {
		return decimalScale{}, refuse
	}
	// The check is always made: a damaged or careless file may hold more digits than it declares.
	return decimalScale{up: to.Scale - from.Scale, precision: to.Precision}, nil
}

func int32Values(n *node, want arrow.DataType, zone *time.Location, r *file.Int32ColumnChunkReader, refuse error) (values, error) {
	if n.typ.ID() == arrow.DATE32 {
		if tt, ok := want.(*arrow.TimestampType); ok && tt.Unit == arrow.Microsecond {
			return &fixed[int32, int64]{in: r, size: 8, conv: midnights(tt.TimeZone == "", zone), cast: arrow.Int64Traits.CastFromBytes}, nil
		}
		if want.ID() != arrow.DATE32 {
			return nil, refuse
		}
		return &fixed[int32, int32]{in: r, size: 4, conv: same[int32], cast: arrow.Int32Traits.CastFromBytes}, nil
	}
	if lt, ok := n.prim.LogicalType().(schema.IntLogicalType); ok && !lt.IsSigned() && lt.BitWidth() == 32 && want.ID() == arrow.INT64 {
		return &fixed[int32, int64]{in: r, size: 8, cast: arrow.Int64Traits.CastFromBytes, conv: func(src []int32, dst []int64) error {
			for i, v := range src {
				dst[i] = int64(uint32(v))
			}
			return nil
		}}, nil
	}
	return intValues[int32](n, want, r, refuse)
}

func int64Values(n *node, want arrow.DataType, r *file.Int64ColumnChunkReader, refuse error) (values, error) {
	if lt, ok := n.prim.LogicalType().(schema.TimestampLogicalType); ok {
		if want.ID() != arrow.TIMESTAMP {
			return nil, refuse
		}
		conv := same[int64]
		switch lt.TimeUnit() {
		case schema.TimeUnitMillis:
			conv = millisToMicros
		case schema.TimeUnitNanos:
			conv = nanosToMicros
		}
		return &fixed[int64, int64]{in: r, size: 8, conv: conv, cast: arrow.Int64Traits.CastFromBytes}, nil
	}
	if lt, ok := n.prim.LogicalType().(schema.IntLogicalType); ok && !lt.IsSigned() && lt.BitWidth() == 64 {
		sc, err := scaleTo(n.typ.(*arrow.Decimal128Type), want, refuse)
		if err != nil {
			return nil, err
		}
		return &fixed[int64, decimal128.Num]{in: r, size: 16, cast: arrow.Decimal128Traits.CastFromBytes, conv: func(src []int64, dst []decimal128.Num) (err error) {
			for i, v := range src {
				if dst[i], err = sc.apply(decimal128.FromU64(uint64(v))); err != nil {
					return err
				}
			}
			return nil
		}}, nil
	}
	return intValues[int64](n, want, r, refuse)
}

type stored interface{ int32 | int64 }

// intValues reads integers and decimals stored as integers. Narrowing is
// allowed and checked value by value: a column declared INT over a file of
// BIGINT holds what fits or fails by name.
func intValues[S stored](n *node, want arrow.DataType, r pageReader[S], refuse error) (values, error) {
	if from, ok := n.typ.(*arrow.Decimal128Type); ok {
		sc, err := scaleTo(from, want, refuse)
		return decimalOfInt(r, sc), err
	}
	switch want.ID() {
	case arrow.INT8:
		return &fixed[S, int8]{in: r, size: 1, conv: narrow[S, int8], cast: arrow.Int8Traits.CastFromBytes}, nil
	case arrow.INT16:
		return &fixed[S, int16]{in: r, size: 2, conv: narrow[S, int16], cast: arrow.Int16Traits.CastFromBytes}, nil
	case arrow.INT32:
		if r32, ok := any(r).(pageReader[int32]); ok {
			return &fixed[int32, int32]{in: r32, size: 4, conv: same[int32], cast: arrow.Int32Traits.CastFromBytes}, nil
		}
		return &fixed[S, int32]{in: r, size: 4, conv: narrow[S, int32], cast: arrow.Int32Traits.CastFromBytes}, nil
	case arrow.INT64:
		if r64, ok := any(r).(pageReader[int64]); ok {
			return &fixed[int64, int64]{in: r64, size: 8, conv: same[int64], cast: arrow.Int64Traits.CastFromBytes}, nil
		}
		return &fixed[S, int64]{in: r, size: 8, conv: widen[S, int64], cast: arrow.Int64Traits.CastFromBytes}, nil
	case arrow.FLOAT64:
		return &fixed[S, float64]{in: r, size: 8, conv: widen[S, float64], cast: arrow.Float64Traits.CastFromBytes}, nil
	case arrow.DECIMAL128:
		from := &arrow.Decimal128Type{Precision: 19}
		sc, err := scaleTo(from, want, refuse)
		return decimalOfInt(r, sc), err
	}
	return nil, refuse
}

func decimalOfInt[S stored](r pageReader[S], sc decimalScale) values {
	return &fixed[S, decimal128.Num]{in: r, size: 16, cast: arrow.Decimal128Traits.CastFromBytes, conv: decimalsOfInt[S](sc)}
}

type number interface {
	int8 | int16 | int32 | int64 | float32 | float64
}

func same[T any](src, dst []T) error {
	copy(dst, src)
	return nil
}

func widen[S, D number](src []S, dst []D) error {
	for i, v := range src {
		dst[i] = D(v)
	}
	return nil
}

func narrow[S stored, D int8 | int16 | int32](src []S, dst []D) error {
	for i, v := range src {
		d := D(v)
		if S(d) != v {
			return fmt.Errorf("the value %d is out of the declared type's range", v)
		}
		dst[i] = d
	}
	return nil
}

// midnights takes dates for the timestamps at which they begin, in the session's
// zone where the column is an instant.
func midnights(local bool, zone *time.Location) func(src []int32, dst []int64) error {
	const dayMicros, limit = 86_400_000_000, 106_751_990
	return func(src []int32, dst []int64) error {
		for i, d := range src {
			if d > limit || d < -limit {
				return fmt.Errorf("the date of day %d is out of the range of timestamps", d)
			}
			if local || zone == nil || zone == time.UTC {
				dst[i] = int64(d) * dayMicros
				continue
			}
			dst[i] = time.Date(1970, 1, 1+int(d), 0, 0, 0, 0, zone).UnixMicro()
		}
		return nil
	}
}

func millisToMicros(src, dst []int64) error {
	const limit = 1<<63/1000 - 1
	for i, v := range src {
		if v > limit || v < -limit {
			return fmt.Errorf("the timestamp of %d milliseconds is out of range", v)
		}
		dst[i] = v * 1000
	}
	return nil
}

// nanosToMicros rounds down, also before 1970.
func nanosToMicros(src, dst []int64) error {
	for i, v := range src {
		q := v / 1000
		if v%1000 < 0 {
			q--
		}
		dst[i] = q
	}
	return nil
}

// int96Micros reads nanoseconds of the day and the Julian day.
func int96Micros(src []apq.Int96, dst []int64) error {
	const julianEpoch, dayMicros = 2440588, 86_400_000_000
	for i, v := range src {
		nanos := binary.LittleEndian.Uint64(v[:8])
		day := int64(binary.LittleEndian.Uint32(v[8:])) - julianEpoch
		if day > 100_000_000 || day < -julianEpoch || nanos > 2*dayMicros*1000 {
			return fmt.Errorf("the INT96 timestamp with Julian day %d is out of range", day+julianEpoch)
		}
		dst[i] = day*dayMicros + int64(nanos/1000)
	}
	return nil
}

// uuidLength is that of a UUID as text.
const uuidLength = 36

func uuidText(dst, src []byte) ([]byte, error) {
	if len(src) != 16 {
		return dst, fmt.Errorf("a UUID of %d bytes", len(src))
	}
	for i, part := range [][]byte{src[:4], src[4:6], src[6:8], src[8:10], src[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	return dst, nil
}
