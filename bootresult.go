package sluice

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/foreachbatch"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/tiered"
)

// results keeps what a plan has put out so far, by sink: in the store that state lies
// in, so that it need not fit into memory.
type results struct {
	store *tiered.Store
	of    map[string]*result
}

func newResults(s *Session, dir string) (*results, error) {
	store, err := tiered.Open(tiered.Options{Dir: dir, Pool: s.state, Memory: s.memory.Child("results to compare", 0)})
	if err != nil {
		return nil, err
	}
	return &results{store: store, of: map[string]*result{}}, nil
}

func (r *results) close() error { return r.store.Close() }

// result is what one sink would hold. In update mode a row is kept by its key; in
// changelog mode by itself, with how often it is there.
type result struct {
	store  *tiered.Store
	shard  batch.Shard
	schema *arrow.Schema // without the kind of change
	update bool
	keys   []int
	enc    *rowkey.Encoder
	codec  *rowkey.ValueCodec
	at     batch.ID // version of the shard
}

// sink returns a connector that keeps what it is given. Asked again it goes on.
func (r *results) sink(s physical.Sink, schema *arrow.Schema) (sinks.Connector, error) {
	res := r.of[s.Name]
	if res == nil {
		var err error
		if res, err = newResult(r.store, s, schema); err != nil {
			return sinks.Connector{}, err
		}
		r.of[s.Name] = res
	}
	return foreachbatch.Connector("blackhole", func(ctx context.Context, b foreachbatch.Batch) error { return res.take(ctx, b.Records) }), nil
}

func newResult(store *tiered.Store, s physical.Sink, schema *arrow.Schema) (*result, error) {
	res := &result{store: store, shard: batch.Shard{Operator: s.Name, EndGroup: batch.KeyGroups}, schema: schema, update: s.Mode == string(sinks.Update), at: batch.None}
	var types []arrow.DataType
	for _, k := range s.Keys {
		at := schema.FieldIndices(k)
		if len(at) == 0 {
			return nil, fmt.Errorf("compare the results of sink %s: its key %q is no column", s.Name, k)
		}
		res.keys, types = append(res.keys, at[0]), append(types, schema.Field(at[0]).Type)
	}
	var err error
	if res.enc, err = rowkey.NewEncoder(types); err != nil {
		return nil, err
	}
	all := make([]arrow.DataType, schema.NumFields())
	for i := range all {
		all[i] = schema.Field(i).Type
	}
	res.codec, err = rowkey.NewValueCodec(all)
	return res, err
}

// take applies the changes of a step.
func (r *result) take(ctx context.Context, recs []arrow.RecordBatch) error {
	txn, err := r.store.Begin(ctx, r.shard, r.at)
	if err != nil {
		return err
	}
	defer txn.Discard()
	for _, rec := range recs {
		if err := r.apply(txn, rec); err != nil {
			return err
		}
	}
	if _, err := txn.Seal(ctx); err != nil {
		return err
	}
	r.at++
	return r.store.Prune(ctx, r.shard, r.at)
}

