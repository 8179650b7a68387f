package raftlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

const logs = "node/raft"

// inStore runs f on a goroutine of its own, as raft would: a poisoned store ends it.
func inStore(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func openTestStore(fs vfsx.FS) (*store, error) {
	return openStore(fs, logs, "disk-1", 600, func(error) {}, nil)
}

func entries(term, from, to uint64) (ls []*raft.Log) {
	for i := from; i <= to; i++ {
		ls = append(ls, &raft.Log{Index: i, Term: term, Type: raft.LogCommand, AppendedAt: time.UnixMicro(7), Data: fmt.Appendf(nil, "entry %d of term %d", i, term)})
	}
	return ls
}

// contents prints what a store holds, for comparing.
func contents(s *store) string {
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	var b strings.Builder
	fmt.Fprintf(&b, "%d-%d", first, last)
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		if err := s.entry(i, &l); err != nil {
			fmt.Fprintf(&b, " %d:%v", i, err)
			continue
		}
		fmt.Fprintf(&b, " %d/%d:%s", l.Index, l.Term, l.Data)
	}
	term, _ := s.GetUint64([]byte("CurrentTerm"))
	vote, _ := s.Get([]byte("LastVoteCand"))
	fmt.Fprintf(&b, " term %d vote %q", term, vote)
	return b.String()
}

// Whatever is stored, cut, dropped and voted, the store holds what a map would, also
// after it was opened again.
func TestStoreIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfsx.NewMem()
		if err := fs.MkdirAll(logs, 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := openTestStore(fs)
		if err != nil {
			t.Fatal(err)
		}
		var model []*raft.Log
		term := uint64(1)
		t.Repeat(map[string]func(*rapid.T){
			"store": func(t *rapid.T) {
				from := uint64(1)
				if n := len(model); n > 0 {
					from = model[n-1].Index + 1
				} else {
					from += rapid.Uint64Range(0, 50).Draw(t, "gap")
				}
				ls := entries(term, from, from+rapid.Uint64Range(0, 8).Draw(t, "more"))
				if err := s.StoreLogs(ls); err != nil {
					t.Fatal(err)
				}
				model = append(model, ls...)
				if err := s.StoreLog(&raft.Log{Index: ls[len(ls)-1].Index + 5}); err == nil {
					t.Fatal("a gap was stored")
				}
			},
			"drop": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip()
				}
				n := rapid.IntRange(1, len(model)).Draw(t, "n")
				if err := s.DeleteRange(model[0].Index, model[n-1].Index); err != nil {
					t.Fatal(err)
				}
				model = slices.Clone(model[n:])
			},
			"cut": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip()
				}
				n := rapid.IntRange(0, len(model)-1).Draw(t, "n")
				if err := s.DeleteRange(model[n].Index, model[len(model)-1].Index); err != nil {
					t.Fatal(err)
				}
				model = slices.Clone(model[:n])
				term++
			},
			"vote": func(*rapid.T) {
				term++
				_ = s.SetUint64([]byte("CurrentTerm"), term)
				_ = s.Set([]byte("LastVoteCand"), fmt.Appendf(nil, "d%d", term%3))
			},
			"again": func(t *rapid.T) {
				was := contents(s)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = openTestStore(fs); err != nil {
					t.Fatal(err)
				}
				if now := contents(s); now != was {
					t.Fatalf("before\n%s\nafter\n%s", was, now)
				}
			},
			"": func(t *rapid.T) {
				first, _ := s.FirstIndex()
				last, _ := s.LastIndex()
				if len(model) == 0 {
					if first != 0 || last != 0 {
						t.Fatalf("empty: %d to %d", first, last)
					}
					return
				}
				if first != model[0].Index || last != model[len(model)-1].Index {
					t.Fatalf("%d to %d, want %d to %d", first, last, model[0].Index, model[len(model)-1].Index)
				}
				for _, m := range model {
					var l raft.Log
					if err := s.GetLog(m.Index, &l); err != nil || l.Term != m.Term || string(l.Data) != string(m.Data) || !l.AppendedAt.Equal(m.AppendedAt) {
						t.Fatalf("entry %d: %+v, %v", m.Index, l, err)
					}
				}
			},
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// storeLife does the same writes each time until one fails.
type storeLife struct {
	s     *store
	acked int // writes that were acknowledged
}

