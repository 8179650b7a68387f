package executor

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// markFirst remembers which arguments each group has had: [key group][group's
// key][set][arguments] -> which marks of the set have been given, a bit for each.
// Marks with the same arguments, and different filters, are a set.
type markFirst struct {
	base
	n    *physical.MarkFirst
	ev   *computed // keys, then the arguments of each set and the filter of each mark
	keys *stateKeys
	sets []markSet
	txn  statestore.Txn
	dues dues

	rows    rowkey.Rows // a set's arguments
	chunk   []marked
	firsts  [][]bool // by mark: of the rows of the chunk
	arena   []byte
	slots   slots
	seen    []sighting
	claims  []claim
	list    [][]byte
	sorter  keySorter
	ready   []arrow.RecordBatch
	mem     account
	drained bool
}

// markSet says where the columns of marks with the same arguments are among those computed.
type markSet struct {
	first, args int
	marks       []int // of the node
	filters     []int // of each mark, -1 for none
	enc         *rowkey.Encoder
}

// marked is a batch in hand and where its rows begin among those of the chunk.
type marked struct {
	rec  arrow.RecordBatch
	cols []arrow.Array
	from int
}

// sighting is arguments of a group that rows of the chunk have: the marks that they
// ask for and, once the store was asked, those given before.
type sighting struct {
	key, end    int // in the arena
	asked, have uint64
}

// claim is a row that is the first of the chunk to ask for some marks.
type claim struct {
	seen, row int32
	marks     uint64
}

// marksMost is the number of bits for the marks of a set.
const marksMost = 64

// chunkRows is how many rows are looked up together: the more, the closer to one
// another lie the rows of the store that they meet.
const chunkRows = 128 << 10

func newMarkFirst(n *physical.MarkFirst, in Operator) (*markFirst, error) {
	m := &markFirst{base: base{node: n, in: []Operator{in}}, n: n, firsts: make([][]bool, len(n.Marks))}
	es := slices.Clone(n.Keys)
	same := func(s markSet, args []expr.Expr) bool {
		return len(s.marks) < marksMost && slices.EqualFunc(n.Marks[s.marks[0]].Args, args, expr.Equal)
	}
	for i, k := range n.Marks {
		at := slices.IndexFunc(m.sets, func(s markSet) bool { return same(s, k.Args) })
		if at < 0 {
			at = len(m.sets)
			enc, err := rowkey.NewEncoder(typesOf(k.Args))
			if err != nil {
				return nil, err
			}
			m.sets = append(m.sets, markSet{first: len(es), args: len(k.Args), enc: enc})
			es = append(es, k.Args...)
		}
		filter := -1
		if k.Filter != nil {
			filter = len(es)
			es = append(es, k.Filter)
		}
		s := &m.sets[at]
		s.marks, s.filters = append(s.marks, i), append(s.filters, filter)
	}
	var err error
	if m.ev, err = newComputed(es, in.Schema()); err != nil {
		return nil, err
	}
	m.keys, err = newStateKeys(typesOf(n.Keys), n.EndKey, n.EndShift, nil)
	return m, err
}

func (m *markFirst) Open(ctx context.Context, tc *TaskContext) error {
	m.ev.open(tc)
	m.reset()
	m.mem.open(tc)
	if err := m.base.Open(ctx, tc); err != nil {
		return err
	}
	var err error
	if m.txn, err = tc.State(ctx, m.n.Operator); err != nil {
		return err
	}
	return m.dues.load(tc, m.keys, m.txn)
}

func (m *markFirst) reset() {
	m.release()
	m.ready = release(m.ready)
	m.drained = false
}

// release lets go of the chunk in hand.
func (m *markFirst) release() {
	for _, c := range m.chunk {
		c.rec.Release()
		gather.Release(c.cols)
	}
	clear(m.chunk)
	m.chunk = m.chunk[:0]
}

