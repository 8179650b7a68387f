package raftlog

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

var chaosSeeds = flag.Int("chaos", 4, "seeds of TestChaos and TestCatalogIsLinearizable")

// ledger is what the drivers of a chaotic group were told, as an outside world that
// acts on it would remember it.
type ledger struct {
	t  *testing.T
	mu sync.Mutex
	// plans holds the term of each acknowledged plan, commits of each commit.
	plans, commits map[batch.ID]batch.Term
}

// check compares a log that a new life reads with what was acknowledged to others.
func (g *ledger) check(l *Log) (next batch.ID, half bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	plans, commits := map[batch.ID]batch.Term{}, map[batch.ID]batch.Term{}
	first := batch.ID(-1)
	next = 0
	for r, err := range l.Replay(context.Background(), 0) {
		if err != nil {
			g.t.Errorf("replay: %v", err)
			return 0, false
		}
		switch r := r.(type) {
		case microbatch.Planned:
			if first < 0 {
				first = r.Batch
			}
			plans[r.Batch], half = r.Term, true
		case microbatch.Committed:
			commits[r.Batch], half = r.Term, false
			next = r.Batch + 1
		}
	}
	for id, term := range g.plans {
		if id >= first && plans[id] != term {
			g.t.Errorf("batch %d was planned in term %d, the log of term %d says %d", id, term, l.Term(), plans[id])
		}
	}
	for id, term := range g.commits {
		if id >= first && commits[id] != term {
			g.t.Errorf("batch %d was committed in term %d, the log of term %d says %d", id, term, l.Term(), commits[id])
		}
	}
	return next, half
}

func (g *ledger) note(of map[batch.ID]batch.Term, id batch.ID, term batch.Term) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if was, ok := of[id]; ok {
		g.t.Errorf("batch %d is acknowledged in term %d, and was in term %d", id, term, was)
	}
	of[id] = term
}

// lead is a driver with one query: it makes batches until it leads no more.
func (g *ledger) lead(ctx context.Context, n *Node, q batch.QueryID) error {
	l, err := n.Log(ctx, q)
	if err != nil {
		return nil
	}
	next, half := g.check(l)
	for ctx.Err() == nil {
		if !half {
			if l.Append(ctx, l.Term(), planned(l.Term(), next)) != nil {
				return nil
			}
			g.note(g.plans, next, l.Term())
		}
		recs := []microbatch.Record{committed(l.Term(), next)}
		if next%7 == 6 {
			recs = append(recs, microbatch.Checkpointed{Batch: next, Prev: batch.None, Term: l.Term()})
		}
		if l.Append(ctx, l.Term(), recs...) != nil {
			return nil
		}
		g.note(g.commits, next, l.Term())
		if next%7 == 6 && l.Truncate(ctx, next) != nil {
			return nil
		}
		next, half = next+1, false
		pause(50 * time.Millisecond)
	}
	return nil
}

// chaos breaks what a group can survive, and mends it.
func (w *world) chaos(rng *rand.Rand, started func(*Node)) {
	pick := all[rng.IntN(3)]
	switch rng.IntN(5) {
	case 0:
		w.hub.alone(true, pick)
		pause(time.Duration(rng.IntN(3000)) * time.Millisecond)
		w.hub.alone(false, pick)
	case 1:
		o := others(pick)[rng.IntN(2)]
		w.hub.set(true, pick, o)
		pause(time.Duration(rng.IntN(3000)) * time.Millisecond)
		w.hub.set(false, pick, o)
	case 2:
		if w.up[pick] != nil {
			ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
			_ = w.up[pick].Handover(ctx)
			cancel()
		}
	case 3:
		if w.up[pick] != nil {
			w.kill(pick)
			pause(time.Duration(rng.IntN(2000)) * time.Millisecond)
			w.start(pick)
			started(w.up[pick])
		}
	default:
		pause(time.Duration(rng.IntN(2000)) * time.Millisecond)
	}
}

// Drivers die, are cut off and hand over at random moments. Nothing that was
// acknowledged is lost, changed or acknowledged twice (T2, C16, C17, E2).
func TestChaos(t *testing.T) {
	var batches, terms atomic.Int64
	for seed := range uint64(*chaosSeeds) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 8))
			w := newWorld(t, 3)
			g := &ledger{t: t, plans: map[batch.ID]batch.Term{}, commits: map[batch.ID]batch.Term{}}
			w.start(all...)
			q := create(t, w.leader(all...), "hot")
			ctx, cancel := context.WithCancel(t.Context())
			var work sync.WaitGroup
			run := func(n *Node) {
				work.Go(func() {
					_ = n.Lead(ctx, func(ctx context.Context, _ Leadership) error { return g.lead(ctx, n, q.ID) })
				})
			}
			for _, n := range w.up {
				run(n)
			}
			for range 12 {
				w.chaos(rng, run)
			}
			g.mu.Lock()
			had := len(g.commits)
			g.mu.Unlock()
			eventually(t, "it goes on when the faults stop", func() bool {
				g.mu.Lock()
				defer g.mu.Unlock()
				return len(g.commits) > had+20
			})
			cancel()
			work.Wait()
			l := life(t, w.leader(all...), q.ID)
			g.check(l)
			w.agree()
			batches.Add(int64(len(g.commits)))
			terms.Add(int64(l.Term()))
			w.stopAll()
		})
	}
	t.Logf("%d seeds: %d batches, %d terms", *chaosSeeds, batches.Load(), terms.Load())
}

