package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	limits "github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/internal/transport/inproc"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is the connectors of these tests: a source that makes rows, blocks or
// panics, and a sink that keeps what it gets.
type fake struct {
	rows   map[int][]int64
	hold   chan struct{} // if not nil, a reader waits for it or for its context
	opened chan struct{}
	panics bool
	sink   []string
	dir    string
}

func (f *fake) Opener(string, string) (sources.Opener, error) { return f, nil }
func (f *fake) Writers(string, string) (sinks.WriterFactory, error) {
	return f, nil
}

func (f *fake) State(d transport.Deploy, _ *limits.Tracker) (statestore.Store, error) {
	return mem.Open(mem.Options{Dir: d.StateDir})
}

func (f *fake) Open(_ context.Context, s batch.Split, _ []int, alloc memory.Allocator) (sources.Reader, error) {
	return &fakeReader{f: f, rows: f.rows[s.Index], alloc: alloc}, nil
}

type fakeReader struct {
	f     *fake
	rows  []int64
	alloc memory.Allocator
}

func (r *fakeReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if r.f.hold != nil {
		r.f.opened <- struct{}{}
		select {
		case <-r.f.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if r.f.panics {
		var b []byte
		_ = b[len(r.rows)]
	}
	if r.rows == nil {
		return nil, io.EOF
	}
	b := array.NewInt64Builder(r.alloc)
	defer b.Release()
	b.AppendValues(r.rows, nil)
	r.rows = nil
	arr := b.NewArray()
	defer arr.Release()
	return array.NewRecordBatch(schema, []arrow.Array{arr}, int64(arr.Len())), nil
}

func (r *fakeReader) Close() error { return nil }

func (f *fake) NewWriter(context.Context, sinks.Attempt, *arrow.Schema, memory.Allocator) (sinks.Writer, error) {
	return f, nil
}

func (f *fake) Write(_ context.Context, rec arrow.RecordBatch) error {
	for i := range int(rec.NumRows()) {
		f.sink = append(f.sink, rec.Column(0).ValueStr(i))
	}
	return nil
}

func (f *fake) Prepare(context.Context) (batch.Prepared, error) {
	return batch.Prepared{Payload: []byte("staged")}, nil
}
func (f *fake) Discard() error { return nil }

var (
	schema = arrow.NewSchema([]arrow.Field{{Name: "k", Type: arrow.PrimitiveTypes.Int64}}, nil)
	key    = &expr.Column{Name: "k", DT: arrow.PrimitiveTypes.Int64}
)

// distinct is a stateful DISTINCT over two partitions into a sink.
func distinct() *physical.Plan {
	out := arrow.NewSchema(schema.Fields(), nil)
	part := &physical.PartialAggregate{Input: &physical.Scan{Source: "src", Out: schema}, Keys: []expr.Expr{key}, Out: out}
	agg := &physical.StatefulAggregate{Input: &physical.ExchangeRead{Out: out}, NKeys: 1, EndKey: -1, Mode: "append", Operator: "distinct", Out: out}
	return &physical.Plan{Key: "p", Stages: []*physical.Stage{
		{ID: 0, Root: part, Kind: physical.Splits, Output: physical.ToHash{Keys: []expr.Expr{key}}, Sources: []string{"src"}},
		{ID: 1, Root: agg, Kind: physical.Hash, Output: physical.ToSink{Sink: "out"}, Inputs: []int{0}, Stateful: []string{"distinct"}},
	}}
}

type cluster struct {
	t      *testing.T
	driver *inproc.Node
	w      *Worker
}

// nodes are both ends of a network.
func nodes(t testing.TB) (driver, worker *inproc.Node) {
	t.Helper()
	net := inproc.New(inproc.Options{})
	driver, err := net.Join("driver")
	if err != nil {
		t.Fatal(err)
	}
	if worker, err = net.Join("worker"); err != nil {
		t.Fatal(err)
	}
	return driver, worker
}

func start(t *testing.T, f *fake, opt Options) *cluster { return startOn(t, f, opt) }

func startOn(t *testing.T, f Connectors, opt Options) *cluster {
	d, n := nodes(t)
	w := New(n, f, opt)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		n.Close()
		d.Close()
	})
	return &cluster{t: t, driver: d, w: w}
}