func (m *markFirst) Close() error {
	m.reset()
	_ = m.mem.set(0) // giving back cannot be refused
	return m.base.Close()
}

func (m *markFirst) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for len(m.ready) == 0 && !m.drained {
		if err := m.fill(ctx); err != nil {
			return nil, err
		}
		err := m.markAll()
		if err == nil && m.drained {
			err = m.close()
		}
		if err != nil {
			return nil, fmt.Errorf("state of %s: %w", m.n.Operator, err)
		}
	}
	return popBatch(&m.ready)
}

// fill takes the next chunk in hand.
func (m *markFirst) fill(ctx context.Context) error {
	for rows := 0; rows < chunkRows; {
		rec, err := m.in[0].Next(ctx)
		if err == io.EOF {
			m.drained = true
			return nil
		}
		if err != nil {
			return err
		}
		cols, err := m.ev.run(rec)
		if err != nil {
			rec.Release()
			return err
		}
		m.chunk = append(m.chunk, marked{rec: rec, cols: cols, from: rows})
		rows += int(rec.NumRows())
	}
	return nil
}

// markAll marks the rows of the chunk and makes them ready.
func (m *markFirst) markAll() error {
	defer m.release()
	rows := 0
	for _, c := range m.chunk {
		rows += int(c.rec.NumRows())
	}
	for i := range m.firsts {
		m.firsts[i] = slices.Grow(m.firsts[i][:0], rows)[:rows]
		clear(m.firsts[i])
	}
	for i := range m.sets {
		if err := m.one(byte(i), &m.sets[i]); err != nil {
			return err
		}
	}
	for _, c := range m.chunk {
		n := int(c.rec.NumRows())
		out := make([]arrow.Array, 0, len(c.rec.Columns())+len(m.firsts))
		for _, col := range c.rec.Columns() {
			col.Retain()
			out = append(out, col)
		}
		for _, first := range m.firsts {
			b := array.NewBooleanBuilder(m.tc.Alloc)
			b.AppendValues(first[c.from:c.from+n], nil)
			out = append(out, b.NewArray())
			b.Release()
		}
		m.ready = append(m.ready, newBatch(m.n.Out, out, n))
	}
	return m.mem.set(int64(cap(m.arena)) + 32*int64(cap(m.seen)) + 16*int64(cap(m.claims)) + m.slots.bytes())
}

