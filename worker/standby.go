package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
)

// A worker may have copies of shards that others hold (W7). Each begins with a checkpoint
// and takes what a batch has changed from the shard's worker when the batch is committed:
// beside the batches, which never wait for it. When that worker is lost the copy is what
// the next life goes on from. A copy that cannot follow stays where it is, and one that has
// gone wrong is given up; the next checkpoint lets either begin anew.

// follower is what a plan knows of its copies.
type follower struct {
	wake   chan struct{} // has a value if there may be something to do
	cancel context.CancelFunc

	mu struct {
		sync.Mutex
		base      *transport.Follow // checkpoint to be read from; nil if none has come since
		newest    batch.ID          // of those that have come
		committed batch.ID
		oldest    batch.ID
	}
	// Of the follower's goroutine.
	have []batch.ID // of each copy; None without one
	told batch.ID   // the least of them, that the driver knows of
}

// stepsMax is up to how many versions a copy takes one by one, so that it has each of
// them; what is further behind takes all at once.
const stepsMax = 8

// followsMax is how many copies take in changes at a time.
const followsMax = 4

func newFollower(copies int) *follower {
	f := &follower{wake: make(chan struct{}, 1), have: slices.Repeat([]batch.ID{batch.None}, copies), told: batch.None}
	f.mu.newest, f.mu.committed, f.mu.oldest = batch.None, batch.None, batch.None
	return f
}

func (f *follower) ring() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// beginFollowing starts the follower of a plan, if it is to have copies.
func (w *Worker) beginFollowing(p *plan, driver transport.NodeID) {
	if len(p.d.Follows) == 0 {
		return
	}
	p.copies = newFollower(len(p.d.Follows))
	ctx, cancel := context.WithCancel(w.ctx)
	p.copies.cancel = cancel
	w.wg.Go(func() {
		defer cancel()
		for {
			select {
			case <-ctx.Done():
				return
			case <-p.copies.wake:
			}
			done, err := p.use(ctx)
			if err != nil {
				return // it has been undeployed, or cannot be used
			}
			least := w.follow(ctx, p)
			done() // not held while the driver may be away: the next plan waits for it
			if least != p.copies.told && ctx.Err() == nil {
				p.copies.told = least
				_ = w.net.Send(ctx, driver, transport.Followed{Key: p.d.Key, Batch: least}) // the driver's recovery deals with it
			}
		}
	})
}

// followFrom takes in a checkpoint. One that comes late is of no use.
func (w *Worker) followFrom(m transport.Follow) {
	w.tellFollower(m.Key, func(f *follower) {
		if m.Batch > f.mu.newest {
			f.mu.base, f.mu.newest = &m, m.Batch
		}
	})
}

// followTo takes in what is committed.
func (w *Worker) followTo(m transport.Prune) {
	w.tellFollower(m.Key, func(f *follower) {
		f.mu.committed, f.mu.oldest = max(f.mu.committed, m.Committed), max(f.mu.oldest, m.Oldest)
	})
}

func (w *Worker) tellFollower(key string, tell func(*follower)) {
	p, err := w.plan(key)
	if err != nil || p.copies == nil {
		return
	}
	p.copies.mu.Lock()
	tell(p.copies)
	p.copies.mu.Unlock()
	p.copies.ring()
}

// follow brings all copies as far as they can come. It returns what all of them have.
func (w *Worker) follow(ctx context.Context, p *plan) batch.ID {
	store, ok := p.store.(statestore.Follower)
	if !ok {
		return batch.None
	}
	f := p.copies
	f.mu.Lock()
	base, to, oldest := f.mu.base, f.mu.committed, f.mu.oldest
	f.mu.base = nil
	f.mu.Unlock()
	var mans []statestore.Manifest
	if base != nil {
		var err error
		if mans, err = manifests(base.Manifests); err != nil {
			base = nil // the next checkpoint may do
		}
	}
	g := errgroup.Group{}
	g.SetLimit(followsMax)
	for i, s := range p.d.Follows {
		g.Go(func() error {
			have := f.have[i]
			if base != nil {
				have = rebase(ctx, store, s, base.Batch, mans)
			}
			have = w.followShard(ctx, p, store, s, have, to)
			if err := p.store.Prune(ctx, s, oldest); err != nil {
				have = batch.None
			}
			f.have[i] = have
			return nil
		})
	}
	_ = g.Wait() // nobody returns an error
	return slices.Min(f.have)
}