func (c *cluster) send(m transport.Message) {
	c.t.Helper()
	if err := c.driver.Send(c.t.Context(), "worker", m); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) answer() transport.Message {
	select {
	case env := <-c.driver.Inbox():
		return env.Message
	case <-c.t.Context().Done():
		c.t.Fatal("no answer")
		return nil
	}
}

// flush returns when all has been taken in that was sent.
func (c *cluster) flush() {
	c.t.Helper()
	c.send(transport.Survey{Key: "f", Query: "nobody"})
	c.answer()
}

func (c *cluster) run(spec batch.TaskSpec) batch.TaskResult {
	c.t.Helper()
	c.send(transport.Run{Spec: spec})
	switch m := c.answer().(type) {
	case transport.Finished:
		return m.Result
	case transport.Failed:
		c.t.Fatalf("task %s: %v", m.Task, m.Err)
	}
	return batch.TaskResult{}
}

func spec(id batch.ID, stage, p int) batch.TaskSpec {
	s := batch.TaskSpec{Task: batch.TaskID{Query: "q", Batch: id, Stage: stage, Partition: p}, Term: 2, Plan: "p", Parts: 2, Base: id - 1,
		Watermark: batch.NoTime, Close: batch.NoTime, Reveal: true}
	if stage == 0 {
		s.Splits = []batch.Split{{Source: "src", Index: int(id)}}
	} else {
		s.Inputs = []batch.Input{{Stage: 0, Tasks: 1, Batch: id}}
	}
	return s
}

func (c *cluster) batch(id batch.ID, reveal bool) (results []batch.TaskResult) {
	c.run(spec(id, 0, 0))
	for p := range 2 {
		s := spec(id, 1, p)
		s.Reveal = reveal
		results = append(results, c.run(s))
	}
	return results
}

func TestBatchesKeepStateAndReplayTheSame(t *testing.T) {
	budget := limits.NewBudget(0)
	f := &fake{rows: map[int][]int64{0: {1, 2, 2, 3}, 1: {3, 4, 1}, 2: {5}}, dir: t.TempDir()}
	c := start(t, f, Options{Memory: budget, Clock: clock.System(), SpillDir: t.TempDir()})
	deploy := transport.Deploy{Key: "p", Query: "q", Plan: distinct(), Parts: 2, StateDir: f.dir}
	c.send(deploy)
	c.batch(0, true)
	first := c.batch(1, true)
	slices.Sort(f.sink)
	if got := strings.Join(f.sink, " "); got != "1 2 3 4" {
		t.Fatalf("the sink holds %s", got)
	}
	var shards []batch.Shard
	for _, r := range first {
		shards = append(shards, r.Shards[0].Shard)
	}
	c.send(transport.Checkpoint{Key: "p", Batch: 0, Shards: shards})
	ck := c.answer().(transport.Checkpointed)
	if ck.Err != nil || len(ck.Manifests) != 2 {
		t.Fatalf("checkpoint: %d manifests, %v", len(ck.Manifests), ck.Err)
	}
	c.send(transport.Restore{Key: "p", Batch: 0, Shards: shards, Manifests: ck.Manifests})
	if r := c.answer().(transport.Restored); r.Err != nil {
		t.Fatal(r.Err)
	}
	again := c.batch(1, false)
	if len(f.sink) != 4 {
		t.Errorf("a replay wrote to the sink: %v", f.sink)
	}
	for p := range again {
		a, b := again[p].Prepared[0], first[p].Prepared[0]
		if a.Digest != b.Digest || a.Rows != b.Rows || string(b.Payload) != "staged" || a.Payload != nil {
			t.Errorf("partition %d: prepared %+v, on replay %+v", p, b, a)
		}
		if again[p].Shards[0] != first[p].Shards[0] {
			t.Errorf("partition %d: state %v, on replay %v", p, first[p].Shards, again[p].Shards)
		}
	}
	c.send(transport.Prune{Key: "p", Oldest: 1, Live: ck.Manifests})
	c.batch(2, true)
	if len(f.sink) != 5 {
		t.Errorf("after replay the sink holds %v", f.sink)
	}
	c.send(transport.Undeploy{Key: "p"})
	c.send(transport.Run{Spec: spec(3, 0, 0)})
	if m, ok := c.answer().(transport.Failed); !ok || !strings.Contains(m.Err.Error(), "not deployed") || !errors.Is(m.Err, transport.ErrGone) {
		t.Errorf("a task of an undeployed plan: %v", m)
	}
	if err := c.w.Close(); err != nil {
		t.Fatal(err)
	}
	if used := budget.Used(); used != 0 {
		t.Errorf("%d bytes are still in use: %+v", used, budget.Usage())
	}
}

