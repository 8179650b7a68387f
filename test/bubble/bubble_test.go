//go:build synctests

package bubble

import (
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/internal/seeds"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(1600) // of the little that a life holds: collecting is a third of its time else
	goleak.VerifyTestMain(m)
}

// failuresMax is after how many failed seeds no other is begun.
const failuresMax = 5

// tally adds up what lives have gone through.
type tally struct {
	mu      sync.Mutex
	lives   int
	failed  int
	batches int
	virtual time.Duration
	hits    map[string]int
}

func (s *tally) add(w *world) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lives++
	s.batches += w.ledger.committed()
	s.virtual += w.lasted
	for k, n := range w.mu.hits {
		s.hits[k] += n
	}
	if len(w.mu.broken) > 0 {
		s.failed++
	}
}

func (s *tally) enough() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed >= failuresMax
}

func (s *tally) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(s.hits)) {
		fmt.Fprintf(&b, ", %s %d", k, s.hits[k])
	}
	return fmt.Sprintf("%d lives, %d batches, %s of virtual time%s", s.lives, s.batches, s.virtual.Round(time.Minute), b.String())
}

// TestSeeds lives through lives of a cluster with faults.
func TestSeeds(t *testing.T) {
	all := &tally{hits: map[string]int{}}
	t.Run("life", func(t *testing.T) {
		for seed := range seeds.Of(t, 48) {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				if all.enough() {
					t.Skip("enough have failed")
				}
				defer func() {
					if p := recover(); p != nil {
						t.Fatalf("seed %d: %v\n%s", seed, p, debug.Stack())
					}
				}()
				w := live(t, seed, "")
				all.add(w)
				w.report(t)
			})
		}
	})
	t.Log(all)
	if seeds.Usual() && (all.batches < 3*all.lives || len(all.hits) < len(faults)/2) {
		t.Error("the lives were too quiet to say anything")
	}
}

// live is one life of a cluster in a bubble of its own.
func live(t *testing.T, seed uint64, m string) *world {
	return bubbled(t, seed, m, (*world).run)
}

func bubbled(t *testing.T, seed uint64, m string, life func(*world)) (w *world) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		w = newWorld(t, seed, m)
		life(w)
		w.lasted = time.Since(begun)
		if n := w.alloc.bytes.Load(); n != 0 && m == "" {
			w.violated("%d bytes of columns are not given back", n)
		}
	})
	return w
}
