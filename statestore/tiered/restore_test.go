package tiered

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

// shardsOf cuts an operator's state into partitions.
func shardsOf(operator string, parts int) []batch.Shard {
	out := make([]batch.Shard, parts)
	for p := range out {
		lo, hi := batch.GroupsOf(p, parts)
		out[p] = batch.Shard{Operator: operator, Partition: p, FirstGroup: lo, EndGroup: hi}
	}
	return out
}

// putInto seals the version after id of a shard with the rows of some numbers that
// belong to its key groups.
func putInto(ctx context.Context, s *Store, name batch.Shard, id batch.ID, from, to uint64, value string) (statestore.Version, error) {
	x, err := s.Begin(ctx, name, id)
	if err != nil {
		return statestore.Version{}, err
	}
	defer x.Discard()
	var keys [][]byte
	for i := from; i < to; i++ {
		key := make([]byte, 9)
		h := i * 0x9E3779B97F4A7C15
		key[0] = byte(h >> 40)
		binary.BigEndian.PutUint64(key[1:], i)
		if int(key[0]) >= name.FirstGroup && int(key[0]) < name.EndGroup {
			keys = append(keys, key)
		}
	}
	if err := x.Get(keys, func(int, []byte) error { return nil }); err != nil {
		return statestore.Version{}, err
	}
	for _, k := range keys {
		if err := x.Put(k, []byte(value)); err != nil {
			return statestore.Version{}, err
		}
	}
	return x.Seal(ctx)
}

// TestRestoreSideBySide: the shards of a query are restored at once, into another cut
// of the same files, while another operator of the store works and files are
// collected. All of them have the rows that were saved, and go on.
func TestRestoreSideBySide(t *testing.T) {
	const rows, before, after = 8000, 3, 7
	fs := vfsx.NewMem()
	first := open(t, Options{FS: fs, Dir: "state"})
	var saved []statestore.Manifest
	for _, name := range shardsOf("op", before) {
		for id, n := range []uint64{rows, 1000, 100} { // runs over each other
			if _, err := putInto(t.Context(), first, name, batch.ID(id)-1, 0, n, fmt.Sprintf("value %d", id)); err != nil {
				t.Fatal(err)
			}
			m, err := first.Checkpoint(t.Context(), name, batch.ID(id))
			if err != nil {
				t.Fatal(err)
			}
			if id == 2 {
				saved = append(saved, m)
			}
		}
	}
	want := statestore.Version{}
	for _, m := range saved {
		want = want.Add(m.State)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for _, load := range []int64{1, 16 << 10, 1 << 30} { // nothing is loaded, some shards are, all are
		pool := NewPool(PoolOptions{HotBytesMax: 128 << 10, CacheBytes: 1 << 20})
		s := open(t, Options{FS: fs, Dir: "state", Pool: pool, FileBytes: 10_000, LoadBytesMax: load})
		s.step = 8 << 10
		got, err := restoreAll(t.Context(), s, shardsOf("op", after), saved, rows)
		if err := errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		pool.Close()
		if got != want {
			t.Errorf("loading up to %d: %+v, want %+v", load, got, want)
		}
	}
}

// restoreAll restores shards at once, beside an operator that works, adds up what they
// have, and runs a batch on each.
func restoreAll(ctx context.Context, s *Store, shards []batch.Shard, saved []statestore.Manifest, rows uint64) (statestore.Version, error) {
	var sum struct {
		sync.Mutex
		statestore.Version
	}
	done := make(chan struct{})
	other := make(chan error, 1)
	go func() { other <- workOn(ctx, s, saved, done) }()
	g, gctx := errgroup.WithContext(ctx)
	for _, name := range shards {
		g.Go(func() error {
			for range 2 { // the second one replaces what the first has attached
				if err := s.Restore(gctx, name, 2, saved); err != nil {
					return err
				}
			}
			v, err := s.Digest(name, 2)
			if err != nil {
				return err
			}
			sum.Lock()
			sum.Version = sum.Version.Add(v)
			sum.Unlock()
			now, err := putInto(gctx, s, name, 2, 0, rows, "a new value")
			if err == nil && now.Rows != v.Rows {
				err = fmt.Errorf("%s has %d rows after all were written again, %d before", name, now.Rows, v.Rows)
			}
			if err == nil {
				_, err = s.Checkpoint(gctx, name, 3)
			}
			return err
		})
	}
	err := g.Wait()
	close(done)
	return sum.Version, errors.Join(err, <-other)
}

// workOn runs batches and checkpoints of another operator until it is told to end, and
// collects files that nobody needs.
func workOn(ctx context.Context, s *Store, live []statestore.Manifest, done <-chan struct{}) error {
	name := shardsOf("other", 1)[0]
	for id := batch.None; ; id++ {
		select {
		case <-done:
			return nil
		default:
		}
		if _, err := putInto(ctx, s, name, id, uint64(id+1)*100, uint64(id+1)*100+1000, fmt.Sprint(id)); err != nil {
			return err
		}
		m, err := s.Checkpoint(ctx, name, id+1)
		if err == nil {
			err = s.Collect(ctx, append([]statestore.Manifest{m}, live...))
		}
		if err == nil {
			err = s.Prune(ctx, name, id+1)
		}
		if err != nil {
			return err
		}
		for _, u := range s.Use() {
			if u.Hot < 0 || u.Cold < 0 {
				return fmt.Errorf("use: %+v", u)
			}
		}
	}
}
