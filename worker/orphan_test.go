package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	limits "github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
)

// gates are a source and a sink whose tasks wait, if they are told to, and are counted.
type gates struct {
	fake
	source, sink atomic.Pointer[chan struct{}] // nil: tasks go through
	reads        atomic.Int64                  // splits that were begun to be read
	writes       atomic.Int64                  // tasks that have begun to write
	waiting      chan string                   // names of tasks that wait
	ended        chan struct{}                 // a task that waited was cancelled
	inherited    []string                      // of the worker's goroutine; read when it has answered
}

// Inherit notes whose state goes on under which plan.
func (g *gates) Inherit(from string, d transport.Deploy) bool {
	g.inherited = append(g.inherited, from+" to "+d.Key)
	return true
}

func (g *gates) Opener(string, string) (sources.Opener, error)       { return g, nil }
func (g *gates) Writers(string, string) (sinks.WriterFactory, error) { return g, nil }
func (g *gates) State(d transport.Deploy, t *limits.Tracker) (statestore.Store, error) {
	return g.fake.State(d, t)
}

func (g *gates) wait(ctx context.Context, at *atomic.Pointer[chan struct{}], name string) error {
	gate := at.Load()
	if gate == nil {
		return nil
	}
	g.waiting <- name
	select {
	case <-*gate:
		return nil
	case <-ctx.Done():
		g.ended <- struct{}{}
		return ctx.Err()
	}
}

func (g *gates) Open(ctx context.Context, s batch.Split, _ []int, alloc memory.Allocator) (sources.Reader, error) {
	g.reads.Add(1)
	if err := g.wait(ctx, &g.source, "source"); err != nil {
		return nil, err
	}
	return &fakeReader{f: &g.fake, rows: g.rows[s.Index], alloc: alloc}, nil
}

func (g *gates) NewWriter(ctx context.Context, a sinks.Attempt, _ *arrow.Schema, _ memory.Allocator) (sinks.Writer, error) {
	g.writes.Add(1)
	return &gateWriter{g: g, a: a}, g.wait(ctx, &g.sink, "sink")
}

// gateWriter names its output after the attempt, as sinks do.
type gateWriter struct {
	g    *gates
	a    sinks.Attempt
	rows []string
}

func (w *gateWriter) Write(_ context.Context, rec arrow.RecordBatch) error {
	for i := range int(rec.NumRows()) {
		w.rows = append(w.rows, rec.Column(0).ValueStr(i))
	}
	return nil
}

func (w *gateWriter) Prepare(context.Context) (batch.Prepared, error) {
	slices.Sort(w.rows)
	return batch.Prepared{Payload: []byte(fmt.Sprintf("term %d: %s", w.a.Term, strings.Join(w.rows, " ")))}, nil
}
func (w *gateWriter) Discard() error { return nil }

// orphans is a worker of two partitions under the lives of several drivers.
type orphans struct {
	*cluster
	g      *gates
	clock  *clock.Manual
	key    string
	term   batch.Term
	shards []batch.ShardDigest // after the newest batch that was answered
}

func newOrphans(t *testing.T) *orphans {
	o := &orphans{clock: clock.NewManual(time.Unix(0, 0)), g: &gates{waiting: make(chan string, 8), ended: make(chan struct{}, 8),
		fake: fake{rows: map[int][]int64{0: {1, 2, 2, 3}, 1: {3, 4, 5, 6, 7}}, dir: t.TempDir()}}}
	o.cluster = startOn(t, o.g, Options{Clock: o.clock, Slots: 3})
	o.begin(func(*transport.Deploy) {})
	var all []batch.Shard
	for p := range 2 {
		first, end := batch.GroupsOf(p, 2)
		all = append(all, batch.Shard{Operator: "distinct", Partition: p, FirstGroup: first, EndGroup: end})
	}
	o.send(transport.Restore{Key: o.key, Batch: batch.None, Shards: all, Term: o.term})
	o.restored(nil)
	o.finish(o.spec(0, 0, 0))
	for p := range 2 {
		o.shards = append(o.shards, o.finish(o.spec(0, 1, p)).Shards...)
	}
	return o
}

