package json

import (
	"bytes"
	"context"
	"errors"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
)

// infer merges the types of the sampled lines: whole numbers are BIGINT, other
// numbers DOUBLE, strings stay strings, as in Spark.
func infer(ctx context.Context, f formats.File, c formats.Config) (_ *arrow.Schema, err error) {
	in, err := formats.Decompress(f, 0, f.Size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r := reader{f: f, lines: lines{w: formats.NewWindow(in, window)}}
	if r.lines.values, err = multiline(f, c); err != nil {
		return nil, err
	}
	var all arrow.DataType = arrow.Null
	most := c.Options.Int(optSample)
	for n := int64(0); most == 0 || n < most; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		line, err := r.lines.next()
		if err != nil {
			return nil, r.fail(err)
		}
		if line == nil {
			break
		}
		s := scanner{b: line}
		s.blank()
		if s.pos == len(line) || line[s.pos] != '{' {
			return nil, r.fail(&SyntaxError{Column: s.pos + 1, Err: errObject})
		}
		from := s.pos
		if err := s.object(1, nil); err != nil {
			return nil, r.fail(&SyntaxError{Column: s.pos + 1, Err: err})
		}
		if s.blank(); s.pos < len(line) {
			return nil, r.fail(&SyntaxError{Column: s.pos + 1, Err: errTrail})
		}
		all = formats.MergeType(all, typeOf(line, from))
	}
	st, ok := all.(*arrow.StructType)
	if !ok || st.NumFields() == 0 {
		return nil, batch.UserErrorf("file %q has no fields to take columns from: declare the table's columns", f.Name)
	}
	return arrow.NewSchema(st.Fields(), nil), nil
}

// typeOf tells the type of the checked value that starts at from.
func typeOf(b []byte, from int) arrow.DataType {
	s := scanner{b: b, pos: from}
	switch c := b[from]; c {
	case '{':
		var fields []arrow.Field
		at := map[string]int{}
		_ = s.object(1, func(k span, v found) { // checked before
			name := string(unquote(nil, b[k.from:k.to]))
			f := arrow.Field{Name: name, Type: typeOf(b[:v.to], v.from), Nullable: true}
			if i, ok := at[name]; ok {
				fields[i].Type = formats.MergeType(fields[i].Type, f.Type)
				return
			}
			at[name] = len(fields)
			fields = append(fields, f)
		})
		if len(fields) == 0 {
			return arrow.Null
		}
		return arrow.StructOf(fields...)
	case '[':
		var elem arrow.DataType = arrow.Null
		_ = s.array(1, func(v found) { elem = formats.MergeType(elem, typeOf(b[:v.to], v.from)) }) // checked before
		return arrow.ListOf(elem)
	case '"':
		return arrow.BinaryTypes.String
	case 't', 'f':
		return arrow.FixedWidthTypes.Boolean
	case 'n':
		return arrow.Null
	}
	if !bytes.ContainsAny(b[from:], ".eE") {
		if _, err := text.ParseInt(b[from:]); err == nil {
			return arrow.PrimitiveTypes.Int64
		}
	}
	return arrow.PrimitiveTypes.Float64
}
