package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/goleak"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sinks"
	"github.com/sluice-stream/sluice/sinks/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "out"

// newBroker starts a broker in this process with the topic.
func newBroker(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(2), kfake.SeedTopics(3, topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func specOf(c *kfake.Cluster, more ...string) sinks.Spec {
	spec := sinktest.Spec()
	spec.Options = options.Map{"bootstrap.servers": strings.Join(c.ListenAddrs(), ","), "topic": topic}
	for i := 0; i < len(more); i += 2 {
		spec.Options[more[i]] = more[i+1]
	}
	return spec
}

func openSpec(t testing.TB, spec sinks.Spec) (sinks.Sink, sinks.WriterFactory) {
	t.Helper()
	s, w, err := Connector(clock.System()).New(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return s, w
}

// readAll returns what a reader of committed messages finds, by partition and in order.
// It reads to the end that the broker tells, so that it sees no less than there is.
func readAll(t testing.TB, c *kfake.Cluster) []*kgo.Record {
	t.Helper()
	var cl, err = kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	left := ends(t, cl)
	var out []*kgo.Record
	for len(left) > 0 {
		f := cl.PollFetches(t.Context())
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				out = append(out, r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return out
}

// ends returns the last stable offset of each partition that has any.
func ends(t testing.TB, cl *kgo.Client) map[int32]int64 {
	t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, 1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	for p := range int32(3) {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p, -1
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	out := map[int32]int64{}
	for _, shard := range cl.RequestSharded(t.Context(), req) {
		if shard.Err != nil {
			t.Fatal(shard.Err)
		}
		for _, rt := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, rp := range rt.Partitions {
				if err := kerr.ErrorForCode(rp.ErrorCode); err != nil {
					t.Fatal(err)
				}
				if rp.Offset > 0 {
					out[rp.Partition] = rp.Offset
				}
			}
		}
	}
	return out
}

func visible(c *kfake.Cluster) func(t testing.TB) []string {
	return func(t testing.TB) []string {
		var lines []string
		for _, r := range readAll(t, c) {
			var row struct {
				ID   int64   `json:"id"`
				Name *string `json:"name"`
			}
			if err := json.Unmarshal(r.Value, &row); err != nil {
				t.Fatalf("message %q: %v", r.Value, err)
			}
			if row.Name == nil {
				lines = append(lines, sinktest.Line(row.ID, "", false))
			} else {
				lines = append(lines, sinktest.Line(row.ID, *row.Name, true))
			}
		}
		return lines
	}
}

func TestConformance(t *testing.T) {
	oldBroker := kversion.V3_6_0()
	for name, opts := range map[string][]kfake.Opt{
		"transactions of version 2": nil,
		"transactions of version 1": {kfake.MaxVersions(oldBroker)},
	} {
		t.Run(name, func(t *testing.T) {
			fresh := func(t testing.TB) sinktest.Case {
				c := newBroker(t, opts...)
				return sinktest.Case{
					Open:     func(t testing.TB) (sinks.Sink, sinks.WriterFactory) { return openSpec(t, specOf(c)) },
					Visible:  visible(c),
					Volatile: true,
				}
			}
			sinktest.Run(t, fresh)
			sinktest.Discarded(t, fresh(t))
		})
	}
}

// rowsOf makes rows of id and name, with kinds of change if ops has any.
func rowsOf(mem memory.Allocator, from int64, n int, ops ...batch.Op) arrow.RecordBatch {
	fields := sinktest.Schema().Fields()
	if len(ops) > 0 {
		n = len(ops)
		fields = append(fields, arrow.Field{Name: batch.OpColumn, Type: arrow.PrimitiveTypes.Int8})
	}
	b := array.NewRecordBuilder(mem, arrow.NewSchema(fields, nil))
	defer b.Release()
	for i := range n {
		b.Field(0).(*array.Int64Builder).Append(from + int64(i)/2*int64(min(1, len(ops))) + int64(i)*int64(1-min(1, len(ops))))
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprintf("n%d", i))
		if len(ops) > 0 {
			b.Field(2).(*array.Int8Builder).Append(int8(ops[i]))
		}
	}
	return b.NewRecordBatch()
}

// prepareRows prepares a batch's rows, which it releases.
func prepareRows(t testing.TB, w sinks.WriterFactory, id batch.ID, recs ...arrow.RecordBatch) []batch.Prepared {
	t.Helper()
	a := sinks.Attempt{Task: batch.TaskID{Query: sinktest.Query, Batch: id}, Term: 1, Now: 1_700_000_000_000_000}
	writer, err := w.NewWriter(t.Context(), a, recs[0].Schema(), memory.NewGoAllocator())
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs {
		if err := writer.Write(t.Context(), rec); err != nil {
			t.Fatal(err)
		}
		rec.Release()
	}
	p, err := writer.Prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p.Digest = batch.Digest{Lo: uint64(id) + 7}
	return []batch.Prepared{p}
}

// TestAnswerLost: the broker commits, and the answer never comes. The batch must be
// there once, whatever the client does next.
func TestAnswerLost(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.EndTxn, kmsg.TxnOffsetCommit, kmsg.Produce} {
		t.Run(key.Name(), func(t *testing.T) {
			c := newBroker(t)
			s, w := openSpec(t, specOf(c))
			defer s.Close()
			var failed int
			c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if failed++; failed == 3 {
					return nil, errors.New("the connection broke"), true
				}
				return nil, nil, false
			})
			for id := range batch.ID(4) {
				parts := prepareRows(t, w, id, rowsOf(memory.DefaultAllocator, int64(id)*10, 10))
				if err := s.Commit(t.Context(), id, 1, parts); err != nil {
					t.Fatal(err)
				}
			}
			once(t, readAll(t, c), 40)
		})
	}
}

// once checks that the ids 0 to n-1 are there, each once.
func once(t testing.TB, recs []*kgo.Record, n int) {
	t.Helper()
	seen := map[int64]int{}
	for _, r := range recs {
		var row struct{ ID int64 }
		if err := json.Unmarshal(r.Value, &row); err != nil {
			t.Fatal(err)
		}
		seen[row.ID]++
	}
	for id := range int64(n) {
		if seen[id] != 1 {
			t.Errorf("id %d is there %d times", id, seen[id])
		}
	}
	if len(seen) != n {
		t.Errorf("%d ids, want %d", len(seen), n)
	}
}

// TestBrokerErrors: each error of each request, once in the middle of a batch.
func TestBrokerErrors(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.ConcurrentTransactions, kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidTxnState, kerr.UnknownServerError, kerr.InvalidProducerIDMapping} {
		t.Run(e.Message, func(t *testing.T) {
			c := newBroker(t)
			s, w := openSpec(t, specOf(c))
			defer s.Close()
			var calls int
			c.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
				c.KeepControl()
				if calls++; calls != 2 {
					return nil, nil, false
				}
				resp := req.ResponseKind().(*kmsg.EndTxnResponse)
				resp.Version, resp.ErrorCode = req.GetVersion(), e.Code
				return resp, nil, true
			})
			for id := range batch.ID(4) {
				parts := prepareRows(t, w, id, rowsOf(memory.DefaultAllocator, int64(id)*10, 10))
				if err := s.Commit(t.Context(), id, 1, parts); err != nil {
					t.Fatal(err)
				}
			}
			once(t, readAll(t, c), 40)
		})
	}
}

