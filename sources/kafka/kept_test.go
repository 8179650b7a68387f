package kafka

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/json"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/sources"
)

// TestKept: an opener that may keep its clients asks for a split's messages and for nothing
// else, finds the leader again when the partition has moved, and ends its clients at last.
func TestKept(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(1, "in"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	b := &broker{Cluster: c}
	b.cl = b.client(t)
	b.produce(t, b.cl, "in", 0, 10, 20) // the offset and ten
	var dials, questions atomic.Int32
	c.Control(func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if r.Key() != int16(kmsg.Fetch) {
			questions.Add(1)
		}
		return nil, nil, false
	})
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	spec := b.specOf()
	op, err := Connector(clock.System(), formats.NewRegistry(json.New()), kgo.Dialer(dial)).NewOpener(spec)
	if err != nil {
		t.Fatal(err)
	}
	topics, err := topicsOf(t.Context(), b.cl, []string{"in"})
	if err != nil {
		t.Fatal(err)
	}
	r := &reading{t: t, op: op, src: &source{t: op.(*opener).t}}
	part := func(from, to int64, want string) {
		t.Helper()
		p := payload{Topic: "in", ID: topics[0].TopicID[:], From: from, To: to}
		rows, err := r.split(t.Context(), batch.Split{Payload: p.bytes()})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(ids(rows), " "); got != want {
			t.Errorf("offsets %d to %d: got %s, want %s", from, to, got, want)
		}
	}
	asks := func(what string, again bool) {
		t.Helper()
		if d, q := dials.Swap(0), questions.Swap(0); (d > 0 || q > 0) != again {
			t.Errorf("%s: %d connections, %d questions", what, d, q)
		}
	}
	part(0, 3, "10 11 12")
	asks("the first", true)
	part(3, 5, "13 14")
	asks("nothing is kept yet", true)
	done := op.(sources.Keeper).Keep()
	part(5, 7, "15 16")
	asks("the first that is kept", true)
	part(7, 9, "17 18")
	asks("kept", false)
	if err := c.MoveTopicPartition("in", 0, 1-c.LeaderFor("in", 0)); err != nil {
		t.Fatal(err)
	}
	part(9, 12, "19 20 21")
	asks("the leader is another one", true)
	part(12, 15, "22 23 24")
	part(15, 16, "25")
	asks("one that has met an error is not kept", true)
	part(16, 20, "26 27 28 29")
	asks("kept again", false)
	done()
	part(0, 1, "10")
	asks("it is over", true)
}
