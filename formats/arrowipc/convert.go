package arrowipc

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// natural is the engine's type for a type of Arrow.
func natural(dt arrow.DataType) (arrow.DataType, error) {
	switch t := dt.(type) {
	case *arrow.NullType, *arrow.BooleanType, *arrow.Int8Type, *arrow.Int16Type, *arrow.Int32Type, *arrow.Int64Type, *arrow.Float32Type, *arrow.Float64Type,
		*arrow.StringType, *arrow.BinaryType, *arrow.Date32Type, *arrow.Decimal128Type, *arrow.MonthIntervalType:
		return dt, nil
	case *arrow.Uint8Type:
		return arrow.PrimitiveTypes.Int16, nil
	case *arrow.Uint16Type:
		return arrow.PrimitiveTypes.Int32, nil
	case *arrow.Uint32Type:
		return arrow.PrimitiveTypes.Int64, nil
	case *arrow.Uint64Type:
		return &arrow.Decimal128Type{Precision: 20}, nil
	case *arrow.Float16Type:
		return arrow.PrimitiveTypes.Float32, nil
	case *arrow.LargeStringType, *arrow.StringViewType:
		return arrow.BinaryTypes.String, nil
	case *arrow.LargeBinaryType, *arrow.BinaryViewType, *arrow.FixedSizeBinaryType:
		return arrow.BinaryTypes.Binary, nil
	case *arrow.Date64Type:
		return arrow.FixedWidthTypes.Date32, nil
	case *arrow.TimestampType:
		if t.TimeZone != "" {
			return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, nil
		}
		return &arrow.TimestampType{Unit: arrow.Microsecond}, nil
	case *arrow.DurationType:
		return arrow.FixedWidthTypes.Duration_us, nil
	case *arrow.Decimal32Type:
		return &arrow.Decimal128Type{Precision: t.Precision, Scale: t.Scale}, nil
	case *arrow.Decimal64Type:
		return &arrow.Decimal128Type{Precision: t.Precision, Scale: t.Scale}, nil
	case *arrow.Decimal256Type:
		if t.Precision <= 38 {
			return &arrow.Decimal128Type{Precision: t.Precision, Scale: t.Scale}, nil
		}
	case *arrow.DictionaryType:
		return natural(t.ValueType)
	case arrow.ExtensionType:
		return natural(t.StorageType())
	case *arrow.MapType:
		key, err := natural(t.KeyType())
		if err != nil {
			return nil, err
		}
		item, err := natural(t.ItemType())
		return arrow.MapOf(key, item), err
	case *arrow.StructType:
		fields := make([]arrow.Field, t.NumFields())
		for i, f := range t.Fields() {
			ft, err := natural(f.Type)
			if err != nil {
				return nil, fmt.Errorf("field %q: %w", f.Name, err)
			}
			fields[i] = arrow.Field{Name: f.Name, Type: ft, Nullable: true}
		}
		return arrow.StructOf(fields...), nil
	case *arrow.ListType, *arrow.LargeListType, *arrow.FixedSizeListType:
		elem, err := natural(t.(arrow.ListLikeType).Elem())
		return arrow.ListOf(elem), err
	}
	return nil, fmt.Errorf("type %s is not supported", dt)
}

// convertible says whether a type of a file may be declared as another one.
func convertible(from, to arrow.DataType) error {
	n, err := natural(from)
	if err != nil {
		return err
	}
	if sameShape(n, to) {
		return nil
	}
	return fmt.Errorf("holds %s and cannot be read as declared, %s", from, to)
}

