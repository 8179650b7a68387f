package bucket

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/seeds"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
	"github.com/sluice-stream/sluice/statestore/tiered"
)

// root is a version that must stay readable, and its rows.
type root struct {
	id   batch.ID
	ms   []statestore.Manifest
	rows map[string]string
}

// world is a query's state over many lives: batches, checkpoints of which some are
// kept, savepoints, collections that are cut short, crashes, and other queries that
// begin with a savepoint.
type world struct {
	t      *testing.T
	r      *rand.Rand
	fs     *vfsx.MemFS
	remote *objects // nil: there is only the folder
	pool   *tiered.Pool
	store  *tiered.Store
	parts  int
	id     batch.ID
	top    batch.ID // newest there ever was: files of versions that a crash took back stay until there are newer ones
	rows   map[string]string
	kept   []root
	saved  []root
}

// options are those of a store whose state is in many small files.
func (w *world) options(fs vfsx.FS, dir string, remote *objects) tiered.Options {
	o := tiered.Options{FS: fs, Dir: dir, Pool: w.pool, FileBytes: 500 + int64(w.r.IntN(3000)), LoadBytesMax: int64(1 + w.r.IntN(2)*20_000)}
	if remote != nil {
		o.Storage = remote
	}
	return o
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) shards(parts int) []batch.Shard {
	out := make([]batch.Shard, parts)
	for p := range out {
		lo, hi := batch.GroupsOf(p, parts)
		out[p] = batch.Shard{Operator: "op", Partition: p, FirstGroup: lo, EndGroup: hi}
	}
	return out
}

// start opens the store and goes on from a root, with some number of partitions.
func (w *world) start(from *root) {
	w.parts = 1 + w.r.IntN(5)
	var err error
	w.store, err = tiered.Open(w.options(w.fs, "state", w.remote))
	w.must(err)
	w.id, w.rows = batch.None, map[string]string{}
	if from != nil {
		w.id, w.rows = from.id, maps.Clone(from.rows)
	}
	for _, s := range w.shards(w.parts) {
		if from != nil {
			w.must(w.store.Restore(w.t.Context(), s, from.id, from.ms))
		}
	}
}

// batch changes some rows of every shard.
func (w *world) batch() {
	for _, s := range w.shards(w.parts) {
		x, err := w.store.Begin(w.t.Context(), s, w.id)
		w.must(err)
		for range w.r.IntN(60) {
			n := w.r.IntN(600)
			key := string([]byte{byte(n * 37)}) + fmt.Sprint(n)
			if int(key[0]) < s.FirstGroup || int(key[0]) >= s.EndGroup {
				continue
			}
			if w.r.IntN(3) == 0 {
				w.must(x.Delete([]byte(key)))
				delete(w.rows, key)
			} else {
				v := fmt.Sprintf("%d by %d", n, w.id+1)
				w.must(x.Put([]byte(key), []byte(v)))
				w.rows[key] = v
			}
		}
		_, err = x.Seal(w.t.Context())
		w.must(err)
	}
	w.id++
	w.top = max(w.top, w.id)
}

// checkpoint makes the newest version durable.
func (w *world) checkpoint() root {
	c := root{id: w.id, rows: maps.Clone(w.rows)}
	for _, s := range w.shards(w.parts) {
		m, err := w.store.Checkpoint(w.t.Context(), s, w.id)
		w.must(err)
		c.ms = append(c.ms, m)
	}
	return c
}

// slowly is checkpoint while batches go on, and files are collected again and again before
// the last shard is written and the version becomes a root (SPARK-55892).
func (w *world) slowly() root {
	c := root{id: w.id, rows: maps.Clone(w.rows)}
	for i, s := range w.shards(w.parts) {
		m, err := w.store.Checkpoint(w.t.Context(), s, c.id)
		w.must(err)
		c.ms = append(c.ms, m)
		if i < 3 || i == len(w.shards(w.parts))-1 {
			w.batch()
			w.collect()
		}
	}
	return c
}

// live is what a collection must leave.
func (w *world) live() (ms []statestore.Manifest) {
	for _, c := range slices.Concat(w.kept, w.saved) {
		ms = append(ms, c.ms...)
	}
	return ms
}

