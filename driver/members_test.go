package driver

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sources"
)

// crowd is a bed whose workers come and go.
type crowd struct {
	*bed
	members *Members
	workers map[transport.NodeID]*fakeWorker
	runs    int
}

func newCrowd(t *testing.T) *crowd {
	c := &crowd{bed: newBed(t, 0), workers: map[transport.NodeID]*fakeWorker{}}
	c.members = NewMembers(c.opt.Clock)
	c.opt.Workers, c.opt.Members = nil, c.members
	c.opt.Limits = map[string]sources.Limit{"n#0": {Rows: 50}}
	c.opt.Protocol = microbatch.Options{CheckpointInterval: time.Hour}
	t.Cleanup(c.close)
	return c
}

func (c *crowd) join(id transport.NodeID) *fakeWorker {
	c.t.Helper()
	w := startWorker(c.t, c.net, id, c.fs)
	c.runs++
	c.workers[id] = w
	c.members.Join(Member{ID: id, Run: fmt.Sprint(c.runs), Slots: 2})
	return w
}

func (c *crowd) run(id transport.NodeID) string {
	for _, m := range c.members.List() {
		if m.ID == id {
			return m.Run
		}
	}
	return ""
}

// kill ends a worker's process; the list is told if told is set.
func (c *crowd) kill(id transport.NodeID, told bool) {
	c.workers[id].stop()
	delete(c.workers, id)
	if told {
		c.members.Lose(id, c.run(id))
	}
}

func (c *crowd) close() {
	for _, w := range c.workers {
		w.stop()
	}
	c.bed.close()
}

// taken lists the workers of each life.
func (c *crowd) taken() (out []string) {
	for _, w := range told[WorkersTaken](c.bed) {
		out = append(out, fmt.Sprint(w.Workers, w.Parallelism))
	}
	return out
}

// grow adds numbers and waits until they are counted.
func (c *crowd) grow(q *Query, end int64) {
	c.t.Helper()
	c.src.grow(end)
	c.must(q.ProcessAllAvailable(c.t.Context()))
	c.out.check(c.t, end)
}

func TestWorkersComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		q := c.start()
		synctest.Wait()
		if got := q.Waiting(); got != waitingForWorkers {
			t.Fatalf("without a worker it waits for %q", got)
		}
		c.join("a")
		c.grow(q, 100)
		if got := q.Waiting(); got != "" {
			t.Fatalf("with a worker it waits for %q", got)
		}
		c.join("b")
		c.join("c")
		time.Sleep(time.Second)
		synctest.Wait()
		c.grow(q, 300)
		c.kill("b", true)
		c.grow(q, 500)
		c.members.Drain("a", c.run("a"))
		c.grow(q, 600)
		synctest.Wait()
		if w := c.workers["a"]; w.plan != nil {
			t.Error("a worker that has drained holds the plan")
		}
		c.kill("a", true)
		c.grow(q, 700)
		c.kill("c", true)
		synctest.Wait()
		if got := q.Waiting(); got != waitingForWorkers {
			t.Fatalf("without a worker it waits for %q", got)
		}
		c.join("b")
		c.grow(q, 800)
		want := []string{"[a] 3", "[a b c] 3", "[a c] 3", "[c] 3", "[b] 3"}
		if got := c.taken(); !slices.Equal(got, want) {
			t.Errorf("lives on %v, want %v", got, want)
		}
		if n := count[BatchFailed](c.bed); n > 0 {
			t.Errorf("%d batches count as failed", n)
		}
		c.must(q.Stop(t.Context(), false))
	})
}

// A query that has no worker can be stopped, and what is asked of it is done later.
func TestAQueryWithoutWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		q := c.start()
		moved := make(chan error, 1)
		go func() { moved <- q.Rescale(t.Context(), 5) }()
		synctest.Wait()
		c.join("a")
		c.must(<-moved)
		c.grow(q, 100)
		c.kill("a", true)
		synctest.Wait()
		c.must(q.Stop(t.Context(), false))
		if n := count[QueryEnded](c.bed); n != 1 {
			t.Errorf("%d ends", n)
		}
	})
}

