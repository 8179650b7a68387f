package kafka

import (
	"context"
	"fmt"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// waiting holds the encoded messages of prepared attempts until their batch's commit.
type waiting struct {
	bytesMax int64
	table    string
	sync.Mutex
	seq   uint64
	bytes int64
	by    map[string]*prepared
}

// prepared are the messages of one attempt, by partition of the topic.
type prepared struct {
	id    batch.ID
	bytes int64
	parts map[int32][]sealed
}

// reserve accounts for bytes that are encoded, before they are prepared.
func (w *waiting) reserve(n int64) error {
	w.Lock()
	defer w.Unlock()
	if w.bytes+n > w.bytesMax {
		return batch.UserErrorf("table %q: %d bytes of messages wait in memory for their batch's commit, 'buffer-bytes' is %d: take smaller batches or raise it", w.table, w.bytes+n, w.bytesMax)
	}
	w.bytes += n
	return nil
}

func (w *waiting) put(p *prepared) string {
	w.Lock()
	defer w.Unlock()
	w.seq++
	key := fmt.Sprintf("m%d", w.seq)
	w.by[key] = p
	return key
}

// drop forgets the attempts for which gone holds.
func (w *waiting) drop(gone func(key string, p *prepared) bool) {
	w.Lock()
	defer w.Unlock()
	for key, p := range w.by {
		if gone(key, p) {
			w.bytes -= p.bytes
			delete(w.by, key)
		}
	}
}

// gather puts the messages of a batch together, in the order of its tasks.
func (w *waiting) gather(parts []batch.Prepared) (map[int32][]sealed, error) {
	w.Lock()
	defer w.Unlock()
	all := map[int32][]sealed{}
	for _, part := range parts {
		if len(part.Payload) == 0 {
			continue
		}
		p, ok := w.by[string(part.Payload)]
		if !ok {
			return nil, fmt.Errorf("the messages of partition %d were kept in memory by a process that has ended", part.Partition)
		}
		for n, s := range p.parts {
			all[n] = append(all[n], s...)
		}
	}
	return all, nil
}

type factory struct {
	t *target
	c *cluster
	w *waiting
}

var _ sinks.WriterFactory = (*factory)(nil)

func (f *factory) NewWriter(ctx context.Context, a sinks.Attempt, schema *arrow.Schema, _ memory.Allocator) (sinks.Writer, error) {
	e, err := newEncoder(f.t, schema)
	if err != nil {
		return nil, err
	}
	n, err := f.c.partitions(ctx)
	if err != nil {
		return nil, err
	}
	var compress kgo.Compressor
	if f.t.codecBits != 0 {
		if compress, err = kgo.DefaultCompressor(f.t.codec); err != nil {
			return nil, fmt.Errorf("table %q: %w", f.t.spec.Table, err)
		}
	}
	return &writer{
		f: f, a: a, e: e, compress: compress, turn: int32((int(a.Task.Batch) + a.Task.Partition) % n),
		packers: make([]packer, n),
	}, nil
}

// writer encodes the rows of one attempt.
type writer struct {
	f        *factory
	a        sinks.Attempt
	e        *encoder
	compress kgo.Compressor
	packers  []packer
	turn     int32 // where messages without a key go, until the partition's record batch is full
	rows     int64
	bytes    int64
	key      string // once prepared
}

var _ sinks.Writer = (*writer)(nil)

func (w *writer) Write(ctx context.Context, rec arrow.RecordBatch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	at := func(int) int64 { return int64(w.a.Now) / 1000 }
	if c := w.f.t.time; c >= 0 {
		col, ok := rec.Column(c).(*array.Timestamp)
		if !ok {
			return fmt.Errorf("table %q: the time of messages is %s", w.f.t.spec.Table, rec.Column(c).DataType())
		}
		unit, now := col.DataType().(*arrow.TimestampType).Unit, at(0)
		at = func(i int) int64 {
			if col.IsNull(i) {
				return now
			}
			return col.Value(i).ToTime(unit).UnixMilli()
		}
	}
	var grown int64
	err := w.e.rows(ctx, rec, func(key, value []byte, row int) error {
		if len(key)+len(value) > 64<<20 {
			return batch.UserErrorf("table %q: a message of %d bytes", w.f.t.spec.Table, len(key)+len(value))
		}
		p := &w.packers[w.partition(key)]
		if p.count > 0 && len(p.buf)+len(key)+len(value) > w.f.t.batchBytes {
			p.seal(w.compress, w.f.t.codecBits)
			if key == nil {
				w.turn = (w.turn + 1) % int32(len(w.packers))
				p = &w.packers[w.turn]
			}
		}
		before := len(p.buf)
		p.add(key, value, at(row))
		grown += int64(len(p.buf) - before)
		return nil
	})
	if err != nil {
		return err
	}
	w.rows += rec.NumRows()
	if err := w.f.w.reserve(grown); err != nil {
		return err
	}
	w.bytes += grown
	return nil
}

// partition says where a message goes. Messages without a key stay with one partition
// until it has a full record batch: many small ones cost the broker more.
func (w *writer) partition(key []byte) int32 {
	if w.f.t.roundRobin {
		w.turn = (w.turn + 1) % int32(len(w.packers))
		return w.turn
	}
	if key == nil {
		return w.turn
	}
	return int32(murmur2(key)&0x7fffffff) % int32(len(w.packers))
}

func (w *writer) Prepare(context.Context) (batch.Prepared, error) {
	p := batch.Prepared{Sink: w.f.t.spec.Name, Partition: w.a.Task.Partition, Rows: w.rows}
	if w.rows == 0 {
		return p, nil
	}
	held := &prepared{id: w.a.Task.Batch, bytes: w.bytes, parts: map[int32][]sealed{}}
	for i := range w.packers {
		w.packers[i].seal(w.compress, w.f.t.codecBits)
		if done := w.packers[i].done; len(done) > 0 {
			held.parts[int32(i)] = done
		}
	}
	w.key = w.f.w.put(held)
	w.packers, w.bytes = nil, 0
	p.Payload = []byte(w.key)
	return p, nil
}

func (w *writer) Discard() error {
	if key := w.key; key != "" {
		w.f.w.drop(func(k string, _ *prepared) bool { return k == key })
	}
	if w.bytes > 0 {
		w.f.w.Lock()
		w.f.w.bytes -= w.bytes
		w.f.w.Unlock()
		w.bytes = 0
	}
	w.packers = nil
	return nil
}
