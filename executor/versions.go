package executor

import (
	"bytes"
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/physical"
)

// versionLast is the part of versions' state behind the rows that wait, which have a
// byte in front that says whether they have a value: [partition] -> the last row with
// a value that is over.
const versionLast = 1

// versions lets rows wait until the watermark has passed their time, and then runs
// its body over them and the last version before them. A last version that is among
// them comes out again; above, only rows of the other side are kept.
type versions struct {
	waiting
	n *physical.Versions
}

func newVersions(n *physical.Versions, in []Operator, work map[int][]*workTable) (*versions, error) {
	w, err := newWaiting(n, in, work[n.Table], n.Keys, n.Time)
	w.operator, w.shift = n.Operator, n.Shift
	return &versions{waiting: w, n: n}, err
}

func (v *versions) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return v.next(ctx, v.operator, func(ctx context.Context) error { return v.compute(ctx, v.take, v.passed) })
}

// take stores the rows of a batch.
func (v *versions) take(rec arrow.RecordBatch) error {
	cols, times, err := v.encode(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	for i := range int(rec.NumRows()) {
		t, err := timeOf(times, i)
		if err != nil {
			return err
		}
		flag := byte(0)
		if rec.Column(v.n.Value).IsValid(i) {
			flag = 1
		}
		if err := v.put(i, t, flag); err != nil {
			return err
		}
	}
	return nil
}

// passed takes the rows of one partition in hand, its last version first, and
// keeps the version that is the last now.
func (v *versions) passed(group []byte, limit int64) error {
	last := tagged(group, versionLast)
	err := v.txn.Get([][]byte{last}, func(_ int, row []byte) error { return v.hold(row, 1) })
	if err != nil {
		return err
	}
	var gone [][]byte
	var newest []byte
	err = v.stored(group, waitRow, limit, func(key []byte, _ int64, stored []byte) error {
		count, value, row, err := pairOf(stored)
		if err != nil {
			return err
		}
		gone = append(gone, bytes.Clone(key))
		if value {
			newest = bytes.Clone(row)
		}
		return v.hold(row, count)
	})
	if err != nil {
		return err
	}
	for _, key := range gone {
		if err := v.txn.Delete(key); err != nil {
			return err
		}
	}
	if newest == nil {
		return nil
	}
	return v.txn.Put(last, newest)
}
