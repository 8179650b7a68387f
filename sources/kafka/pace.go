package kafka

import (
	"sync"
	"time"
)

// pacer says when it is worth asking brokers again of which everything is known. What
// comes right after a batch was planned has to wait for the next one anyhow, and a
// broker that is asked for each message has the less time for everything else. So they
// are asked again when most of the time between two batches is over.
type pacer struct {
	mu    sync.Mutex
	last  time.Time     // when a batch was planned
	every time.Duration // a low estimate of the time between two
}

const (
	// paceMax is the greatest time between two batches that counts as one of a stream
	// of them, paceMin the least that is worth anything.
	paceMax = 50 * time.Millisecond
	paceMin = 2 * time.Millisecond
)

// planned takes in that a batch was planned.
func (p *pacer) planned(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := now.Sub(p.last)
	p.last = now
	switch {
	case d > paceMax:
		p.every = 0 // the batch before is long gone: each message starts one
	case d < p.every:
		p.every -= (p.every - d) / 4
	default:
		p.every += (d - p.every) / 16
	}
}

// wait is for how long brokers are left alone.
func (p *pacer) wait(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.every < paceMin {
		return 0
	}
	return max(0, p.last.Add(p.every/2).Sub(now))
}
