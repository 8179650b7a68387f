package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
	settings "github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/tiered"
)

// measured is what a store by itself took.
type measured struct {
	GB          float64   `json:"state_gb"`
	Rows        int64     `json:"rows"`
	Limit       string    `json:"memory_limit"`
	LoadSeconds float64   `json:"load_seconds"`
	Empty       quantiles `json:"batch_empty_ms"`
	Full        quantiles `json:"batch_full_ms"`
	Uploads     float64   `json:"checkpoint_after_1_percent"` // of the bytes of the state's files
	Merges      float64   `json:"merged_since"`               // of the same
	Recovery    float64   `json:"recovery_seconds"`
	Hot         int64     `json:"hot_mb"`
	Peak        int64     `json:"peak_rss_mb"`
}

type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// bench is a store with one shard for each of a few partitions.
type bench struct {
	ctx    context.Context
	store  *tiered.Store
	pool   *tiered.Pool
	budget *memory.Budget
	shards []batch.Shard
	id     batch.ID
	hold   batch.ID // the oldest version that a checkpoint may need
	rng    *rand.Rand
	value  [100]byte
	key    [16]byte
}

const parts = 4

func open(ctx context.Context, limit int64, dir string) (*bench, error) {
	b := &bench{ctx: ctx, id: batch.None, hold: math.MaxInt64, rng: rand.New(rand.NewPCG(1, 2)), budget: memory.NewBudget(limit)}
	b.pool = tiered.NewPool(tiered.PoolOptions{Budget: b.budget})
	var err error
	b.store, err = tiered.Open(tiered.Options{Dir: dir, Pool: b.pool, Memory: b.budget.Child("state", 0)})
	for p := range parts {
		lo, hi := batch.GroupsOf(p, parts)
		b.shards = append(b.shards, batch.Shard{Operator: "bench", Partition: p, FirstGroup: lo, EndGroup: hi})
	}
	return b, err
}

func (b *bench) close() error {
	err := b.store.Close()
	b.pool.Close()
	return err
}

// row makes the key of a number and a value for it. Numbers of a shard follow
// each other mod parts.
func (b *bench) row(n uint64) ([]byte, []byte) {
	s := b.shards[n%parts]
	h := n * 0x9E3779B97F4A7C15
	b.key[0] = byte(s.FirstGroup + int(h>>32)%(s.EndGroup-s.FirstGroup))
	binary.BigEndian.PutUint64(b.key[1:], h)
	for at := 0; at < len(b.value); at += 8 { // half of it can be packed
		binary.LittleEndian.PutUint32(b.value[at:], uint32(h>>3)+uint32(at)*2654435761)
	}
	binary.LittleEndian.PutUint64(b.value[8:], uint64(b.id))
	return b.key[:9], b.value[:]
}

