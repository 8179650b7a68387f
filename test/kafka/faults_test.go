package kafka

import (
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/twmb/franz-go/pkg/kadm"
)

// TestTakenOver stops an engine anywhere and starts another one on the same checkpoint,
// which lies in a bucket and is taken over. The first, woken again when the other has
// committed, ends itself; nothing of what it was about to do is there.
func TestTakenOver(t *testing.T) {
	each(t, func(t *testing.T, c *cluster) {
		backend := s3mem.New()
		if err := backend.CreateBucket("lake"); err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
		t.Cleanup(srv.Close)
		t.Setenv("AWS_ENDPOINT_URL", srv.URL)
		t.Setenv("AWS_ACCESS_KEY_ID", "key")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
		const checkpoints = "s3://lake/ck"
		in, out, counts := name(t, "in"), name(t, "out"), name(t, "counts")
		c.create(t, 3, in, out, counts)
		script, cl := c.pipeline(t, in, out, counts), c.client(t)
		watch, counted := c.reader(t, out), c.reader(t, counts)
		rng := rand.New(rand.NewPCG(3, 3))
		// Both queries have to be there, by what they have shown: one that was still to be
		// started when its engine was stopped would take over in its turn.
		both := func(e *engine, n int) {
			watch.until(func() bool { e.alive(); return len(watch.recs) >= n })
			counted.until(func() bool { e.alive(); return sumOf(t, counted.recs) >= int64(n) })
		}
		start := func() *engine {
			return startEngine(t, script, checkpointVar+"="+checkpoints, "XDG_CACHE_HOME="+t.TempDir(), "HOME="+t.TempDir())
		}
		n := 0
		more := func() {
			produce(t, cl, in, n, n+1500)
			n += 1500
		}
		first := start()
		for range max(1, rounds()/2) {
			want := n + 1 + rng.IntN(1000)
			more()
			both(first, want)
			first.signal(syscall.SIGSTOP)
			second := start()
			more()
			both(second, n-500)
			first.signal(syscall.SIGCONT)
			more() // something to do for both
			select {
			case <-first.ended:
			case <-time.After(patience):
				t.Fatalf("an engine that another one has replaced goes on; the broker says:\n%s", c.state(t))
			}
			both(second, n)
			first = second
		}
		first.kill()
		t.Setenv("XDG_CACHE_HOME", t.TempDir())
		c.finishAt(t, script, checkpoints, out, counts, n)
	})
}

// TestTransactionTimesOut holds the end of a transaction back, kills the engine, and
// lets the broker give the transaction up. Then the end arrives after all, from a
// sender that is dead (KAFKA-9144, KIP-890): it must change nothing. The next engine
// sends the batch again.
func TestTransactionTimesOut(t *testing.T) {
	real(t, func(t *testing.T, c *cluster) { // kfake's transactions are not given up in time
		in, out, counts := name(t, "in"), name(t, "out"), name(t, "counts")
		c.create(t, 3, in, out, counts)
		script, cl := c.pipeline(t, in, out, counts), c.client(t)
		n := 0
		for range max(1, rounds()/2) {
			e := startEngine(t, script)
			seen := c.proxy.hold(keyEndTxn)
			produce(t, cl, in, n, n+1000)
			n += 1000
			select {
			case <-seen:
			case <-e.ended:
				t.Fatalf("the engine ended by itself:\n%s", e.errors)
			case <-time.After(patience):
				t.Fatal("no transaction was to be ended")
			}
			e.kill()
			c.decided(t, out, counts) // the time-out is 1 s
			c.proxy.mend()
			e = startEngine(t, script)
			watch := c.reader(t, out)
			watch.until(func() bool { e.alive(); return len(watch.recs) >= n })
			e.kill()
		}
		c.finish(t, script, out, counts, n)
	})
}