// TestTransactionLeftOpen: a process died with a transaction open. Who comes after ends
// it, and readers go on.
func TestTransactionLeftOpen(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c))
	if err := s.Commit(t.Context(), 0, 1, prepareRows(t, w, 0, rowsOf(memory.DefaultAllocator, 0, 10))); err != nil {
		t.Fatal(err)
	}
	dead := s.(*sink)
	parts := prepareRows(t, w, 1, rowsOf(memory.DefaultAllocator, 10, 10))
	all, err := dead.waiting.gather(parts)
	if err != nil {
		t.Fatal(err)
	}
	p := dead.producers[1]
	if err := errors.Join(dead.cluster.send(t.Context(), p, all), dead.cluster.note(t.Context(), p, dead.group, held{batch: 1, term: 1})); err != nil {
		t.Fatal(err)
	}
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	once(t, readAll(t, c), 10)
	s, w = openSpec(t, specOf(c))
	defer s.Close()
	if id, _, err := s.Holds(t.Context()); err != nil || id != 0 {
		t.Fatalf("holds %d (%v), want 0", id, err)
	}
	for id := batch.ID(1); id < 3; id++ {
		if err := s.Commit(t.Context(), id, 2, prepareRows(t, w, id, rowsOf(memory.DefaultAllocator, int64(id)*10, 10))); err != nil {
			t.Fatal(err)
		}
	}
	once(t, readAll(t, c), 30)
}

