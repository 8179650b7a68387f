package executor

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
)

// lookupRowsMax is how many rows of the input meet the table at a time.
const lookupRowsMax = 16384

// lookupJoin looks the keys of its input up and joins what was found.
type lookupJoin struct {
	base        // the input, then the body
	n           *physical.LookupJoin
	left, right []*workTable
	keys        *computed
	schema      *arrow.Schema // of the keys
	source      sources.Looker

	rows []arrow.RecordBatch // that meet the table now
	got  arrow.RecordBatch   // what was found for them
	busy bool                // the body is being read
	done bool                // the input has ended
	over bool                // and all answers are durable
}

func newLookupJoin(n *physical.LookupJoin, in []Operator, work map[int][]*workTable) (*lookupJoin, error) {
	l := &lookupJoin{base: base{node: n, in: in}, n: n, left: work[n.Left], right: work[n.Right]}
	if len(l.left) == 0 || len(l.right) == 0 {
		return nil, fmt.Errorf("%s: nothing reads what was found", n)
	}
	fields := make([]arrow.Field, len(n.Keys))
	for i, k := range n.Keys {
		fields[i] = arrow.Field{Name: fmt.Sprintf("k%d", i), Type: k.Type(), Nullable: true}
	}
	l.schema = arrow.NewSchema(fields, nil)
	var err error
	l.keys, err = newComputed(n.Keys, in[0].Schema())
	return l, err
}

// Open opens the input alone: the body is opened for every part of it.
func (l *lookupJoin) Open(ctx context.Context, tc *TaskContext) error {
	l.tc = tc
	l.drop()
	l.busy, l.done, l.over = false, false, false
	l.keys.open(tc)
	o, err := tc.Opener(l.n.Source)
	if err != nil {
		return fmt.Errorf("open source %q: %w", l.n.Source, err)
	}
	var ok bool
	if l.source, ok = o.(sources.Looker); !ok {
		return fmt.Errorf("open source %q: a %T looks nothing up", l.n.Source, o)
	}
	return l.in[0].Open(ctx, tc)
}

func (l *lookupJoin) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		if l.busy {
			rec, err := l.in[1].Next(ctx)
			if !errors.Is(err, io.EOF) {
				return rec, err
			}
			l.busy = false
			l.drop()
		}
		if l.done {
			return nil, l.settle(ctx)
		}
		if err := l.take(ctx); err != nil {
			return nil, err
		}
		if len(l.rows) == 0 {
			continue
		}
		if err := l.find(ctx); err != nil {
			return nil, err
		}
		if err := l.in[1].Open(ctx, l.tc); err != nil {
			return nil, err
		}
		l.busy = true
	}
}

// settle ends the task's part: what it was told has to be durable before the batch is.
func (l *lookupJoin) settle(ctx context.Context) error {
	if !l.over {
		if err := l.source.Settle(ctx, l.tc.Spec.Task.Batch, l.tc.Spec.Term); err != nil {
			return err
		}
		l.over = true
	}
	return io.EOF
}

// take gathers rows of the input.
func (l *lookupJoin) take(ctx context.Context) error {
	for n := int64(0); n < lookupRowsMax; {
		rec, err := l.in[0].Next(ctx)
		if errors.Is(err, io.EOF) {
			l.done = true
			return nil
		}
		if err != nil {
			return err
		}
		n += rec.NumRows()
		l.rows = append(l.rows, rec)
	}
	return nil
}

// find asks the table.
func (l *lookupJoin) find(ctx context.Context) (err error) {
	keys := make([]arrow.RecordBatch, 0, len(l.rows))
	defer func() {
		for _, k := range keys {
			k.Release()
		}
	}()
	for _, rec := range l.rows {
		cols, err := l.keys.run(rec)
		if err != nil {
			return err
		}
		keys = append(keys, array.NewRecordBatch(l.schema, cols, rec.NumRows()))
		gather.Release(cols)
	}
	q := sources.Lookup{Batch: l.tc.Spec.Task.Batch, Term: l.tc.Spec.Term, On: l.n.On, Keys: keys, Columns: l.n.Columns}
	if l.got, err = l.source.Look(ctx, q, l.tc.Alloc); err != nil {
		return err
	}
	for _, t := range l.left {
		t.rows = l.rows
	}
	for _, t := range l.right {
		t.rows = []arrow.RecordBatch{l.got}
	}
	return nil
}

// drop gives back the rows in hand.
func (l *lookupJoin) drop() {
	for _, t := range append(l.left[:len(l.left):len(l.left)], l.right...) {
		t.rows = nil
	}
	l.rows = release(l.rows)
	if l.got != nil {
		l.got.Release()
		l.got = nil
	}
}

func (l *lookupJoin) Close() error {
	l.drop()
	return l.base.Close()
}
