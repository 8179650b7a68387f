package executor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// recomputeRows is how many rows of touched groups are taken in hand at a time;
// a group is never cut.
const recomputeRows = 64 << 10

// recompute keeps its inputs as multisets of rows, [key group][group's key]
// [input][digest of the row] -> how often, and the row; see appendDeltas for inputs
// that only grow. Keys and rows of a group lie together, so that a group is read by
// one scan.
type recompute struct {
	base // the inputs, then the body
	n    *physical.Recompute

	tables [][]*workTable // of each input
	keys   []*computed
	groups *stateKeys
	codecs []*rowkey.ValueCodec
	types  [][]arrow.DataType
	global bool
	// expires: the state has a time to live, so that a row may be taken back that is
	// no longer there.
	expires bool

	deltas deltas
	signs  []int32
	old    []side // what the groups in hand held, by input
	now    []side
	held   int
	writes []write
	arena  []byte     // of writes and candidates
	prefix []byte     // of a scan
	parts  []together // of appendDeltas
	ends   []int      // of their keys

	candidates []candidate // if what does not come out is dropped
	out        digests     // what came out of them

	diff differ
	dues dues
	mem  account

	inner *TaskContext // of the body
	bad   *badChanges  // rows that the body could not compute

	onePass
}

// side is the rows of one input in the making.
type side struct {
	builders []array.Builder
	rows     int
}

// write is a change of the store that waits for the end of a scan.
type write struct {
	key, value []byte // a nil value deletes
}

func newRecompute(n *physical.Recompute, in []Operator, work map[int][]*workTable) (*recompute, error) {
	r := &recompute{base: base{node: n, in: in}, n: n, global: len(n.Keys[0]) == 0}
	var err error
	if r.groups, err = newStateKeys(typesOf(n.Keys[0]), n.EndKey, n.EndShift, nil); err != nil {
		return nil, err
	}
	for i, table := range n.Tables {
		keys, err := newComputed(n.Keys[i], in[i].Schema())
		if err != nil {
			return nil, err
		}
		fields := in[i].Schema().Fields()
		if last := len(fields) - 1; last >= 0 && fields[last].Name == batch.OpColumn {
			fields = fields[:last]
		}
		types := fieldTypes(fields)
		codec, err := rowkey.NewValueCodec(types)
		if err != nil {
			return nil, err
		}
		r.keys, r.codecs, r.types = append(r.keys, keys), append(r.codecs, codec), append(r.types, types)
		r.tables = append(r.tables, work[table])
	}
	r.old, r.now = make([]side, len(r.types)), make([]side, len(r.types))
	r.diff, err = newDiffer(fieldTypes(n.Body.Schema().Fields()))
	return r, err
}

func (r *recompute) body() Operator { return r.in[len(r.in)-1] }

// Open opens the inputs alone: the body is opened for every run.
func (r *recompute) Open(ctx context.Context, tc *TaskContext) error {
	r.tc = tc
	r.reset()
	r.mem.open(tc)
	r.inner, r.bad = tc.netting()
	for _, k := range r.keys {
		k.open(tc)
	}
	for _, in := range r.in[:len(r.in)-1] {
		if err := in.Open(ctx, tc); err != nil {
			return err
		}
	}
	return nil
}

func (r *recompute) reset() {
	r.onePass.reset()
	r.drop()
	r.deltas.reset()
}

// drop lets go of the rows in hand.
func (r *recompute) drop() {
	for _, sides := range [][]side{r.old, r.now} {
		for i := range sides {
			releaseBuilders(sides[i].builders)
			sides[i] = side{}
		}
	}
	for _, ts := range r.tables {
		for _, t := range ts {
			t.rows = nil
		}
	}
	r.held, r.writes, r.candidates, r.arena = 0, r.writes[:0], r.candidates[:0], r.arena[:0]
}

func (r *recompute) Close() error {
	r.reset()
	_ = r.mem.set(0) // giving back cannot be refused
	return r.base.Close()
}

func (r *recompute) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return r.next(ctx, r.n.Operator, r.compute)
}