// TestCommitCancelled: a commit that is cut off leaves no transaction open.
func TestCommitCancelled(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c))
	defer s.Close()
	if err := s.Commit(t.Context(), 0, 1, prepareRows(t, w, 0, rowsOf(memory.DefaultAllocator, 0, 10))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c.ControlKey(int16(kmsg.TxnOffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		cancel()
		return nil, nil, false
	})
	parts := prepareRows(t, w, 1, rowsOf(memory.DefaultAllocator, 10, 10))
	_ = s.Commit(ctx, 1, 1, parts) // it may have been quicker
	if err := s.Commit(t.Context(), 1, 1, parts); err != nil {
		t.Fatal(err)
	}
	once(t, readAll(t, c), 20)
}

// TestOldLeaderComesBack: an older leader takes the IDs up in the middle; the newer one
// takes them back, and nothing is lost or there twice.
func TestOldLeaderComesBack(t *testing.T) {
	c := newBroker(t)
	old, oldW := openSpec(t, specOf(c))
	defer old.Close()
	if err := old.Commit(t.Context(), 0, 1, prepareRows(t, oldW, 0, rowsOf(memory.DefaultAllocator, 0, 10))); err != nil {
		t.Fatal(err)
	}
	s, w := openSpec(t, specOf(c))
	defer s.Close()
	if _, err := s.(*sink).takeAllLocked(t.Context(), 4); err != nil { // the newer leader, before its first commit
		t.Fatal(err)
	}
	// The old one was to reveal batch 1 under its own term, and does.
	if err := old.Commit(t.Context(), 1, 1, prepareRows(t, oldW, 1, rowsOf(memory.DefaultAllocator, 10, 10))); err != nil {
		t.Fatal(err)
	}
	for id := batch.ID(1); id < 4; id++ {
		if err := s.Commit(t.Context(), id, 2, prepareRows(t, w, id, rowsOf(memory.DefaultAllocator, int64(id)*10, 10))); err != nil {
			t.Fatal(err)
		}
	}
	err := old.Commit(t.Context(), 4, 1, prepareRows(t, oldW, 4, rowsOf(memory.DefaultAllocator, 90, 10)))
	if !errors.Is(err, batch.ErrFenced) {
		t.Fatalf("the old leader got %v", err)
	}
	once(t, readAll(t, c), 40)
}

func TestAnotherOutputIsRefused(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c))
	if err := s.Commit(t.Context(), 0, 1, prepareRows(t, w, 0, rowsOf(memory.DefaultAllocator, 0, 10))); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	s, w = openSpec(t, specOf(c))
	defer s.Close()
	parts := prepareRows(t, w, 0, rowsOf(memory.DefaultAllocator, 0, 9))
	parts[0].Digest.Lo++
	if err := s.Commit(t.Context(), 0, 2, parts); err == nil || !strings.Contains(err.Error(), "holds batch 0 with digest") {
		t.Fatalf("got %v", err)
	}
}
