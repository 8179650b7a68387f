package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	limits "github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/statestore"
)

// A plan that ends for another one of its query, or because the driver is gone, leaves its
// state here for a while (W6). The next plan of the query takes it over, and goes on with
// those shards of which the driver says by version and digest that they are right, and that
// nobody else has had them meanwhile. The rest is loaded, as if nothing had been kept.

// keepFor is how long state is kept that nobody asks for.
const keepFor = 30 * time.Second

// keepWait is how long a plan waits for the tasks of the one before, which were cancelled.
const keepWait = 5 * time.Second

// kept is the state of a query that no plan uses.
type kept struct {
	query batch.QueryID
	key   string // of the plan that left it
	dir   string
	ready chan struct{} // closed when the last task that used it has ended
	// Of who has waited for ready, or holds the worker's lock after it.
	store statestore.Store // nil if nothing was kept
	term  batch.Term       // of the life that left it
	track *limits.Tracker  // what it is counted by; nil without a budget
	end   func()           // gives back what the store takes, and what it was counted by
	disarm,
	relax func()
}

// keepLocked takes the state of a plan that ends; release hands it over later. It returns
// nil if what is there already is to be kept: a plan that is not ready has not taken it.
func (w *Worker) keepLocked(p *plan) *kept {
	if w.mu.kept[p.d.Query] != nil && !p.isReady() {
		return nil
	}
	k := &kept{query: p.d.Query, key: p.past.key(), dir: p.d.StateDir, ready: make(chan struct{}), disarm: func() {}, relax: func() {}}
	if old := w.mu.kept[k.query]; old != nil {
		w.wg.Go(func() { w.drop(old) })
	}
	w.mu.kept[k.query] = k
	return k
}

// release is called when nobody uses a plan's state any more.
func (w *Worker) release(p *plan, k *kept) error {
	if k == nil {
		return p.closeStore()
	}
	_, keeps := p.store.(statestore.Keeper)
	p.mu.Lock()
	term := p.mu.life
	p.mu.Unlock()
	if !keeps || term == 0 || w.opt.KeepFor < 0 || w.ctx.Err() != nil {
		w.forgetKept(k)
		close(k.ready)
		return p.closeStore()
	}
	store, track := p.store, p.track
	p.store, p.track = nil, nil
	k.store, k.term, k.track = store, term, track
	k.end = func() {
		_ = store.Close() // what it holds is in no checkpoint, or in one that is complete
		if track != nil {
			track.Close()
		}
	}
	expire := func() {
		if w.forgetKept(k) {
			k.end()
		}
	}
	w.mu.Lock()
	k.disarm = later(w.clock(), w.opt.KeepFor, func() { w.background(expire) })
	if m := w.opt.Memory; m != nil {
		// The first to go when somebody needs memory. Not at once: it takes locks.
		k.relax = m.OnSpill(func(int64) int64 { w.background(expire); return 0 })
	}
	w.mu.Unlock()
	close(k.ready)
	return p.closeStore()
}

// background runs f on a goroutine that Close waits for, unless the worker is closing:
// then Close does what f would.
func (w *Worker) background(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.mu.closing {
		w.wg.Go(f)
	}
}

func later(c clock.Clock, d time.Duration, f func()) (disarm func()) {
	stop := c.AfterFunc(d, f)
	return func() { stop() }
}

// forgetKept takes kept state out of the worker's hands; false if somebody else has.
func (w *Worker) forgetKept(k *kept) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.forgetKeptLocked(k)
}

func (w *Worker) forgetKeptLocked(k *kept) bool {
	if w.mu.kept[k.query] != k {
		return false
	}
	delete(w.mu.kept, k.query)
	k.disarm()
	k.relax()
	return true
}

// drop ends state that was taken out of the worker's hands.
func (w *Worker) drop(k *kept) {
	<-k.ready
	k.disarm()
	k.relax()
	if k.store != nil {
		k.end()
	}
}

// inherit gives a plan the state that the one before has left; false if there is none. A
// plan that has ended meanwhile takes none: it would wait for itself, or take the state from
// the next one.
func (w *Worker) inherit(p *plan) bool {
	w.mu.Lock()
	k := w.mu.kept[p.d.Query]
	ended := w.mu.plans[p.d.Key] != p
	w.mu.Unlock()
	if k == nil || ended {
		return false
	}
	if !w.haveEnded(w.ctx, k.ready) {
		return false // a task does not end: its plan keeps what it has
	}
	w.mu.Lock()
	mine := w.mu.plans[p.d.Key] == p && w.forgetKeptLocked(k)
	w.mu.Unlock()
	if !mine {
		return false
	}
	heir, told := w.conn.(Heir)
	if k.store == nil || k.dir != p.d.StateDir || k.track != nil && k.track.Limit() != p.track.Limit() || told && !heir.Inherit(k.key, p.d) {
		w.drop(k)
		return false
	}
	k.store.(statestore.Keeper).Spare(p.d.Elsewhere) // only such a store is kept
	p.store = k.store
	if k.track != nil {
		p.track.Close() // nothing is counted by it yet
		p.track = k.track
	}
	p.mu.Lock()
	p.mu.life = k.term
	p.mu.Unlock()
	return true
}

