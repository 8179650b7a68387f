package storetest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

func (e *env) checkpoint(s batch.Shard, id batch.ID) statestore.Manifest {
	e.t.Helper()
	m, err := e.store.Checkpoint(e.ctx, s, id)
	e.must(err)
	if m.Shard != s || m.Version != id {
		e.t.Fatalf("the manifest of version %d of %v names %d of %v", id, s, m.Version, m.Shard)
	}
	return m
}

// testCheckpoint: every checkpoint of a long life restores to the model's
// version, in a new store, and goes on from there.
func testCheckpoint(t *testing.T, open Open) {
	fs := vfsx.NewMem()
	e := start(t, open, fs)
	s, m := whole("op"), newModel(3, 200)
	for id := range batch.ID(80) {
		changes := m.batch
		if id%5 == 0 { // a version that changes nothing
			changes = func() map[string]string { return nil }
		}
		v := e.apply(s, id-1, changes())
		if m.rng.IntN(3) > 0 && id%5 > 1 {
			continue
		}
		man := e.checkpoint(s, id)
		if man.State != v {
			t.Fatalf("version %d: the manifest says %+v, Seal said %+v", id, man.State, v)
		}
		r := start(t, open, fs)
		r.must(r.store.Restore(r.ctx, s, id, []statestore.Manifest{man}))
		r.equal(fmt.Sprintf("version %d restored", id), r.rows(s, id), m.rows)
		if got, err := r.store.Digest(s, id); err != nil || got != v {
			t.Fatalf("version %d restored as %+v %v, it was %+v", id, got, err, v)
		}
		// A restored store builds its next checkpoint on what it was restored from.
		r.apply(s, id, map[string]string{"zz": "after"})
		man2 := r.checkpoint(s, id+1)
		q := start(t, open, fs)
		q.must(q.store.Restore(q.ctx, s, id+1, []statestore.Manifest{man2}))
		want := maps.Clone(m.rows)
		want["zz"] = "after"
		q.equal("a checkpoint after a restore", q.rows(s, id+1), want)
	}
}

// testRecut: state cut into 4 partitions is restored into 3, and into 1.
func testRecut(t *testing.T, open Open) {
	fs := vfsx.NewMem()
	e := start(t, open, fs)
	shards := func(n int) []batch.Shard {
		out := make([]batch.Shard, n)
		for p := range out {
			lo, hi := batch.GroupsOf(p, n)
			out[p] = batch.Shard{Operator: "op", Partition: p, FirstGroup: lo, EndGroup: hi}
		}
		return out
	}
	rows := map[string]string{}
	for i := range 1000 {
		rows[string([]byte{byte(i), byte(i >> 8), 'k'})] = fmt.Sprint(i)
	}
	of := func(s batch.Shard) map[string]string {
		part := maps.Clone(rows)
		maps.DeleteFunc(part, func(k, _ string) bool { return int(k[0]) < s.FirstGroup || int(k[0]) >= s.EndGroup })
		return part
	}
	mans := []statestore.Manifest{{Shard: whole("another operator")}}
	for _, s := range shards(4) {
		e.apply(s, batch.None, of(s))
		mans = append(mans, e.checkpoint(s, 0))
	}
	for _, n := range []int{1, 3, 4, 7} {
		r := start(t, open, fs)
		var again []statestore.Manifest
		for _, s := range shards(n) {
			r.must(r.store.Restore(r.ctx, s, 0, mans))
			r.equal(fmt.Sprintf("partition %d of %d", s.Partition, n), r.rows(s, 0), of(s))
			r.apply(s, 0, map[string]string{string([]byte{byte(s.FirstGroup)}): "new"})
			again = append(again, r.checkpoint(s, 1))
		}
		q := start(t, open, fs)
		q.must(q.store.Restore(q.ctx, whole("op"), 1, again))
		if got := len(q.rows(whole("op"), 1)); got != 1000+n {
			t.Fatalf("cut into %d and back: %d rows", n, got)
		}
	}
	if err := e.store.Restore(e.ctx, whole("op"), 0, mans[:4]); err == nil {
		t.Fatal("a restore without the last partition's manifest worked")
	}
	if err := e.store.Restore(e.ctx, whole("op"), 0, append(mans, mans[2])); err == nil {
		t.Fatal("a restore with one partition given twice worked")
	}
}

