package raftlog

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// fill makes a log long enough for some snapshots and returns what it committed.
func fill(t *testing.T, w *world, n *Node) (q Query, next batch.ID) {
	t.Helper()
	q = create(t, n, "hot")
	l := life(t, n, q.ID)
	for ; next < 150; next += 10 {
		batches(t, l, next, next+10)
		pause(500 * time.Millisecond)
	}
	metas, err := n.snaps.List()
	must(t, err)
	first, err := n.store.FirstIndex()
	must(t, err)
	if len(metas) != snapsKept || first < 2 || first > metas[1].Index+1 {
		t.Fatalf("%d snapshots, the newest of entry %d; the log begins with entry %d", len(metas), metas[0].Index, first)
	}
	return q, next
}

// A follower that was away for longer than the log reaches back gets a snapshot.
func TestALateFollowerGetsASnapshot(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.start(all...)
		n := w.leader(all...)
		away := others(n.opt.ID)[0]
		w.kill(away)
		fill(t, w, n)
		w.start(away)
		w.agree()
		if metas, err := w.up[away].snaps.List(); err != nil || len(metas) == 0 {
			t.Errorf("it has %d snapshots, %v", len(metas), err)
		}
		w.stop(away)
		w.start(away)
		w.leader(all...)
		w.agree()
	})
}

// Of a damaged snapshot the older one is taken, with the log after it; when no whole
// one reaches back far enough the node is refused by name. Nothing is guessed (E6).
func TestDamagedSnapshots(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start("d1")
		q, next := fill(t, w, w.leader("d1"))
		w.stop("d1")
		fs := w.disks["d1"]
		names, err := fs.List("node/snapshots")
		must(t, err)
		slices.Sort(names)
		newestSnap := "node/snapshots/" + names[len(names)-1]
		good, err := vfsx.ReadFile(fs, newestSnap, 1<<20)
		must(t, err)
		for at := 0; at < len(good); at += 1 + len(good)/12 {
			for what, bad := range map[string][]byte{"flipped": flip(good, at), "cut": good[:at]} {
				w.disks["d1"] = fs.CrashClone(vfsx.CrashCloneCfg{}) // of what it is like now
				must(t, vfsx.WriteFileAtomic(w.disks["d1"], newestSnap, bad))
				w.start("d1")
				n := w.leader("d1")
				if len(n.snaps.mu.broken) != 1 {
					t.Fatalf("%s at %d of %d: damaged are %v", what, at, len(good), n.snaps.mu.broken)
				}
				if l := life(t, n, q.ID); newest(t, l) != next-1 {
					t.Fatalf("%s at %d: committed is batch %d, want %d", what, at, newest(t, l), next-1)
				}
				w.kill("d1")
			}
		}
		for _, name := range names {
			must(t, vfsx.WriteFileAtomic(fs, "node/snapshots/"+name, good[:len(good)-1]))
		}
		w.disks["d1"] = fs
		_, err = Open(w.options("d1"))
		if k, _ := batch.KindOf(err); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), names[0]) || k != batch.User {
			t.Fatalf("all snapshots are damaged: %v", err)
		}
	})
}

func flip(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 8
	return b
}

// The folder's parts belong together: without one of them the node is refused, as one
// of another driver is.
func TestFolders(t *testing.T) {
	for what, c := range map[string]struct {
		change func(fs vfsx.FS) error
		opt    func(*Options)
		want   error
	}{
		"the identity is missing": {func(fs vfsx.FS) error { return fs.Remove("node/" + metaFile) }, nil, ErrDamaged},
		"the identity is damaged": {func(fs vfsx.FS) error {
			b, err := vfsx.ReadFile(fs, "node/"+metaFile, 1<<10)
			return errors.Join(err, vfsx.WriteFileAtomic(fs, "node/"+metaFile, flip(b, len(b)-3)))
		}, nil, ErrDamaged},
		"the log is missing":  {func(fs vfsx.FS) error { return fs.RemoveAll("node/raft") }, nil, ErrDamaged},
		"another driver's":    {nil, func(o *Options) { o.ID, o.Peers = "d2", nil }, ErrForeignDisk},
		"it is in use":        {func(fs vfsx.FS) error { _, err := fs.Lock("node/" + lockFile); return err }, nil, ErrInUse},
		"nothing was changed": {nil, nil, nil},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				w.start("d1")
				create(t, w.leader("d1"), "hot")
				w.stop("d1")
				if c.change != nil {
					must(t, c.change(w.disks["d1"]))
				}
				opt := w.options("d1")
				if c.opt != nil {
					c.opt(&opt)
				}
				n, err := Open(opt)
				if !errors.Is(err, c.want) {
					t.Errorf("%v", err)
				}
				if err == nil {
					must(t, n.Close(t.Context()))
				}
			})
		})
	}
}

