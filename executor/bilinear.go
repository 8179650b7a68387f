package executor

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
)

// changed is the rows of one input that a batch adds, or takes back.
type changed struct{ plus, minus []side }

// bilinear is the form of recompute for a body of two inputs that is linear in
// each of them, an inner join: what the changes of a side meet on the other side
// is all that changes, so that of a group only the side is read that the other
// one's changes meet.
//
//	changes = L' x (R + R'+) - L' x R'- + L x R'    where X' are the changes of X
func (r *recompute) bilinear(ctx context.Context, txn statestore.Txn) error {
	d := changed{plus: make([]side, 2), minus: make([]side, 2)}
	defer func() {
		for _, sides := range [][]side{d.plus, d.minus} {
			for _, s := range sides {
				releaseBuilders(s.builders)
			}
		}
	}()
	err := r.deltas.each(func(group []byte, rows []deltaRow) error {
		if end, windowed, err := r.groups.end(group); err != nil {
			return err
		} else if windowed {
			r.dues.add(group[0], end)
		}
		var has [2]bool
		for i := range rows {
			has[r.deltas.tag(&rows[i])] = true
		}
		meets := [2]bool{has[1], has[0]} // whether the changes of an input find rows of the other
		for input := range 2 {
			if !has[1-input] {
				continue
			}
			r.prefix = append(append(r.prefix[:0], group...), byte(input))
			err := txn.Scan(r.prefix, successor(r.prefix), func(key, stored []byte) (bool, error) {
				meets[1-input] = true
				return true, r.load(r.old, key, stored)
			})
			if err != nil {
				return err
			}
		}
		for i := range rows {
			row, sides := &rows[i], d.plus
			if !meets[r.deltas.tag(row)] {
				continue // they are stored, and that is all
			}
			if row.count < 0 {
				sides = d.minus
			}
			if err := r.repeat(sides, int(r.deltas.tag(row)), r.deltas.value(row), int64(max(row.count, -row.count))); err != nil {
				return err
			}
		}
		if r.held < recomputeRows {
			return nil
		}
		return r.meet(ctx, &d)
	})
	if err == nil {
		err = r.meet(ctx, &d)
	}
	if err != nil {
		return err
	}
	if r.n.Grows {
		return r.appendDeltas(txn)
	}
	return r.storeDeltas(txn)
}

// meet runs the body over the changes in hand and the rows that they meet.
func (r *recompute) meet(ctx context.Context, d *changed) error {
	defer r.drop()
	var all [3][2][]arrow.RecordBatch // old, plus, minus; by input
	defer func() {
		for _, of := range all {
			release(of[0])
			release(of[1])
		}
	}()
	for k, sides := range [][]side{r.old, d.plus, d.minus} {
		for input := range sides {
			s := &sides[input]
			if s.rows > 0 {
				fields := r.in[input].Schema().Fields()[:len(r.types[input])]
				all[k][input] = []arrow.RecordBatch{newBatch(arrow.NewSchema(fields, nil), finish(s.builders), s.rows)}
			}
			releaseBuilders(s.builders)
			*s = side{}
		}
	}
	old, plus, minus := all[0], all[1], all[2]
	after := append(append([]arrow.RecordBatch{}, old[1]...), plus[1]...)
	for _, term := range []struct {
		left, right []arrow.RecordBatch
		op          batch.Op
	}{
		{minus[0], after, batch.Delete}, {plus[0], minus[1], batch.Delete}, {old[0], minus[1], batch.Delete},
		{plus[0], after, batch.Insert}, {minus[0], minus[1], batch.Insert}, {old[0], plus[1], batch.Insert},
	} {
		if len(term.left) == 0 || len(term.right) == 0 {
			continue
		}
		if err := r.product(ctx, term.left, term.right, term.op); err != nil {
			return err
		}
	}
	return nil
}

// product runs the body once.
func (r *recompute) product(ctx context.Context, left, right []arrow.RecordBatch, op batch.Op) error {
	for input, recs := range [][]arrow.RecordBatch{left, right} {
		for _, t := range r.tables[input] {
			t.rows = recs
		}
	}
	if op == batch.Delete {
		r.bad.sign(-1)
		defer r.bad.sign(1)
	}
	if err := r.body().Open(ctx, r.inner); err != nil {
		return err
	}
	return drain(ctx, r.body(), func(rec arrow.RecordBatch) error {
		if r.n.Grows {
			r.ready = append(r.ready, relabel(rec, r.n.Out))
			return nil
		}
		ops := opColumn(r.tc.Alloc, op, int(rec.NumRows()))
		defer ops.Release()
		cols := append(append([]arrow.Array{}, rec.Columns()...), ops)
		r.ready = append(r.ready, array.NewRecordBatch(r.n.Out, cols, rec.NumRows()))
		return nil
	})
}

// storeDeltas adds the batch's changes to the rows that the store has.
func (r *recompute) storeDeltas(txn statestore.Txn) error {
	rows := r.deltas.rows
	keys, counts := make([][]byte, len(rows)), make([]int64, len(rows))
	for i := range rows {
		keys[i] = r.deltas.key(&rows[i])
	}
	err := txn.Get(keys, func(i int, stored []byte) error {
		var err error
		counts[i], _, err = countOf(stored)
		return err
	})
	if err != nil {
		return err
	}
	var value []byte
	for i := range rows {
		now := counts[i] + int64(rows[i].count)
		if now < 0 && r.expires {
			now = 0
		}
		switch {
		case now < 0:
			return fmt.Errorf("input %d takes back a row that it has not put out", r.deltas.tag(&rows[i]))
		case now == 0:
			err = txn.Delete(keys[i])
		default:
			value = append(binary.AppendUvarint(value[:0], uint64(now)), r.deltas.value(&rows[i])...)
			err = txn.Put(keys[i], value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
