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
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// tally counts values by group: [key group][group's key][set][value] -> how often.
// The values of an extreme are in bytes whose order is theirs, the one that is asked
// for first, so that it is the first row of its group and set. A count may be below
// zero for a while: what takes a value back may come before what puts it out.
type tally struct {
	chunked
	n    *physical.Tally
	sets []tallySet

	signs  [][]int32 // by batch of the chunk
	seen   []counting
	extras [][]extra // by batch of the chunk
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

// counting is a value of a group that rows of the chunk have.
type counting struct {
	change, have int64
	plus, minus  int32 // a row that brings it and one that takes it, -1 for none
}

// extra is a row that tells the extreme of its group.
type extra struct {
	set, row   int32
	value, end int // in the arena, 0 and 0 for NULL
}

func newTally(n *physical.Tally, in Operator) (*tally, error) {
	t := &tally{n: n}
	t.base, t.operator = base{node: n, in: []Operator{in}}, n.Operator
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
	clear(t.touched[:])
	return t.chunked.Open(ctx, tc)
}

func (t *tally) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return t.next(ctx, t.count, t.close)
}

// count takes the values of the chunk into the state and makes its rows ready.
func (t *tally) count() error {
	t.found.arena = t.found.arena[:0]
	t.extras, t.signs = resized(t.extras, len(t.chunk)), resized(t.signs, len(t.chunk))
	for i := range t.chunk {
		var err error
		if _, t.signs[i], err = signs(t.chunk[i].rec, t.signs[i]); err != nil {
			return err
		}
		t.extras[i] = t.extras[i][:0]
	}
	for i := range t.sets {
		s := &t.sets[i]
		s.marks = resized(s.marks, t.rows)
		clear(s.marks)
		if err := t.one(i, s); err != nil {
			return err
		}
	}
	for i := range t.chunk {
		if err := t.emit(&t.chunk[i], t.signs[i], t.extras[i]); err != nil {
			return err
		}
	}
	return t.mem.set(t.found.bytes() + 24*int64(cap(t.seen)))
}

// one counts the values of a set.
func (t *tally) one(tag int, s *tallySet) error {
	t.found.reset()
	t.seen = t.seen[:0]
	for i := range t.chunk {
		if err := t.look(byte(tag), s, &t.chunk[i], t.signs[i]); err != nil {
			return err
		}
	}
	list, order := t.found.ordered()
	err := t.txn.Get(list, func(i int, value []byte) error {
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
			err = t.txn.Delete(list[i])
		default:
			err = t.txn.Put(list[i], value[:binary.PutVarint(value[:], now)])
		}
		if err != nil {
			return err
		}
		t.touched[list[i][0]] = true
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
		if g := t.found.head(o.i); group == nil || !bytes.Equal(g, group) {
			group = g
			if err := t.extreme(int32(tag), s, group, max(c.plus, c.minus)); err != nil {
				return err
			}
		}
	}
	return nil
}

// look notes which values the rows of a batch bring and take.
func (t *tally) look(tag byte, s *tallySet, c *inHand, signs []int32) error {
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
	t.found.room(n, len(t.keys.rows.Data)+len(s.rows.Data))
	t.seen = roomFor(t.seen, n)
	for i := range n {
		if s.filter >= 0 && !isTrue(c.cols[s.filter], i) || slices.ContainsFunc(args, func(a arrow.Array) bool { return a.IsNull(i) }) {
			continue
		}
		number := int(t.found.find(t.keys.rows.Row(i), tag, s.rows.Row(i)))
		if number == len(t.seen) {
			t.seen = append(t.seen, counting{plus: -1, minus: -1})
		}
		at := &t.seen[number]
		at.change += int64(signs[i])
		if row := int32(c.from + i); signs[i] > 0 {
			at.plus = row
		} else {
			at.minus = row
		}
	}
	return nil
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
		e.value = len(t.found.arena)
		t.found.arena = append(t.found.arena, k[len(group):]...)
		e.end = len(t.found.arena)
		return false, nil
	})
	if err != nil {
		return err
	}
	if s.desc {
		for i := e.value + 1; i < e.end; i++ { // as orient has it
			t.found.arena[i] = ^t.found.arena[i]
		}
	}
	at, _ := slices.BinarySearchFunc(t.chunk, row+1, func(c inHand, row int32) int { return c.from - int(row) })
	e.row = row - int32(t.chunk[at-1].from)
	t.extras[at-1] = append(t.extras[at-1], e)
	return nil
}

// emit makes a batch ready: its rows with their marks, then what they tell of extremes.
func (t *tally) emit(c *inHand, signs []int32, extras []extra) error {
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
		if i < n && signs[i] < 0 {
			op = batch.Delete
		}
		ops.Append(int8(op))
	}
	t.ready = append(t.ready, newBatch(t.n.Out, append(out, ops.NewArray()), len(idx)))
	return nil
}

// told appends the columns of a set.
func (t *tally) told(out []arrow.Array, set int, c *inHand, n int, extras []extra) ([]arrow.Array, error) {
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
		} else if err := s.enc.Decode(t.found.arena[e.value:e.end], values); err != nil {
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
		t.touched[g] = false
		if err := t.forget(g, limit); err != nil {
			return err
		}
		t.dues.open.add(t.dues.at[g])
	}
	noteDue(t.tc, t.n.Clock, t.dues.next())
	return nil
}
