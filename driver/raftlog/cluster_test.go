package raftlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// bubble runs a test of a group in virtual time.
func bubble(t *testing.T, drivers int, run func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, drivers)
		run(t, w)
		w.stopAll()
	})
}

var all = []string{"d1", "d2", "d3"}

func others(id string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(o string) bool { return o == id })
}

// agree waits until all nodes that are up hold the same state, byte for byte (R4).
func (w *world) agree() {
	w.t.Helper()
	eventually(w.t, "all drivers hold the same", func() bool {
		var first []byte
		for _, n := range w.up {
			var b bytes.Buffer
			n.fsm.read(func(s *state) { must(w.t, s.writeImage(&b)) })
			if first == nil {
				first = b.Bytes()
			}
			if !bytes.Equal(first, b.Bytes()) {
				return false
			}
		}
		return true
	})
}

func TestThreeDriversAgree(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.start(all...)
		n := w.leader(all...)
		q := create(t, n, "hot")
		l := life(t, n, q.ID)
		must(t, l.Append(t.Context(), l.Term(), started(l.Term(), batch.None)))
		batches(t, l, 0, 10)
		if l.Term() < batch.Term(n.raft.CurrentTerm()) {
			t.Errorf("term %d of the query, %d of raft", l.Term(), n.raft.CurrentTerm())
		}
		w.agree()
		for _, id := range others(n.opt.ID) {
			f := w.up[id]
			eventually(t, "the leader's address is known", func() bool { return f.Leader().Client != "" })
			if recs, err := f.Records(q.ID); err != nil || len(recs) != 21 {
				t.Errorf("%s holds %d records: %v", id, len(recs), err)
			}
			_, err := f.Create(t.Context(), Query{Name: "other"})
			var nl *NotLeader
			if !errors.As(err, &nl) || nl.Leader.ID != n.opt.ID || nl.Leader.Client != "client-of-"+n.opt.ID {
				t.Errorf("%s takes a query, or sends to the wrong place: %v", id, err)
			}
			if _, err := f.Catalog(t.Context()); !errors.Is(err, ErrNotLeader) {
				t.Errorf("%s answers for the leader: %v", id, err)
			}
		}
	})
}

// A cluster of one is founded at once, and holds what it held when it is opened again.
func TestOneDriverComesBack(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		var q Query
		for round := range 4 {
			w.start("d1")
			n := w.leader("d1")
			if round == 0 {
				q = create(t, n, "hot")
			}
			l := life(t, n, q.ID)
			if got := newest(t, l); got != batch.ID(10*round-1) {
				t.Fatalf("round %d begins after batch %d", round, got)
			}
			batches(t, l, batch.ID(10*round), batch.ID(10*round+10))
			if round%2 == 0 {
				w.kill("d1")
			} else {
				w.stop("d1")
			}
		}
	})
}

// The leader dies after each single append of a batch (C1 to C10, C16): the next one
// finds all that was acknowledged and goes on; the old life is fenced.
func TestLeaderDiesAtEachPoint(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.start(all...)
		q := create(t, w.leader(all...), "hot")
		next, half := batch.ID(0), false // half: next is planned
		for point := range 6 {
			n := w.leader(all...)
			l := life(t, n, q.ID)
			if got := newest(t, l); got != next-1 {
				t.Fatalf("point %d: committed is %d, acknowledged was %d", point, got, next-1)
			}
			recs, err := n.Records(q.ID)
			must(t, err)
			if half != (len(recs) > 0 && recs[len(recs)-1].ID() == next) {
				t.Fatalf("point %d: batch %d planned %t, the log ends with %v", point, next, half, recs[len(recs)-1])
			}
			for range point {
				if half {
					must(t, l.Append(t.Context(), l.Term(), committed(l.Term(), next)))
					next++
				} else {
					must(t, l.Append(t.Context(), l.Term(), planned(l.Term(), next)))
				}
				half = !half
			}
			died := time.Now()
			w.kill(n.opt.ID)
			if err := l.Append(t.Context(), l.Term(), committed(l.Term(), next)); err == nil {
				t.Fatal("a dead driver appends")
			}
			w.leader(others(n.opt.ID)...)
			if took := time.Since(died); took > 3*time.Second {
				t.Errorf("point %d: the next leader came after %s", point, took)
			}
			w.start(n.opt.ID)
		}
		w.agree()
	})
}

