package kafka

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/batch"
)

// What went wrong in others, by the name of its issue.

// TestFranzGoUnorderedAborts (franz-go before v1.21.4): brokers list the transactions that
// were given up in any order; messages of some were then shown as committed.
func TestFranzGoUnorderedAborts(t *testing.T) {
	b := newBroker(t, 1, "in")
	first, second := b.client(t, kgo.TransactionalID("first")), b.client(t, kgo.TransactionalID("second"))
	for i := range 6 {
		for j, tx := range []*kgo.Client{first, second} {
			if err := tx.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			b.produce(t, tx, "in", 0, 100*j+i, 1)
		}
		for _, tx := range []*kgo.Client{second, first} {
			if err := tx.EndTransaction(t.Context(), kgo.TransactionEndTry(i == 3)); err != nil {
				t.Fatal(err)
			}
		}
	}
	r := b.read(t, b.specOf())
	details, err := b.adm.ListTopics(t.Context(), "in")
	if err != nil {
		t.Fatal(err)
	}
	w := []want{{lane: lane{"in", 0}, id: details["in"].ID}}
	resp, err := r.src.t.request(w, time.Millisecond).RequestWith(t.Context(), b.cl)
	if err != nil {
		t.Fatal(err)
	}
	aborts := resp.Topics[0].Partitions[0].AbortedTransactions
	if len(aborts) != 10 {
		t.Fatalf("%d transactions were given up", len(aborts))
	}
	slices.Reverse(aborts)
	var rows []string
	in := newCursor(w[0].lane, r.src.t.answers(resp, w)[w[0].lane].piece)
	for m := (message{}); ; {
		ok, err := in.next(&m)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		rows = append(rows, string(m.value))
	}
	slices.Sort(rows)
	same(t, "committed", rows, `{"id":3,"name":"n3"}`, `{"id":103,"name":"n103"}`)
}

// TestSPARK25214 (and franz-go before v1.21.4, which lost its place behind an abort): with
// gaps between offsets, and data loss allowed, each message comes once.
func TestSPARK25214(t *testing.T) {
	b := newBroker(t, 1, "in")
	tx := b.client(t, kgo.TransactionalID("tx"))
	r := b.read(t, b.specOf("fail-on-data-loss", "false", "max-offsets-per-trigger", "3"))
	var rows, want []string
	for i := range 20 {
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		b.produce(t, tx, "in", 0, 10*i, 3)
		if err := tx.EndTransaction(t.Context(), kgo.TransactionEndTry(i%3 == 0)); err != nil {
			t.Fatal(err)
		}
		b.produce(t, b.cl, "in", 0, 10*i+5, 1)
		want = append(want, fmt.Sprint(10*i+5))
		if i%3 == 0 {
			want = append(want, fmt.Sprint(10*i), fmt.Sprint(10*i+1), fmt.Sprint(10*i+2))
		}
		more, err := r.try(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, more...)
	}
	for len(rows) < len(want) {
		rows = append(rows, r.next()...)
	}
	same(t, "each once", ids(rows), want...)
	if strings.Contains(string(r.at), "lost") {
		t.Errorf("gaps count as lost: %s", r.at)
	}
}

// TestSPARK41375: brokers tell of no partitions for a moment. None is then new, and none
// is read again.
func TestSPARK41375(t *testing.T) {
	for what, change := range map[string]func(*kmsg.MetadataResponseTopic){
		"no partitions": func(t *kmsg.MetadataResponseTopic) { t.Partitions = nil },
		"one of them":   func(t *kmsg.MetadataResponseTopic) { t.Partitions = t.Partitions[:1] },
	} {
		t.Run(what, func(t *testing.T) {
			b := newBroker(t, 2, "in")
			for part := range int32(2) {
				b.produce(t, b.cl, "in", part, 10*int(part), 5)
			}
			r := b.read(t, b.specOf("request-timeout", "1s"))
			r.rows(10)
			var empty atomic.Int32
			whole, err := topicsOf(t.Context(), b.cl, []string{"in"})
			if err != nil {
				t.Fatal(err)
			}
			brokers, err := b.adm.ListBrokers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			b.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
				b.KeepControl()
				if empty.Add(1) > 4 {
					return nil, nil, false
				}
				resp := req.ResponseKind().(*kmsg.MetadataResponse)
				resp.Version = req.GetVersion()
				for _, x := range brokers {
					rb := kmsg.NewMetadataResponseBroker()
					rb.NodeID, rb.Host, rb.Port = x.NodeID, x.Host, x.Port
					resp.Brokers = append(resp.Brokers, rb)
				}
				topic := whole[0]
				change(&topic)
				resp.Topics = []kmsg.MetadataResponseTopic{topic}
				return resp, nil, true
			})
			again := b.read(t, b.specOf("request-timeout", "1s"))
			again.at = r.at
			b.produce(t, b.cl, "in", 1, 50, 3)
			var rows []string
			for len(rows) < 3 {
				more, err := again.try(t.Context())
				if err != nil {
					if _, retry := batch.KindOf(err); !retry {
						t.Fatal(err)
					}
				}
				rows = append(rows, more...)
			}
			same(t, "what is new", ids(rows), "50", "51", "52")
		})
	}
}

