package csv

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
)

// infer finds the narrowest types for the sampled records, in Spark's order:
// INT, BIGINT, DOUBLE, DATE, TIMESTAMP, BOOLEAN, STRING.
func infer(ctx context.Context, f formats.File, fc formats.Config) (_ *arrow.Schema, err error) {
	c, err := configFor(f, fc)
	if err != nil {
		return nil, err
	}
	rows, in, err := open(f, 0, f.Size, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	place := func(err error) error {
		if k, _ := batch.KindOf(err); k != batch.Internal {
			return err
		}
		return formats.TextError(f, rows.line, ": %v", err)
	}
	var names []string
	if c.header {
		if names, err = header(rows); err != nil {
			return nil, place(err)
		}
	}
	var types []arrow.DataType
	most := fc.Options.Int(optSample)
	for n := int64(0); most == 0 || n < most; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		ok, err := rows.step()
		if err != nil {
			return nil, place(err)
		}
		if !ok {
			break
		}
		if rows.comment() || rows.blank() && len(names) != 1 {
			continue
		}
		for i, fl := range rows.fields {
			if i == len(types) {
				types = append(types, arrow.Null)
			}
			types[i] = widen(types[i], rows, fl, c)
		}
	}
	return schemaOf(f, names, types)
}

func schemaOf(f formats.File, names []string, types []arrow.DataType) (*arrow.Schema, error) {
	if names == nil {
		for i := range types {
			names = append(names, fmt.Sprintf("_c%d", i)) // Spark's names
		}
	}
	if len(names) == 0 {
		return nil, batch.UserErrorf("file %q is empty: declare the table's columns", f.Name)
	}
	fields := make([]arrow.Field, len(names))
	seen := map[string]bool{}
	for i, n := range names {
		t := arrow.DataType(arrow.Null)
		if i < len(types) {
			t = types[i]
		}
		if seen[n] {
			return nil, batch.UserErrorf("file %q: the header has the column %q twice: declare the table's columns and set 'csv.header' = 'false'", f.Name, n)
		}
		seen[n] = true
		fields[i] = arrow.Field{Name: n, Type: t, Nullable: true}
	}
	return arrow.NewSchema(fields, nil), nil
}

// widen returns the narrowest type for what was seen and one more field.
func widen(t arrow.DataType, rows *records, fl field, c config) arrow.DataType {
	if t.ID() == arrow.STRING || rows.isNull(fl) {
		return t
	}
	v := rows.value(fl)
	return formats.MergeType(t, typeOf(v, c))
}

func typeOf(v []byte, c config) arrow.DataType {
	if n, err := text.ParseInt(v); err == nil {
		if int64(int32(n)) == n {
			return arrow.PrimitiveTypes.Int32
		}
		return arrow.PrimitiveTypes.Int64
	}
	if _, err := text.ParseFloat(v, 64); err == nil {
		return arrow.PrimitiveTypes.Float64
	}
	if _, err := c.times.Date(v); err == nil {
		return arrow.FixedWidthTypes.Date32
	}
	if !c.times.Epoch() {
		if _, err := c.times.Parse(v, false); err == nil {
			return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
		}
	}
	if _, err := text.ParseBool(v); err == nil {
		return arrow.FixedWidthTypes.Boolean
	}
	return arrow.BinaryTypes.String
}
