package transporttest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/sources"
)

// lookups: a worker asks the driver for rows of a table, in all shapes of keys and answers.
func lookups(t *testing.T, b Bed) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	recs := Batches(memory.DefaultAllocator)
	defer Release(recs)
	for i, rec := range recs {
		keys := []arrow.RecordBatch{rec}
		if rec.NumRows() > 2 {
			keys = []arrow.RecordBatch{rec.NewSlice(0, 1), rec.NewSlice(1, rec.NumRows())}
			defer Release(keys)
		}
		q := sources.Lookup{Batch: batch.ID(i), Term: 7, On: []int{2, 0}, Keys: keys}
		var want transport.Look
		b.Driver.Serve(func(_ context.Context, ref transport.StreamRef) (sources.Reader, error) {
			ask := ref.Ask.(transport.Look)
			got, err := transport.UnpackKeys(ask.Keys, alloc)
			if err != nil {
				return nil, err
			}
			defer Release(got)
			Equal(t, got, keys)
			if ask.Keys = nil; ref.Key != "k" || !reflect.DeepEqual(ask, want) {
				t.Errorf("asked for %+v of plan %s, want %+v", ask, ref.Key, want)
			}
			return NewReader(nil, keys...), nil // the keys are what is found
		})
		l := &transport.Lookups{Net: b.First, Driver: b.Driver.Local(), Key: "k", Source: "dim#lookup0", Schema: rec.Schema()}
		for _, columns := range [][]int{nil, upTo(int(rec.NumCols()))} {
			q.Columns = columns
			want = transport.Look{Source: l.Source, Batch: q.Batch, On: q.On, Columns: columns}
			got, err := l.Look(t.Context(), q, alloc)
			if err != nil {
				t.Fatal(err)
			}
			Equal(t, []arrow.RecordBatch{got}, []arrow.RecordBatch{rec})
			got.Release()
		}
	}
}

func upTo(n int) []int {
	out := []int{}
	for i := range n {
		out = append(out, i)
	}
	return out
}

// lookedUpInVain: nothing is found, rows of other types are refused, an error comes as it is, and a
// question that is given up ends at the driver.
func lookedUpInVain(t *testing.T, b Bed) {
	alloc := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer alloc.AssertSize(t, 0)
	rec := Wide(memory.DefaultAllocator, 10)
	defer rec.Release()
	l := &transport.Lookups{Net: b.First, Driver: b.Driver.Local(), Key: "k", Source: "dim#lookup0", Schema: rec.Schema()}
	q := sources.Lookup{Batch: 1, On: []int{0}, Keys: []arrow.RecordBatch{rec}}

	b.Driver.Serve(func(context.Context, transport.StreamRef) (sources.Reader, error) { return NewReader(nil), nil })
	none, err := l.Look(t.Context(), q, alloc)
	if err != nil || none.NumRows() != 0 || !none.Schema().Equal(l.Schema) {
		t.Fatalf("nothing was found, and is %v (%v)", none, err)
	}
	none.Release()
	if err := l.Settle(t.Context(), 1, 0); err != nil {
		t.Errorf("settle: %v", err)
	}

	other := array.NewRecordBatch(arrow.NewSchema([]arrow.Field{{Name: "x", Type: arrow.Null}}, nil), []arrow.Array{array.NewNull(3)}, 3)
	b.Driver.Serve(func(context.Context, transport.StreamRef) (sources.Reader, error) { return NewReader(nil, other), nil })
	if _, err := l.Look(t.Context(), q, alloc); err == nil {
		t.Error("rows of other types were taken")
	}

	away := batch.ExternalError(fmt.Errorf("the database is away: %w", batch.ErrGivenUp), true)
	b.Driver.Serve(func(context.Context, transport.StreamRef) (sources.Reader, error) { return nil, away })
	_, lerr := l.Look(t.Context(), q, alloc)
	for _, err := range []error{lerr, l.Settle(t.Context(), 1, 0)} {
		if kind, retry := batch.KindOf(err); kind != batch.External || !retry || !errors.Is(err, batch.ErrGivenUp) || errors.Is(err, transport.ErrGone) {
			t.Errorf("a database that is away: %v", err)
		}
	}

	asked, ended := make(chan struct{}), make(chan struct{})
	b.Driver.Serve(func(ctx context.Context, _ transport.StreamRef) (sources.Reader, error) {
		close(asked)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	go func() {
		_, err := l.Look(ctx, q, alloc)
		errs <- err
	}()
	<-asked
	synctest.Wait()
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("a question that was given up: %v", err)
	}
	<-ended

	gone := &transport.Lookups{Net: b.First, Driver: "driver/nobody", Key: "k", Source: "dim#lookup0", Schema: rec.Schema()}
	if _, err := gone.Look(t.Context(), q, alloc); !errors.Is(err, transport.ErrGone) {
		t.Errorf("a driver that is not there: %v", err)
	}
}

// together: many workers' tasks ask at the same time, and each is told what it has asked for.
func together(t *testing.T, b Bed) {
	b.Driver.Serve(func(_ context.Context, ref transport.StreamRef) (sources.Reader, error) {
		keys, err := transport.UnpackKeys(ref.Ask.(transport.Look).Keys, memory.DefaultAllocator)
		return NewReader(nil, keys...), err
	})
	errs := make(chan error)
	for i := range 64 {
		go func() {
			recs := Small(memory.DefaultAllocator) // its own: a dictionary is made when it is first looked at
			defer Release(recs)
			at, rec := []transport.Transport{b.First, b.Second}[i%2], recs[i%len(recs)]
			l := &transport.Lookups{Net: at, Driver: b.Driver.Local(), Key: "k", Schema: rec.Schema()}
			got, err := l.Look(t.Context(), sources.Lookup{Keys: []arrow.RecordBatch{rec}}, nil)
			if err == nil && !array.RecordEqual(got, rec) {
				err = fmt.Errorf("question %d was answered %v", i, got)
			}
			errs <- err
		}()
	}
	for range 64 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
