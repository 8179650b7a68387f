package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/text"
	"github.com/sluice-stream/sluice/sources"
)

// opener is the worker's half.
type opener struct{ t *table }

var _ sources.Opener = (*opener)(nil)

// Open starts to read a split of the file that was listed (R3).
func (o *opener) Open(ctx context.Context, s batch.Split, columns []int, alloc memory.Allocator) (sources.Reader, error) {
	var p payload
	if err := json.Unmarshal(s.Payload, &p); err != nil {
		return nil, fmt.Errorf("read split %d of source %q: %w", s.Index, s.Source, err)
	}
	schema := o.t.spec.Schema
	if schema == nil {
		return nil, fmt.Errorf("open split %d of source %q: the table has no schema", s.Index, s.Source)
	}
	if columns == nil {
		columns = make([]int, schema.NumFields())
		for i := range columns {
			columns[i] = i
		}
		if o.t.changes != batch.OnlyGrows {
			columns = append(columns, len(columns))
		}
	}
	format, err := o.t.reg.Lookup(p.Format)
	if err != nil {
		return nil, err
	}
	f, err := openEntry(p.entry)
	if err != nil {
		return nil, err
	}
	r := &reader{t: o.t, e: p.entry, f: f, alloc: alloc, rows: p.Rows, op: -1}
	fileSchema, all, err := r.bind(schema, columns)
	if err == nil {
		r.in, err = format.NewReader(ctx, asFile(f, p.entry), p.Piece, formats.ReadSpec{Config: o.t.config, Schema: fileSchema, File: all, Alloc: alloc, Meta: r.meta})
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// reader adds to the rows of a file what its path and its metadata say.
type reader struct {
	t     *table
	e     entry
	f     *os.File
	in    formats.Reader
	alloc memory.Allocator
	out   *arrow.Schema
	from  []int                              // column of the file, or -1
	fill  []func(n int) (arrow.Array, error) // of those that are not the file's
	op    int                                // the column that is the kind of change in the file; -1 for none
	meta  map[int]string                     // columns of the file that the format has to find in its envelope
	empty bool                               // the path says that no row is wanted
	rows  int64                              // of the split, if known
	count batch.ScanCounts                   // of a reader that does not count itself
}

// bind divides the wanted columns into those of the file and constants. all is
// what the file holds, by declaration.
func (r *reader) bind(schema *arrow.Schema, columns []int) (wanted, all *arrow.Schema, err error) {
	keys, values := r.t.partitionsOf(r.e.Path)
	isKey := func(name string) int {
		return slices.IndexFunc(keys, func(k string) bool { return strings.EqualFold(k, name) })
	}
	var out, file, every []arrow.Field
	for i, f := range schema.Fields() {
		if _, meta := r.t.meta[i]; !meta && isKey(f.Name) < 0 {
			every = append(every, f)
		}
	}
	if r.t.opColumn != "" {
		every = append([]arrow.Field{formats.OpField(r.t.opColumn)}, every...)
	}
	for _, c := range columns {
		if c == schema.NumFields() {
			out, file = append(out, changeField), r.bindOp(file)
			continue
		}
		f := schema.Field(c)
		out = append(out, f)
		k := isKey(f.Name)
		meta, ok := r.t.meta[c]
		if _, own := metaTypes[meta]; ok && !own { // the format finds it in each record
			if r.meta == nil {
				r.meta = map[int]string{}
			}
			r.meta[len(file)] = meta
			ok, k = false, -1
		}
		if !ok && k < 0 {
			r.from, r.fill = append(r.from, len(file)), append(r.fill, nil)
			file = append(file, f)
			continue
		}
		var put text.Appender
		b := array.NewBuilder(memory.DefaultAllocator, f.Type)
		v, null := "", false
		if ok {
			v = r.metaText(meta)
		} else {
			v, null = values[k], values[k] == hiveNull
		}
		times, terr := text.NewTimeFormat("iso", r.t.config.Zone)
		if put, err = text.NewAppender(b, times, true); err == nil {
			err = terr
		}
		if err == nil && !null {
			err = put([]byte(v))
		} else if err == nil {
			b.AppendNull()
		}
		if err != nil {
			b.Release()
			return nil, nil, r.t.userError("column %q: directory %q of file %q: cannot read %q as %s: %v", f.Name, f.Name+"="+v, r.e.Path, v, f.Type, err)
		}
		one := b.NewArray()
		b.Release()
		r.from = append(r.from, -1)
		r.fill = append(r.fill, func(n int) (arrow.Array, error) { return repeat(one, n, r.alloc) })
	}
	r.out = arrow.NewSchema(out, nil)
	return arrow.NewSchema(file, nil), arrow.NewSchema(every, nil), nil
}

func (r *reader) metaText(key string) string {
	switch key {
	case metaPath:
		return filepath.ToSlash(r.e.Path)
	case metaName:
		return filepath.Base(r.e.Path)
	case metaSize:
		return fmt.Sprint(r.e.Size)
	default:
		return string(text.AppendTimestamp(nil, r.e.MTime/1000, true))
	}
}

// repeat makes an array of n times the value of an array of one.
func repeat(one arrow.Array, n int, alloc memory.Allocator) (arrow.Array, error) {
	if one.IsNull(0) {
		return array.MakeArrayOfNull(alloc, one.DataType(), n), nil
	}
	b := array.NewBuilder(alloc, one.DataType())
	defer b.Release()
	b.Reserve(n)
	switch one := one.(type) {
	case *array.String:
		v := []byte(one.Value(0))
		for range n {
			b.(*array.StringBuilder).BinaryBuilder.Append(v)
		}
	case *array.Int32:
		v := one.Value(0)
		for range n {
			b.(*array.Int32Builder).UnsafeAppend(v)
		}
	case *array.Int64:
		v := one.Value(0)
		for range n {
			b.(*array.Int64Builder).UnsafeAppend(v)
		}
	case *array.Date32:
		v := one.Value(0)
		for range n {
			b.(*array.Date32Builder).UnsafeAppend(v)
		}
	case *array.Timestamp:
		v := one.Value(0)
		for range n {
			b.(*array.TimestampBuilder).UnsafeAppend(v)
		}
	default:
		s := one.ValueStr(0)
		for range n {
			if err := b.AppendValueFromString(s); err != nil {
				return nil, err
			}
		}
	}
	return b.NewArray(), nil
}

// Next returns the next batch; at the end it looks once more that the file has
// not changed under the reader.
func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.empty {
		r.count = batch.ScanCounts{Rows: r.rows, RowsPruned: r.rows}
		return nil, io.EOF
	}
	rec, err := r.in.Next(ctx)
	if err != nil {
		info, serr := r.f.Stat()
		if serr == nil {
			serr = r.e.check(info)
		}
		if serr != nil {
			return nil, serr // also behind an error of the format: it explains it
		}
		if err == io.EOF {
			return nil, io.EOF
		}
		return nil, err
	}
	r.count.Rows += rec.NumRows()
	defer rec.Release()
	cols := make([]arrow.Array, len(r.from))
	defer func() {
		for i, c := range cols {
			if r.from[i] < 0 && c != nil {
				c.Release()
			}
		}
	}()
	for i, c := range r.from {
		if c >= 0 {
			cols[i] = rec.Column(c)
			continue
		}
		if cols[i], err = r.fill[i](int(rec.NumRows())); err != nil {
			return nil, fmt.Errorf("column %q of file %q: %w", r.out.Field(i).Name, r.e.Path, err)
		}
	}
	if err := r.checkOp(cols); err != nil {
		return nil, err
	}
	return array.NewRecordBatch(r.out, cols, rec.NumRows()), nil
}

// Close ends the reading.
func (r *reader) Close() error {
	return errors.Join(r.in.Close(), r.f.Close())
}
