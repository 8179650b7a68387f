package storetest

import (
	"errors"
	"maps"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

// testKept: what was sealed after the version that is adopted never was, a version with
// another digest is refused and nothing changes, and checkpoints go on.
func testKept(t *testing.T, open Open) {
	fs := vfsx.NewMem()
	e := start(t, open, fs)
	k, ok := e.store.(statestore.Keeper)
	if !ok {
		t.Skip("the store keeps nothing")
	}
	s, m := whole("op"), newModel(5, 300)
	rows, sealed := map[batch.ID]map[string]string{}, map[batch.ID]statestore.Version{}
	seen := map[batch.ID]bool{}
	held := func(id batch.ID) statestore.HeldVersion {
		return statestore.HeldVersion{Shard: s, Version: id, Digest: sealed[id].Digest}
	}
	for id := batch.ID(0); id < 40; id++ {
		sealed[id] = e.apply(s, id-1, m.batch())
		rows[id] = maps.Clone(m.rows)
		if id%7 == 3 {
			e.checkpoint(s, id)
		}
		if id > 2 {
			e.must(e.store.Prune(e.ctx, s, id-2))
		}
		if id%5 != 4 || seen[id] {
			continue
		}
		for _, h := range k.Held() {
			if want := held(h.Version); h != want {
				t.Fatalf("it holds %+v, sealed was %+v", h, want)
			}
		}
		seen[id] = true
		wrong := held(id)
		wrong.Digest.Hi++
		gone := held(id + 1)
		gone.Digest = wrong.Digest
		for _, h := range []statestore.HeldVersion{wrong, gone, {Shard: whole("other"), Version: id}} {
			if err := k.Adopt(e.ctx, h); !errors.Is(err, statestore.ErrNotHeld) {
				t.Fatalf("adopt %+v: %v", h, err)
			}
		}
		back := id - id%3 // up to two versions are undone
		e.must(k.Adopt(e.ctx, held(back)))
		for _, h := range k.Held() {
			if h.Version > back {
				t.Fatalf("version %d is held after %d was adopted", h.Version, back)
			}
		}
		id, m.rows = back, maps.Clone(rows[back])
		e.equal("an adopted version", e.rows(s, id), m.rows)
		if id%2 == 0 {
			man := e.checkpoint(s, id)
			r := start(t, open, fs)
			r.must(r.store.Restore(r.ctx, s, id, []statestore.Manifest{man}))
			r.equal("a checkpoint of an adopted version", r.rows(s, id), m.rows)
		}
		// Behind it something else is sealed than before.
		id++
		sealed[id] = e.apply(s, id-1, m.batch())
		rows[id] = maps.Clone(m.rows)
		e.equal("a version behind it", e.rows(s, id), m.rows)
	}
	man := e.checkpoint(s, 39)
	r := start(t, open, fs)
	r.must(r.store.Restore(r.ctx, s, 39, []statestore.Manifest{man}))
	r.equal("the last version", r.rows(s, 39), rows[39])
}
