package kafka

import (
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// forgetful is a broker that forgets transactional IDs, as after their time without use:
// whoever had one is refused until it is taken up again.
type forgetful struct {
	mu      sync.Mutex
	known   map[string]bool
	refused int
}

func newForgetful(c *kfake.Cluster, e *kerr.Error) *forgetful {
	f := &forgetful{known: map[string]bool{}}
	c.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		f.mu.Lock()
		defer f.mu.Unlock()
		var id string
		switch req := req.(type) {
		case *kmsg.InitProducerIDRequest:
			f.known[*req.TransactionalID] = true
			return nil, nil, false
		case *kmsg.ProduceRequest:
			id = *req.TransactionID
		case *kmsg.TxnOffsetCommitRequest:
			id = req.TransactionalID
		case *kmsg.EndTxnRequest:
			id = req.TransactionalID
		default:
			return nil, nil, false
		}
		if f.known[id] {
			return nil, nil, false
		}
		f.refused++
		return refusal(req, e), nil, true
	})
	return f
}

// forget returns how many were refused so far.
func (f *forgetful) forget() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.known)
	return f.refused
}

func (f *forgetful) names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.known))
}

// TestKAFKA16699 (and 14278): the brokers have forgotten the transactional IDs, between
// two batches or while one is staged. They are taken up again, and each row is there once.
func TestKAFKA16699(t *testing.T) {
	for _, e := range []*kerr.Error{kerr.InvalidProducerIDMapping, kerr.InvalidTxnState, kerr.InvalidProducerEpoch} {
		for _, staged := range []string{"not staged", "staged", "forgotten while staged"} {
			t.Run(e.Message+"/"+staged, func(t *testing.T) {
				c := newBroker(t)
				f := newForgetful(c, e)
				s, w := begun(t, specOf(c))
				defer s.Close()
				for id := batch.ID(1); id < 4; id++ {
					parts := tenRows(t, w, id)
					if staged == "staged" {
						f.forget()
					}
					if staged != "not staged" {
						s.Stage(t.Context(), id, 1, parts)
					}
					if staged != "staged" {
						f.forget()
					}
					show(t, s, id, 1, parts)
				}
				if f.forget() == 0 {
					t.Error("nothing was refused")
				}
				once(t, readAll(t, c), 40)
			})
		}
	}
}

// TestKAFKA9144 (and 9777, 14402, 19446): the end of a dead leader's transaction comes
// when a newer one has a transaction of the same ID open. It must change neither.
func TestKAFKA9144(t *testing.T) {
	for _, commit := range []bool{true, false} {
		c := newBroker(t)
		dead, deadW := begun(t, specOf(c))
		defer dead.Close()
		dead.Stage(t.Context(), 1, 1, tenRows(t, deadW, 1))
		late := *dead.producerOf(1)
		if open := undecided(t, c); open == 0 {
			t.Fatal("no transaction is open")
		}
		s, w := openSpec(t, specOf(c))
		defer s.Close()
		again := 1 + batch.ID(dead.t.ids) // of the same transactional ID
		for id := batch.ID(1); id < again; id++ {
			show(t, s, id, 2, tenRows(t, w, id))
		}
		parts := tenRows(t, w, again)
		s.(sinks.Stager).Stage(t.Context(), again, 2, parts)
		if mine := s.(*sink).producerOf(again); mine.name != late.name {
			t.Fatalf("IDs %q and %q", mine.name, late.name)
		}
		open := undecided(t, c)
		if err := dead.cluster.end(t.Context(), &late, commit); err == nil {
			t.Error("the dead leader could end a transaction")
		}
		if n := undecided(t, c); n != open || n == 0 {
			t.Errorf("%d messages are undecided, want %d", n, open)
		}
		once(t, readAll(t, c), 10*int(again))
		show(t, s, again, 2, parts)
		once(t, readAll(t, c), 10*int(again)+10)
	}
}

// TestIceberg17551 (and KAFKA-15552): each life of a query has the same transactional
// IDs, so that the newer fences the older, and no other query has any of them.
func TestIceberg17551(t *testing.T) {
	c := newBroker(t)
	f := newForgetful(c, kerr.InvalidProducerIDMapping)
	life := func(query batch.QueryID, id batch.ID, term batch.Term) []string {
		spec := specOf(c)
		spec.Query = query
		f.forget()
		s, w := openSpec(t, spec)
		defer s.Close()
		show(t, s, id, term, tenRows(t, w, id))
		return f.names()
	}
	first := life("one", 0, 1)
	if again := life("one", 1, 2); len(first) == 0 || !slices.Equal(first, again) {
		t.Errorf("the IDs %q became %q", first, again)
	}
	for _, id := range life("two", 0, 1) {
		if slices.Contains(first, id) {
			t.Errorf("two queries have ID %q", id)
		}
	}
}
