package mem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/storetest"
)

func open(t testing.TB, fs vfsx.FS, dir string) *Store {
	t.Helper()
	s, err := Open(Options{FS: fs, Dir: dir, ChangesMax: 8})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, fs vfsx.FS, dir string) statestore.Store { return open(t, fs, dir) })
}

var shard0 = batch.Shard{Operator: "count(auction)", EndGroup: batch.KeyGroups}

func seal(t testing.TB, s *Store, base batch.ID, n int, tag string) {
	t.Helper()
	x, err := s.Begin(t.Context(), shard0, base)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := x.Put(fmt.Appendf(nil, "%c%s%d", rune(i%100), tag, i), []byte("some value")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := x.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A checkpoint writes what changed, not the state.
func TestCheckpointIsIncremental(t *testing.T) {
	s := open(t, vfsx.NewMem(), "state")
	seal(t, s, batch.None, 10_000, "base")
	first, err := s.Checkpoint(t.Context(), shard0, 0)
	if err != nil {
		t.Fatal(err)
	}
	seal(t, s, 0, 10, "more")
	second, err := s.Checkpoint(t.Context(), shard0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(second.Parts) != 2 || second.Parts[0] != first.Parts[0] || second.Parts[1].Bytes > 1000 {
		t.Fatalf("10 changed rows of 10,000 were written as %+v after %+v", second.Parts, first.Parts)
	}
	seal(t, s, 1, 0, "")
	third, err := s.Checkpoint(t.Context(), shard0, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(third.Parts) != 2 {
		t.Fatalf("a version without changes has a part of its own: %+v", third.Parts)
	}
}

// Versions that were sealed while the first snapshot was being written are in
// the checkpoint after it.
func TestVersionsDuringTheFirstCheckpoint(t *testing.T) {
	fs := vfsx.NewMem()
	s := open(t, fs, "state")
	seal(t, s, batch.None, 5, "v0")
	seal(t, s, 0, 5, "v1") // its changes are not noted: no checkpoint was asked for yet
	if _, err := s.Checkpoint(t.Context(), shard0, 0); err != nil {
		t.Fatal(err)
	}
	seal(t, s, 1, 5, "v2")
	m, err := s.Checkpoint(t.Context(), shard0, 2)
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, fs, "state")
	if err := r.Restore(t.Context(), shard0, 2, []statestore.Manifest{m}); err != nil {
		t.Fatal(err)
	}
	if v, _ := r.Digest(shard0, 2); v.Rows != 15 {
		t.Fatalf("%d rows restored instead of 15", v.Rows)
	}
}

func TestMemoryLimit(t *testing.T) {
	b := memory.NewBudget(64 << 10)
	q := b.Child("query", 0)
	s, err := Open(Options{Memory: q})
	if err != nil {
		t.Fatal(err)
	}
	seal(t, s, batch.None, 100, "x")
	used := q.Used()
	if used == 0 {
		t.Fatal("100 rows cost nothing")
	}
	x, err := s.Begin(t.Context(), shard0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := x.Put(fmt.Appendf(nil, "k%d", i), []byte("some value")); err != nil {
			t.Fatal(err)
		}
	}
	var limit *memory.LimitError
	if _, err := x.Seal(t.Context()); !errors.As(err, &limit) {
		t.Fatalf("1,000 rows fit into 64 KiB: %v", err)
	}
	if q.Used() != used {
		t.Fatalf("a refused version holds on to %d bytes", q.Used()-used)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if q.Used() != 0 {
		t.Fatalf("%d bytes are still charged after Close", q.Used())
	}
	q.Close()
}

func TestWithoutAFolder(t *testing.T) {
	s, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	seal(t, s, batch.None, 3, "x")
	if _, err := s.Checkpoint(t.Context(), shard0, 0); err == nil {
		t.Fatal("a checkpoint without a folder worked")
	}
	if err := s.Restore(t.Context(), shard0, batch.None, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(context.Background(), shard0, batch.None); err == nil {
		t.Fatal("a closed store began a batch")
	}
}

// BenchmarkBatch updates 1,000 of a million rows in a batch and prunes.
func BenchmarkBatch(b *testing.B) {
	s := open(b, vfsx.NewMem(), "state")
	const rows = 1_000_000
	key := func(i int) []byte {
		h := uint64(i) * 0x9e3779b97f4a7c15
		return binary.BigEndian.AppendUint64(make([]byte, 0, 16), h)
	}
	x, _ := s.Begin(b.Context(), shard0, batch.None)
	for i := range rows {
		if err := x.Put(key(i), []byte("0123456789abcdef")); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := x.Seal(b.Context()); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Checkpoint(b.Context(), shard0, 0); err != nil {
		b.Fatal(err)
	}
	id, n := batch.ID(0), 0
	b.ReportAllocs()
	for b.Loop() {
		x, _ := s.Begin(b.Context(), shard0, id)
		for range 1000 {
			n += 7919
			if err := x.Put(key(n%rows), binary.BigEndian.AppendUint64(nil, uint64(n))); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := x.Seal(b.Context()); err != nil {
			b.Fatal(err)
		}
		id++
		if err := s.Prune(b.Context(), shard0, id-1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/row")
}
