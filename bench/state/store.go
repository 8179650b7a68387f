package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
	settings "github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/tiered"
)

// bench is a store by itself, with a shard for each of some partitions.
type bench struct {
	ctx    context.Context
	store  *tiered.Store
	pool   *tiered.Pool
	shards []batch.Shard
	id     batch.ID
	keys   [][]byte
	value  []byte
}

func open(ctx context.Context, limit int64, dir string, parts, valueBytes int) (*bench, error) {
	b := &bench{ctx: ctx, id: batch.None, value: make([]byte, valueBytes)}
	budget := memory.NewBudget(limit)
	b.pool = tiered.NewPool(tiered.PoolOptions{Budget: budget})
	var err error
	b.store, err = tiered.Open(tiered.Options{Dir: dir, Pool: b.pool, Memory: budget.Child("state", 0)})
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

// draw makes the keys of a batch in order, as operators ask for them.
func (b *bench) draw(s batch.Shard, n int, number func(i int) uint64) {
	for len(b.keys) < n {
		b.keys = append(b.keys, make([]byte, 9))
	}
	b.keys = b.keys[:n]
	for i, k := range b.keys {
		h := number(i) * 0x9E3779B97F4A7C15
		k[0] = byte(s.FirstGroup + int(h>>32)%(s.EndGroup-s.FirstGroup))
		binary.BigEndian.PutUint64(k[1:], h)
	}
	slices.SortFunc(b.keys, slices.Compare[[]byte])
	// In order they lie behind each other, as those of an operator do.
	text := make([]byte, 0, 9*n)
	for i, k := range b.keys {
		text = append(text, k...)
		b.keys[i] = text[len(text)-9:]
	}
}

// write reads and writes the rows of the drawn keys as a transaction.
func (b *bench) write(s batch.Shard) error {
	x, err := b.store.Begin(b.ctx, s, b.id)
	if err != nil {
		return err
	}
	defer x.Discard()
	if err := x.Get(b.keys, func(int, []byte) error { return nil }); err != nil {
		return err
	}
	for _, k := range b.keys {
		h := binary.BigEndian.Uint64(k[1:])
		for at := 8; at+8 <= len(b.value); at += 8 { // half of it can be packed
			binary.LittleEndian.PutUint32(b.value[at:], uint32(h>>3)+uint32(at)*2654435761)
		}
		binary.LittleEndian.PutUint64(b.value, uint64(b.id))
		if err := x.Put(k, b.value); err != nil {
			return err
		}
	}
	_, err = x.Seal(b.ctx)
	return err
}

// batch writes n rows of each shard.
func (b *bench) batch(n int, number func(i int) uint64) error {
	for _, s := range b.shards {
		b.draw(s, n, number)
		if err := b.write(s); err != nil {
			return err
		}
	}
	return b.sealed()
}

func (b *bench) sealed() error {
	b.id++
	for _, s := range b.shards {
		if err := b.store.Prune(b.ctx, s, b.id-1); err != nil {
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
	return out, b.store.Collect(b.ctx, out)
}

// updates changes rows of a million keys in memory, on one core: each is read,
// compared, counted into the digest and written. It counts the core's time.
func updates(ctx context.Context) (*measured, error) {
	const keys, rows = 1 << 20, 1 << 20
	b, err := open(ctx, 0, "", 1, 16)
	if err != nil {
		return nil, err
	}
	m := &measured{Keys: keys}
	took := time.Duration(0)
	b.draw(b.shards[0], rows, func(n int) uint64 { return uint64(n) })
	for i := range 12 {
		begin := cpuTime() // the collector's, too
		if err := errors.Join(b.write(b.shards[0]), b.sealed()); err != nil {
			return nil, err
		}
		if i > 0 { // the first makes the rows
			took += cpuTime() - begin
			m.Rows += rows
		}
	}
	v, err := b.store.Digest(b.shards[0], b.id)
	if err == nil && v.Rows != keys {
		err = fmt.Errorf("the store has %d rows, which should be %d", v.Rows, keys)
	}
	m.Seconds, m.PerSec = took.Seconds(), float64(m.Rows)/took.Seconds()
	return m, errors.Join(err, b.close())
}

// store makes a store of rows of which most are not in memory, and measures what a
// checkpoint writes after one key in a hundred has changed.
func store(ctx context.Context, o options, dir string) (*measured, error) {
	limit, err := settings.ParseBytes(o.limit)
	if err != nil {
		return nil, err
	}
	defer memory.NewBudget(limit).Govern()()
	const parts, perBatch = 4, 200_000
	b, err := open(ctx, limit, filepath.Join(dir, "store"), parts, 100)
	if err != nil {
		return nil, err
	}
	rows := uint64(o.gigabytes * 1e9 / parts / rowBytes)
	begin := time.Now()
	for from := uint64(0); from < rows; from += perBatch {
		if err := b.batch(int(min(perBatch, rows-from)), func(i int) uint64 { return from + uint64(i) }); err != nil {
			return nil, fmt.Errorf("load: %w", err)
		}
	}
	if _, err = b.checkpoint(); err != nil {
		return nil, err
	}
	m := &measured{Limit: o.limit, Load: time.Since(begin).Seconds()}
	before, size := b.store.Counts(), int64(0)
	for _, u := range b.store.Use() {
		m.Rows += u.Rows
		m.GB += float64(u.Bytes) / 1e9
		size += u.Cold
	}
	if err := b.batch(int(rows/100), func(i int) uint64 { return uint64(i*97) % rows }); err != nil {
		return nil, err
	}
	live, err := b.checkpoint()
	if err != nil {
		return nil, err
	}
	m.Uploads = float64(b.store.Counts().RunBytes-before.RunBytes) / float64(size)
	m.Files = size >> 20
	id := b.id
	if err := b.close(); err != nil {
		return nil, err
	}
	// What a store by itself takes from opening the folder to a sealed batch.
	begin = time.Now()
	if b, err = open(ctx, limit, filepath.Join(dir, "store"), parts, 100); err != nil {
		return nil, err
	}
	for _, s := range b.shards {
		if err := b.store.Restore(ctx, s, id, live); err != nil {
			return nil, err
		}
	}
	b.id = id
	if err := b.batch(250, func(i int) uint64 { return uint64(i*7919) % rows }); err != nil {
		return nil, err
	}
	m.Recovery = time.Since(begin).Seconds()
	return m, b.close()
}
