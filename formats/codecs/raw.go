package codecs

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/text"
)

// rawCodec is the text, or the bytes, of one column.
type rawCodec struct{ s Spec }

func openRaw(s Spec) (Codec, error) {
	if s.Schema != nil && s.Schema.NumFields() != 1 {
		return nil, batch.UserErrorf("%s: the format raw is for one column, not for %d", s.What, s.Schema.NumFields())
	}
	return rawCodec{s}, nil
}

func (c rawCodec) Infer(context.Context) (*arrow.Schema, error) { return nil, c.s.noColumns() }

func (c rawCodec) NewDecoder(columns *arrow.Schema, alloc memory.Allocator) (Decoder, error) {
	times, err := text.NewTimeFormat("iso", c.s.Zone)
	if err != nil {
		return nil, err
	}
	d := &rawDecoder{b: array.NewRecordBuilder(alloc, columns), nulls: c.s.nulls(), lenient: c.s.lenient()}
	for i, f := range columns.Fields() {
		if d.add, err = text.NewAppender(d.b.Field(i), times, false); err != nil {
			d.b.Release()
			return nil, batch.UserErrorf("%s: column %q in the format raw: %w", c.s.What, f.Name, err)
		}
	}
	return d, nil
}

type rawDecoder struct {
	b              *array.RecordBuilder
	add            text.Appender // nil: nobody asks
	rows           int
	nulls, lenient bool
}

func (d *rawDecoder) Decode(_ context.Context, b []byte) (int, error) {
	if d.add != nil {
		if err := d.add(b); err != nil {
			if !d.lenient {
				return 0, fmt.Errorf("cannot read %s as %s: %w", text.Quote(b), d.b.Field(0).Type(), err)
			}
			d.AppendNull()
			if d.nulls {
				return 1, nil
			}
			return 1, fmt.Errorf("cannot read %s as %s: %w", text.Quote(b), d.b.Field(0).Type(), err)
		}
	}
	d.rows++
	return 1, nil
}

func (d *rawDecoder) AppendNull() {
	if d.add != nil {
		d.b.Field(0).AppendNull()
	}
	d.rows++
}

func (d *rawDecoder) Rows() int { return d.rows }

func (d *rawDecoder) Flush() arrow.RecordBatch {
	n := int64(d.rows)
	d.rows = 0
	if d.add == nil {
		return array.NewRecordBatch(d.b.Schema(), nil, n)
	}
	return d.b.NewRecordBatch()
}

func (d *rawDecoder) Release() { d.b.Release() }

func (c rawCodec) NewEncoder() (Encoder, error) { return rawEncoder(c), nil }

type rawEncoder struct{ s Spec }

func (e rawEncoder) Bind(_ context.Context, rec arrow.RecordBatch) (Append, error) {
	a := rec.Column(0)
	f, err := text.NewFormatter(a, false)
	if err != nil {
		return nil, batch.UserErrorf("%s: %w", e.s.What, err)
	}
	return func(dst []byte, i int) ([]byte, error) {
		if a.IsNull(i) {
			return dst, nil
		}
		return f(dst, i), nil
	}, nil
}
