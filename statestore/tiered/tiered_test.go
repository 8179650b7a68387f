package tiered

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, opt Options) *Store {
	t.Helper()
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStore runs the suite with room for everything.
func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T, fs vfsx.FS, dir string) statestore.Store {
		return open(t, Options{FS: fs, Dir: dir})
	})
}

// TestStoreWithoutRoom runs the suite with a store that loads nothing when it
// restores, and whose rows are in the tree of a transaction for a moment only.
func TestStoreWithoutRoom(t *testing.T) {
	storetest.RunLazy(t, func(t *testing.T, fs vfsx.FS, dir string) statestore.Store {
		pool := NewPool(PoolOptions{HotBytesMax: 10_000, CacheBytes: 1 << 20})
		s := open(t, Options{FS: fs, Dir: dir, Pool: pool, FileBytes: 2000, LoadBytesMax: 1})
		s.step = 3000
		t.Cleanup(pool.Close)
		return s
	})
}
