package executor

import (
	"bytes"
	"context"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
)

// folder reads changes that are sorted by key and gives the rows that are left of
// them. It holds the rows of one key.
type folder struct {
	base
	n     *physical.Fold
	keys  *computed
	enc   *rowkey.Encoder
	codec *rowkey.ValueCodec
	types []arrow.DataType

	key   []byte // in hand; nil before the first
	rows  []foldRow
	index map[string]int32 // of rows, by their stored form; used from the second row on

	signs []int32
	krows rowkey.Rows
	vrows rowkey.Rows
	out   side
	mem   account
	held  int64
	done  bool
}

// foldRow is a row of the key in hand, and how often it is there.
type foldRow struct {
	value []byte
	count int64
}

func newFold(n *physical.Fold, in Operator) (*folder, error) {
	f := &folder{base: base{node: n, in: []Operator{in}}, n: n, types: fieldTypes(n.Out.Fields()), index: map[string]int32{}}
	var err error
	if f.keys, err = newComputed(n.By, in.Schema()); err != nil {
		return nil, err
	}
	if f.enc, err = rowkey.NewEncoder(typesOf(n.By)); err != nil {
		return nil, err
	}
	f.codec, err = rowkey.NewValueCodec(f.types)
	return f, err
}

func (f *folder) Open(ctx context.Context, tc *TaskContext) error {
	f.reset()
	f.mem.open(tc)
	f.keys.open(tc)
	return f.base.Open(ctx, tc)
}

func (f *folder) reset() {
	releaseBuilders(f.out.builders)
	f.out = side{}
	f.forget()
	f.key, f.done = nil, false
}

func (f *folder) forget() {
	f.rows, f.held = f.rows[:0], 0
	clear(f.index)
}

func (f *folder) Close() error {
	f.reset()
	_ = f.mem.set(0) // giving back cannot be refused
	return f.base.Close()
}

func (f *folder) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for !f.done && f.out.rows < outputRows {
		rec, err := f.in[0].Next(ctx)
		if err == io.EOF {
			f.done = true
			err = f.flush()
		} else if err == nil {
			err = f.take(rec)
			rec.Release()
		}
		if err != nil {
			return nil, err
		}
	}
	if f.out.rows == 0 {
		return nil, io.EOF
	}
	rec := newBatch(f.n.Out, finish(f.out.builders), f.out.rows)
	f.out.rows = 0
	return rec, nil
}

// take adds changes to the rows of their keys.
func (f *folder) take(rec arrow.RecordBatch) error {
	cols, signed, err := signs(rec, f.signs)
	if err != nil {
		return err
	}
	f.signs = signed
	keys, err := f.keys.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(keys)
	if err := f.enc.Encode(keys, len(signed), &f.krows); err != nil {
		return err
	}
	if err := f.codec.Encode(cols, len(signed), &f.vrows); err != nil {
		return err
	}
	for i, sign := range signed {
		if k := f.krows.Row(i); f.key == nil || !bytes.Equal(f.key, k) {
			if err := f.flush(); err != nil {
				return err
			}
			f.key = append(f.key[:0], k...)
		}
		if f.n.Latest {
			f.last(f.vrows.Row(i), sign)
			continue
		}
		f.add(f.vrows.Row(i), int64(sign))
	}
	return f.mem.set(f.held)
}

// last replaces the key's row.
func (f *folder) last(value []byte, sign int32) {
	if len(f.rows) == 0 {
		f.rows = append(f.rows[:0], foldRow{})
	}
	r := &f.rows[0]
	r.value, r.count = append(r.value[:0], value...), int64(max(sign, 0))
}

// add counts a row of the key. Most keys have one, which needs no index.
func (f *folder) add(value []byte, by int64) {
	if len(f.rows) > 0 && bytes.Equal(f.rows[len(f.rows)-1].value, value) {
		f.rows[len(f.rows)-1].count += by
		return
	}
	if len(f.rows) == 1 {
		f.index[string(f.rows[0].value)] = 0
	}
	if len(f.rows) > 0 {
		if at, ok := f.index[string(value)]; ok {
			f.rows[at].count += by
			return
		}
		f.index[string(value)] = int32(len(f.rows))
		f.held += 2 * int64(len(value)+48)
	}
	n := len(f.rows)
	if n < cap(f.rows) {
		f.rows = f.rows[:n+1] // with the buffer of a row before
	} else {
		f.rows = append(f.rows, foldRow{})
	}
	r := &f.rows[n]
	r.value, r.count = append(r.value[:0], value...), by
}

// flush gives out the rows that are left of the key in hand.
func (f *folder) flush() error {
	if f.out.builders == nil && len(f.rows) > 0 {
		f.out.builders = newBuilders(f.tc.Alloc, f.types)
	}
	for i := range f.rows {
		r := &f.rows[i]
		if r.count < 0 {
			return f.missing(r)
		}
		for range r.count {
			if err := f.codec.Decode(r.value, f.out.builders); err != nil {
				return err
			}
			f.out.rows++
		}
	}
	f.forget()
	return nil
}

// missing says which row was taken back that is not there.
func (f *folder) missing(r *foldRow) error {
	return takenBack(f.n.Table, f.codec, f.types, f.n.Out, r.value, f.tc)
}

// takenBack is the error of a changelog that does not fit together. What is to be done
// is told, since most often its beginning is missing.
func takenBack(table string, codec *rowkey.ValueCodec, types []arrow.DataType, schema *arrow.Schema, value []byte, tc *TaskContext) error {
	bs := newBuilders(tc.Alloc, types)
	defer releaseBuilders(bs)
	var text []string
	if err := codec.Decode(value, bs); err == nil {
		cols := finish(bs)
		defer gather.Release(cols)
		for i, c := range cols {
			text = append(text, schema.Field(i).Name+" = "+c.ValueStr(0))
		}
	}
	return batch.UserErrorf("table %q: its changes take back a row that is not there (%s): "+
		"if they do not begin with the table's first row, or repeat themselves, declare a PRIMARY KEY and set 'changelog' = 'upsert'", table, strings.Join(text, ", "))
}
