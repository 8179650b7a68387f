package executor

import (
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
)

// countedTxn counts the changes of an operator's state.
type countedTxn struct {
	statestore.Txn
	updated, removed int64
}

func (c *countedTxn) Put(key, value []byte) error {
	c.updated++
	return c.Txn.Put(key, value)
}

func (c *countedTxn) Delete(key []byte) error {
	c.removed++
	return c.Txn.Delete(key)
}

// opWork tells what each operator of the last run did.
func (t *Task) opWork() []batch.OpWork {
	out := make([]batch.OpWork, len(t.ops))
	for i, w := range t.ops {
		out[i] = batch.OpWork{Name: w.stats.Name, Depth: w.stats.Depth, Rows: w.stats.Rows, Bytes: w.stats.Bytes, Nanos: w.stats.Nanos}
	}
	return out
}
