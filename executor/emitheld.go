package executor

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// What a state key of emitHeld is about, the byte behind the key group.
const (
	heldEnd   = 0 // [end][key]: nothing
	heldClock = 1 // [time of the clock][key]: nothing
	heldRow   = 2 // [key][digest of the row]: by how much its count has changed, its Count, and the row
)

// emitHeld keeps what has changed since it last put a key's result out: the rows to
// be taken back and those to be put out. A key of which nothing is held has no rows
// here; an index entry of such a key is passed over when its time has come.
type emitHeld struct {
	base
	n     *physical.Emit
	keys  *stateKeys
	codec *rowkey.ValueCodec
	types []arrow.DataType
	txn   statestore.Txn
	ends  dues
	clock dues

	deltas deltas
	signs  []int32
	// Of the rows of the batch in order of coming: their end and their Count.
	endOf   []batch.EventTime
	countOf []int64
	key     []byte
	held    []heldChange
	arena   []byte
	mem     account

	builders []array.Builder
	ops      []batch.Op
	onePass
}

// heldChange is a row whose count has changed by so much.
type heldChange struct {
	key, value []byte
	by, count  int64
	stored     bool
}

func newEmitHeld(n *physical.Emit, in Operator) (*emitHeld, error) {
	fields := in.Schema().Fields()
	if last := len(fields) - 1; last < 0 || fields[last].Name != batch.OpColumn {
		return nil, fmt.Errorf("%s: its input has no changes", n)
	}
	s := &emitHeld{base: base{node: n, in: []Operator{in}}, n: n, types: fieldTypes(fields[:len(fields)-1])}
	keys := make([]arrow.DataType, len(n.Keys))
	for i, k := range n.Keys {
		keys[i] = s.types[k]
	}
	var err error
	if s.keys, err = newStateKeys(keys, -1, 0, nil); err != nil {
		return nil, err
	}
	s.codec, err = rowkey.NewValueCodec(s.types)
	return s, err
}

func (s *emitHeld) Open(ctx context.Context, tc *TaskContext) error {
	s.reset()
	s.mem.open(tc)
	return s.base.Open(ctx, tc)
}

func (s *emitHeld) reset() {
	s.onePass.reset()
	s.deltas.reset()
	s.drop()
	s.endOf, s.countOf = s.endOf[:0], s.countOf[:0]
}

func (s *emitHeld) drop() {
	releaseBuilders(s.builders)
	s.builders, s.ops = nil, s.ops[:0]
}

func (s *emitHeld) Close() error {
	s.reset()
	_ = s.mem.set(0) // giving back cannot be refused
	return s.base.Close()
}

func (s *emitHeld) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return s.next(ctx, s.n.Operator, s.compute)
}

func (s *emitHeld) compute(ctx context.Context) error {
	var err error
	if s.txn, err = s.tc.State(ctx, s.n.Operator); err != nil {
		return err
	}
	for tag, d := range []*dues{heldEnd: &s.ends, heldClock: &s.clock} {
		if err := d.readPart(s.tc, s.txn, byte(tag)); err != nil {
			return err
		}
	}
	if err := drain(ctx, s.in[0], s.take); err != nil {
		return err
	}
	s.deltas.net()
	if err := s.mem.set(s.deltas.bytes() + 16*int64(cap(s.endOf))); err != nil {
		return err
	}
	if err := s.deltas.each(s.touch); err != nil {
		return err
	}
	if err := s.due(&s.ends, heldEnd, limitOf(s.tc, s.n.Clock)); err != nil {
		return err
	}
	now := s.tc.Spec.Now
	if s.tc.Spec.Close == batch.EndOfTime {
		now = batch.EndOfTime
	}
	if err := s.due(&s.clock, heldClock, now); err != nil {
		return err
	}
	noteDue(s.tc, s.n.Clock, s.ends.next())
	noteWake(s.tc.Result, s.clock.next())
	return s.flush()
}

// noteWake asks for a batch at a time of the clock.
func noteWake(res *batch.TaskResult, at batch.EventTime) {
	if at != batch.EndOfTime && (res.NextWake == 0 || at < res.NextWake) {
		res.NextWake = max(at, 1)
	}
}

// take adds a batch of changes.
func (s *emitHeld) take(rec arrow.RecordBatch) error {
	cols, signed, err := signs(rec, s.signs)
	if err != nil {
		return err
	}
	s.signs = signed
	n := len(signed)
	keys := make([]arrow.Array, len(s.n.Keys))
	for i, k := range s.n.Keys {
		keys[i] = cols[k]
	}
	if err := s.keys.encodeRows(keys, n); err != nil {
		return err
	}
	var ends *array.Timestamp
	var counts *array.Int64
	ok := true
	if s.n.EndKey >= 0 {
		ends, ok = cols[s.n.EndKey].(*array.Timestamp)
	}
	if s.n.Count >= 0 && ok {
		counts, ok = cols[s.n.Count].(*array.Int64)
	}
	if !ok {
		return fmt.Errorf("%s: its end is not a timestamp, or its count not a number", s.n)
	}
	for i := range n {
		end, count := batch.EndOfTime, int64(0)
		switch {
		case ends != nil && ends.IsNull(i):
			end = batch.NoTime
		case ends != nil:
			end = shifted(int64(ends.Value(i)), s.n.EndShift)
		}
		if counts != nil {
			count = counts.Value(i)
		}
		s.endOf, s.countOf = append(s.endOf, end), append(s.countOf, count)
	}
	prefix := func(i int) []byte {
		row := s.keys.rows.Row(i)
		s.key = append(append(s.key[:0], row[0], heldRow), row[1:]...)
		return s.key
	}
	return s.deltas.add(s.codec, cols, signed, prefix, 0)
}

