package avro

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

// Limits on files.
const (
	maxHeader = 16 << 20
	maxBlock  = 256 << 20 // bytes of a block, compressed or not
	cutBytes  = 32 << 20
	syncBytes = 16
)

var fileMagic = []byte("Obj\x01")

// New returns the format of files for a registry.
func New() formats.Format {
	return formats.Format{
		Name: "avro", Doc: "Object container files of Apache Avro.", Extensions: []string{".avro"},
		Options: append(FileOptions(), OptSchema, OptRecord),
		Infer: func(_ context.Context, f formats.File, _ formats.Config) (*arrow.Schema, error) {
			h, err := readHeader(f)
			if err != nil {
				return nil, err
			}
			s, err := Columns(h.schema, "value")
			if err != nil {
				return nil, fmt.Errorf("file %q: %w", f.Name, err)
			}
			return s, nil
		},
		Cut:       cut,
		NewReader: newFileReader,
		NewWriter: newFileWriter,
	}
}

// header is what a file begins with.
type header struct {
	schema *Schema
	codec  string
	sync   [syncBytes]byte
	end    int64 // where the blocks begin
}

func badFile(f formats.File, format string, args ...any) error {
	return batch.UserErrorf("Avro file %q: %s", f.Name, fmt.Sprintf(format, args...))
}

// readAt reads as much as there is of n bytes.
func readAt(f formats.File, at int64, n int) ([]byte, error) {
	n = int(min(int64(n), f.Size-at))
	if n <= 0 {
		return nil, nil
	}
	b := make([]byte, n)
	if m, err := f.ReadAt(b, at); err != nil && (err != io.EOF || m < n) {
		return nil, batch.ExternalError(fmt.Errorf("read Avro file %q: %w", f.Name, err), true)
	}
	return b, nil
}

// readHeader reads the header, in pieces that grow.
func readHeader(f formats.File) (header, error) {
	for size := 64 << 10; ; size *= 4 {
		b, err := readAt(f, 0, size)
		if err != nil {
			return header{}, err
		}
		h, err := parseHeader(b)
		if err == nil {
			return h, nil
		}
		if int64(len(b)) >= f.Size || len(b) >= maxHeader || !bytes.HasPrefix(b, fileMagic) {
			return header{}, badFile(f, "%v", err)
		}
	}
}

// headerMeta is the schema of a file's metadata.
var headerMeta = &Schema{Kind: Map, Items: &Schema{Kind: Bytes, least: 1, sized: sizedYes}, least: 1, sized: sizedYes}

func parseHeader(b []byte) (h header, err error) {
	rest, ok := bytes.CutPrefix(b, fileMagic)
	if !ok {
		return h, fmt.Errorf("it does not start as one of Avro does")
	}
	c := cursor{b: rest}
	h.codec = "null"
	var text string
	for {
		n, _ := c.block(headerMeta)
		if n == 0 {
			break
		}
		for ; n > 0; n-- {
			key, value := c.bytes(), c.bytes()
			switch string(key) {
			case "avro.schema":
				text = string(value)
			case "avro.codec":
				h.codec = string(value)
			}
		}
	}
	copy(h.sync[:], c.take(syncBytes))
	if c.err != nil {
		return h, fmt.Errorf("its header cannot be read: %w", c.err)
	}
	if h.schema, err = Parse(text); err != nil {
		return h, err
	}
	h.end = int64(len(fileMagic) + c.at)
	return h, nil
}

// blockHead is what stands before a block.
type blockHead struct {
	rows, size int64
	head       int64 // bytes of the head itself
}

const maxBlockHead = 2 * binary.MaxVarintLen64

// headOf reads the head of the block at a place.
func headOf(f formats.File, at int64, b []byte) (blockHead, error) {
	c := cursor{b: b}
	h := blockHead{rows: c.long(), size: c.long()}
	h.head = int64(c.at)
	if c.err != nil || h.rows < 0 || h.size < 0 || h.size > maxBlock || at+h.head+h.size+syncBytes > f.Size {
		return h, badFile(f, "the block at byte %d cannot be read: it says to have %d rows in %d bytes, and the file has %d", at, h.rows, h.size, f.Size)
	}
	return h, nil
}

// cut finds the blocks by their heads, and puts neighbours together.
func cut(ctx context.Context, f formats.File, _ formats.Config) ([]formats.Piece, error) {
	h, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	var out []formats.Piece
	piece := formats.Piece{From: h.end, To: h.end}
	for at := h.end; at < f.Size; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := readAt(f, at, maxBlockHead)
		if err != nil {
			return nil, err
		}
		head, err := headOf(f, at, b)
		if err != nil {
			return nil, err
		}
		at += head.head + head.size + syncBytes
		piece.Rows += min(head.rows, math.MaxInt64-piece.Rows)
		if piece.To = at; piece.To-piece.From >= cutBytes {
			piece.Bytes = piece.To - piece.From
			out = append(out, piece)
			piece = formats.Piece{From: at, To: at}
		}
	}
	if piece.Bytes = piece.To - piece.From; piece.Bytes > 0 || len(out) == 0 {
		out = append(out, piece)
	}
	return out, nil
}
