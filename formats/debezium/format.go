package debezium

import (
	"context"
	"maps"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/internal/options"
)

// Name is the format's name.
const Name = "debezium-json"

// Changelog is the option of a table that says whether it is one of upserts.
const Changelog = "changelog"

var (
	optSchema   = options.Option{Key: Name + ".schema-include", Kind: options.Enum, Default: "auto", Values: []string{"auto", "true", "false"}, Doc: "Whether an event stands in a wrapper with its schema, as 'payload'; auto looks at each."}
	optIgnore   = options.Option{Key: Name + ".ignore-parse-errors", Kind: options.Boolean, Default: "false", Doc: "Whether to go on behind an event that cannot be read: it is put aside, as with 'bad-rows' = 'quarantine', which is what true means."}
	optTime     = options.Option{Key: Name + ".timestamp-format", Kind: options.Text, Default: "iso", Doc: "How timestamps are written: iso, epoch-seconds, epoch-millis, epoch-micros, epoch-nanos or a pattern such as 'dd/MM/yyyy HH:mm:ss'."}
	optDate     = options.Option{Key: Name + ".date-format", Kind: options.Text, Default: "iso", Doc: "How dates are written: iso, or a pattern such as 'dd.MM.yyyy'."}
	optCompress = options.Option{Key: Name + ".compression", Kind: options.Enum, Default: "none", Values: formats.Compressions, Doc: "How a written file is compressed."}
	declared    = []options.Option{optSchema, optIgnore, optTime, optDate, optCompress}
)

// Ignores reports whether a table's options ask to go on behind what cannot be read.
func Ignores(o map[string]string) bool { return options.Map(o).Bool(optIgnore) }

// Meta are the metadata columns of an event, by key.
var Meta = map[string]arrow.DataType{
	"value.schema":              arrow.BinaryTypes.String,
	"value.ingestion-timestamp": instant,
	"value.source.timestamp":    instant,
	"value.source.database":     arrow.BinaryTypes.String,
	"value.source.schema":       arrow.BinaryTypes.String,
	"value.source.table":        arrow.BinaryTypes.String,
	"value.source.properties":   arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String),
}

var instant = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}

// New returns the format for a registry.
func New() formats.Format {
	return formats.Format{
		Name: Name, Doc: "Changes of a table as Debezium writes them in JSON, an event a line.", Extensions: []string{".json"},
		Options: declared, Plain: true, Changes: formats.Envelope, Meta: Meta,
		Infer: func(context.Context, formats.File, formats.Config) (*arrow.Schema, error) {
			return nil, batch.UserErrorf("the columns of a table with 'format' = '%s' are not looked for in its files: declare them", Name)
		},
		Cut: func(_ context.Context, f formats.File, _ formats.Config) ([]formats.Piece, error) {
			return formats.CutLines(f, formats.CutBytes)
		},
		NewReader: func(_ context.Context, f formats.File, p formats.Piece, s formats.ReadSpec) (formats.Reader, error) {
			d, err := NewDecoder(s)
			if err != nil {
				return nil, err
			}
			s.Config = rowConfig(s.Config)
			return json.NewLineReader(f, p, s, d)
		},
		NewWriter: newWriter,
	}
}

// rowConfig is the config of the rows inside of an event, which are JSON.
func rowConfig(c formats.Config) formats.Config {
	o := maps.Clone(c.Options)
	if o == nil {
		o = options.Map{}
	}
	o["json.timestamp-format"], o["json.date-format"] = c.Options.Get(optTime), c.Options.Get(optDate)
	o["json.multiline"], o["json.compression"] = "false", c.Options.Get(optCompress)
	c.Options = o
	return c
}