// What a client asked of the catalog, and what it was told.
type (
	catalogIn struct {
		op       byte // create, alter, read
		revision uint64
	}
	catalogOut struct {
		revision uint64 // after it; 0: there is no query
		refused  bool
		unknown  bool // no answer: it may have happened, now or later
	}
)

// catalogModel is the catalog of one name: a revision that alter moves by one if it
// knows it.
var catalogModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{uint64(0)} },
	Step: func(state, input, output any) []any {
		now, in, out := state.(uint64), input.(catalogIn), output.(catalogOut)
		after, refused := now, true
		switch {
		case in.op == 'c' && now == 0:
			after, refused = 1, false
		case in.op == 'a' && now == in.revision:
			after, refused = now+1, false
		case in.op == 'r':
			refused = false
		}
		if out.unknown {
			return []any{now, after}
		}
		if out.refused != refused || !refused && out.revision != after {
			return nil
		}
		return []any{after}
	},
	Equal: func(a, b any) bool { return a == b },
	DescribeOperation: func(in, out any) string {
		return fmt.Sprintf("%c%d -> %+v", in.(catalogIn).op, in.(catalogIn).revision, out)
	},
}).ToModel()

// Several clients create, alter and read a query through whichever driver says that
// it leads, while leaders change: as if there were one catalog (T5).
func TestCatalogIsLinearizable(t *testing.T) {
	for seed := range uint64(*chaosSeeds) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, 3)
			w.start(all...)
			w.leader(all...)
			nodes := map[string]*Node{"d1": w.up["d1"], "d2": w.up["d2"], "d3": w.up["d3"]}
			var clock, answered atomic.Int64
			var mu sync.Mutex
			var history []porcupine.Operation
			stop := make(chan struct{})
			var work sync.WaitGroup
			for c := range 4 {
				rng := rand.New(rand.NewPCG(seed, uint64(c)))
				work.Go(func() {
					revision := uint64(1)
					for {
						select {
						case <-stop:
							return
						default:
						}
						in := catalogIn{op: "craaarrr"[rng.IntN(8)], revision: revision}
						n := nodes[all[rng.IntN(3)]]
						if r, _ := n.reigns.current(); r == nil {
							pause(20 * time.Millisecond)
							continue // it would be refused, and nothing sent
						}
						call := clock.Add(1)
						out := ask(t, n, in)
						op := porcupine.Operation{ClientId: c, Input: in, Call: call, Output: out, Return: clock.Add(1)}
						if out.unknown {
							op.Return = 1 << 40
						} else if out.revision > 0 {
							revision = out.revision
						}
						if in.op != 'r' || !out.unknown {
							mu.Lock()
							history = append(history, op)
							mu.Unlock()
						}
						if !out.unknown {
							answered.Add(1)
						}
						pause(time.Duration(rng.IntN(100)) * time.Millisecond)
					}
				})
			}
			rng := rand.New(rand.NewPCG(seed, 99))
			for range 6 {
				id := all[rng.IntN(3)]
				w.hub.alone(true, id)
				pause(time.Duration(rng.IntN(1500)) * time.Millisecond)
				w.hub.alone(false, id)
				pause(time.Duration(rng.IntN(500)) * time.Millisecond)
			}
			eventually(t, "clients are answered", func() bool { return answered.Load() > 40 })
			close(stop)
			work.Wait()
			// Unknown ones each need a client of their own: what they did may come late.
			for i := range history {
				if history[i].Output.(catalogOut).unknown {
					history[i].ClientId = 100 + i
				}
			}
			if res := porcupine.CheckOperationsTimeout(catalogModel, history, 20*time.Second); res != porcupine.Ok {
				t.Errorf("seed %d: %d operations, %d answered: %v", seed, len(history), answered.Load(), res)
			}
			w.stopAll()
		})
	}
}

func ask(t *testing.T, n *Node, in catalogIn) (out catalogOut) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var q Query
	var err error
	switch in.op {
	case 'c':
		q, err = n.Create(ctx, Query{Name: "hot"})
	case 'a':
		var id batch.QueryID
		for _, k := range n.Known() {
			id = k.ID
		}
		if id == "" {
			return catalogOut{unknown: true}
		}
		q, err = n.Alter(ctx, id, in.revision, Spec{Parallelism: 3, Wanted: Running})
	case 'r':
		var qs []Query
		if qs, err = n.Catalog(ctx); err == nil && len(qs) > 0 {
			q = qs[0]
		}
	}
	switch {
	case err == nil:
		return catalogOut{revision: q.Revision}
	case errors.Is(err, ErrExists), errors.Is(err, ErrRevision):
		return catalogOut{refused: true, revision: q.Revision}
	default:
		return catalogOut{unknown: true}
	}
}