// TestFLINK32019: a pattern that matched nothing when the query began, at the end of what
// was there. What a topic holds when it is found later is new, and read whole.
func TestFLINK32019(t *testing.T) {
	b := newBroker(t, 1, "other")
	r := b.read(t, b.specOf("topic", "", "topic-pattern", "in.*", "starting-offsets", "latest"))
	if rows, err := r.try(t.Context()); len(rows) != 0 || err != nil {
		t.Fatalf("%q, %v", rows, err)
	}
	if r.at == "" {
		t.Fatal("where the query began is not noted")
	}
	_ = r.src.Close()
	if _, err := b.adm.CreateTopic(t.Context(), 1, 1, nil, "in-one"); err != nil {
		t.Fatal(err)
	}
	b.produce(t, b.cl, "in-one", 0, 7, 2)
	late := b.read(t, b.specOf("topic", "", "topic-pattern", "in.*", "starting-offsets", "latest"))
	late.at = r.at
	same(t, "found later", ids(late.rows(2)), "7", "8")
}

// TestFLINK28303: a query that began at the end is stopped before its first message, and
// what came meanwhile is read; so, too, where a single partition begins at its end.
func TestFLINK28303(t *testing.T) {
	for _, start := range []string{"latest", `{"in":{"0":-1}}`} {
		b := newBroker(t, 1, "in")
		b.produce(t, b.cl, "in", 0, 0, 5)
		r := b.read(t, b.specOf("starting-offsets", start))
		if rows, err := r.try(t.Context()); len(rows) != 0 || err != nil {
			t.Fatalf("%q, %v", rows, err)
		}
		_ = r.src.Close()
		b.produce(t, b.cl, "in", 0, 5, 3)
		late := b.read(t, b.specOf("starting-offsets", start))
		late.at = r.at
		same(t, start, ids(late.rows(3)), "5", "6", "7")
	}
}

