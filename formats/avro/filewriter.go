package avro

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

// FileOptions are those of files alone.
func FileOptions() []options.Option { return []options.Option{optCodec, optMissing} }

// blockBytes is near which a block is ended.
const blockBytes = 64 << 10

// fileWriter writes blocks of rows.
type fileWriter struct {
	out    *formats.Counter
	schema *Schema
	p      *packer
	sync   [syncBytes]byte
	block  []byte
	head   []byte
	rows   int64
}

func newFileWriter(w io.Writer, columns *arrow.Schema, c formats.Config, _ memory.Allocator) (formats.Writer, error) {
	fw := &fileWriter{out: &formats.Counter{W: w}}
	var err error
	if text := c.Options.Get(OptSchema); text != "" {
		if fw.schema, err = Parse(text); err != nil {
			return nil, fmt.Errorf("option '%s': %w", OptSchema.Key, err)
		}
	} else {
		name := c.Options.Get(OptRecord)
		if name == "" {
			name = "row"
		}
		if fw.schema, err = SchemaFor(columns, name); err != nil {
			return nil, err
		}
	}
	codec := c.Options.Get(optCodec)
	if fw.p, err = newPacker(codec); err != nil {
		return nil, err
	}
	text := fw.schema.Text()
	// The mark between blocks is made of the schema, so that the same rows are the same bytes.
	sum := sha256.Sum256([]byte("sluice " + codec + " " + text))
	copy(fw.sync[:], sum[:])
	b := append([]byte{}, fileMagic...)
	b = binary.AppendVarint(b, 2)
	for _, kv := range [][2]string{{"avro.schema", text}, {"avro.codec", codec}} {
		b = append(binary.AppendVarint(b, int64(len(kv[0]))), kv[0]...)
		b = append(binary.AppendVarint(b, int64(len(kv[1]))), kv[1]...)
	}
	return fw, fw.put(append(append(b, 0), fw.sync[:]...))
}

func (w *fileWriter) put(b []byte) error {
	if _, err := w.out.Write(b); err != nil {
		return fmt.Errorf("write an Avro file: %w", err)
	}
	return nil
}

// Write appends rows.
func (w *fileWriter) Write(rec arrow.RecordBatch) error {
	row, err := Encode(w.schema, rec)
	if err != nil {
		return err
	}
	for i := range int(rec.NumRows()) {
		if w.block, err = row(w.block, i); err != nil {
			return err
		}
		if w.rows++; len(w.block) >= blockBytes {
			if err := w.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

// end writes the block in hand.
func (w *fileWriter) end() error {
	if w.rows == 0 {
		return nil
	}
	b, err := w.p.pack(w.block)
	if err != nil {
		return err
	}
	w.head = binary.AppendVarint(binary.AppendVarint(w.head[:0], w.rows), int64(len(b)))
	w.block, w.rows = w.block[:0], 0
	for _, part := range [][]byte{w.head, b, w.sync[:]} {
		if err := w.put(part); err != nil {
			return err
		}
	}
	return nil
}

// Size is what was written and what waits to be.
func (w *fileWriter) Size() int64 { return w.out.N + int64(len(w.block)) }

// Close writes what waits.
func (w *fileWriter) Close() error {
	if err := w.end(); err != nil {
		return err
	}
	return w.p.close()
}
