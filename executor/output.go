package executor

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/exchange"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
)

// output takes what the root of a stage makes. One of finish and discard ends it.
type output interface {
	write(ctx context.Context, rec arrow.RecordBatch) error
	finish(ctx context.Context, res *batch.TaskResult) error
	discard()
}

// toClient hands rows to the client, who reads them while they are made.
type toClient struct {
	tc    *TaskContext
	w     *exchange.LiveWriter
	rows  int64
	small coalescer
}

func (o *toClient) write(ctx context.Context, rec arrow.RecordBatch) error {
	first := o.rows == 0
	o.rows += rec.NumRows()
	if first { // somebody waits for it, however few rows it has
		return o.w.Append(ctx, rec)
	}
	return o.small.add(o.tc, rec, func(rec arrow.RecordBatch) error { return o.w.Append(ctx, rec) })
}

func (o *toClient) finish(ctx context.Context, res *batch.TaskResult) error {
	if err := o.small.flush(o.tc, func(rec arrow.RecordBatch) error { return o.w.Append(ctx, rec) }); err != nil {
		return err
	}
	res.Counters.RowsOut += o.rows
	res.OutRows = []int64{o.rows}
	return o.w.Commit()
}

func (o *toClient) discard() {
	o.small.drop()
	o.w.Discard()
}

// toExchange hands rows to later stages.
type toExchange struct {
	tc    *TaskContext
	w     *exchange.Writer
	rows  int64
	small coalescer
}

func (o *toExchange) write(_ context.Context, rec arrow.RecordBatch) error {
	o.rows += rec.NumRows()
	return o.small.add(o.tc, rec, o.append)
}

func (o *toExchange) append(rec arrow.RecordBatch) error { return o.w.Append(rec, nil) }

func (o *toExchange) finish(_ context.Context, res *batch.TaskResult) error {
	if err := o.small.flush(o.tc, o.append); err != nil {
		return err
	}
	res.Counters.RowsOut += o.rows
	res.OutRows = []int64{o.rows}
	return o.w.Commit()
}

func (o *toExchange) discard() {
	o.small.drop()
	o.w.Discard()
}

// router sorts the rows of a hash exchange by key group. It outlives the task,
// so that its buffers do.
type router struct {
	keys   *computed
	hasher rowkey.Hasher
	hashes []uint64
	groups []uint8
	order  []int32
}

func newRouter(to physical.ToHash, input *arrow.Schema) (*router, error) {
	keys, err := newComputed(to.Keys, input)
	if err != nil {
		return nil, fmt.Errorf("exchange keys: %w", err)
	}
	return &router{keys: keys}, nil
}

// toHash spreads rows by the key group of their keys.
type toHash struct {
	*router
	tc    *TaskContext
	w     *exchange.Writer
	parts int
	rows  [batch.KeyGroups]int64
	small coalescer
}

func (o *toHash) write(_ context.Context, rec arrow.RecordBatch) error {
	return o.small.add(o.tc, rec, o.spread)
}

func (o *toHash) spread(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	if o.parts == 1 {
		o.rows[0] += int64(n)
		return o.w.Append(rec, nil)
	}
	cols, err := o.keys.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	o.hashes = resized(o.hashes, n)
	o.hasher.Hash(cols, o.hashes)
	o.groups, o.order = resized(o.groups, n), resized(o.order, n)
	rowkey.Groups(o.hashes, o.groups)
	starts := new([batch.KeyGroups + 1]int32)
	for _, g := range o.groups {
		starts[int(g)+1]++
	}
	for g := range batch.KeyGroups {
		o.rows[g] += int64(starts[g+1])
		starts[g+1] += starts[g]
	}
	next := *starts
	for i, g := range o.groups {
		o.order[next[g]] = int32(i)
		next[g]++
	}
	sorted, err := gather.Batch(o.tc.Alloc, rec, o.order)
	if err != nil {
		return err
	}
	defer sorted.Release()
	return o.w.Append(sorted, starts)
}

func (o *toHash) finish(_ context.Context, res *batch.TaskResult) error {
	if err := o.small.flush(o.tc, o.spread); err != nil {
		return err
	}
	res.OutRows = make([]int64, o.parts)
	for g, rows := range o.rows {
		res.OutRows[batch.PartitionOf(g, o.parts)] += rows
		res.Counters.RowsOut += rows
	}
	return o.w.Commit()
}

func (o *toHash) discard() {
	o.small.drop()
	o.w.Discard()
}

// toSink prepares rows for a sink. On replay (Spec.Reveal is false) there is no
// writer: the rows are counted and digested alone.
type toSink struct {
	tc     *TaskContext
	sink   string
	w      sinks.Writer
	hasher *rowkey.Hasher
	rows   int64
	digest batch.Digest
}

func (o *toSink) write(ctx context.Context, rec arrow.RecordBatch) error {
	o.rows += rec.NumRows()
	o.digest = o.digest.Add(o.hasher.Digest(rec.Columns(), int(rec.NumRows())))
	if o.w == nil {
		return nil
	}
	if err := o.w.Write(ctx, rec); err != nil {
		return fmt.Errorf("write %d rows to sink %q: %w", rec.NumRows(), o.sink, err)
	}
	return nil
}

func (o *toSink) finish(ctx context.Context, res *batch.TaskResult) error {
	var p batch.Prepared
	if o.w != nil {
		var err error
		if p, err = o.w.Prepare(ctx); err != nil {
			return fmt.Errorf("prepare %d rows for sink %q: %w", o.rows, o.sink, err)
		}
	}
	p.Sink, p.Partition, p.Rows, p.Digest = o.sink, o.tc.Spec.Task.Partition, o.rows, o.digest
	res.Prepared = append(res.Prepared, p)
	res.Counters.RowsOut += o.rows
	return nil
}

func (o *toSink) discard() {
	if o.w != nil {
		o.w.Discard()
		o.w = nil
	}
}