// live calls look after each acknowledged write.
func (l *storeLife) live(look func()) {
	ack := func(err error) bool {
		if err == nil {
			l.acked++
			look()
		}
		return err == nil
	}
	next := uint64(1)
	for round := range uint64(12) {
		switch {
		case !ack(l.s.StoreLogs(entries(round+1, next, next+2))):
			return
		case round%3 == 2 && !ack(l.s.DeleteRange(next+1, next+2)):
			return
		}
		if next += 3; round%3 == 2 {
			next -= 2
		}
		if round%4 == 3 && !ack(l.s.DeleteRange(1, next-6)) {
			return
		}
		_ = l.s.SetUint64([]byte("CurrentTerm"), round+1) // does not return when it fails
		ack(nil)
	}
}

// storeStates is what a store holds after each write of a whole life.
func storeStates(t *testing.T) (states []string) {
	t.Helper()
	fs := vfsx.NewMem()
	must(t, fs.MkdirAll(logs, 0o700))
	s, err := openTestStore(fs)
	must(t, err)
	states = append(states, contents(s))
	l := storeLife{s: s}
	l.live(func() { states = append(states, contents(s)) })
	must(t, s.Close())
	return states
}

// Each write fails once, and after each and at many moments the power fails: what was
// acknowledged is there, what was not is there as a whole or not at all, and a failed
// write is the last one (C3, C16, E5, R5, R6).
func TestStoreCrashes(t *testing.T) {
	states := storeStates(t)
	for n := int64(0); ; n++ {
		mem := vfsx.NewCrashableMem()
		must(t, vfsx.MkdirAll(mem, logs, 0o700))
		must(t, vfsx.SyncDir(mem, "/"))
		fault := vfsx.FailOnce(n, vfsx.Writes)
		fs := vfsx.Wrap(mem, fault)
		rng := rand.New(rand.NewPCG(uint64(n), 5))
		var said error
		s, err := openStore(fs, logs, "disk-1", 600, func(err error) { said = errors.Join(said, err) }, nil)
		if err == nil {
			l := storeLife{s: s}
			inStore(func() {
				l.live(func() {
					if rng.IntN(6) == 0 {
						checkStore(t, mem, rng, states[l.acked:l.acked+1])
					}
				})
			})
			// A write that failed may still have reached the disk.
			checkStore(t, mem, rng, states[l.acked:min(l.acked+2, len(states))])
			if fault.Failed() {
				if err := s.StoreLogs(entries(99, 99, 99)); !errors.Is(err, ErrPoisoned) || !errors.Is(said, ErrPoisoned) {
					t.Fatalf("write %d failed: then %v, and the node was told %v", n, err, said)
				}
			}
			must(t, s.Close())
		}
		if !fault.Failed() {
			if n < 60 {
				t.Fatalf("only %d writes to fail", n)
			}
			return
		}
	}
}

func checkStore(t *testing.T, mem *vfsx.MemFS, rng *rand.Rand, allowed []string) {
	t.Helper()
	crashed := mem.CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
	s, err := openTestStore(crashed)
	if err != nil {
		t.Errorf("cannot open after a crash: %v", err)
		return
	}
	if got := contents(s); !slices.Contains(allowed, got) {
		t.Errorf("after a crash\n%s\nallowed are\n%s", got, strings.Join(allowed, "\n"))
	}
	for i := range uint64(3) {
		last, _ := s.LastIndex()
		must(t, s.StoreLogs(entries(90+i, last+1, last+2)))
	}
	was := contents(s)
	must(t, s.Close())
	if s, err = openTestStore(crashed); err != nil || contents(s) != was {
		t.Errorf("opened again after a crash: %v", err)
		return
	}
	must(t, s.Close())
}

