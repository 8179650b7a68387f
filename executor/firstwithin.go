package executor

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// firstWithin remembers keys for a while: [key group][0][until when][key] is the
// index, [key group][1][key] the memory.
type firstWithin struct {
	base
	n    *physical.FirstWithin
	ev   *computed // the keys, then the time
	keys *stateKeys
	txn  statestore.Txn
	dues dues
	keep []int32
	over bool
}

func newFirstWithin(n *physical.FirstWithin, in Operator) (*firstWithin, error) {
	f := &firstWithin{base: base{node: n, in: []Operator{in}}, n: n}
	var err error
	if f.ev, err = newComputed(append(append([]expr.Expr{}, n.Keys...), n.Time), in.Schema()); err != nil {
		return nil, err
	}
	f.keys, err = newStateKeys(typesOf(n.Keys), -1, 0, nil)
	return f, err
}

func (f *firstWithin) Open(ctx context.Context, tc *TaskContext) error {
	f.txn, f.over = nil, false
	f.ev.open(tc)
	return f.base.Open(ctx, tc)
}

// Next passes rows on as they come; keys are forgotten when there are no more.
func (f *firstWithin) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if f.txn == nil {
		txn, err := f.tc.State(ctx, f.n.Operator)
		if err != nil {
			return nil, err
		}
		f.txn = txn
		if err := f.dues.loadBy(f.tc, txn); err != nil {
			return nil, f.failed(err)
		}
	}
	for {
		rec, err := f.in[0].Next(ctx)
		if err != nil {
			if f.over {
				return nil, err
			}
			f.over = true
			if ferr := f.forget(); ferr != nil {
				return nil, f.failed(ferr)
			}
			return nil, err
		}
		out, err := f.first(rec)
		rec.Release()
		if err != nil {
			return nil, f.failed(err)
		}
		if out != nil {
			return out, nil
		}
	}
}

func (f *firstWithin) failed(err error) error {
	return fmt.Errorf("state of %s: %w", f.n.Operator, err)
}

func (f *firstWithin) first(rec arrow.RecordBatch) (arrow.RecordBatch, error) {
	n := int(rec.NumRows())
	cols, err := f.ev.run(rec)
	if err != nil {
		return nil, err
	}
	defer gather.Release(cols)
	times, err := timesIn(f, cols)
	if err != nil {
		return nil, err
	}
	if err := f.keys.encodeRows(cols[:len(cols)-1], n); err != nil {
		return nil, err
	}
	f.keep = f.keep[:0]
	for i := range n {
		group := f.keys.rows.Row(i)
		key := tagged(group, 1)
		seen := false
		if err := f.txn.Get([][]byte{key}, func(int, []byte) error { seen = true; return nil }); err != nil {
			return nil, err
		}
		if seen {
			continue
		}
		f.keep = append(f.keep, int32(i))
		until := int64(batch.NoTime) + 1 // a row without a time is forgotten at once
		if times.IsValid(i) {
			if err := checkTime(int64(times.Value(i))); err != nil {
				return nil, err
			}
			until = int64(times.Value(i)) + f.n.Delay
		}
		f.dues.add(group[0], batch.EventTime(until))
		due := append(timeWord([]byte{group[0], 0}, until), group[1:]...)
		if err := f.txn.Put(key, nil); err != nil {
			return nil, err
		}
		if err := f.txn.Put(due, nil); err != nil {
			return nil, err
		}
	}
	return keepRows(f.tc, rec, f.keep)
}

// forget takes the keys out of the store whose time is over.
func (f *firstWithin) forget() error {
	err := f.dues.over(f.txn, 0, f.tc.Spec.Close, func(entries [][]byte) error {
		for _, entry := range entries {
			if err := f.txn.Delete(dueRow(entry, 1)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.tc.Result.NextDue = min(f.tc.Result.NextDue, f.dues.next())
	return nil
}
