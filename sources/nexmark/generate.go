package nexmark

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/sources"
)

// recordEvents is how many events go into one record batch: its columns then
// stay in the second-level cache of the processor while they are filled.
const recordEvents = 4096

// reader makes the events of one split. It keeps the events of a batch, by type,
// from one batch to the next.
type reader struct {
	config  *config
	texts   *texts
	schema  *arrow.Schema
	columns []output
	alloc   memory.Allocator

	next, end int64 // event numbers
	events    [kinds][]event
	rows      int
	valid     [kinds]*memory.Buffer // which rows hold that type, made when a struct asks for it
}

var _ sources.Reader = (*reader)(nil)

func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for r.next < r.end {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		to := min(r.next+recordEvents, r.end)
		r.draw(r.next, to)
		r.next = to
		if r.rows > 0 {
			return r.record()
		}
	}
	return nil, io.EOF
}

func (r *reader) Close() error {
	r.next = r.end
	return nil
}

// draw makes the events at positions [from, to), sorted by type. Of a table of
// one type only that type counts.
func (r *reader) draw(from, to int64) {
	for k := range r.events {
		r.events[k] = r.events[k][:0]
	}
	r.rows = 0
	if r.config.group == 1 && r.config.lateBelow == 0 {
		r.drawInOrder(from, to)
		return
	}
	want := r.config.kind
	var e event
	for p := from; p < to; p++ {
		k := r.config.event(&e, p)
		if want != all && want != k {
			continue
		}
		e.at = int32(r.rows)
		r.rows++
		r.events[k] = append(r.events[k], e)
	}
}

func (r *reader) record() (arrow.RecordBatch, error) {
	defer r.dropValid()
	cols := make([]arrow.Array, 0, len(r.columns))
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	for i := range r.columns {
		data, err := r.build(&r.columns[i])
		if err != nil {
			return nil, err
		}
		cols = append(cols, array.MakeFromData(data))
		data.Release()
	}
	return array.NewRecordBatch(r.schema, cols, int64(r.rows)), nil
}

// build makes one column.
func (r *reader) build(o *output) (*array.Data, error) {
	switch {
	case o.field.Type.ID() == arrow.STRUCT:
		return r.buildStruct(o)
	case o.kind == all && o.column.number == nil:
		return r.buildTypes(o), nil
	case o.column.number != nil:
		return r.buildNumbers(o), nil
	default:
		return r.buildTexts(o)
	}
}

// parts are the events that a column has values of.
func (r *reader) parts(o *output) [][]event {
	if o.kind == all {
		return r.events[:]
	}
	return r.events[o.kind : o.kind+1]
}

func (r *reader) buildTypes(o *output) *array.Data {
	buf := r.buffer(r.rows * arrow.Int32SizeBytes)
	out := arrow.Int32Traits.CastFromBytes(buf.Bytes())
	for k, events := range r.events {
		for i := range events {
			out[events[i].at] = int32(k)
		}
	}
	return r.data(o, nil, buf)
}

func (r *reader) buildNumbers(o *output) *array.Data {
	buf := r.buffer(r.rows * arrow.Int64SizeBytes)
	out := arrow.Int64Traits.CastFromBytes(buf.Bytes())
	valid := r.validity(o)
	if valid != nil {
		clear(out)
	}
	f := o.column.number
	for _, events := range r.parts(o) {
		if o.column.bulk != nil {
			o.column.bulk(r.config, events, out)
			continue
		}
		for i := range events {
			e := &events[i]
			out[e.at] = f(r.config, e)
		}
	}
	return r.data(o, valid, buf)
}

func (r *reader) buildTexts(o *output) (*array.Data, error) {
	events := r.events[o.kind]
	offsets := r.buffer((r.rows + 1) * arrow.Int32SizeBytes)
	room := len(events) * o.column.max(r.texts)
	values := r.buffer(room + slack)
	at := arrow.Int32Traits.CastFromBytes(offsets.Bytes())
	if o.column.bulkText != nil && len(events) == r.rows {
		o.column.bulkText(r.texts, events, values.Bytes(), at)
		return r.textData(o, offsets, values, int(at[r.rows]), room)
	}
	dst, f := values.Bytes()[:0], o.column.text
	row, size := 0, int32(0)
	for i := range events {
		e := &events[i]
		for ; row <= int(e.at); row++ {
			at[row] = size
		}
		dst = f(r.texts, dst, e)
		size = int32(len(dst))
	}
	for ; row <= r.rows; row++ {
		at[row] = size
	}
	return r.textData(o, offsets, values, len(dst), room)
}

// textData wraps the buffers of texts, of which size bytes were written.
func (r *reader) textData(o *output, offsets, values *memory.Buffer, size, room int) (*array.Data, error) {
	if size > room {
		offsets.Release()
		values.Release()
		return nil, fmt.Errorf("column %q of Nexmark events: %d bytes, more than its bound of %d", o.field.Name, size, room)
	}
	values.ResizeNoShrink(size)
	return r.data(o, r.validity(o), offsets, values), nil
}

func (r *reader) buildStruct(o *output) (*array.Data, error) {
	children := make([]arrow.ArrayData, 0, len(o.children))
	defer func() {
		for _, c := range children {
			c.Release()
		}
	}()
	for i := range o.children {
		c, err := r.build(&o.children[i])
		if err != nil {
			return nil, err
		}
		children = append(children, c)
	}
	valid := r.validity(o)
	return array.NewData(o.field.Type, r.rows, []*memory.Buffer{valid}, children, r.rows-len(r.events[o.kind]), 0), nil
}

// data wraps buffers, which it takes over, and the shared validity, which it
// does not.
func (r *reader) data(o *output, valid *memory.Buffer, buffers ...*memory.Buffer) *array.Data {
	nulls := 0
	if valid != nil {
		nulls = r.rows - len(r.events[o.kind])
	}
	d := array.NewData(o.field.Type, r.rows, append([]*memory.Buffer{valid}, buffers...), nil, nulls, 0)
	for _, b := range buffers {
		b.Release()
	}
	return d
}

// validity returns the bitmap of the rows that hold the type of event of a
// column, nil where all do. The fields of a struct share it, so that a field
// taken out of its struct still knows its NULLs.
func (r *reader) validity(o *output) *memory.Buffer {
	if r.config.kind != all || o.kind == all {
		return nil
	}
	if r.valid[o.kind] == nil {
		buf := r.buffer(int(bitutil.BytesForBits(int64(r.rows))))
		bits := buf.Bytes()
		clear(bits)
		events := r.events[o.kind]
		for i := range events {
			bitutil.SetBit(bits, int(events[i].at))
		}
		r.valid[o.kind] = buf
	}
	return r.valid[o.kind]
}

func (r *reader) dropValid() {
	for k, b := range r.valid {
		if b != nil {
			b.Release()
			r.valid[k] = nil
		}
	}
}

func (r *reader) buffer(size int) *memory.Buffer {
	b := memory.NewResizableBuffer(r.alloc)
	b.Resize(size)
	return b
}