// damaged makes a store of some segments and returns their names, oldest first.
func damagedStore(t *testing.T) (*vfsx.MemFS, []string, string) {
	t.Helper()
	fs := vfsx.NewMem()
	must(t, fs.MkdirAll(logs, 0o700))
	s, err := openTestStore(fs)
	must(t, err)
	for i := range uint64(16) {
		must(t, s.StoreLogs(entries(1, 3*i+1, 3*i+3)))
	}
	must(t, s.SetUint64([]byte("CurrentTerm"), 7))
	must(t, s.DeleteRange(1, 20))
	for i := range uint64(3) {
		must(t, s.StoreLogs(entries(2, 49+i, 49+i)))
	}
	was := contents(s)
	must(t, s.Close())
	numbers, err := listSegments(fs, logs)
	must(t, err)
	var names []string
	for _, n := range numbers {
		names = append(names, fs.PathJoin(logs, segmentFiles.Name(n)))
	}
	if len(names) < 3 || numbers[0] == 1 {
		t.Fatalf("segments %v", numbers)
	}
	return fs, names, was
}

// Every flipped bit but those of the very last group is refused by name; the last
// group then looks torn (E6). What Pebble and raft-wal make of it: docs/DESIGN-NOTES.md.
func TestFlippedBitsAreRefused(t *testing.T) {
	fs, names, was := damagedStore(t)
	for _, path := range append(names, logs+"/"+newestFile) {
		good, err := vfsx.ReadFile(fs, path, 1<<20)
		must(t, err)
		tail := len(good)
		if path == names[len(names)-1] {
			_, _, at, err := parseSegmentHeader(good)
			must(t, err)
			seq := uint64(0)
			_, err = scanGroups(path, good, at, &seq, func(at int64, _ []byte) error { tail = int(at) - groupPrefix; return nil })
			must(t, err)
		}
		for at := range good {
			bad := slices.Clone(good)
			bad[at] ^= 0x10
			must(t, vfsx.WriteFileAtomic(fs, path, bad))
			s, err := openTestStore(fs)
			if at >= tail {
				must(t, err)
				if contents(s) == was {
					t.Fatalf("%s, byte %d: the last group is whole", path, at)
				}
				must(t, s.Close())
				continue
			}
			if k, _ := batch.KindOf(err); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "node/raft/") || k != batch.User {
				t.Fatalf("%s, byte %d of %d: %v", path, at, len(good), err)
			}
		}
		must(t, vfsx.WriteFileAtomic(fs, path, good))
	}
}

