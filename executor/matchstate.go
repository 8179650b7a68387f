package executor

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/executor/rowpattern"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// statefulMatch keeps the rows that wait for the watermark, or for a match to be
// decided, by partition and in the order of time:
//
//	[key group] 1 [due] [partition]                        -> nothing: when to look at it again
//	[key group] 2 [partition] 0                            -> how far its search has come
//	[key group] 2 [partition] 1 [time] [digest of the row] -> how often, and the row
//
// A batch looks only at partitions that are due: those of which a row has become
// final, or of which no row can come any more that an open search could take.
type statefulMatch struct {
	base
	n      *physical.StatefulMatch
	keys   *computed // partition keys
	groups *stateKeys
	codec  *rowkey.ValueCodec
	types  []arrow.DataType
	time   int // column
	order  *computed
	sorter *sortEncoder
	search *matchSearch
	dues   dues

	fresh []matchPartition // that the batch has rows of
	taken []matchTaken     // of the batch
	arena []byte
	vals  rowkey.Rows
	onePass
	mem    account
	before int  // rows that conditions and measures look at before a row
	behind int  // and behind it
	keeps  bool // a header says something even if no row is left
}

// The tags behind the key group, and behind the partition.
const (
	matchDue    = 1
	matchRows   = 2
	matchHeader = 0
	matchRowTag = 1
)

// matchPartition is a partition in hand.
type matchPartition struct {
	key   []byte // [key group] 2 [partition]
	head  matchHead
	least batch.EventTime // of the rows of the batch
	from  int             // its rows in the block
	rows  [][]byte        // their keys
	next  batch.EventTime // the first row that is not final
}

// matchHead is how far the search of a partition has come, between batches.
type matchHead struct {
	number  int64
	next    int // the row to search from, counted from the first that is kept
	covered int // the last row in a match, counted alike; below zero for one that is gone
	cut     bool
	due     batch.EventTime // where the partition is listed; EndOfTime if it is not
}

func newStatefulMatch(n *physical.StatefulMatch, in Operator) (*statefulMatch, error) {
	m := &statefulMatch{base: base{node: n, in: []Operator{in}}, n: n, types: fieldTypes(in.Schema().Fields())}
	col, ok := n.Order[0].Expr.(*expr.Column)
	if !ok || col.DT.ID() != arrow.TIMESTAMP {
		return nil, fmt.Errorf("%s is not ordered by a column of time", n)
	}
	m.time = col.Index
	var err error
	if m.keys, err = newComputed(n.Partition, in.Schema()); err != nil {
		return nil, err
	}
	if m.groups, err = newStateKeys(typesOf(n.Partition), -1, 0, nil); err != nil {
		return nil, err
	}
	if m.codec, err = rowkey.NewValueCodec(m.types); err != nil {
		return nil, err
	}
	order := make([]expr.Expr, len(n.Order))
	for i, k := range n.Order {
		order[i] = k.Expr
	}
	if m.order, err = newComputed(order, in.Schema()); err != nil {
		return nil, err
	}
	if m.sorter, err = newSortEncoder(n.Order); err != nil {
		return nil, err
	}
	b1, a1 := n.Spec.Reach()
	b2, a2 := n.Spec.MeasureReach()
	m.before, m.behind, m.keeps = max(b1, b2), max(a1, a2), n.Spec.Remembers()
	m.search, err = newMatchSearch(n.Spec, n.Order, in.Schema(), n.Out)
	return m, err
}

func (m *statefulMatch) Open(ctx context.Context, tc *TaskContext) error {
	m.reset()
	m.mem.open(tc)
	m.keys.open(tc)
	m.order.open(tc)
	m.search.open(tc)
	return m.base.Open(ctx, tc)
}

func (m *statefulMatch) reset() {
	m.onePass.reset()
	m.search.release()
	m.fresh, m.taken, m.arena = m.fresh[:0], m.taken[:0], m.arena[:0]
}

func (m *statefulMatch) Close() error {
	m.reset()
	_ = m.mem.set(0) // giving back cannot be refused
	return m.base.Close()
}

func (m *statefulMatch) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return m.next(ctx, m.n.Operator, m.compute)
}

