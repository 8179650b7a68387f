package damage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sluice "github.com/sluice-stream/sluice"
	"github.com/sluice-stream/sluice/batch"
)

// TestRestartsInOneProcess stops or abandons a query again and again and starts
// it with another number of partitions, while the tidying-up of the run before may
// still be under way in the same process.
func TestRestartsInOneProcess(t *testing.T) {
	for _, p := range pipelines {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			rounds := 30
			if testing.Short() {
				rounds = 8
			}
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 2))
			w := emptyWorld(t, p)
			w.feed(0)
			s := w.session(map[string]string{"parallelism": "2", "checkpoint.interval": "1ms"})
			w.check(s.Exec(t.Context(), w.ddl("")+"CREATE STREAMING QUERY q OUTPUT MODE "+p.mode+" AS INSERT INTO results "+p.sel))
			for i := 1; i <= rounds; i++ {
				q, _ := s.Query("q")
				if i <= phases*filesPerPhase {
					w.feed(i)
				}
				if rng.IntN(2) == 0 {
					w.check(q.ProcessAllAvailable(t.Context()))
				}
				if rng.IntN(3) > 0 {
					q.Abandon()
				} else {
					q.Stop()
				}
				w.check(q.Await(t.Context()))
				w.check(s.Exec(t.Context(), fmt.Sprintf("SET 'parallelism' = '%d'; START STREAMING QUERY q", 1+rng.IntN(7))))
			}
			w.feed(phases*filesPerPhase + 1)
			q, _ := s.Query("q")
			w.check(q.ProcessAllAvailable(t.Context()))
			q.Stop()
			w.check(q.Await(t.Context()))
			w.check(s.Close())
			w.right("after many restarts")
		})
	}
}

// right compares the output with the batch answer.
func (w *world) right(when string) {
	w.t.Helper()
	want, err := w.batch()
	w.check(err)
	stranger, own, err := w.output()
	w.check(err)
	if len(want) == 0 || !slices.Equal(stranger, want) || !slices.Equal(own, want) {
		w.t.Errorf("%s: a stranger finds %s; the manifests say %s", when, difference(stranger, want), difference(own, want))
	}
}

// flaky fails the first calls for a key with an error that may pass.
type flaky struct {
	mu   sync.Mutex
	left int
	per  int
	last string
}

func (f *flaky) call(k, at string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if k != "k3" {
		return k, nil
	}
	if f.last != at { // of another batch: it fails again
		f.last, f.left = at, f.per
	}
	if f.left > 0 {
		f.left--
		return "", batch.ExternalError(errors.New("away for a moment"), true)
	}
	return k, nil
}

// TestRetriesAfterPartialSeals lets the task of one partition fail after those of
// others have sealed their new state: by task, and by whole batch, whose next
// attempt begins again from the version before.
func TestRetriesAfterPartialSeals(t *testing.T) {
	for _, per := range []int{1, 4, 7} {
		t.Run(fmt.Sprint(per, " failures"), func(t *testing.T) {
			p := pipelines[1] // totals, complete
			p.sink = "(k STRING, n BIGINT, s BIGINT)"
			p.sel = "SELECT flaky(k, CAST(max(id) AS STRING)) AS k, count(*) AS n, sum(v) AS s FROM events GROUP BY k"
			w := emptyWorld(t, p)
			for i := range 4 {
				w.feed(i)
			}
			s := w.session(map[string]string{"parallelism": "5", "checkpoint.interval": "1ms"})
			f := &flaky{per: per}
			w.check(s.RegisterFunc("flaky", sluice.Func2(f.call)))
			w.check(s.Exec(t.Context(), w.ddl("")+"CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW OUTPUT MODE complete AS INSERT INTO results "+p.sel))
			q, _ := s.Query("q")
			w.check(q.Await(t.Context()))
			w.check(s.Close())
			w.p.sel = strings.ReplaceAll(p.sel, "flaky(k, CAST(max(id) AS STRING))", "k")
			w.right("after failures")
			left, err := filepath.Glob(filepath.Join(w.dir, "out/_sluice/*/staging/*"))
			w.check(err)
			if len(left) > 0 {
				t.Errorf("attempts have left %v", left)
			}
			if _, err := os.Stat(filepath.Join(w.dir, "ck/q/state")); err != nil {
				t.Error("no state was checkpointed")
			}
		})
	}
}

// TestFunctionsKeepStrings: a function may keep what it is given, in a cache say.
func TestFunctionsKeepStrings(t *testing.T) {
	w := emptyWorld(t, pipelines[0])
	for i := range 6 {
		w.feed(i)
	}
	s := w.session(map[string]string{"parallelism": "1"})
	defer func() { w.check(s.Close()) }()
	var mu sync.Mutex
	kept := map[string]string{}
	w.check(s.RegisterFunc("cached", sluice.Func1(func(k string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		kept[k] = strings.Clone(k)
		return k, nil
	})))
	w.check(s.Exec(t.Context(), w.ddl("")+"CREATE TABLE sunk (k STRING) WITH ('connector'='blackhole'); CREATE STREAMING QUERY q TRIGGER AVAILABLE NOW AS INSERT INTO sunk SELECT cached(concat(k, '-', id)) AS k FROM events"))
	q, _ := s.Query("q")
	w.check(q.Await(t.Context()))
	if len(kept) != 6*rowsPerFile {
		t.Errorf("%d strings were kept, want %d", len(kept), 6*rowsPerFile)
	}
	for k, copied := range kept {
		if k != copied {
			t.Fatalf("a kept %q has become %q", copied, k)
		}
	}
}