// The parallelism follows the slots of the workers if nobody has said one.
func TestParallelismByWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		c.opt.Auto = true
		c.join("a")
		q := c.start()
		c.grow(q, 100)
		c.join("b")
		time.Sleep(time.Second)
		c.grow(q, 200)
		c.must(q.Rescale(t.Context(), 3))
		c.join("c")
		time.Sleep(time.Second)
		c.grow(q, 300)
		if got, want := c.taken(), []string{"[a] 2", "[a b] 4", "[a b] 3", "[a b c] 3"}; !slices.Equal(got, want) {
			t.Errorf("lives on %v, want %v", got, want)
		}
		c.must(q.Stop(t.Context(), true))
	})
}

// A worker is lost while it runs a task: the batch runs on the others, and what the
// lost one says later counts for nothing (C18).
func TestAWorkerIsLostInTheMiddle(t *testing.T) {
	for _, told := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t)
			c.join("a")
			b := c.join("b")
			q := c.start()
			c.grow(q, 100)
			b.hold = func(s batch.TaskSpec) bool { return s.Task.Stage == 1 }
			c.src.grow(200)
			time.Sleep(time.Second) // of the bubble: the source is asked now and then
			synctest.Wait()
			if len(b.held) == 0 {
				t.Fatal("b runs nothing")
			}
			late := transport.Finished{}
			for task, term := range b.held {
				late.Result = batch.TaskResult{Task: task, Term: term, Prepared: []batch.Prepared{{Sink: "out#0", Rows: 1, Payload: []byte("{}")}}}
			}
			at := time.Now()
			if told { // it is there, and its lease is over: it may speak again
				c.members.Lose("b", c.run("b"))
			} else {
				c.kill("b", true)
			}
			c.must(q.ProcessAllAvailable(t.Context()))
			c.out.check(t, 200)
			if took := time.Since(at); took > time.Second {
				t.Errorf("it took %s, as if the lost worker were waited for", took)
			}
			if told {
				aborted := c.out.aborted
				c.must(b.node.Send(t.Context(), "driver", late))
				synctest.Wait()
				if c.out.aborted != aborted+1 {
					t.Errorf("%d late results are thrown away, want 1", c.out.aborted-aborted)
				}
			}
			c.grow(q, 300)
			c.must(q.Stop(t.Context(), false))
		})
	}
}

// A worker that cannot be reached and is not known to be lost is tried again for a
// while, which is no failure of a batch.
func TestAWorkerThatCannotBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		c.join("a")
		c.join("b")
		q := c.start()
		c.grow(q, 100)
		run := c.run("b")
		c.kill("b", false)
		c.src.grow(200)
		time.Sleep(time.Minute)
		select {
		case <-q.Done():
			t.Fatal(q.Await(t.Context()))
		default:
		}
		if got := q.Waiting(); got != waitingForWorkers {
			t.Errorf("it waits for %q", got)
		}
		c.members.Lose("b", run)
		c.must(q.ProcessAllAvailable(t.Context()))
		c.out.check(t, 200)
		if n := count[BatchFailed](c.bed); n > 0 {
			t.Errorf("%d batches count as failed", n)
		}
		c.must(q.Stop(t.Context(), false))
	})
}

