package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/inproc"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memLog is a batch log in memory. filelog has its own tests, and crash_test.go
// puts the two together.
type memLog struct {
	mu   sync.Mutex
	recs []microbatch.Record
	term batch.Term
	fail error
}

func (l *memLog) Append(_ context.Context, term batch.Term, recs ...microbatch.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	if term < l.term {
		return batch.ErrFenced
	}
	l.term = term
	l.recs = append(l.recs, recs...)
	return nil
}

func (l *memLog) Replay(context.Context, batch.ID) iter.Seq2[microbatch.Record, error] {
	l.mu.Lock()
	recs := l.recs
	l.mu.Unlock()
	return func(yield func(microbatch.Record, error) bool) {
		for _, r := range recs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (l *memLog) Truncate(_ context.Context, before batch.ID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var left []microbatch.Record
	for _, r := range l.recs {
		if r.ID() >= before {
			left = append(left, r)
		}
	}
	l.recs = left
	return nil
}

func (l *memLog) Close() error { return nil }

// bed is a query with everything around it.
type bed struct {
	t      testing.TB
	net    *inproc.Network
	fs     vfsx.FS
	worker *fakeWorker
	src    *numbers
	out    *shelf
	opt    Options
	node   *inproc.Node

	mu     sync.Mutex
	events []Event
}

func newBed(t testing.TB, end int64) *bed {
	t.Helper()
	b := &bed{t: t, net: inproc.New(inproc.Options{}), fs: vfsx.NewMem(), src: newNumbers(end), out: newShelf()}
	b.worker = startWorker(t, b.net, "w", b.fs)
	node, err := b.net.Join("driver")
	if err != nil {
		t.Fatal(err)
	}
	b.node = node
	b.opt = Options{
		Name: "digits", Query: "q", Plan: countPlan(), Log: &memLog{}, Transport: node, Workers: []transport.NodeID{"w"}, Parallelism: 3,
		Sources: map[string]sources.Source{"n#0": b.src}, Sinks: map[string]sinks.Sink{"out#0": b.out},
		Listener: ListenerFunc(func(_ Origin, e Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		}),
	}
	return b
}

func (b *bed) close() {
	b.worker.stop()
	_ = b.node.Close()
}

func (b *bed) start() *Query {
	b.t.Helper()
	q, err := Start(b.t.Context(), b.opt)
	if err != nil {
		b.t.Fatal(err)
	}
	return q
}

// count counts the events of a type.
// told lists the events of a kind.
func told[E Event](b *bed) (out []E) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e, ok := e.(E); ok {
			out = append(out, e)
		}
	}
	return out
}

func count[E Event](b *bed) int { return len(told[E](b)) }

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestAvailableNowDrainsInTheSourcesPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1000)
		defer b.close()
		b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
		b.opt.Limits = map[string]sources.Limit{"n#0": {Rows: 300}}
		q := b.start()
		b.must(q.Await(t.Context()))
		b.out.check(t, 1000)
		if n := len(b.out.batches); n != 4 {
			t.Fatalf("1,000 rows came in %d batches of at most 300", n)
		}
		p, ok := q.Progress()
		if !ok || p.BatchID != 3 || p.NumInputRows != 100 || p.Sources[0].NumInputRows != 100 || p.Sink.NumOutputRows != 10 ||
			p.Sources[0].StartOffset != "900" || p.Sources[0].EndOffset != "1000" || p.StateOperators[0].NumRowsTotal != 10 {
			t.Fatalf("progress %+v", p)
		}
		text, err := json.Marshal(p)
		b.must(err)
		if !strings.Contains(string(text), `"startOffset":900`) || !strings.Contains(string(text), `"walCommit":`) {
			t.Fatalf("progress as JSON: %s", text)
		}
		if len(q.Recent()) != 4 || count[BatchCommitted](b) != 4 || count[BatchRevealed](b) != 4 || count[QueryEnded](b) != 1 || count[Checkpointed](b) == 0 {
			t.Fatalf("events %d committed, %d revealed, %d ended, %d checkpointed", count[BatchCommitted](b), count[BatchRevealed](b), count[QueryEnded](b), count[Checkpointed](b))
		}
		if b.src.released == "" && count[Checkpointed](b) > 1 {
			t.Fatal("nothing was released")
		}
	})
}

func TestImmediateFollowsPushesAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 0)
		defer b.close()
		b.opt.Sources["n#0"] = pushing{b.src}
		q := b.start()
		for end := int64(10); end <= 500; end += 10 {
			b.src.grow(end)
			<-b.out.seen
			b.out.check(t, end)
		}
		b.src.grow(600)
		b.must(q.ProcessAllAvailable(t.Context()))
		b.out.check(t, 600)
		b.must(q.Stop(t.Context(), false))
		if err := q.ProcessAllAvailable(t.Context()); !errors.Is(err, ErrEnded) {
			t.Fatalf("a query that has ended: %v", err)
		}
		// The next start goes on where this one ended, also with other partitions.
		b.opt.Parallelism = 5
		b.src.grow(700)
		q = b.start()
		b.must(q.ProcessAllAvailable(t.Context()))
		b.must(q.Stop(t.Context(), false))
		b.out.check(t, 700)
	})
}

func TestPolledSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 0)
		defer b.close()
		b.src.failures = 3
		q := b.start()
		time.Sleep(time.Second)
		b.src.grow(25)
		<-b.out.seen
		b.out.check(t, 25)
		b.must(q.Stop(t.Context(), false))
	})
}

func TestTasksAndBatchesAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 100)
		defer b.close()
		b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
		n := 0
		b.worker.fault = func(s batch.TaskSpec) error {
			// Partition 1 of the counting stage fails 4 times: three attempts are
			// the first run of the batch, after which the others' output is aborted.
			if s.Task.Stage == 1 && s.Task.Partition == 1 && n < 4 {
				n++
				return batch.ExternalError(errors.New("no room"), true)
			}
			return nil
		}
		q := b.start()
		b.must(q.Await(t.Context()))
		b.out.check(t, 100)
		if b.out.aborted != 2 || count[TaskFailed](b) != 4 || count[BatchFailed](b) != 1 {
			t.Fatalf("%d aborted, %d tasks failed, %d batches failed", b.out.aborted, count[TaskFailed](b), count[BatchFailed](b))
		}
	})
}

func TestAFailureThatStaysEndsTheQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 100)
		defer b.close()
		// One task fails for good while others hang: they are cancelled first.
		b.worker.hold = func(s batch.TaskSpec) bool { return s.Task.Stage == 0 && s.Task.Partition > 0 }
		b.worker.fault = func(batch.TaskSpec) error { return batch.UserErrorf("file flights.csv, line 7: bad number") }
		q := b.start()
		err := q.Await(t.Context())
		if k, _ := batch.KindOf(err); err == nil || k != batch.User || !strings.Contains(err.Error(), "line 7") || !strings.Contains(err.Error(), `"digits"`) {
			t.Fatalf("ended with %v", err)
		}
		if len(b.out.batches) > 0 {
			t.Fatal("output of a failed batch is shown")
		}
		b.worker.hold, b.worker.fault = nil, nil
		b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
		q = b.start()
		b.must(q.Await(t.Context()))
		b.out.check(t, 100)
	})
}

func TestASinkThatIsAway(t *testing.T) {
	for _, after := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, 50)
			defer b.close()
			b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
			b.out.failures, b.out.after = 5, after
			q := b.start()
			b.must(q.Await(t.Context()))
			b.out.check(t, 50)
			if count[RevealFailed](b) != 5 {
				t.Fatalf("%d reveals failed", count[RevealFailed](b))
			}
		})
	}
}

