package sluice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources/state"
	"github.com/sluice-stream/sluice/statestore"
)

// OperatorState reads the state of one operator of a running query.
type OperatorState struct {
	q    *Query
	form physical.StateForm
	at   batch.ID // of the batch whose state it is, if past
	past bool     // false: of the newest committed batch
}

// StateRows are rows of state as they were after a batch.
type StateRows struct {
	Batch   int64
	Columns []string
	Rows    []Row
}

// StateOperators lists the operators of the query that keep state, by name.
func (q *Query) StateOperators() []string {
	var out []string
	for _, f := range q.plan.Plan.StateForms() {
		out = append(out, f.Operator)
	}
	slices.Sort(out)
	return out
}

// State finds an operator by the name that EXPLAIN shows.
func (q *Query) State(operator string) (*OperatorState, error) {
	for _, f := range q.plan.Plan.StateForms() {
		if f.Operator == operator {
			return &OperatorState{q: q, form: f}, nil
		}
	}
	return nil, batch.UserErrorf("query %s keeps no state of an operator %q; it has %s", q.Name(), operator, strings.Join(q.StateOperators(), ", "))
}

// Get looks a key up: its columns in the order of GROUP BY (of a join its keys, of a
// window function PARTITION BY), as Go values. The rows are those after the newest
// committed batch, or of AtBatch; there are none if the key has no state.
func (o *OperatorState) Get(ctx context.Context, key ...any) (*StateRows, error) {
	if !state.Typed(o.form) {
		return nil, batch.UserErrorf("the state of %s has no columns (%s), so that it cannot be looked up by a key", o.form.Operator, o.form.Kind)
	}
	if len(key) != len(o.form.Keys) {
		return nil, batch.UserErrorf("the key of %s has %d columns, %d are given", o.form.Operator, len(o.form.Keys), len(key))
	}
	encoded, err := o.encode(key)
	if err != nil {
		return nil, err
	}
	return o.collect(ctx, [][]byte{encoded})
}

// All reads all rows after the newest committed batch, or of AtBatch.
func (o *OperatorState) All(ctx context.Context) (*StateRows, error) { return o.collect(ctx, nil) }

