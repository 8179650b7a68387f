package tiered

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/seeds"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

// runDamages are what happens to a file of state (T6).
var runDamages = []struct {
	name string
	do   func(r *rand.Rand, b []byte, other, older []byte) []byte // nil: the file is gone
}{
	{"empty", func(*rand.Rand, []byte, []byte, []byte) []byte { return []byte{} }},
	{"half", func(_ *rand.Rand, b, _, _ []byte) []byte { return b[:len(b)/2] }},
	{"one byte short", func(_ *rand.Rand, b, _, _ []byte) []byte { return b[:len(b)-1] }},
	{"flip in the head", func(r *rand.Rand, b, _, _ []byte) []byte { b[r.IntN(min(64, len(b)))] ^= 1 << r.IntN(8); return b }},
	{"flip in the body", func(r *rand.Rand, b, _, _ []byte) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b }},
	{"flip in the tail", func(r *rand.Rand, b, _, _ []byte) []byte { // filter, indexes, footer and the file's own tail
		b[len(b)-1-r.IntN(min(900, len(b)))] ^= 1 << r.IntN(8)
		return b
	}},
	{"zeroed page", func(r *rand.Rand, b, _, _ []byte) []byte {
		from := r.IntN(len(b)) &^ 511
		clear(b[from:min(from+512, len(b))])
		return b
	}},
	{"older version", func(_ *rand.Rand, _, _, older []byte) []byte { return older }},
	{"another's bytes", func(_ *rand.Rand, _, other, _ []byte) []byte { return other }},
	{"missing", func(*rand.Rand, []byte, []byte, []byte) []byte { return nil }},
	{"extra tail", func(_ *rand.Rand, b, _, _ []byte) []byte { return append(b, "and more\x00\x01"...) }},
}