// TestASinkWithoutRoom: nobody waits for hours for space that nobody makes. The
// batch is committed and is shown by the next start.
func TestASinkWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 50)
		defer b.close()
		b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
		b.out.failures, b.out.fault = 1000, fmt.Errorf("write manifest: %w", syscall.ENOSPC)
		if err := b.start().Await(t.Context()); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("ended with %v", err)
		}
		if n := count[RevealFailed](b); n != fullDiskTries {
			t.Errorf("%d tries, want %d", n, fullDiskTries)
		}
		b.out.failures = 0
		b.must(b.start().Await(t.Context()))
		b.out.check(t, 50)
	})
}

func TestAFailedAppendEndsTheQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 50)
		defer b.close()
		log := b.opt.Log.(*memLog)
		q := b.start()
		<-b.out.seen
		log.mu.Lock()
		log.fail = errors.New("the disk is full")
		log.mu.Unlock()
		b.src.grow(100)
		if err := q.Await(t.Context()); err == nil || !strings.Contains(err.Error(), "disk is full") {
			t.Fatalf("ended with %v", err)
		}
		log.fail = nil
		b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
		b.must(b.start().Await(t.Context()))
		b.out.check(t, 100)
	})
}

func TestAbandonAtAnyMoment(t *testing.T) {
	for n := range 40 {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, 300)
			defer b.close()
			b.opt.Limits = map[string]sources.Limit{"n#0": {Rows: 100}}
			var q *Query
			left := n
			ready := make(chan struct{})
			b.opt.Listener = ListenerFunc(func(Origin, Event) {
				if left--; left == 0 {
					go func() { <-ready; _ = q.Stop(context.Background(), true) }()
				}
			})
			q = b.start()
			close(ready)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := q.Await(ctx); err != nil && n > 0 && left <= 0 {
				t.Fatalf("abandoned at event %d: %v", n, err)
			}
			_ = q.Stop(t.Context(), true)
			b.opt.Listener = nil
			b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
			b.must(b.start().Await(t.Context()))
			b.out.check(t, 300)
		})
	}
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 50)
		defer b.close()
		b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
		b.must(b.start().Await(t.Context()))
		changed := b.opt
		changed.PlanHash = "another"
		_, err := Start(t.Context(), changed)
		if k, _ := batch.KindOf(err); !errors.Is(err, microbatch.ErrPlanChanged) || k != batch.User {
			t.Fatalf("a changed plan: %v", err)
		}
		for what, change := range map[string]func(*Options){
			"no source":   func(o *Options) { o.Sources = nil },
			"no sink":     func(o *Options) { o.Sinks = nil },
			"no worker":   func(o *Options) { o.Workers = nil },
			"parallelism": func(o *Options) { o.Parallelism = 1000 },
			"no plan":     func(o *Options) { o.Plan = nil },
			"no log":      func(o *Options) { o.Log = nil },
		} {
			o := b.opt
			change(&o)
			if _, err := Start(t.Context(), o); err == nil {
				t.Errorf("%s: started", what)
			}
		}
	})
}

// A static stage runs once for each version of its table.
func TestStaticStagesAreRunOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 100)
		defer b.close()
		static := newNumbers(20)
		p := b.opt.Plan
		p.Sources = append(p.Sources, physical.Source{Name: "dim#0", Table: "dim"})
		p.Stages = []*physical.Stage{
			{ID: 0, Kind: physical.Splits, Root: &physical.Scan{Source: "dim#0"}, Sources: []string{"dim#0"}, Output: physical.ToAll{}, Static: true},
			{ID: 1, Kind: physical.Splits, Root: &physical.Scan{Source: "n#0"}, Sources: []string{"n#0"}, Inputs: []int{0}, Output: physical.ToHash{}},
			p.Stages[1],
		}
		p.Stages[2].ID, p.Stages[2].Inputs = 2, []int{1}
		b.opt.Sources["dim#0"] = static
		b.opt.Limits = map[string]sources.Limit{"n#0": {Rows: 25}}
		b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
		b.must(b.start().Await(t.Context()))
		b.out.check(t, 100)
		if len(b.out.batches) != 4 || static.plans != 1 {
			t.Fatalf("%d batches, the static table was cut %d times", len(b.out.batches), static.plans)
		}
		for _, s := range b.worker.runs {
			if s.Task.Stage == 0 && s.Task.Batch != 0 {
				t.Fatalf("the static stage ran in batch %d", s.Task.Batch)
			}
			if s.Task.Stage == 1 && (len(s.Inputs) != 1 || s.Inputs[0].Batch != 0 || s.Inputs[0].Tasks != 3 || s.Inputs[0].Version == "") {
				t.Fatalf("input %+v", s.Inputs)
			}
		}
	})
}

func TestRunBatchToTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1000)
		defer b.close()
		b.opt.Plan = &physical.Plan{Key: "select", Sources: []physical.Source{{Name: "n#0"}},
			Stages: []*physical.Stage{{ID: 0, Kind: physical.Splits, Root: &physical.Scan{Source: "n#0"}, Sources: []string{"n#0"}, Output: physical.ToClient{}}}}
		r, err := RunBatch(t.Context(), b.opt)
		b.must(err)
		synctest.Wait()
		if n := len(b.worker.runs); n != 6 {
			t.Fatalf("%d of 143 tasks ran before anything was read", n)
		}
		next := int64(0)
		for {
			rec, err := r.Next(t.Context())
			if err != nil {
				break
			}
			for _, v := range rec.Column(0).(*array.Int64).Int64Values() {
				if v != next {
					t.Fatalf("row %d, want %d", v, next)
				}
				next++
			}
			rec.Release()
		}
		if next != 1000 {
			t.Fatalf("%d rows", next)
		}
		b.must(r.Close())
		// A reader that is closed early, and one whose task fails.
		r, err = RunBatch(t.Context(), b.opt)
		b.must(err)
		_, err = r.Next(t.Context())
		b.must(err)
		b.must(r.Close())
		b.worker.fault = func(s batch.TaskSpec) error {
			if s.Task.Partition == 3 {
				return batch.UserErrorf("bad row")
			}
			return nil
		}
		r, err = RunBatch(t.Context(), b.opt)
		b.must(err)
		for err == nil {
			_, err = r.Next(t.Context())
		}
		if !strings.Contains(err.Error(), "bad row") {
			t.Fatalf("ended with %v", err)
		}
		b.must(r.Close())
	})
}

func TestRunBatchIntoASink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1000)
		defer b.close()
		r, err := RunBatch(t.Context(), b.opt)
		if r != nil || err != nil {
			t.Fatal(r, err)
		}
		b.out.check(t, 1000)
		b.worker.fault = func(s batch.TaskSpec) error {
			if s.Task.Stage == 1 && s.Task.Partition == 2 {
				return errors.New("broken")
			}
			return nil
		}
		if _, err = RunBatch(t.Context(), b.opt); err == nil || b.out.aborted == 0 {
			t.Fatalf("a failed insert: %v, %d parts aborted", err, b.out.aborted)
		}
	})
}

func TestLogLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 40)
		defer b.close()
		var text strings.Builder
		b.opt.Listener = LogTo(slog.New(slog.NewTextHandler(&text, nil)))
		b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
		b.opt.Limits = map[string]sources.Limit{"n#0": {Rows: 20}}
		b.must(b.start().Await(t.Context()))
		for id := range 2 {
			if want := fmt.Sprintf("msg=\"batch done\" query=digits batch=%d rows=20", id); strings.Count(text.String(), want) != 1 {
				t.Fatalf("%q is not there once:\n%s", want, text.String())
			}
		}
	})
}