// A driver that lost its disk neither founds a second cluster nor votes under its old
// name; it is in again when the cluster has replaced it (R7).
func TestALostDiskDoesNotVote(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.start(all...)
		n := w.leader(all...)
		q := create(t, n, "hot")
		first, lost, other := n.opt.ID, others(n.opt.ID)[0], others(n.opt.ID)[1]
		w.kill(lost)
		w.disks[lost] = vfsx.NewCrashableMem()
		w.start(lost)
		eventually(t, "it says why it waits", func() bool { s, err := w.up[lost].Status(); return err == nil && errors.Is(s.Waiting, ErrLostDisk) })
		w.kill(other) // now one of two voters is left, and the empty one must not stand in
		eventually(t, "the last one steps down", func() bool { r, _ := n.reigns.current(); return r == nil })
		pause(20 * time.Second)
		if r, _ := n.reigns.current(); r != nil {
			t.Error("a disk that knows nothing has voted")
		}
		if w.up[lost].self().Member {
			t.Error("it is a member of something")
		}
		w.start(other)
		n = w.leader(first, other) // either
		if _, err := n.AddDriver(t.Context(), lost); !errors.Is(err, ErrLostDisk) {
			t.Errorf("it is added as if nothing had happened: %v", err)
		}
		d, err := n.ReplaceDriver(t.Context(), lost)
		must(t, err)
		if d.ID != lost || d.Disk != w.up[lost].who.disk {
			t.Errorf("replaced by %+v", d)
		}
		w.leader(all...)
		w.agree()
		if qs := w.up[lost].Known(); len(qs) != 1 || qs[0].ID != q.ID {
			t.Errorf("it knows %v", qs)
		}
		w.kill(other)
		w.leader(first, lost)
	})
}

// Members come and go one by one, the leader too.
func TestMembersComeAndGo(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.start(all...)
		n := w.leader(all...)
		q := create(t, n, "hot")
		w.disks["d4"] = vfsx.NewCrashableMem()
		opt := w.options("d4")
		opt.Peers = map[string]string{"d1": "d1", "d2": "d2", "d3": "d3", "d4": "d4"}
		d4, err := Open(opt)
		must(t, err)
		w.up["d4"] = d4
		_, err = n.AddDriver(t.Context(), "d4")
		must(t, err)
		_, err = n.AddDriver(t.Context(), "d4") // again is nothing
		must(t, err)
		w.leader("d1", "d2", "d3", "d4")
		w.agree()
		must(t, ignore(n.RemoveDriver(t.Context(), n.opt.ID))) // whether it hears the answer or not
		rest := append(others(n.opt.ID), "d4")
		now := w.leader(rest...)
		s, err := now.Status()
		must(t, err)
		if len(s.Voters) != 3 || slices.ContainsFunc(s.Voters, func(d Driver) bool { return d.ID == n.opt.ID }) || !s.Leads || s.Leader.ID != now.opt.ID {
			t.Errorf("status %+v", s)
		}
		w.stop(n.opt.ID)
		if qs, err := now.Catalog(t.Context()); err != nil || len(qs) != 1 || qs[0].ID != q.ID {
			t.Errorf("catalog %v, %v", qs, err)
		}
	})
}

// Power fails at any write of a first start: the next one is a first start again, or
// goes on, and never mistakes the one for the other.
func TestFirstStartCrashes(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		for n := int64(0); ; n++ {
			mem := vfsx.NewCrashableMem()
			w.disks["d1"] = mem
			fault := vfsx.FailOnce(n, vfsx.Writes)
			w.wrap["d1"] = func(fs vfsx.FS) vfsx.FS { return vfsx.Wrap(fs, fault) }
			node, err := Open(w.options("d1"))
			if err == nil {
				eventually(t, "it leads or fails", func() bool { r, _ := node.reigns.current(); return r != nil || node.Err() != nil })
			}
			for _, percent := range []int{0, 100} {
				w.wrap["d1"], w.disks["d1"] = nil, mem.CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(uint64(n), 1))})
				w.start("d1")
				create(t, w.leader("d1"), "hot")
				w.stop("d1")
			}
			if err == nil {
				_ = node.Close(t.Context())
			}
			if !fault.Failed() {
				if n < 20 {
					t.Fatalf("only %d writes", n)
				}
				return
			}
		}
	})
}