// one gives the marks of a set to the rows that are the first with their arguments.
func (m *markFirst) one(tag byte, set *markSet) error {
	m.arena, m.seen, m.claims = m.arena[:0], m.seen[:0], m.claims[:0]
	m.slots.reset()
	for i := range m.chunk {
		if err := m.look(tag, set, &m.chunk[i]); err != nil {
			return err
		}
	}
	order := m.sorter.order(len(m.seen), func(i int32) []byte { return m.key(&m.seen[i]) })
	m.list = m.list[:0]
	for _, o := range order {
		m.list = append(m.list, m.key(&m.seen[o.i]))
	}
	err := m.txn.Get(m.list, func(i int, value []byte) error {
		have, n := binary.Uvarint(value)
		if n <= 0 {
			return rowkey.ErrDamaged
		}
		m.seen[order[i].i].have = have
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range m.claims {
		for fresh := c.marks &^ m.seen[c.seen].have; fresh != 0; fresh &= fresh - 1 {
			m.firsts[set.marks[bits.TrailingZeros64(fresh)]][c.row] = true
		}
	}
	var value [binary.MaxVarintLen64]byte
	for i, o := range order {
		if s := &m.seen[o.i]; s.asked&^s.have != 0 {
			if err := m.txn.Put(m.list[i], value[:binary.PutUvarint(value[:], s.asked|s.have)]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *markFirst) key(s *sighting) []byte { return m.arena[s.key:s.end:s.end] }

// look notes which arguments the rows of a batch have and which marks they ask for.
func (m *markFirst) look(tag byte, set *markSet, c *marked) error {
	n := int(c.rec.NumRows())
	if err := m.keys.encodeRows(c.cols[:len(m.n.Keys)], n); err != nil {
		return err
	}
	if tag == 0 && m.n.EndKey >= 0 {
		for i := range n {
			end, _, err := m.keys.end(m.keys.rows.Row(i))
			if err != nil {
				return err
			}
			m.dues.add(m.keys.rows.Row(i)[0], end)
		}
	}
	args := c.cols[set.first : set.first+set.args]
	if err := set.enc.Encode(args, n, &m.rows); err != nil {
		return err
	}
	m.slots.reserve(n)
	m.arena = roomFor(m.arena, len(m.keys.rows.Data)+len(m.rows.Data)+n)
	m.seen, m.claims = roomFor(m.seen, n), roomFor(m.claims, n)
	for i := range n {
		asked := set.asked(c.cols, i)
		if asked == 0 || slices.ContainsFunc(args, func(a arrow.Array) bool { return a.IsNull(i) }) {
			continue
		}
		at := m.find(m.keys.rows.Row(i), tag, m.rows.Row(i))
		s := &m.seen[at]
		if fresh := asked &^ s.asked; fresh != 0 {
			s.asked |= fresh
			m.claims = append(m.claims, claim{seen: at, row: int32(c.from + i), marks: fresh})
		}
	}
	return nil
}

// asked are the marks whose filters a row passes.
func (s *markSet) asked(cols []arrow.Array, i int) (asked uint64) {
	for bit, f := range s.filters {
		if f < 0 || isTrue(cols[f], i) {
			asked |= 1 << bit
		}
	}
	return asked
}

// find returns the sighting of a group's arguments, which may be new.
func (m *markFirst) find(group []byte, tag byte, args []byte) int32 {
	from := len(m.arena)
	m.arena = append(append(append(m.arena, group...), tag), args...)
	key := m.arena[from:]
	hash := uint32(xxh3.Hash(key))
	for at := hash & m.slots.mask; ; at = (at + 1) & m.slots.mask {
		slot := m.slots.table[at]
		if slot == 0 {
			m.seen = append(m.seen, sighting{key: from, end: len(m.arena)})
			m.slots.table[at] = uint64(hash)<<32 | uint64(len(m.seen))
			m.slots.used++
			return int32(len(m.seen) - 1)
		}
		if uint32(slot>>32) != hash {
			continue
		}
		if i := int32(uint32(slot)) - 1; bytes.Equal(m.key(&m.seen[i]), key) {
			m.arena = m.arena[:from]
			return i
		}
	}
}

func isTrue(arr arrow.Array, i int) bool {
	b, ok := arr.(*array.Boolean)
	return ok && b.IsValid(i) && b.Value(i)
}

// close forgets the groups whose window is over.
func (m *markFirst) close() error {
	limit := limitOf(m.tc, m.n.Clock)
	for g := m.dues.first; g < m.dues.end && m.n.EndKey >= 0; g++ {
		if limit == batch.NoTime || m.dues.at[g] > limit {
			continue
		}
		m.dues.at[g] = batch.EndOfTime
		m.arena, m.seen = m.arena[:0], m.seen[:0]
		err := m.txn.Scan(groupStart(g), groupStart(g+1), func(k, _ []byte) (bool, error) {
			end, _, err := m.keys.end(k)
			if err != nil {
				return false, err
			}
			if end > limit {
				m.dues.at[g] = end
				return false, nil
			}
			from := len(m.arena)
			m.arena = append(m.arena, k...)
			m.seen = append(m.seen, sighting{key: from, end: len(m.arena)})
			return true, nil
		})
		for _, s := range m.seen {
			if err != nil {
				break
			}
			err = m.txn.Delete(m.arena[s.key:s.end])
		}
		if err != nil {
			return err
		}
	}
	noteDue(m.tc, m.n.Clock, m.dues.next())
	return nil
}