// haveEnded waits for tasks that were cancelled; false if one of them does not end.
func (w *Worker) haveEnded(ctx context.Context, tasks ...<-chan struct{}) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer w.clock().AfterFunc(keepWait, cancel)()
	for _, ended := range tasks {
		select {
		case <-ended:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// survey answers what is kept of a query, once the tasks that used it have ended.
func (w *Worker) survey(m transport.Survey) transport.Surveyed {
	out := transport.Surveyed{Key: m.Key}
	w.mu.Lock()
	k, p := w.mu.kept[m.Query], w.mu.orphans[m.Query]
	w.mu.Unlock()
	if p != nil {
		out.Term, out.Kept = p.holds(w.ctx)
		return out
	}
	if k == nil {
		return out
	}
	if !w.haveEnded(w.ctx, k.ready) {
		return out
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.kept[m.Query] != k || k.store == nil {
		return out
	}
	out.Term, out.Kept = k.term, heldBy(k.store.(statestore.Keeper))
	return out
}

// holds tells the state of a plan, and of which life all of it is; 0 if it is of none.
func (p *plan) holds(ctx context.Context) (batch.Term, []transport.Kept) {
	done, err := p.use(ctx)
	if err != nil {
		return 0, nil
	}
	defer done()
	p.mu.Lock()
	life := p.mu.life
	p.mu.Unlock()
	if keeper, ok := p.store.(statestore.Keeper); ok && life != 0 {
		return life, heldBy(keeper)
	}
	return 0, nil
}

func heldBy(store statestore.Keeper) (out []transport.Kept) {
	for _, h := range store.Held() {
		out = append(out, transport.Kept{Shard: h.Shard, Version: h.Version, Digest: h.Digest, Copy: h.Copy})
	}
	return out
}

// closeKept ends all that is kept. Nothing else runs any more.
func (w *Worker) closeKept() {
	w.mu.Lock()
	list := w.mu.kept
	w.mu.kept = map[batch.QueryID]*kept{}
	w.mu.Unlock()
	for _, k := range list {
		w.drop(k)
	}
}

func (w *Worker) clock() clock.Clock {
	if w.opt.Clock == nil {
		return clock.System()
	}
	return w.opt.Clock
}

var errNotKept = errors.New("the state is not kept here")

// adopt goes on with what the life before has left, and forgets what this one does not
// name. It says no before it has changed anything that could be adopted.
func (w *Worker) adopt(ctx context.Context, p *plan, m transport.Restore) error {
	p.mu.Lock()
	life := p.mu.life
	if newest := max(life, p.mu.term); m.Term != 0 && m.Term < newest {
		p.mu.Unlock()
		return fmt.Errorf("restore for term %d: %w %d", m.Term, batch.ErrFenced, newest)
	}
	p.mu.life = 0 // until all of it is of this one
	p.mu.Unlock()
	keeper, ok := p.store.(statestore.Keeper)
	if len(m.Kept) > 0 && (!ok || life == 0 || life != m.Before) {
		return fmt.Errorf("adopt version %d of term %d, it is term %d's: %w", m.Batch, m.Before, life, errNotKept)
	}
	sealed, err := w.settle(ctx, p, m)
	if err != nil {
		return err
	}
	if elsewhere, taken := w.elsewhere(p); ok && taken {
		keeper.Spare(elsewhere)
	}
	var held []statestore.HeldVersion
	if len(sealed) > 0 {
		held = keeper.Held()
	}
	for _, k := range m.Kept {
		v := statestore.HeldVersion{Shard: k.Shard, Version: k.Version, Digest: k.Digest}
		if next, ok := sealed[k.Shard]; ok && slices.Contains(held, v) {
			v = next // behind the one that is asked for, which stays
		}
		if err := keeper.Adopt(ctx, v); err != nil {
			return err
		}
		p.noteShard(k.Shard)
	}
	if !ok {
		return nil
	}
	forgotten := map[batch.Shard]bool{}
	for _, h := range keeper.Held() {
		mine := slices.Contains(m.Shards, h.Shard) || slices.ContainsFunc(m.Kept, func(k transport.Kept) bool { return k.Shard == h.Shard })
		if mine || forgotten[h.Shard] {
			continue
		}
		forgotten[h.Shard] = true
		if err := p.store.Restore(ctx, h.Shard, batch.None, nil); err != nil {
			return fmt.Errorf("forget state %s: %w", h.Shard, err)
		}
	}
	return nil
}

// own notes that all state is that of a life.
func (p *plan) own(term batch.Term) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.life = term
}

// keeps reports whether a query has state here that no plan uses.
func (w *Worker) keeps(q batch.QueryID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.kept[q] != nil
}
