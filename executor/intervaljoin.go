package executor

import (
	"bytes"
	"context"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// What a state key of intervalJoin is about, the byte behind the key group.
const (
	pairDue = 0 // [when the row leaves][keys][side][time][digest of the row]: nothing
	pairRow = 1 // [keys][side][time][digest of the row]: how often, whether it has met one, and the row
)

// pairsAtOnce is how many pairs are tried at a time, and rows held for them.
const pairsAtOnce = 64 << 10

// intervalJoin keeps the rows of both sides by key and time, so that what a row
// may meet is one range, and an index of when each of them leaves.
type intervalJoin struct {
	base
	n     *physical.IntervalJoin
	sides [2]pairSide
	cond  *computed // over the columns of both; nil for none
	both  *arrow.Schema
	txn   statestore.Txn
	dues  dues
	mem   account

	arena []byte
	news  []pairNew
	spare []pairNew
	dueAt [][]byte // keys of the index that wait to be put
	pool  [2][]pooled
	cols  [2][]arrow.Array // of the pool, once pairs have been tried
	pairs [2][]int32
	lone  [2]loneRows

	sorter keySorter

	onePass
}

// pairSide is what the join knows of an input.
type pairSide struct {
	ev       *computed // the keys, then the time, then the condition on this side alone if there is one
	keys     *stateKeys
	codec    *rowkey.ValueCodec
	schema   *arrow.Schema
	types    []arrow.DataType
	lone     bool // its rows without partners are told of
	semi     bool // its rows come out once, with their first partner
	vals     rowkey.Rows
	builders []array.Builder
}

// pairNew is a row of the batch: its keys and its value in the arena.
type pairNew struct {
	group, value, end int
	time              int64
	side              byte
	null              bool // it meets nothing: a key is NULL, or it has no time
	never             bool // it meets nothing, as the condition on its side is not true: it does not wait either
}

// pooled is a row in hand that may be in pairs.
type pooled struct {
	key, value []byte // of the store
	time       int64
	times      int64
	stored     bool
	met, had   bool // a partner: with this batch, and before
	null       bool
	never      bool
}

func newIntervalJoin(n *physical.IntervalJoin, in []Operator) (*intervalJoin, error) {
	j := &intervalJoin{base: base{node: n, in: in}, n: n}
	var fields []arrow.Field
	for i, keys := range [][]expr.Expr{n.LeftKeys, n.RightKeys} {
		s := &j.sides[i]
		s.schema = in[i].Schema()
		fields = append(fields, s.schema.Fields()...)
		s.types = fieldTypes(s.schema.Fields())
		f := s.schema.Field(n.Times[i])
		col := &expr.Column{Index: n.Times[i], Name: f.Name, DT: f.Type, Null: f.Nullable}
		exprs := append(slices.Clone(keys), col)
		if n.Own[i] != nil {
			exprs = append(exprs, n.Own[i])
		}
		var err error
		if s.ev, err = newComputed(exprs, s.schema); err != nil {
			return nil, err
		}
		if s.keys, err = newStateKeys(typesOf(keys), -1, 0, nil); err != nil {
			return nil, err
		}
		if s.codec, err = rowkey.NewValueCodec(s.types); err != nil {
			return nil, err
		}
	}
	left, right := &j.sides[0], &j.sides[1]
	left.semi = n.Kind == logical.LeftSemi
	left.lone = n.Kind == logical.LeftOuter || n.Kind == logical.FullOuter || n.Kind == logical.LeftAnti
	right.lone = n.Kind == logical.RightOuter || n.Kind == logical.FullOuter
	j.both = arrow.NewSchema(fields, nil)
	if n.Residual == nil {
		return j, nil
	}
	var err error
	j.cond, err = newComputed([]expr.Expr{n.Residual}, j.both)
	return j, err
}

func (j *intervalJoin) Open(ctx context.Context, tc *TaskContext) error {
	j.reset()
	j.mem.open(tc)
	for i := range j.sides {
		j.sides[i].ev.open(tc)
	}
	if j.cond != nil {
		j.cond.open(tc)
	}
	return j.base.Open(ctx, tc)
}

func (j *intervalJoin) reset() {
	j.onePass.reset()
	j.dropPool()
	for i := range j.lone {
		j.lone[i].drop()
	}
	j.arena, j.news, j.dueAt = j.arena[:0], j.news[:0], j.dueAt[:0]
}

func (j *intervalJoin) Close() error {
	j.reset()
	_ = j.mem.set(0) // giving back cannot be refused
	return j.base.Close()
}

func (j *intervalJoin) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return j.next(ctx, j.n.Operator, j.compute)
}