func TestACancelledTaskIsAnsweredAndTheQueueMovesOn(t *testing.T) {
	f := &fake{rows: map[int][]int64{0: {1}}, hold: make(chan struct{}), opened: make(chan struct{}, 8)}
	c := start(t, f, Options{Slots: 1})
	c.send(transport.Deploy{Key: "p", Plan: distinct(), Parts: 2})
	running, queued := spec(0, 0, 0), spec(0, 0, 1)
	c.send(transport.Run{Spec: running})
	<-f.opened
	c.send(transport.Run{Spec: queued})
	c.send(transport.Run{Spec: queued}) // repeated by the network: answered once
	// One that waits is answered at once, and not when it would have had a slot.
	for _, want := range []batch.TaskID{queued.Task, running.Task} {
		c.send(transport.Cancel{Task: want})
		m, ok := c.answer().(transport.Failed)
		if !ok || m.Task != want || !errors.Is(m.Err, context.Canceled) {
			t.Errorf("answer %+v, want the cancelled %s", m, want)
		}
	}
	f.hold = nil
	c.run(spec(0, 0, 0))
}

func TestAPanicFailsTheTaskAlone(t *testing.T) {
	f := &fake{rows: map[int][]int64{0: {1}}, panics: true}
	c := start(t, f, Options{})
	c.send(transport.Deploy{Key: "p", Plan: distinct(), Parts: 2})
	c.send(transport.Run{Spec: spec(0, 0, 0)})
	m, ok := c.answer().(transport.Failed)
	if !ok || !strings.Contains(m.Err.Error(), "Scan src") || !strings.Contains(m.Err.Error(), "index out of range") {
		t.Errorf("answer %+v", m)
	}
	f.panics = false
	c.run(spec(0, 0, 0))
}

// TestAQuotaOfMemoryIsTheQuerysOwn: one query is refused what it asks beyond its quota,
// and told of the setting; another one on the same worker has room.
func TestAQuotaOfMemoryIsTheQuerysOwn(t *testing.T) {
	f := &fake{rows: map[int][]int64{0: make([]int64, 1<<16)}}
	c := start(t, f, Options{Memory: limits.NewBudget(64 << 20)})
	for q, memory := range map[batch.QueryID]int64{"small": 1 << 16, "large": 0} {
		plan := distinct()
		plan.Key = string(q)
		c.send(transport.Deploy{Key: string(q), Query: q, Plan: plan, Parts: 2, Quota: transport.Quota{Memory: memory}})
		s := spec(0, 0, 0)
		s.Plan, s.Task.Query = string(q), q
		c.send(transport.Run{Spec: s})
		switch m := c.answer().(type) {
		case transport.Finished:
			if memory > 0 {
				t.Errorf("the query had more than its %d bytes", memory)
			}
		case transport.Failed:
			if memory == 0 || !strings.Contains(m.Err.Error(), "64 KiB of query small exceeded") || !strings.Contains(m.Err.Error(), limits.QueryLimitOption) {
				t.Errorf("query %s: %v", q, m.Err)
			}
		}
	}
}

