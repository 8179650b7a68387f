package transporttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/sources"
)

// Bed is a driver and two workers that have found each other, with inboxes of a few
// messages. The names are theirs.
type Bed struct {
	Driver, First, Second transport.Transport
	Close                 func()
}

// Run runs the suite. open is called once for each test, in a bubble of its own.
func Run(t *testing.T, open func(t *testing.T) Bed) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, b Bed)
	}{
		{"OrderOfEachSender", order},
		{"WhoSendsWaitsForWhoReads", pressure},
		{"SendToNobody", nobody},
		{"FetchAsksTheOtherNode", fetch},
		{"RowsOfAllTypes", Rows},
		{"TasksOfOneNode", several},
		{"ProducersWaitAndAreClosed", abandoned},
		{"ErrorsOfTheOtherNode", failing},
		{"Lookups", lookups},
		{"LookupsInVain", lookedUpInVain},
		{"LookupsOfManyTasks", together},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := open(t)
				defer b.Close()
				c.run(t, b)
			})
		})
	}
}

func number(env transport.Envelope) string { return env.Message.(transport.Undeploy).Key }

func order(t *testing.T, b Bed) {
	const each = 500
	senders := []transport.Transport{b.First, b.Second}
	for _, s := range senders {
		go func() {
			for i := range each {
				if err := s.Send(t.Context(), b.Driver.Local(), transport.Undeploy{Key: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	next := map[transport.NodeID]int{}
	for range len(senders) * each {
		env := <-b.Driver.Inbox()
		if got, want := number(env), fmt.Sprint(next[env.From]); got != want {
			t.Fatalf("from %s: message %s, want %s", env.From, got, want)
		}
		next[env.From]++
	}
}

// pressure: a node that does not read makes its senders wait, and nothing is lost.
func pressure(t *testing.T, b Bed) {
	const all = 20_000
	var sent atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	go func() {
		for i := range all {
			if err := b.Driver.Send(ctx, b.First.Local(), transport.Undeploy{Key: fmt.Sprint(i)}); err != nil {
				errs <- err
				return
			}
			sent.Add(1)
		}
		errs <- nil
	}()
	synctest.Wait()
	if n := sent.Load(); n == 0 || n > all/2 {
		t.Fatalf("%d messages were sent to a node that does not read", n)
	}
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Fatalf("a send that was cancelled: %v", err)
	}
	for i := range sent.Load() {
		if got := number(<-b.First.Inbox()); got != fmt.Sprint(i) {
			t.Fatalf("message %s, want %d", got, i)
		}
	}
}

func nobody(t *testing.T, b Bed) {
	if err := b.Driver.Send(t.Context(), "nobody", transport.Undeploy{}); !errors.Is(err, transport.ErrGone) {
		t.Errorf("send to nobody: %v", err)
	}
	if _, err := read(t, b.First, "nobody", transport.StreamRef{}, nil); !errors.Is(err, transport.ErrGone) {
		t.Errorf("fetch from nobody: %v", err)
	}
	if _, retry := batch.KindOf(b.Driver.Send(t.Context(), "nobody", transport.Undeploy{})); !retry {
		t.Error("who is gone may come again, and is not worth another try")
	}
}

// read fetches all rows.
func read(t *testing.T, at transport.Transport, from transport.NodeID, ref transport.StreamRef, alloc memory.Allocator) ([]arrow.RecordBatch, error) {
	t.Helper()
	r, err := at.Fetch(t.Context(), from, ref, alloc)
	if err != nil {
		return nil, err
	}
	var recs []arrow.RecordBatch
	for {
		rec, err := r.Next(t.Context())
		if err == io.EOF {
			return recs, r.Close()
		}
		if err != nil {
			return recs, errors.Join(err, r.Close())
		}
		recs = append(recs, rec)
	}
}

// Reader gives batches and counts what becomes of it.
type Reader struct {
	Recs   []arrow.RecordBatch
	Err    error // at the end; io.EOF if nil
	Given  atomic.Int64
	Closed chan struct{}
}

// NewReader returns a reader of recs, which stay the caller's.
func NewReader(err error, recs ...arrow.RecordBatch) *Reader {
	return &Reader{Recs: recs, Err: err, Closed: make(chan struct{})}
}

// Next is of sources.Reader.
func (r *Reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	i := int(r.Given.Load())
	if i == len(r.Recs) {
		if r.Err != nil {
			return nil, r.Err
		}
		return nil, io.EOF
	}
	r.Given.Add(1)
	r.Recs[i].Retain()
	return r.Recs[i], nil
}

// Close is of sources.Reader.
func (r *Reader) Close() error {
	close(r.Closed)
	return nil
}

func fetch(t *testing.T, b Bed) {
	if _, err := read(t, b.First, b.Second.Local(), transport.StreamRef{}, nil); err == nil {
		t.Fatal("a node that serves nothing answered")
	}
	want := transport.StreamRef{Key: "k", Batch: 3, Stage: 1, Task: 2, Partition: 4, Follow: true, Attempt: 5}
	empty := NewReader(nil)
	b.Second.Serve(func(_ context.Context, ref transport.StreamRef) (sources.Reader, error) {
		if ref != want {
			t.Errorf("asked for %+v", ref)
		}
		return empty, nil
	})
	for _, at := range []transport.Transport{b.First, b.Driver} {
		empty.Closed = make(chan struct{})
		recs, err := read(t, at, b.Second.Local(), want, nil)
		if err != nil || len(recs) != 0 {
			t.Fatalf("%d batches, %v", len(recs), err)
		}
		<-empty.Closed
	}
}

// Rows sends rows that have made trouble somewhere from the second to the first.
func Rows(t *testing.T, b Bed) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	theirs := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer theirs.AssertSize(t, 0)
	recs := Batches(theirs)
	defer Release(recs)
	b.Second.Serve(func(context.Context, transport.StreamRef) (sources.Reader, error) {
		return NewReader(nil, recs...), nil
	})
	got, err := read(t, b.First, b.Second.Local(), transport.StreamRef{}, alloc)
	defer Release(got)
	if err != nil {
		t.Fatal(err)
	}
	Equal(t, got, recs)
}

// several: the outputs of a list of tasks come one after the other, each row with whose it
// is, and the error of one ends all.
func several(t *testing.T, b Bed) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	recs := Small(memory.DefaultAllocator)
	defer Release(recs)
	ref := transport.StreamRef{Key: "k", Batch: 3, Stage: 1, Partition: 2}
	tasks := []int{1, 3, 4, 9, 12}
	outputs := map[int][]arrow.RecordBatch{1: {recs[0], recs[1]}, 4: {recs[1], recs[2]}, 9: {recs[len(recs)-1]}}
	lost := errors.New("the rows are lost")
	b.Second.Serve(func(_ context.Context, got transport.StreamRef) (sources.Reader, error) {
		want := ref
		if want.Task = got.Task; got != want || !slices.Contains(tasks, got.Task) {
			t.Errorf("asked for %+v", got)
		}
		if got.Task == 12 {
			return nil, batch.ExternalError(fmt.Errorf("%w: %w", lost, batch.ErrGivenUp), true)
		}
		return NewReader(nil, outputs[got.Task]...), nil
	})
	all := func(list []int) (err error) {
		r, err := b.First.FetchTasks(t.Context(), b.Second.Local(), ref, list, alloc)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.Close()) }()
		of := map[int][]arrow.RecordBatch{}
		defer func() {
			for _, task := range list {
				Equal(t, of[task], outputs[task])
				Release(of[task])
			}
		}()
		for {
			rec, err := r.Next(t.Context())
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			of[list[r.Place()]] = append(of[list[r.Place()]], rec)
		}
	}
	for n := range tasks {
		if err := all(tasks[:n]); err != nil {
			t.Errorf("of %v: %v", tasks[:n], err)
		}
	}
	if err := all(tasks); !errors.Is(err, batch.ErrGivenUp) {
		t.Errorf("with a task whose rows are lost: %v", err)
	}
}