func sameShape(a, b arrow.DataType) bool {
	switch x := a.(type) {
	case *arrow.StructType:
		y, ok := b.(*arrow.StructType)
		if !ok {
			return false
		}
		shared := 0
		for i := range y.NumFields() {
			at, ok := x.FieldIdx(y.Field(i).Name)
			if ok && !sameShape(x.Field(at).Type, y.Field(i).Type) {
				return false
			}
			if ok {
				shared++
			}
		}
		return shared > 0
	case *arrow.MapType:
		y, ok := b.(*arrow.MapType)
		return ok && sameShape(x.KeyType(), y.KeyType()) && sameShape(x.ItemType(), y.ItemType())
	case *arrow.ListType:
		y, ok := b.(*arrow.ListType)
		return ok && sameShape(x.Elem(), y.Elem())
	}
	if arrow.TypeEqual(a, b) || a.ID() == arrow.NULL {
		return true
	}
	number := func(t arrow.DataType) bool {
		return arrow.IsInteger(t.ID()) || arrow.IsFloating(t.ID()) || arrow.IsDecimal(t.ID())
	}
	return number(a) && number(b) || b.ID() == arrow.TIMESTAMP && (a.ID() == arrow.TIMESTAMP || a.ID() == arrow.DATE32) ||
		a.ID() == arrow.STRING && b.ID() == arrow.BINARY || a.ID() == arrow.BINARY && b.ID() == arrow.STRING
}

// full is what arrays that have offsets or indices can be asked.
type full interface{ ValidateFull() error }

// check looks at what an array's bytes claim, at any depth.
func check(a arrow.Array) error {
	if v, ok := a.(full); ok {
		if err := v.ValidateFull(); err != nil {
			return err
		}
	}
	switch a := a.(type) {
	case *array.String:
		return text(a, func(i int) string { return a.Value(i) })
	case *array.LargeString:
		return text(a, func(i int) string { return a.Value(i) })
	case *array.StringView:
		return text(a, func(i int) string { return a.Value(i) })
	case *array.Dictionary:
		n := a.Dictionary().Len()
		for i := range a.Len() {
			if a.IsValid(i) {
				if at := a.GetValueIndex(i); at < 0 || at >= n {
					return fmt.Errorf("row %d: index %d of a dictionary of %d values", i, at, n)
				}
			}
		}
		return check(a.Dictionary())
	case array.ExtensionArray:
		return check(a.Storage())
	case *array.Map:
		return firstErr(check(a.Keys()), check(a.Items()))
	case array.ListLike:
		return check(a.ListValues())
	case *array.Struct:
		for i := range a.NumField() {
			if err := check(a.Field(i)); err != nil {
				return fmt.Errorf("field %d: %w", i, err)
			}
		}
	}
	return nil
}

func firstErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func text(a arrow.Array, value func(int) string) error {
	for i := range a.Len() {
		if a.IsValid(i) && !utf8.ValidString(value(i)) {
			return fmt.Errorf("row %d is not valid UTF-8", i)
		}
	}
	return nil
}

// convert gives a checked array the wanted type; the caller owns the result.
func convert(ctx context.Context, a arrow.Array, want arrow.DataType, zone *time.Location, mem memory.Allocator) (arrow.Array, error) {
	if arrow.TypeEqual(a.DataType(), want) {
		return array.Concatenate([]arrow.Array{a}, mem) // a copy that the limit counts
	}
	switch x := a.(type) {
	case *array.Null:
		return array.MakeArrayOfNull(mem, want, a.Len()), nil
	case array.ExtensionArray:
		return convert(ctx, x.Storage(), want, zone, mem)
	case *array.Dictionary:
		values, err := compute.TakeArray(compute.WithAllocator(ctx, mem), x.Dictionary(), x.Indices())
		if err != nil {
			return nil, err
		}
		defer values.Release()
		return convert(ctx, values, want, zone, mem)
	case *array.Timestamp:
		return micros(x, want, mem)
	case *array.Date32:
		if want.ID() == arrow.TIMESTAMP {
			return midnights(x, want.(*arrow.TimestampType), zone, mem)
		}
	case *array.Struct, *array.Map, array.ListLike:
		return convertNested(ctx, a, want, zone, mem)
	}
	switch want.(type) {
	case *arrow.StringType, *arrow.BinaryType:
		return convertBytes(a, want, mem)
	}
	opts := compute.SafeCastOptions(want)
	opts.AllowFloatTruncate = arrow.IsInteger(a.DataType().ID()) && arrow.IsFloating(want.ID()) // rounded, as by CAST
	return compute.CastArray(compute.WithAllocator(ctx, mem), a, opts)
}

