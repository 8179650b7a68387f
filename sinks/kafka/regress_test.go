package kafka

import (
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/batch"
)

// What went wrong in others, by the name of its issue. Broken answers to each request
// (KAFKA-9274) are TestAnswerLost and TestBrokerErrors, and what is about transactional IDs
// (KAFKA-16699, KAFKA-9144, iceberg #17551) is in ids_test.go; what a transaction's
// time-out loses (FLINK-7784, FLIP-319) needs a real broker: test/kafka.

// TestFLINK35749 (and 33545): the broker refuses half of what is sent. The batch must not
// be taken for sent, and is there whole and once when the broker takes it.
func TestFLINK35749(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c, "request-timeout", "1s"))
	defer s.Close()
	var refuse atomic.Bool
	refuse.Store(true)
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.ProduceRequest)
		if !refuse.Load() {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.ProduceResponse)
		resp.Version = r.Version
		for _, t := range r.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for i, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				if rp.Partition = p.Partition; i%2 == 0 {
					rp.ErrorCode = kerr.NotEnoughReplicas.Code
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	parts := prepareRows(t, w, 0, rowsOf(memory.DefaultAllocator, 0, 50))
	err := s.Commit(t.Context(), 0, 1, parts)
	if _, retry := batch.KindOf(err); err == nil || !retry {
		t.Fatalf("got %v", err)
	}
	once(t, readAll(t, c), 0)
	refuse.Store(false)
	if err := s.Commit(t.Context(), 0, 1, parts); err != nil {
		t.Fatal(err)
	}
	once(t, readAll(t, c), 50)
}

// TestFranzGoEndIsNotBelieved (franz-go before v1.21.4 took UNKNOWN_SERVER_ERROR for
// success): a broker that never says that the transaction has ended has not ended it.
func TestFranzGoEndIsNotBelieved(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c))
	defer s.Close()
	var refuse atomic.Bool
	refuse.Store(true)
	c.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if !refuse.Load() {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.Version, resp.ErrorCode = req.GetVersion(), kerr.UnknownServerError.Code
		return resp, nil, true
	})
	parts := prepareRows(t, w, 0, rowsOf(memory.DefaultAllocator, 0, 10))
	err := s.Commit(t.Context(), 0, 1, parts)
	if _, retry := batch.KindOf(err); err == nil || !retry {
		t.Fatalf("got %v", err)
	}
	once(t, readAll(t, c), 0)
	refuse.Store(false)
	if err := s.Commit(t.Context(), 0, 1, parts); err != nil {
		t.Fatal(err)
	}
	once(t, readAll(t, c), 10)
}

// TestFLINK31363: batches without rows, and with rows for some partitions alone, are
// transactions like others.
func TestFLINK31363(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c))
	defer s.Close()
	for id, rows := range []int{0, 1, 0, 0, 0, 0, 9, 0} {
		var parts []batch.Prepared
		if rows > 0 {
			parts = prepareRows(t, w, batch.ID(id), rowsOf(memory.DefaultAllocator, int64(max(0, id-5)), rows))
		}
		if err := s.Commit(t.Context(), batch.ID(id), 1, parts); err != nil {
			t.Fatalf("batch %d: %v", id, err)
		}
		if got, _, err := s.Holds(t.Context()); got != batch.ID(id) || err != nil {
			t.Fatalf("holds %d, %v; want %d", got, err, id)
		}
	}
	once(t, readAll(t, c), 10)
}

// TestFencedIsNotFinal: whoever took the IDs up in between is asked, and the batch is sent
// again: being fenced again and again ends with an error that may pass.
func TestFencedIsNotFinal(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c))
	defer s.Close()
	c.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.EndTxnResponse)
		resp.Version, resp.ErrorCode = req.GetVersion(), kerr.ProducerFenced.Code
		return resp, nil, true
	})
	err := s.Commit(t.Context(), 0, 1, prepareRows(t, w, 0, rowsOf(memory.DefaultAllocator, 0, 10)))
	if kind, retry := batch.KindOf(err); err == nil || kind != batch.External || !retry {
		t.Fatalf("got %v of kind %v", err, kind)
	}
}
