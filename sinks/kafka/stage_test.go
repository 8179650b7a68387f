package kafka

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// begun opens a sink and commits batch 0, with the ids 0 to 9.
func begun(t *testing.T, spec sinks.Spec) (*sink, sinks.WriterFactory) {
	t.Helper()
	s, w := openSpec(t, spec)
	show(t, s, 0, 1, tenRows(t, w, 0))
	return s.(*sink), w
}

// tenRows prepares ten rows of a batch, with the ids from ten times its own on.
func tenRows(t *testing.T, w sinks.WriterFactory, id batch.ID) []batch.Prepared {
	t.Helper()
	return prepareRows(t, w, id, rowsOf(memory.DefaultAllocator, int64(id)*10, 10))
}

func show(t *testing.T, s sinks.Sink, id batch.ID, term batch.Term, parts []batch.Prepared) {
	t.Helper()
	if err := s.Commit(t.Context(), id, term, parts); err != nil {
		t.Fatal(err)
	}
}

// count counts the requests of a kind.
func count(c *kfake.Cluster, key kmsg.Key) *atomic.Int64 {
	n := new(atomic.Int64)
	c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		n.Add(1)
		return nil, nil, false
	})
	return n
}

// refuse answers the next request of a kind with an error, after next more.
func refuse(c *kfake.Cluster, key kmsg.Key, e *kerr.Error) {
	c.ControlKey(int16(key), func(req kmsg.Request) (kmsg.Response, error, bool) {
		return refusal(req, e), nil, true
	})
}

// refusal is the answer to a request of a transaction that is not done.
func refusal(req kmsg.Request, e *kerr.Error) kmsg.Response {
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	switch req := req.(type) {
	case *kmsg.ProduceRequest:
		for _, t := range req.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, e.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.(*kmsg.ProduceResponse).Topics = append(resp.(*kmsg.ProduceResponse).Topics, rt)
		}
	case *kmsg.TxnOffsetCommitRequest:
		for _, t := range req.Topics {
			rt := kmsg.NewTxnOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, e.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.(*kmsg.TxnOffsetCommitResponse).Topics = append(resp.(*kmsg.TxnOffsetCommitResponse).Topics, rt)
		}
	case *kmsg.EndTxnRequest:
		resp.(*kmsg.EndTxnResponse).ErrorCode = e.Code
	}
	return resp
}

// TestStaged: nobody sees what is staged, the commit only ends its transaction, and the
// next batch goes on. It is the same with brokers of both kinds of transactions.
func TestStaged(t *testing.T) {
	for name, opts := range map[string][]kfake.Opt{"v2": nil, "v1": {kfake.MaxVersions(kversion.V3_6_0())}} {
		t.Run(name, func(t *testing.T) {
			c := newBroker(t, opts...)
			s, w := begun(t, specOf(c))
			defer s.Close()
			for id := batch.ID(1); id < 6; id++ {
				parts := tenRows(t, w, id)
				s.Stage(t.Context(), id, 1, parts)
				if !s.staged.of(wantOf(id, 1, parts)) {
					t.Fatalf("batch %d is not staged", id)
				}
				once(t, readAll(t, c), int(id)*10)
				if held, _, err := s.Holds(t.Context()); err != nil || held != id-1 {
					t.Fatalf("holds %d (%v), want %d", held, err, id-1)
				}
				produced, noted := count(c, kmsg.Produce), count(c, kmsg.TxnOffsetCommit)
				show(t, s, id, 1, parts)
				if produced.Load()+noted.Load() > 0 {
					t.Fatalf("batch %d was sent again", id)
				}
				if held, _, err := s.Holds(t.Context()); err != nil || held != id {
					t.Fatalf("holds %d (%v), want %d", held, err, id)
				}
				once(t, readAll(t, c), int(id)*10+10)
			}
		})
	}
}

// TestStagedAtLeastOnce: it is shown at once, and the commit sends nothing more.
func TestStagedAtLeastOnce(t *testing.T) {
	c := newBroker(t)
	s, w := begun(t, specOf(c, "delivery", "at-least-once"))
	defer s.Close()
	parts := tenRows(t, w, 1)
	s.Stage(t.Context(), 1, 1, parts)
	once(t, readAll(t, c), 20)
	if held, _, err := s.Holds(t.Context()); err != nil || held != 0 {
		t.Fatalf("holds %d (%v) before the commit", held, err)
	}
	show(t, s, 1, 1, parts)
	show(t, s, 2, 1, tenRows(t, w, 2))
	once(t, readAll(t, c), 30)
}

