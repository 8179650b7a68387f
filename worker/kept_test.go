package worker

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	limits "github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/statestore"
)

// life is a worker whose query has run two batches under term 2, after a checkpoint of
// the empty state.
type life struct {
	*cluster
	f      *fake
	shards []batch.ShardDigest // after batch 1
	clock  *clock.Manual
}

func newLife(t *testing.T, opt Options) *life {
	return newLifeOn(t, opt, func(f *fake) Connectors { return f })
}

func newLifeOn(t *testing.T, opt Options, conn func(*fake) Connectors) *life {
	l := &life{f: &fake{rows: map[int][]int64{0: {1, 2, 2, 3}, 1: {3, 4, 1}, 2: {4, 5}}, dir: t.TempDir()}, clock: clock.NewManual(time.Unix(0, 0))}
	opt.Clock = l.clock
	l.cluster = startOn(t, conn(l.f), opt)
	l.deploy("p")
	var shards []batch.Shard
	for p := range 2 {
		first, end := batch.GroupsOf(p, 2)
		shards = append(shards, batch.Shard{Operator: "distinct", Partition: p, FirstGroup: first, EndGroup: end})
	}
	l.send(transport.Restore{Key: "p", Batch: batch.None, Shards: shards, Term: 2})
	l.restored(nil)
	l.batch(0, true)
	for _, r := range l.batch(1, true) {
		l.shards = append(l.shards, r.Shards...)
	}
	return l
}

func (l *life) deploy(key string) {
	l.send(transport.Deploy{Key: key, Query: "q", Plan: distinct(), Parts: 2, StateDir: l.f.dir})
}

func (l *life) restored(want error) {
	l.t.Helper()
	if m, ok := l.answer().(transport.Restored); !ok || !errors.Is(m.Err, want) || want == nil && m.Err != nil {
		l.t.Fatalf("restored: %+v, want %v", m, want)
	}
}

func (l *life) survey() transport.Surveyed {
	l.t.Helper()
	l.send(transport.Survey{Key: "s", Query: "q"})
	m, ok := l.answer().(transport.Surveyed)
	if !ok || m.Key != "s" {
		l.t.Fatalf("surveyed: %+v", m)
	}
	return m
}

// kept is what is asked for: all of batch 1.
func (l *life) kept() (out []transport.Kept) {
	for _, s := range l.shards {
		out = append(out, transport.Kept{Shard: s.Shard, Version: 1, Digest: s.Digest})
	}
	return out
}

// next runs batch 2 under the next plan and checks what comes out.
func (l *life) next(key string, term batch.Term) {
	l.t.Helper()
	l.f.sink = nil
	for _, s := range []batch.TaskSpec{spec(2, 0, 0), spec(2, 1, 0), spec(2, 1, 1)} {
		s.Plan, s.Term = key, term
		l.run(s)
	}
	if slices.Sort(l.f.sink); strings.Join(l.f.sink, " ") != "5" {
		l.t.Errorf("batch 2 shows %v", l.f.sink)
	}
}

func TestStateOutlivesItsPlan(t *testing.T) {
	for name, end := range map[string]transport.Message{"another plan": transport.Undeploy{Key: "p", Keep: true}, "another driver": transport.Reset{}} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t, Options{})
			// A batch that is never committed: it is sealed here, and must not count.
			l.f.rows[2] = []int64{5, 6}
			l.batch(2, true)
			l.f.rows[2] = []int64{4, 5}
			l.send(end)
			s := l.survey()
			if s.Term != 2 {
				t.Errorf("it is left by term %d", s.Term)
			}
			for _, k := range l.kept() {
				if !slices.Contains(s.Kept, k) {
					t.Errorf("%+v is missing in %+v", k, s.Kept)
				}
			}
			l.deploy("p2")
			l.send(transport.Restore{Key: "p2", Batch: 1, Kept: l.kept(), Before: 2, Term: 3})
			l.restored(nil)
			l.next("p2", 3)
			if s := l.survey(); s.Term != 0 || len(s.Kept) > 0 {
				t.Errorf("what is in use is told as kept: %+v", s)
			}
		})
	}
}