// A worker cannot be reached while the life waits for the end of the batch, since it is
// to go on with another worker, too: the batch does not end, and the life does.
func TestAWorkerThatCannotBeReachedAtALifesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		a, b := c.join("a"), c.join("b")
		q := c.start()
		c.grow(q, 100)
		last := func(s batch.TaskSpec) bool { return s.Task.Stage == 1 }
		a.hold, b.hold = last, last
		c.src.grow(200)
		time.Sleep(time.Second)
		c.join("c")
		time.Sleep(time.Minute) // the life is to end when the batch is done
		synctest.Wait()
		away := true
		gone := func(s batch.TaskSpec) error {
			if away && last(s) {
				return batch.ExternalError(fmt.Errorf("read the rows of stage 0: %w", transport.ErrGone), true)
			}
			return nil
		}
		held := 0
		for _, w := range []*fakeWorker{a, b} {
			w.hold, w.fault = nil, gone
			for task, term := range w.held {
				held++
				c.must(w.node.Send(t.Context(), "driver", transport.Failed{Task: task, Term: term, Err: gone(batch.TaskSpec{Task: task})}))
			}
		}
		if held == 0 || len(c.taken()) != 1 {
			t.Fatalf("%d tasks are held, and there were lives with %v", held, c.taken())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		away = false
		c.must(q.ProcessAllAvailable(t.Context()))
		c.out.check(t, 200)
		if lives := c.taken(); !strings.Contains(lives[len(lives)-1], "a b c") {
			t.Errorf("the lives are %v", lives)
		}
		c.must(q.Stop(t.Context(), false))
	})
}

// A process takes the name of one that was there: what that one held is gone.
func TestAnotherProcessUnderAName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		c.join("a")
		q := c.start()
		c.grow(q, 100)
		c.kill("a", false)
		c.join("a")
		c.grow(q, 200)
		if got, want := c.taken(), []string{"[a] 3", "[a] 3"}; !slices.Equal(got, want) {
			t.Errorf("lives on %v, want %v", got, want)
		}
		c.must(q.Stop(t.Context(), false))
	})
}

// A task that takes every worker down with it ends the query, which names it.
func TestAPoisonTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		var q *Query
		poison := func(s batch.TaskSpec) bool { return s.Task.Stage == 0 && s.Task.Batch == 2 && s.Task.Partition == 1 }
		for _, id := range []transport.NodeID{"a", "b", "c", "d", "e"} {
			w := c.join(id)
			w.hold = func(s batch.TaskSpec) bool {
				if !poison(s) {
					return false
				}
				go func() { // it dies of it
					run := c.run(id)
					c.members.Lose(id, run)
				}()
				return true
			}
		}
		q = c.start()
		c.grow(q, 100)
		c.src.grow(200)
		err := q.Await(t.Context())
		if !errors.Is(err, errPoison) || !strings.Contains(fmt.Sprint(err), "3 workers") {
			t.Fatalf("the query ends with %v", err)
		}
		if got := len(c.taken()); got != 3 {
			t.Errorf("%d lives, want 3", got)
		}
	})
}

