package executor

import (
	"bytes"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
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

func (k *keyedRows) orderOf(i int) []byte { return k.arena[k.rows[i].order:k.rows[i].end] }

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

// eachOf visits the keys of several inputs in order, with the rows of each input.
func eachOf(ins []*keyedRows, visit func(key []byte, spans []keySpan) error) error {
	at, spans := make([]int, len(ins)), make([]keySpan, len(ins))
	for {
		var key []byte
		for i, in := range ins {
			if at[i] < len(in.rows) && (key == nil || bytes.Compare(in.key(at[i]), key) < 0) {
				key = in.key(at[i])
			}
		}
		if key == nil {
			return nil
		}
		for i, in := range ins {
			if spans[i] = (keySpan{}); at[i] < len(in.rows) && bytes.Equal(in.key(at[i]), key) {
				spans[i] = in.next(at[i])
				at[i] = spans[i].to
			}
		}
		if err := visit(key, spans); err != nil {
			return err
		}
	}
}

// inTurn visits the rows of a key: the initial ones, the others and the main ones, the
// latter two in turn as their orders say if both have one.
func inTurn(n *physical.Process, inputs []int, rows []*keyedRows, spans []keySpan, visit func(input int, s keySpan) error) error {
	by := [logical.MainRows + 1]int{-1, -1, -1}
	for i, input := range inputs {
		if spans[i].to > spans[i].from {
			by[n.Of[input]] = i
		}
	}
	if i := by[logical.InitialRows]; i >= 0 {
		if err := visit(inputs[i], spans[i]); err != nil {
			return err
		}
	}
	o, m := by[logical.OtherRows], by[logical.MainRows]
	for o >= 0 && m >= 0 && rows[o].order != nil && rows[m].order != nil {
		// Of the others come all that are not behind the first main row, then main rows
		// up to the next of the others.
		i, behind := o, 1
		if bytes.Compare(rows[o].orderOf(spans[o].from), rows[m].orderOf(spans[m].from)) > 0 {
			i, behind = m, 0
		}
		run, limit := keySpan{spans[i].from, spans[i].from + 1}, rows[o+m-i].orderOf(spans[o+m-i].from)
		for run.to < spans[i].to && bytes.Compare(rows[i].orderOf(run.to), limit) < behind {
			run.to++
		}
		if err := visit(inputs[i], run); err != nil {
			return err
		}
		if spans[i].from = run.to; run.to == spans[i].to {
			by[n.Of[inputs[i]]] = -1
			o, m = by[logical.OtherRows], by[logical.MainRows]
		}
	}
	for _, i := range []int{o, m} {
		if i < 0 {
			continue
		}
		if err := visit(inputs[i], spans[i]); err != nil {
			return err
		}
	}
	return nil
}
