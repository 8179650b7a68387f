package executor

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/logical"
)

// pairKey is where a row is stored.
func pairKey(group []byte, side byte, t int64, row []byte) []byte {
	sum := xxh3.Hash128(row).Bytes()
	return append(timeWord(append(tagged(group, pairRow), side), t), sum[:]...)
}

// pairDueKey is where the index has a row that leaves at a time.
func pairDueKey(key []byte, at int64) []byte {
	out := make([]byte, 0, len(key)+8)
	return append(timeWord(append(out, key[0], pairDue), at), key[2:]...)
}

// leaves is when a row leaves; false if it never does.
func (j *intervalJoin) leaves(side int, t int64) (int64, bool) {
	keep := j.n.Keep[side]
	switch {
	case t == math.MinInt64: // without a time
		return t + 1, true
	case keep == nil:
		return 0, false
	}
	return t + *keep, true
}

// pairOf takes a stored row apart.
func pairOf(stored []byte) (count int64, had bool, value []byte, err error) {
	count, value, err = countOf(stored)
	if err == nil && len(value) == 0 {
		err = rowkey.ErrDamaged
	}
	if err != nil {
		return 0, false, nil, err
	}
	return count, value[0] != 0, value[1:], nil
}

// settle tries the pairs in hand and brings the store up to what has become of
// their rows.
func (j *intervalJoin) settle() error {
	defer j.dropPool()
	if err := j.try(); err != nil {
		return err
	}
	for side := range j.pool {
		for i := range j.pool[side] {
			p := &j.pool[side][i]
			var err error
			if p.stored {
				err = j.settleOld(side, p)
			} else {
				err = j.settleNew(side, p)
			}
			if err != nil {
				return err
			}
		}
	}
	// The index is another part of the store: what goes there goes together.
	slices.SortFunc(j.dueAt, bytes.Compare)
	for _, key := range j.dueAt {
		if err := j.txn.Put(key, nil); err != nil {
			return err
		}
	}
	j.dueAt = j.dueAt[:0]
	return nil
}

func (j *intervalJoin) settleNew(side int, p *pooled) error {
	s := &j.sides[side]
	switch {
	case s.semi && p.met:
		return j.tell(side, p.value, 1, batch.Insert)
	case j.n.Kind == logical.LeftAnti && side == 0 && p.met:
		return nil
	case s.lone && p.never:
		return j.tell(side, p.value, 1, batch.Insert) // nothing will take it back
	case s.lone && !p.met && !j.n.Final:
		if err := j.tell(side, p.value, 1, batch.Insert); err != nil {
			return err
		}
	}
	count, err := oneMore(j.txn, p.key)
	if err != nil {
		return err
	}
	if at, ok := j.leaves(side, p.time); ok && count == 1 {
		j.dues.add(p.key[0], batch.EventTime(at))
		j.dueAt = append(j.dueAt, pairDueKey(p.key, at))
	}
	return j.put(p, count, p.met)
}

func (j *intervalJoin) put(p *pooled, count int64, met bool) error {
	value := binary.AppendUvarint(make([]byte, 0, len(p.value)+4), uint64(count))
	flag := byte(0)
	if met {
		flag = 1
	}
	return j.txn.Put(p.key, append(append(value, flag), p.value...))
}

// settleOld notes that a stored row has met its first partner.
func (j *intervalJoin) settleOld(side int, p *pooled) error {
	s := &j.sides[side]
	if !p.met || p.had || !s.semi && !s.lone {
		return nil
	}
	if s.semi || !j.n.Final {
		op := batch.Delete
		if s.semi {
			op = batch.Insert
		}
		if err := j.tell(side, p.value, p.times, op); err != nil {
			return err
		}
	}
	if s.semi || j.n.Kind == logical.LeftAnti {
		return j.remove(side, p.key, p.time)
	}
	return j.put(p, p.times, true)
}

// remove takes a row out of the store and the index.
func (j *intervalJoin) remove(side int, key []byte, t int64) error {
	if at, ok := j.leaves(side, t); ok {
		if err := j.txn.Delete(pairDueKey(key, at)); err != nil {
			return err
		}
	}
	return j.txn.Delete(key)
}

// leave takes the rows out of the store that nothing can meet any more.
func (j *intervalJoin) leave() error {
	return j.dues.over(j.txn, pairDue, j.tc.Spec.Close, func(entries [][]byte) error {
		for i, entry := range entries {
			var err error
			if entries[i], err = j.leaveOne(entry); err != nil {
				return err
			}
		}
		slices.SortFunc(entries, bytes.Compare)
		for _, key := range entries {
			if err := j.txn.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
}

// leaveOne returns the key of the row that an entry of the index is of, and puts out
// the row if it has waited for that.
func (j *intervalJoin) leaveOne(due []byte) ([]byte, error) {
	const tail = 1 + 8 + 16 // side, time and digest
	if len(due) < 10+tail {
		return nil, rowkey.ErrDamaged
	}
	side := int(due[len(due)-tail])
	if side >= len(j.sides) {
		return nil, rowkey.ErrDamaged
	}
	key := dueRow(due, pairRow)
	if !j.sides[side].lone || !j.n.Final {
		return key, nil
	}
	return key, j.txn.Get([][]byte{key}, func(_ int, stored []byte) error {
		count, had, value, err := pairOf(stored)
		if err != nil || had {
			return err
		}
		return j.tell(side, value, count, batch.Insert)
	})
}

// loneRows collects rows that come out without a partner.
type loneRows struct {
	builders []array.Builder
	ops      []batch.Op
}

func (l *loneRows) drop() {
	releaseBuilders(l.builders)
	l.builders, l.ops = nil, l.ops[:0]
}

// tell puts a row of one side out alone.
func (j *intervalJoin) tell(side int, value []byte, times int64, op batch.Op) error {
	l := &j.lone[side]
	if l.builders == nil {
		l.builders = newBuilders(j.tc.Alloc, j.sides[side].types)
	}
	for range times {
		if err := j.sides[side].codec.Decode(value, l.builders); err != nil {
			return err
		}
		l.ops = append(l.ops, op)
	}
	if len(l.ops) < outputRows {
		return nil
	}
	return j.flushSide(side)
}

func (j *intervalJoin) flushLone() error {
	for side := range j.lone {
		if err := j.flushSide(side); err != nil {
			return err
		}
	}
	return nil
}

func (j *intervalJoin) flushSide(side int) error {
	l := &j.lone[side]
	n := len(l.ops)
	if n == 0 {
		return nil
	}
	cols := finish(l.builders)
	if j.n.Kind != logical.LeftSemi && j.n.Kind != logical.LeftAnti {
		var none []arrow.Array
		for _, dt := range j.sides[1-side].types {
			none = append(none, array.MakeArrayOfNull(j.tc.Alloc, dt, n))
		}
		if side == 0 {
			cols = append(cols, none...)
		} else {
			cols = append(none, cols...)
		}
	}
	if len(cols) < j.n.Out.NumFields() {
		cols = append(cols, ops8(j.tc.Alloc, l.ops))
	}
	j.ready = append(j.ready, newBatch(j.n.Out, cols, n))
	l.drop()
	return nil
}
