package executor

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// rankChunk is how many groups are read before the first of them is written.
const rankChunk = 4096

// rankTop keeps the first rows of each group in one row of the store: for each of
// them, in their order, its order in bytes that compare as the rows are ordered, and
// the row. What a batch changes is found by these bytes alone; rows are decoded only
// to come out. Of equals the row that came first is the first.
type rankTop struct {
	base
	n     *physical.Rank
	ev    *computed // the partition, then the order
	keys  *stateKeys
	order *sortEncoder
	codec *rowkey.ValueCodec
	types []arrow.DataType
	txn   statestore.Txn
	mem   account

	table   *groupTable
	ids     []uint32
	groups  []rankGroup
	entries []rankEntry
	arena   []byte // orders, then rows, of entries
	recs    []arrow.RecordBatch
	vals    rowkey.Rows

	blobs    []byte // of a chunk of groups
	old, now []rankRow
	value    []byte
	builders []array.Builder
	numbers  []int64
	ops      []batch.Op

	onePass
}

// rankGroup is the rows of a group in the batch that may be among the first, the
// last of them first.
type rankGroup struct {
	head, n int32 // head is an entry, -1 for none
}

// rankEntry is such a row: where its order and, later, its bytes are in the arena.
type rankEntry struct {
	from, to int
	val, end int
	rec, row int32
	next     int32 // the one in front of it, -1 for none
}

// rankRow is one of the first rows of a group.
type rankRow struct {
	order, row []byte
	was        int // its place before the batch, -1 if it is new
}

func newRankTop(n *physical.Rank, in Operator) (*rankTop, error) {
	r := &rankTop{base: base{node: n, in: []Operator{in}}, n: n, types: fieldTypes(in.Schema().Fields())}
	exprs := slices.Clone(n.Partition)
	for _, k := range n.Order {
		exprs = append(exprs, k.Expr)
	}
	var err error
	if r.ev, err = newComputed(exprs, in.Schema()); err != nil {
		return nil, err
	}
	if r.keys, err = newStateKeys(typesOf(n.Partition), -1, 0, nil); err != nil {
		return nil, err
	}
	if r.order, err = newSortEncoder(n.Order); err != nil {
		return nil, err
	}
	if r.codec, err = rowkey.NewValueCodec(r.types); err != nil {
		return nil, err
	}
	r.table, err = newGroupTable(typesOf(n.Partition))
	return r, err
}

func (r *rankTop) Open(ctx context.Context, tc *TaskContext) error {
	r.reset()
	r.ev.open(tc)
	r.mem.open(tc)
	return r.base.Open(ctx, tc)
}

func (r *rankTop) reset() {
	r.onePass.reset()
	r.recs = release(r.recs)
	r.table.Reset()
	releaseBuilders(r.builders)
	r.builders, r.numbers, r.ops = nil, r.numbers[:0], r.ops[:0]
	r.groups, r.entries, r.arena = r.groups[:0], r.entries[:0], r.arena[:0]
}

func (r *rankTop) Close() error {
	r.reset()
	_ = r.mem.set(0) // giving back cannot be refused
	return r.base.Close()
}

func (r *rankTop) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return r.next(ctx, r.n.Operator, r.compute)
}

func (r *rankTop) compute(ctx context.Context) error {
	var err error
	if r.txn, err = r.tc.State(ctx, r.n.Operator); err != nil {
		return err
	}
	if err := drain(ctx, r.in[0], r.take); err != nil {
		return err
	}
	if len(r.groups) == 0 {
		return nil
	}
	if err := r.encodeRows(); err != nil {
		return err
	}
	cols, err := r.table.Keys(r.tc.Alloc, 0, len(r.groups))
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	if err := r.keys.encode(cols, len(r.groups)); err != nil {
		return err
	}
	for from := 0; from < len(r.keys.list); from += rankChunk {
		if err := r.chunk(from, min(from+rankChunk, len(r.keys.list))); err != nil {
			return err
		}
	}
	return r.flush()
}