// begin is the begin of another life.
func (o *orphans) begin(change func(*transport.Deploy)) {
	o.term++
	o.key = fmt.Sprintf("life %d", o.term)
	plan := distinct()
	plan.Stream = true
	d := transport.Deploy{Key: o.key, Query: "q", Plan: plan, Parts: 2, StateDir: o.g.dir}
	change(&d)
	o.send(d)
}

// next is another life on the state of batch 0, after the driver is gone.
func (o *orphans) next() {
	o.t.Helper()
	before := o.term
	o.send(transport.Reset{})
	o.send(transport.Survey{Key: "s", Query: "q"})
	if m := o.answer().(transport.Surveyed); m.Term != before || len(m.Kept) < 2 {
		o.t.Fatalf("surveyed: %+v", m)
	}
	o.begin(func(*transport.Deploy) {})
	o.resume(before)
}

func (o *orphans) resume(before batch.Term) {
	o.t.Helper()
	m := transport.Restore{Key: o.key, Batch: 0, Before: before, Term: o.term}
	for _, s := range o.shards {
		m.Kept = append(m.Kept, transport.Kept{Shard: s.Shard, Version: 0, Digest: s.Digest})
	}
	o.send(m)
	o.restored(nil)
}

func (o *orphans) restored(want error) {
	o.t.Helper()
	if m, ok := o.answer().(transport.Restored); !ok || !errors.Is(m.Err, want) || want == nil && m.Err != nil {
		o.t.Fatalf("restored: %+v, want %v", m, want)
	}
}

func (o *orphans) spec(id batch.ID, stage, p int) batch.TaskSpec {
	s := spec(id, stage, p)
	s.Plan, s.Term, s.Reads = o.key, o.term, uint64(id+1)
	s.SinkPrefix = fmt.Sprint(o.term)
	return s
}

func (o *orphans) finish(s batch.TaskSpec) batch.TaskResult {
	o.t.Helper()
	r := o.run(s)
	if r.Task != s.Task || r.Term != s.Term {
		o.t.Fatalf("the answer to task %s of term %d is of %s of term %d", s.Task, s.Term, r.Task, r.Term)
	}
	return r
}

// hold closes a gate and returns what opens it.
func hold(at *atomic.Pointer[chan struct{}]) (open func()) {
	gate := make(chan struct{})
	at.Store(&gate)
	return func() {
		at.Store(nil)
		close(gate)
	}
}

func (o *orphans) check(what string, r batch.TaskResult, adopted bool, payload string) {
	o.t.Helper()
	got := ""
	for _, p := range r.Prepared {
		got += string(p.Payload)
	}
	if r.Adopted != adopted || got != payload {
		o.t.Errorf("%s: adopted %v with %q, want %v with %q", what, r.Adopted, got, adopted, payload)
	}
}

// lastBatch runs what is left of batch 1 and holds that it is right.
func (o *orphans) lastBatch(results ...batch.TaskResult) {
	o.t.Helper()
	var rows []string
	for _, r := range results {
		for _, p := range r.Prepared {
			_, after, _ := strings.Cut(string(p.Payload), ": ")
			rows = append(rows, strings.Fields(after)...)
		}
	}
	if slices.Sort(rows); strings.Join(rows, " ") != "4 5 6 7" {
		o.t.Errorf("batch 1 shows %v", rows)
	}
}

