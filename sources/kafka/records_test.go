package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetched is the answer of a broker about messages of every kind, in many record batches
// of each compression, some of transactions that were given up.
func fetched(t *testing.T) (*table, *kmsg.FetchResponseTopicPartition) {
	b := newBroker(t, 1, "in")
	rng := rand.New(rand.NewPCG(5, 5))
	some := func() []byte {
		if rng.IntN(6) == 0 {
			return nil
		}
		return bytes.Repeat([]byte{byte(rng.IntN(256))}, rng.IntN(40))
	}
	produce := func(cl *kgo.Client, n int) {
		var all []*kgo.Record
		for range n {
			r := &kgo.Record{Topic: "in", Key: some(), Value: some(), Timestamp: time.UnixMilli(1_700_000_000_000 + rng.Int64N(100_000) - 50_000)}
			for i := range rng.IntN(3) {
				r.Headers = append(r.Headers, kgo.RecordHeader{Key: fmt.Sprint("h", i), Value: some()})
			}
			all = append(all, r)
		}
		if err := cl.ProduceSync(t.Context(), all...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		cl := b.client(t, kgo.ProducerBatchCompression(codec))
		for range 3 {
			produce(cl, 1+rng.IntN(50))
		}
	}
	tx := b.client(t, kgo.TransactionalID("tx"))
	for i := range 4 {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(tx, 5)
		if err := tx.EndTransaction(t.Context(), kgo.TransactionEndTry(i%2 == 0)); err != nil {
			t.Fatal(err)
		}
	}
	r := b.read(t, b.specOf())
	details, err := b.adm.ListTopics(t.Context(), "in")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := r.src.t.request([]want{{lane: lane{"in", 0}, id: details["in"].ID}}, time.Millisecond).RequestWith(t.Context(), b.cl)
	if err != nil {
		t.Fatal(err)
	}
	return r.src.t, &resp.Topics[0].Partitions[0]
}

// ofLibrary is what the client library reads, a line for each message.
func ofLibrary(rp *kmsg.FetchResponseTopicPartition, committed bool, from, to int64) (lines []string, next int64) {
	o := kgo.ProcessFetchPartitionOpts{Offset: from, Topic: "in", IsolationLevel: kgo.ReadUncommitted()}
	if committed {
		o.IsolationLevel = kgo.ReadCommitted()
	}
	fp, next := kgo.ProcessFetchPartition(o, rp, kgo.DefaultDecompressor(), nil)
	for _, r := range fp.Records {
		if r.Offset >= to {
			break
		}
		line := fmt.Sprintf("%d %d %q %q", r.Offset, r.Timestamp.UnixMilli(), r.Key, r.Value)
		for _, h := range r.Headers {
			line += fmt.Sprintf(" %s=%q", h.Key, h.Value)
		}
		lines = append(lines, line)
	}
	return lines, next
}

// ofCursor is what we read of a piece of [from, to).
func ofCursor(p piece) (lines []string, err error) {
	in := newCursor(lane{"in", 0}, p)
	for m := (message{}); ; {
		ok, err := in.next(&m)
		if err != nil || !ok {
			return lines, err
		}
		line := fmt.Sprintf("%d %d %q %q", m.offset, m.millis, m.key, m.value)
		if err := m.eachHeader(func(key string, value []byte) { line += fmt.Sprintf(" %s=%q", key, value) }); err != nil {
			return lines, err
		}
		lines = append(lines, line)
	}
}

// TestRecords: from any offset to any other the messages are those that the client library
// reads, however the pieces are cut.
func TestRecords(t *testing.T) {
	tab, rp := fetched(t)
	last := rp.HighWatermark
	rng := rand.New(rand.NewPCG(6, 6))
	for round := range 60 {
		tab.committed = round%2 == 0
		from := rng.Int64N(last)
		to := from + 1 + rng.Int64N(last-from)
		runs, next, _, err := tab.runs(rp, from)
		if err != nil {
			t.Fatal(err)
		}
		want, wantNext := ofLibrary(rp, tab.committed, from, to)
		if next != wantNext {
			t.Fatalf("from %d the next is %d, want %d", from, next, wantNext)
		}
		var got []string
		head, _ := piece{from: from, to: next, runs: runs}.until(to)
		for head.from < head.to {
			var part piece
			part, head = head.until(head.from + 1 + rng.Int64N(head.to-head.from))
			lines, err := ofCursor(part)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, lines...)
		}
		for i := range max(len(got), len(want)) {
			if i >= len(got) || i >= len(want) || got[i] != want[i] {
				t.Fatalf("[%d, %d): message %d differs\ngot  %.300s\nwant %.300s", from, to, i, strings.Join(got[min(i, len(got)):], "; "), strings.Join(want[min(i, len(want)):], "; "))
			}
		}
	}
}

// TestRecordsDamaged: whatever a record batch says, also with a checksum that matches, it
// is read or refused; what is before a damaged one is read.
func TestRecordsDamaged(t *testing.T) {
	tab, rp := fetched(t)
	good, rng := rp.RecordBatches, rand.New(rand.NewPCG(7, 7))
	for range 500 {
		b := bytes.Clone(good)
		at := rng.IntN(len(b))
		b[at] ^= 1 << rng.IntN(8)
		seal(b, at)
		rp.RecordBatches = b[:len(b)-rng.IntN(2)*rng.IntN(100)]
		runs, next, _, err := tab.runs(rp, 0)
		if err != nil && !errors.Is(err, errBatch) {
			t.Fatal(err)
		}
		_, _ = ofCursor(piece{to: next, runs: runs})
	}
	rp.RecordBatches = bytes.Clone(good)
	rp.RecordBatches[headBytes] ^= 1
	if _, next, _, err := tab.runs(rp, 0); next != 0 || !errors.Is(err, errBatch) {
		t.Errorf("a wrong checksum gives %v, and offset %d", err, next)
	}
}

// seal makes the checksum of the record batch around a place match.
func seal(b []byte, at int) {
	for from := 0; from+headBytes <= len(b); {
		to := from + int(binary.BigEndian.Uint32(b[from+atLength:])) + lengthFrom
		if to <= from || to > len(b) {
			return
		}
		if at < to {
			binary.BigEndian.PutUint32(b[from+atCRC:], crc32.Checksum(b[from+atAttributes:to], castagnoli))
			return
		}
		from = to
	}
}
