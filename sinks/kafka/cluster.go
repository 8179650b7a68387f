package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/kafkaclient"
	"github.com/sluice-stream/sluice/internal/lock"
)

// metadataAge is after how long the topic is looked at again, for partitions that were added.
const metadataAge = time.Minute

// requestPartitions bounds how many partitions one produce request carries.
const requestPartitions = 64

// Keys of requests whose later versions need the second version of transactions.
const (
	keyProduce         = 0
	keyAddPartitions   = 24
	keyAddOffsets      = 25
	keyEndTxn          = 26
	keyTxnOffsetCommit = 28
)

// cluster sends requests about one topic.
type cluster struct {
	t       *target
	clock   clock.Clock
	trouble trouble

	mu struct {
		lock.Mutex
		cl      *kgo.Client
		v2      bool // the broker speaks the second version of transactions (KIP-890)
		at      time.Time
		leaders []int32 // by partition
		topicID [16]byte
		closed  bool
	}
}

// client connects at the first call.
func (c *cluster) client(ctx context.Context) (*kgo.Client, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, false, fmt.Errorf("table %q: the sink is closed", c.t.spec.Table)
	}
	if c.mu.cl != nil {
		return c.mu.cl, c.mu.v2, nil
	}
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(keyAddPartitions, 3) // later ones are for brokers among themselves
	cl, err := c.t.client.Open(kgo.MaxVersions(versions), kgo.WithHooks(&c.trouble))
	if err != nil {
		return nil, false, err
	}
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "sluice", "1"
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		cl.Close()
		return nil, false, kafkaclient.Classify(fmt.Errorf("table %q: ask the brokers at %v: %w", c.t.spec.Table, c.t.client.Brokers, err))
	}
	v2 := false
	for _, f := range resp.FinalizedFeatures {
		v2 = v2 || f.Name == "transaction.version" && f.MaxVersionLevel >= 2
	}
	if !v2 {
		cl.Close()
		for key, most := range map[int16]int16{keyProduce: 11, keyAddOffsets: 3, keyEndTxn: 4, keyTxnOffsetCommit: 4} {
			versions.SetMaxKeyVersion(key, most)
		}
		if cl, err = c.t.client.Open(kgo.MaxVersions(versions), kgo.WithHooks(&c.trouble)); err != nil {
			return nil, false, err
		}
	}
	c.mu.cl, c.mu.v2 = cl, v2
	return cl, v2, nil
}

func (c *cluster) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.cl != nil {
		c.mu.cl.Close()
	}
	c.mu.cl, c.mu.closed = nil, true
}

// partitions returns how many the topic has.
func (c *cluster) partitions(ctx context.Context) (int, error) {
	leaders, _, err := c.topic(ctx, false)
	return len(leaders), err
}

// topic returns the leaders of the topic's partitions and its ID.
func (c *cluster) topic(ctx context.Context, anew bool) ([]int32, [16]byte, error) {
	cl, _, err := c.client(ctx)
	if err != nil {
		return nil, [16]byte{}, err
	}
	c.mu.Lock()
	leaders, id, at := c.mu.leaders, c.mu.topicID, c.mu.at
	c.mu.Unlock()
	if !anew && leaders != nil && c.clock.Now().Sub(at) < metadataAge {
		return leaders, id, nil
	}
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &c.t.topic
	req.Topics = append(req.Topics, topic)
	resp, err := c.ask(ctx, cl, req)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, id, batch.UserErrorf("table %q: there is no topic %q: create it first", c.t.spec.Table, c.t.topic)
	}
	if err != nil {
		return nil, id, kafkaclient.Classify(fmt.Errorf("table %q: look for topic %q: %w", c.t.spec.Table, c.t.topic, err))
	}
	found := resp.Topics[0]
	leaders = make([]int32, len(found.Partitions))
	for _, p := range found.Partitions {
		if p.Partition < 0 || int(p.Partition) >= len(leaders) {
			return nil, id, batch.ExternalError(fmt.Errorf("topic %q: the brokers told of a partition %d among %d", c.t.topic, p.Partition, len(leaders)), true)
		}
		leaders[p.Partition] = p.Leader
	}
	if len(leaders) == 0 {
		return nil, id, batch.ExternalError(fmt.Errorf("topic %q: the brokers told of no partitions", c.t.topic), true)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.leaders, c.mu.topicID, c.mu.at = leaders, found.TopicID, c.clock.Now()
	return leaders, found.TopicID, nil
}

// topicPatience is how long a topic may be unknown: brokers learn of a new one a moment
// after it was made.
const topicPatience = 3 * time.Second

