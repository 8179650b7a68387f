package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sources"
)

// archive is a table that changes whenever it is asked, and keeps what batches were told.
type archive struct {
	mu      sync.Mutex
	version int64
	told    map[keyOf]int64
	terms   []batch.Term
	settled map[batch.ID]batch.Term
	trimmed batch.ID
	hold    chan struct{} // if not nil, questions wait for it
}

type keyOf struct {
	batch batch.ID
	key   int64
}

var _ sources.Looker = (*archive)(nil)

func newArchive() *archive {
	return &archive{told: map[keyOf]int64{}, settled: map[batch.ID]batch.Term{}, trimmed: batch.None}
}

var answerSchema = arrow.NewSchema([]arrow.Field{{Name: "k", Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.PrimitiveTypes.Int64}}, nil)

func (a *archive) enterLocked(term batch.Term) error {
	if n := len(a.terms); n == 0 || term > a.terms[n-1] {
		a.terms = append(a.terms, term)
	} else if term < a.terms[n-1] {
		return batch.ErrFenced
	}
	return nil
}

func (a *archive) Look(ctx context.Context, q sources.Lookup, alloc memory.Allocator) (arrow.RecordBatch, error) {
	if a.hold != nil {
		select {
		case <-a.hold:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.enterLocked(q.Term); err != nil {
		return nil, err
	}
	b := array.NewRecordBuilder(alloc, answerSchema)
	defer b.Release()
	for _, rec := range q.Keys {
		for _, k := range rec.Column(0).(*array.Int64).Int64Values() {
			v, ok := a.told[keyOf{q.Batch, k}]
			if !ok {
				a.version++
				v = a.version
				a.told[keyOf{q.Batch, k}] = v
			}
			b.Field(0).(*array.Int64Builder).Append(k)
			b.Field(1).(*array.Int64Builder).Append(v)
		}
	}
	return b.NewRecordBatch(), nil
}

func (a *archive) Settle(_ context.Context, id batch.ID, term batch.Term) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settled[id] = term
	return a.enterLocked(term)
}

func (a *archive) Trim(_ context.Context, before batch.ID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trimmed = before
	return nil
}

func (a *archive) Close() error { return nil }

// lookAt asks for keys as a task of a worker does.
func lookAt(ctx context.Context, tr transport.Transport, plan string, id batch.ID, keys ...int64) (map[int64]int64, error) {
	l := &transport.Lookups{Net: tr, Driver: "driver", Key: plan, Source: "dim", Schema: answerSchema}
	b := array.NewInt64Builder(memory.DefaultAllocator)
	defer b.Release()
	b.AppendValues(keys, nil)
	col := b.NewArray()
	defer col.Release()
	rec := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "k0", Type: arrow.PrimitiveTypes.Int64}}, nil), []arrow.Array{col}, int64(len(keys)))
	defer rec.Release()
	got, err := l.Look(ctx, sources.Lookup{Batch: id, On: []int{0}, Keys: []arrow.RecordBatch{rec}}, nil)
	if err != nil {
		return nil, err
	}
	defer got.Release()
	out := map[int64]int64{}
	for i, k := range got.Column(0).(*array.Int64).Int64Values() {
		out[k] = got.Column(1).(*array.Int64).Value(i)
	}
	return out, l.Settle(ctx, id, 0)
}

// answered are the answers that tasks were given.
type answered struct {
	t  testing.TB
	mu sync.Mutex
	by map[keyOf]int64
	// tried are the tasks that have failed once, after they were told; nil: none is to.
	tried map[batch.TaskID]bool
}

// asking has a worker's tasks look up some keys. With tried each fails the first time, and
// is tried somewhere else.
func (o *answered) asking(w *fakeWorker) {
	w.fault = func(s batch.TaskSpec) error {
		if s.Task.Stage != 0 {
			return nil
		}
		found, err := lookAt(o.t.Context(), w.node, s.Plan, s.Task.Batch, 1, 2, int64(10+s.Task.Partition))
		if err != nil {
			return err
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		for k, v := range found {
			if was, ok := o.by[keyOf{s.Task.Batch, k}]; ok && was != v {
				o.t.Errorf("task %s was told %d of key %d, and another one of the batch %d", s.Task, v, k, was)
			}
			o.by[keyOf{s.Task.Batch, k}] = v
		}
		task := s.Task
		if task.Attempt = 0; o.tried != nil && !o.tried[task] && s.Reveal {
			o.tried[task] = true
			return batch.ExternalError(errors.New("it ends behind its question"), true)
		}
		return nil
	}
}

// All tasks of a batch are told the same: whatever worker runs them, however often they are
// tried, when a batch runs again since a worker is lost, and under the next driver.
func TestTasksAreToldTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		defer c.close()
		a, o := newArchive(), &answered{t: t, by: map[keyOf]int64{}, tried: map[batch.TaskID]bool{}}
		c.opt.Lookers = map[string]sources.Looker{"dim": a}
		for _, id := range []transport.NodeID{"a", "b"} {
			o.asking(c.join(id))
		}
		q := c.start()
		c.grow(q, 100)
		c.grow(q, 200)
		before := c.workers["a"].key
		c.kill("b", true)
		c.grow(q, 300)
		if _, err := lookAt(t.Context(), c.workers["a"].node, before, 1, 1); !errors.Is(err, errOverThere) {
			t.Errorf("a task of a life that is over: %v", err)
		}
		c.must(q.Stop(t.Context(), true))
		if _, err := lookAt(t.Context(), c.workers["a"].node, c.workers["a"].key, 1, 1); !errors.Is(err, errOverThere) {
			t.Errorf("a task of a query that has ended: %v", err)
		}
		o.asking(c.join("b"))
		q = c.start()
		c.grow(q, 400)
		c.must(q.Stop(t.Context(), false))
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.terms) < 3 || len(a.told) != len(o.by) || len(o.by) == 0 {
			t.Errorf("asked in the terms %v, of %d keys, and %d were told", a.terms, len(a.told), len(o.by))
		}
		if n := len(a.settled); n < 4 {
			t.Errorf("%d batches have settled what they were told", n)
		}
	})
}

