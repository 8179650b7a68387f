package executor

import (
	"context"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// countedTxn counts the changes of an operator's state, and lets others have the task's
// slot between them: an operator may have a million keys to look up and to write behind one
// record batch.
type countedTxn struct {
	statestore.Txn
	updated, removed int64
	task             *Task
	since            int // keys that were touched since it was looked at the clock
}

const (
	// keysPerLook is after how many keys it is looked whether others wait. Small batches
	// have fewer, and pay for nothing.
	keysPerLook = 512
	// keysPerGet bounds how many keys are looked up without that.
	keysPerGet = 4096
)

// touched counts keys; it may return much later, when others have run.
func (c *countedTxn) touched(keys int) error {
	if c.since += keys; c.since < keysPerLook {
		return nil
	}
	c.since = 0
	return c.task.turnIfDue()
}

// Get implements statestore.Txn.
func (c *countedTxn) Get(keys [][]byte, visit func(i int, value []byte) error) error {
	for from := 0; from < len(keys); from += keysPerGet {
		some, at := keys[from:min(from+keysPerGet, len(keys))], visit
		if from > 0 {
			at = func(i int, value []byte) error { return visit(from+i, value) }
		}
		if err := c.Txn.Get(some, at); err != nil {
			return err
		}
		if err := c.touched(len(some)); err != nil {
			return err
		}
	}
	return nil
}

// Put implements statestore.Txn.
func (c *countedTxn) Put(key, value []byte) error {
	c.updated++
	if err := c.touched(1); err != nil {
		return err
	}
	return c.Txn.Put(key, value)
}

// Delete implements statestore.Txn.
func (c *countedTxn) Delete(key []byte) error {
	c.removed++
	if err := c.touched(1); err != nil {
		return err
	}
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

// selfNanos is the time that the operator with a state took in the last run,
// without the operators below it.
func (t *Task) selfNanos(operator string) int64 {
	at := slices.IndexFunc(t.ops, func(w *watched) bool { return strings.Contains(w.name, operator) })
	if at < 0 {
		return 0
	}
	self := t.ops[at].stats.Nanos
	for _, w := range t.ops[at+1:] {
		if w.depth <= t.ops[at].depth {
			break
		}
		if w.depth == t.ops[at].depth+1 {
			self -= w.stats.Nanos
		}
	}
	return max(self, 0)
}
