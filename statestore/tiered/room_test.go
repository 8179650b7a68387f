package tiered

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/mem"
)

var all = batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}

// put seals the version after id with n rows from a number on.
func put(s statestore.Store, id batch.ID, from, n uint64) (statestore.Version, error) {
	x, err := s.Begin(context.Background(), all, id)
	if err != nil {
		return statestore.Version{}, err
	}
	defer x.Discard()
	var key [10]byte
	for i := from; i < from+n; i++ {
		h := i * 0x9E3779B97F4A7C15
		key[0] = byte(h)
		binary.BigEndian.PutUint64(key[2:], h)
		if err := x.Put(key[:], fmt.Appendf(nil, "row number %d", i)); err != nil {
			return statestore.Version{}, err
		}
	}
	return x.Seal(context.Background())
}

// TestMemoryLimit: state that would take five times the memory that there is goes
// on, in small batches and in one that has no room by itself, and never takes more
// than its limit.
func TestMemoryLimit(t *testing.T) {
	const limit = 3 << 20
	t.Run("of the process", func(t *testing.T) {
		budget := memory.NewBudget(limit)
		pool := NewPool(PoolOptions{Budget: budget})
		defer pool.Close()
		testLimit(t, &budget.Tracker, Options{Pool: pool, Memory: budget.Child("state", 0)})
	})
	t.Run("of the query", func(t *testing.T) {
		query := memory.NewBudget(1<<30).Child("query", limit)
		testLimit(t, query, Options{Memory: query})
	})
}

func testLimit(t *testing.T, budget *memory.Tracker, opt Options) {
	const rows = 100_000
	limit := budget.Limit()
	opt.FS, opt.Dir = vfsx.NewMem(), "state"
	s := open(t, opt)
	defer s.Close()
	s.step = 64 << 10
	id, from := batch.None, uint64(0)
	var v statestore.Version
	for _, n := range []uint64{500, 3000, 3000, rows, 3000, 3000, 3000, 500} {
		var err error
		if v, err = put(s, id, from, n); err != nil {
			t.Fatal(err)
		}
		id, from = id+1, from+n
		if err := s.Prune(t.Context(), all, id); err != nil {
			t.Fatal(err)
		}
	}
	if v.Rows != int64(from) {
		t.Fatalf("%d rows, want %d", v.Rows, from)
	}
	if whole(v) < 3*limit {
		t.Fatalf("the state would take %d bytes: that is no test", whole(v))
	}
	if peak := budget.Peak(); peak > limit {
		t.Fatalf("%d bytes were taken of %d", peak, limit)
	}
	if c := s.Counts(); c.Spills == 0 {
		t.Fatalf("nothing was pushed out: %+v", c)
	}
	again, err := put(s, id, 0, 2000) // the same rows: found under the tree
	if err != nil || again != v {
		t.Fatalf("writing what is there makes %+v (%v) of %+v", again, err, v)
	}
	x, err := s.Begin(t.Context(), all, id)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Discard()
	key := make([]byte, 10)
	if err := x.Get([][]byte{key, key}, func(int, []byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if u := x.(statestore.MeteredTxn).Use(); u.Read+u.InMemory != 2 || u.Hot == 0 || u.Cold == 0 || u.Runs == 0 || u.Evictions == 0 {
		t.Fatalf("use of a transaction: %+v", u)
	}
	use := s.Use()
	if len(use) != 1 || use[0].Rows != v.Rows || use[0].Complete || use[0].Cold == 0 {
		t.Fatalf("use: %+v", use)
	}
}

// TestWithoutFolder: without a place to push rows to, memory that runs out is an
// error that says so.
func TestWithoutFolder(t *testing.T) {
	budget := memory.NewBudget(8 << 20)
	pool := NewPool(PoolOptions{Budget: budget})
	defer pool.Close()
	s := open(t, Options{Pool: pool, Memory: budget.Child("state", 0)})
	defer s.Close()
	if _, err := put(s, batch.None, 0, 200_000); !isLimit(err) {
		t.Fatalf("the error is %v", err)
	}
	if _, err := put(s, batch.None, 0, 1000); err != nil {
		t.Fatalf("afterwards: %v", err)
	}
}

// TestFullDisk: a batch that has to push rows out to a full disk fails with the
// reason and leaves the version before as it was; once there is space it goes on.
func TestFullDisk(t *testing.T) {
	var full atomic.Bool
	fs := vfsx.Wrap(vfsx.NewMem(), vfsx.FullDisk(&full, syscall.ENOSPC))
	budget := memory.NewBudget(3 << 20)
	pool := NewPool(PoolOptions{Budget: budget})
	defer pool.Close()
	s := open(t, Options{FS: fs, Dir: "state", Pool: pool, Memory: budget.Child("state", 0)})
	defer s.Close()
	s.step = 64 << 10
	before, err := put(s, batch.None, 0, 18_000)
	if err != nil {
		t.Fatal(err)
	}
	man, err := s.Checkpoint(t.Context(), all, 0)
	if err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	if _, err := put(s, 0, 18_000, 54_000); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a batch on a full disk: %v", err)
	}
	if _, err := put(s, 0, 0, 10); err != nil {
		t.Fatalf("a small batch on a full disk: %v", err)
	}
	if _, err := s.Checkpoint(t.Context(), all, 1); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a checkpoint on a full disk: %v", err)
	}
	full.Store(false)
	v, err := put(s, 0, 18_000, 54_000)
	if err != nil || v.Rows != before.Rows+54_000 {
		t.Fatalf("with space again: %+v %v", v, err)
	}
	if err := s.Restore(t.Context(), all, 0, []statestore.Manifest{man}); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Digest(all, 0); err != nil || v != before {
		t.Fatalf("restored as %+v %v", v, err)
	}
}

