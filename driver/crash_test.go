package driver

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver/filelog"
	"github.com/sluice-stream/sluice/internal/seeds"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/inproc"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
)

var errPower = errors.New("the power is gone")

// machineRoom is a computer that loses power: at a given file operation the disk
// keeps what was synced and some of the rest, and nothing works any more.
type machineRoom struct {
	mem   *vfsx.MemFS
	rng   *rand.Rand
	until atomic.Int64 // operations left; negative: no end
	dark  atomic.Bool  // set before the disk is copied: what happens from then on counts nowhere
	after *vfsx.MemFS
}

func (m *machineRoom) MaybeError(op vfsx.Op) error {
	if !vfsx.Writes.Evaluate(op) {
		return nil
	}
	if m.dark.Load() {
		return errPower
	}
	if m.until.Load() < 0 || m.until.Add(-1) >= 0 {
		return nil
	}
	if m.dark.CompareAndSwap(false, true) {
		m.after = m.mem.CrashClone(vfsx.CrashCloneCfg{UnsyncedDataPercent: m.rng.IntN(101), RNG: m.rng})
	}
	return errPower
}

func (m *machineRoom) String() string { return "(power loss)" }

// TestPowerLoss runs a query through a chain of power losses, with batch log and
// state checkpoints on the disk, partitions that change from start to start,
// tasks that fail and a sink that loses answers. Every number is counted once.
func TestPowerLoss(t *testing.T) {
	crashes := 0
	for seed := range seeds.Of(t, 60) {
		synctest.Test(t, func(t *testing.T) {
			crashes += powerLoss(t, seed)
		})
	}
	if seeds.Usual() && crashes < 100 {
		t.Fatalf("only %d crashes", crashes)
	}
	t.Logf("%d crashes", crashes)
}

func powerLoss(t *testing.T, seed uint64) (crashes int) {
	rng := rand.New(rand.NewPCG(seed, 17)) // of this goroutine
	src, out := newNumbers(0), newShelf()
	disk := vfsx.NewCrashableMem()
	for life := 0; ; life++ {
		room := &machineRoom{mem: disk, rng: rand.New(rand.NewPCG(seed, uint64(life)))}
		out.dark = &room.dark
		room.until.Store(int64(rng.IntN(250)))
		if life == 6 {
			room.until.Store(-1)
		}
		src.grow(min(600, src.end+int64(rng.IntN(150))))
		if life == 6 {
			src.grow(600)
		}
		err := oneLife(t, rng, vfsx.Wrap(disk, room), src, out)
		after := room.after
		if err == nil && after == nil && src.end == 600 {
			out.check(t, 600)
			return crashes
		}
		if err != nil && !strings.Contains(err.Error(), errPower.Error()) && !errors.Is(err, filelog.ErrPoisoned) {
			t.Fatalf("seed %d, life %d: %v", seed, life, err)
		}
		if life == 6 {
			t.Fatalf("seed %d: the last life ended with %v at %d", seed, err, src.end)
		}
		if after != nil {
			disk = after
			crashes++
		}
	}
}

// oneLife starts the query on what the disk holds and runs it to the end of the
// source, or of the power.
func oneLife(t *testing.T, rng *rand.Rand, fs vfsx.FS, src *numbers, out *shelf) error {
	net := inproc.New(inproc.Options{InboxMax: 70})
	log, err := filelog.Open(filelog.Options{FS: fs, Dir: "ck", Metadata: filelog.Metadata{Name: "digits", Query: "q"}, SegmentBytesMax: 2000, BallastBytes: -1})
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	if err := vfsx.MkdirAll(fs, "ck/state", 0o700); err != nil {
		return err
	}
	w := startWorker(t, net, "w", fs)
	defer w.stop()
	node, err := net.Join("driver")
	if err != nil {
		return err
	}
	defer func() { _ = node.Close() }()
	faults := rand.New(rand.NewPCG(rng.Uint64(), 1)) // used by the worker's goroutine alone
	w.fault = func(batch.TaskSpec) error {
		if faults.IntN(20) == 0 {
			return batch.ExternalError(errors.New("a task fails now and then"), true)
		}
		return nil
	}
	out.mu.Lock()
	out.failures, out.after = rng.IntN(3), rng.IntN(2) == 0
	out.mu.Unlock()
	q, err := Start(t.Context(), Options{
		Name: "digits", Query: log.Metadata().Query, Plan: countPlan(), Log: log, Transport: node, Workers: []transport.NodeID{"w"},
		Parallelism: 1 + rng.IntN(6), TasksPerWorker: 1 + rng.IntN(64), Sources: map[string]sources.Source{"n#0": src}, Sinks: map[string]sinks.Sink{"out#0": out},
		Limits: map[string]sources.Limit{"n#0": {Rows: int64(1 + rng.IntN(60))}},
		Protocol: microbatch.Options{Trigger: microbatch.Trigger{Kind: microbatch.AvailableNow}, CheckpointBatches: 1 + rng.IntN(6),
			CheckpointInterval: -1, NoFinalCheckpoint: rng.IntN(2) == 0, RetryBackoff: time.Millisecond},
	})
	if err != nil {
		return err
	}
	// Beside it the parallelism changes and checkpoints are asked for, so that the
	// power fails at each step of that, too.
	var users sync.WaitGroup
	moves, saves := rand.New(rand.NewPCG(rng.Uint64(), 2)), &savedRoots{}
	users.Go(func() {
		for range moves.IntN(4) {
			_ = q.Rescale(t.Context(), 1+moves.IntN(6)) // what ends the query is told by Await
		}
	})
	users.Go(func() {
		for range 3 {
			_ = q.Checkpoint(t.Context(), saves.add)
		}
	})
	err = q.Await(t.Context())
	users.Wait()
	saves.check(t)
	return err
}

// savedRoots gathers what Checkpoint hands out.
type savedRoots struct{ list []Root }

func (s *savedRoots) add(r Root) error {
	s.list = append(s.list, r)
	return nil
}

func (s *savedRoots) check(t *testing.T) {
	last := batch.None
	for _, r := range s.list {
		if r.Check.Batch < last || r.Plan.Batch != r.Check.Batch || r.Commit.Batch != r.Check.Batch || len(r.Check.Manifests) == 0 {
			t.Errorf("a checkpoint of batch %d with plan %d, commit %d, %d manifests follows one of batch %d",
				r.Check.Batch, r.Plan.Batch, r.Commit.Batch, len(r.Check.Manifests), last)
		}
		last = r.Check.Batch
	}
}