// A volatile sink forgets everything with its process. The last committed batch
// is shown to the next one again, unless a checkpoint proves that it was shown.
func TestVolatileSink(t *testing.T) {
	for _, graceful := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, 100)
			defer b.close()
			b.opt.Sources["n#0"] = pushing{b.src}
			b.opt.Volatile = map[string]bool{"out#0": true}
			b.out.volatile = true
			b.opt.Protocol.CheckpointInterval = -1
			q := b.start()
			for end := int64(100); end <= 500; end += 100 {
				b.src.grow(end)
				b.must(q.ProcessAllAvailable(t.Context()))
			}
			shown := len(b.out.batches)
			b.must(q.Stop(t.Context(), !graceful))
			b.out.forget()
			q = b.start()
			b.must(q.ProcessAllAvailable(t.Context()))
			again := 1
			if graceful {
				again = 0
			}
			if n := len(b.out.batches) - shown; n != again {
				t.Fatalf("graceful %v: %d batches are shown again", graceful, n)
			}
			// Without a new process nothing is shown twice, whatever fails.
			b.out.failures, b.out.after = 2, true
			b.src.grow(600)
			b.must(q.ProcessAllAvailable(t.Context()))
			b.must(q.Stop(t.Context(), true))
			q = b.start()
			b.must(q.ProcessAllAvailable(t.Context()))
			b.must(q.Stop(t.Context(), false))
			if n := len(b.out.batches) - shown - again; n != 1 {
				t.Fatalf("graceful %v: one more batch is shown as %d", graceful, n)
			}
		})
	}
}

// State and exchange output are spread over several workers, whose number and
// order change from start to start; checkpoints lie in a folder that they share.
func TestSeveralWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 0)
		defer b.close()
		for _, id := range []transport.NodeID{"w2", "w3"} {
			defer startWorker(t, b.net, id, b.fs).stop()
		}
		b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
		b.opt.Limits = map[string]sources.Limit{"n#0": {Rows: 50}}
		for i, nodes := range [][]transport.NodeID{{"w", "w2", "w3"}, {"w3"}, {"w2", "w"}, {"w3", "w", "w2"}} {
			b.opt.Workers, b.opt.Parallelism = nodes, 2+i
			b.src.grow(int64(i+1) * 200)
			b.must(b.start().Await(t.Context()))
			b.out.check(t, int64(i+1)*200)
		}
	})
}

// ending are numbers that end.
type ending struct {
	pushing
	at int64
}

func (e ending) Ended(at batch.Offset) bool { return numberAt(at) >= e.at }

// A query whose sources have all ended ends by itself, whatever its trigger.
func TestASourceThatEnds(t *testing.T) {
	for _, kind := range []microbatch.TriggerKind{microbatch.Immediate, microbatch.Every, microbatch.Latency} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, 70)
			defer b.close()
			b.opt.Sources["n#0"] = ending{pushing{b.src}, 100}
			b.opt.Protocol.Trigger = microbatch.Trigger{Kind: kind, Interval: time.Second}
			q := b.start()
			<-b.out.seen
			b.src.grow(100)
			b.must(q.Await(t.Context()))
			b.out.check(t, 100)
		})
	}
}

// A task that hangs is cancelled and tried again, on another worker if it has no
// state; if its worker is mute the batch is, a few seconds later.
func TestTasksThatHang(t *testing.T) {
	for _, mute := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, 100)
			defer b.close()
			other := startWorker(t, b.net, "w2", b.fs)
			defer other.stop()
			b.opt.Workers = []transport.NodeID{"w", "w2"}
			b.opt.TaskTimeout = time.Minute
			b.opt.Protocol.Trigger.Kind = microbatch.AvailableNow
			held := 0
			b.worker.mute = mute
			b.worker.hold = func(s batch.TaskSpec) bool {
				held++
				return held == 3
			}
			start := time.Now()
			b.must(b.start().Await(t.Context()))
			b.out.check(t, 100)
			took := time.Since(start)
			// A mute worker costs the timeout, the wait for its answer and the wait
			// of the batch that is given up.
			if want := time.Minute; took < want || took > want+20*time.Second || count[TaskFailed](b) == 0 && !mute || count[BatchFailed](b) == 0 && mute {
				t.Fatalf("mute %v: took %v, %d tasks and %d batches failed", mute, took, count[TaskFailed](b), count[BatchFailed](b))
			}
		})
	}
}