func readAll(t *testing.T, fs vfsx.FS, name string) []byte {
	t.Helper()
	b, err := vfsx.ReadFile(fs, name, 1<<24)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func overwrite(t *testing.T, fs vfsx.FS, name string, b []byte) {
	t.Helper()
	err := fs.Remove(name)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if b != nil && err == nil {
		var f vfsx.File
		if f, err = fs.Create(name, vfsx.Unspecified); err == nil {
			_, err = io.Copy(f, bytes.NewReader(b))
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// damaged is state in many small files, under some of which older rows lie.
type damaged struct {
	fs     vfsx.FS
	shards []batch.Shard
	ms     []statestore.Manifest
	rows   map[string]string
	id     batch.ID
	parts  []string
}

// newDamaged writes a state whose files are small: of several ages over each other, with
// deleted rows, some merged and some not.
func newDamaged(t *testing.T, r *rand.Rand) *damaged {
	t.Helper()
	d := &damaged{fs: vfsx.NewMem(), shards: shardsOf("op", 2), rows: map[string]string{}, id: batch.None}
	pool := NewPool(PoolOptions{HotBytesMax: 20_000, CacheBytes: 1 << 20})
	defer pool.Close()
	s := open(t, Options{FS: d.fs, Dir: "state", Pool: pool, FileBytes: 3000, LoadBytesMax: 1})
	s.step = 3000
	for range 8 {
		d.ms = nil
		for _, shard := range d.shards {
			x, err := s.Begin(t.Context(), shard, d.id)
			if err != nil {
				t.Fatal(err)
			}
			for range 150 {
				n := r.IntN(500)
				key := string([]byte{byte(n * 37)}) + fmt.Sprintf("key %d", n)
				if int(key[0]) < shard.FirstGroup || int(key[0]) >= shard.EndGroup {
					continue
				}
				if r.IntN(4) == 0 {
					err = x.Delete([]byte(key))
					delete(d.rows, key)
				} else {
					d.rows[key] = fmt.Sprintf("%d in %d %s", n, d.id, strings.Repeat("x", r.IntN(60)))
					err = x.Put([]byte(key), []byte(d.rows[key]))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if _, err = x.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
			m, err := s.Checkpoint(t.Context(), shard, d.id+1)
			if err != nil {
				t.Fatal(err)
			}
			d.ms = append(d.ms, m)
		}
		d.id++
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, m := range d.ms {
		for _, p := range m.Parts {
			d.parts = append(d.parts, d.fs.PathJoin("state", p.Name))
		}
	}
	return d
}

// read restores the state, reads every row in both ways, and writes a batch over it.
func (d *damaged) read(t *testing.T, load int64) error {
	pool := NewPool(PoolOptions{HotBytesMax: 20_000, CacheBytes: 1 << 20})
	defer pool.Close()
	s, err := Open(Options{FS: d.fs, Dir: "state", Pool: pool, FileBytes: 3000, LoadBytesMax: load})
	if err != nil {
		return err
	}
	s.step = 3000
	got := map[string]string{}
	for _, shard := range d.shards {
		if err == nil {
			err = d.readShard(t, s, shard, got)
		}
	}
	if err == nil && !maps.Equal(got, d.rows) {
		t.Errorf("%d rows are read, and there are %d others or fewer: a wrong answer", len(got), len(d.rows))
	}
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	return err
}

func (d *damaged) readShard(t *testing.T, s *Store, shard batch.Shard, got map[string]string) error {
	if err := s.Restore(t.Context(), shard, d.id, d.ms); err != nil {
		return err
	}
	x, err := s.Begin(t.Context(), shard, d.id)
	if err != nil {
		return err
	}
	defer x.Discard()
	var keys [][]byte
	for n := range 500 {
		if key := string([]byte{byte(n * 37)}) + fmt.Sprintf("key %d", n); int(key[0]) >= shard.FirstGroup && int(key[0]) < shard.EndGroup {
			keys = append(keys, []byte(key))
		}
	}
	found := 0
	err = x.Get(keys, func(i int, value []byte) error {
		want, is := d.rows[string(keys[i])]
		if is != (value != nil) || want != string(value) {
			t.Errorf("key %q is %q, want %q: a wrong answer", keys[i], value, want)
		}
		if value != nil {
			found++
		}
		return nil
	})
	if err != nil {
		return err
	}
	n := 0
	if err := x.Scan(nil, nil, func(key, value []byte) (bool, error) {
		got[string(key)] = string(value)
		n++
		return true, nil
	}); err != nil {
		return err
	}
	if n != found {
		t.Errorf("%d rows are found and %d scanned: a wrong answer", found, n)
	}
	for _, k := range keys { // a batch that changes all, and a checkpoint that merges
		if err := x.Put(k, []byte("new")); err != nil {
			return err
		}
	}
	if _, err := x.Seal(t.Context()); err != nil {
		return err
	}
	_, err = s.Checkpoint(t.Context(), shard, d.id+1)
	return err
}

// TestDamagedRuns damages files of a state that is in many small ones, each in every
// way, and reads it, loaded or as rows are wanted: it is right, or it is refused with
// the file's name; and right again when the file is put back.
func TestDamagedRuns(t *testing.T) {
	refused, cells, files := 0, 0, 0
	for seed := range seeds.Of(t, 1) {
		r := rand.New(rand.NewPCG(seed, 12))
		d := newDamaged(t, r)
		older := newDamaged(t, rand.New(rand.NewPCG(seed, 13)))
		files += len(d.parts)
		if err := d.read(t, 1); err != nil {
			t.Fatalf("seed %d: whole files: %v", seed, err)
		}
		victims := 3
		if testing.Short() {
			victims = 1
		}
		for range victims {
			at := r.IntN(len(d.parts))
			victim := d.parts[at]
			whole, other := readAll(t, d.fs, victim), readAll(t, d.fs, d.parts[(at+1)%len(d.parts)])
			old := readAll(t, older.fs, older.parts[min(at, len(older.parts)-1)])
			for _, dmg := range runDamages {
				bad := dmg.do(r, bytes.Clone(whole), other, old)
				overwrite(t, d.fs, victim, bad)
				for _, load := range []int64{1, 1 << 30} {
					cells++
					err := d.read(t, load)
					if err != nil {
						if refused++; !strings.Contains(err.Error(), d.fs.PathBase(victim)) {
							t.Errorf("seed %d, %s, %s, loading up to %d: refused without a name: %v", seed, victim, dmg.name, load, err)
						}
					} else if bad == nil || len(bad) != len(whole) {
						t.Errorf("seed %d, %s, %s, loading up to %d: it is not noticed", seed, victim, dmg.name, load)
					}
				}
				overwrite(t, d.fs, victim, whole)
			}
			if err := d.read(t, 1<<30); err != nil {
				t.Errorf("seed %d: the file is back in its place, and it is refused: %v", seed, err)
			}
			if t.Failed() {
				return
			}
		}
	}
	if refused*100 < cells*90 || files < 6 { // merges in the background make few of many
		t.Errorf("%d of %d damages are noticed, over %d files", refused, cells, files)
	}
	t.Logf("%d of %d damages of %d files refused by name", refused, cells, files)
}

// TestNoFileOfAnotherAttempt: versions are made again, after attempts that were given up
// and after a way back by two versions, in a folder where what those have pushed out
// and checkpointed still lies, of the same names but for their IDs and of the same sizes. A
// manifest names files of its own attempt only (SPARK-43404, 45419, 46796, 49770, 51717; KAFKA-20685).
func TestNoFileOfAnotherAttempt(t *testing.T) {
	fs := vfsx.NewMem()
	shard := batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}
	pool := NewPool(PoolOptions{HotBytesMax: 20_000, CacheBytes: 1 << 20})
	defer pool.Close()
	opened := func() *Store {
		s := open(t, Options{FS: fs, Dir: "state", Pool: pool, FileBytes: 3000, LoadBytesMax: 1})
		s.step = 3000
		return s
	}
	is := func(m statestore.Manifest, want string) {
		t.Helper()
		s := opened()
		if err := s.Restore(t.Context(), shard, m.Version, []statestore.Manifest{m}); err != nil {
			t.Fatalf("%s: %v", want, err)
		}
		x, err := s.Begin(t.Context(), shard, m.Version)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		err = x.Scan(nil, nil, func(_, v []byte) (bool, error) {
			if n++; string(v) != want {
				t.Errorf("version %d has a row of %q, want %q", m.Version, v, want)
			}
			return !t.Failed(), nil
		})
		if n != 600 {
			t.Errorf("version %d of %q has %d rows", m.Version, want, n)
		}
		x.Discard()
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		if err := checkpoint.View(fs, "state").Verify(t.Context(), m); err != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
	made := map[string]statestore.Manifest{}
	s := opened()
	write := func(id batch.ID, value string) {
		t.Helper()
		if x, err := s.Begin(t.Context(), shard, id-1); err != nil { // an attempt that is given up
			t.Fatal(err)
		} else {
			for i := range 600 {
				if err := x.Put([]byte(fmt.Sprint(string(rune('a'+i%20)), i)), []byte("given up")); err != nil {
					t.Fatal(err)
				}
			}
			x.Discard()
		}
		if _, err := putInto(t.Context(), s, shard, id-1, 0, 600, value); err != nil {
			t.Fatal(err)
		}
		m, err := s.Checkpoint(t.Context(), shard, id)
		if err != nil {
			t.Fatal(err)
		}
		made[value] = m
	}
	for id, value := range []string{"v0 once", "v1 once", "v2 once", "v3 once"} {
		write(batch.ID(id), value)
	}
	for round, way := range []string{"same store", "new store"} {
		if round > 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = opened()
		}
		if err := s.Restore(t.Context(), shard, 1, []statestore.Manifest{made["v1 once"]}); err != nil {
			t.Fatal(err)
		}
		for id, value := range []string{"v2", "v3"} {
			write(batch.ID(2+id), value+" "+way[:4])
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for value, m := range made {
		is(m, value)
	}
}
