package formats

import (
	"context"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
)

// Target numbers of rows and bytes of a batch that a reader returns.
const (
	BatchRows  = 8 << 10
	BatchBytes = 8 << 20
)

// File is something to read at any place. Name is for errors and for the
// compression that its extension tells.
type File struct {
	io.ReaderAt
	Name    string
	Size    int64
	Version int64 // another one when the bytes are others, such as a time of change; 0 is unknown
}

// Piece is a part of a file that can be read alone: row groups of Parquet,
// bytes of text cut at line ends. The zero Piece is not the whole file: ask Cut.
type Piece struct {
	From  int64 `json:"from"`
	To    int64 `json:"to"`
	Rows  int64 `json:"rows,omitempty"`
	Bytes int64 `json:"bytes,omitempty"`
}

// Config is what a table says of its format.
type Config struct {
	Options  options.Map
	Zone     *time.Location // for timestamps written without a zone; nil is UTC
	Inferred bool           // the columns are those of all files together: what one of them lacks is NULL
}

// NullMissing says whether a column that a file lacks is NULL or an error, by the
// format's own option where it is set.
func (c Config) NullMissing(o options.Option) bool {
	if v, set := c.Options[o.Key]; set {
		return v == "null"
	}
	return c.Inferred
}

// ReadSpec says what to return of a piece.
type ReadSpec struct {
	Config
	Schema  *arrow.Schema // the columns wanted, by name, in order; types as declared
	File    *arrow.Schema // all declared columns of the file in order, for formats that go by position
	Alloc   memory.Allocator
	MaxRows int // rows of a batch at most; 0 means BatchRows
	// Meta are the columns of Schema that come from what an Envelope says besides the
	// row, by position: the key of each.
	Meta map[int]string
}

// Reader returns batches until io.EOF. The caller owns them.
type Reader interface {
	Next(ctx context.Context) (arrow.RecordBatch, error)
	Close() error
}

// Writer writes batches of one schema to a stream. Close writes what ends the
// file; it does not close the stream.
type Writer interface {
	Write(rec arrow.RecordBatch) error // borrows rec
	// Size estimates the bytes written so far, with what is still in memory.
	Size() int64
	Close() error
}

// Format is one entry of the registry.
type Format struct {
	Name       string
	Doc        string
	Extensions []string         // with the dot, first the one that writers use
	Options    []options.Option // keys carry the format's name, e.g. "csv.header"
	Plain      bool             // a text stream that may be compressed as a whole
	Changes    Changes          // how its rows may carry a kind of change
	// Meta are the metadata columns that records of an Envelope have, by key.
	Meta map[string]arrow.DataType
	// Infer returns the schema that the bytes have. A column that has no value is of
	// type null: another file may know better.
	Infer func(ctx context.Context, f File, c Config) (*arrow.Schema, error)
	// Cut returns the pieces of a file in order, near target rows or bytes each.
	Cut func(ctx context.Context, f File, c Config) ([]Piece, error)
	// Stats tells what a file holds without reading its rows; nil for formats whose
	// files do not say.
	Stats func(ctx context.Context, f File, c Config) (Stats, error)
	// NewReader reads one piece.
	NewReader func(ctx context.Context, f File, p Piece, s ReadSpec) (Reader, error)
	// NewWriter starts a file. alloc is for what is buffered.
	NewWriter func(w io.Writer, schema *arrow.Schema, c Config, alloc memory.Allocator) (Writer, error)
}

// Registry holds the formats by name.
type Registry struct{ all []Format }

// NewRegistry makes a registry of the given formats.
func NewRegistry(all ...Format) *Registry { return &Registry{all: all} }

// Names lists the formats in the order of registration.
func (r *Registry) Names() []string {
	names := make([]string, len(r.all))
	for i, f := range r.all {
		names[i] = f.Name
	}
	return names
}

// Options lists the options of all formats.
func (r *Registry) Options() []options.Option {
	var all []options.Option
	for _, f := range r.all {
		all = append(all, f.Options...)
	}
	return all
}

// Lookup returns the format of that name, or an error with the nearest name.
func (r *Registry) Lookup(name string) (Format, error) {
	i := slices.IndexFunc(r.all, func(f Format) bool { return f.Name == strings.ToLower(name) })
	if i < 0 {
		return Format{}, batch.UserErrorf("unknown format %q%s: want one of %s", name,
			options.Suggest(name, r.Names()), strings.Join(r.Names(), ", "))
	}
	return r.all[i], nil
}

// ByExtension returns the format that a file's name tells, behind the
// extension of a compression if there is one.
func (r *Registry) ByExtension(name string) (Format, bool) {
	base := strings.ToLower(path.Base(strings.ReplaceAll(name, "\\", "/")))
	if CompressionOf(base) != NoCompression {
		base = strings.TrimSuffix(base, path.Ext(base))
	}
	ext := path.Ext(base)
	for _, f := range r.all {
		if ext != "" && slices.Contains(f.Extensions, ext) {
			return f, true
		}
	}
	return Format{}, false
}
