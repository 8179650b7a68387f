package executor

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
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

// tally counts values by group: [key group][group's key][set][value] -> how often.
// The values of an extreme are in bytes whose order is theirs, the one that is asked
// for first, so that it is the first row of its group and set. A count may be below
// zero for a while: what takes a value back may come before what puts it out.
type tally struct {
	base
	n    *physical.Tally
	ev   *computed // keys, then the arguments and the filter of each set
	keys *stateKeys
	sets []tallySet
	txn  statestore.Txn
	dues dues

	chunk   []tallied
	arena   []byte
	slots   slots
	seen    []counting
	list    [][]byte
	sorter  keySorter
	extras  [][]extra // by batch of the chunk
	ready   []arrow.RecordBatch
	mem     account
	drained bool
	// touched are the key groups whose rows have changed: what is due next is what the
	// first of them says, whatever has come and gone.
	touched [batch.KeyGroups]bool
}

// tallySet says where the columns of a set are among those computed.
type tallySet struct {
	first, args int
	filter      int // -1 for none
	out         int // its first column of the output
	desc        bool
	extreme     bool
	enc         *rowkey.Encoder
	rows        rowkey.Rows
	marks       []bool // of the rows of the chunk
}

// tallied is a batch in hand, and where its rows begin among those of the chunk.
type tallied struct {
	rec   arrow.RecordBatch
	cols  []arrow.Array
	signs []int32
	from  int
}

// counting is a value of a group that rows of the chunk have.
type counting struct {
	key, group, end int // in the arena: key:group names the group and the set
	change, have    int64
	plus, minus     int32 // a row that brings it and one that takes it, -1 for none
}

// extra is a row that tells the extreme of its group.
type extra struct {
	set, row   int32
	value, end int // in the arena, 0 and 0 for NULL
}

func newTally(n *physical.Tally, in Operator) (*tally, error) {
	t := &tally{base: base{node: n, in: []Operator{in}}, n: n}
	es := slices.Clone(n.Keys)
	out := in.Schema().NumFields() // less the kind of change, and the column row
	for _, s := range n.Sets {
		enc, err := rowkey.NewEncoder(typesOf(s.Args))
		if err != nil {
			return nil, err
		}
		set := tallySet{first: len(es), args: len(s.Args), filter: -1, out: out, enc: enc,
			extreme: s.Kind != physical.TallyDistinct, desc: s.Kind == physical.TallyHighest}
		es = append(es, s.Args...)
		if s.Filter != nil {
			set.filter = len(es)
			es = append(es, s.Filter)
		}
		if out++; set.extreme {
			out++
		}
		t.sets = append(t.sets, set)
	}
	var err error
	if t.ev, err = newComputed(es, in.Schema()); err != nil {
		return nil, err
	}
	t.keys, err = newStateKeys(typesOf(n.Keys), n.EndKey, n.EndShift, nil)
	return t, err
}

func (t *tally) Open(ctx context.Context, tc *TaskContext) error {
	t.ev.open(tc)
	t.reset()
	t.mem.open(tc)
	if err := t.base.Open(ctx, tc); err != nil {
		return err
	}
	var err error
	if t.txn, err = tc.State(ctx, t.n.Operator); err != nil {
		return err
	}
	return t.dues.load(tc, t.keys, t.txn)
}

func (t *tally) reset() {
	t.release()
	t.ready = release(t.ready)
	t.drained = false
	clear(t.touched[:])
}

// release lets go of the chunk in hand.
func (t *tally) release() {
	for _, c := range t.chunk {
		c.rec.Release()
		gather.Release(c.cols)
	}
	clear(t.chunk)
	t.chunk = t.chunk[:0]
}

func (t *tally) Close() error {
	t.reset()
	_ = t.mem.set(0) // giving back cannot be refused
	return t.base.Close()
}

func (t *tally) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for len(t.ready) == 0 && !t.drained {
		if err := t.fill(ctx); err != nil {
			return nil, err
		}
		err := t.count()
		if err == nil && t.drained {
			err = t.close()
		}
		if err != nil {
			return nil, fmt.Errorf("state of %s: %w", t.n.Operator, err)
		}
	}
	return popBatch(&t.ready)
}

// fill takes the next chunk in hand.
func (t *tally) fill(ctx context.Context) error {
	for rows := 0; rows < chunkRows; {
		rec, err := t.in[0].Next(ctx)
		if err == io.EOF {
			t.drained = true
			return nil
		}
		if err != nil {
			return err
		}
		c := tallied{rec: rec, from: rows}
		if c.cols, err = t.ev.run(rec); err == nil {
			_, c.signs, err = signs(rec, nil)
		}
		t.chunk = append(t.chunk, c)
		if err != nil {
			return err
		}
		rows += int(rec.NumRows())
	}
	return nil
}

