package tiered

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

// A version whose files somebody has collected is not gone on from: the next checkpoint
// would name them.
func TestAVersionWithoutItsFiles(t *testing.T) {
	fs := vfsx.NewMem()
	s := open(t, Options{FS: fs, Dir: "state"})
	defer s.Close()
	name := batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}
	txn, err := s.Begin(t.Context(), name, batch.None)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := txn.Put([]byte(fmt.Sprintf("k%03d", i)), []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
	v, err := txn.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Checkpoint(t.Context(), name, 0); err != nil {
		t.Fatal(err)
	}
	h := statestore.HeldVersion{Shard: name, Version: 0, Digest: v.Digest}
	if err := s.Adopt(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("state")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.Contains(n, ".p0.") {
			if err := fs.Remove("state/" + n); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Adopt(t.Context(), h); !errors.Is(err, statestore.ErrNotHeld) {
		t.Fatalf("without its files: %v", err)
	}
}
