package arrowipc

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/formats"
)

// writer writes each batch as it comes.
type writer struct {
	out    *formats.Counter
	schema *arrow.Schema
	w      interface {
		Write(arrow.RecordBatch) error
		Close() error
	}
}

func newWriter(w io.Writer, schema *arrow.Schema, c formats.Config, alloc memory.Allocator) (formats.Writer, error) {
	opts := []ipc.Option{ipc.WithSchema(schema), ipc.WithAllocator(alloc)}
	switch c.Options.Get(optCompress) {
	case "lz4":
		opts = append(opts, ipc.WithLZ4())
	case "zstd":
		opts = append(opts, ipc.WithZstd())
	}
	out := &writer{out: &formats.Counter{W: w}, schema: schema}
	if c.Options.Get(optLayout) == "stream" {
		out.w = ipc.NewWriter(out.out, opts...)
		return out, nil
	}
	fw, err := ipc.NewFileWriter(out.out, opts...)
	if err != nil {
		return nil, fmt.Errorf("start an Arrow file: %w", err)
	}
	out.w = fw
	return out, nil
}

// Write writes a batch.
func (w *writer) Write(rec arrow.RecordBatch) (err error) {
	defer catch(&err, "write an Arrow file")
	if int(rec.NumCols()) != w.schema.NumFields() {
		return fmt.Errorf("a batch of %d columns for an Arrow file of %d", rec.NumCols(), w.schema.NumFields())
	}
	same := array.NewRecordBatch(w.schema, rec.Columns(), rec.NumRows())
	defer same.Release()
	if err := w.w.Write(same); err != nil {
		return fmt.Errorf("write %d rows to an Arrow file: %w", rec.NumRows(), err)
	}
	return nil
}

// Size is what was written.
func (w *writer) Size() int64 { return w.out.N }

// Close writes what ends the file.
func (w *writer) Close() (err error) {
	defer catch(&err, "end an Arrow file")
	if err := w.w.Close(); err != nil {
		return fmt.Errorf("end an Arrow file: %w", err)
	}
	return nil
}
