package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// processOutput collects the rows that a processor puts out. The rows of an output
// that is updated go through the store, which has the one that each replaces.
type processOutput struct {
	n     *physical.Process
	state *processState
	tc    *TaskContext

	nkeys   int
	starts  []int           // the first column of each output, and behind the last
	all     []array.Builder // keys, columns, tag, change; nil if nothing was put out
	rows    int
	judges  []batch.EventTime // of the rows in the builders, if outputs have event time, see processState.judge
	ready   []arrow.RecordBatch
	judged  [][]batch.EventTime // of the batches of ready
	scratch []array.Builder     // the main output's row, if it is updated
	codec   *rowkey.ValueCodec
	enc     *rowkey.Encoder // of the update key
	vals    rowkey.Rows
	ids     rowkey.Rows
}

var _ logical.ProcessRows = (*processOutput)(nil)

func newProcessOutput(n *physical.Process, state *processState) (*processOutput, error) {
	o := &processOutput{n: n, state: state, nkeys: len(n.Keys[0])}
	at := o.nkeys
	for _, out := range n.Def.Outputs {
		o.starts = append(o.starts, at)
		at += out.Schema.NumFields()
	}
	o.starts = append(o.starts, at)
	if !n.Def.Update {
		return o, nil
	}
	types := fieldTypes(n.Def.Outputs[0].Schema.Fields())
	var err error
	if o.codec, err = rowkey.NewValueCodec(types); err != nil {
		return nil, err
	}
	by := make([]arrow.DataType, len(n.Def.UpdateBy))
	for i, c := range n.Def.UpdateBy {
		by[i] = types[c]
	}
	o.enc, err = rowkey.NewEncoder(by)
	return o, err
}

func (o *processOutput) open(tc *TaskContext) {
	o.reset()
	o.tc = tc
}

func (o *processOutput) reset() {
	releaseBuilders(o.all)
	releaseBuilders(o.scratch)
	o.all, o.scratch, o.rows, o.judges = nil, nil, 0, nil
	o.ready, o.judged = release(o.ready), nil
}

// updated reports whether an output goes through the store.
func (o *processOutput) updated(output int) bool { return output == 0 && o.n.Def.Update }

// changes reports whether rows carry the kind of change.
func (o *processOutput) changes() bool { return o.n.Def.Update && o.n.Operator != "" }

// Builders returns the columns of an output.
func (o *processOutput) Builders(output int) []array.Builder {
	if o.updated(output) {
		if o.scratch == nil {
			o.scratch = newBuilders(o.tc.Alloc, fieldTypes(o.n.Def.Outputs[0].Schema.Fields()))
		}
		return o.scratch
	}
	o.start()
	return o.all[o.starts[output]:o.starts[output+1]]
}

func (o *processOutput) start() {
	if o.all == nil {
		o.all = newBuilders(o.tc.Alloc, fieldTypes(o.n.Out.Fields()))
	}
}

// Done ends a row.
func (o *processOutput) Done(output int, deleted bool) error {
	if o.updated(output) {
		return o.update(deleted)
	}
	if deleted {
		return batch.UserErrorf("a row can be deleted from the main output of a processor with UpdateBy only")
	}
	return o.end(output, batch.Insert)
}

// end fills up a row whose own columns are there.
func (o *processOutput) end(output int, op batch.Op) error {
	for _, b := range o.all[o.starts[output]:o.starts[output+1]] {
		if b.Len() != o.rows+1 {
			return fmt.Errorf("a row of output %d has not one value for each column", output)
		}
	}
	if err := o.state.keys.enc.Decode(o.state.key[1:], o.all[:o.nkeys]); err != nil {
		return err
	}
	for i, b := range o.all[o.nkeys:o.starts[len(o.starts)-1]] {
		if at := o.nkeys + i; at < o.starts[output] || at >= o.starts[output+1] {
			b.AppendNull()
		}
	}
	rest := o.all[o.starts[len(o.starts)-1]:]
	if o.n.Tagged {
		rest[0].(*array.Int32Builder).Append(int32(output))
		rest = rest[1:]
	}
	if len(rest) > 0 {
		rest[0].(*array.Int8Builder).Append(int8(op))
	}
	if len(o.n.Times) > 0 {
		o.judges = append(o.judges, o.state.judge)
	}
	if o.rows++; o.rows >= outputRows {
		o.flush()
	}
	return nil
}

func (o *processOutput) flush() {
	if o.rows > 0 {
		o.ready = append(o.ready, newBatch(o.n.Out, finish(o.all), o.rows))
		o.judged = append(o.judged, o.judges)
	}
	o.rows, o.judges = 0, nil
}