func (r *recompute) compute(ctx context.Context) error {
	txn, err := r.tc.State(ctx, r.n.Operator)
	if err != nil {
		return err
	}
	_, r.expires = txn.(*ttlTxn)
	if err := r.dues.load(r.tc, r.groups, txn); err != nil {
		return err
	}
	loaded, err := r.loaded(txn)
	if err != nil {
		return err
	}
	for i := range r.tables {
		if r.n.Static[i] && loaded {
			continue
		}
		if err := drain(ctx, r.in[i], func(rec arrow.RecordBatch) error { return r.take(i, rec) }); err != nil {
			return err
		}
	}
	r.deltas.net()
	if err := r.mem.set(r.deltas.bytes()); err != nil {
		return err
	}
	first, err := r.first(txn)
	if err != nil {
		return err
	}
	switch {
	case r.n.Whole:
		err = r.whole(ctx, txn)
	case r.n.Bilinear:
		err = r.bilinear(ctx, txn)
	default:
		err = r.touched(ctx, txn, first)
	}
	if err == nil {
		err = r.close(ctx, txn)
	}
	if err == nil {
		err = r.bad.settle()
	}
	noteDue(r.tc, r.n.Clock, r.dues.next())
	return err
}

// take adds a batch of an input to the deltas.
func (r *recompute) take(input int, rec arrow.RecordBatch) error {
	cols, signed, err := signs(rec, r.signs)
	if err != nil {
		return err
	}
	r.signs = signed
	keys, err := r.keys[input].run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(keys)
	if err := r.groups.encodeRows(keys, len(signed)); err != nil {
		return err
	}
	return r.deltas.add(r.codecs[input], cols, signed, r.groups.rows.Row, byte(input))
}

// loaded reports whether the static inputs are in the store. It says so with a
// row of its own, which no key of a group can be.
func (r *recompute) loaded(txn statestore.Txn) (loaded bool, err error) {
	if !slices.Contains(r.n.Static, true) {
		return true, nil
	}
	mark := []byte{byte(r.dues.first), 0xff, 0xff}
	if err := txn.Get([][]byte{mark}, func(int, []byte) error { loaded = true; return nil }); err != nil || loaded {
		return loaded, err
	}
	for g := r.dues.first; g < r.dues.end; g++ {
		if err := txn.Put([]byte{byte(g), 0xff, 0xff}, nil); err != nil {
			return false, err
		}
	}
	return false, nil
}

// mark is the row that says that the only group of a result without keys has
// come out: it has a result even when it is empty.
func (r *recompute) mark() ([]byte, error) {
	if err := r.groups.encodeRows(nil, 1); err != nil {
		return nil, err
	}
	return append(bytes.Clone(r.groups.rows.Row(0)), 0xff), nil
}

// first reports whether a result without keys comes out for the first time.
func (r *recompute) first(txn statestore.Txn) (bool, error) {
	if !r.global || r.n.Final {
		return false, nil
	}
	mark, err := r.mark()
	if err != nil {
		return false, err
	}
	first := true
	if err := txn.Get([][]byte{mark}, func(int, []byte) error { first = false; return nil }); err != nil || !first {
		return false, err
	}
	return true, txn.Put(mark, nil)
}

// touched runs the body over the groups that the batch changes.
func (r *recompute) touched(ctx context.Context, txn statestore.Txn, first bool) error {
	some := false
	err := r.deltas.each(func(group []byte, rows []deltaRow) error {
		some = true
		if end, windowed, err := r.groups.end(group); err != nil {
			return err
		} else if windowed {
			r.dues.add(group[0], end)
		}
		if err := r.merge(txn, group, rows); err != nil {
			return err
		}
		if r.n.Final || r.held < recomputeRows {
			return nil
		}
		return r.flush(ctx, txn, false)
	})
	if err != nil || r.n.Final || !some && !first {
		return err
	}
	return r.flush(ctx, txn, first)
}

