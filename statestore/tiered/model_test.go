package tiered

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/seeds"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
	"github.com/sluice-stream/sluice/statestore/mem"
)

// life is a random life of an operator's state, of which every version is known.
type life struct {
	t      *testing.T
	r      *rand.Rand
	fs     vfsx.FS
	store  *Store
	other  *mem.Store // whose digests ours must be
	parts  int
	id     batch.ID
	rows   map[string]string
	kept   map[batch.ID]map[string]string
	saved  map[batch.ID][]statestore.Manifest
	total  Counts
	opened int

	disk    *vfsx.MemFS
	power   *power
	crashes int
}

// power is a disk's: at some write it copies what would be there after a power loss.
type power struct {
	disk  *vfsx.MemFS
	until atomic.Int64 // writes until then
	seed  uint64
	after atomic.Pointer[vfsx.MemFS]
}

func (p *power) MaybeError(op vfsx.Op) error {
	if vfsx.Writes.Evaluate(op) && p.until.Add(-1) == 0 {
		r := rand.New(rand.NewPCG(p.seed, 5))
		p.after.Store(p.disk.CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r}))
	}
	return nil
}

func (p *power) String() string { return "(power loss)" }

// plug puts a disk under the state that loses power at some time.
func (l *life) plug(disk *vfsx.MemFS) {
	l.disk, l.power = disk, &power{disk: disk, seed: l.r.Uint64()}
	l.power.until.Store(1 + int64(l.r.IntN(400)))
	l.fs = vfsx.Wrap(disk, l.power)
}

// crash goes on from what was on the disk when the power went, if it did in a step
// before which saved was durable. It must hold every checkpoint that was made before and
// was not given up since.
func (l *life) crash(saved []batch.ID) {
	after := l.power.after.Load()
	if after == nil {
		return
	}
	saved = slices.DeleteFunc(saved, func(id batch.ID) bool { return l.saved[id] == nil })
	if len(saved) == 0 { // nothing is promised
		l.power.after.Store(nil)
		l.power.until.Store(1 + int64(l.r.IntN(400)))
		return
	}
	l.crashes++
	l.plug(after)
	l.open()
	maps.DeleteFunc(l.saved, func(id batch.ID, _ []statestore.Manifest) bool { return !slices.Contains(saved, id) })
	for _, id := range saved {
		l.read(l.saved[id], l.kept[id])
	}
	l.restoreTo(saved[l.r.IntN(len(saved))])
}

func (l *life) open() {
	if l.store != nil {
		l.add()
		if err := l.store.Close(); err != nil {
			l.t.Fatal(err)
		}
	}
	pool := NewPool(PoolOptions{HotBytesMax: 10_000 + int64(l.r.IntN(100_000)), CacheBytes: 1 << 20})
	l.t.Cleanup(pool.Close)
	l.store = open(l.t, Options{FS: l.fs, Dir: "state", Pool: pool, FileBytes: 1000 + int64(l.r.IntN(10_000)), LoadBytesMax: int64(1 + l.r.IntN(2)*25_000)})
	l.store.step = int64(500 + l.r.IntN(25_000))
	l.opened++
}

func (l *life) add() {
	c := l.store.Counts()
	l.total.Spills += c.Spills
	l.total.Evictions += c.Evictions
	l.total.Merges += c.Merges
}

func (l *life) shards() []batch.Shard {
	out := make([]batch.Shard, l.parts)
	for p := range out {
		lo, hi := batch.GroupsOf(p, l.parts)
		out[p] = batch.Shard{Operator: "op", Partition: p, FirstGroup: lo, EndGroup: hi}
	}
	return out
}

func (l *life) key() string {
	n := l.r.IntN(2000)
	return string([]byte{byte(n * 37), byte(n >> 8), byte(n)}) + fmt.Sprintf("/%d", n)
}

