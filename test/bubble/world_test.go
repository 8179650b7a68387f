//go:build synctests

package bubble

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// counted tells what was not given back. memory.CheckedAllocator, which also tells whose
// it is, takes a tenth of the time of a seed: put it here to find who leaks.
type counted struct {
	memory.Allocator
	bytes atomic.Int64
}

func (c *counted) Allocate(size int) []byte {
	c.bytes.Add(int64(size))
	return c.Allocator.Allocate(size)
}

func (c *counted) Reallocate(size int, b []byte) []byte {
	c.bytes.Add(int64(size - len(b)))
	return c.Allocator.Reallocate(size, b)
}

func (c *counted) Free(b []byte) {
	c.bytes.Add(-int64(len(b)))
	c.Allocator.Free(b)
}

// world is one life of a cluster, in one bubble.
type world struct {
	t     *testing.T
	seed  uint64
	rng   *rand.Rand // of the goroutine of the test alone
	net   *fabric
	query *query
	// mutant is the rule of the world's own that is broken; "": none is.
	mutant string
	alloc  *counted

	drivers, workers []string
	disks            map[string]*vfsx.MemFS // the drivers' own
	shared           *vfsx.MemFS            // what all see: checkpoints, staged rows, the file sink
	broker           *kfake.Cluster
	user             *user
	ledger           *ledger
	tasks            *tasks // that workers have begun; nil: nobody counts

	heartbeat, lease, beat, retry, disk, trigger, poll, checkpoint, calm time.Duration // 0: the default
	partitions, standbys                                                 int
	skewMax, lasted                                                      time.Duration
	incarnation                                                          uint64

	ending sync.WaitGroup // processes that were killed and go down
	mu     struct {
		sync.Mutex
		drivers map[string]*driverProc
		workers map[string]*workerProc
		leaving map[string]<-chan struct{} // processes that end in good order
		hits    map[string]int
		notes   []string
		broken  []string // what must not be
		disk    bool     // a disk has failed
	}
}

func newWorld(t *testing.T, seed uint64, m string) *world {
	rng := rand.New(rand.NewPCG(seed, 99))
	q, err := planned(script)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, seed: seed, mutant: m, rng: rng, query: q, alloc: &counted{Allocator: memory.NewGoAllocator()}, disks: map[string]*vfsx.MemFS{}, shared: vfsx.NewCrashableMem()}
	delay := []time.Duration{0, time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond}[rng.IntN(4)]
	w.net = newFabric(rand.New(rand.NewPCG(seed, 7)), delay)
	w.drivers, w.workers = []string{"d1", "d2", "d3"}, []string{"w1", "w2", "w3", "w4"}[:2+rng.IntN(3)]
	for _, d := range w.drivers {
		w.disks[d] = vfsx.NewCrashableMem()
	}
	w.heartbeat = []time.Duration{750 * time.Millisecond, 1500 * time.Millisecond}[rng.IntN(2)]
	w.lease = []time.Duration{2 * time.Second, 3 * time.Second}[rng.IntN(2)]
	w.retry = []time.Duration{time.Second, 4 * time.Second, 4 * time.Second, 4 * time.Second}[seed%4]
	w.trigger = []time.Duration{200 * time.Millisecond, 500 * time.Millisecond, time.Second}[rng.IntN(3)]
	w.checkpoint = []time.Duration{500 * time.Millisecond, 2 * time.Second, 10 * time.Second}[rng.IntN(3)]
	w.poll = 20 * time.Millisecond
	w.calm = []time.Duration{300 * time.Millisecond, 2 * time.Second, 6 * time.Second}[rng.IntN(3)]
	w.partitions = 1 + rng.IntN(4)
	w.standbys = int(seed>>2) % 2 // copies of the state (state.standby-replicas)
	if rng.IntN(4) == 0 {
		w.skewMax = time.Hour
	}
	w.mu.leaving = map[string]<-chan struct{}{}
	w.mu.drivers, w.mu.workers, w.mu.hits = map[string]*driverProc{}, map[string]*workerProc{}, map[string]int{}
	w.ledger = newLedger(w.violated)
	w.startBroker()
	w.user = newUser(w)
	return w
}

func (w *world) newHost(name string) *host {
	skew := time.Duration(0)
	if w.skewMax > 0 {
		skew = time.Duration(w.rng.Int64N(int64(2*w.skewMax))) - w.skewMax
		w.count("clock is wrong")
	}
	h := newHost(w.net, name, skew)
	h.lazy = w.mutant == noSync
	return h
}

func (w *world) startBroker() {
	h := newHost(w.net, "broker", 0)
	var err error
	w.broker, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.SeedTopics(2, "in", "copies", "counts"),
		kfake.ListenFn(func(_, address string) (net.Listener, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return h.listen(port)
		}))
	if err != nil {
		w.t.Fatal(err)
	}
}

// violated notes what must not be.
func (w *world) violated(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.broken = append(w.mu.broken, fmt.Sprintf(format, args...))
}

const notesKept = 400

