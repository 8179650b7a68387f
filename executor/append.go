package executor

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/statestore"
)

// togetherBytes is from what size on rows are not put together with more: about what
// a page of a store holds.
const togetherBytes = 3 << 10

// together is rows of one group and input of a batch: deltas.rows[from:to].
type together struct{ from, to int }

// appendDeltas stores the batch's rows of inputs of which nothing is ever taken back.
// They need not be found one by one again, so that those of a group lie together,
// [key group][group's key][input][batch][part] -> the rows: a key, a look at the store
// and a place in the checkpoint for all of them.
//
// State that was taken over from another query may have rows of a batch of the same
// number; then those that come now go behind them.
func (r *recompute) appendDeltas(txn statestore.Txn) error {
	parts, keys := r.parts[:0], make([][]byte, 0, len(r.parts))
	r.arena = r.arena[:0]
	ends := r.ends[:0]
	err := r.deltas.parts(func(from, to, part int) error {
		for i := range r.deltas.rows[from:to] {
			if row := &r.deltas.rows[from+i]; row.count < 0 {
				return fmt.Errorf("input %d takes back a row, and only grows", r.deltas.tag(row))
			}
		}
		row := &r.deltas.rows[from]
		r.arena = append(append(r.arena, r.deltas.group(row)...), r.deltas.tag(row))
		r.arena = appendBatch(r.arena, r.tc.Spec.Task.Batch, part)
		parts, ends = append(parts, together{from, to}), append(ends, len(r.arena))
		return nil
	})
	r.parts, r.ends = parts, ends
	if err != nil {
		return err
	}
	from := 0
	for _, end := range ends {
		keys = append(keys, r.arena[from:end:end])
		from = end
	}
	there := map[int][]byte{}
	if err := txn.Get(keys, func(i int, stored []byte) error {
		there[i] = bytes.Clone(stored)
		return nil
	}); err != nil {
		return err
	}
	var value []byte
	for k, p := range parts {
		value = value[:0]
		for i := p.from; i < p.to; i++ {
			row := &r.deltas.rows[i]
			value = rowkey.AppendTogether(value, uint64(row.count), r.deltas.value(row))
		}
		put := value
		if old, ok := there[k]; ok {
			if put, err = rowkey.JoinTogether(nil, old, value); err != nil {
				return err
			}
		}
		if err := txn.Put(keys[k], put); err != nil {
			return err
		}
	}
	return nil
}

// appendBatch appends what a key has where that of a row by itself has its digest.
func appendBatch(key []byte, id batch.ID, part int) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(key, uint64(id)), uint64(part))
}

// parts visits the rows that are stored together: of one group and one input, as many
// as a part holds.
func (d *deltas) parts(visit func(from, to, part int) error) error {
	// start is the group and the input of a row.
	start := func(i int) []byte { return d.chunks[d.rows[i].chunk][d.rows[i].key : d.rows[i].group+1] }
	part := 0
	for from := 0; from < len(d.rows); {
		to, size, more := from, 0, true
		for more && size < togetherBytes {
			size += int(d.rows[to].end - d.rows[to].value)
			to++
			more = to < len(d.rows) && bytes.Equal(start(to), start(from))
		}
		if err := visit(from, to, part); err != nil {
			return err
		}
		if part++; !more {
			part = 0 // it depends on the group alone, not on what else this task has
		}
		from = to
	}
	return nil
}