// count takes the values of the chunk into the state and makes its rows ready.
func (t *tally) count() error {
	defer t.release()
	t.arena = t.arena[:0]
	t.extras = slices.Grow(t.extras[:0], len(t.chunk))[:len(t.chunk)]
	for i := range t.extras {
		t.extras[i] = t.extras[i][:0]
	}
	rows := 0
	for i := range t.chunk {
		rows += int(t.chunk[i].rec.NumRows())
	}
	for i := range t.sets {
		s := &t.sets[i]
		s.marks = slices.Grow(s.marks[:0], rows)[:rows]
		clear(s.marks)
		if err := t.one(i, s); err != nil {
			return err
		}
	}
	for i := range t.chunk {
		if err := t.emit(&t.chunk[i], t.extras[i]); err != nil {
			return err
		}
	}
	return t.mem.set(int64(cap(t.arena)) + 56*int64(cap(t.seen)) + 24*int64(cap(t.list)) + t.slots.bytes())
}

// one counts the values of a set.
func (t *tally) one(tag int, s *tallySet) error {
	t.seen = t.seen[:0]
	t.slots.reset()
	for i := range t.chunk {
		if err := t.look(byte(tag), s, &t.chunk[i]); err != nil {
			return err
		}
	}
	order := t.sorter.order(len(t.seen), func(i int32) []byte { return t.key(&t.seen[i]) })
	t.list = t.list[:0]
	for _, o := range order {
		t.list = append(t.list, t.key(&t.seen[o.i]))
	}
	err := t.txn.Get(t.list, func(i int, value []byte) error {
		have, n := binary.Varint(value)
		if n <= 0 {
			return rowkey.ErrDamaged
		}
		t.seen[order[i].i].have = have
		return nil
	})
	if err != nil {
		return err
	}
	var value [binary.MaxVarintLen64]byte
	for i, o := range order {
		c := &t.seen[o.i]
		now := c.have + c.change
		switch {
		case c.change == 0:
			continue
		case now == 0:
			err = t.txn.Delete(t.list[i])
		default:
			err = t.txn.Put(t.list[i], value[:binary.PutVarint(value[:], now)])
		}
		if err != nil {
			return err
		}
		t.touched[t.list[i][0]] = true
		if !s.extreme && (c.have > 0) != (now > 0) {
			if row := c.plus; now > 0 {
				s.marks[row] = true
			} else {
				s.marks[c.minus] = true
			}
		}
	}
	if !s.extreme {
		return nil
	}
	var group []byte
	for _, o := range order {
		c := &t.seen[o.i]
		if g := t.arena[c.key:c.group:c.group]; group == nil || !bytes.Equal(g, group) {
			group = g
			if err := t.extreme(int32(tag), s, group, max(c.plus, c.minus)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tally) key(c *counting) []byte { return t.arena[c.key:c.end:c.end] }

// look notes which values the rows of a batch bring and take.
func (t *tally) look(tag byte, s *tallySet, c *tallied) error {
	n := int(c.rec.NumRows())
	if err := t.keys.encodeRows(c.cols[:len(t.n.Keys)], n); err != nil {
		return err
	}
	args := c.cols[s.first : s.first+s.args]
	if err := s.enc.Encode(args, n, &s.rows); err != nil {
		return err
	}
	if s.desc {
		orient(expr.SortKey{Desc: true}, &s.rows)
	}
	t.slots.reserve(n)
	t.arena = roomFor(t.arena, len(t.keys.rows.Data)+len(s.rows.Data)+n)
	t.seen = roomFor(t.seen, n)
	for i := range n {
		if s.filter >= 0 && !isTrue(c.cols[s.filter], i) || slices.ContainsFunc(args, func(a arrow.Array) bool { return a.IsNull(i) }) {
			continue
		}
		at := &t.seen[t.find(t.keys.rows.Row(i), tag, s.rows.Row(i))]
		at.change += int64(c.signs[i])
		if row := int32(c.from + i); c.signs[i] > 0 {
			at.plus = row
		} else {
			at.minus = row
		}
	}
	return nil
}

// find returns the counting of a group's value, which may be new.
func (t *tally) find(group []byte, tag byte, value []byte) int32 {
	from := len(t.arena)
	t.arena = append(append(append(t.arena, group...), tag), value...)
	key := t.arena[from:]
	hash := uint32(xxh3.Hash(key))
	for at := hash & t.slots.mask; ; at = (at + 1) & t.slots.mask {
		slot := t.slots.table[at]
		if slot == 0 {
			t.seen = append(t.seen, counting{key: from, group: from + len(group) + 1, end: len(t.arena), plus: -1, minus: -1})
			t.slots.table[at] = uint64(hash)<<32 | uint64(len(t.seen))
			t.slots.used++
			return int32(len(t.seen) - 1)
		}
		if uint32(slot>>32) != hash {
			continue
		}
		if i := int32(uint32(slot)) - 1; bytes.Equal(t.key(&t.seen[i]), key) {
			t.arena = t.arena[:from]
			return i
		}
	}
}

// extreme reads the first value of a group that is there, and lets a row tell it.
func (t *tally) extreme(set int32, s *tallySet, group []byte, row int32) error {
	e := extra{set: set}
	end := append(bytes.Clone(group[:len(group)-1]), group[len(group)-1]+1)
	err := t.txn.Scan(group, end, func(k, v []byte) (bool, error) {
		if count, n := binary.Varint(v); n <= 0 {
			return false, rowkey.ErrDamaged
		} else if count < 0 {
			return true, nil
		}
		e.value = len(t.arena)
		t.arena = append(t.arena, k[len(group):]...)
		e.end = len(t.arena)
		return false, nil
	})
	if err != nil {
		return err
	}
	if s.desc {
		for i := e.value + 1; i < e.end; i++ { // as orient has it
			t.arena[i] = ^t.arena[i]
		}
	}
	at, _ := slices.BinarySearchFunc(t.chunk, row+1, func(c tallied, row int32) int { return c.from - int(row) })
	e.row = row - int32(t.chunk[at-1].from)
	t.extras[at-1] = append(t.extras[at-1], e)
	return nil
}

// emit makes a batch ready: its rows with their marks, then what they tell of extremes.
func (t *tally) emit(c *tallied, extras []extra) error {
	n, width := int(c.rec.NumRows()), len(c.rec.Columns())-1
	idx := seq(0, n)
	for _, e := range extras {
		idx = append(idx, e.row)
	}
	out, err := gather.Columns(t.tc.Alloc, c.rec.Columns()[:width], idx)
	if err != nil {
		return err
	}
	isRow := array.NewBooleanBuilder(t.tc.Alloc)
	defer isRow.Release()
	for i := range idx {
		isRow.Append(i < n)
	}
	out = append(out, isRow.NewArray())
	for i := range t.sets {
		if out, err = t.told(out, i, c, n, extras); err != nil {
			gather.Release(out)
			return err
		}
	}
	ops := array.NewInt8Builder(t.tc.Alloc)
	defer ops.Release()
	for i := range idx {
		op := batch.Insert
		if i < n && c.signs[i] < 0 {
			op = batch.Delete
		}
		ops.Append(int8(op))
	}
	t.ready = append(t.ready, newBatch(t.n.Out, append(out, ops.NewArray()), len(idx)))
	return nil
}

// told appends the columns of a set.
func (t *tally) told(out []arrow.Array, set int, c *tallied, n int, extras []extra) ([]arrow.Array, error) {
	s := &t.sets[set]
	marks := array.NewBooleanBuilder(t.tc.Alloc)
	defer marks.Release()
	marks.AppendValues(s.marks[c.from:c.from+n], nil)
	for _, e := range extras {
		marks.Append(s.extreme && int(e.set) == set)
	}
	out = append(out, marks.NewArray())
	if !s.extreme {
		return out, nil
	}
	values := newBuilders(t.tc.Alloc, []arrow.DataType{t.n.Sets[set].Args[0].Type()})
	defer releaseBuilders(values)
	values[0].AppendNulls(n)
	for _, e := range extras {
		if int(e.set) != set || e.end == 0 {
			values[0].AppendNull()
		} else if err := s.enc.Decode(t.arena[e.value:e.end], values); err != nil {
			return out, err
		}
	}
	return append(out, values[0].NewArray()), nil
}

// close forgets the groups whose window is over.
func (t *tally) close() error {
	limit := limitOf(t.tc, t.n.Clock)
	for g := t.dues.first; g < t.dues.end && t.n.EndKey >= 0; g++ {
		if due := limit != batch.NoTime && t.dues.at[g] <= limit; !due && !t.touched[g] {
			continue
		}
		t.dues.at[g], t.touched[g] = batch.EndOfTime, false
		var over [][]byte
		err := t.txn.Scan(groupStart(g), groupStart(g+1), func(k, _ []byte) (bool, error) {
			end, _, err := t.keys.end(k)
			if err != nil {
				return false, err
			}
			if limit == batch.NoTime || end > limit {
				t.dues.at[g] = end
				t.dues.open.add(end)
				return false, nil
			}
			over = append(over, bytes.Clone(k))
			return true, nil
		})
		for _, k := range over {
			if err != nil {
				break
			}
			err = t.txn.Delete(k)
		}
		if err != nil {
			return err
		}
	}
	noteDue(t.tc, t.n.Clock, t.dues.next())
	return nil
}
