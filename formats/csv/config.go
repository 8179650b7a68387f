package csv

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
	"github.com/sluice-stream/sluice/internal/options"
)

var (
	optHeader    = options.Option{Key: "csv.header", Kind: options.Boolean, Default: "true", Doc: "Whether the first record holds the columns' names; without it columns go by position."}
	optDelimiter = options.Option{Key: "csv.delimiter", Kind: options.Text, Default: ",", Doc: "The character between fields; \\t is a tab."}
	optQuote     = options.Option{Key: "csv.quote", Kind: options.Text, Default: `"`, Doc: "The character around quoted fields; empty for none."}
	optEscape    = options.Option{Key: "csv.escape", Kind: options.Text, Default: `"`, Doc: "The character before a quote inside a quoted field; the quote itself means that it is doubled."}
	optNull      = options.Option{Key: "csv.null-value", Kind: options.Text, Doc: "The unquoted text that means NULL."}
	optComment   = options.Option{Key: "csv.comment", Kind: options.Text, Doc: "The character that starts a line to be skipped; none if empty."}
	optTime      = options.Option{Key: "csv.timestamp-format", Kind: options.Text, Default: "iso", Doc: "How timestamps are written: iso, epoch-seconds, epoch-millis, epoch-micros, epoch-nanos or a pattern such as 'dd/MM/yyyy HH:mm:ss'."}
	optTrim      = options.Option{Key: "csv.trim", Kind: options.Boolean, Default: "false", Doc: "Whether blanks around unquoted fields are left out."}
	optMultiline = options.Option{Key: "csv.multiline", Kind: options.Boolean, Default: "true", Doc: "Whether quoted fields may hold line ends; false lets large files be read in parallel that have quotes; those without are so anyhow."}
	optSample    = options.Option{Key: "csv.infer-rows", Kind: options.Int, Default: "10000", Doc: "Records looked at to find the types of undeclared columns; 0 means all."}
	optDate      = options.Option{Key: "csv.date-format", Kind: options.Text, Default: "iso", Doc: "How dates are written: iso, or a pattern such as 'dd.MM.yyyy'."}
	optRagged    = options.Option{Key: "csv.ragged-rows", Kind: options.Enum, Default: "fail", Values: []string{"fail", "pad"}, Doc: "What to do with a record of more or fewer fields: stop with an error that names it, or read NULL for what is missing and leave out what is too much."}
	optMissing   = options.Option{Key: "csv.missing-columns", Kind: options.Enum, Default: "fail", Values: []string{"fail", "null"}, Doc: "What a declared column reads as that a file's header does not name."}
	optCompress  = options.Option{Key: "csv.compression", Kind: options.Enum, Default: "none", Values: formats.Compressions, Doc: "How a written file is compressed."}
	declared     = []options.Option{optHeader, optDelimiter, optQuote, optEscape, optNull, optComment, optTime, optTrim, optMultiline, optSample, optDate, optRagged, optMissing, optCompress}
)

// config is the options, checked.
type config struct {
	header, trim, multiline bool
	delim, quote, escape    byte
	comment                 byte
	hasQuote, hasComment    bool
	null                    string
	ends                    text.Finder // of an unquoted field
	times                   text.TimeFormat
	badNull, pad            bool
}

// configFor is newConfig with what a file's name tells: .tsv has tabs.
func configFor(f formats.File, c formats.Config) (config, error) {
	name := strings.ToLower(f.Name)
	name = strings.TrimSuffix(name, formats.CompressionOf(name).Extension())
	if _, set := c.Options[optDelimiter.Key]; !set && strings.HasSuffix(name, ".tsv") {
		c.Options = maps.Clone(c.Options)
		if c.Options == nil {
			c.Options = options.Map{}
		}
		c.Options[optDelimiter.Key] = "\t"
	}
	return newConfig(c)
}

func newConfig(c formats.Config) (config, error) {
	o := config{header: c.Options.Bool(optHeader), trim: c.Options.Bool(optTrim), multiline: c.Options.Bool(optMultiline),
		null: c.Options.Get(optNull), badNull: c.Options.Get(formats.BadRows) == "null", pad: c.Options.Get(optRagged) == "pad"}
	one := func(opt options.Option, b *byte, empty bool) error {
		v := c.Options.Get(opt)
		if v == `\t` {
			v = "\t"
		}
		if len(v) == 1 && v[0] != '\n' && v[0] != '\r' {
			*b = v[0]
			return nil
		}
		if v == "" && empty {
			return nil
		}
		return batch.UserErrorf("option '%s' = '%s': want one character of one byte", opt.Key, v)
	}
	for _, err := range []error{one(optDelimiter, &o.delim, false), one(optQuote, &o.quote, true), one(optEscape, &o.escape, true), one(optComment, &o.comment, true)} {
		if err != nil {
			return config{}, err
		}
	}
	o.ends = text.NewFinder(o.delim, '\n')
	o.hasQuote, o.hasComment = o.quote != 0, o.comment != 0
	if o.escape == 0 {
		o.escape = o.quote
	}
	if o.hasQuote && o.quote == o.delim {
		return config{}, batch.UserErrorf("options 'csv.quote' and 'csv.delimiter' are the same character")
	}
	var err error
	if o.times, err = text.NewTimeFormat(c.Options.Get(optTime), c.Zone); err != nil {
		return config{}, batch.UserErrorf("option 'csv.timestamp-format': %w", err)
	}
	if o.times, err = o.times.WithDates(c.Options.Get(optDate)); err != nil {
		return config{}, batch.UserErrorf("option 'csv.date-format': %w", err)
	}
	return o, nil
}

// New returns the format for a registry.
func New() formats.Format {
	return formats.Format{
		Name: "csv", Doc: "Comma-separated values, plain or compressed as a whole.", Extensions: []string{".csv", ".tsv", ".txt"},
		Options: declared, Plain: true, Changes: formats.OpColumn,
		Infer: func(ctx context.Context, f formats.File, c formats.Config) (*arrow.Schema, error) {
			return infer(ctx, f, c)
		},
		Cut: func(_ context.Context, f formats.File, c formats.Config) ([]formats.Piece, error) {
			return cut(f, c, formats.CutBytes)
		},
		NewReader: newReader,
		NewWriter: newWriter,
	}
}

// cut divides a plain file at line ends. Where a quoted field may hold one, that is
// right if the file has no quote at all: looking for one is ten times as fast as
// reading, and ends at the first.
func cut(f formats.File, c formats.Config, size int64) ([]formats.Piece, error) {
	whole := []formats.Piece{{To: f.Size, Bytes: f.Size}}
	if !c.Options.Bool(optMultiline) {
		return formats.CutLines(f, size)
	}
	if formats.CompressionOf(f.Name) != formats.NoCompression || f.Size <= size+size/2 {
		return whole, nil
	}
	if quote := c.Options.Get(optQuote); len(quote) == 1 {
		quoted, err := holds(f, quote[0])
		if quoted || err != nil {
			return whole, err
		}
	} else if quote != "" {
		return whole, nil // the reader says what is wrong with it
	}
	return formats.CutLines(f, size)
}

// holds looks for a byte in a file.
func holds(f formats.File, c byte) (bool, error) {
	buf := make([]byte, window)
	for at := int64(0); at < f.Size; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), f.Size-at)], at)
		if bytes.IndexByte(buf[:n], c) >= 0 {
			return true, nil
		}
		if n == 0 {
			return false, batch.ExternalError(fmt.Errorf("look for quotes in %q: %w", f.Name, err), true)
		}
		at += int64(n)
	}
	return false, nil
}