func (j *intervalJoin) compute(ctx context.Context) error {
	var err error
	if j.txn, err = j.tc.State(ctx, j.n.Operator); err != nil {
		return err
	}
	if err := j.dues.loadBy(j.tc, j.txn); err != nil {
		return err
	}
	for i := range j.sides {
		if err := drain(ctx, j.in[i], func(rec arrow.RecordBatch) error { return j.take(i, rec) }); err != nil {
			return err
		}
	}
	j.sortNews()
	for i := 0; i < len(j.news); {
		from := i
		for i++; i < len(j.news) && bytes.Equal(j.group(&j.news[from]), j.group(&j.news[i])); i++ {
		}
		if err := j.meet(j.news[from:i]); err != nil {
			return err
		}
	}
	if err := j.settle(); err != nil {
		return err
	}
	if err := j.leave(); err != nil {
		return err
	}
	j.tc.Result.NextDue = min(j.tc.Result.NextDue, j.dues.next())
	return j.flushLone()
}

// pairOrder is how many bytes stand behind a group in the arena: its side and time,
// by which rows of the group are in order.
const pairOrder = 9

func (j *intervalJoin) group(r *pairNew) []byte {
	return j.arena[r.group : r.value-pairOrder : r.value-pairOrder]
}
func (j *intervalJoin) value(r *pairNew) []byte { return j.arena[r.value:r.end:r.end] }

// sortNews orders the rows of the batch by group, side and time; those that are
// equal stay as they came.
func (j *intervalJoin) sortNews() {
	order := j.sorter.order(len(j.news), func(i int32) []byte { return j.arena[j.news[i].group:j.news[i].value] })
	out := slices.Grow(j.spare[:0], len(order))
	for _, o := range order {
		out = append(out, j.news[o.i])
	}
	j.news, j.spare = out, j.news
}

// take copies the rows of a batch of one side. A row without a time, or for which the
// condition on its side is not true, meets nothing and leaves at once.
func (j *intervalJoin) take(side int, rec arrow.RecordBatch) error {
	n, s := int(rec.NumRows()), &j.sides[side]
	cols, err := s.ev.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	var own *array.Boolean
	timed := cols
	if j.n.Own[side] != nil {
		own, _ = cols[len(cols)-1].(*array.Boolean)
		timed = cols[:len(cols)-1]
	}
	times, err := timesIn(j, timed)
	if err != nil {
		return err
	}
	keys := timed[:len(timed)-1]
	if err := s.keys.encodeRows(keys, n); err != nil {
		return err
	}
	if err := s.codec.Encode(rec.Columns(), n, &s.vals); err != nil {
		return err
	}
	for i := range n {
		r := pairNew{group: len(j.arena), side: byte(side), null: times.IsNull(i)}
		if r.time, err = timeOf(times, i); err != nil {
			return err
		}
		for k, col := range keys {
			r.null = r.null || col.IsNull(i) && (j.n.NullSafe == nil || !j.n.NullSafe[k])
		}
		r.never = own != nil && (own.IsNull(i) || !own.Value(i))
		if r.null = r.null || r.never; r.null && !s.lone {
			continue
		}
		j.arena = timeWord(append(append(j.arena, s.keys.rows.Row(i)...), byte(side)), r.time)
		r.value = len(j.arena)
		j.arena = append(j.arena, s.vals.Row(i)...)
		r.end = len(j.arena)
		j.news = append(j.news, r)
	}
	return j.mem.set(int64(cap(j.arena)) + 80*int64(cap(j.news)))
}

// window is which times of the other side a row may meet.
func (j *intervalJoin) window(side byte, t int64) (from, to int64) {
	from, to = math.MinInt64+1, math.MaxInt64
	low, high := j.n.Low, j.n.High
	if side == 0 { // right = left - difference
		if high != nil {
			from = t - *high
		}
		if low != nil {
			to = t - *low
		}
		return from, to
	}
	if low != nil {
		from = t + *low
	}
	if high != nil {
		to = t + *high
	}
	return from, to
}

// meet pairs the new rows of one group with the rows that are there, and with
// each other.
func (j *intervalJoin) meet(rows []pairNew) error {
	cut := slices.IndexFunc(rows, func(r pairNew) bool { return r.side == 1 })
	if cut < 0 {
		cut = len(rows)
	}
	group := j.group(&rows[0])
	sides := [2][]pairNew{rows[:cut], rows[cut:]}
	var old, fresh [2][]int32
	for side := range sides {
		if len(sides[side]) > 0 {
			if err := j.loadMet(group, byte(side), sides[side], &old[1-side]); err != nil {
				return err
			}
		}
	}
	for side, news := range sides {
		for i := range news {
			r := &news[i]
			at, err := j.hold(side, pooled{key: pairKey(group, r.side, r.time, j.value(r)), value: j.value(r), time: r.time, times: 1, null: r.null, never: r.never})
			if err != nil {
				return err
			}
			fresh[side] = append(fresh[side], at)
		}
	}
	for _, c := range [][2][]int32{{fresh[0], old[1]}, {fresh[0], fresh[1]}, {old[0], fresh[1]}} {
		if err := j.combine(c[0], c[1]); err != nil {
			return err
		}
	}
	if j.cols[0] != nil || j.cols[1] != nil || len(j.pool[0])+len(j.pool[1]) >= pairsAtOnce {
		return j.settle()
	}
	return nil
}

