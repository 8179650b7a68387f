package executor

import (
	"bytes"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
)

// keyedRows collects the rows of an input and sorts them by key and, within one,
// by an order or as they came.
type keyedRows struct {
	keys  *computed // the keys, then the order
	nkeys int
	enc   *stateKeys
	order *rowkey.Encoder // nil without one
	tc    *TaskContext
	mem   account

	recs  []arrow.RecordBatch
	arena []byte
	rows  []keyedRow
	vals  rowkey.Rows
	rec   arrow.RecordBatch // all rows, sorted
}

// keyedRow says where the key and the order of a row are in the arena.
type keyedRow struct {
	key, order, end int
	at              int32
}

// keySpan is a range of sorted rows.
type keySpan struct{ from, to int }

func newKeyedRows(keys []expr.Expr, order expr.Expr, in *arrow.Schema) (*keyedRows, error) {
	k := &keyedRows{nkeys: len(keys)}
	es := slices.Clone(keys)
	var err error
	if order != nil {
		es = append(es, order)
		if k.order, err = rowkey.NewEncoder(typesOf(es[len(keys):])); err != nil {
			return nil, err
		}
	}
	if k.keys, err = newComputed(es, in); err != nil {
		return nil, err
	}
	k.enc, err = newStateKeys(typesOf(keys), -1, 0, nil)
	return k, err
}

func (k *keyedRows) open(tc *TaskContext) {
	k.reset()
	k.tc = tc
	k.mem.open(tc)
	k.keys.open(tc)
}

func (k *keyedRows) reset() {
	k.recs = release(k.recs)
	k.arena, k.rows = k.arena[:0], k.rows[:0]
	if k.rec != nil {
		k.rec.Release()
		k.rec = nil
	}
}

func (k *keyedRows) add(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	if n == 0 {
		return nil
	}
	cols, err := k.keys.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	if err := k.enc.encodeRows(cols[:k.nkeys], n); err != nil {
		return err
	}
	if k.order != nil {
		if err := k.order.Encode(cols[k.nkeys:], n, &k.vals); err != nil {
			return err
		}
	}
	for i := range n {
		r := keyedRow{key: len(k.arena), at: int32(len(k.rows))}
		k.arena = append(k.arena, k.enc.rows.Row(i)...)
		r.order = len(k.arena)
		if k.order != nil {
			k.arena = append(k.arena, k.vals.Row(i)...)
		}
		r.end = len(k.arena)
		k.rows = append(k.rows, r)
	}
	rec.Retain()
	k.recs = append(k.recs, rec)
	return k.mem.set(int64(cap(k.arena)) + 32*int64(cap(k.rows)))
}

func (k *keyedRows) key(i int) []byte { return k.arena[k.rows[i].key:k.rows[i].order] }

// sort puts the rows into the order of their keys. Keys start with their key group.
func (k *keyedRows) sort() error {
	if len(k.rows) == 0 {
		return nil
	}
	slices.SortFunc(k.rows, func(a, b keyedRow) int {
		if c := bytes.Compare(k.arena[a.key:a.order], k.arena[b.key:b.order]); c != 0 {
			return c
		}
		if c := bytes.Compare(k.arena[a.order:a.end], k.arena[b.order:b.end]); c != 0 {
			return c
		}
		return int(a.at - b.at)
	})
	one, err := oneBatch(k.tc, k.recs)
	if err != nil {
		return err
	}
	defer one.Release()
	k.recs = release(k.recs)
	idx := make([]int32, len(k.rows))
	for i := range k.rows {
		idx[i] = k.rows[i].at
	}
	k.rec, err = gather.Batch(k.tc.Alloc, one, idx)
	return err
}

// next is the rows of the key that stands at a position.
func (k *keyedRows) next(from int) keySpan {
	to := from + 1
	for key := k.key(from); to < len(k.rows) && bytes.Equal(key, k.key(to)); to++ {
	}
	return keySpan{from, to}
}

// each visits the keys in order.
func (k *keyedRows) each(visit func(key []byte, rec arrow.RecordBatch, from, to int) error) error {
	for at := 0; at < len(k.rows); {
		s := k.next(at)
		if err := visit(k.key(at), k.rec, s.from, s.to); err != nil {
			return err
		}
		at = s.to
	}
	return nil
}

// eachOfBoth visits the keys of two inputs together; a may be nil.
func eachOfBoth(a, b *keyedRows, visit func(key []byte, ofA, ofB keySpan) error) error {
	if a == nil {
		a = &keyedRows{}
	}
	for i, j := 0, 0; i < len(a.rows) || j < len(b.rows); {
		c := 0
		switch {
		case i == len(a.rows):
			c = 1
		case j == len(b.rows):
			c = -1
		default:
			c = bytes.Compare(a.key(i), b.key(j))
		}
		var ofA, ofB keySpan
		var key []byte
		if c <= 0 {
			key, ofA = a.key(i), a.next(i)
			i = ofA.to
		}
		if c >= 0 {
			key, ofB = b.key(j), b.next(j)
			j = ofB.to
		}
		if err := visit(key, ofA, ofB); err != nil {
			return err
		}
	}
	return nil
}
