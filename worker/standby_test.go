package worker

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	limits "github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/inproc"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/tiered"
)

// tieredFake has state that can be followed.
type tieredFake struct{ *fake }

func (f tieredFake) State(d transport.Deploy, of *limits.Tracker) (statestore.Store, error) {
	return tiered.Open(tiered.Options{Dir: d.StateDir, Elsewhere: d.Elsewhere, Memory: of})
}

// pair is an owner and another worker that has copies of its shards, which speak through
// an in-process network.
type pair struct {
	*cluster // of the owner
	f        *fake
	other    *cluster
	budget   *limits.Budget
	shards   []batch.Shard
}

func newPair(t *testing.T) *pair {
	p := &pair{f: &fake{rows: map[int][]int64{0: {1, 2, 2, 3}, 1: {3, 4, 1}, 2: {4, 5}, 3: {5, 6}, 4: {6, 7}, 5: {1, 7, 8}}, dir: t.TempDir()}, budget: limits.NewBudget(0)}
	net := inproc.New(inproc.Options{})
	begin := func(id transport.NodeID) *cluster {
		n, err := net.Join(id)
		if err != nil {
			t.Fatal(err)
		}
		w := New(n, tieredFake{p.f}, Options{Memory: p.budget})
		t.Cleanup(func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			n.Close()
		})
		return &cluster{t: t, w: w}
	}
	d, err := net.Join("driver")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	p.cluster, p.other = begin("worker"), begin("other")
	p.driver, p.other.driver = d, d
	for i := range 2 {
		first, end := batch.GroupsOf(i, 2)
		p.shards = append(p.shards, batch.Shard{Operator: "distinct", Partition: i, FirstGroup: first, EndGroup: end})
	}
	m := transport.Deploy{Key: "p", Query: "q", Plan: distinct(), Parts: 2, StateDir: p.f.dir,
		Homes: transport.Homes{Workers: []transport.NodeID{"worker", "other"}, Places: []int{0, 0}}}
	p.send(m)
	m.Follows, m.Elsewhere = p.shards, p.shards
	p.toOther(m)
	p.send(transport.Restore{Key: "p", Batch: batch.None, Shards: p.shards, Term: 2})
	p.restored()
	p.toOther(transport.Restore{Key: "p", Batch: batch.None, Term: 2})
	p.restored()
	return p
}

func (p *pair) toOther(m transport.Message) {
	p.t.Helper()
	if err := p.driver.Send(p.t.Context(), "other", m); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) restored() {
	p.t.Helper()
	if m, ok := p.answer().(transport.Restored); !ok || m.Err != nil {
		p.t.Fatalf("restored: %+v", m)
	}
}

// checkpoint writes one and tells the copies.
func (p *pair) checkpoint(id batch.ID) transport.Follow {
	p.t.Helper()
	p.send(transport.Checkpoint{Key: "p", Batch: id, Shards: p.shards})
	m, ok := p.answer().(transport.Checkpointed)
	if !ok || m.Err != nil {
		p.t.Fatalf("checkpoint: %+v", m)
	}
	f := transport.Follow{Key: "p", Batch: id, Manifests: m.Manifests}
	p.toOther(f)
	return f
}

// followed waits until the copies have a version.
func (p *pair) followed(id batch.ID) {
	p.t.Helper()
	for {
		m, ok := p.answer().(transport.Followed)
		if !ok || m.Key != "p" || m.Batch > id {
			p.t.Fatalf("followed: %+v, not %d", m, id)
		}
		if m.Batch == id {
			return
		}
	}
}

// commit lets the copies follow to a version.
func (p *pair) commit(id, oldest batch.ID) {
	p.send(transport.Prune{Key: "p", Oldest: oldest, Committed: id})
	p.toOther(transport.Prune{Key: "p", Oldest: oldest, Committed: id})
}

// A worker follows what another one commits, and is gone on with when that one is lost:
// with what was committed, and not with what was not.
func TestACopyIsGoneOnWith(t *testing.T) {
	p := newPair(t)
	p.batch(0, true)
	first := p.checkpoint(0)
	p.followed(0)
	var want []batch.TaskResult
	for id := batch.ID(1); id < 4; id++ {
		want = p.batch(id, true)
		p.commit(id, id-1)
		p.followed(id)
		if id == 2 {
			p.checkpoint(2)
			p.toOther(first) // the network has kept it for long
		}
	}
	p.batch(4, true) // is never committed
	if err := p.w.Close(); err != nil {
		t.Fatal(err)
	}
	p.toOther(transport.Prune{Key: "p", Oldest: 3, Committed: 4})
	p.toOther(transport.Undeploy{Key: "p", Keep: true})
	p.toOther(transport.Survey{Key: "s", Query: "q"})
	held, ok := p.answer().(transport.Surveyed)
	if !ok || held.Term != 2 {
		t.Fatalf("surveyed: %+v", held)
	}
	var kept []transport.Kept
	for _, r := range want {
		k := transport.Kept{Shard: r.Shards[0].Shard, Version: 3, Digest: r.Shards[0].Digest, Copy: true}
		if kept = append(kept, k); !slices.Contains(held.Kept, k) {
			t.Errorf("%+v is missing in %+v", k, held.Kept)
		}
	}
	p.toOther(transport.Deploy{Key: "p2", Query: "q", Plan: distinct(), Parts: 2, StateDir: p.f.dir})
	p.toOther(transport.Restore{Key: "p2", Batch: 3, Kept: kept, Before: 2, Term: 3})
	p.restored()
	p.f.sink = nil
	for _, s := range []batch.TaskSpec{spec(5, 0, 0), spec(5, 1, 0), spec(5, 1, 1)} {
		s.Plan, s.Term, s.Base = "p2", 3, 3
		p.toOther(transport.Run{Spec: s})
		if m, ok := p.answer().(transport.Finished); !ok {
			t.Fatalf("%+v", m)
		}
	}
	if slices.Sort(p.f.sink); strings.Join(p.f.sink, " ") != "7 8" {
		t.Errorf("the next batch shows %v", p.f.sink)
	}
	if err := p.other.w.Close(); err != nil {
		t.Fatal(err)
	}
	if used := p.budget.Used(); used != 0 {
		t.Errorf("%d bytes are still in use: %+v", used, p.budget.Usage())
	}
}

// What has changed is told of shards that are there, to versions that are.
func TestChangesThatAreNotToBeHad(t *testing.T) {
	p := newPair(t)
	p.batch(0, true)
	there := p.shards[0]
	for what, ref := range map[string]transport.StreamRef{
		"version":  {Key: "p", Ask: transport.Changes{Shard: there, Since: 0, To: 5}},
		"operator": {Key: "p", Ask: transport.Changes{Shard: batch.Shard{Operator: "other", EndGroup: there.EndGroup}, Since: batch.None}},
		"shard":    {Key: "p", Ask: transport.Changes{Shard: batch.Shard{Operator: "distinct", Partition: 7, EndGroup: 9}, Since: batch.None}},
		"plan":     {Key: "p2", Ask: transport.Changes{Shard: there, Since: batch.None}},
	} {
		if in, err := p.w.serve(t.Context(), ref); err == nil {
			t.Errorf("%s: there are changes", what)
			_ = in.Close() // it is an error already
		}
	}
}