// loadMet takes the stored rows in hand that new rows of the other side, in the
// order of their times, may meet.
func (j *intervalJoin) loadMet(group []byte, side byte, news []pairNew, to *[]int32) error {
	first := slices.IndexFunc(news, func(r pairNew) bool { return !r.null })
	if first < 0 {
		return nil
	}
	lo, _ := j.window(side, news[first].time)
	_, hi := j.window(side, news[len(news)-1].time)
	other := int(1 - side)
	prefix := append(tagged(group, pairRow), byte(other))
	end := successor(prefix)
	if hi < math.MaxInt64 {
		end = timeWord(bytes.Clone(prefix), hi+1)
	}
	return j.txn.Scan(timeWord(bytes.Clone(prefix), lo), end, func(key, stored []byte) (bool, error) {
		if len(key) != len(prefix)+8+16 {
			return false, rowkey.ErrDamaged
		}
		count, had, value, err := pairOf(stored)
		if err != nil {
			return false, err
		}
		at, err := j.hold(other, pooled{key: bytes.Clone(key), value: bytes.Clone(value), time: wordTime(key[len(prefix):]), times: count, stored: true, had: had})
		*to = append(*to, at)
		return true, err
	})
}

// hold puts a row into the pool of its side.
func (j *intervalJoin) hold(side int, p pooled) (int32, error) {
	s := &j.sides[side]
	if s.builders == nil {
		s.builders = newBuilders(j.tc.Alloc, s.types)
	}
	if err := s.codec.Decode(p.value, s.builders); err != nil {
		return 0, err
	}
	j.pool[side] = append(j.pool[side], p)
	return int32(len(j.pool[side]) - 1), nil
}

// combine lists the pairs of left and right rows, both in the order of their
// times, that are near enough.
func (j *intervalJoin) combine(left, right []int32) error {
	from := 0
	for _, l := range left {
		p := &j.pool[0][l]
		if p.null {
			continue
		}
		lo, hi := j.window(0, p.time)
		for from < len(right) && j.pool[1][right[from]].time < lo {
			from++
		}
		for _, r := range right[from:] {
			q := &j.pool[1][r]
			if q.time > hi {
				break
			}
			if q.null {
				continue
			}
			for range p.times * q.times {
				j.pairs[0], j.pairs[1] = append(j.pairs[0], l), append(j.pairs[1], r)
			}
			if len(j.pairs[0]) >= pairsAtOnce {
				if err := j.try(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// try looks which of the pairs pass the rest of the condition, notes that their
// rows have met and, if the join is of a kind that puts pairs out, does so.
func (j *intervalJoin) try() error {
	n := len(j.pairs[0])
	if n == 0 {
		return nil
	}
	defer func() { j.pairs[0], j.pairs[1] = j.pairs[0][:0], j.pairs[1][:0] }()
	var cols []arrow.Array
	for side := range j.cols {
		if j.cols[side] == nil {
			j.cols[side] = finish(j.sides[side].builders)
		}
		some, err := gather.Columns(j.tc.Alloc, j.cols[side], j.pairs[side])
		if err != nil {
			gather.Release(cols)
			return err
		}
		cols = append(cols, some...)
	}
	rec := newBatch(j.both, cols, n)
	defer rec.Release()
	keep := seq(0, n)
	if j.cond != nil {
		var err error
		if keep, err = j.cond.passing(rec, keep[:0]); err != nil {
			return err
		}
	}
	for _, k := range keep {
		j.pool[0][j.pairs[0][k]].met, j.pool[1][j.pairs[1][k]].met = true, true
	}
	if j.n.Kind == logical.LeftSemi || j.n.Kind == logical.LeftAnti {
		return nil
	}
	out, err := keepRows(j.tc, rec, keep)
	if out == nil || err != nil {
		return err
	}
	defer out.Release()
	all := slices.Clone(out.Columns())
	if len(all) < j.n.Out.NumFields() {
		ops := opColumn(j.tc.Alloc, batch.Insert, len(keep))
		defer ops.Release()
		all = append(all, ops)
	}
	j.ready = append(j.ready, array.NewRecordBatch(j.n.Out, all, int64(len(keep))))
	return nil
}

func (j *intervalJoin) dropPool() {
	for i := range j.sides {
		gather.Release(j.cols[i])
		releaseBuilders(j.sides[i].builders)
		j.cols[i], j.sides[i].builders = nil, nil
		j.pool[i], j.pairs[i] = j.pool[i][:0], j.pairs[i][:0]
	}
}