// rebase makes a copy be read from a checkpoint, and returns which version it has then.
func rebase(ctx context.Context, store statestore.Follower, s batch.Shard, id batch.ID, from []statestore.Manifest) batch.ID {
	var own []statestore.Manifest
	for _, m := range from {
		if m.Shard.Operator == s.Operator {
			own = append(own, m)
		}
	}
	have, _ := store.Rebase(ctx, s, id, own) // else it stays what it was
	return have
}

// followShard takes in what has changed up to a version, and returns which the copy has.
func (w *Worker) followShard(ctx context.Context, p *plan, store statestore.Follower, s batch.Shard, have, to batch.ID) batch.ID {
	for have != batch.None && have < to && ctx.Err() == nil {
		next := have + 1
		if to-have > stepsMax {
			next = to
		}
		err := w.take(ctx, p, store, s, have, next)
		if errors.Is(err, errNoChanges) && next < to { // that one may be forgotten there
			next = to
			err = w.take(ctx, p, store, s, have, next)
		}
		switch {
		case err == nil:
			have = next
		case errors.Is(err, statestore.ErrGivenUp):
			return batch.None
		default:
			return have // the next batch may bring them, or the next checkpoint
		}
	}
	return have
}

// errNoChanges says that the worker of a shard does not tell what has changed. The copy
// is as it was.
var errNoChanges = errors.New("the changes are not to be had")

// take makes one version of a copy.
func (w *Worker) take(ctx context.Context, p *plan, store statestore.Follower, s batch.Shard, from, to batch.ID) error {
	// A program that does not know of changes finds no such stage.
	ref := transport.StreamRef{Key: p.d.Key, Stage: -1, Ask: transport.Changes{Shard: s, Since: from, To: to}}
	alloc := p.alloc
	if p.track != nil {
		alloc = p.track.Allocator(alloc)
	}
	in, err := w.net.Fetch(ctx, p.d.Homes.Of(s.Partition), ref, alloc)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoChanges, err)
	}
	defer in.Close() // what matters of it has been read, or failed
	c := &incoming{in: in}
	defer c.release()
	want, err := c.begin(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoChanges, err)
	}
	return store.Follow(ctx, s, from, to, c.rows(ctx), want)
}

// changesSchema is how changes travel: a row without a value is deleted, and the first
// row, which has no key, tells what the version is.
var changesSchema = arrow.NewSchema([]arrow.Field{
	{Name: "key", Type: arrow.BinaryTypes.Binary}, {Name: "value", Type: arrow.BinaryTypes.Binary, Nullable: true},
}, nil)

var errChanges = errors.New("malformed rows of state")

// incoming are changes that another worker sends.
type incoming struct {
	in           sources.Reader
	rec          arrow.RecordBatch // that is read; nil without any
	keys, values *array.Binary
	first        int // row of rec that is next
}

func (c *incoming) release() {
	if c.rec != nil {
		c.rec.Release()
		c.rec = nil
	}
}

func (c *incoming) read(ctx context.Context) (err error) {
	c.release()
	if c.rec, err = c.in.Next(ctx); err == nil {
		c.keys, c.values, err = StateColumns(c.rec)
	}
	return err
}

