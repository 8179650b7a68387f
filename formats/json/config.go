package json

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
	"github.com/sluice-stream/sluice/internal/options"
)

var (
	optTime     = options.Option{Key: "json.timestamp-format", Kind: options.Text, Default: "iso", Doc: "How timestamps are written: iso, epoch-seconds, epoch-millis, epoch-micros, epoch-nanos or a pattern such as 'dd/MM/yyyy HH:mm:ss'."}
	optSample   = options.Option{Key: "json.infer-rows", Kind: options.Int, Default: "10000", Doc: "Lines looked at to find the types of undeclared columns; 0 means all."}
	optDate     = options.Option{Key: "json.date-format", Kind: options.Text, Default: "iso", Doc: "How dates are written: iso, or a pattern such as 'dd.MM.yyyy'."}
	optMulti    = options.Option{Key: "json.multiline", Kind: options.Enum, Default: "auto", Values: []string{"auto", "true", "false"}, Doc: "Whether an object may go on over several lines, and a file may be one array of objects; auto looks whether a file starts with an array. Such a file is read in one piece."}
	optCompress = options.Option{Key: "json.compression", Kind: options.Enum, Default: "none", Values: formats.Compressions, Doc: "How a written file is compressed."}
	declared    = []options.Option{optTime, optSample, optDate, optMulti, optCompress}
)

type config struct {
	times   text.TimeFormat
	badNull bool
	note    bool // the first value that cannot be read is noted, and the row is bad
}

func newConfig(c formats.Config) (config, error) {
	times, err := text.NewTimeFormat(c.Options.Get(optTime), c.Zone)
	if err != nil {
		return config{}, batch.UserErrorf("option 'json.timestamp-format': %w", err)
	}
	if times, err = times.WithDates(c.Options.Get(optDate)); err != nil {
		return config{}, batch.UserErrorf("option 'json.date-format': %w", err)
	}
	aside := formats.Quarantines(c)
	return config{times: times, badNull: aside || c.Options.Get(formats.BadRows) == "null", note: aside}, nil
}

// New returns the format for a registry.
func New() formats.Format {
	return formats.Format{
		Name: "json", Doc: "JSON lines, plain or compressed as a whole.", Extensions: []string{".json", ".jsonl", ".ndjson"},
		Options: declared, Plain: true, Changes: formats.OpColumn,
		Infer: func(ctx context.Context, f formats.File, c formats.Config) (*arrow.Schema, error) {
			return infer(ctx, f, c)
		},
		Cut: func(_ context.Context, f formats.File, c formats.Config) ([]formats.Piece, error) {
			many, err := multiline(f, c)
			if err != nil || many {
				return []formats.Piece{{To: f.Size, Bytes: f.Size}}, err
			}
			return formats.CutLines(f, formats.CutBytes)
		},
		NewReader: newReader,
		NewWriter: newWriter,
	}
}