// touch takes the changes of a key: they go out with what was held back, or are kept.
func (s *emitHeld) touch(group []byte, rows []deltaRow) error {
	had, err := s.load(group, rows)
	if err != nil {
		return err
	}
	end := s.endOf[rows[0].order]
	if s.fires(end) {
		return s.emit()
	}
	some := false
	for i := range s.held {
		h := &s.held[i]
		switch {
		case h.by == 0 && h.stored:
			err = s.txn.Delete(h.key)
		case h.by != 0:
			some = true
			err = s.txn.Put(h.key, h.encode(nil))
		}
		if err != nil {
			return err
		}
	}
	if had || !some {
		return nil
	}
	return s.wait(group, end)
}

// wait notes when a key that begins to hold something back puts it out.
func (s *emitHeld) wait(group []byte, end batch.EventTime) error {
	if d := batch.EventTime(s.n.Every); d > 0 {
		at := s.tc.Spec.Now
		at += d - ((at%d)+d)%d
		s.clock.add(group[0], at)
		if err := s.txn.Put(heldDue(group, heldClock, at), nil); err != nil {
			return err
		}
	}
	if end == batch.EndOfTime {
		if s.n.Every > 0 {
			return nil
		}
		end = batch.AtTheEnd
	}
	s.ends.add(group[0], end)
	return s.txn.Put(heldDue(group, heldEnd, end), nil)
}

func heldDue(group []byte, tag byte, at batch.EventTime) []byte {
	key := timeWord([]byte{group[0], tag}, int64(at))
	return append(key, group[2:]...)
}

// load reads what is held of a key and adds changes to it.
func (s *emitHeld) load(group []byte, rows []deltaRow) (had bool, err error) {
	s.held, s.arena = s.held[:0], s.arena[:0]
	at := 0
	fresh := func(until []byte) {
		for ; at < len(rows) && (until == nil || bytes.Compare(s.deltas.key(&rows[at]), until) < 0); at++ {
			d := &rows[at]
			s.held = append(s.held, heldChange{key: s.deltas.key(d), value: s.deltas.value(d), by: int64(d.count), count: s.countOf[d.order]})
		}
	}
	err = s.txn.Scan(group, successor(group), func(key, stored []byte) (bool, error) {
		had = true
		fresh(key)
		h := heldChange{stored: true}
		if err := h.decode(s.keep(key), s.keep(stored)); err != nil {
			return false, err
		}
		if at < len(rows) && bytes.Equal(s.deltas.key(&rows[at]), key) {
			h.by += int64(rows[at].count)
			at++
		}
		s.held = append(s.held, h)
		return true, nil
	})
	fresh(nil)
	return had, err
}

// keep copies bytes that are valid within a scan alone.
func (s *emitHeld) keep(b []byte) []byte {
	from := len(s.arena)
	s.arena = append(s.arena, b...)
	return s.arena[from:len(s.arena):len(s.arena)]
}

func (h *heldChange) encode(dst []byte) []byte {
	dst = binary.AppendVarint(dst, h.by)
	return append(binary.AppendVarint(dst, h.count), h.value...)
}

func (h *heldChange) decode(key, stored []byte) error {
	by, n := binary.Varint(stored)
	if n <= 0 || by == 0 {
		return rowkey.ErrDamaged
	}
	count, m := binary.Varint(stored[n:])
	if m <= 0 {
		return rowkey.ErrDamaged
	}
	h.key, h.value, h.by, h.count = key, stored[n+m:], by, count
	return nil
}

// fires reports whether what is in hand of a key goes out at once: its end has
// passed, or its rows have passed a multiple of Rows since it last went out.
func (s *emitHeld) fires(end batch.EventTime) bool {
	if c := limitOf(s.tc, s.n.Clock); c != batch.NoTime && end <= c {
		return true
	}
	if s.n.Rows == 0 {
		return false
	}
	var before, after int64
	for i := range s.held {
		if h := &s.held[i]; h.by < 0 {
			before = h.count
		} else if h.by > 0 {
			after = h.count
		}
	}
	return before/s.n.Rows != after/s.n.Rows
}

// due puts out what is held of the keys whose time has come by an index.
func (s *emitHeld) due(d *dues, tag byte, limit batch.EventTime) error {
	return d.over(s.txn, tag, limit, func(entries [][]byte) error {
		for _, entry := range entries {
			if _, err := s.load(dueRow(entry, heldRow), nil); err != nil {
				return err
			}
			if err := s.emit(); err != nil {
				return err
			}
		}
		return nil
	})
}

// emit puts out what is in hand of a key, first what is taken back.
func (s *emitHeld) emit() error {
	for _, op := range []batch.Op{batch.Delete, batch.Insert} {
		for i := range s.held {
			h := &s.held[i]
			times := h.by
			if op == batch.Delete {
				times = -times
			}
			for range times {
				if err := s.add(h.value, op); err != nil {
					return err
				}
			}
		}
	}
	for i := range s.held {
		if h := &s.held[i]; h.stored {
			if err := s.txn.Delete(h.key); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *emitHeld) add(value []byte, op batch.Op) error {
	if s.builders == nil {
		s.builders = newBuilders(s.tc.Alloc, s.types)
	}
	if err := s.codec.Decode(value, s.builders); err != nil {
		return err
	}
	if s.ops = append(s.ops, op); len(s.ops) < outputRows {
		return nil
	}
	return s.flush()
}

func (s *emitHeld) flush() error {
	if len(s.ops) == 0 {
		return nil
	}
	cols := append(finish(s.builders), ops8(s.tc.Alloc, s.ops))
	s.ready = append(s.ready, newBatch(s.Schema(), cols, len(s.ops)))
	s.drop()
	return nil
}
