package exchange

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
)

// appendTo writes a batch on a goroutine and reports when it is done.
func appendTo(ctx context.Context, w *LiveWriter, rec arrow.RecordBatch) <-chan error {
	done := make(chan error, 1)
	go func() {
		err := w.Append(ctx, rec)
		rec.Release() // before the answer: who has it may look for rows that are left
		done <- err
	}()
	return done
}

func waits(t *testing.T, done <-chan error, want bool, what string) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		if want || err != nil {
			t.Fatalf("%s did not wait: %v", what, err)
		}
	default:
		if !want {
			t.Fatalf("%s waits", what)
		}
	}
}

// TestFollow holds that a task that is ahead of its reader waits, that the one that is
// read goes on a batch at a time whatever there is of memory, and that its rows come in order.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer alloc.AssertSize(t, 0)
		one := rows(alloc, 0)
		o := New(Options{MemoryMax: 2 * 2 * gather.BatchBytes(one), Dir: t.TempDir()}) // two batches are half of it
		one.Release()
		defer o.Close()
		yielded, resumed := 0, 0
		w0 := o.LiveWriter(Ref{Key: "k", Task: 0}, 0, nil)
		w1 := o.LiveWriter(Ref{Key: "k", Task: 1}, 0, func() func() { yielded++; return func() { resumed++ } })
		for i := range 2 {
			waits(t, appendTo(t.Context(), w1, rows(alloc, int64(10+i))), false, "the task ahead")
		}
		ahead := appendTo(t.Context(), w1, rows(alloc, 12))
		waits(t, ahead, true, "the task ahead without memory")
		if yielded != 1 || resumed != 0 {
			t.Errorf("it yielded %d times and went on %d times", yielded, resumed)
		}
		first := appendTo(t.Context(), w0, rows(alloc, 0))
		waits(t, first, true, "a task that nobody reads")
		r, err := o.Follow(Ref{Key: "k", Task: 0}, 0)
		if err != nil {
			t.Fatal(err)
		}
		waits(t, first, false, "the first batch of the task that is read")
		second := appendTo(t.Context(), w0, rows(alloc, 1))
		waits(t, second, true, "its second")
		rec, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rec.Release()
		waits(t, second, false, "its second when the first was read")
		if err := w0.Commit(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, r, nil); got != "1 " {
			t.Errorf("then come %q", got)
		}
		waits(t, ahead, true, "the task ahead, still")
		r, err = o.Follow(Ref{Key: "k", Task: 1}, 0)
		if err != nil {
			t.Fatal(err)
		}
		next := make(chan string)
		go func() { next <- read(t, r, nil) }()
		waits(t, ahead, false, "the task ahead when it is read")
		if err := w1.Commit(); err != nil {
			t.Fatal(err)
		}
		if got := <-next; got != "10 11 12 " {
			t.Errorf("of it come %q", got)
		}
		if yielded != 1 || resumed != 1 {
			t.Errorf("it yielded %d times and went on %d times", yielded, resumed)
		}
		if o.Bytes() != 0 || len(o.mu.live) != 0 {
			t.Errorf("%d bytes and %d outputs are left", o.Bytes(), len(o.mu.live))
		}
	})
}

// TestFollowGivenUp holds that who waits is told when there is nothing to wait for.
func TestFollowGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alloc := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer alloc.AssertSize(t, 0)
		o := New(Options{MemoryMax: 1, Dir: t.TempDir()})
		ref := Ref{Key: "k"}
		r, err := o.Follow(ref, 0) // before the attempt begins
		if err != nil {
			t.Fatal(err)
		}
		told := make(chan error)
		go func() {
			for {
				rec, err := r.Next(t.Context())
				if err != nil {
					told <- err
					return
				}
				rec.Release()
			}
		}()
		w := o.LiveWriter(ref, 0, nil)
		waits(t, appendTo(t.Context(), w, rows(alloc, 1)), false, "the first batch")
		w.Discard()
		if err := <-told; !errors.Is(err, batch.ErrGivenUp) {
			t.Errorf("the reader of a failed attempt gets %v", err)
		}
		r.Close()

		w = o.LiveWriter(ref, 1, nil)
		ctx, cancel := context.WithCancel(t.Context())
		stuck := appendTo(ctx, w, rows(alloc, 2))
		waits(t, stuck, true, "an attempt that nobody reads")
		cancel()
		if err := <-stuck; !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled attempt ends with %v", err)
		}
		stuck = appendTo(t.Context(), w, rows(alloc, 2))
		waits(t, stuck, true, "an attempt that nobody reads")
		o.Drop("k")
		if err := <-stuck; !errors.Is(err, batch.ErrGivenUp) {
			t.Errorf("when its plan is dropped it ends with %v", err)
		}
		if err := w.Commit(); !errors.Is(err, batch.ErrGivenUp) {
			t.Errorf("and is committed with %v", err)
		}

		w = o.LiveWriter(ref, 2, nil)
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		r, err = o.Follow(ref, 2)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(t.Context()); err != io.EOF {
			t.Errorf("an attempt without rows ends with %v", err)
		}
		r.Close()
		if len(o.mu.live) != 0 {
			t.Errorf("%d outputs are left", len(o.mu.live))
		}
	})
}
