package storetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

// Open makes a store whose checkpoints lie in dir of fs.
type Open func(t *testing.T, fs vfsx.FS, dir string) statestore.Store

// Run runs the whole suite for a store that reads all of a checkpoint when it
// restores it.
func Run(t *testing.T, open Open) { run(t, open, false) }

// RunLazy runs the suite for a store that reads a row when it is wanted: damage
// inside a file may be noticed only then.
func RunLazy(t *testing.T, open Open) { run(t, open, true) }

func run(t *testing.T, open Open, lazy bool) {
	t.Run("versions", func(t *testing.T) { testVersions(t, open) })
	t.Run("digest", func(t *testing.T) { testDigest(t, open) })
	t.Run("borders", func(t *testing.T) { testBorders(t, open) })
	t.Run("model", func(t *testing.T) { testModel(t, open) })
	t.Run("checkpoint", func(t *testing.T) { testCheckpoint(t, open) })
	t.Run("recut", func(t *testing.T) { testRecut(t, open) })
	t.Run("collect", func(t *testing.T) { testCollect(t, open) })
	t.Run("kept", func(t *testing.T) { testKept(t, open) })
	t.Run("crash", func(t *testing.T) { testCrash(t, open) })
	t.Run("damage", func(t *testing.T) { testDamage(t, open, lazy) })
}

// whole is a shard that owns every key group.
func whole(op string) batch.Shard {
	return batch.Shard{Operator: op, FirstGroup: 0, EndGroup: batch.KeyGroups}
}

type env struct {
	t     *testing.T
	ctx   context.Context
	store statestore.Store
}

func start(t *testing.T, open Open, fs vfsx.FS) *env {
	t.Helper()
	s := open(t, fs, "state")
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &env{t: t, ctx: t.Context(), store: s}
}

func (e *env) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) begin(s batch.Shard, base batch.ID) statestore.Txn {
	e.t.Helper()
	x, err := e.store.Begin(e.ctx, s, base)
	e.must(err)
	return x
}

// apply seals version base+1 with the changes; an empty value deletes.
func (e *env) apply(s batch.Shard, base batch.ID, changes map[string]string) statestore.Version {
	e.t.Helper()
	x := e.begin(s, base)
	for _, k := range slices.Sorted(maps.Keys(changes)) {
		if v := changes[k]; v == "" {
			e.must(x.Delete([]byte(k)))
		} else {
			e.must(x.Put([]byte(k), []byte(v)))
		}
	}
	v, err := x.Seal(e.ctx)
	e.must(err)
	return v
}

// rows reads a sealed version.
func (e *env) rows(s batch.Shard, version batch.ID) map[string]string {
	e.t.Helper()
	x := e.begin(s, version)
	defer x.Discard()
	return e.scan(x, nil, nil)
}

func (e *env) scan(x statestore.Txn, start, end []byte) map[string]string {
	e.t.Helper()
	got := map[string]string{}
	var last []byte
	e.must(x.Scan(start, end, func(k, v []byte) (bool, error) {
		if last != nil && bytes.Compare(last, k) >= 0 {
			e.t.Errorf("scan: %x comes after %x", k, last)
		}
		last = bytes.Clone(k)
		got[string(k)] = string(v)
		return true, nil
	}))
	return got
}

func (e *env) equal(what string, got, want map[string]string) {
	e.t.Helper()
	if !maps.Equal(got, want) {
		e.t.Fatalf("%s: %d rows %.200v, want %d rows %.200v", what, len(got), fmt.Sprint(got), len(want), fmt.Sprint(want))
	}
}

// testVersions: T1 and T2.
func testVersions(t *testing.T, open Open) {
	e := start(t, open, vfsx.NewMem())
	s := whole("op")
	e.apply(s, batch.None, map[string]string{"a": "1", "b": "2"})
	x := e.begin(s, 0)
	e.must(x.Put([]byte("a"), []byte("changed")))
	e.must(x.Delete([]byte("b")))
	e.equal("a scan sees the transaction's own changes", e.scan(x, nil, nil), map[string]string{"a": "changed"})
	x.Discard()
	x.Discard()
	e.equal("after a discard", e.rows(s, 0), map[string]string{"a": "1", "b": "2"})
	e.apply(s, 0, map[string]string{"b": "", "c": "3"})
	e.equal("version 0 after version 1", e.rows(s, 0), map[string]string{"a": "1", "b": "2"})
	e.equal("version 1", e.rows(s, 1), map[string]string{"a": "1", "c": "3"})
	e.apply(s, 1, map[string]string{"d": "4"})

	e.apply(s, 0, map[string]string{"x": "9"}) // another version 1, from the older base
	e.equal("version 1 replaced", e.rows(s, 1), map[string]string{"a": "1", "b": "2", "x": "9"})
	if _, err := e.store.Begin(e.ctx, s, 2); err == nil {
		t.Fatal("version 2 of the replaced version 1 is still there")
	}
	e.apply(s, 1, nil)
	e.must(e.store.Prune(e.ctx, s, 1))
	if _, err := e.store.Begin(e.ctx, s, 0); err == nil {
		t.Fatal("version 0 was pruned and can be begun from")
	}
	e.must(e.store.Prune(e.ctx, s, 100))
	e.equal("the newest survives a prune beyond it", e.rows(s, 2), map[string]string{"a": "1", "b": "2", "x": "9"})
	if _, err := e.store.Begin(e.ctx, s, 7); err == nil {
		t.Fatal("a version that never was can be begun from")
	}
}