// A leader cut off from the majority commits nothing, answers nothing and knows it
// within its lease; when the line is mended, its life is fenced (E2, C17).
func TestMinorityLeader(t *testing.T) {
	for name, cut := range map[string]func(w *world, id string, on bool){
		"both ways": func(w *world, id string, on bool) { w.hub.alone(on, id) },
		"nobody can call it": func(w *world, id string, on bool) {
			for _, o := range others(id) {
				w.hub.set(on, o, id)
			}
		},
		"it can call nobody": func(w *world, id string, on bool) {
			for _, o := range others(id) {
				w.hub.set(on, id, o)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, func(t *testing.T, w *world) {
				w.start(all...)
				n := w.leader(all...)
				q := create(t, n, "hot")
				old := life(t, n, q.ID)
				batches(t, old, 0, 3)
				r, _ := n.reigns.current()
				cut(w, n.opt.ID, true)
				if name == "nobody can call it" { // and that is no reason to change
					batches(t, old, 3, 5)
					cut(w, n.opt.ID, false)
					return
				}
				sent := time.Now()
				err := old.Append(t.Context(), old.Term(), planned(old.Term(), 3))
				if !errors.Is(err, batch.ErrFenced) || !errors.Is(err, ErrNotLeader) {
					t.Errorf("the minority's append: %v", err)
				}
				if took := time.Since(sent); took > 2*n.opt.HeartbeatTimeout {
					t.Errorf("it was refused after %s", took)
				}
				if _, err := n.Catalog(t.Context()); !errors.Is(err, ErrNotLeader) {
					t.Errorf("the minority answers: %v", err)
				}
				eventually(t, "the old reign ends", func() bool { return r.ctx.Err() != nil })
				now := w.leader(others(n.opt.ID)...)
				l := life(t, now, q.ID)
				if l.Term() <= old.Term() {
					t.Errorf("term %d after term %d", l.Term(), old.Term())
				}
				batches(t, l, newest(t, l)+1, 6)
				cut(w, n.opt.ID, false)
				w.leader(all...)
				again := &Log{n: now, query: old.query} // a zombie that reaches the new leader
				if err := again.Append(t.Context(), old.Term(), planned(old.Term(), 6)); !errors.Is(err, batch.ErrFenced) {
					t.Errorf("an older life appends: %v", err)
				}
				if err := again.Truncate(t.Context(), 5); !errors.Is(err, batch.ErrFenced) {
					t.Errorf("an older life truncates: %v", err)
				}
				if err := old.Append(t.Context(), old.Term(), planned(old.Term(), 3)); !errors.Is(err, ErrPoisoned) {
					t.Errorf("a log that was refused appends again: %v", err)
				}
				w.agree()
			})
		})
	}
}

// Who slept since its commit asks the majority again before it acts on it.
func TestASleeperAsksAgain(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.start(all...)
		n := w.leader(all...)
		must(t, n.stillLeads(t.Context(), time.Now()))
		long := time.Now().Add(-time.Hour)
		must(t, n.stillLeads(t.Context(), long))
		w.hub.alone(true, n.opt.ID)
		if err := n.stillLeads(t.Context(), long); !errors.Is(err, ErrNotLeader) {
			t.Errorf("cut off since, it still leads: %v", err)
		}
		w.hub.alone(false, n.opt.ID)
	})
}

// Lead's callee is told when leadership is lost, Lead waits for it, and another
// driver's is called; also when it is lost before the first plan (FLINK-9494, 10011).
func TestLeadFollowsLeadership(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.start(all...)
		ctx, cancel := context.WithCancel(t.Context())
		var leading, made atomic.Int32
		terms := make(chan uint64, 100)
		ended := make(chan error, 3)
		for _, n := range w.up {
			go func() {
				ended <- n.Lead(ctx, func(ctx context.Context, l Leadership) error {
					if leading.Add(1) > 1 {
						t.Error("two lead at a time")
					}
					defer leading.Add(-1)
					if _, err := n.Create(ctx, Query{Name: fmt.Sprintf("q%d", l.Term)}); err == nil {
						made.Add(1)
					}
					if len(l.Catalog) < int(made.Load())-1 {
						t.Errorf("term %d begins with %d queries, %d were made before", l.Term, len(l.Catalog), made.Load()-1)
					}
					terms <- l.Term
					<-ctx.Done()
					return context.Cause(ctx)
				})
			}()
		}
		last := uint64(0)
		for range 4 {
			term := <-terms
			if term <= last {
				t.Errorf("term %d after term %d", term, last)
			}
			last = term
			n := w.leader(all...)
			w.hub.alone(true, n.opt.ID)
			w.leader(others(n.opt.ID)...)
			w.hub.alone(false, n.opt.ID)
		}
		cancel()
		for range 3 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Lead ends with %v", err)
			}
		}
	})
}