func (o *OperatorState) collect(ctx context.Context, keys [][]byte) (*StateRows, error) {
	d, err := state.NewDecoder(o.form, false, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	defer d.Release()
	out := &StateRows{}
	for _, f := range d.Schema().Fields() {
		out.Columns = append(out.Columns, f.Name)
	}
	read := o.read
	if o.past {
		read = o.readAt
	}
	out.Batch, err = read(ctx, keys, func(k, v []byte) error { return d.Add("", k, v) }, func() { d.Take().Release() })
	if err != nil {
		return nil, err
	}
	rec := d.Take()
	defer rec.Release()
	for i := range int(rec.NumRows()) {
		out.Rows = append(out.Rows, rowOf(rec, i))
	}
	return out, nil
}

// liveTries is how often a read is begun anew because a batch was committed meanwhile.
const liveTries = 20

// read visits the rows of keys, or with nil of all keys, after one batch. again is
// called when it has to begin anew.
func (o *OperatorState) read(ctx context.Context, keys [][]byte, visit func(key, value []byte) error, again func()) (int64, error) {
	var err error
	for range liveTries {
		var at driver.LiveState
		if at, err = o.q.drv.State(o.form.Operator); err != nil {
			if _, retry := batch.KindOf(err); !retry {
				return -1, err
			}
			if err := pause(ctx); err != nil {
				return -1, err
			}
			continue
		}
		for _, s := range at.Shards {
			var own [][]byte
			for _, k := range keys {
				if g := int(k[0]); g >= s.Shard.FirstGroup && g < s.Shard.EndGroup {
					own = append(own, k)
				}
			}
			if keys != nil && own == nil {
				continue
			}
			w, lost := o.q.s.crew.of(s.Worker)
			if lost != nil {
				return -1, lost
			}
			if err = w.ReadState(ctx, at.Key, s.Shard, at.Batch, func(txn statestore.Txn) error { return o.visit(txn, own, visit) }); err != nil {
				break
			}
		}
		if err == nil {
			return int64(at.Batch), nil
		}
		if ctx.Err() != nil || errors.Is(err, rowkey.ErrDamaged) {
			break
		}
		again()
	}
	return -1, fmt.Errorf("read the state of %s: %w", o.form.Operator, err)
}

// pause waits a little for a query that is starting.
func pause(ctx context.Context) error {
	t := time.NewTimer(10 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// visit visits the rows of keys in a shard, or with nil all.
func (o *OperatorState) visit(txn statestore.Txn, keys [][]byte, visit func(key, value []byte) error) error {
	each := func(k, v []byte) (bool, error) { return true, visit(k, v) }
	if keys == nil {
		return txn.Scan(nil, nil, each)
	}
	if o.form.Kind != physical.RowState {
		return txn.Get(keys, func(i int, v []byte) error { return visit(keys[i], v) })
	}
	for _, key := range keys {
		if err := txn.Scan(key, state.After(key), each); err != nil {
			return err
		}
	}
	return nil
}

// encode makes the key of a row of state of values in the order of GROUP BY.
func (o *OperatorState) encode(key []any) ([]byte, error) {
	cols := make([]arrow.Array, 0, len(key)) // in the form's order
	add := func(i int) error {
		f := o.form.Keys[len(cols)]
		arr, err := oneValue(f.Type, key[i])
		if err != nil {
			return batch.UserErrorf("key column %s: %w", f.Name, err)
		}
		cols = append(cols, arr)
		return nil
	}
	defer func() {
		for _, c := range cols {
			c.Release()
		}
	}()
	if end := o.form.EndKey; end >= 0 {
		if err := add(end); err != nil {
			return nil, err
		}
	}
	for i := range key {
		if i == o.form.EndKey {
			continue
		}
		if err := add(i); err != nil {
			return nil, err
		}
	}
	return state.EncodeKey(o.form, cols)
}

// oneValue is a column of one value.
func oneValue(dt arrow.DataType, v any) (arrow.Array, error) {
	b := array.NewBuilder(memory.DefaultAllocator, dt)
	defer b.Release()
	switch v := v.(type) {
	case nil:
		b.AppendNull()
	case time.Time:
		switch b := b.(type) {
		case *array.TimestampBuilder:
			b.Append(arrow.Timestamp(v.UnixMicro()))
		case *array.Date32Builder:
			b.Append(arrow.Date32FromTime(v))
		default:
			return nil, fmt.Errorf("a time is no value of type %s", dt)
		}
	case []byte:
		if b, ok := b.(*array.BinaryBuilder); ok {
			b.Append(v)
			break
		}
		return nil, fmt.Errorf("bytes are no value of type %s", dt)
	default:
		if err := b.AppendValueFromString(fmt.Sprint(v)); err != nil {
			return nil, fmt.Errorf("%v is no value of type %s: %w", v, dt, err)
		}
	}
	return b.NewArray(), nil
}

// LiveForm implements state.Live.
func (s *Session) LiveForm(query, operator string) (physical.StateForm, error) {
	o, err := s.liveOperator(query, operator)
	if err != nil {
		return physical.StateForm{}, err
	}
	return o.form, nil
}

// LiveKey implements state.Live.
func (s *Session) LiveKey(query, operator string, key []string) ([]byte, error) {
	o, err := s.liveOperator(query, operator)
	if err != nil {
		return nil, err
	}
	if !state.Typed(o.form) || len(key) != len(o.form.Keys) {
		return nil, batch.UserErrorf("the key of %s has %d columns, %d are given", operator, len(o.form.Keys), len(key))
	}
	vals := make([]any, len(key))
	for i, k := range key {
		vals[i] = k
	}
	return o.encode(vals)
}

func (s *Session) liveOperator(query, operator string) (*OperatorState, error) {
	q, ok := s.Query(query)
	if !ok {
		return nil, batch.UserErrorf("there is no streaming query %q in this session", query)
	}
	return q.State(operator)
}

// LiveRows implements state.Live.
func (s *Session) LiveRows(ctx context.Context, query, operator string, keys [][]byte, visit func(key, value []byte) error, again func()) error {
	o, err := s.liveOperator(query, operator)
	if err != nil {
		return err
	}
	_, err = o.read(ctx, keys, visit, again)
	return err
}