// testDigest: T3.
func testDigest(t *testing.T, open Open) {
	e := start(t, open, vfsx.NewMem())
	a, b, c := whole("a"), whole("b"), whole("c")
	va := e.apply(a, batch.None, map[string]string{"k1": "v1", "k2": "v2"})
	e.apply(b, batch.None, map[string]string{"k2": "old", "k3": "v3"})
	vb := e.apply(b, 0, map[string]string{"k3": "", "k2": "v2", "k1": "v1"})
	if va != vb {
		t.Fatalf("equal contents, made differently: %+v and %+v", va, vb)
	}
	if va.Rows != 2 || va.Bytes != 8 {
		t.Fatalf("2 rows of 8 bytes are counted as %+v", va)
	}
	vc := e.apply(c, batch.None, map[string]string{"k": "1v1", "k2": "v2"})
	if vc.Digest == va.Digest {
		t.Fatal("the border between key and value is not part of the digest")
	}
	if got, err := e.store.Digest(b, 1); err != nil || got != vb {
		t.Fatalf("Digest says %+v %v, Seal said %+v", got, err, vb)
	}
	empty := e.apply(b, 1, map[string]string{"k1": "", "k2": ""})
	if empty != (statestore.Version{}) {
		t.Fatalf("the state without rows is %+v", empty)
	}
	x := e.begin(a, 0)
	e.must(x.Put([]byte("k1"), []byte("v1")))
	again, err := x.Seal(e.ctx)
	if err != nil || again != va {
		t.Fatalf("writing what is there changes %+v to %+v (%v)", va, again, err)
	}
}

// testBorders: keys of other groups, empty keys, use after the end.
func testBorders(t *testing.T, open Open) {
	e := start(t, open, vfsx.NewMem())
	s := batch.Shard{Operator: "op", Partition: 1, FirstGroup: 64, EndGroup: 128}
	x := e.begin(s, batch.None)
	for _, k := range []string{"", "\x3f", "\x80"} {
		if x.Put([]byte(k), []byte("v")) == nil {
			t.Errorf("key %x of another group was taken", k)
		}
	}
	e.must(x.Put([]byte{64}, nil))
	e.must(x.Put([]byte{127, 0xff}, bytes.Repeat([]byte("v"), 1<<20)))
	found := 0
	e.must(x.Get([][]byte{{65}, {64}, {127, 0xff}}, func(i int, v []byte) error {
		if want := []int{0, 0, 1 << 20}[i]; len(v) != want || i == 0 {
			t.Errorf("key %d has a value of %d bytes", i, len(v))
		}
		found++
		return nil
	}))
	if found != 2 {
		t.Errorf("%d keys found", found)
	}
	err := x.Scan(nil, nil, func(k, _ []byte) (bool, error) {
		if x.Put([]byte{70}, []byte("v")) == nil {
			t.Error("a change during a scan was taken")
		}
		return false, nil
	})
	e.must(err)
	if _, err := x.Seal(e.ctx); err != nil {
		t.Fatal(err)
	}
	if x.Put([]byte{64}, []byte("v")) == nil {
		t.Error("a sealed transaction can be changed")
	}
	e.must(e.store.Restore(e.ctx, s, batch.None, nil))
	x = e.begin(s, batch.None)
	defer x.Discard()
	e.equal("after a restore of the empty state", e.scan(x, nil, nil), nil)
}

// model is a second implementation: plain maps.
type model struct {
	rng      *rand.Rand
	rows     map[string]string
	versions map[batch.ID]map[string]string
	keys     int
}

func newModel(seed uint64, keys int) *model {
	return &model{rng: rand.New(rand.NewPCG(seed, 1)), rows: map[string]string{}, versions: map[batch.ID]map[string]string{}, keys: keys}
}

func (m *model) key() string {
	n := m.rng.IntN(m.keys)
	return string([]byte{byte(n * 37), byte(n >> 8), byte(n)})
}

// batch makes random changes in the model and returns them.
func (m *model) batch() map[string]string {
	changes := map[string]string{}
	for range m.rng.IntN(m.keys) {
		k := m.key()
		if m.rng.IntN(3) == 0 {
			changes[k] = ""
			delete(m.rows, k)
		} else {
			v := fmt.Sprint(m.rng.IntN(50))
			changes[k], m.rows[k] = v, v
		}
	}
	return changes
}

// testModel: random batches, scans of ranges and reads against the model.
func testModel(t *testing.T, open Open) {
	e := start(t, open, vfsx.NewMem())
	s, m := whole("op"), newModel(7, 300)
	for id := range batch.ID(60) {
		e.apply(s, id-1, m.batch())
		m.versions[id] = maps.Clone(m.rows)
		e.equal(fmt.Sprintf("version %d", id), e.rows(s, id), m.rows)
		lo, hi := m.key(), m.key()
		if lo > hi {
			lo, hi = hi, lo
		}
		want := maps.Clone(m.rows)
		maps.DeleteFunc(want, func(k, _ string) bool { return k < lo || k >= hi })
		x := e.begin(s, id)
		e.equal("a range", e.scan(x, []byte(lo), []byte(hi)), want)
		x.Discard()
		if id > 2 {
			e.equal("an older version", e.rows(s, id-2), m.versions[id-2])
			e.must(e.store.Prune(e.ctx, s, id-2))
		}
	}
}