// note keeps what may tell why a run has failed.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.mu.notes) == notesKept {
		w.mu.notes = w.mu.notes[1:]
	}
	text := fmt.Sprintf(format, args...)
	w.mu.notes = append(w.mu.notes, time.Now().Format("04:05.000 ")+text[:min(len(text), 300)])
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.hits[what]++
}

// event is told what happens to the query.
func (w *world) event(d *driverProc, e driver.Event) {
	switch e := e.(type) {
	case driver.WorkersTaken, driver.WorkerLost, driver.Warning, driver.TaskFailed, driver.BatchFailed, driver.RevealFailed, driver.CheckpointFailed:
		w.note("%s: %T %+v", d.name, e, e)
	case driver.BatchRevealed:
		for range e.Progress.TasksAdopted {
			w.count("task adopted")
		}
	case driver.BatchCommitted:
		w.note("%s: committed %+v", d.name, e)
	case driver.Recovered:
		if w.standbys > 0 && e.Recovery.KeptShards > 0 {
			w.count("kept state is gone on with, and copies")
		}
	case driver.QueryEnded:
		w.note("%s: the query ended: %v", d.name, e.Err)
	default:
	}
}

// excused reports whether a query may end by an error.
func (w *world) excused(err error) bool {
	return errors.Is(err, vfsx.ErrInjected) || errors.Is(err, errKilled) || strings.Contains(err.Error(), vfsx.ErrInjected.Error())
}

// raise starts a driver or a worker, if it is not up.
func (w *world) raise(id string) {
	w.mu.Lock()
	up, leaving := w.mu.drivers[id] != nil || w.mu.workers[id] != nil, w.mu.leaving[id]
	w.mu.Unlock()
	if leaving != nil {
		<-leaving // its ports and its disk are its own until then
	}
	if up {
		return
	}
	if id[0] == 'd' {
		d, err := w.startDriver(id)
		if err != nil {
			w.violated("start %s: %v", id, err)
			return
		}
		w.mu.Lock()
		w.mu.drivers[id] = d
		w.mu.Unlock()
		return
	}
	p, err := w.startWorker(id)
	if err != nil {
		w.violated("start %s: %v", id, err)
		return
	}
	w.mu.Lock()
	w.mu.workers[id] = p
	w.mu.Unlock()
}

// raiseAll starts what is down.
func (w *world) raiseAll() {
	for _, id := range slices.Concat(w.drivers, w.workers) {
		w.raise(id)
	}
}

// take removes a process from those that are up.
func (w *world) take(id string) (*driverProc, *workerProc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, p := w.mu.drivers[id], w.mu.workers[id]
	delete(w.mu.drivers, id)
	delete(w.mu.workers, id)
	return d, p
}

// crash is what a loss of power leaves of a disk.
func (w *world) crash(fs *vfsx.MemFS) *vfsx.MemFS {
	return fs.CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: w.rng.IntN(101), RNG: w.rng})
}

// fell takes a process down at once: what its disk has not synced may be lost with it.
func (w *world) fell(id string) {
	d, p := w.take(id)
	if d != nil {
		d.kill()
		w.disks[id] = w.crash(w.disks[id])
		w.ending.Go(func() { _ = d.end() }) // its errors are those of a dead process
	}
	if p != nil {
		p.kill()
		w.ending.Go(func() { _ = p.end() })
	}
}

// died is told of a driver whose disk has failed: its process ends.
func (w *world) died(d *driverProc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.drivers[d.name] != d {
		return
	}
	delete(w.mu.drivers, d.name)
	w.mu.hits["driver gave up"]++
	d.kill()
	w.disks[d.name] = w.disks[d.name].CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(w.seed, uint64(w.mu.hits["driver gave up"])))})
	w.ending.Go(func() { _ = d.end() })
}

// blackout takes the power from all but the brokers.
func (w *world) blackout() {
	for _, id := range slices.Concat(w.drivers, w.workers) {
		w.fell(id)
	}
	w.shared = w.crash(w.shared)
}

// leave ends a process in good order. done is closed when it has ended.
func (w *world) leave(id string) (done <-chan struct{}) {
	d, p := w.take(id)
	ended := make(chan struct{})
	if d != nil || p != nil {
		w.mu.Lock()
		w.mu.leaving[id] = ended
		w.mu.Unlock()
	}
	w.ending.Go(func() {
		defer close(ended)
		var err error
		if d != nil {
			err = d.end()
		}
		if p != nil {
			err = p.end()
		}
		if err != nil && !w.excused(err) {
			w.note("%s ended with %v", id, err)
		}
	})
	return ended
}

// leader names the driver that runs the query; "" if none does.
func (w *world) leader() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(w.mu.drivers)) {
		if w.mu.drivers[id].query.Load() != nil {
			return id
		}
	}
	return ""
}

// end takes everything down and looks at what is left.
func (w *world) end() {
	for _, id := range slices.Concat(w.workers, w.drivers) {
		w.leave(id)
	}
	w.ending.Wait()
	w.user.close()
	w.broker.Close()
}

// pause lets virtual time pass.
func pause(d time.Duration) { <-time.After(d) }