// TestStageRefused: whatever goes wrong before or at the end of a staged transaction,
// the batch is there once.
func TestStageRefused(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.ConcurrentTransactions, kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.InvalidTxnState, kerr.UnknownServerError, kerr.InvalidProducerIDMapping} {
		for _, key := range []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn} {
			t.Run(key.Name()+"/"+e.Message, func(t *testing.T) {
				c := newBroker(t)
				s, w := begun(t, specOf(c))
				defer s.Close()
				for id := batch.ID(1); id < 4; id++ {
					parts := tenRows(t, w, id)
					if id == 2 {
						refuse(c, key, e)
					}
					s.Stage(t.Context(), id, 1, parts)
					show(t, s, id, 1, parts)
				}
				once(t, readAll(t, c), 40)
			})
		}
	}
}

// TestStagedAnswerLost: the broker does what it is asked, and the answer never comes.
func TestStagedAnswerLost(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.EndTxn, kmsg.TxnOffsetCommit, kmsg.Produce} {
		t.Run(key.Name(), func(t *testing.T) {
			c := newBroker(t)
			s, w := begun(t, specOf(c))
			defer s.Close()
			for id := batch.ID(1); id < 4; id++ {
				parts := tenRows(t, w, id)
				if id == 2 {
					c.ControlKey(int16(key), func(kmsg.Request) (kmsg.Response, error, bool) {
						return nil, errors.New("the connection broke"), true
					})
				}
				s.Stage(t.Context(), id, 1, parts)
				show(t, s, id, 1, parts)
			}
			once(t, readAll(t, c), 40)
		})
	}
}

// TestStagedTimesOut: the broker gives the transaction up while the commit is being
// made durable, as one that takes an ID up does.
func TestStagedTimesOut(t *testing.T) {
	c := newBroker(t)
	s, w := begun(t, specOf(c))
	defer s.Close()
	parts := tenRows(t, w, 1)
	s.Stage(t.Context(), 1, 1, parts)
	if _, err := s.cluster.take(t.Context(), s.producerOf(1).name); err != nil {
		t.Fatal(err)
	}
	show(t, s, 1, 1, parts)
	show(t, s, 2, 1, tenRows(t, w, 2))
	once(t, readAll(t, c), 30)
}

// TestStagedNeverCommitted: the commit cannot be made durable and the query ends.
// Readers are not held up, and the batch comes from the next life.
func TestStagedNeverCommitted(t *testing.T) {
	for name, end := range map[string]func(s *sink) error{
		"closed": func(s *sink) error { return s.Close() },
		"crash":  func(s *sink) error { s.cluster.close(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			c := newBroker(t)
			s, w := begun(t, specOf(c))
			s.Stage(t.Context(), 1, 1, tenRows(t, w, 1))
			if err := end(s); err != nil {
				t.Fatal(err)
			}
			if name == "closed" {
				if open := undecided(t, c); open > 0 {
					t.Fatalf("%d messages are left in an open transaction", open)
				}
			}
			next, w := openSpec(t, specOf(c))
			defer next.Close()
			if id, _, err := next.Holds(t.Context()); err != nil || id != 0 {
				t.Fatalf("holds %d (%v), want 0", id, err)
			}
			for id := batch.ID(1); id < 3; id++ {
				show(t, next, id, 2, tenRows(t, w, id))
			}
			if open := undecided(t, c); open > 0 {
				t.Fatalf("%d messages are left in an open transaction", open)
			}
			once(t, readAll(t, c), 30)
		})
	}
}

// undecided counts what readers of committed messages wait for.
func undecided(t *testing.T, c *kfake.Cluster) (n int64) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	stable := ends(t, cl)
	for p := range int32(3) {
		n += c.PartitionInfo(topic, p).HighWatermark - stable[p]
	}
	return n
}

// TestStagedCutOff: the life ends while the batch is being staged.
func TestStagedCutOff(t *testing.T) {
	c := newBroker(t)
	s, w := begun(t, specOf(c))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	c.ControlKey(int16(kmsg.TxnOffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		cancel()
		return nil, nil, false
	})
	parts := tenRows(t, w, 1)
	s.Stage(ctx, 1, 1, parts) // it may have been quicker
	show(t, s, 1, 1, parts)
	once(t, readAll(t, c), 20)
}

