package executor

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// sessionAggregate keeps a row for each open session, its end and its partial
// results, under the keys that openSessions has for its sessions.
type sessionAggregate struct {
	base
	n     *physical.SessionAggregate
	keys  *stateKeys
	total *aggregator // by session of this batch, then by session that is due
	txn   statestore.Txn
	dues  dues
	mem   account

	arena  []byte
	parts  []sessionPart // of the batch
	recs   []arrow.RecordBatch
	sorter keySorter
	ids    []uint32 // the session of each part

	stored    []array.Builder // partial results that the store had
	storedIDs []uint32        // and of which session they are
	spans     []openSpan
	sessions  []aggSession
	gone      []int32 // sessions that come out

	onePass
}

// sessionPart is a part of a session that came with the batch: its partition's key
// with its start behind in the arena.
type sessionPart struct {
	from, to   int
	start, end int64
}

// aggSession is a session that the batch has to do with.
type aggSession struct {
	group      []byte
	start, end int64
	old        []openSpan // those in the store that it is made of
	fresh      bool       // rows have come
}

func newSessionAggregate(n *physical.SessionAggregate, in Operator) (*sessionAggregate, error) {
	s := &sessionAggregate{base: base{node: n, in: []Operator{in}}, n: n}
	types := fieldTypes(in.Schema().Fields()[:n.NKeys])
	var err error
	if s.total, err = newAggregator(types, n.Aggs); err != nil {
		return nil, err
	}
	s.keys, err = newStateKeys(types, -1, 0, stateTypes(n.Aggs))
	return s, err
}

func (s *sessionAggregate) Open(ctx context.Context, tc *TaskContext) error {
	s.reset()
	s.total.open(tc)
	s.mem.open(tc)
	return s.base.Open(ctx, tc)
}

func (s *sessionAggregate) reset() {
	s.onePass.reset()
	s.recs = release(s.recs)
	releaseBuilders(s.stored)
	s.stored = nil
	s.arena, s.parts, s.ids, s.storedIDs = s.arena[:0], s.parts[:0], s.ids[:0], s.storedIDs[:0]
	clear(s.sessions)
	s.sessions, s.gone = s.sessions[:0], s.gone[:0]
}

func (s *sessionAggregate) Close() error {
	s.reset()
	s.total.release()
	_ = s.mem.set(0) // giving back cannot be refused
	return s.base.Close()
}

func (s *sessionAggregate) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return s.next(ctx, s.n.Operator, s.compute)
}

func (s *sessionAggregate) compute(ctx context.Context) error {
	var err error
	if s.txn, err = s.tc.State(ctx, s.n.Operator); err != nil {
		return err
	}
	if err := s.dues.loadBy(s.tc, s.txn); err != nil {
		return err
	}
	if err := drain(ctx, s.in[0], s.take); err != nil {
		return err
	}
	s.stored = newBuilders(s.tc.Alloc, s.keys.state)
	s.ids = resized(s.ids, len(s.parts))
	order := s.sorter.order(len(s.parts), func(i int32) []byte { return s.key(&s.parts[i]) })
	for i := 0; i < len(order); {
		from, group := i, s.group(&s.parts[order[i].i])
		for i++; i < len(order) && bytes.Equal(group, s.group(&s.parts[order[i].i])); i++ {
		}
		if err := s.unite(group, order[from:i]); err != nil {
			return err
		}
	}
	for _, step := range []func() error{s.merge, s.store, s.close, s.emit} {
		if err := step(); err != nil {
			return err
		}
	}
	s.tc.Result.NextDue = min(s.tc.Result.NextDue, s.dues.next())
	return nil
}

func (s *sessionAggregate) key(p *sessionPart) []byte   { return s.arena[p.from:p.to:p.to] }
func (s *sessionAggregate) group(p *sessionPart) []byte { return s.arena[p.from : p.to-8 : p.to-8] }