// testCollect: T5, and files do go away.
func testCollect(t *testing.T, open Open) {
	fs := vfsx.NewMem()
	e := start(t, open, fs)
	s, m := whole("op"), newModel(5, 100)
	var live []statestore.Manifest
	files := 0
	for id := range batch.ID(200) {
		e.apply(s, id-1, m.batch())
		m.versions[id] = maps.Clone(m.rows)
		live = append(live, e.checkpoint(s, id))
		if len(live) > 2 {
			live = live[1:]
		}
		e.must(e.store.Collect(e.ctx, live))
		e.must(e.store.Prune(e.ctx, s, id))
		names, err := fs.List("state")
		e.must(err)
		files = max(files, len(names))
		if id%20 != 0 {
			continue
		}
		for _, man := range live {
			r := start(t, open, fs)
			r.must(r.store.Restore(r.ctx, s, man.Version, []statestore.Manifest{man}))
			r.equal("a live checkpoint after a collection", r.rows(s, man.Version), m.versions[man.Version])
		}
	}
	if files > 100 {
		t.Fatalf("%d files are kept for 2 checkpoints of 100 rows", files)
	}
	e.must(e.store.Collect(e.ctx, nil))
	r := start(t, open, fs)
	r.must(r.store.Restore(r.ctx, s, 199, live[1:]))

	// Checkpoints on their way to the log are not live yet and stay all the same,
	// however many came after them.
	old := live[1:]
	var onTheWay []statestore.Manifest
	for id := batch.ID(200); id < 300; id++ {
		e.apply(s, id-1, m.batch())
		onTheWay = append(onTheWay, e.checkpoint(s, id))
		e.must(e.store.Collect(e.ctx, old))
	}
	for _, man := range onTheWay {
		r := start(t, open, fs)
		r.must(r.store.Restore(r.ctx, s, man.Version, []statestore.Manifest{man}))
	}
}