// TestOlderCheckpoints: what package mem has written is restored, as a whole and
// into another cut, and what follows is written as runs, which package mem reads.
func TestOlderCheckpoints(t *testing.T) {
	fs := vfsx.NewMem()
	older, err := mem.Open(mem.Options{FS: fs, Dir: "state"})
	if err != nil {
		t.Fatal(err)
	}
	defer older.Close()
	var man statestore.Manifest
	var want statestore.Version
	for id := range batch.ID(3) { // a snapshot and change files
		if want, err = put(older, id-1, uint64(id)*900, 1000); err != nil {
			t.Fatal(err)
		}
		if man, err = older.Checkpoint(t.Context(), all, id); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, Options{FS: fs, Dir: "state"})
	defer s.Close()
	if err := s.Restore(t.Context(), all, 2, []statestore.Manifest{man}); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Digest(all, 2); err != nil || v != want {
		t.Fatalf("restored as %+v %v, want %+v", v, err, want)
	}
	half := batch.Shard{Operator: "op", FirstGroup: 0, EndGroup: 100}
	if err := s.Restore(t.Context(), half, 2, []statestore.Manifest{man}); err != nil {
		t.Fatal(err)
	}
	if want, err = put(s, 2, 5000, 10); err != nil {
		t.Fatal(err)
	}
	if man, err = s.Checkpoint(t.Context(), all, 3); err != nil {
		t.Fatal(err)
	}
	if err := older.Restore(t.Context(), all, 3, []statestore.Manifest{man}); err != nil {
		t.Fatal(err)
	}
	if v, err := older.Digest(all, 3); err != nil || v != want {
		t.Fatalf("package mem restores %+v %v, want %+v", v, err, want)
	}
	after, err := put(older, 3, 6000, 10)
	if err != nil {
		t.Fatal(err)
	}
	if man, err = older.Checkpoint(t.Context(), all, 4); err != nil {
		t.Fatal(err)
	}
	if err := s.Restore(t.Context(), all, 4, []statestore.Manifest{man}); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Digest(all, 4); err != nil || v != after {
		t.Fatalf("back again: %+v %v, want %+v", v, err, after)
	}
}

// TestUploads: after a change of one key in a hundred a checkpoint writes little
// more than those rows, and over many of them merges write less than twice as much
// again. The sizes are those of the files.
func TestUploads(t *testing.T) {
	const rows = 60_000
	s := open(t, Options{FS: vfsx.NewMem(), Dir: "state"})
	defer s.Close()
	if _, err := put(s, batch.None, 0, rows); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Checkpoint(t.Context(), all, 0); err != nil {
		t.Fatal(err)
	}
	first := s.Counts().RunBytes
	const rounds = 120
	for id := range batch.ID(rounds) {
		x, err := s.Begin(t.Context(), all, id)
		if err != nil {
			t.Fatal(err)
		}
		var key [10]byte
		for i := range uint64(rows / 100) {
			h := ((i*101 + uint64(id)*37) % rows) * 0x9E3779B97F4A7C15
			key[0] = byte(h)
			binary.BigEndian.PutUint64(key[2:], h)
			if err := x.Put(key[:], fmt.Appendf(nil, "changed by %3d", id)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := x.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := s.Counts().RunBytes
		if _, err := s.Checkpoint(t.Context(), all, id+1); err != nil {
			t.Fatal(err)
		}
		if n := s.Counts().RunBytes - before; n > first*3/100 {
			t.Fatalf("checkpoint %d writes %d bytes of a state of %d", id+1, n, first)
		}
		if err := s.Prune(t.Context(), all, id+1); err != nil {
			t.Fatal(err)
		}
		s.mergeSome()
	}
	c := s.Counts()
	perRound := float64(c.RunBytes+c.MergeBytes-first) / rounds / float64(first)
	t.Logf("%.2f %% of the state a checkpoint, of which merges %.2f %%", 100*perRound, 100*float64(c.MergeBytes)/rounds/float64(first))
	if perRound > 0.03 {
		t.Errorf("a checkpoint writes %.1f %% of the state for 1 %% of changes", 100*perRound)
	}
	settleMerges(s)
	if u := s.Use(); u[0].Runs > 2*mergeWidth {
		t.Errorf("%d runs", u[0].Runs)
	}
}

// settleMerges returns when neither the store's own goroutines nor the caller have
// anything to merge.
func settleMerges(s *Store) {
	for {
		before, busy := s.Counts().Merges, 0
		s.mergeSome()
		for _, sh := range s.shards() {
			sh.mu.Lock()
			busy += len(sh.mu.merging)
			sh.mu.Unlock()
		}
		if busy == 0 && s.Counts().Merges == before {
			return
		}
		runtime.Gosched()
	}
}
