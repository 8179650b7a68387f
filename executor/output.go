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
	places []gather.At // order, where rows are of several batches
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
	if o.parts == 1 {
		return o.small.add(o.tc, rec, o.keep)
	}
	return o.small.addApart(rec, o.spread)
}

// keep is spread where there is one partition: rows stay as they come.
func (o *toHash) keep(rec arrow.RecordBatch) error {
	o.rows[0] += rec.NumRows()
	return o.w.Append(rec, nil)
}

// spread sorts the rows of small batches, or of one large one, and puts them together.
func (o *toHash) spread(recs []arrow.RecordBatch) error {
	n := 0
	for _, rec := range recs {
		n += int(rec.NumRows())
	}
	o.groups = resized(o.groups, n)
	starts := new([batch.KeyGroups + 1]int32)
	at := 0
	for _, rec := range recs {
		end := at + int(rec.NumRows())
		if err := o.groupsOf(rec, o.groups[at:end]); err != nil {
			return err
		}
		at = end
	}
	for _, g := range o.groups {
		starts[int(g)+1]++
	}
	for g := range batch.KeyGroups {
		starts[g+1] += starts[g]
	}
	sorted, err := o.sorted(recs, *starts)
	if err != nil && len(recs) > 1 {
		// Dictionaries may have too many values together: then each stays alone.
		for _, rec := range recs {
			if err := o.spread([]arrow.RecordBatch{rec}); err != nil {
				return err
			}
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer sorted.Release()
	for g := range batch.KeyGroups {
		o.rows[g] += int64(starts[g+1] - starts[g])
	}
	return o.w.Append(sorted, starts)
}

// groupsOf fills out with the key groups of a batch's rows.
func (r *router) groupsOf(rec arrow.RecordBatch, out []uint8) error {
	cols, err := r.keys.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	r.hashes = resized(r.hashes, len(out))
	r.hasher.Hash(cols, r.hashes)
	rowkey.Groups(r.hashes, out)
	return nil
}

// sorted returns the rows of batches in the order of their groups, each of which begins
// where next says.
func (o *toHash) sorted(recs []arrow.RecordBatch, next [batch.KeyGroups + 1]int32) (arrow.RecordBatch, error) {
	if len(recs) == 1 {
		o.order = resized(o.order, len(o.groups))
		for i, g := range o.groups {
			o.order[next[g]] = int32(i)
			next[g]++
		}
		return gather.Batch(o.tc.Alloc, recs[0], o.order)
	}
	o.places = resized(o.places, len(o.groups))
	at := 0
	for b, rec := range recs {
		end := at + int(rec.NumRows())
		for i, g := range o.groups[at:end] {
			o.places[next[g]] = gather.AtRow(b, i)
			next[g]++
		}
		at = end
	}
	return gather.Merge(o.tc.Alloc, recs, o.places)
}

func (o *toHash) finish(_ context.Context, res *batch.TaskResult) error {
	flush := func() error { return o.small.flushApart(o.spread) }
	if o.parts == 1 {
		flush = func() error { return o.small.flush(o.tc, o.keep) }
	}
	if err := flush(); err != nil {
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