// TestAnotherIsCommitted: what was staged is not what is committed, since another life
// of the query made the batch again, or it is given up.
func TestAnotherIsCommitted(t *testing.T) {
	c := newBroker(t)
	s, w := begun(t, specOf(c))
	defer s.Close()
	other := prepareRows(t, w, 1, rowsOf(memory.DefaultAllocator, 90, 5))
	other[0].Digest.Lo++
	s.Stage(t.Context(), 1, 1, other)
	if err := s.Abort(t.Context(), 1, 1, other); err != nil {
		t.Fatal(err)
	}
	if open := undecided(t, c); open > 0 {
		t.Fatalf("%d messages are left in an open transaction", open)
	}
	show(t, s, 1, 1, tenRows(t, w, 1))
	again := tenRows(t, w, 2)
	s.Stage(t.Context(), 2, 1, again)
	show(t, s, 2, 2, tenRows(t, w, 2))
	s.Stage(t.Context(), 2, 2, again) // late
	show(t, s, 3, 2, tenRows(t, w, 3))
	once(t, readAll(t, c), 40)
}

// TestStageIsFenced: a newer leader commits while an older one has the batch staged.
func TestStageIsFenced(t *testing.T) {
	c := newBroker(t)
	old, oldW := begun(t, specOf(c))
	defer old.Close()
	oldParts := tenRows(t, oldW, 1)
	old.Stage(t.Context(), 1, 1, oldParts)
	s, w := openSpec(t, specOf(c))
	defer s.Close()
	show(t, s, 1, 2, tenRows(t, w, 1))
	if err := old.Commit(t.Context(), 1, 1, oldParts); !errors.Is(err, batch.ErrFenced) {
		t.Fatalf("the old leader got %v", err)
	}
	old.Stage(t.Context(), 2, 1, tenRows(t, oldW, 2))
	show(t, s, 2, 2, tenRows(t, w, 2))
	once(t, readAll(t, c), 30)
}

// TestStageBesideCommit: the commit does not wait until a batch is staged.
func TestStageBesideCommit(t *testing.T) {
	for _, delivery := range optDelivery.Values {
		c := newBroker(t)
		s, w := begun(t, specOf(c, "delivery", delivery))
		var wg sync.WaitGroup
		for id := batch.ID(1); id < 30; id++ {
			parts := tenRows(t, w, id)
			wg.Go(func() { s.Stage(t.Context(), id, 1, parts) })
			show(t, s, id, 1, parts)
		}
		wg.Wait()
		once(t, readAll(t, c), 300)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNotStaged: what no Commit of the term has prepared is left to Commit.
func TestNotStaged(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c))
	defer s.Close()
	produced := count(c, kmsg.Produce)
	stager := s.(sinks.Stager)
	parts := tenRows(t, w, 0)
	stager.Stage(t.Context(), 0, 1, parts) // the IDs are not taken up
	show(t, s, 0, 1, parts)
	sent := produced.Load()
	for _, x := range []struct {
		id   batch.ID
		term batch.Term
	}{{0, 1}, {2, 1}, {1, 0}, {1, 2}} { // shown, not next, of another leader
		stager.Stage(t.Context(), x.id, x.term, tenRows(t, w, x.id))
	}
	stager.Stage(t.Context(), 1, 1, []batch.Prepared{{Payload: []byte("gone")}})
	if n := produced.Load(); n != sent || sent == 0 {
		t.Errorf("%d requests with messages, want %d", n, sent)
	}
}

// TestStagedForLong: a staged batch of many messages, committed long after.
func TestStagedForLong(t *testing.T) {
	c := newBroker(t)
	s, w := begun(t, specOf(c, "batch-bytes", "1KiB", "partitioner", "round-robin", "transaction-timeout", (10*time.Minute).String()))
	defer s.Close()
	parts := prepareRows(t, w, 1, rowsOf(memory.DefaultAllocator, 10, 500))
	s.Stage(t.Context(), 1, 1, parts)
	once(t, readAll(t, c), 10)
	show(t, s, 1, 1, parts)
	once(t, readAll(t, c), 510)
}

// TestNobodyCoordinates: a cluster that has never seen a transaction makes the topics
// for them first, and says meanwhile that nobody coordinates.
func TestNobodyCoordinates(t *testing.T) {
	c := newBroker(t)
	var asked atomic.Int64
	c.ControlKey(int16(kmsg.DescribeTransactions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if asked.Add(1) > 2*attemptsMax {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		resp.Version = req.GetVersion()
		for _, id := range req.(*kmsg.DescribeTransactionsRequest).TransactionalIDs {
			x := kmsg.NewDescribeTransactionsResponseTransactionState()
			x.TransactionalID, x.ErrorCode = id, kerr.CoordinatorNotAvailable.Code
			resp.TransactionStates = append(resp.TransactionStates, x)
		}
		return resp, nil, true
	})
	s, _ := begun(t, specOf(c))
	defer s.Close()
	if asked.Load() <= 2*attemptsMax {
		t.Errorf("it was asked %d times", asked.Load())
	}
	once(t, readAll(t, c), 10)
}
