package codecs

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/csv"
	"github.com/sluice-stream/sluice/formats/json"
)

// noColumns says of a format that nobody knows the columns of.
func (s Spec) noColumns() error {
	return batch.UserErrorf("%s: the columns are not looked for in its messages: declare them", s.What)
}

// jsonCodec is objects, one a message.
type jsonCodec struct{ s Spec }

func openJSON(s Spec) (Codec, error) { return jsonCodec{s}, nil }

func (c jsonCodec) Infer(context.Context) (*arrow.Schema, error) { return nil, c.s.noColumns() }

func (c jsonCodec) NewDecoder(columns *arrow.Schema, alloc memory.Allocator) (Decoder, error) {
	d, err := json.NewDecoder(columns, c.s.Config, alloc)
	if err != nil {
		return nil, err
	}
	return jsonDecoder{d}, nil
}

type jsonDecoder struct{ *json.Decoder }

func (d jsonDecoder) Decode(_ context.Context, b []byte) (int, error) { return d.Decoder.Decode(b) }

func (c jsonCodec) NewEncoder() (Encoder, error) {
	return jsonEncoder{json.NewEncoder(c.s.Schema)}, nil
}

type jsonEncoder struct{ e *json.Encoder }

func (e jsonEncoder) Bind(_ context.Context, rec arrow.RecordBatch) (Append, error) {
	return never(e.e.Columns(rec))
}

// never makes an Append of what never fails.
func never(row func([]byte, int) []byte, err error) (Append, error) {
	return func(dst []byte, i int) ([]byte, error) { return row(dst, i), nil }, err
}

// csvCodec is records, one a message.
type csvCodec struct{ s Spec }

func openCSV(s Spec) (Codec, error) {
	if s.Schema == nil {
		return csvCodec{s}, nil
	}
	_, err := csv.NewEncoder(arrow.NewSchema(nil, nil), s.Config) // checks the options
	return csvCodec{s}, err
}

func (c csvCodec) Infer(context.Context) (*arrow.Schema, error) { return nil, c.s.noColumns() }

func (c csvCodec) NewDecoder(columns *arrow.Schema, alloc memory.Allocator) (Decoder, error) {
	d, err := csv.NewDecoder(formats.ReadSpec{Config: c.s.Config, Schema: columns, File: c.s.Schema, Alloc: alloc})
	if err != nil {
		return nil, err
	}
	return csvDecoder{d}, nil
}

type csvDecoder struct{ *csv.Decoder }

func (d csvDecoder) Decode(_ context.Context, b []byte) (int, error) { return d.Decoder.Decode(b) }

func (c csvCodec) NewEncoder() (Encoder, error) {
	e, err := csv.NewEncoder(c.s.Schema, c.s.Config)
	return csvEncoder{e}, err
}

type csvEncoder struct{ e *csv.Encoder }

func (e csvEncoder) Bind(_ context.Context, rec arrow.RecordBatch) (Append, error) {
	return never(e.e.Columns(rec))
}