func TestStateThatIsNotRightIsRefused(t *testing.T) {
	ask := func(l *life) transport.Restore {
		return transport.Restore{Key: "p2", Batch: 1, Kept: l.kept(), Before: 2, Term: 3}
	}
	for name, c := range map[string]struct {
		change func(*transport.Restore)
		want   error
	}{
		"digest":  {func(m *transport.Restore) { m.Kept[1].Digest.Lo++ }, statestore.ErrNotHeld},
		"version": {func(m *transport.Restore) { m.Batch, m.Kept[0].Version = 7, 7 }, statestore.ErrNotHeld},
		"shard":   {func(m *transport.Restore) { m.Kept[0].Shard.Partition = 9 }, statestore.ErrNotHeld},
		"life":    {func(m *transport.Restore) { m.Before = 1 }, errNotKept},
		"term":    {func(m *transport.Restore) { m.Term = 1 }, batch.ErrFenced},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t, Options{})
			l.send(transport.Undeploy{Key: "p", Keep: true})
			l.survey()
			l.deploy("p2")
			m := ask(l)
			c.change(&m)
			l.send(m)
			l.restored(c.want)
			if errors.Is(c.want, batch.ErrFenced) { // a driver of before: the state waits for the next one
				l.send(transport.Undeploy{Key: "p2", Keep: true})
				l.deploy("p3")
				m := ask(l)
				m.Key = "p3"
				l.send(m)
				l.restored(nil)
				return
			}
			l.send(transport.Restore{Key: "p2", Batch: batch.None, Shards: []batch.Shard{l.shards[0].Shard, l.shards[1].Shard}, Before: 2, Term: 3})
			l.restored(nil)
			for id := range batch.ID(2) {
				for _, s := range []batch.TaskSpec{spec(id, 0, 0), spec(id, 1, 0), spec(id, 1, 1)} {
					s.Plan, s.Term = "p2", 3
					l.run(s)
				}
			}
			l.next("p2", 3)
		})
	}
}

func TestStateIsNotKeptForever(t *testing.T) {
	for name, c := range map[string]struct {
		opt Options
		end func(*life)
	}{
		"not asked for": {end: func(l *life) { l.send(transport.Undeploy{Key: "p"}) }},
		"too long": {end: func(l *life) {
			l.send(transport.Undeploy{Key: "p", Keep: true})
			l.survey()
			l.clock.Advance(keepFor)
		}},
		"never": {opt: Options{KeepFor: -1}, end: func(l *life) { l.send(transport.Undeploy{Key: "p", Keep: true}) }},
		"memory short": {opt: Options{Memory: limits.NewBudget(1 << 20)}, end: func(l *life) {
			l.send(transport.Undeploy{Key: "p", Keep: true})
			l.survey()
			if err := l.w.opt.Memory.Reserve(2 << 20); err == nil {
				l.t.Error("there is memory without end")
			}
		}},
		"half restored": {end: func(l *life) {
			bad := []byte(`{"shard":{"Operator":"distinct"}}`)
			l.send(transport.Restore{Key: "p", Batch: 5, Shards: []batch.Shard{l.shards[0].Shard}, Manifests: [][]byte{bad}, Term: 2})
			if m := l.answer().(transport.Restored); m.Err == nil {
				l.t.Error("a version is restored that is nowhere")
			}
			l.send(transport.Undeploy{Key: "p", Keep: true})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t, c.opt)
			c.end(l)
			// What is given up is given up in the background.
			for s := l.survey(); len(s.Kept) > 0; s = l.survey() {
				if t.Context().Err() != nil {
					t.Fatalf("it is kept: %+v", s)
				}
			}
			l.deploy("p2")
			l.send(transport.Restore{Key: "p2", Batch: 1, Kept: l.kept(), Before: 2, Term: 3})
			l.restored(errNotKept)
		})
	}
}

// Where workers come and go one after the other a plan ends before it has opened its state.
// It does not wait for the state that it would leave itself, and the next plan goes on with
// that of the plan before.
func TestAPlanDoesNotInheritFromItself(t *testing.T) {
	for name, others := range map[string]bool{"state of the plan before": true, "no other state": false} {
		t.Run(name, func(t *testing.T) {
			slow := &texts{asked: make(chan string, 1), plan: make(chan *physical.Plan), gone: make(chan string, 1)}
			l := newLifeOn(t, Options{}, func(f *fake) Connectors { slow.fake = f; return slow })
			l.send(transport.Undeploy{Key: "p", Keep: others})
			l.survey()
			l.send(transport.Deploy{Key: "p2", Query: "q", Plan: transport.PlanText{}, Parts: 2, StateDir: l.f.dir})
			<-slow.asked
			l.send(transport.Undeploy{Key: "p2", Keep: true})
			l.flush()
			slow.plan <- distinct()
			select {
			case <-slow.gone:
			case <-time.After(time.Minute): // the worker's own clock stands
				t.Fatal("the plan that has ended waits for itself")
			}
			l.deploy("p3")
			l.send(transport.Restore{Key: "p3", Batch: 1, Kept: l.kept(), Before: 2, Term: 3})
			if !others {
				l.restored(errNotKept)
				return
			}
			l.restored(nil)
			l.next("p3", 3)
		})
	}
}