// stopAfter is a context that ends when it was asked some times.
type stopAfter struct {
	context.Context
	left *int
}

func (c stopAfter) Err() error {
	if *c.left--; *c.left < 0 {
		return context.Canceled
	}
	return nil
}

// collect deletes what no root needs, or a part of it.
func (w *world) collect() {
	ctx, cut := w.t.Context(), w.r.IntN(3) == 0
	if cut {
		left := w.r.IntN(8)
		ctx = stopAfter{ctx, &left}
		if w.remote != nil && w.r.IntN(2) == 0 {
			w.remote.set(func(op, _ string) (error, bool) {
				return map[bool]error{true: errFault}[op == "delete" && left%3 == 0], true
			})
			defer w.remote.set(nil)
		}
	}
	if err := w.store.Collect(ctx, w.live()); err != nil && !cut {
		w.t.Fatal(err)
	}
}

func (o *objects) set(fault func(op, name string) (error, bool)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fault = fault
}

// read compares a root with its rows, as a machine does that has only the files.
func (w *world) read(fs vfsx.FS, dir string, remote *objects, c root, what string) {
	w.t.Helper()
	var files *checkpoint.Dir
	var err error
	if remote == nil {
		files = checkpoint.View(fs, dir)
	} else {
		files, err = checkpoint.OpenMirrored(vfsx.NewMem(), "cache", remote)
		w.must(err)
		defer files.Close()
	}
	got := map[string]string{}
	for _, m := range c.ms {
		w.must(files.Verify(w.t.Context(), m))
		_, err := files.ReadVersion(w.t.Context(), m, func(key, value []byte, _ bool) error {
			got[string(key)] = string(value)
			return nil
		})
		if err != nil {
			w.t.Fatalf("%s of version %d: %v", what, c.id, err)
		}
	}
	if !maps.Equal(got, c.rows) {
		w.t.Fatalf("%s of version %d: %d rows, want %d", what, c.id, len(got), len(c.rows))
	}
}

// fork begins another query with a savepoint while this one goes on and collects:
// its files are taken over by a second name, or a copy out of the store.
func (w *world) fork(from root, n int) {
	to := fmt.Sprint("fork", n)
	var names []string
	for _, m := range from.ms {
		for _, p := range m.Parts {
			names = append(names, p.Name)
		}
	}
	opt := w.options(w.fs, to, nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if w.remote == nil {
			if err := filelog.LinkFiles(w.fs, "state", to, names); err != nil {
				w.t.Error(err)
				return
			}
		}
		if w.remote != nil {
			opt.Dir, opt.FS = "cache", vfsx.NewMem()
			opt.Storage = w.remote // read, and nothing is put there: it makes no checkpoint
		}
		other, err := tiered.Open(opt)
		if err != nil {
			w.t.Error(err)
			return
		}
		for _, s := range w.shards(2) {
			if err := errors.Join(other.Restore(w.t.Context(), s, from.id, from.ms), scan(w.t.Context(), other, s, from)); err != nil {
				w.t.Errorf("a query that begins with version %d: %v", from.id, err)
			}
		}
		if err := other.Close(); err != nil {
			w.t.Error(err)
		}
	})
	for range 3 {
		w.batch()
		w.kept = append(w.kept, w.checkpoint())
		w.kept = w.kept[max(0, len(w.kept)-2):]
		w.collect()
	}
}

// scan compares a shard with the rows of a root.
func scan(ctx context.Context, s *tiered.Store, shard batch.Shard, c root) error {
	x, err := s.Begin(ctx, shard, c.id)
	if err != nil {
		return err
	}
	defer x.Discard()
	n := 0
	err = x.Scan(nil, nil, func(key, value []byte) (bool, error) {
		if n++; c.rows[string(key)] != string(value) {
			return false, fmt.Errorf("row %q is %q", key, value)
		}
		return true, nil
	})
	want := 0
	for key := range c.rows {
		if int(key[0]) >= shard.FirstGroup && int(key[0]) < shard.EndGroup {
			want++
		}
	}
	if err == nil && n != want {
		err = fmt.Errorf("%d rows, want %d", n, want)
	}
	return err
}

