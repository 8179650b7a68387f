package executor

import (
	"bytes"
	"context"
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// overPast is the part of overTime's state behind the rows that wait:
// [partition][time][digest of the row] -> how often, and a row that came out and still counts.
const overPast = 1

// overTime lets rows wait until the watermark has passed their time, and then runs
// its body over them and as many rows before them as its functions look back at.
type overTime struct {
	waiting
	n    *physical.OverTime
	late []int32
}

func newOverTime(n *physical.OverTime, in []Operator, work map[int][]*workTable) (*overTime, error) {
	w, err := newWaiting(n, in, work[n.Table], n.Keys, n.Time, arrow.Field{Name: "new", Type: expr.TypeBool})
	w.operator, w.shift = n.Operator, n.Shift
	return &overTime{waiting: w, n: n}, err
}

func (o *overTime) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return o.next(ctx, o.operator, func(ctx context.Context) error {
		return o.compute(ctx, func(rec arrow.RecordBatch) error { return o.take(ctx, rec) }, o.passed)
	})
}

// take stores the rows of a batch.
func (o *overTime) take(ctx context.Context, rec arrow.RecordBatch) error {
	cols, times, err := o.encode(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	o.late = o.late[:0]
	for i := range int(rec.NumRows()) {
		if o.n.Late && times.IsNull(i) && o.tc.Spec.Watermark != batch.NoTime {
			o.late = append(o.late, int32(i))
			continue
		}
		t, err := timeOf(times, i)
		if err == nil {
			err = o.put(i, t)
		}
		if err != nil {
			return err
		}
	}
	if len(o.late) == 0 {
		return nil
	}
	noteLate(o.tc, o.operator, int64(len(o.late)))
	return o.tc.late.put(ctx, o.operator, rec, times, o.late)
}

// overRow is a row in the state of a partition.
type overRow struct {
	key    []byte
	time   int64
	count  int64
	stored []byte
}

// passed takes the due rows of a partition in hand behind those that count for
// them, and keeps what counts for later ones.
func (o *overTime) passed(group []byte, limit int64) error {
	fresh, err := o.read(group, waitRow, limit)
	if err != nil {
		return err
	}
	past, err := o.read(group, overPast, math.MaxInt64)
	if err != nil {
		return err
	}
	if len(fresh) > 0 {
		for _, r := range past {
			if err := o.holdRow(r, false); err != nil {
				return err
			}
		}
	}
	for i, r := range fresh {
		if err := o.holdRow(r, true); err != nil {
			return err
		}
		if err := o.txn.Delete(r.key); err != nil {
			return err
		}
		// Its key among those that came out differs in the one byte.
		fresh[i].key = bytes.Clone(r.key)
		fresh[i].key[1] = overPast
	}
	return o.keep(group, past, fresh, limit)
}

// read lists rows of a partition in the order of time that have passed at a limit.
func (o *overTime) read(group []byte, part byte, limit int64) ([]overRow, error) {
	var rows []overRow
	err := o.stored(group, part, limit, func(key []byte, t int64, stored []byte) error {
		count, _, err := countOf(stored)
		rows = append(rows, overRow{key: bytes.Clone(key), time: t, count: count, stored: bytes.Clone(stored)})
		return err
	})
	return rows, err
}

// keep writes the rows that count for later ones, and removes the others.
func (o *overTime) keep(group []byte, past, fresh []overRow, limit int64) error {
	all := append(append([]overRow{}, past...), fresh...)
	from, to := o.kept(all, limit)
	for i, r := range all {
		inside := i >= from && i < to
		var err error
		switch {
		case inside && i >= len(past):
			err = o.txn.Put(r.key, r.stored)
		case !inside && i < len(past):
			err = o.txn.Delete(r.key)
		}
		if err != nil {
			return err
		}
	}
	if back := o.n.Back; back.First == 0 && back.Rows == 0 && from < to {
		// Nobody may ever come to this partition again.
		return o.look(group, all[from].time+back.Range+o.n.Shift+1)
	}
	return nil
}

// kept is which rows of a partition count for rows behind the limit.
func (o *overTime) kept(all []overRow, limit int64) (from, to int) {
	back := o.n.Back
	if back.First > 0 {
		n := int64(0)
		for to < len(all) && (n < back.First || all[to].time == all[to-1].time) {
			n += all[to].count
			to++
		}
		return 0, to
	}
	if back.Rows < 0 {
		return 0, len(all)
	}
	from, n := len(all), int64(0)
	for from > 0 && (n < back.Rows || back.Rows > 0 && all[from-1].time == all[from].time || o.inRange(all[from-1].time, limit)) {
		from--
		n += all[from].count
	}
	return from, len(all)
}

// inRange says whether a row may lie in the range before a row behind the limit.
func (o *overTime) inRange(t, limit int64) bool {
	return o.n.Back.Range > 0 && t != math.MinInt64 && t+o.n.Back.Range+o.n.Shift > limit-1
}

func (o *overTime) holdRow(r overRow, isNew bool) error {
	_, row, err := countOf(r.stored)
	if err != nil {
		return err
	}
	if err := o.hold(row, r.count); err != nil {
		return err
	}
	last := len(o.types) - 1
	flag, ok := o.held.builders[last].(*array.BooleanBuilder)
	if !ok {
		return fmt.Errorf("%s: the flag is %s", o, o.types[last])
	}
	for range r.count {
		flag.Append(isNew)
	}
	return nil
}
