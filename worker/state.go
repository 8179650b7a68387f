package worker

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/statestore"
)

// withStore runs f with the plan's store held open.
func (w *Worker) withStore(key string, f func(*plan) error) error {
	p, err := w.plan(key)
	if err != nil {
		return err
	}
	done, err := p.use(w.ctx)
	if err != nil {
		return err
	}
	defer done()
	if p.store == nil {
		return fmt.Errorf("plan %s has no state", key)
	}
	return f(p)
}

// StateUse tells what each shard of a deployed plan holds and where; nothing if
// the plan has no state or its store cannot tell.
func (w *Worker) StateUse(key string) []statestore.ShardUse {
	var out []statestore.ShardUse
	// A plan that is gone holds nothing.
	_ = w.withStore(key, func(p *plan) error {
		if m, ok := p.store.(statestore.Meter); ok {
			out = m.Use()
		}
		return nil
	})
	return out
}

func (w *Worker) checkpoint(m transport.Checkpoint) transport.Checkpointed {
	out := transport.Checkpointed{Key: m.Key, Batch: m.Batch}
	out.Err = w.withStore(m.Key, func(p *plan) error {
		out.Manifests = make([][]byte, len(m.Shards))
		g, ctx := errgroup.WithContext(w.ctx)
		g.SetLimit(checkpointsMax)
		for i, s := range m.Shards {
			g.Go(func() error {
				man, err := p.store.Checkpoint(ctx, s, m.Batch)
				if err != nil {
					return fmt.Errorf("checkpoint version %d of state %s: %w", m.Batch, s, err)
				}
				if out.Manifests[i], err = json.Marshal(man); err != nil {
					return fmt.Errorf("encode the manifest of state %s: %w", s, err)
				}
				return nil
			})
		}
		return g.Wait()
	})
	if out.Err != nil {
		out.Manifests = nil
	}
	out.Holding = w.holding(m.Key)
	return out
}

// checkpointsMax is how many shards of a query are written at the same time: a disk or
// a store is waited for meanwhile. Batches go on, and want the processors, too.
const checkpointsMax = 4

// restoresMax is how many shards of a query are restored at the same time.
const restoresMax = 8

func (w *Worker) restore(m transport.Restore) transport.Restored {
	out := transport.Restored{Key: m.Key, Batch: m.Batch}
	out.Err = w.withStore(m.Key, func(p *plan) error {
		all, err := manifests(m.Manifests)
		if err != nil {
			return err
		}
		if err := w.adopt(w.ctx, p, m); err != nil {
			return err
		}
		// Side by side: a shard waits for a disk or a store far longer than it computes.
		g, ctx := errgroup.WithContext(w.ctx)
		g.SetLimit(restoresMax)
		for _, s := range m.Shards {
			var own []statestore.Manifest
			for _, man := range all {
				if man.Shard.Operator == s.Operator {
					own = append(own, man)
				}
			}
			g.Go(func() error {
				if err := p.store.Restore(ctx, s, m.Batch, own); err != nil {
					return fmt.Errorf("restore version %d of state %s: %w", m.Batch, s, err)
				}
				p.noteShard(s)
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		p.own(m.Term)
		return nil
	})
	out.Holding = w.holding(m.Key)
	return out
}

// holding sums up what the store of a deployed plan tells.
func (w *Worker) holding(key string) (h transport.Holding) {
	for _, u := range w.StateUse(key) {
		h.Shards++
		h.Rows += u.Rows
		h.Bytes += u.Bytes
		if u.Complete {
			h.RowsLoaded += u.Rows
		}
	}
	// A plan that is gone holds nothing.
	_ = w.withStore(key, func(p *plan) error {
		if m, ok := p.store.(statestore.FileMeter); ok {
			h.Files = m.Files()
		}
		return nil
	})
	return h
}

// prune forgets output at once and state beside the tasks. A failure to delete
// leaves files behind that the next one deletes: there is nobody to tell.
func (w *Worker) prune(m transport.Prune) {
	if p, err := w.plan(m.Key); err == nil {
		w.outputs.Prune(p.d.Key, max(m.Oldest, m.Committed))
	}
	w.followTo(m)
	w.duty(func() {
		_ = w.withStore(m.Key, func(p *plan) error {
			for _, s := range p.shardList() {
				if err := p.store.Prune(w.ctx, s, m.Oldest); err != nil {
					return err
				}
			}
			if m.Live == nil {
				return nil
			}
			live, err := manifests(m.Live)
			if err != nil {
				return err
			}
			return p.store.Collect(w.ctx, live)
		})
	})
}

func (p *plan) shardList() []batch.Shard {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]batch.Shard, 0, len(p.mu.shards))
	for s := range p.mu.shards {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b batch.Shard) int { return strings.Compare(a.String(), b.String()) })
	return out
}

func manifests(raw [][]byte) ([]statestore.Manifest, error) {
	out := make([]statestore.Manifest, len(raw))
	for i, b := range raw {
		if err := json.Unmarshal(b, &out[i]); err != nil {
			return nil, fmt.Errorf("decode a state manifest: %w", err)
		}
	}
	return out, nil
}