// take notes the rows of a batch that may be among the first of their groups.
func (r *rankTop) take(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	cols, err := r.ev.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	parts := len(r.n.Partition)
	r.ids = resized(r.ids, n)
	r.table.Map(cols[:parts], n, r.ids)
	for len(r.groups) < r.table.Len() {
		r.groups = append(r.groups, rankGroup{head: -1})
	}
	if err := r.order.encode(cols[parts:], n); err != nil {
		return err
	}
	r.entries = roomFor(r.entries, n/4)
	for i := range n {
		g, key := &r.groups[r.ids[i]], r.order.rows.Row(i)
		full := int(g.n) == r.n.Limit
		if full && bytes.Compare(key, r.key(g.head)) >= 0 {
			continue
		}
		at := r.add(key, len(r.recs), i)
		if full { // the last one goes, and leaves its place
			g.head = r.entries[g.head].next
		} else {
			g.n++
		}
		behind := int32(-1)
		next := g.head
		for next >= 0 && bytes.Compare(r.key(next), key) > 0 {
			behind, next = next, r.entries[next].next
		}
		r.entries[at].next = next
		if behind < 0 {
			g.head = at
		} else {
			r.entries[behind].next = at
		}
	}
	rec.Retain()
	r.recs = append(r.recs, rec)
	return r.mem.set(r.table.Bytes() + int64(cap(r.arena)) + 48*int64(cap(r.entries)) + 8*int64(cap(r.groups)) + r.order.bytes())
}

func (r *rankTop) key(e int32) []byte { return r.arena[r.entries[e].from:r.entries[e].to] }

func (r *rankTop) add(key []byte, rec, row int) int32 {
	from := len(r.arena)
	r.arena = append(roomFor(r.arena, len(key)), key...)
	r.entries = append(r.entries, rankEntry{from: from, to: len(r.arena), rec: int32(rec), row: int32(row)})
	return int32(len(r.entries) - 1)
}

// encodeRows puts the rows that are left into the arena, and lets go of the batches.
func (r *rankTop) encodeRows() error {
	of := make([][]int32, len(r.recs))
	for _, g := range r.groups {
		for e := g.head; e >= 0; e = r.entries[e].next {
			of[r.entries[e].rec] = append(of[r.entries[e].rec], e)
		}
	}
	var rows []int32
	for i, rec := range r.recs {
		slices.SortFunc(of[i], func(a, b int32) int { return int(r.entries[a].row - r.entries[b].row) })
		rows = rows[:0]
		for _, e := range of[i] {
			rows = append(rows, r.entries[e].row)
		}
		cols, err := gather.Columns(r.tc.Alloc, rec.Columns(), rows)
		if err != nil {
			return err
		}
		err = r.codec.Encode(cols, len(rows), &r.vals)
		gather.Release(cols)
		if err != nil {
			return err
		}
		r.arena = roomFor(r.arena, len(r.vals.Data))
		for k, e := range of[i] {
			r.entries[e].val = len(r.arena)
			r.arena = append(r.arena, r.vals.Row(k)...)
			r.entries[e].end = len(r.arena)
		}
	}
	r.recs = release(r.recs)
	return r.mem.set(r.table.Bytes() + int64(cap(r.arena)) + 48*int64(cap(r.entries)) + r.vals.Bytes())
}

// chunk brings some groups, in the order of their keys, up to the batch.
func (r *rankTop) chunk(from, to int) error {
	r.blobs = r.blobs[:0]
	var ends [rankChunk + 1]int
	at := 0
	err := r.txn.Get(r.keys.list[from:to], func(i int, value []byte) error {
		for ; at < i; at++ {
			ends[at+1] = ends[at]
		}
		r.blobs = append(r.blobs, value...)
		at++
		ends[at] = len(r.blobs)
		return nil
	})
	for ; at < to-from; at++ {
		ends[at+1] = ends[at]
	}
	for i := from; i < to && err == nil; i++ {
		err = r.group(r.keys.list[i], &r.groups[r.keys.order[i]], r.blobs[ends[i-from]:ends[i-from+1]])
	}
	return err
}