// midnights takes dates for the timestamps at which they begin, in the session's
// zone where the column is an instant.
func midnights(a *array.Date32, want *arrow.TimestampType, zone *time.Location, mem memory.Allocator) (arrow.Array, error) {
	if zone == nil || want.TimeZone == "" {
		zone = time.UTC
	}
	b := array.NewTimestampBuilder(mem, want)
	defer b.Release()
	b.Reserve(a.Len())
	for i := range a.Len() {
		d := int(a.Value(i))
		switch {
		case a.IsNull(i):
			b.UnsafeAppendBoolToBitmap(false)
		case d > maxDay || d < -maxDay:
			return nil, fmt.Errorf("row %d: the date of day %d is out of the range of timestamps", i, d)
		default:
			b.UnsafeAppend(arrow.Timestamp(time.Date(1970, 1, 1+d, 0, 0, 0, 0, zone).UnixMicro()))
		}
	}
	return b.NewArray(), nil
}

// maxDay bounds days from 1970 whose microseconds fit 64 bits.
const maxDay = 106_751_990

// micros rounds timestamps down to microseconds.
func micros(a *array.Timestamp, want arrow.DataType, mem memory.Allocator) (arrow.Array, error) {
	if want.ID() != arrow.TIMESTAMP {
		return nil, fmt.Errorf("a timestamp is no %s", want)
	}
	b := array.NewTimestampBuilder(mem, want.(*arrow.TimestampType))
	defer b.Release()
	b.Reserve(a.Len())
	per := map[arrow.TimeUnit]int64{arrow.Second: 1_000_000, arrow.Millisecond: 1000, arrow.Microsecond: 1, arrow.Nanosecond: 0}[a.DataType().(*arrow.TimestampType).Unit]
	for i := range a.Len() {
		v := int64(a.Value(i))
		switch {
		case a.IsNull(i):
			b.UnsafeAppendBoolToBitmap(false)
			continue
		case per == 0:
			q := v / 1000
			if v%1000 < 0 {
				q--
			}
			v = q
		case v*per/per != v:
			return nil, fmt.Errorf("row %d: the timestamp %d is out of range", i, v)
		default:
			v *= per
		}
		b.UnsafeAppend(arrow.Timestamp(v))
	}
	return b.NewArray(), nil
}

// convertBytes copies text and bytes of any layout.
func convertBytes(a arrow.Array, want arrow.DataType, mem memory.Allocator) (arrow.Array, error) {
	var value func(int) []byte
	switch x := a.(type) {
	case *array.String:
		value = func(i int) []byte { return []byte(x.Value(i)) }
	case *array.LargeString:
		value = func(i int) []byte { return []byte(x.Value(i)) }
	case *array.StringView:
		value = func(i int) []byte { return []byte(x.Value(i)) }
	case *array.Binary:
		value = x.Value
	case *array.LargeBinary:
		value = x.Value
	case *array.BinaryView:
		value = x.Value
	case *array.FixedSizeBinary:
		value = x.Value
	default:
		return nil, fmt.Errorf("it is neither text nor bytes")
	}
	b := array.NewBinaryBuilder(mem, arrow.BinaryTypes.Binary)
	defer b.Release()
	for i := range a.Len() {
		if a.IsNull(i) {
			b.AppendNull()
			continue
		}
		v := value(i)
		if want.ID() == arrow.STRING && !utf8.Valid(v) {
			return nil, fmt.Errorf("row %d is not valid UTF-8", i)
		}
		b.Append(v)
	}
	bin := b.NewArray()
	defer bin.Release()
	d := bin.Data()
	out := array.NewData(want, d.Len(), d.Buffers(), nil, d.NullN(), d.Offset())
	defer out.Release()
	return array.MakeFromData(out), nil
}