func TestMemoryThatRunsOutIsTheUsersError(t *testing.T) {
	f := &fake{rows: map[int][]int64{0: make([]int64, 1<<16)}}
	c := start(t, f, Options{Memory: limits.NewBudget(1 << 16)})
	c.send(transport.Deploy{Key: "p", Query: "q", Plan: distinct(), Parts: 2})
	c.send(transport.Run{Spec: spec(0, 0, 0)})
	m, ok := c.answer().(transport.Failed)
	if !ok {
		t.Fatal("the task went through")
	}
	if kind, _ := batch.KindOf(m.Err); kind != batch.User || !strings.Contains(m.Err.Error(), limits.LimitOption) {
		t.Errorf("kind %s: %v", kind, m.Err)
	}
}

func TestAnOlderTermIsRefused(t *testing.T) {
	f := &fake{rows: map[int][]int64{0: {1}}}
	c := start(t, f, Options{})
	c.send(transport.Deploy{Key: "p", Plan: distinct(), Parts: 2})
	c.run(spec(0, 0, 0))
	old := spec(0, 0, 0)
	old.Term = 1
	c.send(transport.Run{Spec: old})
	if m, ok := c.answer().(transport.Failed); !ok || !errors.Is(m.Err, batch.ErrFenced) {
		t.Errorf("answer %+v", m)
	}
}

func TestOthersReadOutputByPartition(t *testing.T) {
	f := &fake{rows: map[int][]int64{0: {1, 2, 3, 4, 5, 6, 7, 8, 9}}}
	c := start(t, f, Options{})
	c.send(transport.Deploy{Key: "p", Plan: distinct(), Parts: 2})
	c.run(spec(0, 0, 0))
	var all []string
	for p := range 2 {
		r, err := c.driver.Fetch(t.Context(), "worker", transport.StreamRef{Key: "p", Partition: p}, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			rec, err := r.Next(t.Context())
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range int(rec.NumRows()) {
				all = append(all, rec.Column(0).ValueStr(i))
				n++
			}
			rec.Release()
		}
		if n == 0 || n == 9 {
			t.Errorf("partition %d has %d rows of 9", p, n)
		}
		r.Close()
	}
	slices.Sort(all)
	if fmt.Sprint(all) != "[1 2 3 4 5 6 7 8 9]" {
		t.Errorf("both partitions have %v", all)
	}
}

func BenchmarkSmallTask(b *testing.B) {
	f := &fake{rows: map[int][]int64{0: {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}}}
	d, n := nodes(b)
	w := New(n, f, Options{Clock: clock.System(), Memory: limits.NewBudget(0)})
	defer func() { w.Close(); n.Close(); d.Close() }()
	d.Send(b.Context(), "worker", transport.Deploy{Key: "p", Plan: distinct(), Parts: 2})
	b.ReportAllocs()
	id := batch.ID(0)
	for b.Loop() {
		s := spec(id, 0, 0)
		s.Splits[0].Index = 0
		d.Send(b.Context(), "worker", transport.Run{Spec: s})
		<-d.Inbox()
		s = spec(id, 1, 0)
		d.Send(b.Context(), "worker", transport.Run{Spec: s})
		if m, bad := (<-d.Inbox()).Message.(transport.Failed); bad {
			b.Fatal(m.Err)
		}
		d.Send(b.Context(), "worker", transport.Prune{Key: "p", Oldest: id})
		id++
	}
}

// texts are connectors that plan texts.
type texts struct {
	*fake
	asked chan string
	plan  chan *physical.Plan
	gone  chan string
}