// group puts the rows of the batch among those of the store.
func (r *rankTop) group(key []byte, g *rankGroup, stored []byte) error {
	var err error
	if r.old, err = rankRows(r.old[:0], stored, r.n.Limit); err != nil {
		return err
	}
	r.now = r.now[:0]
	for e := g.head; e >= 0; e = r.entries[e].next {
		x := &r.entries[e]
		r.now = append(r.now, rankRow{order: r.arena[x.from:x.to], row: r.arena[x.val:x.end], was: -1})
	}
	slices.Reverse(r.now)
	r.now = mergeRanks(r.old, r.now, r.n.Limit)
	same := len(r.old) == len(r.now)
	for i := range r.now {
		same = same && r.now[i].was == i
	}
	if same {
		return nil
	}
	for _, side := range []struct {
		rows []rankRow
		op   batch.Op
	}{{r.old, batch.Delete}, {r.now, batch.Insert}} {
		for i := range side.rows {
			if i < len(r.now) && r.now[i].was == i {
				continue
			}
			if err := r.put(side.rows[i].row, i+1, side.op); err != nil {
				return err
			}
		}
	}
	r.value = r.value[:0]
	for i := range r.now {
		r.value = append(binary.AppendUvarint(r.value, uint64(len(r.now[i].order))), r.now[i].order...)
		r.value = append(binary.AppendUvarint(r.value, uint64(len(r.now[i].row))), r.now[i].row...)
	}
	return r.txn.Put(key, r.value)
}

// rankRows takes the rows of a group in the store apart.
func rankRows(dst []rankRow, stored []byte, limit int) ([]rankRow, error) {
	for len(stored) > 0 {
		var parts [2][]byte
		for i := range parts {
			n, used := binary.Uvarint(stored)
			if used <= 0 || n > uint64(len(stored)-used) || len(dst) == limit {
				return nil, rowkey.ErrDamaged
			}
			parts[i] = stored[used : used+int(n)]
			stored = stored[used+int(n):]
		}
		dst = append(dst, rankRow{order: parts[0], row: parts[1], was: len(dst)})
	}
	return dst, nil
}

// mergeRanks returns the first rows of two lists in their order; of equals those of
// old are first.
func mergeRanks(old, fresh []rankRow, limit int) []rankRow {
	out := make([]rankRow, 0, min(limit, len(old)+len(fresh)))
	for len(out) < limit && len(old)+len(fresh) > 0 {
		if len(fresh) == 0 || len(old) > 0 && bytes.Compare(old[0].order, fresh[0].order) <= 0 {
			out, old = append(out, old[0]), old[1:]
		} else {
			out, fresh = append(out, fresh[0]), fresh[1:]
		}
	}
	return out
}

// put adds a row to what comes out.
func (r *rankTop) put(row []byte, number int, op batch.Op) error {
	if r.builders == nil {
		r.builders = newBuilders(r.tc.Alloc, r.types)
	}
	if err := r.codec.Decode(row, r.builders); err != nil {
		return err
	}
	r.numbers, r.ops = append(r.numbers, int64(number)), append(r.ops, op)
	if len(r.ops) < outputRows {
		return nil
	}
	return r.flush()
}

func (r *rankTop) flush() error {
	n := len(r.ops)
	if n == 0 {
		return nil
	}
	cols := finish(r.builders)
	releaseBuilders(r.builders)
	r.builders = nil
	cols = append(cols, rankNumbers(r.tc, r.n.Out.Field(len(cols)).Type, r.numbers), ops8(r.tc.Alloc, r.ops))
	r.numbers, r.ops = r.numbers[:0], r.ops[:0]
	r.ready = append(r.ready, newBatch(r.n.Out, cols, n))
	return nil
}

func rankNumbers(tc *TaskContext, dt arrow.DataType, numbers []int64) arrow.Array {
	if dt.ID() == arrow.INT64 {
		return int64Column(tc.Alloc, dt, numbers, 0)
	}
	b := array.NewInt32Builder(tc.Alloc)
	defer b.Release()
	b.Reserve(len(numbers))
	for _, v := range numbers {
		b.UnsafeAppend(int32(v))
	}
	return b.NewArray()
}