// change is one batch on one shard, by puts and deletes with and without a look
// before, and with scans in between.
func (l *life) change(s batch.Shard, x statestore.Txn, rows map[string]string) {
	must := func(err error) {
		l.t.Helper()
		if err != nil {
			l.t.Fatal(err)
		}
	}
	n := l.r.IntN(200)
	if l.r.IntN(8) == 0 {
		n *= 10
	}
	if l.r.IntN(6) == 0 {
		l.get(s, x, rows, 1)
	}
	for range n {
		k := l.key()
		if int(k[0]) < s.FirstGroup || int(k[0]) >= s.EndGroup {
			continue
		}
		if l.r.IntN(2) == 0 {
			found := false
			must(x.Get([][]byte{[]byte(k)}, func(_ int, v []byte) error {
				found = true
				if string(v) != rows[k] {
					l.t.Fatalf("%q is %q, want %q", k, v, rows[k])
				}
				return nil
			}))
			if _, ok := rows[k]; ok != found {
				l.t.Fatalf("%q is found: %v, want %v", k, found, ok)
			}
		}
		if l.r.IntN(4) == 0 {
			must(x.Delete([]byte(k)))
			delete(rows, k)
		} else {
			v := fmt.Sprintf("%0*d", l.r.IntN(60), l.r.IntN(50))
			must(x.Put([]byte(k), []byte(v)))
			rows[k] = v
		}
	}
	if l.r.IntN(4) == 0 {
		l.scan(s, x, rows)
	}
}