// Close hands over: the next leader need not wait for a timeout.
func TestCloseHandsOver(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		w.start(all...)
		n := w.leader(all...)
		q := create(t, n, "hot") // and nothing of it is lost (FLINK-25486, 4201)
		begun := time.Now()
		w.stop(n.opt.ID)
		now := w.leader(others(n.opt.ID)...)
		if took := time.Since(begun); took > n.opt.HeartbeatTimeout {
			t.Errorf("it took %s", took)
		}
		qs, err := now.Catalog(t.Context())
		if err != nil || len(qs) != 1 || qs[0].ID != q.ID {
			t.Errorf("catalog %v, %v", qs, err)
		}
		must(t, now.Handover(t.Context()))
	})
}

// A leader whose disk hangs or fails is cut off and asks for its end; the others go on
// (E3, E5; hashicorp/raft #503). So is a follower.
func TestBrokenDisks(t *testing.T) {
	for _, c := range []struct {
		name   string
		leader bool
		err    error // nil: it hangs
		want   error
	}{{"the leader's hangs", true, nil, ErrHung}, {"the leader's fails", true, syscall.EIO, ErrPoisoned}, {"the leader's is full", true, syscall.ENOSPC, ErrPoisoned},
		{"a follower's hangs", false, nil, ErrHung}, {"a follower's fails", false, syscall.EIO, ErrPoisoned}} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, 3, func(t *testing.T, w *world) {
				var sick atomic.Pointer[string]
				release := make(chan struct{})
				for _, id := range all {
					w.wrap[id] = func(fs vfsx.FS) vfsx.FS {
						return vfsx.Wrap(fs, vfsx.InjectorFunc(func(op vfsx.Op) error {
							if s := sick.Load(); s == nil || *s != id || op.Kind != errorfs.OpFileSyncData {
								return nil
							}
							if c.err == nil {
								<-release
							}
							return c.err
						}))
					}
				}
				w.start(all...)
				n := w.leader(all...)
				q := create(t, n, "hot")
				l := life(t, n, q.ID)
				batches(t, l, 0, 3)
				id := n.opt.ID
				if !c.leader {
					id = others(id)[0]
				}
				sick.Store(&id)
				err := l.Append(t.Context(), l.Term(), planned(l.Term(), 3))
				if c.leader == (err == nil) {
					t.Errorf("append: %v", err)
				}
				<-w.up[id].Failed()
				if err := w.up[id].Err(); !errors.Is(err, c.want) || !strings.Contains(err.Error(), "node/raft/") {
					t.Errorf("it gave up with %v", err)
				}
				now := w.leader(others(id)...)
				l = life(t, now, q.ID)
				if got := newest(t, l); got != 2 {
					t.Errorf("committed is batch %d", got)
				}
				close(release)
				must(t, errors.Join(nil, ignore(w.up[id].Close(t.Context()))))
				delete(w.up, id)
				sick.Store(nil)
				w.start(id)
				w.agree()
			})
		})
	}
}

// ignore is for what a broken node's Close says.
func ignore(error) error { return nil }

// An entry that this program cannot read is neither passed over nor waited at: the
// node ends by name, and so does one that starts with it (FLINK-5942).
func TestUnreadableEntry(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.start("d1")
		n := w.leader("d1")
		b, err := encodeCommand(beginLife{"q"})
		must(t, err)
		b[4]++ // of a newer program
		_ = n.raft.Apply(b, time.Second)
		<-n.Failed()
		if !errors.Is(n.Err(), ErrDamaged) || !strings.Contains(n.Err().Error(), "entry ") {
			t.Errorf("it ends with %v", n.Err())
		}
		_ = n.Close(t.Context())
		delete(w.up, "d1")
		w.start("d1")
		<-w.up["d1"].Failed()
		_ = w.up["d1"].Close(t.Context())
		delete(w.up, "d1")
	})
}
