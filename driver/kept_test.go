package driver

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/statestore"
)

// recoveries lists how each life came by its state.
func (c *crowd) recoveries() (out []Recovery) {
	for _, r := range told[Recovered](c.bed) {
		out = append(out, r.Recovery)
	}
	return out
}

// again starts a query of three workers, lets its driver die after six batches, does
// something, and starts it again.
func again(t *testing.T, do func(*crowd)) *crowd {
	c := newCrowd(t)
	for _, id := range []transport.NodeID{"a", "b", "c"} {
		c.join(id)
	}
	q := c.start()
	c.grow(q, 300)
	c.must(q.Stop(t.Context(), true))
	do(c)
	q = c.start()
	c.grow(q, 500)
	c.must(q.Stop(t.Context(), true))
	return c
}

func (c *crowd) loaded() (n int) {
	for _, w := range c.workers {
		n += w.loaded
	}
	return n
}

// A driver that comes back finds its workers with the state of the last committed batch:
// nothing is loaded, and nothing is run again.
func TestADriverComesBackToItsWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := 0
		c := again(t, func(c *crowd) {
			before = c.loaded()
			// One of them comes later: the driver waits for it, for it has a part of the state.
			late := c.members.List()[1]
			c.members.Lose(late.ID, late.Run)
			time.AfterFunc(returnTime/2, func() { c.members.Join(late) })
		})
		rs := c.recoveries()
		if len(rs) != 1 || rs[0].KeptShards != 3 || rs[0].ReplayedBatches != 0 || rs[0].StateBatch != 5 || rs[0].CheckpointBatch != -1 {
			t.Errorf("it has come by its state like this: %+v", rs)
		}
		if n := c.loaded() - before; n != 0 {
			t.Errorf("%d shards were loaded", n)
		}
		if got, want := c.taken(), []string{"[a b c] 3", "[a b c] 3"}; !slices.Equal(got, want) {
			t.Errorf("lives on %v, want %v", got, want)
		}
	})
}

// State is gone on from only if all of it is there and is what the log says: else it is
// made anew from the checkpoint, and the result is the same.
func TestWhatWorkersKeepIsNotTrusted(t *testing.T) {
	spoil := map[string]func(*crowd){
		"a wrong digest": func(c *crowd) {
			c.workers["b"].tell = func(h statestore.HeldVersion) statestore.HeldVersion { h.Digest.Lo++; return h }
		},
		"another term": func(c *crowd) { c.workers["b"].life-- },
		"a shard that is not there": func(c *crowd) {
			s := c.workers["b"].store
			for _, h := range s.(statestore.Keeper).Held() {
				c.must(s.Restore(c.t.Context(), h.Shard, batch.None, nil))
			}
		},
		"a worker that does not come back": func(c *crowd) { c.kill("b", true) },
		"a worker that cannot adopt":       func(c *crowd) { c.workers["b"].refuse = true },
	}
	for what, do := range spoil {
		synctest.Test(t, func(t *testing.T) {
			c := again(t, do)
			if rs := c.recoveries(); len(rs) != 1 || rs[0].KeptShards != 0 || rs[0].ReplayedBatches != 6 || rs[0].StateBatch != -1 {
				t.Errorf("%s: it has come by its state like this: %+v", what, rs)
			}
		})
	}
}

// A life has begun between two others, without a worker that keeps the state of the first:
// that is not gone on from, though it may look right.
func TestStateOfTheLifeBeforeLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		a, b := c.join("a"), c.join("b")
		q := c.start()
		c.grow(q, 300)
		away := c.members.List()[1]
		c.members.Lose(away.ID, away.Run) // it has heard nothing of the driver
		synctest.Wait()
		c.grow(q, 300) // in the next life, at the same batch
		c.must(q.Stop(t.Context(), true))
		c.members.Join(away)
		q = c.start()
		c.grow(q, 500)
		if b.adopted != 0 || a.adopted == 0 {
			t.Errorf("a has adopted %d shards, b %d", a.adopted, b.adopted)
		}
		c.must(q.Stop(t.Context(), true))
	})
}

// A worker joins: the partitions that stay are not loaded again.
func TestAJoiningWorkerTakesOnlyItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		c.opt.Parallelism = 6
		a, b := c.join("a"), c.join("b")
		q := c.start()
		c.grow(q, 300)
		loaded := a.loaded + b.loaded
		d := c.join("d")
		time.Sleep(time.Second)
		synctest.Wait()
		c.grow(q, 500)
		if got := a.loaded + b.loaded - loaded; got != 0 || a.adopted != 2 || b.adopted != 2 || d.loaded != 2 {
			t.Errorf("a and b have loaded %d and adopted %d and %d, d has loaded %d", got, a.adopted, b.adopted, d.loaded)
		}
		c.must(q.Stop(t.Context(), true))
	})
}

// The parallelism follows the slots of the workers, but not before the state is taken up:
// cut anew it would have to be made again.
func TestStateIsTakenUpAsItWasCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		c.opt.Auto = true
		c.join("a")
		c.join("b")
		time.Sleep(time.Second)
		q := c.start()
		c.grow(q, 300)
		c.must(q.Stop(t.Context(), true))
		c.join("c")
		q = c.start()
		c.grow(q, 400)
		time.Sleep(time.Second)
		synctest.Wait()
		c.grow(q, 500)
		if got, want := c.taken(), []string{"[a b] 4", "[a b c] 4", "[a b c] 6"}; !slices.Equal(got, want) {
			t.Errorf("lives on %v, want %v", got, want)
		}
		c.must(q.Stop(t.Context(), true))
	})
}

func TestArrange(t *testing.T) {
	ws := []transport.NodeID{"a", "b", "c"}
	none := func(int, int) (batch.ID, bool) { return batch.None, false }
	if got, want := arrange(ws, 7, none, false), spread(ws, 7); !slices.Equal(got, want) {
		t.Errorf("without state %v, want %v", got, want)
	}
	all := func(w, p int) (batch.ID, bool) { // a has everything, b has newer versions of the first two
		switch {
		case w == 0:
			return 5, false
		case w == 1 && p < 2:
			return 6, false
		}
		return batch.None, false
	}
	count := func(places []int) []int {
		out := make([]int, 3)
		for _, w := range places {
			out[w]++
		}
		return out
	}
	if got := arrange(ws, 9, all, false); !slices.Equal(count(got), []int{3, 3, 3}) || got[0] != 1 || got[1] != 1 {
		t.Errorf("by equal shares: %v", got)
	}
	if got := arrange(ws, 9, all, true); !slices.Equal(count(got), []int{7, 2, 0}) {
		t.Errorf("where the state is: %v", got)
	}
	far := func(w, _ int) (batch.ID, bool) { return batch.ID(w - 1), false } // a has nothing, c the newest
	if got := count(arrange(ws, 12, far, true)); got[2] != 10 || got[1] != 2 {
		t.Errorf("at most twice a share: %v", got)
	}
}
