package executor

import (
	"bytes"
	"iter"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
)

// dues remembers the earliest window end of each key group of a shard from batch
// to batch, so that a batch in which nothing is due reads nothing.
type dues struct {
	at         [batch.KeyGroups]batch.EventTime
	first, end int
	version    batch.ID // of the state that it describes
	valid      bool
	open       openEnds
}

// load starts from what is remembered, or reads the first row of each key group.
func (d *dues) load(tc *TaskContext, keys *stateKeys, txn statestore.Txn) error {
	end := keys.endOf
	if keys.endKey < 0 {
		end = nil
	}
	return d.read(tc, txn, end, func(g int) (from, to []byte) { return groupStart(g), groupStart(g + 1) })
}

// read reads when the first row of a part of each key group is due, unless that
// is known of this version. Nothing is due where due is nil.
func (d *dues) read(tc *TaskContext, txn statestore.Txn, due func(key []byte) (batch.EventTime, error), part func(g int) (from, to []byte)) error {
	spec := &tc.Spec
	first, end := batch.GroupsOf(spec.Task.Partition, max(spec.Parts, 1))
	known := d.valid && d.version == spec.Base && d.first == first && d.end == end
	// Whatever happens below, only a batch that comes to its end describes a version.
	d.first, d.end, d.version, d.valid = first, end, spec.Base+1, false
	tc.note(d)
	d.open.closed = spec.Close
	if known {
		return nil
	}
	d.open.forget()
	for g := first; g < end; g++ {
		d.at[g] = batch.EndOfTime
		if spec.Base == batch.None || due == nil {
			continue
		}
		from, to := part(g)
		if err := d.ends(txn, g, due, from, to); err != nil {
			return err
		}
	}
	return nil
}

// ends reads which ends there are in a part of a key group, from one to the next.
func (d *dues) ends(txn statestore.Txn, g int, due func(key []byte) (batch.EventTime, error), from, to []byte) error {
	for from != nil {
		var next []byte
		err := txn.Scan(from, to, func(key, _ []byte) (bool, error) {
			at, err := due(key)
			if err != nil {
				return false, err
			}
			d.at[g] = min(d.at[g], at)
			if d.open.add(at) {
				next = successor(key[:endBytes(at)])
			}
			return false, nil
		})
		if err != nil {
			return err
		}
		from = next
	}
	return nil
}

func (d *dues) add(group byte, end batch.EventTime) {
	d.at[group] = min(d.at[group], end)
	d.open.add(end)
}

// next ends a batch: it returns the earliest end of all.
func (d *dues) next() batch.EventTime {
	d.valid = true
	next := batch.EndOfTime
	for g := d.first; g < d.end; g++ {
		next = min(next, d.at[g])
	}
	d.open.close(next)
	return next
}

// due lists the key groups in which something is due at a limit.
func (d *dues) due(limit batch.EventTime) iter.Seq[int] {
	return func(yield func(g int) bool) {
		for g := d.first; g < d.end && limit != batch.NoTime; g++ {
			if d.at[g] <= limit && !yield(g) {
				return
			}
		}
	}
}

// windows visits the rows of a key group whose windows are over. The visitor must not
// change the shard.
func (d *dues) windows(txn statestore.Txn, keys *stateKeys, g int, limit batch.EventTime, visit func(key, stored []byte) error) error {
	return d.pass(txn, g, keys.endOf, groupStart(g), groupStart(g+1), limit, visit)
}

// pass visits what is due in a part of a key group, and remembers when the next of it is.
func (d *dues) pass(txn statestore.Txn, g int, due func(key []byte) (batch.EventTime, error), from, to []byte, limit batch.EventTime, visit func(key, stored []byte) error) error {
	d.at[g] = batch.EndOfTime
	return txn.Scan(from, to, func(key, stored []byte) (bool, error) {
		at, err := due(key)
		if err != nil {
			return false, err
		}
		if limit == batch.NoTime || at > limit {
			d.at[g] = at
			return false, nil
		}
		return true, visit(key, stored)
	})
}

// over takes what is due off an index by time, and hands visit the entries of each key
// group in their order: they are its own, and it may change the shard.
func (d *dues) over(txn statestore.Txn, tag byte, limit batch.EventTime, visit func(entries [][]byte) error) error {
	for g := range d.due(limit) {
		if d.at[g] == batch.EndOfTime {
			continue // of the end of all input nothing waits
		}
		var entries [][]byte
		err := d.pass(txn, g, dueTime, []byte{byte(g), tag}, []byte{byte(g), tag + 1}, limit, func(key, _ []byte) error {
			entries = append(entries, bytes.Clone(key))
			return nil
		})
		for _, key := range entries {
			if err != nil {
				return err
			}
			err = txn.Delete(key)
		}
		if err == nil {
			err = visit(entries)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
