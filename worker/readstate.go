package worker

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
)

// serveState lets another node read a sealed version of a shard that is here, beside running
// tasks. The version must still be kept.
func (w *Worker) serveState(ctx context.Context, key string, ask transport.ReadState) (sources.Reader, error) {
	if len(ask.Ends) > 0 && len(ask.Ends) != len(ask.Keys) {
		return nil, fmt.Errorf("read state %s: %d keys have %d ends", ask.Shard, len(ask.Keys), len(ask.Ends))
	}
	p, done, err := w.lend(ctx, key, ask.Shard)
	if err != nil {
		return nil, err
	}
	txn, err := p.store.Begin(ctx, ask.Shard, ask.Version)
	if err != nil {
		done()
		return nil, fmt.Errorf("read version %d of state %s: %w", ask.Version, ask.Shard, err)
	}
	return &stateReader{ask: ask, txn: txn, alloc: p.alloc, done: done}, nil
}

// lend gives a plan that has a shard to somebody who reads that, until done is called.
func (w *Worker) lend(ctx context.Context, key string, s batch.Shard) (p *plan, done func(), err error) {
	if p, err = w.plan(key); err != nil {
		return nil, nil, err
	}
	if done, err = p.use(ctx); err != nil {
		return nil, nil, err
	}
	// A store would make an empty shard of one that it has not.
	if p.store == nil || !slices.Contains(p.shardList(), s) {
		done()
		return nil, nil, fmt.Errorf("state %s is not here", s)
	}
	return p, done, nil
}

// stateReader makes batches of rows of state, in the order of their keys or of those that
// were asked for. What it does to the version does not count.
type stateReader struct {
	ask   transport.ReadState
	txn   statestore.Txn
	alloc memory.Allocator
	done  func() // lets go of the plan; nil once closed
	at    int    // of the keys, those before which have been read
	from  []byte // where a scan goes on; nil at its beginning
	over  bool
}

// keysMax is how many keys are looked up at a time.
const keysMax = 1024

// Next returns the next rows.
func (r *stateReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	b := array.NewRecordBuilder(r.alloc, changesSchema)
	defer b.Release()
	keys, values := b.Field(0).(*array.BinaryBuilder), b.Field(1).(*array.BinaryBuilder)
	size := 0
	add := func(key, value []byte) {
		keys.Append(key)
		values.Append(value)
		size += len(key) + len(value)
	}
	for size < changesBytes && !r.over {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := r.more(add, &size); err != nil {
			return nil, err
		}
	}
	if keys.Len() == 0 {
		return nil, io.EOF
	}
	return b.NewRecordBatch(), nil
}

// more reads some more keys, or some more rows of a scan.
func (r *stateReader) more(add func(key, value []byte), size *int) error {
	var start, end []byte
	switch {
	case r.done == nil:
		return fmt.Errorf("the reader of state %s is closed", r.ask.Shard)
	case r.ask.Keys != nil && r.at == len(r.ask.Keys):
		r.over = true
		return nil
	case r.ask.Keys != nil && len(r.ask.Ends) == 0:
		some := r.ask.Keys[r.at:min(r.at+keysMax, len(r.ask.Keys))]
		r.at += len(some)
		return r.txn.Get(some, func(i int, value []byte) error { add(some[i], value); return nil })
	case r.ask.Keys != nil:
		start = r.ask.Keys[r.at]
		if e := r.ask.Ends[r.at]; len(e) > 0 { // none is the shard's
			end = e
		}
	}
	if r.from != nil {
		start = r.from
	}
	full := false
	err := r.txn.Scan(start, end, func(key, value []byte) (bool, error) {
		add(key, value)
		if full = *size >= changesBytes; full {
			r.from = append(append(r.from[:0:0], key...), 0) // the next key that there can be
		}
		return !full, nil
	})
	if err != nil || full {
		return err
	}
	if r.from = nil; r.ask.Keys == nil {
		r.over = true
	} else {
		r.at++
	}
	return nil
}

// Close lets go of the version.
func (r *stateReader) Close() error {
	if r.done != nil {
		r.txn.Discard()
		r.done()
		r.done = nil
	}
	return nil
}