func (m *statefulMatch) compute(ctx context.Context) error {
	txn, err := m.tc.State(ctx, m.n.Operator)
	if err != nil {
		return err
	}
	if err := m.loadDues(txn); err != nil {
		return err
	}
	if err := drain(ctx, m.in[0], func(rec arrow.RecordBatch) error { return m.take(ctx, rec) }); err != nil {
		return err
	}
	if err := m.mem.set(m.bytes()); err != nil {
		return err
	}
	if err := m.store(txn); err != nil {
		return err
	}
	work, err := m.due(txn)
	if err != nil {
		return err
	}
	if err := m.work(txn, work); err != nil {
		return err
	}
	m.tc.Result.NextDue = min(m.tc.Result.NextDue, m.dues.next())
	return nil
}

// loadDues is dues.load for the keys of this operator.
func (m *statefulMatch) loadDues(txn statestore.Txn) error {
	due := func(key []byte) (batch.EventTime, error) {
		at, _, err := matchDueOf(key)
		return at, err
	}
	return m.dues.read(m.tc, txn, due, func(g int) (from, to []byte) { return []byte{byte(g), matchDue}, []byte{byte(g), matchRows} })
}

// matchDueOf takes a row of the list of due partitions apart.
func matchDueOf(key []byte) (at batch.EventTime, partition []byte, err error) {
	if len(key) < 10 {
		return 0, nil, rowkey.ErrDamaged
	}
	return batch.EventTime(binary.BigEndian.Uint64(key[2:]) ^ 1<<63), key[10:], nil
}

func matchDueKey(dst, partition []byte, at batch.EventTime) []byte {
	dst = append(dst, partition[0], matchDue)
	dst = binary.BigEndian.AppendUint64(dst, uint64(at)^1<<63)
	return append(dst, partition[2:]...)
}

// take adds the rows of an input batch to those of the micro-batch. A row without a
// time is in no order, and late.
func (m *statefulMatch) take(ctx context.Context, rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	keys, err := m.keys.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(keys)
	if err := m.groups.encodeRows(keys, n); err != nil {
		return err
	}
	if err := m.codec.Encode(rec.Columns(), n, &m.vals); err != nil {
		return err
	}
	times, ok := rec.Column(m.time).(*array.Timestamp)
	if !ok {
		return fmt.Errorf("the time is %s, not a timestamp", rec.Column(m.time).DataType())
	}
	var timeless []int32
	for i := range n {
		if times.IsNull(i) {
			timeless = append(timeless, int32(i))
			continue
		}
		row, key := m.vals.Row(i), m.groups.rows.Row(i)
		sum := xxh3.Hash128(row).Bytes()
		d := matchTaken{key: len(m.arena), count: 1}
		m.arena = append(append(append(m.arena, key[0], matchRows), key[1:]...), matchRowTag)
		d.group = len(m.arena) - 1
		m.arena = binary.BigEndian.AppendUint64(m.arena, uint64(times.Value(i))^1<<63)
		m.arena = append(m.arena, sum[:]...)
		d.value = len(m.arena)
		m.arena = append(m.arena, row...)
		d.end = len(m.arena)
		m.taken = append(m.taken, d)
	}
	if len(timeless) == 0 {
		return nil
	}
	noteLate(m.tc, m.n.Operator, int64(len(timeless)))
	return m.tc.late.put(ctx, m.n.Operator, rec, times, timeless)
}

// matchTaken is a row that came: where its key and value lie in the arena.
type matchTaken struct {
	key, group, value, end int // key is arena[key:value], of which arena[key:group] names the partition
	count                  int32
}

