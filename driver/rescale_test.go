package driver

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sources"
)

// TestRescale changes the parallelism of a running query between batches: what
// somebody waits for is still done, state moves, and the query is the same one.
func TestRescale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 100)
		defer b.close()
		b.opt.Limits = map[string]sources.Limit{"n#0": {Rows: 9}}
		b.opt.Protocol = microbatch.Options{CheckpointInterval: time.Hour}
		q := b.start()
		end := int64(100)
		for _, n := range []int{3, 1, 7, 7, 256, 2} { // it starts with 3
			end += 100
			done := make(chan error, 1)
			go func() { done <- q.ProcessAllAvailable(t.Context()) }()
			b.src.grow(end)
			if err := q.Rescale(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			if got := q.Parallelism(); got != n {
				t.Fatalf("parallelism %d, want %d", got, n)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if err := q.ProcessAllAvailable(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.out.check(t, end)
		}
		if got := count[QueryStarted](b); got != 5 { // the first start and four changes, as one is to what it is
			t.Errorf("%d lives", got)
		}
		for _, n := range []int{0, -1, batch.KeyGroups + 1} {
			if k, _ := batch.KindOf(q.Rescale(t.Context(), n)); k != batch.User {
				t.Errorf("parallelism %d is not refused", n)
			}
		}
		if err := q.Stop(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if count[QueryEnded](b) != 1 {
			t.Errorf("%d ends", count[QueryEnded](b))
		}
		if err := q.Rescale(t.Context(), 3); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
		if err := q.Checkpoint(t.Context(), func(Root) error { return nil }); !errors.Is(err, ErrEnded) {
			t.Errorf("a checkpoint after the end: %v", err)
		}
	})
}

// A query that runs one batch would run two.
func TestRescaleOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 100)
		defer b.close()
		b.opt.Protocol.Trigger.Kind = microbatch.Once
		q := b.start()
		if k, _ := batch.KindOf(q.Rescale(t.Context(), 2)); k != batch.User {
			t.Error("not refused")
		}
		if err := q.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCheckpointPins asks for checkpoints at once, and no file of one goes while
// somebody uses it, however many are written meanwhile.
func TestCheckpointPins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 0)
		defer b.close()
		b.opt.Protocol = microbatch.Options{CheckpointBatches: 1, CheckpointInterval: -1, CheckpointsKept: 1}
		q := b.start()
		if err := q.Checkpoint(t.Context(), func(Root) error { return nil }); !errors.Is(err, ErrNoBatch) {
			t.Fatalf("before the first batch: %v", err)
		}
		grow := func(to int64) {
			b.src.grow(to)
			if err := q.ProcessAllAvailable(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		grow(10)
		var root Root
		err := q.Checkpoint(t.Context(), func(r Root) error {
			root = r
			for to := range int64(10) {
				grow(20 + 10*to)
			}
			checkFiles(t, b, r, true)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if root.Check.Batch != root.Plan.Batch || numberAt(root.Plan.Ranges[0].End) != 10 {
			t.Errorf("root %+v", root.Plan)
		}
		grow(200)
		grow(210)
		checkFiles(t, b, root, false)
		kept, err := RootOf(t.Context(), b.opt.Log, q.Status().Committed)
		if err != nil {
			t.Fatal(err)
		}
		checkFiles(t, b, kept, true)
		if err := q.Stop(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	})
}

// Roots stay, and where they cannot be told nothing is deleted.
func TestRootsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 0)
		defer b.close()
		b.opt.Protocol = microbatch.Options{CheckpointBatches: 1, CheckpointInterval: -1, CheckpointsKept: 1}
		var roots [][]byte
		var fails error
		b.opt.Roots = func() ([][]byte, error) { return roots, fails }
		q := b.start()
		step := int64(0)
		grow := func() {
			step += 10
			b.src.grow(step)
			if err := q.ProcessAllAvailable(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		save := func() (r Root) {
			grow()
			if err := q.Checkpoint(t.Context(), func(got Root) error { r = got; roots = append(roots, refsOf(r.Check.Manifests)...); return nil }); err != nil {
				t.Fatal(err)
			}
			return r
		}
		saved := []Root{save(), save()}
		for range 5 {
			grow()
		}
		checkFiles(t, b, saved[0], true)
		checkFiles(t, b, saved[1], true)
		fails = errors.New("a savepoint cannot be read")
		roots = nil
		for range 3 {
			grow()
		}
		checkFiles(t, b, saved[0], true)
		if count[Warning](b) == 0 {
			t.Error("no warning")
		}
		fails, roots = nil, refsOf(saved[1].Check.Manifests)
		for range 3 {
			grow()
		}
		checkFiles(t, b, saved[1], true) // with what it shares with the other one
		roots = nil
		for range 30 { // a snapshot is among them
			grow()
		}
		checkFiles(t, b, saved[1], false)
		if err := q.Stop(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	})
}

// checkFiles looks for the files of a checkpoint on the disk: all are there, or,
// if its last ones are its own, those are gone.
func checkFiles(t *testing.T, b *bed, r Root, want bool) {
	t.Helper()
	ms, err := decodeManifests(refsOf(r.Check.Manifests))
	if err != nil || len(ms) == 0 {
		t.Fatal(ms, err)
	}
	missing := 0
	for _, m := range ms {
		for _, p := range m.Parts {
			if _, err := b.fs.Stat(b.fs.PathJoin("ck/state", p.Name)); err != nil {
				missing++
			}
		}
	}
	if (missing == 0) != want {
		t.Errorf("checkpoint of batch %d: %d files are missing", r.Check.Batch, missing)
	}
}