// A straggler that looks rows up is begun a second time, and both attempts are told the same.
func TestStragglersAreToldTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := copyPlan()
		plan.Stages[0].Root = &physical.LookupJoin{Input: plan.Stages[0].Root, Body: &physical.WorkTable{}, Source: "dim"}
		p := newPair(t, plan)
		out := &pile{last: batch.None}
		a, o := newArchive(), &answered{t: t, by: map[keyOf]int64{}}
		p.opt.Lookers, p.opt.Sinks = map[string]sources.Looker{"dim": a}, map[string]sinks.Sink{"out#0": out}
		p.opt.Protocol.Trigger = microbatch.Trigger{Kind: microbatch.Immediate}
		o.asking(p.worker)
		o.asking(p.other)
		ask, slow := p.worker.fault, true
		p.worker.fault = func(s batch.TaskSpec) error {
			if slow {
				slow = false
				time.Sleep(time.Minute) // of the bubble
			}
			return ask(s)
		}
		q := p.start()
		p.must(q.ProcessAllAvailable(t.Context()))
		time.Sleep(2 * time.Minute) // the slow one asks, too
		synctest.Wait()
		p.must(q.Stop(t.Context(), false))
		if first, again := p.attempts(p.worker)[0], p.attempts(p.other)[1]; first == 0 || again != first {
			t.Errorf("%d tasks of the slow worker, %d were begun again", first, again)
		}
		if len(out.rows) != 200 || len(o.by) == 0 || len(o.by) != len(a.told) {
			t.Errorf("%d rows are shown, %d keys were told and %d asked for", len(out.rows), len(o.by), len(a.told))
		}
	})
}

// What nobody will ask again is let go.
func TestLookersAreTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t)
		defer c.close()
		a := newArchive()
		c.opt.Lookers = map[string]sources.Looker{"dim": a}
		c.opt.Protocol.CheckpointInterval = time.Second
		c.join("a")
		q := c.start()
		for end := int64(50); end <= 500; end += 50 {
			c.grow(q, end)
			time.Sleep(2 * time.Second) // of the bubble
		}
		c.must(q.Stop(t.Context(), false))
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.trimmed < 1 {
			t.Errorf("trimmed before batch %d", a.trimmed)
		}
	})
}

// Who closes the desk ends what is being asked, and waits for it; a driver that was
// deposed and does not know it is refused in the log.
func TestDesk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newArchive()
		a.hold = make(chan struct{})
		old, next := newDesk(map[string]sources.Looker{"dim": a}), newDesk(map[string]sources.Looker{"dim": a})
		ask := func(ctx context.Context, d *desk, key string) error {
			r, err := d.serve(ctx, transport.StreamRef{Key: key, Ask: transport.Look{Source: "dim", Batch: 3}})
			if err != nil {
				return err
			}
			return r.Close()
		}
		if _, retry := batch.KindOf(ask(t.Context(), old, "k/1")); !retry {
			t.Error("a desk that is not open refuses for good")
		}
		old.open("k/1", 1)
		errs := make(chan error, 2*questionsMax)
		for range 2 * questionsMax { // half of them wait for a place
			go func() { errs <- ask(t.Context(), old, "k/1") }()
		}
		synctest.Wait()
		old.close()
		for range 2 * questionsMax {
			if err := <-errs; !errors.Is(err, errOverThere) {
				t.Errorf("a question whose life ends: %v", err)
			}
		}
		old.open("k/2", 2)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { errs <- ask(ctx, old, "k/2") }()
		synctest.Wait()
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("a question whose task ends: %v", err)
		}
		close(a.hold)
		next.open("n/1", 3)
		for _, c := range []struct {
			d    *desk
			key  string
			want error
		}{{old, "k/2", nil}, {next, "n/1", nil}, {old, "k/2", batch.ErrFenced}, {next, "n/1", nil}} {
			if err := ask(t.Context(), c.d, c.key); !errors.Is(err, c.want) {
				t.Errorf("plan %s: %v, want %v", c.key, err, c.want)
			}
		}
		for _, x := range []transport.Ask{nil, transport.Look{Source: "other"}, transport.Settle{Source: "other"}, transport.ReadState{}, transport.Look{Source: "dim", Keys: []byte("x")}} {
			if _, err := next.serve(t.Context(), transport.StreamRef{Key: "n/1", Ask: x}); err == nil {
				t.Errorf("%T is answered", x)
			}
		}
		next.close()
		old.close()
		if !slices.Equal(a.terms, []batch.Term{2, 3}) {
			t.Errorf("asked in the terms %v", fmt.Sprint(a.terms))
		}
	})
}