// store writes the rows of the micro-batch, equal ones as one with a count: what is
// stored depends neither on how rows came nor on how many tasks there are.
func (m *statefulMatch) store(txn statestore.Txn) error {
	key := func(d *matchTaken) []byte { return m.arena[d.key:d.value:d.value] }
	slices.SortFunc(m.taken, func(a, b matchTaken) int { return bytes.Compare(key(&a), key(&b)) })
	rows := m.taken[:0]
	var keys [][]byte
	for _, d := range m.taken {
		if last := len(rows) - 1; last >= 0 && bytes.Equal(key(&rows[last]), key(&d)) {
			rows[last].count++
			continue
		}
		rows, keys = append(rows, d), append(keys, key(&d))
	}
	m.taken = rows
	before := make([]int64, len(rows))
	err := txn.Get(keys, func(i int, stored []byte) (err error) {
		before[i], _, err = countOf(stored)
		return err
	})
	if err != nil {
		return err
	}
	var value []byte
	for i := range rows {
		d := &rows[i]
		value = append(binary.AppendUvarint(value[:0], uint64(before[i])+uint64(d.count)), m.arena[d.value:d.end]...)
		if err := txn.Put(keys[i], value); err != nil {
			return err
		}
		at := rowTime(keys[i], d.group-d.key+1)
		partition := m.arena[d.key:d.group:d.group]
		if last := len(m.fresh) - 1; last < 0 || !bytes.Equal(m.fresh[last].key, partition) {
			m.fresh = append(m.fresh, matchPartition{key: partition, least: at}) // the earliest comes first
		}
	}
	return nil
}

// rowTime reads the time of a row out of its key, behind a prefix.
func rowTime(key []byte, prefix int) batch.EventTime {
	return batch.EventTime(binary.BigEndian.Uint64(key[prefix:]) ^ 1<<63)
}

func (m *statefulMatch) bytes() int64 {
	return int64(cap(m.arena)) + 96*int64(cap(m.fresh)) + 40*int64(cap(m.taken)) + m.search.bytes()
}

// final is the time up to which all rows are there.
func (m *statefulMatch) final() batch.EventTime {
	c := m.tc.Spec.Close
	if c == batch.NoTime || c == batch.EndOfTime {
		return c
	}
	return c - batch.EventTime(m.n.Shift)
}

