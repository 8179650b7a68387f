package arrowipc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

var (
	optCompress = options.Option{Key: "arrow.compression", Kind: options.Enum, Default: "none", Values: []string{"none", "lz4", "zstd"}, Doc: "How the buffers of a written file are compressed."}
	optLayout   = options.Option{Key: "arrow.layout", Kind: options.Enum, Default: "file", Values: []string{"file", "stream"}, Doc: "Whether a written file has the footer by which batches are found, or is a plain stream."}
	optMissing  = options.Option{Key: "arrow.missing-columns", Kind: options.Enum, Default: "fail", Values: []string{"fail", "null"}, Doc: "What a declared column reads as that a file does not have."}
	declared    = []options.Option{optCompress, optLayout, optMissing}
)

// Limits on what a file may ask for at once.
const (
	maxMetadata = 64 << 20
	maxBody     = 2 << 30
	pieceBytes  = 64 << 20
)

// New returns the format for a registry.
func New() formats.Format {
	return formats.Format{
		Name: "arrow", Doc: "Arrow IPC files and streams (Feather 2).", Extensions: []string{".arrow", ".feather", ".ipc", ".arrows"},
		Options: declared,
		Infer: func(_ context.Context, f formats.File, _ formats.Config) (*arrow.Schema, error) {
			return infer(f)
		},
		Cut:       cut,
		NewReader: newReader,
		NewWriter: newWriter,
	}
}

var magic = []byte("ARROW1")

// isFile tells a file from a stream.
func isFile(f formats.File) (bool, error) {
	head := make([]byte, 8)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, batch.ExternalError(fmt.Errorf("read Arrow file %q: %w", f.Name, err), true)
	}
	if bytes.HasPrefix(head[:n], []byte("FEA1")) {
		return false, batch.UserErrorf("file %q is of Feather version 1, which is not Arrow IPC: write it anew", f.Name)
	}
	if n < 8 {
		return false, batch.UserErrorf("file %q: %d bytes are too few for an Arrow file", f.Name, f.Size)
	}
	return bytes.HasPrefix(head, magic), nil
}

// input is an open file or stream.
type input struct {
	file   *ipc.FileReader
	stream *ipc.Reader
}

func open(f formats.File) (in input, err error) {
	defer catch(&err, "open Arrow file %q", f.Name)
	isfile, err := isFile(f)
	if err != nil {
		return input{}, err
	}
	check := verifyStream
	if isfile {
		check = verifyFile
	}
	if err := check(f); err != nil {
		return input{}, damaged(f, err)
	}
	opts := []ipc.Option{ipc.WithAllocator(newBounded(f)), ipc.WithMetadataSizeLimit(min(maxMetadata, f.Size)), ipc.WithBodySizeLimit(min(maxBody, f.Size))}
	bytes := io.NewSectionReader(f, 0, f.Size)
	if isfile {
		in.file, err = ipc.NewFileReader(bytes, opts...)
	} else {
		in.stream, err = ipc.NewReader(bytes, opts...)
	}
	if err != nil {
		return input{}, damaged(f, err)
	}
	return in, nil
}

func (in input) schema() *arrow.Schema {
	if in.file != nil {
		return in.file.Schema()
	}
	return in.stream.Schema()
}

func (in input) close() error {
	if in.stream != nil {
		in.stream.Release()
	}
	if in.file != nil {
		return in.file.Close()
	}
	return nil
}

func damaged(f formats.File, err error) error {
	return batch.UserErrorf("file %q is no whole Arrow file: %w", f.Name, err)
}

func infer(f formats.File) (_ *arrow.Schema, err error) {
	defer catch(&err, "read the schema of Arrow file %q", f.Name)
	in, err := open(f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	var fields []arrow.Field
	for _, c := range in.schema().Fields() {
		t, err := natural(c.Type)
		if err != nil {
			return nil, batch.UserErrorf("file %q: column %q: %w", f.Name, c.Name, err)
		}
		fields = append(fields, arrow.Field{Name: c.Name, Type: t, Nullable: true})
	}
	return arrow.NewSchema(fields, nil), nil
}

// cut makes pieces of some batches of a file; a stream is one. A piece goes from
// batch to batch.
func cut(_ context.Context, f formats.File, _ formats.Config) (_ []formats.Piece, err error) {
	defer catch(&err, "read the footer of Arrow file %q", f.Name)
	in, err := open(f)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if in.stream != nil || in.file.NumRecords() == 0 {
		return []formats.Piece{{To: f.Size, Bytes: f.Size}}, nil
	}
	n := int64(in.file.NumRecords())
	step := max(1, n*pieceBytes/max(1, f.Size))
	var out []formats.Piece
	for from := int64(0); from < n; from += step {
		to := min(n, from+step)
		out = append(out, formats.Piece{From: from, To: to, Bytes: f.Size * (to - from) / n})
	}
	return out, nil
}

// catch turns a panic of the library on damaged bytes into an error. One of the
// memory limit keeps what it says.
func catch(err *error, format string, args ...any) {
	r := recover()
	if r == nil {
		return
	}
	what := fmt.Sprintf(format, args...)
	if e, ok := r.(error); ok {
		if k, _ := batch.KindOf(e); k != batch.Internal {
			*err = fmt.Errorf("%s: %w", what, e)
			return
		}
	}
	*err = batch.UserErrorf("%s: the bytes are damaged: %v", what, r)
}