func (r *result) apply(txn statestore.Txn, rec arrow.RecordBatch) error {
	cols, n := rec.Columns()[:r.schema.NumFields()], int(rec.NumRows())
	ops := opsOf(rec)
	var rows, keys rowkey.Rows
	if err := r.codec.Encode(cols, n, &rows); err != nil {
		return err
	}
	if r.update {
		by := make([]arrow.Array, len(r.keys))
		for i, k := range r.keys {
			by[i] = cols[k]
		}
		if err := r.enc.Encode(by, n, &keys); err != nil {
			return err
		}
	}
	for i := range n {
		op := ops(i)
		if !r.update {
			sign := int64(1)
			if op == batch.Delete || op == batch.UpdateBefore {
				sign = -1
			}
			if err := r.count(txn, rows.Row(i), sign); err != nil {
				return err
			}
			continue
		}
		key := grouped(keys.Row(i))
		var err error
		switch op {
		case batch.UpdateBefore:
		case batch.Delete:
			err = txn.Delete(key)
		default:
			err = txn.Put(key, rows.Row(i))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// grouped puts a key group in front, as keys of state have one.
func grouped(key []byte) []byte {
	return append([]byte{byte(xxh3.Hash(key))}, key...)
}

// count adds to how often a row is there.
func (r *result) count(txn statestore.Txn, row []byte, by int64) error {
	sum := xxh3.Hash128(row).Bytes()
	key := sum[:]
	n := int64(0)
	err := txn.Get([][]byte{key}, func(_ int, v []byte) error {
		n, _ = binary.Varint(v)
		return nil
	})
	if err != nil {
		return err
	}
	if n += by; n == 0 {
		return txn.Delete(key)
	}
	return txn.Put(key, append(binary.AppendVarint(nil, n), row...))
}

// opsOf returns the kind of change of each row.
func opsOf(rec arrow.RecordBatch) func(int) batch.Op {
	last := rec.Schema().NumFields() - 1
	if last < 0 || rec.Schema().Field(last).Name != batch.OpColumn {
		return func(int) batch.Op { return batch.Insert }
	}
	ops := rec.Column(last).(*array.Int8)
	return func(i int) batch.Op { return batch.Op(ops.Value(i)) }
}

// change is a row that is to be put out, op times n.
type change struct {
	row []byte
	op  batch.Op
	n   int64
}

// differences visits what makes one result of another: first what is taken back, then
// what is put out. was may be nil, which is an empty result; all puts out every row.
func (r *result) differences(ctx context.Context, was *result, all bool, visit func(change) error) error {
	for _, back := range []bool{true, false} {
		err := r.merge(ctx, was, func(old, now []byte) error { return r.differ(old, now, back, all, visit) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *result) differ(old, now []byte, back, all bool, visit func(change) error) error {
	if r.update {
		switch {
		case back && now == nil:
			return visit(change{old, batch.Delete, 1})
		case !back && now != nil && old == nil:
			return visit(change{now, batch.Insert, 1})
		case !back && now != nil && (all || !bytes.Equal(old, now)):
			return visit(change{now, batch.UpdateAfter, 1})
		}
		return nil
	}
	a, row := copies(old, nil)
	b, row := copies(now, row)
	switch {
	case back && b < a:
		return visit(change{row, batch.Delete, a - b})
	case !back && b > a:
		return visit(change{row, batch.Insert, b - a})
	}
	return nil
}

func copies(v, row []byte) (int64, []byte) {
	if v == nil {
		return 0, row
	}
	n, w := binary.Varint(v)
	return n, v[w:]
}

// kvRow is a row of a result.
type kvRow struct{ key, value []byte }

// mergeRows is how many rows of each result are looked at at once.
const mergeRows = 4096

// merge visits the rows of both results by their keys, in key order; what one of them
// lacks is nil.
func (r *result) merge(ctx context.Context, was *result, visit func(old, now []byte) error) (err error) {
	a, err := was.cursor(ctx)
	if err != nil {
		return err
	}
	defer a.close()
	b, err := r.cursor(ctx)
	if err != nil {
		return err
	}
	defer b.close()
	for {
		x, err := a.peek()
		if err != nil {
			return err
		}
		y, err := b.peek()
		if err != nil {
			return err
		}
		switch {
		case x == nil && y == nil:
			return nil
		case y == nil || x != nil && bytes.Compare(x.key, y.key) < 0:
			a.next++
			err = visit(x.value, nil)
		case x == nil || bytes.Compare(x.key, y.key) > 0:
			b.next++
			err = visit(nil, y.value)
		default:
			a.next++
			b.next++
			err = visit(x.value, y.value)
		}
		if err != nil {
			return err
		}
	}
}

// cursor reads a result piece by piece.
type cursor struct {
	txn  statestore.Txn
	rows []kvRow
	next int
	from []byte
	end  bool
}

func (r *result) cursor(ctx context.Context) (*cursor, error) {
	if r == nil || r.at == batch.None {
		return &cursor{end: true}, nil
	}
	txn, err := r.store.Begin(ctx, r.shard, r.at)
	return &cursor{txn: txn}, err
}

func (c *cursor) close() {
	if c.txn != nil {
		c.txn.Discard()
	}
}

func (c *cursor) peek() (*kvRow, error) {
	if c.next < len(c.rows) {
		return &c.rows[c.next], nil
	}
	if c.end {
		return nil, nil
	}
	c.rows, c.next = c.rows[:0], 0
	err := c.txn.Scan(c.from, nil, func(key, value []byte) (bool, error) {
		if len(c.rows) == mergeRows {
			return false, nil
		}
		c.rows = append(c.rows, kvRow{bytes.Clone(key), bytes.Clone(value)})
		return true, nil
	})
	if c.end = len(c.rows) < mergeRows; !c.end {
		c.from = append(bytes.Clone(c.rows[len(c.rows)-1].key), 0)
	}
	if err != nil || len(c.rows) == 0 {
		return nil, err
	}
	return &c.rows[0], nil
}

// put writes the differences to a sink's writer and prepares them: they are shown
// with the batch that brings the changed query.
func (r *result) put(ctx context.Context, was *result, all bool, w sinks.WriterFactory, a sinks.Attempt, sink string) (p batch.Prepared, err error) {
	fields := append(slices.Clone(r.schema.Fields()), arrow.Field{Name: batch.OpColumn, Type: arrow.PrimitiveTypes.Int8})
	schema := arrow.NewSchema(fields, nil)
	out, err := w.NewWriter(ctx, a, schema, memory.DefaultAllocator)
	if err != nil {
		return p, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, out.Discard())
		}
	}()
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	var hasher rowkey.Hasher
	var sum batch.Digest
	rows := int64(0)
	flush := func() error {
		rec := b.NewRecordBatch()
		defer rec.Release()
		if rec.NumRows() == 0 {
			return nil
		}
		rows += rec.NumRows()
		sum = sum.Add(hasher.Digest(rec.Columns(), int(rec.NumRows())))
		return out.Write(ctx, rec)
	}
	pending := 0
	err = r.differences(ctx, was, all, func(c change) error {
		for range c.n {
			if err := r.codec.Decode(c.row, b.Fields()[:len(fields)-1]); err != nil {
				return err
			}
			b.Field(len(fields) - 1).(*array.Int8Builder).Append(int8(c.op))
			if pending++; pending == mergeRows {
				pending = 0
				if err := flush(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return p, err
	}
	p, err = out.Prepare(ctx)
	p.Sink, p.Rows, p.Digest = sink, rows, sum
	return p, err
}
