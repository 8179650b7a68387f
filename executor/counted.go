package executor

import (
	"context"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/physical"
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

// expiring puts a time to live on a state that was opened. The operator's changes
// are counted behind it, so that what expires is counted, too.
func (a *attempt) expiring(ctx context.Context, at int, operator string, ttl physical.StateTTL) (statestore.Txn, error) {
	index, err := a.state(ctx, physical.TTLName(operator))
	if err != nil {
		return nil, err
	}
	spec := &a.tc.Spec
	first, end := batch.GroupsOf(spec.Task.Partition, max(spec.Parts, 1))
	t, err := newTTL(a.txns[at].txn, index, ttl, spec.Now, first, end)
	if err != nil {
		return nil, err
	}
	// The state is sealed before its index, which lies behind it in the list.
	a.txns[at].ttl = t
	return t, nil
}

// opWork tells what each operator of the last run did.
func (t *Task) opWork() []batch.OpWork {
	out := make([]batch.OpWork, len(t.ops))
	for i, w := range t.ops {
		out[i] = batch.OpWork{Name: w.stats.Name, Depth: w.stats.Depth, Rows: w.stats.Rows, Bytes: w.stats.Bytes, Nanos: w.stats.Nanos}
	}
	return out
}
