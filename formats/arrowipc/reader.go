package arrowipc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/options"
)

type reader struct {
	f       formats.File
	in      input
	alloc   memory.Allocator
	zone    *time.Location
	schema  *arrow.Schema
	columns []int // of the file, -1 for one that it does not have
	next    int64
	to      int64 // batches of a file
	maxRows int64
	rest    arrow.RecordBatch // of the batch in hand, what is left
	done    error
}

func newReader(_ context.Context, f formats.File, p formats.Piece, s formats.ReadSpec) (_ formats.Reader, err error) {
	r := &reader{f: f, alloc: s.Alloc, zone: s.Zone, schema: s.Schema, next: p.From, to: p.To, maxRows: int64(s.MaxRows)}
	if r.maxRows <= 0 {
		r.maxRows = formats.BatchRows
	}
	if r.alloc == nil {
		r.alloc = memory.DefaultAllocator
	}
	if r.in, err = open(f); err != nil {
		return nil, err
	}
	if r.in.file != nil && (p.From < 0 || p.To > int64(r.in.file.NumRecords()) && r.in.file.NumRecords() > 0) {
		return nil, errors.Join(batch.UserErrorf("read file %q: it has %d batches and not [%d, %d): was it replaced?", f.Name, r.in.file.NumRecords(), p.From, p.To), r.Close())
	}
	if err := r.bind(s); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *reader) bind(s formats.ReadSpec) error {
	var names []string
	for _, f := range r.in.schema().Fields() {
		names = append(names, f.Name)
	}
	for _, want := range s.Schema.Fields() {
		at := -1
		for i, n := range names {
			if n == want.Name || at < 0 && strings.EqualFold(n, want.Name) {
				if at = i; n == want.Name {
					break
				}
			}
		}
		if at < 0 && !s.NullMissing(optMissing) {
			return batch.UserErrorf("file %q has no column %q%s; it has %s; 'arrow.missing-columns' = 'null' reads NULL", r.f.Name, want.Name, options.Suggest(want.Name, names), shown(names))
		}
		if at >= 0 {
			if err := convertible(r.in.schema().Field(at).Type, want.Type); err != nil {
				return batch.UserErrorf("file %q: column %q %w", r.f.Name, want.Name, err)
			}
		}
		r.columns = append(r.columns, at)
	}
	return nil
}

// maxShown bounds the columns that an error lists.
const maxShown = 20

func shown(names []string) string {
	if len(names) > maxShown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxShown], ", "), len(names)-maxShown)
	}
	return strings.Join(names, ", ")
}

// Next returns the next batch.
func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for r.rest == nil {
		if r.done == nil {
			r.done = ctx.Err()
		}
		if r.done != nil {
			return nil, r.done
		}
		rec, err := r.load(ctx)
		if err != nil {
			r.done = err
			return nil, err
		}
		if rec.NumRows() == 0 {
			rec.Release()
			continue
		}
		r.rest = rec
	}
	if r.rest.NumRows() <= r.maxRows {
		out := r.rest
		r.rest = nil
		return out, nil
	}
	out := r.rest.NewSlice(0, r.maxRows)
	left := r.rest.NewSlice(r.maxRows, r.rest.NumRows())
	r.rest.Release()
	r.rest = left
	return out, nil
}

// load reads one batch and gives it the wanted columns and types.
func (r *reader) load(ctx context.Context) (_ arrow.RecordBatch, err error) {
	at := r.next
	defer catch(&err, "read batch %d of Arrow file %q", at, r.f.Name)
	in, err := r.batch()
	if err != nil {
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, io.EOF
		}
		return nil, batch.UserErrorf("read batch %d of Arrow file %q: %w", at, r.f.Name, err)
	}
	defer in.Release()
	cols := make([]arrow.Array, len(r.columns))
	defer func() {
		for _, c := range cols {
			if c != nil {
				c.Release()
			}
		}
	}()
	for i, c := range r.columns {
		want := r.schema.Field(i)
		if c < 0 {
			cols[i] = array.MakeArrayOfNull(r.alloc, want.Type, int(in.NumRows()))
			continue
		}
		if err := check(in.Column(c)); err != nil {
			return nil, batch.UserErrorf("batch %d of Arrow file %q, column %q: %w", at, r.f.Name, want.Name, err)
		}
		if cols[i], err = convert(ctx, in.Column(c), want.Type, r.zone, r.alloc); err != nil {
			return nil, batch.UserErrorf("batch %d of Arrow file %q, column %q: cannot read %s as %s: %w", at, r.f.Name, want.Name, in.Column(c).DataType(), want.Type, err)
		}
	}
	return array.NewRecordBatch(r.schema, cols, in.NumRows()), nil
}

// batch returns the next batch of the file, which the caller releases.
func (r *reader) batch() (arrow.RecordBatch, error) {
	at := r.next
	r.next++
	if r.in.file != nil {
		if at >= r.to || r.in.file.NumRecords() == 0 {
			return nil, io.EOF
		}
		return r.in.file.RecordBatchAt(int(at))
	}
	rec, err := r.in.stream.Read()
	if err != nil {
		return nil, err
	}
	rec.Retain()
	return rec, nil
}

// Close gives back what was not returned.
func (r *reader) Close() (err error) {
	defer catch(&err, "close Arrow file %q", r.f.Name)
	if r.rest != nil {
		r.rest.Release()
		r.rest = nil
	}
	if r.done == nil {
		r.done = io.EOF
	}
	in := r.in
	r.in = input{}
	return in.close()
}