// convertNested converts the values below and puts the same offsets and NULLs over them.
func convertNested(ctx context.Context, a arrow.Array, want arrow.DataType, zone *time.Location, mem memory.Allocator) (arrow.Array, error) {
	switch a := a.(type) {
	case *array.Struct:
		st, ok := want.(*arrow.StructType)
		if !ok {
			break
		}
		from := a.DataType().(*arrow.StructType)
		data := make([]arrow.ArrayData, st.NumFields())
		defer releaseData(data)
		for i := range data {
			at, ok := from.FieldIdx(st.Field(i).Name)
			if !ok {
				none := array.MakeArrayOfNull(mem, st.Field(i).Type, a.Len())
				none.Data().Retain()
				data[i] = none.Data()
				none.Release()
				continue
			}
			c, err := convert(ctx, a.Field(at), st.Field(i).Type, zone, mem)
			if err != nil {
				return nil, err
			}
			c.Data().Retain()
			data[i] = c.Data()
			c.Release()
		}
		// Fields come sliced to the struct's own rows, so the bitmap has to be too.
		return rebuild(a, want, data, mem)
	case *array.List, *array.LargeList, *array.FixedSizeList, *array.Map:
		return convertList(ctx, a.(array.ListLike), want, zone, mem)
	}
	return nil, fmt.Errorf("it is %s", a.DataType())
}

func releaseData(ds []arrow.ArrayData) {
	for _, d := range ds {
		if d != nil {
			d.Release()
		}
	}
}

// rebuild makes a struct of converted fields.
func rebuild(a arrow.Array, want arrow.DataType, fields []arrow.ArrayData, mem memory.Allocator) (arrow.Array, error) {
	valid := bitmap(a, mem)
	if valid != nil {
		defer valid.Release()
	}
	d := array.NewData(want, a.Len(), []*memory.Buffer{valid}, fields, a.NullN(), 0)
	defer d.Release()
	return array.MakeFromData(d), nil
}

// bitmap copies the NULLs of an array to start at bit 0; nil for none.
func bitmap(a arrow.Array, mem memory.Allocator) *memory.Buffer {
	if a.NullN() == 0 {
		return nil
	}
	b := memory.NewResizableBuffer(mem)
	b.Resize((a.Len() + 7) / 8)
	clear(b.Bytes())
	for i := range a.Len() {
		if a.IsValid(i) {
			b.Bytes()[i/8] |= 1 << (i % 8)
		}
	}
	return b
}

// convertList makes a list, or a map, with offsets of 32 bits.
func convertList(ctx context.Context, a array.ListLike, want arrow.DataType, zone *time.Location, mem memory.Allocator) (arrow.Array, error) {
	var elem arrow.DataType
	switch t := want.(type) {
	case *arrow.MapType:
		elem = t.Elem()
	case *arrow.ListType:
		elem = t.Elem()
	default:
		return nil, fmt.Errorf("it is %s", a.DataType())
	}
	values, err := convert(ctx, a.ListValues(), elem, zone, mem)
	if err != nil {
		return nil, err
	}
	defer values.Release()
	offsets := memory.NewResizableBuffer(mem)
	defer offsets.Release()
	offsets.Resize((a.Len() + 1) * arrow.Int32SizeBytes)
	at := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	base := int64(0)
	if a.Len() > 0 {
		base, _ = a.ValueOffsets(0)
	}
	at[0] = int32(base)
	for i := range a.Len() {
		from, to := a.ValueOffsets(i)
		if from != int64(at[i]) || to != int64(int32(to)) {
			return nil, fmt.Errorf("row %d: a list from %d to %d", i, from, to)
		}
		at[i+1] = int32(to)
	}
	valid := bitmap(a, mem)
	if valid != nil {
		defer valid.Release()
	}
	d := array.NewData(want, a.Len(), []*memory.Buffer{valid, offsets}, []arrow.ArrayData{values.Data()}, a.NullN(), 0)
	defer d.Release()
	return array.MakeFromData(d), nil
}