// due lists the partitions to look at, in key order, and lists those with new rows
// that are not due yet.
func (m *statefulMatch) due(txn statestore.Txn) ([]matchPartition, error) {
	list := m.fresh
	for i := range list {
		list[i].head.due = batch.EndOfTime
	}
	final := m.final()
	for g := m.dues.first; g < m.dues.end; g++ {
		if m.dues.at[g] > final || final == batch.NoTime {
			continue
		}
		m.dues.at[g] = batch.EndOfTime
		err := txn.Scan([]byte{byte(g), matchDue}, []byte{byte(g), matchRows}, func(key, _ []byte) (bool, error) {
			at, partition, err := matchDueOf(key)
			if err != nil || at > final {
				m.dues.at[g] = at
				return false, err
			}
			from := len(m.arena)
			m.arena = append(append(m.arena, byte(g), matchRows), partition...)
			list = append(list, matchPartition{key: m.arena[from:len(m.arena):len(m.arena)], least: batch.EndOfTime})
			return true, nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(list, func(a, b matchPartition) int { return bytes.Compare(a.key, b.key) })
	merged := list[:0]
	for _, p := range list {
		if last := len(merged) - 1; last >= 0 && bytes.Equal(merged[last].key, p.key) {
			merged[last].least = min(merged[last].least, p.least)
			continue
		}
		merged = append(merged, p)
	}
	if err := m.heads(txn, merged); err != nil {
		return nil, err
	}
	work := merged[:0]
	for _, p := range merged {
		if at := min(p.head.due, p.least); final != batch.NoTime && at <= final {
			work = append(work, p)
		} else if err := m.list(txn, &p, at); err != nil {
			return nil, err
		}
	}
	return work, nil
}

// heads reads how far the searches of partitions have come.
func (m *statefulMatch) heads(txn statestore.Txn, list []matchPartition) error {
	keys := make([][]byte, len(list))
	for i := range list {
		list[i].head = matchHead{covered: -1, due: batch.EndOfTime}
		keys[i] = append(slices.Clone(list[i].key), matchHeader)
	}
	return txn.Get(keys, func(i int, value []byte) error {
		h := &list[i].head
		var next, cut, covered, due int64
		for _, to := range []*int64{&h.number, &next, &covered, &cut, &due} {
			v, n := binary.Varint(value)
			if n <= 0 {
				return rowkey.ErrDamaged
			}
			*to, value = v, value[n:]
		}
		h.next, h.covered, h.cut, h.due = int(next), int(covered), cut != 0, batch.EventTime(due)
		return nil
	})
}

// list stores the head of a partition, and when to look at it again.
func (m *statefulMatch) list(txn statestore.Txn, p *matchPartition, at batch.EventTime) error {
	if at != p.head.due {
		if p.head.due != batch.EndOfTime {
			if err := txn.Delete(matchDueKey(nil, p.key, p.head.due)); err != nil {
				return err
			}
		}
		if at != batch.EndOfTime {
			if err := txn.Put(matchDueKey(nil, p.key, at), nil); err != nil {
				return err
			}
		}
		p.head.due = at
	}
	m.dues.add(p.key[0], at)
	h := &p.head
	var value []byte
	for _, v := range []int64{h.number, int64(h.next), int64(h.covered), int64(b2i(h.cut)), int64(h.due)} {
		value = binary.AppendVarint(value, v)
	}
	return txn.Put(append(slices.Clone(p.key), matchHeader), value)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// forget takes all that is left of a partition out of the store.
func (m *statefulMatch) forget(txn statestore.Txn, p *matchPartition) error {
	if p.head.due != batch.EndOfTime {
		if err := txn.Delete(matchDueKey(nil, p.key, p.head.due)); err != nil {
			return err
		}
	}
	return txn.Delete(append(slices.Clone(p.key), matchHeader))
}

// work searches partitions, as many at a time as make a block of some size.
func (m *statefulMatch) work(txn statestore.Txn, list []matchPartition) error {
	bs := newBuilders(m.tc.Alloc, m.types)
	defer releaseBuilders(bs)
	first, rows := 0, 0
	for i := range list {
		n, err := m.read(txn, &list[i], bs)
		if err != nil {
			return err
		}
		list[i].from = rows
		rows += n
		if rows < recomputeRows && i < len(list)-1 {
			continue
		}
		cols := finish(bs)
		err = m.block(txn, list[first:i+1], cols, rows)
		gather.Release(cols)
		if err != nil {
			return err
		}
		first, rows = i+1, 0
	}
	return nil
}

// read decodes the final rows of a partition.
func (m *statefulMatch) read(txn statestore.Txn, p *matchPartition, bs []array.Builder) (int, error) {
	final, prefix := m.final(), append(slices.Clone(p.key), matchRowTag)
	p.next = batch.EndOfTime
	var keys []byte
	var ends []int
	err := txn.Scan(prefix, successor(prefix), func(key, stored []byte) (bool, error) {
		if len(key) != len(prefix)+24 {
			return false, rowkey.ErrDamaged
		}
		if at := rowTime(key, len(prefix)); at > final {
			p.next = at
			return false, nil
		}
		count, value, err := countOf(stored)
		if err != nil {
			return false, err
		}
		keys = append(keys, key...)
		for range count {
			ends = append(ends, len(keys))
			if err := m.codec.Decode(value, bs); err != nil {
				return false, err
			}
		}
		return true, nil
	})
	size := len(prefix) + 24
	for _, end := range ends {
		p.rows = append(p.rows, keys[end-size:end:end])
	}
	return len(ends), err
}

// dropRows takes the first rows of a partition out of the store. Equal rows stand
// next to each other, so that only of the last one some may stay.
func dropRows(txn statestore.Txn, rows [][]byte, drop int) error {
	for from := 0; from < drop; {
		end := from + 1
		for end < len(rows) && bytes.Equal(rows[end], rows[from]) {
			end++
		}
		if end <= drop {
			if err := txn.Delete(rows[from]); err != nil {
				return err
			}
			from = end
			continue
		}
		var rest []byte
		err := txn.Get(rows[from:from+1], func(_ int, stored []byte) error {
			_, value, err := countOf(stored)
			rest = append(binary.AppendUvarint(nil, uint64(end-drop)), value...)
			return err
		})
		if err != nil {
			return err
		}
		return txn.Put(rows[from], rest)
	}
	return nil
}

// block searches the partitions whose rows are in cols.
func (m *statefulMatch) block(txn statestore.Txn, list []matchPartition, cols []arrow.Array, n int) error {
	defer m.search.release()
	if n > 0 {
		b, err := m.sorted(list, cols, n)
		if err != nil {
			return err
		}
		defer b.rec.Release()
		if err := m.search.start(b); err != nil {
			return err
		}
	}
	ended := m.tc.Spec.Close == batch.EndOfTime
	part := 0
	for i := range list {
		p := &list[i]
		size := len(p.rows)
		at := matchState{next: p.from + p.head.next, number: p.head.number, covered: p.from + p.head.covered}
		rows := rowpattern.Rows{Limit: p.from + size, Closed: ended, Cut: p.head.cut, Now: int64(m.final())}
		if !ended {
			rows.Limit = max(rows.Limit-m.behind, p.from)
		}
		if size > 0 {
			if err := m.search.partition(part, rows, &at); err != nil {
				return err
			}
			part++
		}
		if err := m.settle(txn, p, at, ended); err != nil {
			return err
		}
	}
	if n == 0 {
		return nil
	}
	if err := m.mem.set(m.bytes()); err != nil {
		return err
	}
	out, rows, err := m.search.out.make(m.search)
	if rows > 0 {
		m.ready = append(m.ready, newBatch(m.Schema(), out, rows))
	}
	return err
}

// settle drops the rows of a partition that no match can need any more and says
// when to look at it again.
func (m *statefulMatch) settle(txn statestore.Txn, p *matchPartition, at matchState, ended bool) error {
	size := len(p.rows)
	drop := min(max(at.next-p.from-m.before, 0), size)
	if ended {
		drop = size
	}
	if err := dropRows(txn, p.rows, drop); err != nil {
		return err
	}
	p.head.number, p.head.cut = at.number, p.head.cut || drop > 0
	p.head.next = at.next - p.from - drop
	p.head.covered = max(at.covered-p.from-drop, -1)
	due := p.next
	if open := at.next-p.from < size; open && !ended {
		// Rows that only rows to come can decide about are decided when there are none.
		due = min(due, batch.EndOfTime-1)
		if w := m.search.spec.Within; w > 0 {
			if over := batch.EventTime(m.search.tests.block.times[at.next] + w - 1); over > m.final() {
				due = min(due, over)
			}
		}
	}
	if ended || due == batch.EndOfTime && drop == size && !m.keeps {
		return m.forget(txn, p)
	}
	return m.list(txn, p, due)
}

// sorted makes a block of rows: those of each partition in order. The keys of the
// rows are brought into the same order.
func (m *statefulMatch) sorted(list []matchPartition, cols []arrow.Array, n int) (*matchBlock, error) {
	rec := array.NewRecordBatch(m.in[0].Schema(), cols, int64(n))
	defer rec.Release()
	keys, err := m.order.run(rec)
	if err != nil {
		return nil, err
	}
	defer gather.Release(keys)
	if err := m.sorter.encode(keys, n); err != nil {
		return nil, err
	}
	b := &matchBlock{n: n}
	idx, marks := seq(0, n), make([]uint8, n)
	for i := range list {
		p := &list[i]
		end := p.from + len(p.rows)
		if p.from == end {
			continue
		}
		b.parts = append(b.parts, p.from)
		part := idx[p.from:end]
		slices.SortStableFunc(part, func(x, y int32) int { return bytes.Compare(m.sorter.rows.Row(int(x)), m.sorter.rows.Row(int(y))) })
		marks[p.from] = startsPartition | startsPeers
		for k := 1; k < len(part); k++ {
			if !bytes.Equal(m.sorter.rows.Row(int(part[k-1])), m.sorter.rows.Row(int(part[k]))) {
				marks[p.from+k] = startsPeers
			}
		}
	}
	b.parts = append(b.parts, n)
	ordered, err := gather.Columns(m.tc.Alloc, cols, idx)
	if err != nil {
		return nil, err
	}
	defer gather.Release(ordered)
	order, err := m.search.untied(m.tc.Alloc, ordered, marks)
	if err != nil {
		return nil, err
	}
	for i, o := range order {
		order[i] = idx[o]
	}
	for i := range list {
		p := &list[i]
		moved := make([][]byte, len(p.rows))
		for k := range moved {
			moved[k] = p.rows[int(order[p.from+k])-p.from]
		}
		p.rows = moved
	}
	final, err := gather.Columns(m.tc.Alloc, cols, order)
	if err != nil {
		return nil, err
	}
	b.rec = newBatch(m.in[0].Schema(), final, n)
	return b, nil
}