// A task that runs when the driver goes is adopted by the next one, and its output, of
// which nobody before could be told, as well; so is what was done.
func TestATaskOutlivesItsDriver(t *testing.T) {
	o := newOrphans(t)
	o.finish(o.spec(1, 0, 0))
	open := hold(&o.g.sink)
	o.send(transport.Run{Spec: o.spec(1, 1, 0)})
	<-o.g.waiting
	reads, writes := o.g.reads.Load(), o.g.writes.Load()
	for range 2 { // leaders come and go
		o.next()
	}
	if r := o.finish(o.spec(1, 0, 0)); !r.Adopted {
		t.Error("the task that was done is not adopted")
	}
	s := o.spec(1, 1, 0)
	s.Task.Attempt = 3
	o.send(transport.Run{Spec: s})
	o.send(transport.Run{Spec: s}) // it comes twice
	o.flush()
	open()
	m := o.answer().(transport.Finished)
	if m.Result.Task != s.Task || m.Result.Term != o.term || !m.Result.Adopted || !strings.HasPrefix(string(m.Result.Prepared[0].Payload), "term 1: ") {
		t.Errorf("the answer is %+v", m.Result)
	}
	other := o.finish(o.spec(1, 1, 1))
	o.lastBatch(m.Result, other)
	if o.g.reads.Load() != reads || o.g.writes.Load() != writes+1 {
		t.Errorf("%d reads and %d writes were begun, want %d and %d", o.g.reads.Load(), o.g.writes.Load(), reads, writes+1)
	}
}

// A task that ends while there is no driver is answered at once; one that a driver was
// told of and that has prepared output is run again: that driver may throw it away.
func TestWhatALeaderMayThrowAwayIsMadeAgain(t *testing.T) {
	o := newOrphans(t)
	o.finish(o.spec(1, 0, 0))
	told := o.finish(o.spec(1, 1, 1))
	o.check("told", told, false, string(told.Prepared[0].Payload))
	open := hold(&o.g.sink)
	o.send(transport.Run{Spec: o.spec(1, 1, 0)})
	<-o.g.waiting
	ended := o.jobEnd()
	o.send(transport.Reset{})
	o.flush()
	open()
	<-ended
	o.begin(func(*transport.Deploy) {})
	o.resume(1)
	first := o.finish(o.spec(1, 1, 0))
	if !first.Adopted || !strings.HasPrefix(string(first.Prepared[0].Payload), "term 1: ") {
		t.Errorf("what nobody was told of: %+v", first)
	}
	second := o.finish(o.spec(1, 1, 1))
	if second.Adopted || !strings.HasPrefix(string(second.Prepared[0].Payload), "term 2: ") {
		t.Errorf("what a leader was told of: %+v", second)
	}
	o.lastBatch(first, second)
	o.next() // now somebody was told of the first as well
	if first = o.finish(o.spec(1, 1, 0)); first.Adopted || !strings.HasPrefix(string(first.Prepared[0].Payload), "term 3: ") {
		t.Errorf("when a leader was told: %+v", first)
	}
}

// jobEnd is closed when the one task that runs has ended.
func (o *orphans) jobEnd() <-chan struct{} {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	for _, j := range o.w.mu.jobs {
		return j.endedLocked()
	}
	o.t.Fatal("no task runs")
	return nil
}

// What is asked for in another way ends the task of before, which has to have ended first.
func TestAnotherRunEndsAnOrphan(t *testing.T) {
	for name, change := range map[string]func(*batch.TaskSpec){
		"other input":     func(s *batch.TaskSpec) { s.Reads++ },
		"other time":      func(s *batch.TaskSpec) { s.Now++ },
		"other watermark": func(s *batch.TaskSpec) { s.Watermark = 7 },
		"another sink":    func(s *batch.TaskSpec) { s.Quarantine = []string{"bad"} },
		"not known":       func(s *batch.TaskSpec) { s.Reads = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrphans(t)
			o.finish(o.spec(1, 0, 0))
			defer hold(&o.g.sink)()
			s := o.spec(1, 1, 0)
			if name == "not known" {
				s.Reads = 0
			}
			o.send(transport.Run{Spec: s})
			<-o.g.waiting
			o.next()
			o.g.sink.Store(nil)
			s = o.spec(1, 1, 0)
			change(&s)
			r := o.finish(s)
			if r.Adopted || !strings.HasPrefix(string(r.Prepared[0].Payload), "term 2: ") {
				t.Errorf("the answer is %+v", r)
			}
			<-o.g.ended
			o.lastBatch(r, o.finish(o.spec(1, 1, 1)))
		})
	}
}

