package tiered

import (
	"encoding/binary"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

// TestUseTakesOneStep: to tell the runs under a version takes as long after a thousand
// batches without a run as after one, whatever was written, merged and kept meanwhile.
func TestUseTakesOneStep(t *testing.T) {
	s := open(t, Options{FS: vfsx.NewMem(), Dir: "state"})
	defer s.Close()
	name := batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}
	const batches, every = 3000, 1000
	key := make([]byte, 9)
	for id := batch.ID(0); id < batches; id++ {
		x, err := s.Begin(t.Context(), name, id-1)
		if err != nil {
			t.Fatal(err)
		}
		binary.BigEndian.PutUint64(key[1:], uint64(id))
		if err := x.Put(key, []byte("value")); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		use := x.(statestore.MeteredTxn).Use()
		sh, err := s.shard(name)
		if err != nil {
			t.Fatal(err)
		}
		sh.mu.Lock()
		b := sh.newestLocked().node.root().base
		sh.mu.Unlock()
		if use.Runs != len(b.levels) || use.Cold != b.bytes() || s.Use()[0].Cold != use.Cold {
			t.Fatalf("batch %d: %+v over runs of %d bytes", id, use, b.bytes())
		}
		if err := s.Prune(t.Context(), name, id-2); err != nil {
			t.Fatal(err)
		}
		if id%every == every/2 {
			if _, err := s.Checkpoint(t.Context(), name, id-1); err != nil { // the newest version is built on the run, too
				t.Fatal(err)
			}
		}
	}
	sh, err := s.shard(name)
	if err != nil {
		t.Fatal(err)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// Each batch takes one, and each run one along the chain of the versions before it.
	if most := int64(2*batches + batches/every*100); sh.mu.steps > most {
		t.Fatalf("%d batches took %d steps along their chains, more than %d", batches, sh.mu.steps, most)
	}
}