// Equal wants the same rows, in whatever batches.
func Equal(t *testing.T, got, want []arrow.RecordBatch) {
	t.Helper()
	for _, w := range want {
		for from := int64(0); from < w.NumRows(); {
			if len(got) == 0 {
				t.Fatalf("%d rows of a batch and what is behind are missing", w.NumRows()-from)
			}
			g := got[0]
			got = got[1:]
			if from+g.NumRows() > w.NumRows() {
				t.Fatalf("%d rows at once, %d are left of the batch", g.NumRows(), w.NumRows()-from)
			}
			part := w.NewSlice(from, from+g.NumRows())
			if !array.RecordEqual(g, part) || !g.Schema().Equal(part.Schema()) {
				t.Errorf("got %v\nwant %v", g, part)
			}
			part.Release()
			from += g.NumRows()
		}
	}
	if len(got) > 0 {
		t.Fatalf("%d batches too many", len(got))
	}
}

// Release releases all.
func Release(recs []arrow.RecordBatch) {
	for _, r := range recs {
		r.Release()
	}
}

// abandoned: a reader that is closed early closes what it reads from, which has not run
// far ahead.
func abandoned(t *testing.T, b Bed) {
	rec := Wide(memory.DefaultAllocator, 1<<15)
	defer rec.Release()
	recs := make([]arrow.RecordBatch, 400) // of 256 KiB
	for i := range recs {
		recs[i] = rec
	}
	for _, closes := range []bool{true, false} {
		in := NewReader(nil, recs...)
		b.Second.Serve(func(context.Context, transport.StreamRef) (sources.Reader, error) { return in, nil })
		r, err := b.First.Fetch(t.Context(), b.Second.Local(), transport.StreamRef{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		first.Release()
		synctest.Wait()
		if n := in.Given.Load(); n > int64(len(recs)/2) {
			t.Fatalf("%d batches were made for a reader that has taken one", n)
		}
		if !closes {
			cancel()
			if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
				t.Fatalf("a read that was cancelled: %v", err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-in.Closed
	}
}

func failing(t *testing.T, b Bed) {
	rec := Wide(memory.DefaultAllocator, 10)
	defer rec.Release()
	want := batch.ExternalError(fmt.Errorf("disk: %w", batch.ErrGivenUp), true)
	for name, serve := range map[string]func(context.Context, transport.StreamRef) (sources.Reader, error){
		"at once":    func(context.Context, transport.StreamRef) (sources.Reader, error) { return nil, want },
		"on the way": func(context.Context, transport.StreamRef) (sources.Reader, error) { return NewReader(want, rec), nil },
	} {
		b.Second.Serve(serve)
		recs, err := read(t, b.First, b.Second.Local(), transport.StreamRef{}, nil)
		Release(recs)
		kind, retry := batch.KindOf(err)
		if kind != batch.External || !retry || !errors.Is(err, batch.ErrGivenUp) || errors.Is(err, transport.ErrGone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
