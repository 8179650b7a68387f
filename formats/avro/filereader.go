package avro

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
)

// fileReader reads the blocks of a piece.
type fileReader struct {
	f       formats.File
	at, end int64
	h       header
	d       *Decoder
	u       *unpacker
	alloc   memory.Allocator
	maxRows int

	block []byte // what is left of the block in hand
	rows  int64  // and of its rows
	from  int64  // where it begins
	row   int64  // of the piece, from 1

	quarantine, nulls bool
	aside             *formats.Aside // nil: nobody takes bad rows
	to                formats.SetAside
	failed            error
}

var _ formats.Quarantiner = (*fileReader)(nil)

// SetAside implements formats.Quarantiner.
func (r *fileReader) SetAside(to formats.SetAside) {
	if r.quarantine {
		r.to = to
		r.aside = formats.NewAside(r.f, 0, to)
	}
}

func newFileReader(_ context.Context, f formats.File, p formats.Piece, s formats.ReadSpec) (formats.Reader, error) {
	if p.From < 0 || p.To > f.Size || p.From > p.To {
		return nil, batch.UserErrorf("read file %q: it has %d bytes and not [%d, %d): was it replaced?", f.Name, f.Size, p.From, p.To)
	}
	h, err := readHeader(f)
	if err != nil {
		return nil, err
	}
	r := &fileReader{f: f, at: max(p.From, h.end), end: p.To, h: h, alloc: s.Alloc, maxRows: s.MaxRows, quarantine: formats.Quarantines(s.Config), nulls: s.Options.Get(formats.BadRows) == "null"}
	if r.maxRows <= 0 {
		r.maxRows = formats.BatchRows
	}
	if r.alloc == nil {
		r.alloc = memory.DefaultAllocator
	}
	o := DecoderOptions{Lenient: r.quarantine || r.nulls, Alloc: r.alloc}
	if text := s.Options.Get(OptSchema); text != "" {
		if o.Reader, err = Parse(text); err != nil {
			return nil, fmt.Errorf("option '%s': %w", OptSchema.Key, err)
		}
	}
	declared := s.File
	if declared == nil {
		declared = s.Schema
	}
	if declared.NumFields() == 1 {
		o.Whole = declared.Field(0).Name
	}
	if !s.NullMissing(optMissing) && s.Options.Get(optMissing) == "fail" {
		if err := missing(f, h.schema, o.Reader, s.Schema); err != nil {
			return nil, err
		}
	}
	if r.u, err = newUnpacker(h.codec); err != nil {
		return nil, badFile(f, "%v", err)
	}
	r.d = NewDecoder(s.Schema, o)
	if err := r.d.Check(h.schema); err != nil {
		return nil, errors.Join(badFile(f, "%v", err), r.Close())
	}
	return r, nil
}

// missing refuses a file that lacks a column.
func missing(f formats.File, w, reader *Schema, columns *arrow.Schema) error {
	w, _ = w.Nullable()
	if w.Kind != Record {
		return nil
	}
	for _, c := range columns.Fields() {
		rf := reader.field(c.Name)
		if w.find(c.Name, rf) < 0 && (rf == nil || !rf.HasDefault) {
			return badFile(f, "it has no field %q; its schema is %s", c.Name, w)
		}
	}
	return nil
}

// Next returns the next batch.
func (r *fileReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	for size := 0; r.d.Rows() < r.maxRows && size < formats.BatchBytes; {
		if r.d.Rows()&1023 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		if r.rows == 0 {
			if r.at >= r.end {
				break
			}
			if err := r.next(); err != nil {
				r.failed = err
				return nil, err
			}
			continue
		}
		before := len(r.block)
		if err := r.one(); err != nil {
			r.failed = err
			return nil, err
		}
		size += before - len(r.block)
	}
	if r.d.Rows() == 0 {
		return nil, io.EOF
	}
	rec, err := r.aside.Clean(r.d.Flush(), r.alloc)
	if err == nil && rec.NumRows() == 0 {
		rec.Release()
		return r.Next(ctx) // nothing but bad rows so far
	}
	return rec, err
}

// one reads a row.
func (r *fileReader) one() error {
	r.row++
	rest, rows, err := r.d.Append(r.h.schema, r.block)
	if err != nil && rows == 0 {
		// Where the next row begins is not known: the block cannot be read on.
		return badFile(r.f, "row %d of the block at byte %d: %v", r.row, r.from, err)
	}
	raw := r.block[:len(r.block)-len(rest)]
	r.block = rest
	if r.rows--; r.rows == 0 && len(rest) > 0 {
		return badFile(r.f, "the block at byte %d has %d bytes behind its last row", r.from, len(rest))
	}
	if err == nil || r.nulls {
		return nil
	}
	if r.aside == nil {
		return badFile(r.f, "row %d of the block at byte %d: %v", r.row, r.from, err)
	}
	r.aside.Drop(r.d.Rows() - 1)
	return r.to(batch.BadRow{Raw: raw, Line: r.row, Offset: r.from, Reason: err.Error()})
}

// next reads the next block.
func (r *fileReader) next() error {
	b, err := readAt(r.f, r.at, maxBlockHead)
	if err != nil {
		return err
	}
	head, err := headOf(r.f, r.at, b)
	if err != nil {
		return err
	}
	b, err = readAt(r.f, r.at+head.head, int(head.size)+syncBytes)
	if err != nil {
		return err
	}
	if [syncBytes]byte(b[head.size:]) != r.h.sync {
		return badFile(r.f, "the block at byte %d does not end where it says", r.at)
	}
	r.from, r.row = r.at, 0
	r.at += head.head + head.size + syncBytes
	if r.block, err = r.u.unpack(b[:head.size]); err != nil {
		return badFile(r.f, "the block at byte %d cannot be decompressed: %v", r.from, err)
	}
	least := int64(r.h.schema.least)
	if least > 0 && head.rows > int64(len(r.block))/least || least == 0 && head.rows > maxEmpty {
		return badFile(r.f, "the block at byte %d says to have %d rows in %d bytes", r.from, head.rows, len(r.block))
	}
	r.rows = head.rows
	return nil
}

// Close releases what was read and not returned.
func (r *fileReader) Close() error {
	if r.u == nil {
		return nil
	}
	r.d.Release()
	r.u.close()
	r.u = nil
	if r.failed == nil {
		r.failed = io.EOF
	}
	return nil
}
