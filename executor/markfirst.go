package executor

import (
	"context"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// markFirst remembers which arguments each group has had: [key group][group's
// key][set][arguments] -> which marks of the set have been given, a bit for each.
// Marks with the same arguments, and different filters, are a set.
type markFirst struct {
	chunked
	n    *physical.MarkFirst
	sets []markSet

	vals   rowkey.Rows // a set's arguments
	firsts [][]bool    // by mark: of the rows of the chunk
	seen   []sighting
	claims []claim
}

// markSet says where the columns of marks with the same arguments are among those computed.
type markSet struct {
	first, args int
	marks       []int // of the node
	filters     []int // of each mark, -1 for none
	enc         *rowkey.Encoder
}

// sighting is arguments of a group that rows of the chunk have: the marks that they
// ask for and, once the store was asked, those given before.
type sighting struct {
	asked, have uint64
}

// claim is a row that is the first of the chunk to ask for some marks.
type claim struct {
	seen, row int32
	marks     uint64
}

// marksMost is the number of bits for the marks of a set.
const marksMost = 64

func newMarkFirst(n *physical.MarkFirst, in Operator) (*markFirst, error) {
	m := &markFirst{n: n, firsts: make([][]bool, len(n.Marks))}
	m.base, m.operator = base{node: n, in: []Operator{in}}, n.Operator
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

func (m *markFirst) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return m.next(ctx, m.markAll, m.close)
}

// markAll marks the rows of the chunk and makes them ready.
func (m *markFirst) markAll() error {
	for i := range m.firsts {
		m.firsts[i] = resized(m.firsts[i], m.rows)
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
	return m.mem.set(m.found.bytes() + 16*int64(cap(m.seen)+cap(m.claims)))
}

// one gives the marks of a set to the rows that are the first with their arguments.
func (m *markFirst) one(tag byte, set *markSet) error {
	m.found.reset()
	m.found.arena, m.seen, m.claims = m.found.arena[:0], m.seen[:0], m.claims[:0]
	for i := range m.chunk {
		if err := m.look(tag, set, &m.chunk[i]); err != nil {
			return err
		}
	}
	list, order := m.found.ordered()
	err := m.txn.Get(list, func(i int, value []byte) error {
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
			if err := m.txn.Put(list[i], value[:binary.PutUvarint(value[:], s.asked|s.have)]); err != nil {
				return err
			}
		}
	}
	return nil
}

// look notes which arguments the rows of a batch have and which marks they ask for.
func (m *markFirst) look(tag byte, set *markSet, c *inHand) error {
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
	if err := set.enc.Encode(args, n, &m.vals); err != nil {
		return err
	}
	m.found.room(n, len(m.keys.rows.Data)+len(m.vals.Data))
	m.seen, m.claims = roomFor(m.seen, n), roomFor(m.claims, n)
	for i := range n {
		asked := set.asked(c.cols, i)
		if asked == 0 || slices.ContainsFunc(args, func(a arrow.Array) bool { return a.IsNull(i) }) {
			continue
		}
		at := m.found.find(m.keys.rows.Row(i), tag, m.vals.Row(i))
		if int(at) == len(m.seen) {
			m.seen = append(m.seen, sighting{})
		}
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

func isTrue(arr arrow.Array, i int) bool {
	b, ok := arr.(*array.Boolean)
	return ok && b.IsValid(i) && b.Value(i)
}

// close forgets the groups whose window is over.
func (m *markFirst) close() error {
	limit := limitOf(m.tc, m.n.Clock)
	if m.n.EndKey < 0 {
		limit = batch.NoTime
	}
	for g := range m.dues.due(limit) {
		if err := m.forget(g, limit); err != nil {
			return err
		}
	}
	noteDue(m.tc, m.n.Clock, m.dues.next())
	return nil
}
