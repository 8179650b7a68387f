package debezium

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/json"
)

// writer puts out an event a line. The row before an update and the one after it are
// one event where they follow each other; alone they are a deletion and a creation,
// which come to the same.
type writer struct {
	*formats.TextOutput
	e  *json.Encoder
	op int // the column of the kind of change; -1: all rows are added
}

func newWriter(w io.Writer, schema *arrow.Schema, c formats.Config, _ memory.Allocator) (formats.Writer, error) {
	out, err := formats.NewTextOutput(w, formats.Compression(c.Options.Get(optCompress)), "Debezium JSON")
	if err != nil {
		return nil, err
	}
	n := schema.NumFields()
	if n > 0 && schema.Field(n-1).Name == batch.OpColumn {
		return &writer{TextOutput: out, e: json.NewEncoder(arrow.NewSchema(schema.Fields()[:n-1], nil)), op: n - 1}, nil
	}
	return &writer{TextOutput: out, e: json.NewEncoder(schema), op: -1}, nil
}

// Write appends events.
func (w *writer) Write(rec arrow.RecordBatch) error {
	row, ops, done, err := w.bind(rec)
	if err != nil {
		return err
	}
	defer done()
	n := int(rec.NumRows())
	for i := 0; i < n; i++ {
		op := ops(i)
		switch {
		case op == batch.UpdateBefore && i+1 < n && ops(i+1) == batch.UpdateAfter:
			w.Buf = row(append(w.Buf, `{"before":`...), i)
			w.Buf = row(append(w.Buf, `,"after":`...), i+1)
			w.Buf = append(w.Buf, `,"op":"u"}`...)
			i++
		case op == batch.UpdateBefore || op == batch.Delete:
			w.Buf = row(append(w.Buf, `{"before":`...), i)
			w.Buf = append(w.Buf, `,"after":null,"op":"d"}`...)
		default:
			w.Buf = row(append(w.Buf, `{"before":null,"after":`...), i)
			w.Buf = append(w.Buf, `,"op":"c"}`...)
		}
		if err := w.EndRow(); err != nil {
			return err
		}
	}
	return nil
}

// bind takes a batch apart into what writes its rows and their kinds of change.
func (w *writer) bind(rec arrow.RecordBatch) (row func([]byte, int) []byte, ops func(int) batch.Op, done func(), err error) {
	if w.op < 0 {
		row, err = w.e.Columns(rec)
		return row, func(int) batch.Op { return batch.Insert }, func() {}, err
	}
	kinds, ok := rec.Column(w.op).(*array.Int8)
	if !ok {
		return nil, nil, nil, fmt.Errorf("the kind of change is %s", rec.Column(w.op).DataType())
	}
	rows := array.NewRecordBatch(arrow.NewSchema(rec.Schema().Fields()[:w.op], nil), rec.Columns()[:w.op], rec.NumRows())
	if row, err = w.e.Columns(rows); err != nil {
		rows.Release()
		return nil, nil, nil, err
	}
	return row, func(i int) batch.Op { return batch.Op(kinds.Value(i)) }, rows.Release, nil
}
