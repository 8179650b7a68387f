package raftlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

const (
	raftDir     = "raft"
	snapshotDir = "snapshots"
	lockFile    = "LOCK"
	dirPerm     = 0o700
	closeWait   = 5 * time.Second // for what may hang on a broken disk
)

// Node is a driver's part in the group.
type Node struct {
	opt    Options
	who    identity
	locked io.Closer
	watch  *watchdog
	store  *store
	snaps  *snapshots
	fsm    *machine
	net    network
	raft   *raft.Raft

	ctx    context.Context // of the node's life: its goroutines end with it
	cancel context.CancelFunc
	work   sync.WaitGroup
	asks   sync.WaitGroup // futures of raft's that are waited for
	// spawning keeps goroutines from being added to asks while Close waits for them.
	spawning sync.Mutex
	closed   sync.Once
	handing  atomic.Int32 // handovers under way

	ending struct {
		once sync.Once
		ch   chan struct{}
		err  error // set before ch is closed
	}
	reigns  reigns
	leaders leaders
	client  client
	idle    waiting
}

// Open makes or opens the node's folder, joins the others and returns; that a leader
// is found shows in Lead and Status. It refuses what it cannot trust.
func Open(opt Options) (*Node, error) {
	opt = opt.withDefaults()
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	if opt.FS == vfsx.Default {
		abs, err := filepath.Abs(opt.Dir) // one name for one folder: the lock is by name
		if err != nil {
			return nil, fmt.Errorf("open driver %s: %w", opt.ID, err)
		}
		opt.Dir = abs
	}
	n := &Node{opt: opt}
	n.ending.ch = make(chan struct{})
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.reigns.init()
	n.leaders.init()
	n.client.addr, n.client.changed = opt.Client, make(chan struct{}, 1)
	n.fsm = newMachine(n.fail)
	n.watch = newWatchdog(opt.DiskTimeout, n.fail)
	if err := n.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open driver %s in %s: %w", opt.ID, opt.Dir, err), n.tearDown())
	}
	n.work.Go(n.bury)
	n.work.Go(n.followReigns)
	n.work.Go(n.followLeaders)
	n.work.Go(n.herald)
	n.work.Go(n.found)
	return n, nil
}

func (n *Node) open() error {
	fs, dir := n.opt.FS, n.opt.Dir
	logs, snaps := fs.PathJoin(dir, raftDir), fs.PathJoin(dir, snapshotDir)
	for _, d := range []string{logs, snaps} {
		if err := vfsx.MkdirAll(fs, d, dirPerm); err != nil {
			return explain(err)
		}
	}
	var err error
	if n.locked, err = fs.Lock(fs.PathJoin(dir, lockFile)); err != nil {
		if vfsx.LockHeld(err) {
			return refuse(ErrInUse)
		}
		return explain(err)
	}
	if err := n.identify(logs); err != nil {
		return err
	}
	if n.snaps, err = openSnapshots(fs, snaps, n.fail, n.watch); err != nil {
		return err
	}
	n.store.hold = n.snaps.oldest
	if err := n.joinUp(); err != nil {
		return err
	}
	if n.net, err = n.opt.network(n.opt, n.self); err != nil {
		return err
	}
	return n.start()
}

// identify reads who the disk is, or writes it. The log comes first: a crash in
// between leaves one without entries, and an identity always has a log.
func (n *Node) identify(logs string) error {
	fs, dir := n.opt.FS, n.opt.Dir
	who, err := readIdentity(fs, dir)
	if err != nil {
		return err
	}
	fresh := who.disk == ""
	switch {
	case !fresh && who.id != n.opt.ID:
		return refuse(fmt.Errorf("%w: it is that of driver %s", ErrForeignDisk, who.id))
	case fresh:
		if err := n.clearUnowned(logs); err != nil {
			return err
		}
		who.id = n.opt.ID
		if who.disk, err = drawUUID(); err != nil {
			return err
		}
	default:
		if numbers, err := listSegments(fs, logs); err != nil || len(numbers) == 0 {
			return errors.Join(err, damagef(fs.PathJoin(logs, segmentFiles.Name(1)), 0,
				"driver %s has lost its log and with it its votes; take it out of the group and let it join as a new one", who.id))
		}
	}
	n.who = who
	if n.store, err = openStore(fs, logs, who.disk, n.opt.SegmentBytesMax, n.fail, n.watch); err != nil || !fresh {
		return err
	}
	return explain(vfsx.WriteFileAtomic(fs, fs.PathJoin(dir, metaFile), who.encode()))
}

// clearUnowned removes the log of a first start that a crash cut short. One with
// entries or a vote had an identity, which is lost.
func (n *Node) clearUnowned(logs string) error {
	fs := n.opt.FS
	names, err := fs.List(logs)
	if err != nil {
		return explain(err)
	}
	if len(names) > 3 { // a segment, NEWEST and something unfinished
		return damagef(fs.PathJoin(n.opt.Dir, metaFile), 0, "it is missing, and there is a log")
	}
	for _, name := range names {
		path := fs.PathJoin(logs, name)
		data, err := vfsx.ReadFile(fs, path, segmentLimit)
		if err != nil {
			return explain(err)
		}
		if _, ok := segmentFiles.Number(name); ok {
			groups, seq := 0, uint64(0)
			_, _, at, err := parseSegmentHeader(data)
			if err == nil {
				_, err = scanGroups(path, data, at, &seq, func(int64, []byte) error { groups++; return nil })
			}
			if err != nil || groups > 1 {
				return errors.Join(err, damagef(fs.PathJoin(n.opt.Dir, metaFile), 0, "it is missing, and there is a log"))
			}
		}
		if err := fs.Remove(path); err != nil {
			return explain(err)
		}
	}
	return nil
}