// decided waits until no transaction is open in the topics.
func (c *cluster) decided(t testing.TB, topics ...string) {
	t.Helper()
	for end := time.Now().Add(patience); ; <-time.After(50 * time.Millisecond) {
		ends, err := c.adm.ListEndOffsets(t.Context(), topics...)
		if err != nil {
			t.Fatal(err)
		}
		stable, err := c.adm.ListCommittedOffsets(t.Context(), topics...)
		if err != nil {
			t.Fatal(err)
		}
		open := 0
		ends.Each(func(o kadm.ListedOffset) {
			if s, _ := stable.Lookup(o.Topic, o.Partition); s.Offset != o.Offset {
				open++
			}
		})
		if open == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("transactions are open for %v:\n%s", patience, c.state(t))
		}
	}
}

// TestNetworkCut breaks the way to the broker, in two ways, for as long as it likes: the
// engine waits and goes on by itself.
func TestNetworkCut(t *testing.T) {
	real(t, func(t *testing.T, c *cluster) {
		in, out, counts := name(t, "in"), name(t, "out"), name(t, "counts")
		c.create(t, 3, in, out, counts)
		script, cl := c.pipeline(t, in, out, counts), c.client(t)
		e := startEngine(t, script)
		watch := c.reader(t, out)
		rng := rand.New(rand.NewPCG(11, 11))
		n := 0
		for i := range 2 * max(1, rounds()/2) {
			produce(t, cl, in, n, n+1000)
			want := n + 1 + rng.IntN(900)
			n += 1000
			watch.until(func() bool { e.alive(); return len(watch.recs) >= want })
			if i%2 == 0 {
				c.proxy.cut()
			} else {
				c.proxy.swallow()
			}
			produce(t, cl, in, n, n+500)
			n += 500
			<-time.After(time.Duration(rng.IntN(2500)) * time.Millisecond) // the fault's length; any is right
			c.proxy.mend()
			watch.until(func() bool { e.alive(); return len(watch.recs) >= n })
		}
		e.kill()
		c.finish(t, script, out, counts, n)
	})
}

// TestEndIsUnknown answers nothing to the end of a transaction: the connection breaks
// after the broker has got it (KAFKA-9274). The batch is there once.
func TestEndIsUnknown(t *testing.T) {
	real(t, func(t *testing.T, c *cluster) {
		in, out, counts := name(t, "in"), name(t, "out"), name(t, "counts")
		c.create(t, 3, in, out, counts)
		script, cl := c.pipeline(t, in, out, counts), c.client(t)
		e := startEngine(t, script)
		watch := c.reader(t, out)
		n := 0
		for range rounds() {
			seen := c.proxy.hold(keyEndTxn)
			produce(t, cl, in, n, n+700)
			n += 700
			select {
			case <-seen:
			case <-e.ended:
				t.Fatalf("the engine ended by itself:\n%s", e.errors)
			case <-time.After(patience):
				t.Fatal("no transaction was to be ended")
			}
			c.proxy.lose() // delivered, and nobody hears the answer
			watch.until(func() bool { e.alive(); return len(watch.recs) >= n })
		}
		e.kill()
		c.finish(t, script, out, counts, n)
	})
}

// TestManyBatches: batches of one message follow each other as fast as they can. A
// transaction's first message must be its own (seatunnel #11541), and none is left open.
func TestManyBatches(t *testing.T) {
	each(t, func(t *testing.T, c *cluster) {
		in, out, counts := name(t, "in"), name(t, "out"), name(t, "counts")
		c.create(t, 1, in, out, counts)
		script, cl := c.pipelineOf(t, in, out, counts, "1"), c.client(t)
		n := 150
		if !testing.Short() {
			n = 1500
		}
		produce(t, cl, in, 0, n)
		c.finish(t, script, out, counts, n)
		c.decided(t, out, counts)
		for _, topic := range []string{out, counts} {
			if state := c.state(t); strings.Contains(state, topic) {
				t.Errorf("something is open: %s", state)
			}
		}
	})
}
