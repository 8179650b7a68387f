//go:build synctests

package bubble

import (
	"context"
	"fmt"
	"iter"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/mutant"
	"github.com/sluice-stream/sluice/internal/seeds"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sinks"
)

// The mutants of the world's own, at the seams between its pieces.
//
// Two rules of the failure model cannot be broken so that this layer notices, as each stands
// in front of another one. An older leader's records are refused by raft's term before the
// log looks at its own: no-quorum is what is left to break here, and no-fence is caught by
// the protocol's simulator (internal/sim), log-unfenced and sink-unfenced by the tests of
// what they break (disk-mutants in tools/chaos). Transactional IDs that are new for each
// driver leave nothing twice while a driver that sleeps is one that hears nothing: its
// timers run here, so that it gives up before it wakes, and what was under way is waited
// for by the read of what the target holds. id-per-attempt is caught by the Kafka sink's own
// test, and is what test/kafka stops processes for.
const (
	noSync          = "no-sync"          // disks say that they have synced, and have not
	replan          = "replan"           // a plan found in the log is not seen
	forgetWatermark = "forget-watermark" // event times do not survive a restart
	skipReveal      = "skip-reveal"      // the file sink takes a reveal for done, now and then
)

// mutants are all; the slow ones are tried where seeds are named alone, as by tools/chaos.
var mutants = []struct {
	name string
	kind mutant.Mutant
	slow bool
}{
	{noSync, mutant.None, true},
	{replan, mutant.None, false},
	{forgetWatermark, mutant.None, true},
	{skipReveal, mutant.None, false},
	{"record-unread", mutant.RecordUnread, true},
	{"no-quorum", mutant.NoQuorum, false},
}

// mutantSeedsMax is by when each mutant has to be caught.
const mutantSeedsMax = 200

// TestMutants breaks single rules: the checkers have to notice.
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		if m.slow && seeds.Usual() {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			mutant.Set(m.kind)
			defer mutant.Set(mutant.None)
			for seed := range uint64(mutantSeedsMax) {
				if why := caught(t, seed, m.name); why != "" {
					t.Logf("%s is caught after %d seeds: %s", m.name, seed+1, why)
					return
				}
			}
			t.Errorf("%s is NOT caught by %d seeds", m.name, mutantSeedsMax)
		})
	}
}

// caught lives a life with a mutant and says what was noticed.
func caught(t *testing.T, seed uint64, m string) (why string) {
	defer func() {
		if p := recover(); p != nil {
			why = fmt.Sprint(p)
		}
	}()
	w := live(t, seed, m)
	if len(w.mu.broken) > 0 {
		why = w.mu.broken[0]
	}
	return why[:min(len(why), 200)]
}

// seen is what a mutant lets a life of the query see of the log.
func (w *world) seen(recs iter.Seq2[microbatch.Record, error]) iter.Seq2[microbatch.Record, error] {
	if w.mutant != replan && w.mutant != forgetWatermark {
		return recs
	}
	return func(yield func(microbatch.Record, error) bool) {
		var all []microbatch.Record
		for r, err := range recs {
			if err != nil {
				yield(nil, err)
				return
			}
			all = append(all, r)
		}
		if n := len(all); n > 0 && w.mutant == replan {
			if _, ok := all[n-1].(microbatch.Planned); ok {
				all = all[:n-1]
			}
		}
		for _, r := range all {
			if c, ok := r.(microbatch.Committed); ok && w.mutant == forgetWatermark {
				c.Marks, c.NextWatermark = nil, batch.NoTime
				r = c
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// shown is a sink as a mutant has it.
func (w *world) shown(s sinks.Sink) sinks.Sink {
	if _, stages := s.(sinks.Stager); w.mutant != skipReveal || stages {
		return s
	}
	return hasty{s}
}

// hasty takes every seventh reveal for done.
type hasty struct{ sinks.Sink }

func (h hasty) Commit(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	if id%7 == 3 {
		return nil
	}
	return h.Sink.Commit(ctx, id, term, parts)
}

// lazyFS is a disk that says that it has synced.
type lazyFS struct{ vfsx.FS }

type lazyFile struct{ vfsx.File }

func (lazyFile) Sync() error                { return nil }
func (lazyFile) SyncData() error            { return nil }
func (lazyFile) SyncTo(int64) (bool, error) { return true, nil }

func lazy(f vfsx.File, err error) (vfsx.File, error) {
	if err != nil {
		return nil, err
	}
	return lazyFile{f}, nil
}

func (l lazyFS) Create(name string, c vfs.DiskWriteCategory) (vfsx.File, error) {
	return lazy(l.FS.Create(name, c))
}
func (l lazyFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfsx.File, error) {
	return lazy(l.FS.OpenReadWrite(name, c, o...))
}
func (l lazyFS) OpenDir(name string) (vfsx.File, error) { return lazy(l.FS.OpenDir(name)) }
func (l lazyFS) ReuseForWrite(a, b string, c vfs.DiskWriteCategory) (vfsx.File, error) {
	return lazy(l.FS.ReuseForWrite(a, b, c))
}