// A worker that cannot run the query is left out, and is asked again a bounded number of
// times; if none can, the query waits with the reason, or ends if there is no hope.
func TestWorkersThatCannotRunTheQuery(t *testing.T) {
	var lock sync.Mutex
	asked := map[transport.NodeID]int{}
	refuses := func(id transport.NodeID, err error) func() error {
		return func() error {
			lock.Lock()
			defer lock.Unlock()
			asked[id]++
			return err
		}
	}
	missing := batch.UserErrorf("the environment has no SECRET")
	older := batch.ExternalError(errors.New("another plan"), true)
	t.Run("one of two", func(t *testing.T) {
		clear(asked)
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t)
			c.join("a").unable = refuses("a", missing)
			c.join("b").unable = refuses("b", nil)
			q := c.start()
			c.grow(q, 100)
			if got := q.Refusals(); len(got) != 1 || got[0].Worker != "a" || !strings.Contains(got[0].Reason, "SECRET") {
				t.Errorf("refusals are %v", got)
			}
			end := int64(100)
			for range 5 {
				time.Sleep(time.Minute)
				c.join("c")
				time.Sleep(time.Minute)
				synctest.Wait()
				c.kill("c", true)
				end += 100
				c.grow(q, end)
			}
			if n := asked["a"]; n < refusalsMax || n > 2*refusalsMax { // an answer may come too late to count
				t.Errorf("it was asked %d times", n)
			}
			if n := count[BatchFailed](c.bed); n > 0 {
				t.Errorf("%d batches count as failed", n)
			}
			c.kill("a", true)
			c.join("a").unable = refuses("a", nil) // another process
			c.kill("b", true)
			c.grow(q, end+100)
			if got := q.Refusals(); len(got) != 0 {
				t.Errorf("refusals are %v", got)
			}
			c.must(q.Stop(t.Context(), false))
		})
	})
	t.Run("all, for good", func(t *testing.T) {
		clear(asked)
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t)
			c.join("a").unable = refuses("a", missing)
			c.join("b").unable = refuses("b", missing)
			q := c.start()
			c.src.grow(100)
			err := q.Await(t.Context())
			if k, _ := batch.KindOf(err); k != batch.User || !strings.Contains(fmt.Sprint(err), "worker a: the environment has no SECRET") {
				t.Errorf("it ends with %v", err)
			}
			if n := asked["a"] + asked["b"]; n < 2*refusalsMax || n > 4*refusalsMax {
				t.Errorf("asked %v", asked)
			}
		})
	})
	t.Run("all, for now", func(t *testing.T) {
		clear(asked)
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t)
			c.join("a").unable = refuses("a", older)
			q := c.start()
			c.src.grow(100)
			time.Sleep(time.Hour)
			if got := q.Waiting(); got != waitingForWorkers+": worker a cannot run it: another plan" {
				t.Errorf("it waits for %q", got)
			}
			if n := asked["a"]; n < 10 || n > 1000 {
				t.Errorf("it was asked %d times in an hour", n)
			}
			c.join("b")
			c.must(q.ProcessAllAvailable(t.Context()))
			c.out.check(t, 100)
			c.must(q.Stop(t.Context(), false))
		})
	})
}

func TestSpread(t *testing.T) {
	names := func(n int) (out []transport.NodeID) {
		for i := range n {
			out = append(out, transport.NodeID(fmt.Sprint("w", i)))
		}
		return out
	}
	for _, parts := range []int{1, 2, 7, 64, 256} {
		for n := 1; n <= 9; n++ {
			at, has := spread(names(n), parts), make([]int, n)
			for _, w := range at {
				has[w]++
			}
			if slices.Max(has)-slices.Min(has) > 1 {
				t.Errorf("%d partitions on %d workers lie as %v", parts, n, has)
			}
		}
	}
	before, after := spread(names(4), 256), spread(names(5), 256)
	moved := 0
	for p := range before {
		if before[p] != after[p] {
			moved++
		}
	}
	if moved > 128 {
		t.Errorf("%d of 256 partitions move when a fifth worker comes", moved)
	}
	if got := spread(nil, 4); len(got) != 4 {
		t.Errorf("without workers %v", got)
	}
}

func TestMembers(t *testing.T) {
	m := NewMembers(nil)
	moved, stop := m.watch()
	defer stop()
	m.Join(Member{ID: "b", Run: "1"})
	m.Join(Member{ID: "a", Run: "1", Slots: 3})
	<-moved
	m.Drain("a", "0") // of a process before
	m.Lose("b", "0")
	if got := m.usable(); len(got) != 2 || got[0].ID != "a" || got[1].Slots != 1 {
		t.Fatalf("members %+v", got)
	}
	m.Lose("b", "1")
	m.Drain("b", "1") // too late
	m.Drain("a", "1")
	var states []string
	for _, w := range m.List() {
		states = append(states, fmt.Sprint(w.ID, " ", w.State))
	}
	if want := []string{"a draining", "b lost"}; !slices.Equal(states, want) || len(m.usable()) > 0 {
		t.Fatalf("members %v, want %v", states, want)
	}
	for i := range 2 * lostMax {
		id := transport.NodeID(fmt.Sprint("x", i))
		m.Join(Member{ID: id, Run: "1"})
		m.Lose(id, "1")
	}
	if n := len(m.List()); n != lostMax+1 {
		t.Errorf("%d members are remembered", n)
	}
}
