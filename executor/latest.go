package executor

import (
	"bytes"
	"context"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// latest keeps the last row of each key: [key group][key] -> the row. It tells what
// a batch has changed of each key's row, whatever there was in between.
type latest struct {
	base
	n     *physical.Latest
	keys  *stateKeys
	codec *rowkey.ValueCodec
	types []arrow.DataType

	signs []int32
	vals  rowkey.Rows
	arena []byte
	rows  []latestRow
	at    map[string]int32 // of rows, by key
	out   side
	ops   []batch.Op
	mem   account
	onePass
}

// latestRow is what a batch says last of a key: key and row are arena[key:value] and
// arena[value:end].
type latestRow struct {
	key, value, end int
	gone            bool
}

func newLatest(n *physical.Latest, in Operator) (*latest, error) {
	fields := n.Schema().Fields()
	l := &latest{base: base{node: n, in: []Operator{in}}, n: n, types: fieldTypes(fields[:len(fields)-1]), at: map[string]int32{}}
	keys := make([]arrow.DataType, len(n.Keys))
	for i, k := range n.Keys {
		keys[i] = l.types[k]
	}
	var err error
	if l.keys, err = newStateKeys(keys, -1, 0, nil); err != nil {
		return nil, err
	}
	l.codec, err = rowkey.NewValueCodec(l.types)
	return l, err
}

func (l *latest) Open(ctx context.Context, tc *TaskContext) error {
	l.reset()
	l.mem.open(tc)
	return l.base.Open(ctx, tc)
}

func (l *latest) reset() {
	l.onePass.reset()
	releaseBuilders(l.out.builders)
	l.out, l.ops = side{}, l.ops[:0]
	l.arena, l.rows = l.arena[:0], l.rows[:0]
	clear(l.at)
}

func (l *latest) Close() error {
	l.reset()
	_ = l.mem.set(0) // giving back cannot be refused
	return l.base.Close()
}

func (l *latest) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return l.next(ctx, l.n.Operator, l.compute)
}

func (l *latest) compute(ctx context.Context) error {
	txn, err := l.tc.State(ctx, l.n.Operator)
	if err != nil {
		return err
	}
	if err := drain(ctx, l.in[0], l.take); err != nil {
		return err
	}
	return l.replace(txn)
}

// take notes the last row of each key. Rows come in the order of their source.
func (l *latest) take(rec arrow.RecordBatch) error {
	cols, signed, err := signs(rec, l.signs)
	if err != nil {
		return err
	}
	l.signs = signed
	keys := make([]arrow.Array, len(l.n.Keys))
	for i, k := range l.n.Keys {
		keys[i] = cols[k]
	}
	if err := l.keys.encodeRows(keys, len(signed)); err != nil {
		return err
	}
	if err := l.codec.Encode(cols, len(signed), &l.vals); err != nil {
		return err
	}
	for i, sign := range signed {
		key := l.keys.rows.Row(i)
		at, seen := l.at[string(key)]
		if !seen {
			at = int32(len(l.rows))
			from := len(l.arena)
			l.arena = append(l.arena, key...)
			l.rows = append(l.rows, latestRow{key: from, value: len(l.arena), end: len(l.arena)})
			l.at[string(key)] = at
		}
		r := &l.rows[at]
		if r.gone = sign < 0; r.gone {
			continue
		}
		if row := l.vals.Row(i); seen { // the key stays where it is; the row before is left behind
			from := len(l.arena)
			l.arena = append(append(l.arena, l.arena[r.key:r.key+len(key)]...), row...)
			r.key, r.value, r.end = from, from+len(key), len(l.arena)
		} else {
			l.arena = append(l.arena, row...)
			r.end = len(l.arena)
		}
	}
	return l.mem.set(int64(cap(l.arena)) + 100*int64(len(l.rows)))
}

// replace takes the rows into the store and tells what has changed.
func (l *latest) replace(txn statestore.Txn) error {
	var sorter keySorter
	order := sorter.order(len(l.rows), func(i int32) []byte { return l.arena[l.rows[i].key:l.rows[i].value] })
	keys := make([][]byte, len(order))
	for i, o := range order {
		keys[i] = l.arena[l.rows[o.i].key:l.rows[o.i].value]
	}
	l.out.builders = newBuilders(l.tc.Alloc, l.types)
	next := 0
	held := make([]bool, len(keys))
	// The rows that the store has are visited in the order of the keys.
	fresh := func(to int) error {
		for ; next < to; next++ {
			if r := &l.rows[order[next].i]; !r.gone {
				if err := l.put(batch.Insert, l.arena[r.value:r.end]); err != nil {
					return err
				}
			}
		}
		return nil
	}
	err := txn.Get(keys, func(i int, old []byte) error {
		if err := fresh(i); err != nil {
			return err
		}
		next, held[i] = i+1, true
		r := &l.rows[order[i].i]
		row := l.arena[r.value:r.end]
		switch {
		case r.gone:
			return l.put(batch.Delete, old)
		case bytes.Equal(old, row):
			return nil
		}
		if err := l.put(batch.UpdateBefore, old); err != nil {
			return err
		}
		return l.put(batch.UpdateAfter, row)
	})
	if err == nil {
		err = fresh(len(keys))
	}
	if err != nil {
		return err
	}
	for i, o := range order {
		switch r := &l.rows[o.i]; {
		case !r.gone:
			err = txn.Put(keys[i], l.arena[r.value:r.end])
		case held[i]:
			err = txn.Delete(keys[i])
		}
		if err != nil {
			return err
		}
	}
	return l.cut()
}

// put appends a change; a batch of them is ready as soon as it is large enough.
func (l *latest) put(op batch.Op, row []byte) error {
	if err := l.codec.Decode(row, l.out.builders); err != nil {
		return err
	}
	l.ops = append(l.ops, op)
	if l.out.rows++; l.out.rows < outputRows {
		return nil
	}
	return l.cut()
}

func (l *latest) cut() error {
	if l.out.rows == 0 {
		return nil
	}
	cols := append(finish(l.out.builders), ops8(l.tc.Alloc, l.ops))
	l.ready = append(l.ready, newBatch(l.Schema(), cols, l.out.rows))
	l.out.rows, l.ops = 0, l.ops[:0]
	return nil
}