// batch writes the rows of the numbers that draw gives, n for each shard.
func (b *bench) batch(n int, draw func(i int) uint64) error {
	for p, s := range b.shards {
		x, err := b.store.Begin(b.ctx, s, b.id)
		if err != nil {
			return err
		}
		for i := range n {
			k, v := b.row(draw(i)*parts + uint64(p))
			if err := x.Get([][]byte{k}, func(int, []byte) error { return nil }); err != nil {
				return err
			}
			if err := x.Put(k, v); err != nil {
				return err
			}
		}
		if _, err := x.Seal(b.ctx); err != nil {
			return err
		}
	}
	b.id++
	for _, s := range b.shards {
		if err := b.store.Prune(b.ctx, s, min(b.id-1, b.hold)); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) checkpoint() ([]statestore.Manifest, error) {
	var out []statestore.Manifest
	for _, s := range b.shards {
		m, err := b.store.Checkpoint(b.ctx, s, b.id)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// times runs small batches over keys below max, with a checkpoint in the
// background all the time, and collects what had been written before.
func (b *bench) times(max uint64) (quantiles, error) {
	const batches, rows = 2000, 25
	var all []time.Duration
	done := make(chan error, 1)
	busy := false
	for range batches {
		if !busy {
			id, shards := b.id, b.shards
			busy, b.hold = true, b.id
			go func() {
				var live []statestore.Manifest
				for _, s := range shards {
					m, err := b.store.Checkpoint(b.ctx, s, id)
					if err != nil {
						done <- err
						return
					}
					live = append(live, m)
				}
				done <- b.store.Collect(b.ctx, live)
			}()
		}
		begin := time.Now()
		if err := b.batch(rows, func(int) uint64 { return b.rng.Uint64N(max) }); err != nil {
			return quantiles{}, err
		}
		all = append(all, time.Since(begin))
		select {
		case err := <-done:
			if busy, b.hold = false, math.MaxInt64; err != nil {
				return quantiles{}, err
			}
		default:
		}
	}
	if busy {
		if err := <-done; err != nil {
			return quantiles{}, err
		}
		b.hold = math.MaxInt64
	}
	slices.Sort(all)
	ms := func(percent float64) float64 {
		return float64(all[int(float64(len(all)-1)*percent/100)].Microseconds()) / 1000
	}
	return quantiles{ms(50), ms(99), ms(100)}, nil
}

func store(ctx context.Context, o options, dir string) (*measured, error) {
	limit, err := settings.ParseBytes(o.limit)
	if err != nil {
		return nil, err
	}
	out := &measured{Limit: o.limit}
	defer memory.NewBudget(limit).Govern()()
	small, err := open(ctx, limit, filepath.Join(dir, "empty"))
	if err != nil {
		return nil, err
	}
	if err := small.batch(1, func(int) uint64 { return 0 }); err != nil {
		return nil, err
	}
	if out.Empty, err = small.times(1000); err != nil {
		return nil, err
	}
	if err := small.close(); err != nil {
		return nil, err
	}

	b, err := open(ctx, limit, filepath.Join(dir, "full"))
	if err != nil {
		return nil, err
	}
	const perBatch = 50_000
	perShard := uint64(o.gigabytes * 1e9 / parts / 109)
	begin := time.Now()
	for from := uint64(0); from < perShard; from += perBatch {
		if err := b.batch(perBatch, func(i int) uint64 { return from + uint64(i) }); err != nil {
			return nil, fmt.Errorf("load: %w", err)
		}
	}
	live, err := b.checkpoint()
	if err != nil {
		return nil, err
	}
	out.LoadSeconds = time.Since(begin).Seconds()
	if err := b.store.Collect(ctx, live); err != nil {
		return nil, err
	}
	if out.Full, err = b.times(perShard); err != nil {
		return nil, err
	}
	before := b.store.Counts()
	size := int64(0)
	for _, u := range b.store.Use() {
		out.Rows += u.Rows
		out.GB += float64(u.Bytes) / 1e9
		size += u.Cold
		out.Hot += u.Hot >> 20
	}
	if err := b.batch(int(perShard/100), func(i int) uint64 { return uint64(i*97) % perShard }); err != nil {
		return nil, err
	}
	if live, err = b.checkpoint(); err != nil {
		return nil, err
	}
	after := b.store.Counts()
	out.Uploads = float64(after.RunBytes-before.RunBytes) / float64(size)
	out.Merges = float64(after.MergeBytes-before.MergeBytes) / float64(size)
	if err := errors.Join(b.store.Collect(ctx, live), b.close()); err != nil {
		return nil, err
	}
	if err := recoverFrom(ctx, out, b.id, live, limit, filepath.Join(dir, "full"), perShard); err != nil {
		return nil, err
	}
	out.Peak = peak()
	return out, nil
}

// recoverFrom opens the folder anew, restores all shards and seals a batch.
func recoverFrom(ctx context.Context, out *measured, id batch.ID, live []statestore.Manifest, limit int64, dir string, perShard uint64) error {
	begin := time.Now()
	b, err := open(ctx, limit, dir)
	if err != nil {
		return err
	}
	for _, s := range b.shards {
		if err := b.store.Restore(ctx, s, id, live); err != nil {
			return err
		}
	}
	b.id = id
	if err := b.batch(1000, func(int) uint64 { return b.rng.Uint64N(perShard) }); err != nil {
		return err
	}
	out.Recovery = time.Since(begin).Seconds()
	return b.close()
}
