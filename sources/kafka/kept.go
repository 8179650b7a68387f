package kafka

import (
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/sources"
)

// caller is a client with what it has learned about who leads which partition. One reader
// at a time has it, which therefore waits behind nobody's requests.
type caller struct {
	cl      *kgo.Client
	leaders map[lane]leader
	until   time.Time // when the files that it was made from are read again
}

type leader struct {
	topic kadm.TopicID
	node  int32
}

const (
	// callersMax bounds the clients that wait for a reader, each with a connection or two.
	callersMax = 32
	// callerAge is for how long one is used: certificates change.
	callerAge = 10 * time.Minute
)

// callers are the clients of an opener: one for each reader that finds nothing in a buffer.
// They are kept for the readers to come where somebody promises to end that, as a new one
// costs a batch some round trips to a broker, with TLS and SASL many.
type callers struct {
	t     *table
	clock clock.Clock

	mu   sync.Mutex
	keep bool
	idle []*caller
}

var _ sources.Keeper = (*opener)(nil)

// Keep implements sources.Keeper.
func (o *opener) Keep() (done func()) {
	c := o.callers
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep = true
	return c.end
}

// end keeps nothing any more.
func (c *callers) end() {
	c.mu.Lock()
	idle := c.idle
	c.keep, c.idle = false, nil
	c.mu.Unlock()
	for _, one := range idle {
		one.cl.Close()
	}
}

// take returns a client, if there is a choice one that knows the partition's leader.
func (c *callers) take(l lane) (*caller, error) {
	now := c.clock.Now()
	c.mu.Lock()
	var old []*caller
	c.idle = slices.DeleteFunc(c.idle, func(one *caller) bool {
		if now.After(one.until) {
			old = append(old, one)
			return true
		}
		return false
	})
	var got *caller
	if n := len(c.idle); n > 0 {
		i := slices.IndexFunc(c.idle, func(one *caller) bool { _, ok := one.leaders[l]; return ok })
		if i < 0 {
			i = n - 1
		}
		got = c.idle[i]
		c.idle = slices.Delete(c.idle, i, i+1)
	}
	c.mu.Unlock()
	for _, one := range old {
		one.cl.Close()
	}
	if got != nil {
		return got, nil
	}
	cl, err := c.t.client.Open(kgo.MetadataMinAge(metadataAge))
	if err != nil {
		return nil, err
	}
	return &caller{cl: cl, leaders: map[lane]leader{}, until: now.Add(callerAge)}, nil
}

// give takes a client back whose reader has ended. One that has met an error is not kept.
func (c *callers) give(one *caller, failed bool) {
	c.mu.Lock()
	kept := c.keep && !failed && len(c.idle) < callersMax
	if kept {
		c.idle = append(c.idle, one)
	}
	c.mu.Unlock()
	if !kept {
		one.cl.Close()
	}
}
