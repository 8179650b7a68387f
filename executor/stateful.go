package executor

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/statestore"
)

// statefulAggregate merges the batch's partial results into the state store.
//
// The batch is first merged within itself, so that the store sees each key once.
// Only then the stored result of each key is put in front: an aggregate that
// cares for order (first, collect_list) finds old rows before new ones.
type statefulAggregate struct {
	base
	n     *physical.StatefulAggregate
	keys  *stateKeys
	delta *aggregator // the batch alone
	total *aggregator // with what the store held; same numbers, then scanned rows
	old   *aggregator // changelog: what the store held, in order of found
	dues  dues

	having  *computed     // nil without one
	results *arrow.Schema // keys and results, what having looks at

	sorter keySorter
	chunk  []byte // that scanned rows are copied into next

	mem  account // of keys
	out  cutter
	done bool
}

// pass is what one micro-batch has in hand.
type pass struct {
	txn     statestore.Txn
	n       int           // groups of the batch
	cols    []arrow.Array // their keys
	found   []uint32      // groups that the store had
	oldRes  []arrow.Array // if they are compared: results of found before the batch
	closing []bool        // groups of the batch that leave at once
	scanned [][2][]byte   // other rows that leave or, in complete mode, all rows: key, value
	all     bool          // everything leaves: an input without windows has ended
	order   []int32       // rows to emit
	rows    []int64       // of each group of the batch, if the aggregate is signed
}

func newStatefulAggregate(n *physical.StatefulAggregate, in Operator) (*statefulAggregate, error) {
	switch sinks.Mode(n.Mode) {
	case sinks.Append, sinks.Update, sinks.Complete, sinks.Changelog:
	default:
		return nil, fmt.Errorf("%s: unknown output mode %q", n, n.Mode)
	}
	s := &statefulAggregate{base: base{node: n, in: []Operator{in}}, n: n}
	var err error
	for _, a := range []**aggregator{&s.delta, &s.total, &s.old} {
		if *a, err = newMergeAggregator(n.NKeys, n.Aggs, in.Schema()); err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
	}
	s.keys, err = newStateKeys(fieldTypes(in.Schema().Fields()[:n.NKeys]), n.EndKey, n.EndShift, stateTypes(n.Aggs))
	if err != nil || n.Having == nil {
		return s, err
	}
	fields := n.Out.Fields()[:n.NKeys+len(s.visibleAggs())]
	s.results = arrow.NewSchema(fields, nil)
	s.having, err = newComputed([]expr.Expr{n.Having}, s.results)
	return s, err
}

func (s *statefulAggregate) Open(ctx context.Context, tc *TaskContext) error {
	for _, a := range []*aggregator{s.delta, s.total, s.old} {
		a.open(tc)
	}
	s.mem.open(tc)
	if s.having != nil {
		s.having.open(tc)
	}
	s.out.reset()
	s.done = false
	return s.base.Open(ctx, tc)
}

func (s *statefulAggregate) Close() error {
	s.out.reset()
	s.mem.set(0)
	for _, a := range []*aggregator{s.delta, s.total, s.old} {
		a.release()
	}
	return s.base.Close()
}

func (s *statefulAggregate) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if !s.done {
		s.done = true
		if err := s.compute(ctx); err != nil {
			return nil, fmt.Errorf("state of %s: %w", s.n.Operator, err)
		}
	}
	return s.out.next()
}

func (s *statefulAggregate) compute(ctx context.Context) error {
	txn, err := s.tc.State(ctx, s.n.Operator)
	if err != nil {
		return err
	}
	nk := s.n.NKeys
	err = drain(ctx, s.in[0], func(rec arrow.RecordBatch) error {
		groups, err := s.delta.assign(rec.Columns()[:nk], int(rec.NumRows()))
		if err != nil {
			return err
		}
		return s.delta.merge(groups, rec.Columns()[nk:])
	})
	if err != nil {
		return err
	}
	p := &pass{txn: txn, n: s.delta.table.Len()}
	p.all = s.mode() == sinks.Append && s.n.EndKey < 0 && len(s.n.Aggs) > 0 && s.tc.Spec.Close == batch.EndOfTime
	defer func() { gather.Release(p.cols); gather.Release(p.oldRes) }()
	if err := s.dues.load(s.tc, s.keys, txn); err != nil {
		return err
	}
	for _, step := range []func(*pass) error{s.lookUp, s.store, s.closeDue, s.selectRows, s.emit} {
		if err := step(p); err != nil {
			return err
		}
	}
	noteDue(s.tc, s.n.Clock, s.dues.next())
	return nil
}

func (s *statefulAggregate) mode() sinks.Mode { return sinks.Mode(s.n.Mode) }

