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
	"github.com/sluice-stream/sluice/statestore"
)

// What a state key of openSessions is about, the byte behind the key group.
const (
	sessionDue  = 0 // [end][partition][start]: nothing
	sessionSpan = 1 // [partition][start]: end
	sessionRow  = 2 // [partition][time][digest of the row]: how often, and the row
)

// openSessions keeps the rows of the sessions that the watermark has not closed.
// A batch reads which sessions its partitions have, not their rows; those are
// read when the session closes or, if results come out at once, when it changes.
type openSessions struct {
	base
	n     *physical.OpenSessions
	ev    *computed // the partition, then the row's time and the end of its gap
	keys  *stateKeys
	codec *rowkey.ValueCodec
	types []arrow.DataType
	txn   statestore.Txn
	dues  dues
	limit batch.EventTime // up to which sessions that have ended leave
	mem   account

	vals  rowkey.Rows
	arena []byte
	rows  []sessionEntry
	spans []openSpan

	out sessionOutput
	onePass
}

// sessionEntry is a row of the batch: its partition and its value in the arena.
type sessionEntry struct {
	group, value, end int
	time, until       int64
	order             int32
}

// openSpan is a session, or the rows of a batch that make one with it.
type openSpan struct {
	start, end int64
	stored     bool
	row        int // of rows, if not stored
}

func newOpenSessions(n *physical.OpenSessions, in Operator) (*openSessions, error) {
	s := &openSessions{base: base{node: n, in: []Operator{in}}, n: n, types: fieldTypes(in.Schema().Fields())}
	var err error
	if s.ev, err = newComputed(append(append([]expr.Expr{}, n.Partition...), n.Time, n.End), in.Schema()); err != nil {
		return nil, err
	}
	if s.keys, err = newStateKeys(typesOf(n.Partition), -1, 0, nil); err != nil {
		return nil, err
	}
	s.codec, err = rowkey.NewValueCodec(s.types)
	return s, err
}

func (s *openSessions) Open(ctx context.Context, tc *TaskContext) error {
	s.reset()
	s.mem.open(tc)
	s.ev.open(tc)
	s.out = sessionOutput{s: s}
	return s.base.Open(ctx, tc)
}

func (s *openSessions) reset() {
	s.onePass.reset()
	s.out.drop()
	s.arena, s.rows, s.spans = s.arena[:0], s.rows[:0], s.spans[:0]
}

func (s *openSessions) Close() error {
	s.reset()
	_ = s.mem.set(0) // giving back cannot be refused
	return s.base.Close()
}

func (s *openSessions) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return s.next(ctx, s.n.Operator, s.compute)
}

func (s *openSessions) compute(ctx context.Context) error {
	var err error
	if s.txn, err = s.tc.State(ctx, s.n.Operator); err != nil {
		return err
	}
	s.limit = unshifted(limitOf(s.tc, s.n.Clock), s.n.Shift)
	if err := s.dues.loadBy(s.tc, s.txn); err != nil {
		return err
	}
	if err := drain(ctx, s.in[0], s.take); err != nil {
		return err
	}
	slices.SortFunc(s.rows, func(a, b sessionEntry) int {
		if c := bytes.Compare(s.group(&a), s.group(&b)); c != 0 {
			return c
		}
		if a.time != b.time {
			return int(min(1, max(-1, a.time-b.time)))
		}
		return int(a.order - b.order)
	})
	for i := 0; i < len(s.rows); {
		from := i
		for i++; i < len(s.rows) && bytes.Equal(s.group(&s.rows[from]), s.group(&s.rows[i])); i++ {
		}
		if err := s.partition(from, i); err != nil {
			return err
		}
	}
	if err := s.close(); err != nil {
		return err
	}
	noteDue(s.tc, s.n.Clock, shifted(int64(s.dues.next()), s.n.Shift))
	return s.out.flush()
}

func (s *openSessions) group(e *sessionEntry) []byte { return s.arena[e.group:e.value:e.value] }
func (s *openSessions) value(e *sessionEntry) []byte { return s.arena[e.value:e.end:e.end] }

// take copies the rows of a batch.
func (s *openSessions) take(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	cols, err := s.ev.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	starts, ends, err := timesOf(s, cols)
	if err != nil {
		return err
	}
	if err := s.keys.encodeRows(cols[:len(cols)-2], n); err != nil {
		return err
	}
	if err := s.codec.Encode(rec.Columns(), n, &s.vals); err != nil {
		return err
	}
	for i := range n {
		e := sessionEntry{group: len(s.arena), time: int64(starts.Value(i)), until: int64(ends.Value(i)), order: int32(len(s.rows))}
		if err := checkTime(e.until); err != nil {
			return err
		}
		s.arena = append(s.arena, s.keys.rows.Row(i)...)
		e.value = len(s.arena)
		s.arena = append(s.arena, s.vals.Row(i)...)
		e.end = len(s.arena)
		s.rows = append(s.rows, e)
	}
	return s.mem.set(int64(cap(s.arena)) + 56*int64(cap(s.rows)))
}

