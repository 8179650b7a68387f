package tiered

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

// rowsOf reads a version.
func rowsOf(t *testing.T, s *Store, name batch.Shard, id batch.ID) map[string]string {
	t.Helper()
	txn, err := s.Begin(t.Context(), name, id)
	if err != nil {
		t.Fatal(err)
	}
	defer txn.Discard()
	out := map[string]string{}
	err = txn.Scan(nil, nil, func(k, v []byte) (bool, error) { out[string(k)] = string(v); return true, nil })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sent is changes as they come over a network.
func sent(rows iter.Seq[statestore.Change]) iter.Seq2[statestore.Change, error] {
	return func(yield func(statestore.Change, error) bool) {
		for c := range rows {
			c.Key, c.Value = slices.Clone(c.Key), slices.Clone(c.Value)
			if !yield(c, nil) {
				return
			}
		}
	}
}

// A copy follows a store that spills, evicts, merges and writes checkpoints, by single
// versions and several at once, and becomes the owner in the end.
func TestACopyFollows(t *testing.T) {
	for _, room := range []int64{0, 20_000} { // without an end, and next to none
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%d/%d", room, seed), func(t *testing.T) { followSome(t, seed, room) })
		}
	}
}

func followSome(t *testing.T, seed uint64, room int64) {
	ctx := t.Context()
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := vfsx.NewMem()
	opt := Options{FS: fs, Dir: "state", FileBytes: 4000, LoadBytesMax: 1 + int64(seed%2)<<20}
	pool := NewPool(PoolOptions{HotBytesMax: room, CacheBytes: 1 << 20})
	defer pool.Close()
	if room > 0 {
		opt.Pool = pool
	}
	owner := open(t, opt)
	defer owner.Close()
	opt.Pool = nil
	other := open(t, opt)
	defer other.Close()
	name := batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}
	want := map[batch.ID]map[string]string{}
	rows := map[string]string{}
	have, followed, swaps := batch.None, 0, 0
	for id := range batch.ID(80) {
		txn, err := owner.Begin(ctx, name, id-1)
		if err != nil {
			t.Fatal(err)
		}
		for range rng.IntN(60) {
			k := fmt.Sprintf("%c%03d", rng.IntN(250), rng.IntN(300))
			if rng.IntN(4) == 0 {
				delete(rows, k)
				err = txn.Delete([]byte(k))
			} else {
				rows[k] = fmt.Sprint("value ", rng.IntN(1000))
				err = txn.Put([]byte(k), []byte(rows[k]))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := txn.Seal(ctx); err != nil {
			t.Fatal(err)
		}
		want[id] = maps.Clone(rows)
		if id%9 == 4 {
			if rng.IntN(2) == 0 { // behind it the owner knows of no change before
				have = followTo(t, owner, other, name, have, id)
			}
			m, err := owner.Checkpoint(ctx, name, id)
			if err != nil {
				t.Fatal(err)
			}
			if have >= id {
				swaps++
			}
			newest, err := other.Rebase(ctx, name, id, []statestore.Manifest{m})
			if err != nil || newest != max(have, id) && have >= id {
				t.Fatal(err)
			}
			have = newest
			if got := rowsOf(t, other, name, id); !maps.Equal(got, want[id]) {
				t.Fatalf("version %d from a checkpoint has %d rows, not %d", id, len(got), len(want[id]))
			}
		}
		if have != batch.None && rng.IntN(3) > 0 {
			if have = followTo(t, owner, other, name, have, id); have == id {
				followed++
			}
		}
		if have == id {
			if got := rowsOf(t, other, name, id); !maps.Equal(got, want[id]) {
				t.Fatalf("version %d of the copy has %d rows, not %d", id, len(got), len(want[id]))
			}
		}
		for _, s := range []*Store{owner, other} {
			if err := s.Prune(ctx, name, id-2); err != nil {
				t.Fatal(err)
			}
		}
	}
	if room == 0 && (followed < 10 || swaps == 0) { // else the owner lets go when it likes to
		t.Errorf("it has followed %d times, and was swapped %d times", followed, swaps)
	}
	becomesOwner(t, owner, other, name, want)
}

// followTo brings the copy to a version, if it can be, and returns which one it has.
func followTo(t *testing.T, owner, other *Store, name batch.Shard, have, to batch.ID) batch.ID {
	t.Helper()
	if have == batch.None || have == to {
		return have
	}
	changes, v, err := owner.Changes(name, have, to)
	if errors.Is(err, statestore.ErrNotKnown) {
		return have
	}
	if err == nil {
		err = other.Follow(t.Context(), name, have, to, sent(changes), v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// becomesOwner adopts what the copy has and goes on from it.
func becomesOwner(t *testing.T, owner, other *Store, name batch.Shard, want map[batch.ID]map[string]string) {
	ctx := t.Context()
	held := other.Held()
	h := held[len(held)-1]
	if err := other.Adopt(ctx, h); err != nil {
		t.Fatal(err)
	}
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	txn, err := other.Begin(ctx, name, h.Version)
	if err != nil {
		t.Fatal(err)
	}
	if err := txn.Put([]byte("new"), []byte("row")); err != nil {
		t.Fatal(err)
	}
	if _, err := txn.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	m, err := other.Checkpoint(ctx, name, h.Version+1)
	if err != nil {
		t.Fatal(err)
	}
	after := open(t, other.opt)
	defer after.Close()
	if err := after.Restore(ctx, name, h.Version+1, []statestore.Manifest{m}); err != nil {
		t.Fatal(err)
	}
	rows := maps.Clone(want[h.Version])
	rows["new"] = "row"
	if got := rowsOf(t, after, name, h.Version+1); !maps.Equal(got, rows) {
		t.Fatalf("the new owner's checkpoint has %d rows, not %d", len(got), len(rows))
	}
}

// Changes that are not the owner's, or that there is no room for, end the copy; an owner
// that goes away does not.
func TestACopyIsGivenUp(t *testing.T) {
	ctx := t.Context()
	name := batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}
	for _, what := range []string{"digest", "memory", "source"} {
		fs := vfsx.NewMem()
		owner := open(t, Options{FS: fs, Dir: "state"})
		budget := memory.NewBudget(200_000)
		other := open(t, Options{FS: fs, Dir: "state", Memory: budget.Child("copy", 0)})
		seal := func(id batch.ID, n int) {
			txn, err := owner.Begin(ctx, name, id-1)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if err := txn.Put([]byte(fmt.Sprintf("%c%06d", i%200, i)), []byte(fmt.Sprint(id))); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := txn.Seal(ctx); err != nil {
				t.Fatal(err)
			}
		}
		seal(0, 10)
		m, err := owner.Checkpoint(ctx, name, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Rebase(ctx, name, 0, []statestore.Manifest{m}); err != nil {
			t.Fatal(err)
		}
		n := 20
		if what == "memory" {
			n = 10_000
		}
		seal(1, n)
		changes, v, err := owner.Changes(name, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		rows := sent(changes)
		switch what {
		case "digest":
			v.Digest.Lo++
		case "source":
			rows = func(yield func(statestore.Change, error) bool) {
				yield(statestore.Change{}, errors.New("the owner is gone"))
			}
		}
		err = other.Follow(ctx, name, 0, 1, rows, v)
		if gone := errors.Is(err, statestore.ErrGivenUp); err == nil || gone == (what == "source") {
			t.Errorf("%s: it is followed with %v", what, err)
		}
		if what == "source" { // the owner that has gone is why there is a copy
			if got := rowsOf(t, other, name, 0); len(got) != 10 {
				t.Errorf("the copy has %d rows after its owner has gone", len(got))
			}
		} else if held := other.Held(); len(held) > 0 {
			t.Errorf("%s: it holds %v", what, held)
		}
		if err := errors.Join(owner.Close(), other.Close()); err != nil {
			t.Error(err)
		}
		if used := budget.Used(); used != 0 {
			t.Errorf("%s: %d bytes are taken", what, used)
		}
	}
}
