package file

import (
	"context"
	"errors"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
)

// inferFiles is how many files of a text format are looked at for its types.
const inferFiles = 8

// infer returns the declared columns, or finds those of the files: of the
// first Parquet file, or merged over the first text files, and of the
// key=value directories.
func (t *table) infer(ctx context.Context) (*arrow.Schema, error) {
	if t.spec.Schema != nil && t.spec.Schema.NumFields() > len(t.spec.Meta) {
		return t.spec.Schema, nil
	}
	es, err := t.list(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	if len(es) == 0 {
		return nil, t.userError("there is no file at %q yet to take columns from: declare the table's columns", t.path)
	}
	var fields []arrow.Field
	for i, e := range es {
		format, err := t.formatOf(e.Path)
		if err != nil {
			return nil, err
		}
		if i > 0 && (!format.Plain || i >= inferFiles) {
			break
		}
		if e.Size == 0 && i+1 < len(es) {
			continue
		}
		s, err := t.inferFile(ctx, format, e)
		if err != nil {
			return nil, err
		}
		fields = formats.MergeFields(fields, s.Fields())
	}
	fields = t.partitionFields(fields, es)
	if t.spec.Schema != nil {
		// Metadata columns alone were declared. They stay in front: Spec.Meta has their places.
		fields = append(append([]arrow.Field{}, t.spec.Schema.Fields()...), fields...)
	}
	return arrow.NewSchema(fields, nil), nil
}

func (t *table) inferFile(ctx context.Context, format formats.Format, e entry) (s *arrow.Schema, err error) {
	f, err := openEntry(e)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return format.Infer(ctx, asFile(f, e), t.config)
}

// partitionFields adds the columns that the directories name: INT, BIGINT,
// DATE or STRING, whichever holds the values of all files.
func (t *table) partitionFields(fields []arrow.Field, es []entry) []arrow.Field {
	var found []arrow.Field
	for _, e := range es {
		keys, values := t.partitionsOf(e.Path)
		for i, k := range keys {
			found = formats.MergeFields(found, []arrow.Field{{Name: k, Type: typeOfValue(values[i]), Nullable: true}})
		}
	}
	have := map[string]bool{}
	for _, f := range fields {
		have[f.Name] = true
	}
	for _, f := range found {
		if !have[f.Name] {
			f.Type = formats.Settle(f.Type)
			fields = append(fields, f)
		}
	}
	return fields
}

func typeOfValue(v string) arrow.DataType {
	if v == hiveNull {
		return arrow.Null
	}
	if n, err := text.ParseInt([]byte(v)); err == nil {
		if int64(int32(n)) == n {
			return arrow.PrimitiveTypes.Int32
		}
		return arrow.PrimitiveTypes.Int64
	}
	if _, err := text.ParseDate([]byte(v)); err == nil {
		return arrow.FixedWidthTypes.Date32
	}
	return arrow.BinaryTypes.String
}