// partition merges the rows from..to of one partition with its open sessions.
func (s *openSessions) partition(from, to int) error {
	group := bytes.Clone(s.group(&s.rows[from]))
	s.spans = s.spans[:0]
	prefix := tagged(group, sessionSpan)
	err := s.txn.Scan(prefix, successor(prefix), func(key, value []byte) (bool, error) {
		if len(key) != len(prefix)+8 || len(value) != 8 {
			return false, rowkey.ErrDamaged
		}
		s.spans = append(s.spans, openSpan{start: wordTime(key[len(prefix):]), end: wordTime(value), stored: true})
		return true, nil
	})
	if err != nil {
		return err
	}
	for i := from; i < to; i++ {
		s.spans = append(s.spans, openSpan{start: s.rows[i].time, end: s.rows[i].until, row: i})
	}
	slices.SortStableFunc(s.spans, func(a, b openSpan) int {
		switch {
		case a.start < b.start:
			return -1
		case a.start > b.start:
			return 1
		}
		return 0
	})
	for i := 0; i < len(s.spans); {
		first, all := i, s.spans[i]
		fresh := !all.stored
		for i++; i < len(s.spans) && s.spans[i].start <= all.end; i++ {
			all.end = max(all.end, s.spans[i].end)
			fresh = fresh || !s.spans[i].stored
		}
		if !fresh {
			continue
		}
		if err := s.grow(group, s.spans[first:i], all); err != nil {
			return err
		}
	}
	return nil
}

// grow stores the session that the parts make together, and their new rows.
func (s *openSessions) grow(group []byte, parts []openSpan, all openSpan) error {
	kept := false
	for _, p := range parts {
		if !p.stored {
			continue
		}
		if p.start == all.start && p.end == all.end {
			kept = true
			continue
		}
		if !s.n.Final {
			if err := s.move(group, p, all); err != nil {
				return err
			}
		}
		if err := s.forget(group, p); err != nil {
			return err
		}
	}
	if !kept {
		s.dues.add(group[0], batch.EventTime(all.end))
		if err := s.txn.Put(spanKey(group, all.start), timeWord(nil, all.end)); err != nil {
			return err
		}
		if err := s.txn.Put(dueKey(group, all), nil); err != nil {
			return err
		}
	}
	for _, p := range parts {
		if p.stored {
			continue
		}
		e := &s.rows[p.row]
		if err := s.put(group, e); err != nil {
			return err
		}
		if s.n.Final {
			continue
		}
		if err := s.out.add(s.value(e), 1, all, batch.Insert); err != nil {
			return err
		}
	}
	return nil
}

// put stores a row; equal ones are counted.
func (s *openSessions) put(group []byte, e *sessionEntry) error {
	value := s.value(e)
	key := rowKey(group, e.time, value)
	count, err := oneMore(s.txn, key)
	if err != nil {
		return err
	}
	return s.txn.Put(key, append(binary.AppendUvarint(nil, uint64(count)), value...))
}

// move takes the rows of a session back and puts them out with their new window.
func (s *openSessions) move(group []byte, p, all openSpan) error {
	for _, to := range []struct {
		openSpan
		op batch.Op
	}{{p, batch.Delete}, {all, batch.Insert}} {
		err := s.scanRows(group, p, func(_, stored []byte) error {
			count, value, err := countOf(stored)
			if err != nil {
				return err
			}
			return s.out.add(value, count, to.openSpan, to.op)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// scanRows visits the rows of a session that the store has.
func (s *openSessions) scanRows(group []byte, p openSpan, visit func(key, stored []byte) error) error {
	prefix := tagged(group, sessionRow)
	from, to := timeWord(bytes.Clone(prefix), p.start), timeWord(bytes.Clone(prefix), p.end)
	return s.txn.Scan(from, to, func(key, stored []byte) (bool, error) { return true, visit(key, stored) })
}

// forget takes a session out of the store, less its rows.
func (s *openSessions) forget(group []byte, p openSpan) error {
	if err := s.txn.Delete(spanKey(group, p.start)); err != nil {
		return err
	}
	return s.txn.Delete(dueKey(group, p))
}

// close takes the sessions out of the store that are over; the rows of final ones
// come out now.
func (s *openSessions) close() error {
	return s.dues.over(s.txn, sessionDue, s.limit, func(entries [][]byte) error {
		for _, entry := range entries {
			group, span, err := dueSession(entry)
			if err == nil {
				err = s.closeOne(group, span)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *openSessions) closeOne(group []byte, span openSpan) error {
	var gone [][]byte
	err := s.scanRows(group, span, func(key, stored []byte) error {
		gone = append(gone, bytes.Clone(key))
		if !s.n.Final {
			return nil
		}
		count, value, err := countOf(stored)
		if err != nil {
			return err
		}
		return s.out.add(value, count, span, batch.Insert)
	})
	if err != nil {
		return err
	}
	for _, key := range gone {
		if err := s.txn.Delete(key); err != nil {
			return err
		}
	}
	return s.txn.Delete(spanKey(group, span.start))
}

// sessionOutput collects rows with their windows.
type sessionOutput struct {
	s            *openSessions
	builders     []array.Builder
	starts, ends []int64
	ops          []batch.Op
}

func (o *sessionOutput) drop() {
	releaseBuilders(o.builders)
	o.builders, o.starts, o.ends, o.ops = nil, o.starts[:0], o.ends[:0], o.ops[:0]
}

func (o *sessionOutput) add(value []byte, count int64, w openSpan, op batch.Op) error {
	if o.builders == nil {
		o.builders = newBuilders(o.s.tc.Alloc, o.s.types)
	}
	for range count {
		if err := o.s.codec.Decode(value, o.builders); err != nil {
			return err
		}
		o.starts, o.ends, o.ops = append(o.starts, w.start), append(o.ends, w.end), append(o.ops, op)
	}
	if len(o.starts) < outputRows {
		return nil
	}
	return o.flush()
}

func (o *sessionOutput) flush() error {
	if len(o.starts) == 0 {
		return nil
	}
	rec := withWindow(o.s.tc, finish(o.builders), o.s.n.Out, o.starts, o.ends, o.ops)
	o.s.ready = append(o.s.ready, rec)
	o.drop()
	return nil
}
