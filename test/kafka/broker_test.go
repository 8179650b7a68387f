package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// cluster is a broker to test against.
type cluster struct {
	address string
	dir     string // of a real one
	port    int
	adm     *kadm.Client
}

// each runs a test against the broker in this process and against a real one.
func each(t *testing.T, test func(t *testing.T, c *cluster)) {
	t.Run("fake", func(t *testing.T) {
		fake, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(fake.Close)
		c := &cluster{address: fake.ListenAddrs()[0]}
		c.adm = kadm.NewClient(c.client(t))
		test(t, c)
	})
	t.Run("real", func(t *testing.T) {
		needsReal(t)
		shared.Do(func() {
			dir, err := os.MkdirTemp("", "sluice-kafka-*")
			if err != nil {
				t.Fatal(err)
			}
			sharedBroker = &cluster{dir: dir, port: freePorts(t)}
			sharedBroker.up(t)
		})
		c := &cluster{address: "127.0.0.1:" + strconv.Itoa(sharedBroker.port), dir: sharedBroker.dir, port: sharedBroker.port}
		c.adm = kadm.NewClient(c.client(t))
		test(t, c)
	})
}

// The real broker that tests share, each with topics of its own, until the process ends.
var (
	shared       sync.Once
	sharedBroker *cluster
)

// stopShared stops it.
func stopShared() error {
	if sharedBroker == nil {
		return nil
	}
	err := exec.Command("../../tools/kafka/broker", "down", sharedBroker.dir).Run()
	return errors.Join(err, os.RemoveAll(sharedBroker.dir))
}

func needsReal(t *testing.T) {
	t.Helper()
	if os.Getenv("SLUICE_KAFKA_JARS") == "" {
		t.Skip("SLUICE_KAFKA_JARS is not set: run make test-kafka")
	}
}

// realBroker starts one of its own for a test.
func realBroker(t *testing.T) *cluster {
	t.Helper()
	needsReal(t)
	c := &cluster{dir: t.TempDir(), port: freePorts(t)}
	c.address = "127.0.0.1:" + strconv.Itoa(c.port)
	c.up(t)
	t.Cleanup(func() { c.tool(t, "down", c.dir) })
	c.adm = kadm.NewClient(c.client(t))
	return c
}

func (c *cluster) up(t testing.TB) { c.tool(t, "up", c.dir, strconv.Itoa(c.port)) }

// kill ends a real broker without any warning.
func (c *cluster) kill(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for syscall.Kill(pid, 0) == nil { // until its ports and the lock of its files are free
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the broker does not go")
		}
	}
}

func (c *cluster) tool(t testing.TB, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "../../tools/kafka/broker", args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("broker %v: %v\n%s", args, err, out)
	}
}

// freePorts finds a port that is free together with the next one, below those that
// the system gives to connections: a broker that is started again needs its own.
func freePorts(t testing.TB) int {
	t.Helper()
	for i := range 2000 {
		port := 20000 + (os.Getpid()*14+i*2)%10000
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		next, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		_ = l.Close()
		if err == nil {
			_ = next.Close()
			return port
		}
	}
	t.Fatal("no two free ports")
	return 0
}

func (c *cluster) client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.address)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func (c *cluster) create(t testing.TB, partitions int32, topics ...string) {
	t.Helper()
	for _, topic := range topics {
		if _, err := c.adm.CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
}

// reader gathers what is committed in a topic.
type reader struct {
	t    testing.TB
	c    *cluster
	cl   *kgo.Client
	at   map[int32]int64
	recs []*kgo.Record
}

func (c *cluster) reader(t testing.TB, topic string) *reader {
	t.Helper()
	return &reader{t: t, c: c, at: map[int32]int64{}, cl: c.client(t, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())}
}

// patience is how long nothing may come. Slow machines take seconds, never that long.
const patience = 2 * time.Minute

// until reads on until done is true of what was read.
func (r *reader) until(done func() bool) {
	r.t.Helper()
	last := time.Now()
	for !done() {
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Second) // done may look at something else, too
		f := r.cl.PollFetches(ctx)
		cancel()
		if r.t.Context().Err() != nil {
			r.t.Fatalf("the time is over, %d messages were read", len(r.recs))
		}
		if time.Since(last) > patience {
			r.t.Fatalf("nothing came for %v, %d messages were read", patience, len(r.recs))
		}
		f.EachRecord(func(rec *kgo.Record) {
			last = time.Now()
			r.at[rec.Partition] = rec.Offset + 1
			if !rec.Attrs.IsControl() {
				r.recs = append(r.recs, rec)
			}
		})
	}
}

// toEnd reads to the end that the broker tells.
func (r *reader) toEnd(topic string) {
	r.t.Helper()
	ends, err := r.c.adm.ListCommittedOffsets(r.t.Context(), topic)
	if err != nil {
		r.t.Fatal(err)
	}
	r.until(func() bool {
		all := true
		ends.Each(func(o kadm.ListedOffset) { all = all && r.at[o.Partition] >= o.Offset })
		return all
	})
}