// A plan is taken over only by its like, state only as it is asked for, and nothing of it
// by a leader that has been followed by another.
func TestOrphansThatAreOfNoUseEnd(t *testing.T) {
	for name, end := range map[string]func(o *orphans){
		"another plan": func(o *orphans) {
			o.begin(func(d *transport.Deploy) { p := distinct(); p.Key, p.Stream, d.Plan = "other", true, p })
		},
		"other partitions": func(o *orphans) { o.begin(func(d *transport.Deploy) { d.Parts = 3 }) },
		"another home": func(o *orphans) {
			o.begin(func(d *transport.Deploy) { d.Homes = transport.Homes{Workers: []transport.NodeID{"elsewhere"}} })
		},
		"time": func(o *orphans) { o.clock.Advance(keepFor) },
		"another version": func(o *orphans) {
			o.begin(func(*transport.Deploy) {})
			o.send(transport.Restore{Key: o.key, Batch: batch.None, Shards: []batch.Shard{o.shards[0].Shard, o.shards[1].Shard}, Term: o.term})
			o.restored(nil)
			o.finish(o.spec(0, 0, 0))
			for p := range 2 {
				o.finish(o.spec(0, 1, p))
			}
			o.finish(o.spec(1, 0, 0))
			o.lastBatch(o.finish(o.spec(1, 1, 0)), o.finish(o.spec(1, 1, 1)))
		},
		"a later batch": func(o *orphans) {
			o.begin(func(*transport.Deploy) {})
			o.resume(1)
			o.finish(o.spec(2, 0, 0))
		},
		"its driver": func(o *orphans) {
			o.begin(func(*transport.Deploy) {})
			o.resume(1)
			o.send(transport.Undeploy{Key: "life 1"}) // of the life before: nobody's
			o.send(transport.Undeploy{Key: o.key})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOrphans(t)
			o.finish(o.spec(1, 0, 0))
			defer hold(&o.g.sink)()
			o.send(transport.Run{Spec: o.spec(1, 1, 0)})
			<-o.g.waiting
			o.send(transport.Reset{})
			o.flush()
			if n := o.w.Plans(); n != 0 {
				t.Errorf("drivers count on %d plans", n)
			}
			o.g.sink.Store(nil)
			end(o)
			<-o.g.ended
		})
	}
	t.Run("an older leader", func(t *testing.T) {
		o := newOrphans(t)
		o.finish(o.spec(1, 0, 0))
		open := hold(&o.g.sink)
		o.send(transport.Run{Spec: o.spec(1, 1, 0)})
		<-o.g.waiting
		o.next()
		o.finish(o.spec(1, 0, 0))
		newest := o.term
		o.send(transport.Reset{})
		o.term = 0
		o.begin(func(d *transport.Deploy) { d.Key = "zombie" })
		o.key = "zombie"
		o.send(transport.Restore{Key: o.key, Batch: batch.None, Shards: []batch.Shard{o.shards[0].Shard}, Term: o.term})
		o.restored(batch.ErrFenced)
		o.send(transport.Run{Spec: o.spec(1, 1, 0)})
		if m, ok := o.answer().(transport.Failed); !ok || !errors.Is(m.Err, batch.ErrFenced) {
			t.Fatalf("the zombie is answered %+v", m)
		}
		o.send(transport.Reset{})
		o.term = newest
		o.begin(func(*transport.Deploy) {})
		o.send(transport.Run{Spec: o.spec(1, 1, 0)})
		open()
		if m := o.answer().(transport.Finished); !m.Result.Adopted {
			t.Errorf("the next leader is answered %+v", m.Result)
		}
	})
}

