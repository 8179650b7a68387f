package raftlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fataler is what testing and rapid have in common.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func must(t fataler, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hub is a network in memory whose lines can be cut one way.
type hub struct {
	mu    sync.Mutex
	nets  map[string]*memNet // by driver
	lines map[[2]string]bool // cut, from to
}

// memNet is a node's end of it.
type memNet struct {
	*raft.InmemTransport
	hub  *hub
	id   string
	self func() Peer
}

func newHub() *hub { return &hub{nets: map[string]*memNet{}, lines: map[[2]string]bool{}} }

func (h *hub) open(opt Options, self func() Peer) (network, error) {
	_, trans := raft.NewInmemTransportWithTimeout(joinAddress(opt.ID, self().Disk), 200*time.Millisecond)
	n := &memNet{trans, h, opt.ID, self}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nets[opt.ID] = n
	h.wireLocked()
	return n, nil
}

func (h *hub) wireLocked() {
	for from, a := range h.nets {
		for to, b := range h.nets {
			if from == to {
				continue
			}
			if h.lines[[2]string{from, to}] {
				a.Disconnect(b.LocalAddr())
			} else {
				a.Connect(b.LocalAddr(), b.InmemTransport)
			}
		}
	}
}

// set cuts or mends the line from one to the other.
func (h *hub) set(cut bool, from, to string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines[[2]string{from, to}] = cut
	h.wireLocked()
}

// alone cuts a driver off, or takes it in again.
func (h *hub) alone(cut bool, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for other := range h.nets {
		h.lines[[2]string{id, other}], h.lines[[2]string{other, id}] = cut, cut
	}
	h.wireLocked()
}

func (n *memNet) address() string { return n.id }

func (n *memNet) ask(to string, _ time.Duration) (Peer, error) {
	n.hub.mu.Lock()
	p, cut := n.hub.nets[to], n.hub.lines[[2]string{n.id, to}]
	n.hub.mu.Unlock()
	if p == nil || cut {
		return Peer{}, errors.New("no route")
	}
	who := p.self()
	who.Address = p.id
	return who, nil
}

func (n *memNet) cut() {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	if n.hub.nets[n.id] != n {
		return
	}
	delete(n.hub.nets, n.id)
	n.DisconnectAll()
	for _, o := range n.hub.nets {
		o.Disconnect(n.LocalAddr())
	}
}

// world is a group of drivers in one bubble.
type world struct {
	t     *testing.T
	hub   *hub
	peers map[string]string
	disks map[string]*vfsx.MemFS
	wrap  map[string]func(vfsx.FS) vfsx.FS
	up    map[string]*Node
}

func newWorld(t *testing.T, drivers int) *world {
	w := &world{t: t, hub: newHub(), peers: map[string]string{}, disks: map[string]*vfsx.MemFS{}, up: map[string]*Node{},
		wrap: map[string]func(vfsx.FS) vfsx.FS{}}
	for i := range drivers {
		id := fmt.Sprintf("d%d", i+1)
		w.peers[id] = id
		w.disks[id] = vfsx.NewCrashableMem()
	}
	return w
}

func (w *world) options(id string) Options {
	var fs vfsx.FS = w.disks[id]
	if f := w.wrap[id]; f != nil {
		fs = f(fs)
	}
	return Options{ID: id, Dir: "node", FS: fs, Listen: id, Client: "client-of-" + id, Peers: w.peers, network: w.hub.open,
		SegmentBytesMax: 4 << 10, SnapshotEntries: 64, SnapshotInterval: time.Second}
}

func (w *world) start(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		n, err := Open(w.options(id))
		if err != nil {
			w.t.Fatalf("open %s: %v", id, err)
		}
		w.up[id] = n
	}
}

// stop closes nodes in order.
func (w *world) stop(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if n := w.up[id]; n != nil {
			delete(w.up, id)
			must(w.t, n.Close(w.t.Context()))
		}
	}
}

func (w *world) stopAll() { w.stop("d1", "d2", "d3", "d4") }

// kill takes a node's memory and what its disk had not synced.
func (w *world) kill(id string) {
	w.t.Helper()
	w.hub.alone(true, id)
	crashed := w.disks[id].CrashClone(vfsx.CrashCloneCfg{})
	n := w.up[id]
	delete(w.up, id)
	n.reigns.end() // no word is handed over
	must(w.t, n.tearDown())
	w.disks[id] = crashed
	w.hub.alone(false, id)
}

const patience = time.Minute // of virtual time: what takes longer never comes

// leader waits until one of the nodes leads for all of the given ones.
func (w *world) leader(among ...string) *Node {
	w.t.Helper()
	for begun := time.Now(); time.Since(begun) < patience; pause(10 * time.Millisecond) {
		for _, id := range among {
			n := w.up[id]
			if n == nil {
				continue
			}
			if r, _ := n.reigns.current(); r == nil || n.raft.VerifyLeader().Error() != nil {
				continue
			}
			if !slices.ContainsFunc(among, func(o string) bool { return w.up[o] != nil && w.up[o].Leader().ID != id }) {
				return n
			}
		}
	}
	w.t.Fatalf("nobody leads %v", among)
	return nil
}

// pause lets virtual time pass.
func pause(d time.Duration) { <-time.After(d) }

// eventually waits for a condition in virtual time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < patience; pause(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func started(term batch.Term, last batch.ID) microbatch.Record {
	return microbatch.Started{Term: term, Last: last, Identity: microbatch.Identity{Query: "q", PlanHash: "h"}}
}

func planned(term batch.Term, id batch.ID) microbatch.Record {
	return microbatch.Planned{Batch: id, Term: term, PlanHash: "h", Watermark: batch.NoTime, Close: batch.NoTime,
		Ranges: []batch.Range{{Source: "s#0", Start: batch.Offset(fmt.Sprint(id)), End: batch.Offset(fmt.Sprint(id + 1))}}}
}

func committed(term batch.Term, id batch.ID) microbatch.Record {
	return microbatch.Committed{Batch: id, Term: term, Counters: batch.Counters{RowsIn: 2}, NextWatermark: 7,
		Prepared: []batch.Prepared{{Sink: "out#0", Payload: []byte("f"), Rows: 2}}}
}

func create(t *testing.T, n *Node, name string) Query {
	t.Helper()
	q, err := n.Create(t.Context(), Query{Name: name, Spec: Spec{SQL: "INSERT INTO t SELECT 1"}})
	must(t, err)
	return q
}

func life(t *testing.T, n *Node, id batch.QueryID) *Log {
	t.Helper()
	l, err := n.Log(t.Context(), id)
	must(t, err)
	return l
}

// batches appends whole batches and returns the next one's number.
func batches(t *testing.T, l *Log, from, to batch.ID) {
	t.Helper()
	for id := from; id < to; id++ {
		must(t, l.Append(t.Context(), l.Term(), planned(l.Term(), id)))
		must(t, l.Append(t.Context(), l.Term(), committed(l.Term(), id)))
	}
}

// newest returns the newest committed batch of a log.
func newest(t *testing.T, l *Log) (committed batch.ID) {
	t.Helper()
	committed = batch.None
	for r, err := range l.Replay(context.Background(), 0) {
		must(t, err)
		if c, ok := r.(microbatch.Committed); ok {
			if c.Batch != committed+1 {
				t.Fatalf("batch %d is committed after batch %d", c.Batch, committed)
			}
			committed = c.Batch
		}
	}
	return committed
}
