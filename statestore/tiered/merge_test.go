package tiered

import (
	"errors"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/run"
)

// levelsOf makes runs of so many kilobytes.
func levelsOf(kilobytes ...int64) []*level {
	var out []*level
	for _, k := range kilobytes {
		out = append(out, &level{bytes: k << 10})
	}
	return out
}

// TestWhichRunsAreMerged: ten of a size, four that are nothing beside the oldest, and
// all when the others are as large as the oldest.
func TestWhichRunsAreMerged(t *testing.T) {
	for _, c := range []struct {
		what     string
		levels   []*level
		from, to int
	}{
		{"two", levelsOf(1000, 100), 0, 0},
		{"as large as the oldest", levelsOf(1000, 600, 500), 0, 3},
		{"three that are nothing", levelsOf(100_000, 40, 40, 40), 0, 0},
		{"four that are nothing", levelsOf(100_000, 40, 40, 40, 40), 1, 5},
		{"four that are something", levelsOf(10_000, 40, 40, 40, 40), 0, 0},
		{"ten of a size", levelsOf(10_000, 40, 40, 40, 40, 40, 40, 40, 40, 40, 40), 1, 11},
		{"a larger one above smaller ones", levelsOf(1_000_000, 40, 40, 40, 400), 1, 5},
	} {
		if from, to := pick(c.levels, mergeWidth); from != c.from || to != c.to {
			t.Errorf("%s: %d to %d, want %d to %d", c.what, from, to, c.from, c.to)
		}
	}
}

// TestSmallMergesBesideALargeOne: what is being merged is left alone, by the one
// above it and by the one below.
func TestSmallMergesBesideALargeOne(t *testing.T) {
	sh := &shard{}
	sh.mu.merging = map[*level]bool{}
	levels := levelsOf(100_000, 60_000, 60_000, 40, 40, 40, 40, 40)
	if from, to := sh.freeLocked(levels, 64<<20); from != 3 || to != 8 {
		t.Errorf("small, nothing is under way: %d to %d", from, to)
	}
	for _, l := range levels[:4] {
		sh.mu.merging[l] = true
	}
	if from, to := sh.freeLocked(levels, 64<<20); from != 4 || to != 8 {
		t.Errorf("small, above a large one: %d to %d", from, to)
	}
	clear(sh.mu.merging)
	sh.mu.merging[levels[7]] = true
	if from, to := sh.freeLocked(levels, 64<<20); from != 3 || to != 7 {
		t.Errorf("small, below another small one: %d to %d", from, to)
	}
	for _, l := range levels[4:] {
		sh.mu.merging[l] = true
	}
	if from, to := sh.freeLocked(levels, 64<<20); from != to {
		t.Errorf("small, what is under way is merged again: %d to %d", from, to)
	}
	if from, to := sh.freeLocked(levels, 0); from != 0 || to != 4 {
		t.Errorf("large, below a small one: %d to %d", from, to)
	}
	if from, to := sh.freeLocked(levelsOf(1_000_000, 20_000, 20_000, 20_000, 20_000), 64<<20); from != to {
		t.Errorf("a merge of 80 MB is not small: %d to %d", from, to)
	}
}

// TestBatchesOfMostRows: after batches that ask for a good part of the rows four runs
// are enough to merge, after others ten of a size.
func TestBatchesOfMostRows(t *testing.T) {
	sh := &shard{}
	sh.mu.merging = map[*level]bool{}
	sh.mu.versions = []*version{{state: statestore.Version{Rows: 1_000_000}}}
	levels := levelsOf(100_000, 7000, 7000, 7000, 7000)
	for _, c := range []struct {
		asked    int64
		from, to int
	}{{100, 0, 0}, {15_000, 0, 0}, {16_000, 1, 5}, {smallKeys, 0, 0}} {
		sh.mu.asked = c.asked
		if from, to := sh.freeLocked(levels, 0); from != c.from || to != c.to {
			t.Errorf("%d keys of a million: %d to %d, want %d to %d", c.asked, from, to, c.from, c.to)
		}
	}
	sh.mu.asked, sh.mu.versions[0].state.Rows = smallKeys, 1000
	if from, to := sh.freeLocked(levels, 0); from != to {
		t.Errorf("a small batch: %d to %d are merged", from, to)
	}
}

