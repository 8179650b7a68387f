package executor

import (
	"encoding/binary"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/statestore"
)

// candidate is a row in hand of an input of which only what comes out is kept.
type candidate struct {
	key, value   []byte // in recompute's arena
	before, have int64
}

// consider takes a row in hand; what becomes of it in the store is known when the
// body has run. One that the store has not lies in the deltas, which stay as they
// are until then; one that the store has need only be copied as far as it may have
// to be written again.
func (r *recompute) consider(key, value []byte, before, have int64) {
	if before == 0 {
		r.candidates = append(r.candidates, candidate{key: key, value: value, have: have})
		return
	}
	if have == 1 {
		value = nil // it stays as it is, or goes
	}
	from := len(r.arena)
	r.arena = append(append(r.arena, key...), value...)
	r.candidates = append(r.candidates, candidate{
		key: r.arena[from : from+len(key) : from+len(key)], value: r.arena[from+len(key) : len(r.arena) : len(r.arena)], before: before, have: have,
	})
}

// prune stores the candidates that came out of the body and drops the others:
// over an input that only grows they can never come out again.
func (r *recompute) prune(txn statestore.Txn, out []arrow.RecordBatch) error {
	r.out.reset()
	width := len(r.types[0])
	for _, rec := range out {
		if err := r.out.add(r.codecs[0], rec.Columns()[:width], int(rec.NumRows()), 1); err != nil {
			return err
		}
	}
	var value []byte
	for _, c := range r.candidates {
		keep := min(c.have, int64(r.out.of((*digest)(c.key[len(c.key)-16:]))))
		if keep == c.before {
			continue
		}
		var err error
		if keep == 0 {
			err = txn.Delete(c.key)
		} else {
			value = append(binary.AppendUvarint(value[:0], uint64(keep)), c.value...)
			err = txn.Put(c.key, value)
		}
		if err != nil {
			return err
		}
	}
	r.candidates = r.candidates[:0]
	return nil
}