// whole takes the changes into the store and runs the body over all that it holds.
func (r *recompute) whole(ctx context.Context, txn statestore.Txn) error {
	err := r.deltas.each(func(group []byte, rows []deltaRow) error { return r.merge(txn, group, rows) })
	if err != nil {
		return err
	}
	r.drop()
	for g := r.dues.first; g < r.dues.end; g++ {
		err := txn.Scan(groupStart(g), groupStart(g+1), func(key, value []byte) (bool, error) {
			return true, r.load(r.now, key, value)
		})
		if err != nil {
			return err
		}
	}
	recs, err := r.run(ctx, r.now)
	for _, rec := range recs {
		r.ready = append(r.ready, relabel(rec, r.n.Out))
		rec.Release()
	}
	return err
}

// merge applies the changes of one group to the store. Unless the result waits
// for the window's close, the rows before and after are taken in hand.
func (r *recompute) merge(txn statestore.Txn, group []byte, rows []deltaRow) error {
	at := 0
	// before takes the changes of rows that the store does not have.
	before := func(key []byte) error {
		for ; at < len(rows) && (key == nil || bytes.Compare(r.deltas.key(&rows[at]), key) < 0); at++ {
			d := &rows[at]
			if err := r.change(r.deltas.key(d), r.deltas.value(d), int(r.deltas.tag(d)), 0, int64(d.count)); err != nil {
				return err
			}
		}
		return nil
	}
	err := txn.Scan(group, successor(group), func(key, stored []byte) (bool, error) {
		if key[len(group)] == 0xff {
			return true, nil // a mark
		}
		if err := before(key); err != nil {
			return false, err
		}
		count, value, err := countOf(stored)
		if err != nil {
			return false, err
		}
		var by int64
		if at < len(rows) && bytes.Equal(r.deltas.key(&rows[at]), key) {
			by = int64(rows[at].count)
			at++
		}
		return true, r.change(key, value, int(key[len(group)]), count, by)
	})
	if err == nil {
		err = before(nil)
	}
	for _, w := range r.writes {
		if err != nil {
			break
		}
		if w.value == nil {
			err = txn.Delete(w.key)
		} else {
			err = txn.Put(w.key, w.value)
		}
	}
	r.writes = r.writes[:0]
	if !r.n.Prune {
		r.arena = r.arena[:0]
	}
	return err
}

// change notes that a row of an input was there count times and by more now.
func (r *recompute) change(key, value []byte, input int, count, by int64) error {
	if input >= len(r.codecs) {
		return rowkey.ErrDamaged
	}
	if count+by < 0 && r.expires {
		by = -count // it was let go of before
	}
	if count+by < 0 {
		return fmt.Errorf("input %d takes back a row that it has not put out", input)
	}
	if r.n.Prune {
		r.consider(key, value, count, count+by)
	} else if by != 0 {
		r.note(key, value, count+by)
	}
	if r.n.Final || r.n.Whole {
		return nil
	}
	if err := r.repeat(r.old, input, value, count); err != nil {
		return err
	}
	return r.repeat(r.now, input, value, count+by)
}

// note keeps a change of the store until the scan is over.
func (r *recompute) note(key, value []byte, count int64) {
	from := len(r.arena)
	r.arena = append(r.arena, key...)
	w := write{key: r.arena[from:len(r.arena):len(r.arena)]}
	if count > 0 {
		from = len(r.arena)
		r.arena = append(binary.AppendUvarint(r.arena, uint64(count)), value...)
		w.value = r.arena[from:len(r.arena):len(r.arena)]
	}
	r.writes = append(r.writes, w)
}

// repeat appends a stored row to a side as often as it is there.
func (r *recompute) repeat(sides []side, input int, value []byte, times int64) error {
	s := &sides[input]
	if s.builders == nil {
		s.builders = newBuilders(r.tc.Alloc, r.types[input])
	}
	for range times {
		if err := r.codecs[input].Decode(value, s.builders); err != nil {
			return err
		}
		s.rows++
		r.held++
	}
	return nil
}