// TestMergesSideBySide: small merges are made while a large one is under way, and
// neither loses a row of the other's.
func TestMergesSideBySide(t *testing.T) {
	s := open(t, Options{FS: vfsx.NewMem(), Dir: "state"})
	defer s.Close()
	s.merging.Lock() // the store's own large merges wait
	id, want := batch.None, int64(0)
	save := func(from, n uint64) {
		t.Helper()
		v, err := put(s, id, from, n)
		if err != nil {
			t.Fatal(err)
		}
		id++
		if _, err := s.Checkpoint(t.Context(), all, id); err != nil {
			t.Fatal(err)
		}
		if err := s.Prune(t.Context(), all, id); err != nil {
			t.Fatal(err)
		}
		want = v.Rows
	}
	save(0, 30_000)
	save(15_000, 18_000)
	save(30_000, 21_000)
	sh, err := s.shard(all)
	if err != nil {
		t.Fatal(err)
	}
	large := make(chan error)
	go func() {
		_, err := s.merge(t.Context(), sh, 0)
		large <- err
	}()
	for n := range uint64(60) {
		save(45_000+n*100, 125)
		s.mergeUpTo(8 << 20)
	}
	if err := <-large; err != nil {
		t.Fatal(err)
	}
	s.merging.Unlock()
	s.mergeSome()
	if u := s.Use(); u[0].Rows != want || u[0].Runs > 2*mergeWidth {
		t.Errorf("after merges: %+v, want %d rows", u[0], want)
	}
	m, err := s.Checkpoint(t.Context(), all, id)
	if err != nil {
		t.Fatal(err)
	}
	rows := int64(0)
	if _, err := s.dir.ReadVersion(t.Context(), m, func(_, _ []byte, _ bool) error { rows++; return nil }); err != nil {
		t.Fatal(err)
	}
	if rows != want {
		t.Errorf("the runs have %d rows, want %d", rows, want)
	}
}

// TestCacheFitsTheFiles: the cache grows to twice its least size with the files whose
// indexes and filters it should hold, and what it has more rows have less.
func TestCacheFitsTheFiles(t *testing.T) {
	const rows = 125_000
	fs := vfsx.NewMem()
	from := open(t, Options{FS: fs, Dir: "state"})
	if _, err := put(from, batch.None, 0, rows); err != nil {
		t.Fatal(err)
	}
	m, err := from.Checkpoint(t.Context(), all, 0)
	if err := errors.Join(err, from.Close()); err != nil {
		t.Fatal(err)
	}
	budget := memory.NewBudget(2 << 20)
	pool := NewPool(PoolOptions{Budget: budget})
	pool.cacheMin = 64 << 10
	defer pool.Close()
	s := open(t, Options{FS: fs, Dir: "state", Pool: pool, Memory: budget.Child("state", 0), LoadBytesMax: 1})
	defer s.Close()
	least := budget.Limit() / 8
	if c := pool.blocks(); c.Size() != least || pool.hotMax() != budget.Limit()/5*2 {
		t.Fatalf("a cache of %d bytes, rows may take %d", c.Size(), pool.hotMax())
	}
	if err := s.Restore(t.Context(), all, 0, []statestore.Manifest{m}); err != nil {
		t.Fatal(err)
	}
	if _, err := put(s, 0, 0, 1); err != nil { // opens the files
		t.Fatal(err)
	}
	c := pool.blocks()
	if held := c.Held(); held < rows*10/8 || c.Size() <= least || c.Size() > 2*least {
		t.Errorf("a cache of %d to %d bytes has %d, for files that need %d", least, 2*least, c.Size(), held)
	}
	if got, want := pool.hotMax(), budget.Limit()/5*2-(c.Size()-least); got != want {
		t.Errorf("rows may take %d bytes, want %d", got, want)
	}
	fresh := run.NewCache(100)
	defer fresh.Close()
	if fresh.Size() != 100 {
		t.Errorf("a new cache may hold %d bytes of 100", fresh.Size())
	}
}
