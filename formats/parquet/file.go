package parquet

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

// Row groups are put together to pieces of about this size.
const (
	pieceRows  = 512 << 10
	pieceBytes = 64 << 20
)

// Caps on a page, against bombs. A page is at most as long as its file; unpacked it may
// not exceed a ratio to the file, nor what any writer makes.
const (
	maxPagePlain  = 256 << 20
	freePagePlain = 16 << 20
	maxPageRatio  = 1024
	readAhead     = 256 << 10
)

// File is an open Parquet file: its footer, parsed and checked.
type File struct {
	name string
	in   formats.File
	r    *file.Reader
	root []*node
}

// Open reads and checks the footer.
func Open(f formats.File) (_ *File, err error) {
	defer catch(&err, "read the footer of Parquet file %q", f.Name)
	if err := checkFooter(f); err != nil {
		return nil, batch.UserErrorf("read the footer of Parquet file %q: %w", f.Name, err)
	}
	r, err := file.NewParquetReader(io.NewSectionReader(f, 0, f.Size), file.WithReadProps(readProps(f)))
	if err != nil {
		return nil, batch.UserErrorf("read the footer of Parquet file %q: %w", f.Name, err)
	}
	fl := &File{name: f.Name, in: f, r: r}
	if fl.root, err = buildTree(r.MetaData().Schema); err != nil {
		return nil, batch.UserErrorf("read the schema of Parquet file %q: %w", f.Name, err)
	}
	if err := fl.checkGroups(); err != nil {
		return nil, batch.UserErrorf("read the footer of Parquet file %q: %w", f.Name, err)
	}
	return fl, nil
}

// checkGroups compares what the footer says of the row groups with the file's size.
func (f *File) checkGroups() error {
	leaves := f.r.MetaData().Schema.NumColumns()
	for g := range f.r.NumRowGroups() {
		md := f.r.MetaData().RowGroup(g)
		if md.NumRows() < 0 || md.NumColumns() != leaves {
			return fmt.Errorf("row group %d: %w: %d rows, %d of %d columns", g, errFooter, md.NumRows(), md.NumColumns(), leaves)
		}
		for c := range leaves {
			col, err := md.ColumnChunk(c)
			if err != nil {
				return fmt.Errorf("row group %d: column %d: %w", g, c, err)
			}
			start := col.DataPageOffset()
			if col.HasDictionaryPage() && col.DictionaryPageOffset() > 0 {
				start = min(start, col.DictionaryPageOffset())
			}
			size := col.TotalCompressedSize()
			if start < 0 || size < 0 || start > f.in.Size || size > f.in.Size-start || col.NumValues() < 0 {
				return fmt.Errorf("row group %d: column %q: %w: %d bytes at %d of a file of %d",
					g, f.r.MetaData().Schema.Column(c).Path(), errFooter, size, start, f.in.Size)
			}
			if d := f.r.MetaData().Schema.Column(c); d.MaxRepetitionLevel() == 0 && col.NumValues() != md.NumRows() {
				return fmt.Errorf("row group %d: column %q: %w: %d values for %d rows", g, d.Path(), errFooter, col.NumValues(), md.NumRows())
			}
		}
	}
	return nil
}

// Schema returns the file's columns in the engine's types.
func (f *File) Schema() *arrow.Schema {
	fields := make([]arrow.Field, len(f.root))
	for i, n := range f.root {
		fields[i] = n.field()
	}
	return arrow.NewSchema(fields, nil)
}

// NumRows returns the number of rows that the footer declares.
func (f *File) NumRows() int64 { return f.r.NumRows() }

// Pieces groups adjacent row groups until they are near pieceRows or pieceBytes.
func (f *File) Pieces() []formats.Piece {
	var out []formats.Piece
	for g := range f.r.NumRowGroups() {
		md := f.r.MetaData().RowGroup(g)
		rows, bytes := md.NumRows(), md.TotalByteSize()
		if n := len(out); n > 0 && out[n-1].Rows+rows <= pieceRows && out[n-1].Bytes+bytes <= pieceBytes {
			out[n-1].To, out[n-1].Rows, out[n-1].Bytes = int64(g+1), out[n-1].Rows+rows, out[n-1].Bytes+bytes
			continue
		}
		out = append(out, formats.Piece{From: int64(g), To: int64(g + 1), Rows: rows, Bytes: bytes})
	}
	return out
}

// catch turns a panic of the library on damaged bytes into an error (Q1). The
// caller names what was being done to which file.
func catch(err *error, format string, args ...any) {
	if r := recover(); r != nil {
		*err = batch.UserErrorf("%s: the bytes are damaged: %v%s", fmt.Sprintf(format, args...), r, where())
	}
}

// showPanics makes damaged-bytes errors carry the stack; tests switch it on.
var showPanics = false

func where() string {
	if showPanics {
		return "\n" + string(debug.Stack())
	}
	return ""
}

// New returns the format for a registry.
func New() formats.Format {
	kept := &footers{}
	return formats.Format{
		Name: "parquet", Doc: "Apache Parquet files.", Extensions: []string{".parquet", ".parq", ".pq"},
		Options: declared,
		Infer: func(_ context.Context, f formats.File, _ formats.Config) (*arrow.Schema, error) {
			fl, err := kept.open(f)
			if err != nil {
				return nil, err
			}
			return fl.Schema(), nil
		},
		Cut: func(_ context.Context, f formats.File, _ formats.Config) ([]formats.Piece, error) {
			fl, err := kept.open(f)
			if err != nil {
				return nil, err
			}
			return fl.Pieces(), nil
		},
		Stats: func(_ context.Context, f formats.File, _ formats.Config) (formats.Stats, error) {
			fl, err := kept.open(f)
			if err != nil {
				return formats.Stats{}, err
			}
			return fl.Estimate()
		},
		NewReader: func(_ context.Context, f formats.File, p formats.Piece, s formats.ReadSpec) (formats.Reader, error) {
			fl, err := kept.open(f)
			if err != nil {
				return nil, err
			}
			return fl.NewReader(p, s)
		},
		NewWriter: newWriter,
	}
}
