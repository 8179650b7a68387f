package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/sources"
)

// questionsMax bounds the questions of one query's workers that are answered at a time.
// The others wait, with their keys.
const questionsMax = 64

// desk looks rows up for a query's workers. There is one for each query, with the driver,
// so that a batch is told the same of a key whatever worker asks, and however often a task
// is tried. It answers the workers of the running life alone, in that life's term: the
// answers of a driver that was deposed are fenced in the log that lookers keep.
type desk struct {
	lookers map[string]sources.Looker
	alloc   memory.Allocator
	places  chan struct{}
	mu      struct {
		sync.Mutex
		life *sitting // nil: none runs
	}
}

// sitting is a life of the query as the desk knows it.
type sitting struct {
	key    string
	term   batch.Term
	ctx    context.Context // ends with the life
	cancel context.CancelFunc
	work   sync.WaitGroup // questions under way
}

func newDesk(lookers map[string]sources.Looker) *desk {
	return &desk{lookers: lookers, alloc: memory.DefaultAllocator, places: make(chan struct{}, questionsMax)}
}

// open begins to answer the workers of a life.
func (d *desk) open(key string, term batch.Term) {
	s := &sitting{key: key, term: term}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.life = s
}

// close ends the questions of the life, and waits for them.
func (d *desk) close() {
	d.mu.Lock()
	s := d.mu.life
	d.mu.life = nil
	d.mu.Unlock()
	if s != nil {
		s.cancel()
		s.work.Wait()
	}
}

// errOverThere is what a worker is told that asks for a life that is over. It hears of
// the next one, or runs tasks that nobody waits for.
var errOverThere = errors.New("this life of the query is over, or runs at another driver")

// enter begins a question of the life with a key; the caller calls its work.Done.
func (d *desk) enter(key string) (*sitting, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.mu.life
	if s == nil || s.key != key {
		return nil, batch.ExternalError(fmt.Errorf("look up for plan %s: %w", key, errOverThere), true)
	}
	s.work.Add(1)
	return s, nil
}

// serve answers a worker. When ctx or the life ends, so does the question.
func (d *desk) serve(ctx context.Context, ref transport.StreamRef) (sources.Reader, error) {
	s, err := d.enter(ref.Key)
	if err != nil {
		return nil, err
	}
	defer s.work.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(errOverThere) })()
	select {
	case d.places <- struct{}{}:
		defer func() { <-d.places }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	switch ask := ref.Ask.(type) {
	case transport.Look:
		return d.look(ctx, s.term, ask)
	case transport.Settle:
		l, err := d.looker(ask.Source)
		if err != nil {
			return nil, err
		}
		return &sources.Batches{}, l.Settle(ctx, ask.Batch, s.term)
	case transport.ReadState, transport.Changes:
	}
	return nil, fmt.Errorf("the driver's node of a query looks rows up, and has no answer to %T", ref.Ask)
}

func (d *desk) looker(source string) (sources.Looker, error) {
	if l := d.lookers[source]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("the query looks nothing up in a table %q", source)
}

func (d *desk) look(ctx context.Context, term batch.Term, ask transport.Look) (sources.Reader, error) {
	l, err := d.looker(ask.Source)
	if err != nil {
		return nil, err
	}
	keys, err := transport.UnpackKeys(ask.Keys, d.alloc)
	if err != nil {
		return nil, fmt.Errorf("look up in %s: %w", ask.Source, err)
	}
	defer func() {
		for _, k := range keys {
			k.Release()
		}
	}()
	rec, err := l.Look(ctx, sources.Lookup{Batch: ask.Batch, Term: term, On: ask.On, Keys: keys, Columns: ask.Columns}, d.alloc)
	if err != nil {
		return nil, err
	}
	return &sources.Batches{Rows: []arrow.RecordBatch{rec}}, nil
}