// begin reads what the version is.
func (c *incoming) begin(ctx context.Context) (statestore.Version, error) {
	err := c.read(ctx)
	if err == nil && (c.rec.NumRows() == 0 || len(c.keys.Value(0)) > 0 || len(c.values.Value(0)) != versionBytes) {
		err = errChanges
	}
	if err != nil {
		return statestore.Version{}, err
	}
	c.first = 1
	return decodeVersion(c.values.Value(0)), nil
}

// rows are what has changed.
func (c *incoming) rows(ctx context.Context) iter.Seq2[statestore.Change, error] {
	return func(yield func(statestore.Change, error) bool) {
		for {
			for i := c.first; i < int(c.rec.NumRows()); i++ {
				if !yield(statestore.Change{Key: c.keys.Value(i), Value: c.values.Value(i), Deleted: c.values.IsNull(i)}, nil) {
					return
				}
			}
			c.first = 0
			if err := c.read(ctx); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				yield(statestore.Change{}, err)
				return
			}
		}
	}
}

// StateColumns are the columns of rows of state as workers send them: keys, and values that
// are NULL for rows which were deleted.
func StateColumns(rec arrow.RecordBatch) (keys, values *array.Binary, err error) {
	if rec.NumCols() == 2 {
		k, ok := rec.Column(0).(*array.Binary)
		v, also := rec.Column(1).(*array.Binary)
		if ok && also {
			return k, v, nil
		}
	}
	return nil, nil, errChanges
}

const versionBytes = 32

func encodeVersion(v statestore.Version) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, versionBytes), v.Digest.Hi)
	b = binary.BigEndian.AppendUint64(b, v.Digest.Lo)
	b = binary.BigEndian.AppendUint64(b, uint64(v.Rows))
	return binary.BigEndian.AppendUint64(b, uint64(v.Bytes))
}

func decodeVersion(b []byte) statestore.Version {
	u := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	return statestore.Version{Digest: batch.Digest{Hi: u(0), Lo: u(1)}, Rows: int64(u(2)), Bytes: int64(u(3))}
}

// serveChanges tells another worker what has changed of a shard that is here.
func (w *Worker) serveChanges(ctx context.Context, key string, ask transport.Changes) (_ sources.Reader, err error) {
	p, done, err := w.lend(ctx, key, ask.Shard)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			done()
		}
	}()
	store, ok := p.store.(statestore.Follower)
	if !ok {
		return nil, fmt.Errorf("plan %s has no state that can be followed", key)
	}
	rows, version, err := store.Changes(ask.Shard, ask.Since, ask.To)
	if err != nil {
		return nil, err
	}
	r := &changesReader{alloc: p.alloc, done: done, head: encodeVersion(version)}
	r.next, r.stop = iter.Pull(rows)
	return r, nil
}

// changesReader makes batches of changes.
type changesReader struct {
	alloc memory.Allocator
	head  []byte // of the first row; nil once it has gone out
	next  func() (statestore.Change, bool)
	stop  func()
	done  func() // lets go of the plan
	over  bool
}

// changesBytes is about how large a batch of changes is.
const changesBytes = 1 << 20

func (r *changesReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	b := array.NewRecordBuilder(r.alloc, changesSchema)
	defer b.Release()
	keys, values := b.Field(0).(*array.BinaryBuilder), b.Field(1).(*array.BinaryBuilder)
	if r.head != nil {
		keys.Append(nil)
		values.Append(r.head)
		r.head = nil
	}
	for size := 0; size < changesBytes && !r.over; {
		c, ok := r.next()
		if !ok {
			r.over = true
			break
		}
		keys.Append(c.Key)
		if c.Deleted {
			values.AppendNull()
		} else {
			values.Append(c.Value)
		}
		size += len(c.Key) + len(c.Value)
	}
	if keys.Len() == 0 {
		return nil, io.EOF
	}
	return b.NewRecordBatch(), nil
}

func (r *changesReader) Close() error {
	if r.done != nil {
		r.stop()
		r.done()
		r.done = nil
	}
	return nil
}
