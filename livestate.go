package sluice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources/state"
	"github.com/sluice-stream/sluice/worker"
)

// OperatorState reads the state of one operator of a running query.
type OperatorState struct {
	q    *Query
	form physical.StateForm
	at   batch.ID // of the batch whose state it is, if past
	past bool     // false: of the newest committed batch
	// patience is for how long a read waits for state that is on its way to other workers.
	patience time.Duration
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
			return &OperatorState{q: q, form: f, patience: livePatience}, nil
		}
	}
	return nil, batch.UserErrorf("query %s keeps no state of an operator %q; it has %s", q.Name(), operator, strings.Join(q.StateOperators(), ", "))
}

// Get looks a key up: its columns in the order of GROUP BY (of a join its keys, of a
// window function PARTITION BY), as Go values. The rows are those after the newest
// committed batch, or of AtBatch; there are none if the key has no state.
func (o *OperatorState) Get(ctx context.Context, key ...any) (*StateRows, error) {
	encoded, err := o.encode(key)
	if err != nil {
		return nil, err
	}
	return o.collect(ctx, [][]byte{encoded})
}

// All reads all rows after the newest committed batch, or of AtBatch.
func (o *OperatorState) All(ctx context.Context) (*StateRows, error) { return o.collect(ctx, nil) }

func (o *OperatorState) collect(ctx context.Context, keys [][]byte) (*StateRows, error) {
	rec, at, _, err := o.record(ctx, keys, math.MaxInt)
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	out := &StateRows{Batch: at}
	for _, f := range rec.Schema().Fields() {
		out.Columns = append(out.Columns, f.Name)
	}
	for i := range int(rec.NumRows()) {
		out.Rows = append(out.Rows, rowOf(rec, i))
	}
	return out, nil
}

// record reads so many rows; more says that there are others.
func (o *OperatorState) record(ctx context.Context, keys [][]byte, most int) (_ arrow.RecordBatch, at int64, more bool, err error) {
	d, err := state.NewDecoder(o.form, false, memory.DefaultAllocator)
	if err != nil {
		return nil, -1, false, err
	}
	defer d.Release()
	read := o.read
	if o.past {
		read = o.readAt
	}
	at, err = read(ctx, keys, func(k, v []byte) error {
		if more = d.Len() >= most; more {
			return errEnough
		}
		return d.Add("", k, v)
	}, func() { d.Take().Release() })
	if err != nil {
		return nil, -1, false, err
	}
	return d.Take(), at, more, nil
}

// errEnough ends a visit of rows: those that have come are the answer.
var errEnough = errors.New("there are enough rows")

// liveTries is how often a read is begun anew because a batch was committed meanwhile, and
// livePatience for how long it is because the state is on its way to other workers.
const (
	liveTries    = 20
	livePatience = 15 * time.Second
	livePause    = 10 * time.Millisecond
)

// read visits the rows of keys, or with nil of all keys, after one batch. again is
// called when it has to begin anew.
func (o *OperatorState) read(ctx context.Context, keys [][]byte, visit func(key, value []byte) error, again func()) (int64, error) {
	begun := time.Now()
	for try := 1; ; try++ {
		at, err := o.q.drv.State(o.form.Operator)
		if err == nil {
			if err = o.readShards(ctx, at, keys, visit); err == nil || errors.Is(err, errEnough) {
				return int64(at.Batch), nil
			}
			again()
		} else if _, retry := batch.KindOf(err); !retry {
			return -1, err
		}
		moving := errors.Is(err, driver.ErrMoving) || errors.Is(err, transport.ErrGone)
		took := time.Since(begun)
		if ctx.Err() != nil || errors.Is(err, rowkey.ErrDamaged) || moving && took > o.patience || !moving && try >= liveTries {
			return -1, fmt.Errorf("read the state of %s of query %s, try %d after %s: %w", o.form.Operator, o.q.Name(), try, took.Round(time.Millisecond), err)
		}
		if err := clock.Wait(ctx, clock.System(), livePause); err != nil {
			return -1, context.Cause(ctx)
		}
	}
}

// readShards visits the rows of one version, shard by shard, with the workers that have them.
func (o *OperatorState) readShards(ctx context.Context, at driver.LiveState, keys [][]byte, visit func(key, value []byte) error) error {
	for _, s := range at.Shards {
		ask := transport.ReadState{Shard: s.Shard, Version: at.Batch}
		if keys == nil {
			if err := o.readFrom(ctx, s.Worker, at.Key, ask, visit); err != nil {
				return err
			}
			continue
		}
		size := 0
		for i, k := range keys {
			if g := int(k[0]); g >= s.Shard.FirstGroup && g < s.Shard.EndGroup {
				ask.Keys = append(ask.Keys, k)
				if size += len(k); o.form.Kind == physical.RowState {
					ask.Ends = append(ask.Ends, state.After(k))
				}
			}
			if len(ask.Keys) > 0 && (size >= askBytes || i == len(keys)-1) {
				if err := o.readFrom(ctx, s.Worker, at.Key, ask, visit); err != nil {
					return err
				}
				ask.Keys, ask.Ends, size = nil, nil, 0
			}
		}
	}
	return nil
}

// askBytes is how large the keys of one question are, about.
const askBytes = 256 << 10

// readFrom visits the rows that a worker has of a shard.
func (o *OperatorState) readFrom(ctx context.Context, w transport.NodeID, key string, ask transport.ReadState, visit func(key, value []byte) error) (err error) {
	// A worker that does not know the question finds no such stage.
	in, err := o.q.node.Fetch(ctx, w, transport.StreamRef{Key: key, Stage: -1, Ask: ask}, buffers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	for {
		rec, err := in.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = visitRows(rec, visit)
		rec.Release()
		if err != nil {
			return err
		}
	}
}

func visitRows(rec arrow.RecordBatch, visit func(key, value []byte) error) error {
	keys, values, err := worker.StateColumns(rec)
	if err != nil {
		return fmt.Errorf("%w: %w", err, rowkey.ErrDamaged)
	}
	for i := range keys.Len() {
		if err := visit(keys.Value(i), values.Value(i)); err != nil {
			return err
		}
	}
	return nil
}

// encode makes the key of a row of state of values in the order of GROUP BY.
func (o *OperatorState) encode(key []any) ([]byte, error) {
	if !state.Typed(o.form) {
		return nil, batch.UserErrorf("the state of %s has no columns (%s), so that it cannot be looked up by a key", o.form.Operator, o.form.Kind)
	}
	if len(key) != len(o.form.Keys) {
		return nil, batch.UserErrorf("the key of %s has %d columns, %d are given", o.form.Operator, len(o.form.Keys), len(key))
	}
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
	return o.encode(textValues(key))
}

func textValues(key []string) []any {
	vals := make([]any, len(key))
	for i, k := range key {
		vals[i] = k
	}
	return vals
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