// joinUp refuses a log that does not reach back to a whole snapshot.
func (n *Node) joinUp() error {
	first, err := n.store.FirstIndex()
	if err != nil {
		return err
	}
	metas, err := n.snaps.List()
	if err != nil {
		return err
	}
	newest := uint64(0)
	if len(metas) > 0 {
		newest = metas[0].Index
	}
	broken := errors.Join(n.snaps.mu.broken...)
	if broken == nil && (first <= newest+1 || first == 0 && newest > 0) {
		return nil
	}
	if first == 0 && broken != nil || first > newest+1 {
		return errors.Join(refuse(fmt.Errorf("%w: its newest whole snapshot is of entry %d, its log begins with entry %d", ErrDamaged, newest, first)), broken)
	}
	n.opt.Logger.Warn("a damaged snapshot is replaced by an older one and the log after it", "used", newest, "error", broken)
	return nil
}

// start makes raft's instance. It panics, or its goroutine ends, when the disk fails
// meanwhile; neither may reach the caller.
func (n *Node) start() error {
	conf := n.opt.raftConfig()
	conf.NotifyCh = n.reigns.notify
	result := make(chan error, 1)
	n.work.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				result <- fmt.Errorf("start raft: %v", p)
			}
			close(result)
		}()
		var err error
		n.raft, err = raft.NewRaft(conf, n.fsm, n.store, n.store, n.snaps, n.net)
		result <- err
	})
	err, ok := <-result
	if !ok { // the goroutine was ended by a failed disk
		<-n.ending.ch
		return n.ending.err
	}
	if err != nil && n.Err() != nil {
		return n.Err()
	}
	return err
}

// me is self with where the network finds it.
func (n *Node) me() Peer {
	p := n.self()
	p.Address = n.net.address()
	return p
}

// self is what this node says of itself to others. The network that asks knows the
// address, and asks before it is whole.
func (n *Node) self() Peer {
	p := Peer{Driver: Driver{ID: n.who.id, Disk: n.who.disk, Client: n.client.get(), Engine: n.opt.Engine}}
	n.fsm.read(func(s *state) { p.Cluster = s.cluster })
	last, err := n.store.LastIndex()
	p.Member = err != nil || last > 0 || p.Cluster != "" || n.snaps.oldest() > 0
	return p
}

// fail ends the node: the first reason counts. It may be called under any lock.
func (n *Node) fail(err error) {
	n.ending.once.Do(func() {
		n.ending.err = err
		close(n.ending.ch)
	})
}

// Failed is closed when the node has failed and is being cut off; Err says why.
func (n *Node) Failed() <-chan struct{} { return n.ending.ch }

// Err returns why the node has failed; nil while it has not.
func (n *Node) Err() error {
	select {
	case <-n.ending.ch:
		return n.ending.err
	default:
		return nil
	}
}

// bury cuts a failed node off, so that the others choose another leader at once, and
// asks for the end of the process (R5). Raft itself may hang on the disk for ever.
func (n *Node) bury() {
	select {
	case <-n.ctx.Done():
		return
	case <-n.ending.ch:
	}
	n.opt.Logger.Error("the driver gives up", "driver", n.opt.ID, "error", n.ending.err)
	n.reigns.end()
	n.net.cut()
	n.opt.Fatal(n.ending.err)
}

// Close hands leadership to another member if it can and ends the node. What the
// ctx bounds is the handing over.
func (n *Node) Close(ctx context.Context) error {
	var err error
	n.closed.Do(func() {
		if n.Err() == nil && n.raft.State() == raft.Leader {
			n.resign(ctx)
		}
		err = n.tearDown()
	})
	return err
}

// resign hands leadership over. A failure is no reason to stay: the others notice.
func (n *Node) resign(ctx context.Context) {
	if f := n.raft.GetConfiguration(); f.Error() != nil || len(f.Configuration().Servers) < 2 {
		return
	}
	n.reigns.end()
	done := make(chan error, 1)
	if !n.spawn(func() { done <- n.raft.LeadershipTransfer().Error() }) {
		return
	}
	select {
	case err := <-done:
		if err != nil {
			n.opt.Logger.Info("leadership was not handed over", "driver", n.opt.ID, "error", err)
		}
	case <-ctx.Done():
	}
}

// tearDown releases everything. On a disk that does not answer that may never end,
// and the process is to end instead.
func (n *Node) tearDown() error {
	n.spawning.Lock()
	n.cancel()
	n.spawning.Unlock()
	n.reigns.end()
	done := make(chan error, 1)
	go func() { done <- n.release() }()
	if n.Err() == nil {
		return <-done
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return n.Err()
	}
}

// answerAsks waits until raft has answered all that was asked. A leader without a
// majority gives up within its lease; only a node that has failed may answer nothing.
func (n *Node) answerAsks() {
	done := make(chan struct{})
	go func() {
		n.asks.Wait()
		close(done)
	}()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

func (n *Node) release() error {
	var err error
	if n.raft != nil {
		n.answerAsks()
		err = n.raft.Shutdown().Error()
	}
	if n.net != nil {
		n.net.cut()
	}
	n.work.Wait()
	n.watch.Close()
	if n.store != nil {
		err = errors.Join(err, n.store.Close())
	}
	if n.locked != nil {
		err = errors.Join(err, n.locked.Close())
	}
	return err
}
