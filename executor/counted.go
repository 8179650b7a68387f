package executor

import (
	"context"
	"slices"
	"strings"

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
	if a.tc.opened != nil {
		a.tc.opened.operator = operator
	}
	spec := &a.tc.Spec
	first, end := batch.GroupsOf(spec.Task.Partition, max(spec.Parts, 1))
	start := a.now()
	t, err := newTTL(a.txns[at].txn, index, ttl, spec.Now, first, end)
	if err != nil {
		return nil, err
	}
	t.nanos = a.now() - start
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

// selfNanos is the time that the operator with a state took in the last run,
// without the operators below it.
func (t *Task) selfNanos(operator string) int64 {
	at := slices.IndexFunc(t.ops, func(w *watched) bool { return strings.Contains(w.stats.Name, operator) })
	if at < 0 {
		return 0
	}
	self := t.ops[at].stats.Nanos
	for _, w := range t.ops[at+1:] {
		if w.stats.Depth <= t.ops[at].stats.Depth {
			break
		}
		if w.stats.Depth == t.ops[at].stats.Depth+1 {
			self -= w.stats.Nanos
		}
	}
	return max(self, 0)
}