// take keeps a batch and notes its parts of sessions.
func (s *sessionAggregate) take(rec arrow.RecordBatch) error {
	n, nk := int(rec.NumRows()), s.n.NKeys
	starts, ends, err := timesOf(s.n, rec.Columns()[:nk+2])
	if err != nil {
		return err
	}
	if err := s.keys.encodeRows(rec.Columns()[:nk], n); err != nil {
		return err
	}
	s.arena, s.parts = roomFor(s.arena, len(s.keys.rows.Data)+8*n), roomFor(s.parts, n)
	for i := range n {
		p := sessionPart{from: len(s.arena), start: int64(starts.Value(i)), end: int64(ends.Value(i))}
		s.arena = timeWord(append(s.arena, s.keys.rows.Row(i)...), p.start)
		p.to = len(s.arena)
		s.parts = append(s.parts, p)
	}
	rec.Retain()
	s.recs = append(s.recs, rec)
	return s.mem.set(int64(cap(s.arena)) + 32*int64(cap(s.parts)) + 4*int64(cap(s.ids)))
}

// unite finds out which parts of a partition, of the batch and of the store, are
// one session: those whose times touch.
func (s *sessionAggregate) unite(group []byte, parts []keyWord) error {
	s.spans = s.spans[:0]
	prefix := tagged(group, sessionSpan)
	err := s.txn.Scan(prefix, successor(prefix), func(key, value []byte) (bool, error) {
		if len(key) != len(prefix)+8 || len(value) < 8 {
			return false, rowkey.ErrDamaged
		}
		s.spans = append(s.spans, openSpan{start: wordTime(key[len(prefix):]), end: wordTime(value), stored: true, row: len(s.storedIDs)})
		s.storedIDs = append(s.storedIDs, 0)
		return true, s.keys.codec.Decode(value[8:], s.stored)
	})
	if err != nil {
		return err
	}
	old := len(s.spans) > 0
	for _, p := range parts {
		s.spans = append(s.spans, openSpan{start: s.parts[p.i].start, end: s.parts[p.i].end, row: int(p.i)})
	}
	if old { // else they are in order
		slices.SortStableFunc(s.spans, func(a, b openSpan) int {
			switch {
			case a.start < b.start:
				return -1
			case a.start > b.start:
				return 1
			}
			return 0
		})
	}
	for i := 0; i < len(s.spans); {
		id := uint32(len(s.sessions))
		all := aggSession{group: group, start: s.spans[i].start, end: s.spans[i].end}
		for ; i < len(s.spans) && s.spans[i].start <= all.end; i++ {
			p := s.spans[i]
			all.end = max(all.end, p.end)
			if p.stored {
				s.storedIDs[p.row], all.old = id, append(all.old, p)
			} else {
				s.ids[p.row], all.fresh = id, true
			}
		}
		s.sessions = append(s.sessions, all)
	}
	return nil
}