// load appends what a row of the store holds to a side.
func (r *recompute) load(sides []side, key, stored []byte) error {
	const digest = 16
	if len(stored) == 0 {
		return nil // a mark
	}
	if len(key) < digest+2 {
		return rowkey.ErrDamaged
	}
	input := int(key[len(key)-digest-1])
	if input >= len(sides) {
		return rowkey.ErrDamaged
	}
	return rowkey.EachStored(stored, func(count int64, value []byte) error { return r.repeat(sides, input, value, count) })
}

func countOf(stored []byte) (int64, []byte, error) {
	count, n := binary.Uvarint(stored)
	if n <= 0 || count == 0 || count > 1<<40 {
		return 0, nil, rowkey.ErrDamaged
	}
	return int64(count), stored[n:], nil
}

// flush runs the body over both sides in hand and keeps the difference.
func (r *recompute) flush(ctx context.Context, txn statestore.Txn, first bool) error {
	defer r.drop()
	var before []arrow.RecordBatch
	var err error
	// A result that has never come out was not even empty before.
	if !first {
		r.bad.sign(-1)
		before, err = r.run(ctx, r.old)
		if r.bad.sign(1); err != nil {
			return err
		}
	}
	defer release(before)
	after, err := r.run(ctx, r.now)
	if err != nil {
		return err
	}
	defer release(after)
	if r.n.Prune {
		if err := r.prune(txn, after); err != nil {
			return err
		}
	}
	rec, err := r.diff.run(r.tc.Alloc, before, after, r.n.Out)
	if rec != nil {
		r.ready = append(r.ready, rec)
	}
	return err
}

// run runs the body over one side.
func (r *recompute) run(ctx context.Context, sides []side) (out []arrow.RecordBatch, err error) {
	var recs []arrow.RecordBatch
	defer func() {
		release(recs)
		if err != nil {
			out = release(out)
		}
	}()
	rows := 0
	for i, tables := range r.tables {
		s := &sides[i]
		rows += s.rows
		var one []arrow.RecordBatch
		if s.rows > 0 {
			fields := r.in[i].Schema().Fields()[:len(r.types[i])]
			rec := newBatch(arrow.NewSchema(fields, nil), finish(s.builders), s.rows)
			recs, one = append(recs, rec), []arrow.RecordBatch{rec}
		}
		for _, t := range tables {
			t.rows = one
		}
	}
	if rows == 0 && !r.global {
		return nil, nil
	}
	if err := r.body().Open(ctx, r.inner); err != nil {
		return nil, err
	}
	err = drain(ctx, r.body(), func(rec arrow.RecordBatch) error {
		rec.Retain()
		out = append(out, rec)
		return nil
	})
	return out, err
}

// close takes the groups out of the store whose window is over; the result of a
// final one comes out now.
func (r *recompute) close(ctx context.Context, txn statestore.Txn) error {
	if r.n.EndKey < 0 {
		return nil
	}
	limit := limitOf(r.tc, r.n.Clock)
	for g := range r.dues.due(limit) {
		err := r.dues.windows(txn, r.groups, g, limit, func(key, stored []byte) error {
			r.note(key, nil, 0)
			if !r.n.Final {
				return nil
			}
			return r.load(r.now, key, stored)
		})
		for _, w := range r.writes {
			err = errors.Join(err, txn.Delete(w.key))
		}
		r.writes, r.arena = r.writes[:0], r.arena[:0]
		if err != nil {
			return err
		}
		if r.held >= recomputeRows {
			if err := r.final(ctx); err != nil {
				return err
			}
		}
	}
	return r.final(ctx)
}

// final puts out the body's rows over the closed groups in hand.
func (r *recompute) final(ctx context.Context) error {
	defer r.drop()
	if r.held == 0 {
		return nil
	}
	recs, err := r.run(ctx, r.now)
	for _, rec := range recs {
		r.ready = append(r.ready, relabel(rec, r.n.Out))
		rec.Release()
	}
	return err
}

// successor is the first key behind all that start with prefix; nil is the end.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := bytes.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}