func TestTornTailIsCut(t *testing.T) {
	fs, names, was := damagedStore(t)
	last := names[len(names)-1]
	good, err := vfsx.ReadFile(fs, last, 1<<20)
	must(t, err)
	_, _, start, err := parseSegmentHeader(good)
	must(t, err)
	first := int(start) + groupPrefix + 3 // within the state that begins a segment, which is never torn
	whole := 0
	for cut := range len(good) {
		must(t, vfsx.WriteFileAtomic(fs, last, good[:cut]))
		s, err := openTestStore(fs)
		if cut < first {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			continue
		}
		if err != nil {
			// The cut took the segment's first group, or the word that older segments may
			// go: neither can be torn, for others were written after it.
			if errors.Is(err, ErrDamaged) && (strings.Contains(err.Error(), "first group") || strings.Contains(err.Error(), "are missing")) {
				continue
			}
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if got := contents(s); got == was {
			t.Fatalf("cut at %d: nothing is lost", cut)
		}
		whole++
		must(t, s.StoreLogs(entries(9, s.next(), s.next()+1)))
		now := contents(s)
		must(t, s.Close())
		s, err = openTestStore(fs)
		must(t, err)
		if contents(s) != now {
			t.Fatalf("cut at %d: the log differs when it is opened again", cut)
		}
		must(t, s.Close())
		for _, n := range names[:len(names)-1] {
			if _, err := fs.Stat(n); err != nil {
				t.Fatal(err)
			}
		}
		numbers, err := listSegments(fs, logs)
		must(t, err)
		for _, n := range numbers {
			if p := fs.PathJoin(logs, segmentFiles.Name(n)); !slices.Contains(names, p) {
				t.Fatalf("cut at %d: segment %s was begun", cut, p)
			}
		}
	}
	if whole < 100 {
		t.Fatalf("only %d cuts were mended", whole)
	}
}

func TestMissingAndSwappedSegments(t *testing.T) {
	for what, change := range map[string]func(fs vfsx.FS, names []string) error{
		"the oldest is missing":   func(fs vfsx.FS, names []string) error { return fs.Remove(names[0]) },
		"one between is missing":  func(fs vfsx.FS, names []string) error { return fs.Remove(names[1]) },
		"the newest is missing":   func(fs vfsx.FS, names []string) error { return fs.Remove(names[len(names)-1]) },
		"two are swapped":         swap,
		"one is another driver's": foreign,
		"an older one is cut":     shorten,
		"one is empty":            func(fs vfsx.FS, names []string) error { return vfsx.WriteFileAtomic(fs, names[1], nil) },
	} {
		fs, names, _ := damagedStore(t)
		must(t, change(fs, names))
		if _, err := openTestStore(fs); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeignDisk) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func swap(fs vfsx.FS, names []string) error {
	return errors.Join(fs.Rename(names[0], "x"), fs.Rename(names[1], names[0]), fs.Rename("x", names[1]))
}

func shorten(fs vfsx.FS, names []string) error {
	b, err := vfsx.ReadFile(fs, names[0], 1<<20)
	return errors.Join(err, vfsx.WriteFileAtomic(fs, names[0], b[:len(b)-3]))
}

func foreign(fs vfsx.FS, names []string) error {
	b, err := vfsx.ReadFile(fs, names[0], 1<<20)
	if err != nil {
		return err
	}
	_, n, at, err := parseSegmentHeader(b)
	if err != nil {
		return err
	}
	return vfsx.WriteFileAtomic(fs, names[0], append(appendSegmentHeader(nil, "disk-2", n), b[at:]...))
}

// A failed sync is never tried again, and no read is taken for good that is not (E5).
func TestFailedSyncEndsTheStore(t *testing.T) {
	mem := vfsx.NewMem()
	must(t, mem.MkdirAll(logs, 0o700))
	var broken atomic.Bool
	var told error
	s, err := openStore(vfsx.Wrap(mem, vfsx.InjectorFunc(func(op vfsx.Op) error {
		if broken.Load() && op.Kind == errorfs.OpFileSyncData {
			return syscall.EIO
		}
		return nil
	})), logs, "disk-1", 1<<20, func(err error) { told = err }, nil)
	must(t, err)
	must(t, s.StoreLogs(entries(1, 1, 2)))
	broken.Store(true)
	if err := s.StoreLogs(entries(1, 3, 3)); !errors.Is(err, syscall.EIO) {
		t.Fatalf("a failed sync: %v", err)
	}
	broken.Store(false)
	if err := s.StoreLogs(entries(1, 3, 3)); !errors.Is(err, ErrPoisoned) || told == nil {
		t.Fatalf("after a failed sync: %v, told %v", err, told)
	}
	reached := false
	inStore(func() { _ = s.SetUint64([]byte("CurrentTerm"), 9); reached = true })
	if reached {
		t.Fatal("a vote was given that is on no disk")
	}
	must(t, s.Close())
}

func FuzzSegment(f *testing.F) {
	b := appendSegmentHeader(nil, "disk-1", 1)
	e := beginGroup(nil, groupState)
	(&store{}).stateLocked(&e)
	endGroup(e.b, 1)
	b = append(b, e.b...)
	e = beginGroup(nil, groupEntries)
	appendEntry(&e, entries(1, 1, 1)[0])
	endGroup(e.b, 2)
	f.Add(append(b, e.b...))
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		fs := vfsx.NewMem()
		must(t, fs.MkdirAll(logs, 0o700))
		must(t, vfsx.WriteFileAtomic(fs, logs+"/"+segmentFiles.Name(1), data))
		s, err := openTestStore(fs)
		if err != nil {
			return
		}
		was := contents(s)
		must(t, s.Close())
		if s, err = openTestStore(fs); err != nil || contents(s) != was {
			t.Fatalf("opened once and not again, or not the same: %v", err)
		}
		must(t, s.Close())
	})
}