// TestPlaceBehindWhatIsOpen: a place by time lies behind an open transaction. Nothing is
// lost there, and what comes is read when it is decided.
func TestPlaceBehindWhatIsOpen(t *testing.T) {
	b := newBroker(t, 1, "in")
	tx := b.client(t, kgo.TransactionalID("tx"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	b.produce(t, tx, "in", 0, 0, 2)
	r := b.read(t, b.specOf("starting-offsets", "timestamp", "starting-timestamp", "1800000000000"))
	if rows, err := r.try(t.Context()); len(rows) != 0 || err != nil {
		t.Fatalf("%q, %v", rows, err)
	}
	b.produce(t, b.cl, "in", 0, 10, 2)
	if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	same(t, "behind", ids(r.rows(2)), "10", "11")
}

// TestInternalTopics: a pattern for everything leaves the brokers' own topics out.
func TestInternalTopics(t *testing.T) {
	b := newBroker(t, 1, "in")
	b.produce(t, b.cl, "in", 0, 1, 1)
	o := kadm.Offsets{}
	o.AddOffset("in", 0, 1, -1)
	if err := b.adm.CommitAllOffsets(t.Context(), "some", o); err != nil {
		t.Fatal(err)
	}
	whole, err := topicsOf(t.Context(), b.cl, nil)
	if err != nil {
		t.Fatal(err)
	}
	own := whole[0]
	own.Topic, own.IsInternal = kmsg.StringPtr("__consumer_offsets"), true
	brokers, err := b.adm.ListBrokers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		if req.(*kmsg.MetadataRequest).Topics != nil {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		resp.Version = req.GetVersion()
		for _, x := range brokers {
			rb := kmsg.NewMetadataResponseBroker()
			rb.NodeID, rb.Host, rb.Port = x.NodeID, x.Host, x.Port
			resp.Brokers = append(resp.Brokers, rb)
		}
		resp.Topics = append(slices.Clone(whole), own)
		return resp, nil, true
	})
	r := b.read(t, b.specOf("topic", "", "topic-pattern", ".*"))
	same(t, "of the user's topics", ids(r.rows(1)), "1")
	if strings.Contains(string(r.at), "__consumer") {
		t.Errorf("reads %s", r.at)
	}
}

// TestLogCutOff: a leader that was behind has taken over, and what was read last is not
// there any more. That is told, with the offsets; who goes on reads what comes there.
func TestLogCutOff(t *testing.T) {
	b := newBroker(t, 1, "in")
	b.produce(t, b.cl, "in", 0, 0, 5)
	details, err := b.adm.ListTopics(t.Context(), "in")
	if err != nil {
		t.Fatal(err)
	}
	p := newPosition()
	p.ids["in"], p.at[lane{"in", 0}] = details["in"].ID, span{0, 9, 0} // as if there had been nine
	strict := b.read(t, b.specOf())
	strict.at = p.offset()
	_, err = strict.try(t.Context())
	if kind, retry := batch.KindOf(err); err == nil || kind != batch.User || retry || !strings.Contains(err.Error(), "offsets 5 to 8 were read and are gone: the topic has 0 to 5 now") {
		t.Fatalf("got %v", err)
	}
	lax := b.read(t, b.specOf("fail-on-data-loss", "false"))
	lax.at = p.offset()
	if rows, err := lax.try(t.Context()); len(rows) != 0 || err != nil || !strings.Contains(string(lax.at), `"lost":[{"topic":"in","partition":0,"from":5,"to":9}]`) {
		t.Fatalf("got %q, %v at %s", rows, err, lax.at)
	}
	b.produce(t, b.cl, "in", 0, 50, 6)
	same(t, "what came instead", ids(lax.rows(6)), "50", "51", "52", "53", "54", "55")
}

// TestCutOffAndLonger: the log was cut off behind what was read, and has become longer
// than it was before anybody looked. Only the leader epoch of what was read last tells of
// it: the broker, who is sent it, says where the log went another way (E9).
func TestCutOffAndLonger(t *testing.T) {
	for _, loss := range []string{"true", "false"} {
		b := newBroker(t, 1, "in")
		b.produce(t, b.cl, "in", 0, 0, 5)
		r := b.read(t, b.specOf("fail-on-data-loss", loss))
		n := len(r.rows(5))
		for ; !strings.Contains(string(r.at), `"eras"`); n++ { // what is planned before it is fetched has none
			b.produce(t, b.cl, "in", 0, n, 1)
			same(t, "before the cut", ids(r.rows(1)), fmt.Sprint(n))
			if n > 40 {
				t.Fatalf("the epoch is not kept: %s", r.at)
			}
		}
		cut := int64(n - 2)
		b.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.KeepControl()
			f := req.(*kmsg.OffsetForLeaderEpochRequest)
			p := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			p.EndOffset = cut
			topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
			topic.Topic, topic.Partitions = f.Topics[0].Topic, append(topic.Partitions, p)
			resp := f.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
			resp.Topics = append(resp.Topics, topic)
			return resp, nil, true
		})
		b.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
			b.KeepControl()
			f := req.(*kmsg.FetchRequest)
			if len(f.Topics) != 1 || f.Topics[0].Partitions[0].LastFetchedEpoch < 0 || f.Topics[0].Partitions[0].FetchOffset <= cut {
				return nil, nil, false
			}
			p := kmsg.NewFetchResponseTopicPartition()
			p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = 0, cut
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID, topic.Partitions = f.Topics[0].Topic, f.Topics[0].TopicID, append(topic.Partitions, p)
			resp := f.ResponseKind().(*kmsg.FetchResponse)
			resp.Topics = append(resp.Topics, topic)
			return resp, nil, true
		})
		b.produce(t, b.cl, "in", 0, n, 4)
		again := b.read(t, b.specOf("fail-on-data-loss", loss))
		again.at = r.at
		var rows []string
		var err error
		for range 10_000 {
			if len(rows) >= 6 || err != nil {
				break
			}
			var more []string
			more, err = again.try(t.Context())
			rows = append(rows, more...)
		}
		if loss == "true" {
			if kind, retry := batch.KindOf(err); err == nil || kind != batch.User || retry || !strings.Contains(err.Error(), fmt.Sprintf("offsets %d to %d were read and are gone: the log was cut off there", cut, n-1)) {
				t.Fatalf("got %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for i := n - 2; i < n+4; i++ {
			want = append(want, fmt.Sprint(i))
		}
		same(t, "from where it was cut", ids(rows), want...)
		if !strings.Contains(string(again.at), fmt.Sprintf(`"from":%d,"to":%d`, cut, n)) && !strings.Contains(string(again.at), `"eras"`) {
			t.Errorf("the gap is not in %s", again.at)
		}
	}
}