// ask asks for the one topic.
func (c *cluster) ask(ctx context.Context, cl *kgo.Client, req *kmsg.MetadataRequest) (*kmsg.MetadataResponse, error) {
	end := c.clock.Now().Add(min(topicPatience, c.t.client.Timeout))
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		resp, err := req.RequestWith(ctx, cl)
		if err == nil && len(resp.Topics) != 1 {
			err = fmt.Errorf("the brokers told of %d topics", len(resp.Topics))
		}
		if err == nil {
			err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
		}
		if !errors.Is(err, kerr.UnknownTopicOrPartition) || c.clock.Now().After(end) {
			return resp, err
		}
		if err := clock.Wait(ctx, c.clock, pause); err != nil {
			return nil, err
		}
	}
}

// send appends messages to their partitions, in rounds of one record batch for each.
func (c *cluster) send(ctx context.Context, p *producer, all map[int32][]sealed) error {
	rounds := 0
	for _, s := range all {
		rounds = max(rounds, len(s))
	}
	for i := range rounds {
		round := map[int32][]byte{}
		for part, s := range all {
			if i < len(s) {
				round[part] = p.stamp(part, s[i])
			}
		}
		if err := c.round(ctx, p, round); err != nil {
			return err
		}
	}
	return nil
}

// round sends until each partition has taken its batch. To send one again does no
// harm: the broker knows it by its sequence number.
func (c *cluster) round(ctx context.Context, p *producer, left map[int32][]byte) error {
	end := c.clock.Now().Add(c.t.client.Timeout)
	pause := pauseMin
	anew := false
	for {
		leaders, id, err := c.topic(ctx, anew)
		if err != nil {
			return err
		}
		again, err := c.produce(ctx, p, left, leaders, id)
		if len(left) == 0 || err != nil {
			return err
		}
		if c.clock.Now().After(end) {
			return batch.ExternalError(fmt.Errorf("topic %q: %d partitions did not take their messages in time: %w", c.t.topic, len(left), again), true)
		}
		if err := clock.Wait(ctx, c.clock, pause); err != nil {
			return err
		}
		pause = min(2*pause, pauseMax)
		anew = !errors.Is(again, kerr.ConcurrentTransactions)
	}
}

const (
	pauseMin = 2 * time.Millisecond
	pauseMax = 200 * time.Millisecond
)

// produce asks each leader once, and takes out of left what was taken. again is why
// something is still there, and err what no repetition mends.
func (c *cluster) produce(ctx context.Context, p *producer, left map[int32][]byte, leaders []int32, id [16]byte) (again, err error) {
	cl, _, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	by := map[int32][][]int32{}
	for part := range left {
		if int(part) >= len(leaders) {
			return nil, batch.ExternalError(fmt.Errorf("topic %q has %d partitions and not the one with number %d: was it created again?", c.t.topic, len(leaders), part), true)
		}
		l := leaders[part]
		if n := len(by[l]); n == 0 || len(by[l][n-1]) == requestPartitions {
			by[l] = append(by[l], nil)
		}
		by[l][len(by[l])-1] = append(by[l][len(by[l])-1], part)
	}
	var answers struct {
		sync.Mutex
		resp []*kmsg.ProduceResponse
		err  error
	}
	var g errgroup.Group
	for leader, groups := range by {
		g.Go(func() error {
			for _, parts := range groups {
				resp, err := c.request(p, left, parts, id).RequestWith(ctx, cl.Broker(int(leader)))
				answers.Lock()
				if err == nil {
					answers.resp = append(answers.resp, resp)
				} else {
					answers.err = err
				}
				answers.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are among the answers
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	again = answers.err
	for _, resp := range answers.resp {
		for _, t := range resp.Topics {
			for _, rp := range t.Partitions {
				switch perr := kerr.ErrorForCode(rp.ErrorCode); {
				case perr == nil, errors.Is(perr, kerr.DuplicateSequenceNumber):
					delete(left, rp.Partition)
				case kerr.IsRetriable(perr), errors.Is(perr, kerr.ConcurrentTransactions):
					again = perr
				default:
					return nil, fmt.Errorf("send to partition %d of topic %q: %w", rp.Partition, c.t.topic, perr)
				}
			}
		}
	}
	return again, nil
}

func (c *cluster) request(p *producer, left map[int32][]byte, parts []int32, id [16]byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, int32(c.t.client.Timeout.Milliseconds())
	if p.name != "" {
		req.TransactionID = &p.name
	}
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = c.t.topic, id
	for _, part := range parts {
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition, rp.Records = part, left[part]
		t.Partitions = append(t.Partitions, rp)
	}
	req.Topics = append(req.Topics, t)
	return req
}