// merge adds up the partial results of each session, those of the store first.
func (s *sessionAggregate) merge() error {
	s.total.resize(len(s.sessions))
	if len(s.storedIDs) > 0 {
		states := finish(s.stored)
		defer gather.Release(states)
		if err := s.total.merge(s.storedIDs, states); err != nil {
			return err
		}
	}
	at := 0
	for _, rec := range s.recs {
		n := int(rec.NumRows())
		if err := s.total.merge(s.ids[at:at+n], rec.Columns()[s.n.NKeys+2:]); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// due reports whether a session is over.
func (s *sessionAggregate) due(end int64) bool {
	return s.tc.Spec.Close != batch.NoTime && batch.EventTime(end) <= s.tc.Spec.Close
}

// store writes the sessions that have changed; those that are over come out.
func (s *sessionAggregate) store() error {
	if len(s.sessions) == 0 {
		return nil
	}
	states, err := s.total.states(nil, 0, len(s.sessions))
	if err != nil {
		return err
	}
	defer gather.Release(states)
	if err := s.keys.codec.Encode(states, len(s.sessions), &s.keys.values); err != nil {
		return err
	}
	var value []byte
	for i := range s.sessions {
		c := &s.sessions[i]
		if !c.fresh {
			continue
		}
		over, kept := s.due(c.end), false
		for _, p := range c.old {
			if same := p.start == c.start && p.end == c.end && !over; same {
				kept = true
			} else if err := s.forget(c.group, p); err != nil {
				return err
			}
		}
		if over {
			s.gone = append(s.gone, int32(i))
			continue
		}
		value = append(timeWord(value[:0], c.end), s.keys.values.Row(i)...)
		if err := s.txn.Put(spanKey(c.group, c.start), value); err != nil {
			return err
		}
		if kept {
			continue
		}
		s.dues.add(c.group[0], batch.EventTime(c.end))
		if err := s.txn.Put(dueKey(c.group, openSpan{start: c.start, end: c.end}), nil); err != nil {
			return err
		}
	}
	return nil
}

// forget takes a session out of the store.
func (s *sessionAggregate) forget(group []byte, p openSpan) error {
	return errors.Join(s.txn.Delete(spanKey(group, p.start)), s.txn.Delete(dueKey(group, p)))
}

// close takes the sessions out of the store that are over.
func (s *sessionAggregate) close() error {
	first := len(s.sessions)
	err := s.dues.over(s.txn, sessionDue, s.tc.Spec.Close, func(entries [][]byte) error {
		for _, entry := range entries {
			group, span, err := dueSession(entry)
			if err != nil {
				return err
			}
			s.sessions = append(s.sessions, aggSession{group: group, start: span.start, end: span.end})
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.takeOut(first)
}

// takeOut reads the results of the sessions from first on, and deletes them.
func (s *sessionAggregate) takeOut(first int) error {
	if first == len(s.sessions) {
		return nil
	}
	bs := newBuilders(s.tc.Alloc, s.keys.state)
	defer releaseBuilders(bs)
	for i := first; i < len(s.sessions); i++ {
		c, found := &s.sessions[i], false
		err := s.txn.Get([][]byte{spanKey(c.group, c.start)}, func(_ int, value []byte) error {
			if found = true; len(value) < 8 {
				return rowkey.ErrDamaged
			}
			return s.keys.codec.Decode(value[8:], bs)
		})
		if err == nil && !found {
			err = rowkey.ErrDamaged
		}
		if err == nil {
			err = s.txn.Delete(spanKey(c.group, c.start))
		}
		if err != nil {
			return err
		}
		s.gone = append(s.gone, int32(i))
	}
	states := finish(bs)
	defer gather.Release(states)
	s.total.resize(len(s.sessions))
	return s.total.merge(iota32(first, len(s.sessions)), states)
}

// emit puts out the sessions that are over.
func (s *sessionAggregate) emit() error {
	n := len(s.gone)
	if n == 0 {
		return nil
	}
	bs := newBuilders(s.tc.Alloc, s.keys.types)
	defer releaseBuilders(bs)
	starts, ends := make([]int64, n), make([]int64, n)
	for i, id := range s.gone {
		c := &s.sessions[id]
		if err := s.keys.enc.Decode(c.group[1:], bs); err != nil {
			return err
		}
		starts[i], ends[i] = c.start, c.end
	}
	dt := s.in[0].Schema().Field(s.n.NKeys).Type
	all := append(finish(bs), int64Column(s.tc.Alloc, dt, starts, 0), int64Column(s.tc.Alloc, dt, ends, 0))
	defer gather.Release(all)
	finals, err := s.total.finals(nil, 0, len(s.sessions))
	if err != nil {
		return err
	}
	defer gather.Release(finals)
	results, err := gather.Columns(s.tc.Alloc, finals, s.gone)
	if err != nil {
		return err
	}
	cols := make([]arrow.Array, 0, len(s.n.Columns)+len(results))
	for _, c := range s.n.Columns {
		all[c].Retain()
		cols = append(cols, all[c])
	}
	s.ready = append(s.ready, newBatch(s.n.Out, append(cols, results...), n))
	return nil
}