// testCrash: whatever write fails and whenever the machine stops, a manifest
// that was handed out restores, and the store goes on after a failure (T4).
func testCrash(t *testing.T, open Open) {
	for n := int64(0); ; n++ {
		mem := vfsx.NewCrashableMem()
		var failed atomic.Bool
		inner := vfsx.FailOnce(n, vfsx.Writes)
		fs := vfsx.Wrap(mem, vfsx.InjectorFunc(func(op vfsx.Op) error {
			err := inner.MaybeError(op)
			if err != nil {
				failed.Store(true)
				return fmt.Errorf("%w: %w", err, syscall.EIO)
			}
			return nil
		}))
		if err := mem.MkdirAll("state", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := vfsx.SyncDir(mem, "/"); err != nil {
			t.Fatal(err)
		}
		crashLife(t, open, mem, fs, n)
		if !failed.Load() {
			if n < 10 {
				t.Fatalf("only %d writes to fail", n)
			}
			return
		}
	}
}

func crashLife(t *testing.T, open Open, mem *vfsx.MemFS, fs vfsx.FS, n int64) {
	e := start(t, open, fs)
	s, m := whole("op"), newModel(11, 20)
	rng := rand.New(rand.NewPCG(uint64(n), 2))
	for id := range batch.ID(6) {
		e.apply(s, id-1, m.batch())
		man, err := e.store.Checkpoint(e.ctx, s, id)
		if err != nil {
			continue // the next one works again
		}
		if err := e.store.Collect(e.ctx, []statestore.Manifest{man}); err != nil {
			continue
		}
		crashed := mem.CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		r := start(t, open, crashed)
		r.must(r.store.Restore(r.ctx, s, id, []statestore.Manifest{man}))
		r.equal(fmt.Sprintf("write %d failed, version %d after a crash", n, id), r.rows(s, id), m.rows)
	}
}

// testDamage: no changed bit and no cut goes unnoticed, and nothing panics (E6).
func testDamage(t *testing.T, open Open, lazy bool) {
	fs := vfsx.NewMem()
	e := start(t, open, fs)
	s := whole("op")
	e.apply(s, batch.None, map[string]string{"a": "1", "b": "22", "c": "333"})
	e.checkpoint(s, 0)
	e.apply(s, 0, map[string]string{"b": "", "d": "4"})
	man := e.checkpoint(s, 1)
	want := map[string]string{"a": "1", "c": "333", "d": "4"}
	for _, p := range man.Parts {
		path := fs.PathJoin("state", p.Name)
		good, err := vfsx.ReadFile(fs, path, 1<<20)
		e.must(err)
		try := func(what string, bytes []byte) {
			t.Helper()
			e.must(vfsx.WriteFileAtomic(fs, path, bytes))
			r := start(t, open, fs)
			if err := r.store.Restore(r.ctx, s, 1, []statestore.Manifest{man}); err == nil && (!lazy || len(bytes) != len(good)) {
				t.Errorf("%s: %s was restored", p.Name, what)
			} else if err == nil {
				r.damaged(p.Name, what, s, want)
			}
			e.must(r.store.Close())
		}
		for i := range good {
			bad := slices.Clone(good)
			bad[i] ^= 1 << (i % 8)
			try(fmt.Sprintf("bit in byte %d", i), bad)
			try(fmt.Sprintf("cut at %d", i), good[:i])
		}
		try("a byte more", append(slices.Clone(good), 0))
		e.must(fs.Remove(path))
		r := start(t, open, fs)
		if err := r.store.Restore(r.ctx, s, 1, []statestore.Manifest{man}); err == nil {
			t.Errorf("%s is missing and was restored", p.Name)
		}
		e.must(vfsx.WriteFileAtomic(fs, path, good))
	}
	swapped := man
	swapped.Parts = slices.Clone(man.Parts)
	slices.Reverse(swapped.Parts)
	bad := []statestore.Manifest{swapped, {Shard: s, Version: 1, State: man.State, Groups: man.Groups}}
	if !lazy { // else it is for the log, whose records have checksums, to name all parts
		bad = append(bad, statestore.Manifest{Shard: s, Version: 1, Parts: man.Parts[:1], State: man.State, Groups: man.Groups})
	}
	for _, m := range bad {
		if len(man.Parts) > 1 {
			if err := e.store.Restore(e.ctx, s, 1, []statestore.Manifest{m}); err == nil {
				t.Errorf("a manifest with parts %v was restored", m.Parts)
			}
		}
	}
	e.must(e.store.Restore(e.ctx, s, 1, []statestore.Manifest{man}))
	e.equal("the undamaged files", e.rows(s, 1), want)
}

// damaged reads everything from a store that was restored from a damaged file: in
// both ways it must get an error that names the file, or the rows that there were.
func (e *env) damaged(name, what string, s batch.Shard, want map[string]string) {
	e.t.Helper()
	check := func(got map[string]string, err error) {
		e.t.Helper()
		if err != nil && !strings.Contains(err.Error(), name) {
			e.t.Errorf("%s: %s: the error does not name the file: %v", name, what, err)
		}
		if err == nil && !maps.Equal(got, want) {
			e.t.Errorf("%s: %s gives the rows %v", name, what, got)
		}
	}
	x, err := e.store.Begin(e.ctx, s, 1)
	if err != nil {
		check(nil, err)
		return
	}
	defer x.Discard()
	got := map[string]string{}
	err = x.Scan(nil, nil, func(k, v []byte) (bool, error) { got[string(k)] = string(v); return true, nil })
	check(got, err)
	got = map[string]string{}
	keys := [][]byte{[]byte("a"), []byte("b"), []byte("c"), []byte("d")}
	err = x.Get(keys, func(i int, v []byte) error { got[string(keys[i])] = string(v); return nil })
	check(got, err)
}