// compares says whether what comes out depends on the results before the batch.
func (s *statefulAggregate) compares() bool {
	return s.mode() == sinks.Changelog || s.mode() == sinks.Update && (s.having != nil || s.n.Signed)
}

// lookUp encodes the keys of the batch and merges what the store has for them.
func (s *statefulAggregate) lookUp(p *pass) error {
	if s.n.Global && p.n == 0 {
		if missing, err := s.keys.globalMissing(p.txn); err != nil {
			return err
		} else if missing {
			p.n = 1
			s.delta.resize(1)
		}
	}
	var err error
	if p.cols, err = s.delta.keys(); err != nil {
		return err
	}
	if err := s.keys.encode(p.cols, p.n); err != nil {
		return err
	}
	if err := s.mem.set(s.keys.rows.Bytes() + s.keys.values.Bytes() + 24*int64(cap(s.keys.list))); err != nil {
		return err
	}
	states, err := s.keys.get(s.tc.Alloc, p)
	if err != nil {
		return err
	}
	defer gather.Release(states)
	if len(p.found) == 0 {
		s.delta, s.total = s.total, s.delta
		return nil
	}
	if s.compares() {
		s.old.resize(len(p.found))
		if err := s.old.merge(iota32(0, len(p.found)), states); err != nil {
			return err
		}
		if p.oldRes, err = s.finals(s.old, nil, 0, len(p.found)); err != nil {
			return err
		}
	}
	s.total.resize(p.n)
	if err := s.total.merge(p.found, states); err != nil {
		return err
	}
	fresh, err := s.delta.states(nil, 0, p.n)
	if err != nil {
		return err
	}
	defer gather.Release(fresh)
	return s.total.merge(iota32(0, p.n), fresh)
}

// store writes the groups that stay and deletes those that leave at once.
func (s *statefulAggregate) store(p *pass) error {
	p.closing = make([]bool, p.n)
	staying := p.n
	if err := s.countRows(p); err != nil {
		return err
	}
	for i := range p.closing {
		end, windowed, err := s.keys.end(s.keys.rows.Row(i))
		if err != nil {
			return err
		}
		if p.closing[i] = p.all || windowed && s.closes(end); p.closing[i] || s.gone(p, int32(i)) {
			staying--
		} else if windowed {
			s.dues.add(s.keys.rows.Row(i)[0], end)
		}
	}
	for _, f := range p.found {
		if p.closing[f] || s.gone(p, int32(f)) {
			if err := p.txn.Delete(s.keys.rows.Row(int(f))); err != nil {
				return err
			}
		}
	}
	if staying == 0 {
		return nil
	}
	states, err := s.total.states(nil, 0, p.n)
	if err != nil {
		return err
	}
	defer gather.Release(states)
	if err := s.keys.codec.Encode(states, p.n, &s.keys.values); err != nil {
		return err
	}
	for _, i := range s.keys.order {
		if p.closing[i] || s.gone(p, i) {
			continue
		}
		if err := p.txn.Put(s.keys.rows.Row(int(i)), s.keys.values.Row(int(i))); err != nil {
			return err
		}
	}
	return nil
}

// closes reports whether a window is due. Before any watermark nothing is.
func (s *statefulAggregate) closes(end batch.EventTime) bool {
	limit := limitOf(s.tc, s.n.Clock)
	return limit != batch.NoTime && end <= limit
}

// keepChunk is how many bytes of scanned rows lie together.
const keepChunk = 64 << 10

// keep copies a row of the store. Chunks are not used again: rows of a batch may be
// held until its end.
func (s *statefulAggregate) keep(key, value []byte) [2][]byte {
	n := len(key) + len(value)
	if cap(s.chunk)-len(s.chunk) < n {
		s.chunk = make([]byte, 0, max(n, keepChunk))
	}
	from, cut := len(s.chunk), len(s.chunk)+len(key)
	s.chunk = append(append(s.chunk, key...), value...)
	return [2][]byte{s.chunk[from:cut:cut], s.chunk[cut : cut+len(value) : cut+len(value)]}
}

// closeDue takes the rows out of the store whose window closed without being in
// this batch. In key order the window's end comes first within a key group, so
// that only due rows and one more are read.
func (s *statefulAggregate) closeDue(p *pass) error {
	limit := limitOf(s.tc, s.n.Clock)
	if s.n.EndKey < 0 {
		limit = batch.NoTime
	}
	if p.all {
		limit = batch.EndOfTime
	}
	for g := range s.dues.due(limit) {
		from := len(p.scanned)
		err := s.dues.windows(p.txn, s.keys, g, limit, func(key, value []byte) error {
			p.scanned = append(p.scanned, s.keep(key, value))
			return nil
		})
		if err != nil {
			return err
		}
		for _, kv := range p.scanned[from:] {
			if err := p.txn.Delete(kv[0]); err != nil {
				return err
			}
		}
	}
	return nil
}
