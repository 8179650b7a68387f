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
	address string // that engines use
	direct  string // that tests use, which no fault cuts off
	adm     *kadm.Client
	real    *realBroker // nil of the one in this process
	proxy   *proxy      // on the way to address; nil of the one in this process
}

// each runs a test against the broker in this process and against a real one.
func each(t *testing.T, test func(t *testing.T, c *cluster)) {
	t.Run("fake", func(t *testing.T) {
		fake, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(fake.Close)
		c := &cluster{address: fake.ListenAddrs()[0], direct: fake.ListenAddrs()[0]}
		c.adm = kadm.NewClient(c.client(t))
		test(t, c)
	})
	real(t, test)
}

// real runs a test against a real broker alone: for what the one in this process
// cannot do.
func real(t *testing.T, test func(t *testing.T, c *cluster)) {
	t.Run("real", func(t *testing.T) {
		if os.Getenv("SLUICE_KAFKA_JARS") == "" {
			t.Skip("SLUICE_KAFKA_JARS is not set: run make test-kafka")
		}
		shared.Do(func() { sharedBroker.start(t) })
		if sharedBroker.proxy == nil {
			t.Fatal("the broker did not start for the first test that wanted it")
		}
		c := &cluster{address: sharedBroker.at(portProxy), direct: sharedBroker.at(portDirect), real: &sharedBroker, proxy: sharedBroker.proxy}
		t.Cleanup(c.proxy.mend)
		c.adm = kadm.NewClient(c.client(t))
		test(t, c)
	})
}

// The real broker that tests share, each with topics of its own, until the process
// ends. It starts for the first that wants it, and costs some 350 MB.
var (
	shared       sync.Once
	sharedBroker realBroker
)

// realBroker is a process with several listeners.
type realBroker struct {
	dir   string
	port  int // the first of ports
	proxy *proxy
	certs certificates
}

// The ports of a real broker, from its first on.
const (
	portDirect     = iota
	portController // as tools/kafka/broker has it
	portBehind     // where the proxy leads to
	portProxy
	portTLS // wants a certificate of the client
	portSASL
	ports
)

func (b *realBroker) at(port int) string { return fmt.Sprintf("127.0.0.1:%d", b.port+port) }

func (b *realBroker) start(t testing.TB) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sluice-kafka-*")
	if err != nil {
		t.Fatal(err)
	}
	b.dir, b.port = dir, freePorts(t, ports)
	b.certs = makeCertificates(t, dir)
	b.up(t)
	if b.proxy, err = startProxy(b.at(portProxy), b.at(portBehind)); err != nil {
		t.Fatal(err)
	}
}

// stop ends the broker in order. Nothing is there of one that was never started.
func (b *realBroker) stop() error {
	if b.dir == "" {
		return nil
	}
	if b.proxy != nil {
		b.proxy.close()
	}
	err := exec.Command("../../tools/kafka/broker", "down", b.dir).Run()
	return errors.Join(err, os.RemoveAll(b.dir))
}

// up starts it, also after it was killed.
func (b *realBroker) up(t testing.TB) {
	t.Helper()
	args := []string{"up", b.dir, strconv.Itoa(b.port),
		"listeners=PLAINTEXT://" + b.at(portDirect) + ",CONTROLLER://" + b.at(portController) + ",PROXIED://" + b.at(portBehind) + ",TLS://" + b.at(portTLS) + ",SASL://" + b.at(portSASL),
		"advertised.listeners=PLAINTEXT://" + b.at(portDirect) + ",PROXIED://" + b.at(portProxy) + ",TLS://" + b.at(portTLS) + ",SASL://" + b.at(portSASL),
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,TLS:SSL,SASL:SASL_SSL",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms=300", // 10 s else
	}
	runTool(t, append(args, b.certs.properties()...)...)
}

// kill ends it without any warning.
func (b *realBroker) kill(t testing.TB) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "pid"))
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
	late := time.After(patience)
	for runs(pid) || b.listens() { // until its ports and the lock of its files are free
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			t.Fatal("the broker was killed and does not go")
		}
	}
}

// listens reports whether the broker's port is open: the last thread of a process that
// was killed goes after its first.
func (b *realBroker) listens() bool {
	c, err := net.Dial("tcp", b.at(portDirect))
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// runs reports whether a process runs. One that has ended and that nobody has waited
// for, as where process 1 is no init, does not.
func runs(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err != nil || !strings.Contains(string(status), "\nState:\tZ")
}

// toolTime bounds one call of the broker's script: a start takes 5 s of a quiet machine.
const toolTime = 3 * time.Minute

func runTool(t testing.TB, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), toolTime)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "../../tools/kafka/broker", args...).CombinedOutput(); err != nil {
		t.Fatalf("broker %v: %v\n%s", args[0], err, out)
	}
}

// freePorts finds ports in a row that are free, below those that the system gives to
// connections: a broker that is started again needs its own.
func freePorts(t testing.TB, n int) int {
	t.Helper()
	free := func(first int) bool {
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i))
			if err != nil {
				return false
			}
			_ = l.Close()
		}
		return true
	}
	for i := range 1000 {
		if first := 20000 + (os.Getpid()*14+i*n)%10000; free(first) {
			return first
		}
	}
	t.Fatalf("no %d free ports in a row", n)
	return 0
}

func (c *cluster) client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.direct)}, opts...)...)
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
			r.t.Fatalf("nothing came for %v, %d messages were read; the broker says:\n%s", patience, len(r.recs), r.c.state(r.t))
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

// toEnd reads to the end that the broker tells. A commit is answered before readers can
// see it: the markers come a moment later.
func (r *reader) toEnd(topic string) {
	r.t.Helper()
	r.c.decided(r.t, topic)
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

// state tells what a test that waits in vain is to show: how far topics can be read,
// and the transactions that are open.
func (c *cluster) state(t testing.TB) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	var b strings.Builder
	ends, err := c.adm.ListEndOffsets(ctx)
	stable, serr := c.adm.ListCommittedOffsets(ctx)
	if err = errors.Join(err, serr); err != nil {
		fmt.Fprintln(&b, "offsets:", err)
	}
	for _, o := range ends.Offsets().Sorted() {
		if s, ok := stable.Lookup(o.Topic, o.Partition); ok && s.Offset != o.At {
			fmt.Fprintf(&b, "topic %s/%d ends at %d and can be read to %d\n", o.Topic, o.Partition, o.At, s.Offset)
		}
	}
	txns, err := c.adm.DescribeTransactions(ctx)
	if err != nil {
		fmt.Fprintln(&b, "transactions:", err)
	}
	for _, x := range txns.Sorted() {
		if x.State != "CompleteCommit" && x.State != "CompleteAbort" {
			fmt.Fprintf(&b, "%s is in state %s since %d, producer %d/%d, time-out %d ms, %d topics\n", x.TxnID, x.State, x.StartTimestamp, x.ProducerID, x.ProducerEpoch, x.TimeoutMillis, len(x.Topics))
		}
	}
	return b.String()
}
