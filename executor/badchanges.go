package executor

import "github.com/sluice-stream/sluice/batch"

// badChanges collects the rows that the body of an operator could not compute. The
// body is run over the rows of a group before and after a batch, so that it meets a
// bad row again and again: it is set aside in the batch with which it came, which
// is where there is one more of it after than before.
type badChanges struct {
	outer *unfit
	by    int // what a row counts now: 1 after the batch, -1 before it
	rows  map[badKey]int
	order []*badCount
	bytes int64
	mem   account
}

type badKey struct{ raw, reason string }

type badCount struct {
	row batch.BadRow
	n   int
}

// badCountBytes is what a row costs besides its texts.
const badCountBytes = 128

// netting returns the context for a body, and what has to be settled when all of
// its runs in a batch are over; nil if no bad row is kept.
func (tc *TaskContext) netting() (*TaskContext, *badChanges) {
	if !tc.unfit.keeps() {
		return tc, nil
	}
	b := &badChanges{outer: tc.unfit, by: 1, rows: map[badKey]int{}}
	b.mem.open(tc)
	inner := *tc
	inner.unfit = &unfit{put: b.add, ended: tc.unfit.ended}
	return &inner, b
}

// sign says what the rows of the next run count.
func (b *badChanges) sign(by int) {
	if b != nil {
		b.by = by
	}
}

func (b *badChanges) add(row batch.BadRow) error {
	key := badKey{raw: string(row.Raw), reason: row.Reason}
	at, ok := b.rows[key]
	if !ok {
		at = len(b.order)
		b.rows[key] = at
		row.Raw = []byte(key.raw)
		b.order = append(b.order, &badCount{row: row})
		b.bytes += int64(len(key.raw)+len(key.reason)) + badCountBytes
		if err := b.mem.set(b.bytes); err != nil {
			return err
		}
	}
	b.order[at].n += b.by
	return nil
}

// settle sets the rows aside that are new.
func (b *badChanges) settle() error {
	if b == nil {
		return nil
	}
	for _, c := range b.order {
		for range c.n {
			if err := b.outer.put(c.row); err != nil {
				return err
			}
		}
	}
	clear(b.rows)
	b.order, b.bytes = nil, 0
	return b.mem.set(0)
}