// A driver may cancel what it has taken over, and a task that fails is begun anew.
func TestAnAdoptedTaskIsTheDriversOwn(t *testing.T) {
	o := newOrphans(t)
	open := hold(&o.g.source)
	s := o.spec(1, 0, 0)
	o.send(transport.Run{Spec: s})
	<-o.g.waiting
	o.next()
	s = o.spec(1, 0, 0)
	o.send(transport.Run{Spec: s})
	o.send(transport.Cancel{Task: s.Task})
	if m, ok := o.answer().(transport.Failed); !ok || m.Task != s.Task || m.Term != o.term || !errors.Is(m.Err, errCancelled) {
		t.Fatalf("cancelled: %+v", m)
	}
	<-o.g.ended
	o.send(transport.Run{Spec: s})
	<-o.g.waiting
	o.next()
	s = o.spec(1, 0, 0)
	o.send(transport.Run{Spec: s})
	o.flush()
	o.g.panics = true
	reads := o.g.reads.Load()
	open()
	m, ok := o.answer().(transport.Failed)
	if !ok || m.Task != s.Task || m.Term != o.term || errors.Is(m.Err, errCancelled) || o.g.reads.Load() != reads+1 {
		t.Errorf("failed: %+v after %d reads more", m, o.g.reads.Load()-reads)
	}
}

// Plans whose tasks write down what they were answered are not gone on with.
func TestLookupsAreNotAdopted(t *testing.T) {
	w := &Worker{opt: Options{}.withDefaults()}
	p := &plan{phys: &physical.Plan{Stream: true, Stages: []*physical.Stage{{Root: &physical.Scan{}}}}}
	if !w.remembers(p) {
		t.Error("a scan is not remembered")
	}
	p.phys.Stages[0].Root = &physical.Project{Input: &physical.LookupJoin{Input: &physical.Scan{}}}
	if w.remembers(p) {
		t.Error("a lookup is remembered")
	}
}

// TestStateGoesOnFromLifeToLife: whoever keeps a book on states hears of each life, taken
// over or begun anew, whose the state was.
func TestStateGoesOnFromLifeToLife(t *testing.T) {
	o := newOrphans(t)
	o.next()
	o.next()
	before := o.term
	o.send(transport.Reset{})
	o.begin(func(d *transport.Deploy) { d.Quota.Memory = 1 << 30 }) // another plan, which finds the state
	o.resume(before)
	want := []string{"life 1 to life 2", "life 2 to life 3", "life 3 to life 4"}
	if !slices.Equal(o.g.inherited, want) {
		t.Errorf("state went from %v, want %v", o.g.inherited, want)
	}
}

// A task waits for all that must not run beside it: for a cancelled attempt and for the one
// that was begun after it.
func TestATaskWaitsForAllOrphansOfItsPlace(t *testing.T) {
	o := newOrphans(t)
	o.w.mu.Lock()
	p := o.w.mu.plans[o.key]
	for attempt := range 2 {
		j := &job{run: transport.Run{Spec: o.spec(1, 0, 0)}}
		j.run.Spec.Task.Attempt = attempt
		p.past.ending[j] = true
	}
	o.w.mu.Unlock()
	o.w.enqueue("driver", transport.Run{Spec: o.spec(1, 0, 0)})
	for range 2 {
		o.w.mu.Lock()
		for j := range p.past.ending {
			if j.ended == nil {
				t.Error("nobody waits for an attempt that is about to end")
				continue
			}
			delete(p.past.ending, j)
			close(j.ended)
			break
		}
		o.w.mu.Unlock()
	}
	if _, ok := o.answer().(transport.Finished); !ok {
		t.Error("the task has not run")
	}
}
