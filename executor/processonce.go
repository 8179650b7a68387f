package executor

import (
	"context"
	"slices"

	"github.com/sluice-stream/sluice/statestore"
)

// oneKeyStore holds what a processor keeps of one key in a plan that runs once.
type oneKeyStore struct {
	rows   map[string][]byte
	sorted []string // the keys in order; nil if they have changed
}

var _ statestore.Txn = (*oneKeyStore)(nil)

func (o *oneKeyStore) clear() {
	if o.rows == nil {
		o.rows = map[string][]byte{}
	}
	clear(o.rows)
	o.sorted = nil
}

// Get visits the values that there are.
func (o *oneKeyStore) Get(keys [][]byte, visit func(i int, value []byte) error) error {
	for i, k := range keys {
		if v, ok := o.rows[string(k)]; ok {
			if err := visit(i, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// Scan visits rows in order.
func (o *oneKeyStore) Scan(start, end []byte, visit func(key, value []byte) (bool, error)) error {
	if o.sorted == nil {
		o.sorted = make([]string, 0, len(o.rows))
		for k := range o.rows {
			o.sorted = append(o.sorted, k)
		}
		slices.Sort(o.sorted)
	}
	from, _ := slices.BinarySearch(o.sorted, string(start))
	for _, k := range o.sorted[from:] {
		if end != nil && k >= string(end) {
			return nil
		}
		if more, err := visit([]byte(k), o.rows[k]); err != nil || !more {
			return err
		}
	}
	return nil
}

// Put sets a row. Whoever changes the store while it is scanned gets what Txn says.
func (o *oneKeyStore) Put(key, value []byte) error {
	if _, ok := o.rows[string(key)]; !ok {
		o.sorted = nil
	}
	o.rows[string(key)] = slices.Clone(value)
	return nil
}

// Delete forgets a row.
func (o *oneKeyStore) Delete(key []byte) error {
	if _, ok := o.rows[string(key)]; ok {
		delete(o.rows, string(key))
		o.sorted = nil
	}
	return nil
}

// Seal is not used: the store is thrown away.
func (o *oneKeyStore) Seal(context.Context) (statestore.Version, error) {
	return statestore.Version{}, nil
}

// Discard does nothing.
func (o *oneKeyStore) Discard() {}
