package codecs

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/builders"
	"github.com/sluice-stream/sluice/formats/text"
)

// rawCodec is the text, or the bytes, of one column.
type rawCodec struct{ s Spec }

func openRaw(s Spec) (Codec, error) {
	if s.Schema != nil && s.Schema.NumFields() > 1 {
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
	d := &rawDecoder{Batch: builders.NewBatch(alloc, columns), nulls: c.s.nulls(), lenient: c.s.lenient()}
	for i, f := range columns.Fields() {
		if d.add, err = text.NewAppender(d.Field(i), times, false); err != nil {
			d.Release()
			return nil, batch.UserErrorf("%s: column %q in the format raw: %w", c.s.What, f.Name, err)
		}
	}
	return d, nil
}

type rawDecoder struct {
	builders.Batch
	add            text.Appender // nil: nobody asks
	nulls, lenient bool
}

func (d *rawDecoder) Decode(_ context.Context, b []byte) (int, error) {
	if d.add != nil {
		if err := d.add(b); err != nil {
			if !d.lenient {
				return 0, fmt.Errorf("cannot read %s as %s: %w", text.Quote(b), d.Field(0).Type(), err)
			}
			d.AppendNull()
			if d.nulls {
				return 1, nil
			}
			return 1, fmt.Errorf("cannot read %s as %s: %w", text.Quote(b), d.Field(0).Type(), err)
		}
	}
	d.Appended()
	return 1, nil
}

func (c rawCodec) NewEncoder() (Encoder, error) {
	if c.s.Schema.NumFields() != 1 {
		return nil, batch.UserErrorf("%s: the format raw is for one column, and there is none", c.s.What)
	}
	return rawEncoder(c), nil
}

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