// crash loses what was not synced, and sometimes all of the cache.
func (w *world) crash() {
	next := w.fs.CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: w.r})
	w.must(w.store.Close()) // into the file system that is lost
	if w.fs = next; w.remote != nil && w.r.IntN(2) == 0 {
		w.fs = vfsx.NewCrashableMem()
	}
	var from *root
	if n := len(w.kept); n > 0 {
		from = &w.kept[n-1]
	}
	w.start(from)
	if from != nil {
		for _, s := range w.shards(w.parts) {
			w.must(scan(w.t.Context(), w.store, s, *from))
		}
	}
}

// TestRoots: whatever happens, versions that are kept or saved can be read, and files
// that nobody needs do not stay (T3, C11 to C14).
func TestRoots(t *testing.T) {
	for seed := range seeds.Of(t, 12) {
		w := &world{t: t, r: rand.New(rand.NewPCG(seed, 9)), fs: vfsx.NewCrashableMem(), pool: tiered.NewPool(tiered.PoolOptions{HotBytesMax: 30_000, CacheBytes: 1 << 20})}
		if seed%2 == 1 {
			w.remote = newObjects()
			w.remote.lag = int(seed/2%2) * w.r.IntN(lagMax)
		}
		w.must(vfsx.MkdirAll(w.fs, "state", 0o700))
		w.start(nil)
		forks, retain := 0, 1+w.r.IntN(3)
		for range 50 {
			switch n := w.r.IntN(21); {
			case n < 8 || w.id == batch.None:
				w.batch()
			case n < 12:
				if len(w.kept) == 0 || w.kept[len(w.kept)-1].id < w.id {
					w.kept = append(w.kept, w.checkpoint())
				}
				w.kept = w.kept[max(0, len(w.kept)-retain):]
				for _, s := range w.shards(w.parts) {
					w.must(w.store.Prune(t.Context(), s, w.id))
				}
			case n < 15:
				w.collect()
			case n == 15 && len(w.kept) > 0:
				w.saved = append(w.saved, w.kept[len(w.kept)-1])
			case n == 16 && len(w.saved) > 0:
				w.saved = slices.Delete(w.saved, 0, 1)
			case n == 17 && len(w.saved) > 0 && forks < 2:
				forks++
				w.fork(w.saved[w.r.IntN(len(w.saved))], forks)
			case n == 20:
				if len(w.kept) == 0 || w.kept[len(w.kept)-1].id < w.id {
					w.kept = append(w.kept, w.slowly())
					w.kept = w.kept[max(0, len(w.kept)-retain):]
				}
			case n >= 18:
				w.crash()
			}
			if all := slices.Concat(w.kept, w.saved); len(all) > 0 {
				w.read(w.fs, "state", w.remote, all[w.r.IntN(len(all))], fmt.Sprint("seed ", seed))
			}
		}
		for _, c := range slices.Concat(w.kept, w.saved) {
			w.read(w.fs, "state", w.remote, c, fmt.Sprint("seed ", seed))
		}
		for top := w.top; w.id <= top || w.id%25 > 0; { // long enough for merges, whose files no root names yet
			w.batch()
			w.kept = []root{w.checkpoint()}
			w.collect()
		}
		for _, sh := range w.shards(w.parts) {
			w.must(scan(t.Context(), w.store, sh, w.kept[0]))
		}
		w.saved = nil
		w.must(w.store.Close())
		if w.remote != nil {
			w.remote.lag = 0
		}
		w.start(&w.kept[0])
		w.must(w.store.Collect(t.Context(), w.live()))
		w.left()
		w.must(w.store.Close())
		w.pool.Close()
	}
}

// left compares what lies there with what the only root names.
func (w *world) left() {
	need := map[string]bool{}
	for _, m := range w.live() {
		for _, p := range m.Parts {
			need[p.Name] = true
		}
	}
	names, err := w.fs.List("state")
	if w.remote != nil {
		names, err = w.remote.List(w.t.Context())
	}
	w.must(err)
	for _, n := range names {
		if !need[n] {
			w.t.Errorf("%s stays, and nobody needs it", n)
		}
		delete(need, n)
	}
	if w.remote == nil && len(need) > 0 {
		w.t.Errorf("missing: %v", need)
	}
}