// get asks for many keys at once, sorted or not, some twice, and for others while it
// visits what it got.
func (l *life) get(s batch.Shard, x statestore.Txn, rows map[string]string, depth int) {
	l.t.Helper()
	n := 1 + l.r.IntN(300)
	if l.r.IntN(12) == 0 {
		n = 2 * windowKeys
	}
	var keys [][]byte
	for range n {
		if k := l.key(); int(k[0]) >= s.FirstGroup && int(k[0]) < s.EndGroup {
			keys = append(keys, []byte(k))
		}
	}
	if l.r.IntN(3) > 0 {
		slices.SortFunc(keys, slices.Compare)
	}
	got := map[int]string{}
	last := -1
	if err := x.Get(keys, func(i int, v []byte) error {
		if i <= last {
			l.t.Fatalf("key %d is visited after %d", i, last)
		}
		last, got[i] = i, string(v)
		if depth > 0 && l.r.IntN(200) == 0 {
			l.get(s, x, rows, depth-1)
			if got[i] != string(v) {
				l.t.Fatalf("the value of key %d has changed while it was visited", i)
			}
		}
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	for i, k := range keys {
		want, there := rows[string(k)]
		if v, ok := got[i]; ok != there || v != want {
			l.t.Fatalf("key %d %q is %q %v, want %q %v", i, k, v, ok, want, there)
		}
	}
}

func (l *life) scan(s batch.Shard, x statestore.Txn, rows map[string]string) {
	l.t.Helper()
	start, end := l.key(), l.key()
	if l.r.IntN(3) == 0 {
		start, end = "", "\xff\xff"
	}
	stop := -1
	if l.r.IntN(4) == 0 {
		stop = l.r.IntN(50)
	}
	var want []string
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		if int(k[0]) >= s.FirstGroup && int(k[0]) < s.EndGroup && k >= start && k < end && (stop < 0 || len(want) < stop+1) {
			want = append(want, k)
		}
	}
	var got []string
	if err := x.Scan([]byte(start), []byte(end), func(k, v []byte) (bool, error) {
		if rows[string(k)] != string(v) {
			l.t.Fatalf("scan: %q is %q, want %q", k, v, rows[string(k)])
		}
		got = append(got, string(k))
		return len(got) != stop+1, nil
	}); err != nil {
		l.t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		l.t.Fatalf("version %d: scan of %q to %q has %d rows, want %d", l.id, start, end, len(got), len(want))
	}
}

// batch takes all shards to the next version.
func (l *life) batch() {
	next := maps.Clone(l.rows)
	for _, s := range l.shards() {
		if l.r.IntN(5) == 0 { // an attempt that fails
			x, err := l.store.Begin(l.t.Context(), s, l.id)
			if err != nil {
				l.t.Fatal(err)
			}
			l.change(s, x, maps.Clone(l.rows))
			x.Discard()
		}
		x, err := l.store.Begin(l.t.Context(), s, l.id)
		if err != nil {
			l.t.Fatal(err)
		}
		l.change(s, x, next)
		v, err := x.Seal(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		if want := l.digest(s, next); v != want {
			l.t.Fatalf("version %d of %v is %+v, want %+v", l.id+1, s, v, want)
		}
	}
	l.id++
	l.rows = next
	l.kept[l.id] = next
}

// digest is what a store in memory says about rows.
func (l *life) digest(s batch.Shard, rows map[string]string) statestore.Version {
	x, err := l.other.Begin(l.t.Context(), s, batch.None)
	if err != nil {
		l.t.Fatal(err)
	}
	defer x.Discard()
	for k, v := range rows {
		if int(k[0]) >= s.FirstGroup && int(k[0]) < s.EndGroup {
			if err := x.Put([]byte(k), []byte(v)); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	v, err := x.Seal(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return v
}

func (l *life) checkpoint() {
	var list []statestore.Manifest
	id := l.id
	if _, ok := l.kept[id-1]; ok && l.r.IntN(3) == 0 && l.saved[id-1] == nil && l.saved[id] == nil {
		id-- // while the next one is there already
	}
	for _, s := range l.shards() {
		m, err := l.store.Checkpoint(l.t.Context(), s, id)
		if err != nil {
			l.t.Fatal(err)
		}
		list = append(list, m)
	}
	l.saved[id] = list
	for old := range l.saved {
		if old < id-6 {
			delete(l.saved, old)
			delete(l.kept, old)
		}
	}
	var live []statestore.Manifest
	for _, ms := range l.saved {
		live = append(live, ms...)
	}
	if err := l.store.Collect(l.t.Context(), live); err != nil {
		l.t.Fatal(err)
	}
	l.read(list, l.kept[id])
}

// read compares what a checkpoint holds without a store.
func (l *life) read(list []statestore.Manifest, want map[string]string) {
	l.t.Helper()
	dir := checkpoint.View(l.fs, "state")
	n := 0
	for _, m := range list {
		if _, err := m.Groups.Unpack(m.Shard, m.State); err != nil {
			l.t.Fatal(err)
		}
		r, err := dir.NewReader(l.t.Context(), m, nil)
		if err != nil {
			l.t.Fatal(err)
		}
		if err := r.Scan(nil, nil, func(k, v []byte) (bool, error) {
			if w, ok := want[string(k)]; !ok || w != string(v) {
				l.t.Fatalf("checkpoint of version %d: %q is %q, want %q", m.Version, k, v, w)
			}
			n++
			return true, nil
		}); err != nil {
			l.t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			l.t.Fatal(err)
		}
	}
	if n != len(want) {
		l.t.Fatalf("a checkpoint has %d rows, want %d", n, len(want))
	}
}

// leftovers checks that nothing lies in the folder but what live checkpoints name,
// and what is newer than they are.
func (l *life) leftovers() {
	l.t.Helper()
	if len(l.saved) == 0 {
		return
	}
	var live []statestore.Manifest
	named := map[string]bool{}
	newest := batch.None
	for id, ms := range l.saved {
		live, newest = append(live, ms...), max(newest, id)
		for _, m := range ms {
			for _, p := range m.Parts {
				named[p.Name] = true
			}
		}
	}
	if err := checkpoint.View(l.fs, "state").Collect(l.t.Context(), live, nil); err != nil {
		l.t.Fatal(err)
	}
	names, err := l.fs.List("state")
	if err != nil {
		l.t.Fatal(err)
	}
	there := map[string]bool{}
	for _, n := range names {
		there[n] = true
		var version batch.ID
		if _, err := fmt.Sscanf(strings.Split(n, ".")[2], "v%d", &version); err != nil {
			l.t.Fatal(err)
		}
		if !named[n] && version <= newest {
			l.t.Errorf("%s is left over", n)
		}
	}
	for n := range named {
		if !there[n] {
			l.t.Errorf("%s is gone", n)
		}
	}
	if len(names) > len(named) {
		l.t.Logf("%d files are newer than the newest checkpoint", len(names)-len(named))
	}
}

// restore starts anew from a checkpoint, often cut in another way.
func (l *life) restore() {
	ids := slices.Sorted(maps.Keys(l.saved))
	if len(ids) == 0 {
		return
	}
	id := ids[l.r.IntN(len(ids))]
	if l.r.IntN(3) > 0 {
		l.open()
	}
	l.restoreTo(id)
}

// restoreTo makes the version of a checkpoint the newest.
func (l *life) restoreTo(id batch.ID) {
	l.t.Helper()
	if l.r.IntN(2) == 0 {
		l.parts = 1 + l.r.IntN(5)
	}
	for _, s := range l.shards() {
		if err := l.store.Restore(l.t.Context(), s, id, l.saved[id]); err != nil {
			l.t.Fatal(err)
		}
		if v, err := l.store.Digest(s, id); err != nil || v != l.digest(s, l.kept[id]) {
			l.t.Fatalf("version %d of %v is restored as %+v %v", id, s, v, err)
		}
	}
	l.id, l.rows = id, l.kept[id]
	for old := range l.kept {
		if old > id || l.saved[old] == nil {
			delete(l.kept, old)
		}
	}
	for old := range l.saved {
		if old > id {
			delete(l.saved, old)
		}
	}
	l.kept[id] = l.rows
}

// TestLives: batches, failed attempts, checkpoints, collections, restores into
// other cuts and prunes at random, while rows are pushed out and runs are merged,
// against plain maps and the digests of package mem. The power fails now and then.
func TestLives(t *testing.T) {
	var total Counts
	crashes := 0
	for seed := range seeds.Of(t, 5) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			other, err := mem.Open(mem.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			l := &life{t: t, r: rand.New(rand.NewPCG(seed, 9)), other: other, parts: 2, id: batch.None,
				rows: map[string]string{}, kept: map[batch.ID]map[string]string{}, saved: map[batch.ID][]statestore.Manifest{}}
			l.plug(vfsx.NewCrashableMem())
			l.open()
			for range 72 {
				saved := slices.Sorted(maps.Keys(l.saved))
				switch l.r.IntN(12) {
				case 0, 1:
					if l.id >= 0 {
						l.checkpoint()
					}
				case 2:
					if l.r.IntN(3) == 0 {
						l.restore()
					}
				case 3:
					for _, s := range l.shards() {
						if err := l.store.Prune(t.Context(), s, l.id-1); err != nil {
							t.Fatal(err)
						}
					}
				default:
					l.batch()
				}
				l.crash(saved)
			}
			l.add()
			crashes += l.crashes
			if err := l.store.Close(); err != nil {
				t.Fatal(err)
			}
			l.leftovers()
			if hot := l.store.pool.Hot(); hot != 0 {
				t.Errorf("%d bytes are counted after the end", hot)
			}
			total.Spills += l.total.Spills
			total.Evictions += l.total.Evictions
			total.Merges += l.total.Merges
		})
	}
	if seeds.Usual() && (total.Spills < 10 || total.Evictions < 10 || total.Merges < 10 || crashes < 5) {
		t.Errorf("the lives were too easy: %+v, %d power losses", total, crashes)
	}
	t.Logf("%+v, %d power losses", total, crashes)
}