// finish hands over what was put out.
func (o *processOutput) finish(ctx context.Context) ([]arrow.RecordBatch, error) {
	for _, b := range append(slices.Clone(o.all), o.scratch...) {
		if b.Len() != 0 && b.Len() != o.rows {
			return nil, fmt.Errorf("a row was begun and not put out")
		}
	}
	o.flush()
	out, judged := o.ready, o.judged
	o.ready = nil
	for i, judges := range judged {
		if judges == nil || o.n.Operator == "" {
			continue
		}
		kept, err := o.dropLate(ctx, out[i], judges)
		out[i].Release()
		if out[i] = kept; err != nil {
			out = slices.DeleteFunc(out, func(r arrow.RecordBatch) bool { return r == nil })
			release(out)
			return nil, err
		}
	}
	out = slices.DeleteFunc(out, func(r arrow.RecordBatch) bool { return r == nil })
	o.reset()
	return out, nil
}

// dropLate takes the rows out of a batch that are late, each by its own judge, and
// counts them. It returns nil if none is left.
func (o *processOutput) dropLate(ctx context.Context, rec arrow.RecordBatch, judges []batch.EventTime) (arrow.RecordBatch, error) {
	var outputs []int32
	if o.n.Tagged {
		outputs = rec.Column(o.starts[len(o.starts)-1]).(*array.Int32).Int32Values()
	}
	isLate := make([]bool, rec.NumRows())
	for _, t := range o.n.Times {
		times, ok := rec.Column(t.Column).(*array.Timestamp)
		if !ok {
			return nil, fmt.Errorf("event time of output %d is %s, not a timestamp", t.Output, rec.Column(t.Column).DataType())
		}
		var late []int32
		for i, v := range times.TimestampValues() {
			if judges[i] == batch.NoTime || times.IsNull(i) || outputs != nil && outputs[i] != int32(t.Output) || shifted(int64(v), t.Shift) > judges[i] {
				continue
			}
			isLate[i], late = true, append(late, int32(i))
		}
		if len(late) == 0 {
			continue
		}
		noteLate(o.tc, o.n.Operator, int64(len(late)))
		if err := o.tc.late.put(ctx, o.n.Operator, rec, times, late); err != nil {
			return nil, err
		}
	}
	keep := make([]int32, 0, len(isLate))
	for i, l := range isLate {
		if !l {
			keep = append(keep, int32(i))
		}
	}
	return keepRows(o.tc, rec, keep)
}

// update replaces the row with the same key in the store, and puts out what
// has changed.
func (o *processOutput) update(deleted bool) error {
	cols := finish(o.scratch)
	defer gather.Release(cols)
	by := make([]arrow.Array, len(o.n.Def.UpdateBy))
	for i, c := range o.n.Def.UpdateBy {
		by[i] = cols[c]
	}
	if err := errors.Join(o.enc.Encode(by, 1, &o.ids), o.codec.Encode(cols, 1, &o.vals)); err != nil {
		return err
	}
	s := o.state
	key := append(s.path(nil, sectionOut), o.ids.Row(0)...)
	var old []byte
	if err := s.txn.Get([][]byte{key}, func(_ int, value []byte) error { old = bytes.Clone(value); return nil }); err != nil {
		return err
	}
	now := o.vals.Row(0)
	switch {
	case deleted && old == nil:
		return nil
	case deleted:
		if err := s.txn.Delete(key); err != nil {
			return err
		}
		return o.change(old, batch.Delete)
	case old == nil:
		if err := s.txn.Put(key, now); err != nil {
			return err
		}
		return o.change(now, batch.Insert)
	case bytes.Equal(old, now):
		return nil
	}
	if err := s.txn.Put(key, now); err != nil {
		return err
	}
	return errors.Join(o.change(old, batch.UpdateBefore), o.change(now, batch.UpdateAfter))
}

// change puts out a stored row. A plan that runs once puts out what is kept in the end.
func (o *processOutput) change(value []byte, op batch.Op) error {
	if !o.changes() {
		return nil
	}
	return o.stored(value, op)
}

func (o *processOutput) stored(value []byte, op batch.Op) error {
	o.start()
	if err := o.codec.Decode(value, o.all[o.starts[0]:o.starts[1]]); err != nil {
		return err
	}
	return o.end(0, op)
}

// kept puts out the rows of the key in hand that a plan that runs once ends with.
func (o *processOutput) kept(store *oneKeyStore) error {
	if len(o.state.key) == 0 {
		return nil
	}
	prefix := o.state.path(nil, sectionOut)
	return store.Scan(prefix, successor(prefix), func(_, value []byte) (bool, error) {
		return true, o.stored(value, batch.Insert)
	})
}
