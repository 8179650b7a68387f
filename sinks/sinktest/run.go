package sinktest

import (
	"errors"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// Run runs the suite; fresh makes a case over an empty target for each subtest.
func Run(t *testing.T, fresh func(t testing.TB) Case) {
	t.Helper()
	for _, s := range []struct {
		name string
		run  func(*fixture)
	}{
		{"K1NothingVisibleBeforeCommit", k1},
		{"K2CommitIsIdempotent", k2},
		{"K2CommitIsIdempotentAfterRestart", k2Restart},
		{"K3BatchesInOrder", k3},
		{"K4OlderTermIsRefused", k4},
		{"AbortedOutputIsGone", aborted},
		{"LosingAttemptIsGone", losing},
		{"BatchWithoutRows", empty},
		{"RestartGoesOn", restart},
		{"RunAgainBeforeCommit", runAgain},
	} {
		t.Run(s.name, func(t *testing.T) {
			f := newFixture(t, fresh(t))
			s.run(f)
			f.close()
		})
	}
}

func k1(f *fixture) {
	f.holds(batch.None)
	f.visible("at the start")
	w := f.writer(0, 0, 0, 1)
	lines := f.write(w, 0, 10)
	f.visible("K1: after Write")
	p := f.prepare(w)
	f.visible("K1: after Prepare")
	f.holds(batch.None)
	f.commit(0, 1, []batch.Prepared{p})
	f.want = lines
	f.visible("after Commit")
	f.holds(0)
}

func k2(f *fixture) {
	parts := f.commitRows(0, 1, 0, 10)
	for range 3 {
		f.commit(0, 1, parts)
		f.visible("K2: batch 0 committed again")
	}
	f.commitRows(1, 1, 10, 20)
	f.visible("batch 1")
	f.commit(0, 1, parts)
	f.visible("K2: batch 0 committed again after batch 1")
	f.holds(1)
}

func k2Restart(f *fixture) {
	f.commitRows(0, 1, 0, 10)
	parts := f.commitRows(1, 1, 10, 20)
	if f.Forgets {
		return // it cannot know that it has shown the batch
	}
	f.reopen()
	f.holds(1)
	f.commit(1, 2, parts)
	f.visible("K2: batch 1 committed again after a restart")
	f.holds(1)
}

func k3(f *fixture) {
	for id := range batch.ID(5) {
		f.commitRows(id, 1, int64(id)*8, int64(id)*8+8)
		f.visible("after each batch")
		f.holds(id)
	}
}

func k4(f *fixture) {
	f.commitRows(0, 1, 0, 10)
	late, _ := f.prepared(2, 1, 50, 60)
	old := f.sink
	f.sink, f.writers = f.Open(f.t) // the next leader, while the old one still runs
	f.commitRows(1, 2, 10, 20)
	if err := old.Commit(f.t.Context(), 2, 1, late); !errors.Is(err, batch.ErrFenced) {
		f.t.Errorf("K4: a commit of an older term gave %v", err)
	}
	if err := old.Abort(f.t.Context(), 2, 1, late); !errors.Is(err, batch.ErrFenced) {
		f.t.Errorf("K4: an abort of an older term gave %v", err)
	}
	f.visible("K4: after the older term was refused")
	f.holds(1)
	if err := old.Close(); err != nil {
		f.t.Errorf("close the old leader's sink: %v", err)
	}
}

func aborted(f *fixture) {
	f.commitRows(0, 1, 0, 10)
	parts, _ := f.prepared(1, 1, 10, 20)
	for range 2 {
		if err := f.sink.Abort(f.t.Context(), 1, 1, parts); err != nil {
			f.t.Fatalf("abort: %v", err)
		}
	}
	f.visible("after Abort")
	f.holds(0)
	f.commitRows(1, 1, 30, 40)
	f.visible("the batch run again after Abort")
}

func losing(f *fixture) {
	first, second, third := f.writer(0, 0, 0, 1), f.writer(0, 0, 1, 1), f.writer(0, 0, 2, 1)
	lines := f.write(first, 0, 10)
	f.write(second, 0, 10)
	f.write(third, 0, 6)
	f.prepare(first) // prepared, and its report lost
	won := f.prepare(second)
	for range 2 {
		if err := third.Discard(); err != nil {
			f.t.Fatalf("discard: %v", err)
		}
	}
	f.commit(0, 1, []batch.Prepared{won})
	f.want = lines
	f.visible("the second attempt won")
	if err := first.Discard(); err != nil {
		f.t.Fatalf("discard after prepare: %v", err)
	}
	f.visible("the first attempt was discarded after the commit")
	f.commitRows(1, 1, 10, 20)
	f.visible("the next batch")
}

func empty(f *fixture) {
	f.commit(0, 1, nil)
	f.visible("a batch without parts")
	f.holds(0)
	p := f.prepare(f.writer(1, 0, 0, 1))
	if p.Rows != 0 {
		f.t.Errorf("an empty handle says %d rows", p.Rows)
	}
	f.commit(1, 1, []batch.Prepared{p})
	f.visible("a part without rows")
	f.holds(1)
	parts, lines := f.prepared(2, 1, 0, 10)
	f.commit(2, 1, append([]batch.Prepared{p}, parts...))
	f.want = lines
	f.visible("parts with and without rows")
	f.holds(2)
}

func restart(f *fixture) {
	f.commitRows(0, 1, 0, 10)
	parts, lines := f.prepared(1, 1, 10, 20)
	f.reopen()
	f.visible("prepared, then restarted")
	if f.Volatile {
		parts, lines = f.prepared(1, 2, 10, 20)
	}
	f.commit(1, 2, parts)
	f.want = append(f.want, lines...)
	f.visible("committed by the next term")
	f.commitRows(2, 2, 20, 30)
	f.visible("went on")
	f.holds(2)
}

func runAgain(f *fixture) {
	f.commitRows(0, 1, 0, 10)
	lost, _ := f.prepared(1, 1, 10, 20)
	again, lines := f.prepared(1, 2, 10, 20)
	f.commit(1, 2, again)
	f.want = append(f.want, lines...)
	f.visible("the second run of batch 1 was committed")
	if err := f.sink.Abort(f.t.Context(), 1, 2, lost); err != nil && !errors.Is(err, batch.ErrFenced) {
		f.t.Errorf("abort of what lost: %v", err)
	}
	f.visible("the first run of batch 1 was aborted")
	f.holds(1)
}

// Discarded lets a connector's own test check that a writer gives everything
// back in each state that it can be thrown away in.
func Discarded(t *testing.T, c Case) {
	t.Helper()
	f := newFixture(t, c)
	var writers []sinks.Writer
	for state := range 3 {
		w := f.writer(0, state, 0, 1)
		if state > 0 {
			f.write(w, 0, 10)
		}
		if state > 1 {
			f.prepare(w)
		}
		writers = append(writers, w)
	}
	for _, w := range writers {
		if err := w.Discard(); err != nil {
			t.Errorf("discard: %v", err)
		}
	}
	f.mem.AssertSize(t, 0)
	f.visible("after Discard")
	f.close()
}
