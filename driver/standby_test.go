package driver

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/statestore"
)

// Each partition has its copies on as many other workers as are wanted, and those of one
// worker are spread over the others evenly.
func TestStandbys(t *testing.T) {
	for workers := range 8 {
		var ids []transport.NodeID
		for i := range workers {
			ids = append(ids, transport.NodeID(fmt.Sprint("w", i)))
		}
		for parts := range 20 {
			h := transport.Homes{Workers: ids, Places: spread(ids, parts)}
			for n := range 4 {
				by := make([]map[int]int, workers) // by home and copy
				for p, at := range standbys(h, parts, n) {
					home := h.Place(p)
					if want := max(min(n, workers-1), 0); len(at) != want || slices.Contains(at, home) || len(slices.Compact(slices.Sorted(slices.Values(at)))) != want {
						t.Fatalf("%d of partition %d at home on %d of %d have copies on %v", n, p, home, workers, at)
					}
					for _, i := range at {
						if by[home] == nil {
							by[home] = map[int]int{}
						}
						by[home][i]++
					}
				}
				for home, has := range by {
					counts := slices.Sorted(maps.Values(has))
					if len(has) > 0 && (counts[len(counts)-1]-counts[0] > 1 || counts[0] > 0 && len(has) < workers-1 && counts[len(counts)-1] > 1) {
						t.Errorf("%d workers, %d partitions: the copies of worker %d are at %v", workers, parts, home, has)
					}
				}
			}
		}
	}
}

// Partitions stay with their owners where others have copies as new, and one whose owner is
// gone comes to its copy.
func TestArrangeWithCopies(t *testing.T) {
	ws := []transport.NodeID{"a", "b"}
	at := func(w, p int) (batch.ID, bool) {
		switch {
		case p%2 == w: // a has the even ones, b the odd ones
			return 7, false
		case p < 6: // and of each other's copies, newer than they are
			return 8, true
		}
		return batch.None, false
	}
	if got := arrange(ws, 6, at, true); !slices.Equal(got, []int{0, 1, 0, 1, 0, 1}) {
		t.Errorf("partitions lie on %v", got)
	}
	lost := func(w, p int) (batch.ID, bool) { // c is gone; b has the copies of what it had
		if p < 4 {
			id, c := at(w, p)
			return id, c
		}
		if w == 1 {
			return 6, true
		}
		return batch.None, false
	}
	if got := arrange(ws, 6, lost, true); !slices.Equal(got, []int{0, 1, 0, 1, 1, 1}) {
		t.Errorf("partitions lie on %v", got)
	}
}

// mirrors lets workers have copies, as far as to says for what is committed.
func (c *crowd) mirrors(to func(committed batch.ID) batch.ID) {
	stores := map[transport.NodeID]statestore.Store{}
	for id, w := range c.workers {
		stores[id] = w.store
	}
	for _, w := range c.workers {
		have := batch.None
		w.mirror = func(m transport.Prune, answer func(transport.Message)) {
			id := to(m.Committed)
			if id <= have {
				return
			}
			for _, s := range w.follows {
				man, err := stores[w.homes.Of(s.Partition)].Checkpoint(c.t.Context(), s, id)
				if err == nil {
					err = w.store.Restore(c.t.Context(), s, id, []statestore.Manifest{man})
				}
				if err != nil {
					c.t.Errorf("copy version %d of %s: %v", id, s, err)
					return
				}
			}
			have = id
			answer(transport.Followed{Key: m.Key, Batch: id})
		}
	}
}

// A worker is lost, and what it had is gone on with from its copies. Copies that are some
// batches behind send all workers back to what they have, which is kept for that; those
// that are far behind are of no use.
func TestAWorkerIsLostThatHasCopies(t *testing.T) {
	for behind, replayed := range map[batch.ID]int64{0: 0, 3: 3, microbatch.LaterMax - 1: microbatch.LaterMax - 1, microbatch.LaterMax: 51, 60: 51} {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t)
			c.opt.Standbys = 1
			for _, id := range []transport.NodeID{"a", "b", "c"} {
				c.join(id)
			}
			c.mirrors(func(id batch.ID) batch.ID { return min(id, 50-behind) })
			q := c.start()
			c.grow(q, 51*50)
			synctest.Wait()
			before := c.loaded() - c.workers["b"].loaded
			c.kill("b", true)
			synctest.Wait()
			c.grow(q, 53*50)
			rs := c.recoveries()
			if len(rs) != 1 || rs[0].ReplayedBatches != replayed {
				t.Fatalf("%d batches behind: it has come by its state like this: %+v", behind, rs)
			}
			if kept := replayed < 51; kept && (rs[0].KeptShards != 3 || rs[0].StateBatch != 50-replayed || c.loaded() != before) || !kept && rs[0].KeptShards != 0 {
				t.Errorf("%d batches behind: it has come by its state like this: %+v, and has loaded %d shards", behind, rs, c.loaded()-before)
			}
			if s, ok := q.Standbys(); !ok || s.Copies != 3 || s.Behind < 0 {
				t.Errorf("copies are %+v, %t", s, ok)
			}
			c.must(q.Stop(t.Context(), true))
		})
	}
}

// A worker more is of use for a copy alone, and that there is none is said once.
func TestAWorkerForACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		c.opt.Standbys, c.opt.Parallelism = 1, 1
		c.join("a")
		q := c.start()
		c.grow(q, 100)
		if n := count[Warning](c.bed); n != 1 {
			t.Errorf("%d warnings", n)
		}
		c.join("b")
		c.grow(q, 200)
		time.Sleep(time.Second)
		synctest.Wait()
		c.grow(q, 300)
		if n := len(c.workers["a"].follows) + len(c.workers["b"].follows); n != 1 {
			t.Errorf("there are %d copies", n)
		}
		c.must(q.Stop(t.Context(), true))
	})
}