func (p *texts) Plan(ctx context.Context, d transport.Deploy) (*physical.Plan, func(), error) {
	text := d.Plan.(transport.PlanText)
	p.asked <- text.Query
	select {
	case plan := <-p.plan:
		if plan == nil {
			return nil, nil, batch.UserErrorf("the plan of %s is another one here", text.Query)
		}
		return plan, func() { p.gone <- d.Key }, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// stateless cannot open state, and says so as constructors do: with a nil of its type.
type stateless struct{ *fake }

func (stateless) State(transport.Deploy, *limits.Tracker) (statestore.Store, error) {
	return (*mem.Store)(nil), errors.New("the disk is gone")
}

// State that cannot be opened fails the tasks of the plan and nothing else.
func TestStateThatCannotBeOpened(t *testing.T) {
	d, n := nodes(t)
	c := &cluster{t: t, driver: d, w: New(n, stateless{&fake{rows: map[int][]int64{0: {1}}}}, Options{})}
	c.send(transport.Deploy{Key: "p", Query: "q", Plan: distinct(), Parts: 2, StateDir: t.TempDir()})
	c.send(transport.Run{Spec: spec(0, 1, 0)})
	if m, ok := c.answer().(transport.Failed); !ok || !strings.Contains(fmt.Sprint(m.Err), "the disk is gone") {
		t.Errorf("answer %+v", m)
	}
	c.send(transport.Undeploy{Key: "p"})
	if err := c.w.Close(); err != nil {
		t.Error(err)
	}
	n.Close()
	d.Close()
}

// A plan that travels as text is planned beside what the worker does otherwise, and
// its tasks wait for it.
func TestPlansOfTexts(t *testing.T) {
	f := &fake{rows: map[int][]int64{0: {1, 2}}, dir: t.TempDir()}
	p := &texts{fake: f, asked: make(chan string, 1), plan: make(chan *physical.Plan), gone: make(chan string, 1)}
	d, n := nodes(t)
	c := &cluster{t: t, driver: d, w: New(n, p, Options{})}
	defer func() {
		if err := c.w.Close(); err != nil {
			t.Error(err)
		}
		n.Close()
		d.Close()
	}()
	c.send(transport.Deploy{Key: "p", Query: "q", Plan: transport.PlanText{Query: "counts"}, Parts: 2, StateDir: f.dir})
	if got := <-p.asked; got != "counts" || c.w.Plans() != 1 {
		t.Fatalf("asked for %q, %d plans", got, c.w.Plans())
	}
	c.send(transport.Run{Spec: spec(0, 0, 0)})
	p.plan <- distinct()
	if m, ok := c.answer().(transport.Deployed); !ok || m.Key != "p" || m.Err != nil { // before any other answer
		t.Fatalf("answer %+v", m)
	}
	if m, ok := c.answer().(transport.Finished); !ok {
		t.Fatalf("answer %+v", m)
	}
	c.send(transport.Undeploy{Key: "p"})
	if got := <-p.gone; got != "p" {
		t.Errorf("%q is gone", got)
	}
	// One that is refused, and is gone before anybody knew of it.
	c.send(transport.Deploy{Key: "p", Query: "q", Plan: transport.PlanText{Query: "other"}, Parts: 2, StateDir: f.dir})
	<-p.asked
	c.send(transport.Run{Spec: spec(0, 0, 0)})
	p.plan <- nil
	if m, ok := c.answer().(transport.Deployed); !ok || !strings.Contains(fmt.Sprint(m.Err), "is another one here") {
		t.Fatalf("answer %+v", m)
	}
	if m, ok := c.answer().(transport.Failed); !ok || !strings.Contains(fmt.Sprint(m.Err), "is another one here") {
		t.Fatalf("answer %+v", m)
	}
	c.send(transport.Undeploy{Key: "p"})
	c.send(transport.Deploy{Key: "p2", Query: "q", Plan: transport.PlanText{Query: "late"}, Parts: 2, StateDir: f.dir})
	<-p.asked
	c.send(transport.Undeploy{Key: "p2"})
	p.plan <- distinct()
	if got := <-p.gone; got != "p2" {
		t.Errorf("%q is gone", got)
	}
}
