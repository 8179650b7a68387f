package kafka

import (
	"io"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/batch"
)

// TestMarkersAreMissing: the coordinator says that all is decided, and a partition
// cannot be read to its end, as after the crash of a broker. Whoever starts ends the
// last transaction of each ID again, as it was decided. kfake loses no markers: it is
// made to say so.
func TestMarkersAreMissing(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c))
	for id := range batch.ID(3) {
		if err := s.Commit(t.Context(), id, 1, prepareRows(t, w, id, rowsOf(memory.DefaultAllocator, int64(id)*10, 10))); err != nil {
			t.Fatal(err)
		}
	}
	before := s.(*sink).producers
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c.ControlKey(int16(kmsg.DescribeTransactions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.DescribeTransactionsResponse)
		for i, state := range []string{"CompleteCommit", "PrepareCommit", "CompleteCommit", "CompleteAbort"} {
			x := kmsg.NewDescribeTransactionsResponseTransactionState()
			x.TransactionalID, x.State, x.ProducerID, x.ProducerEpoch = before[i].name, state, before[i].id, before[i].epoch
			resp.TransactionStates = append(resp.TransactionStates, x)
		}
		return resp, nil, true
	})
	var mu sync.Mutex
	ended, enlisted := map[string]bool{}, map[string]bool{}
	c.ControlKey(int16(kmsg.ListOffsets), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.ListOffsetsRequest)
		mu.Lock()
		defer mu.Unlock()
		if r.IsolationLevel != 1 || len(ended) == 4 || r.Topics[0].Partitions[0].Timestamp != -1 {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		resp.Version = r.Version
		for _, t := range r.Topics {
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition, rp.Offset = p.Partition, 0
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	c.ControlKey(int16(kmsg.AddPartitionsToTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		enlisted[req.(*kmsg.AddPartitionsToTxnRequest).TransactionalID] = true
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.EndTxn), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.EndTxnRequest)
		mu.Lock()
		defer mu.Unlock()
		ended[r.TransactionalID] = r.Commit
		return nil, nil, false
	})
	s, w = openSpec(t, specOf(c))
	defer s.Close()
	if id, _, err := s.Holds(t.Context()); id != 2 || err != nil {
		t.Fatalf("holds %d, %v", id, err)
	}
	group := s.(*sink).group
	want := map[string]bool{group + "-0": true, group + "-1": true, group + "-2": true, group + "-3": false}
	mu.Lock()
	if !maps.Equal(ended, want) || len(enlisted) != 4 {
		t.Errorf("ended %v, want %v; enlisted %v", ended, want, slices.Sorted(maps.Keys(enlisted)))
	}
	mu.Unlock()
	if err := s.Commit(t.Context(), 3, 2, prepareRows(t, w, 3, rowsOf(memory.DefaultAllocator, 30, 10))); err != nil {
		t.Fatal(err)
	}
	once(t, readAll(t, c), 40)
}

// TestVerdicts: how a transaction that hangs is to end.
func TestVerdicts(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c))
	defer s.Close()
	if err := s.Commit(t.Context(), 0, 1, prepareRows(t, w, 0, rowsOf(memory.DefaultAllocator, 0, 10))); err != nil {
		t.Fatal(err)
	}
	k := s.(*sink)
	for what, f := range map[string]struct {
		heard  map[string]verdict
		i      int
		unsure bool
		want   bool
	}{
		"committed":                                {map[string]verdict{"p": {7, 4, true}}, 1, true, true},
		"given up":                                 {map[string]verdict{"p": {7, 4, false}}, 1, true, false},
		"somebody had it in between":               {map[string]verdict{"p": {7, 3, true}}, 1, true, false},
		"of another producer":                      {map[string]verdict{"p": {6, 4, true}}, 1, true, false},
		"nobody knows, and it is the one held":     {nil, 0, false, true},
		"nobody knows, and it is another":          {nil, 1, false, false},
		"nobody knows what is held, nor of the ID": {nil, 0, true, false},
	} {
		k.verdicts = f.heard
		if got := k.decidedLocked(t.Context(), f.i, &producer{name: "p", id: 7, epoch: 5}, f.unsure); got != f.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// TestConnectionsBreak: after a connection broke the IDs are taken up again once the
// batch is there, so that nothing is left hanging behind the last one.
func TestConnectionsBreak(t *testing.T) {
	c := newBroker(t)
	s, w := openSpec(t, specOf(c))
	defer s.Close()
	taken := 0
	var mu sync.Mutex
	c.ControlKey(int16(kmsg.InitProducerID), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		taken++
		return nil, nil, false
	})
	for id := range batch.ID(4) {
		if id == 2 {
			s.(*sink).cluster.trouble.OnBrokerE2E(kgo.BrokerMetadata{}, 0, kgo.BrokerE2E{ReadErr: io.ErrUnexpectedEOF})
		}
		if err := s.Commit(t.Context(), id, 1, prepareRows(t, w, id, rowsOf(memory.DefaultAllocator, int64(id)*10, 10))); err != nil {
			t.Fatal(err)
		}
	}
	if mu.Lock(); taken != 8 {
		t.Errorf("transactional IDs were taken up %d times, want 8", taken)
	}
	mu.Unlock()
	once(t, readAll(t, c), 40)
}
