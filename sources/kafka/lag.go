package kafka

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
)

// publishEvery is how often offsets are published at most: batches follow each other
// in milliseconds, and who watches lag looks every few seconds.
const publishEvery = time.Second

// publishTime bounds one attempt. The next takes its place, also at the end.
const publishTime = 3 * time.Second

// publisher commits offsets of batches that are shown to a consumer group, from a
// goroutine of its own: nothing waits for it, and the query goes on without it.
type publisher struct {
	s      *source
	newest chan batch.Offset // holds the newest one alone
	cancel context.CancelFunc
	done   chan struct{}

	mu struct {
		sync.Mutex
		failed error // of the last attempt, until somebody asks
	}
}

func startPublisher(s *source) *publisher {
	ctx, cancel := context.WithCancel(context.Background())
	p := &publisher{s: s, newest: make(chan batch.Offset, 1), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.run(ctx)
	}()
	return p
}

// offer hands an offset on, in place of one that still waits.
func (p *publisher) offer(o batch.Offset) {
	for {
		select {
		case p.newest <- o:
			return
		default:
		}
		select {
		case <-p.newest:
		default:
		}
	}
}

func (p *publisher) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case o := <-p.newest:
			p.publish(o)
			_ = clock.Wait(ctx, p.s.clock, publishEvery) // an end is seen above
		}
	}
	select {
	case o := <-p.newest: // so that the group says where the query has stopped
		p.publish(o)
	default:
	}
}

func (p *publisher) publish(o batch.Offset) {
	ctx, cancel := context.WithTimeout(context.Background(), publishTime)
	defer cancel()
	at, err := p.s.position(o)
	if err == nil && len(at.at) > 0 {
		offsets := kadm.Offsets{}
		for l, s := range at.at {
			offsets.AddOffset(l.topic, l.part, s.next, -1)
		}
		err = p.s.adm.CommitAllOffsets(ctx, p.s.t.group, offsets)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.failed = err
}

// failure returns why the last attempt failed, once.
func (p *publisher) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.mu.failed
	p.mu.failed = nil
	if err != nil {
		err = batch.ExternalError(fmt.Errorf("%s: publish offsets to group %q: %w", p.s.t.spec, p.s.t.group, err), true)
	}
	return err
}

// close publishes what is left and waits.
func (p *publisher) close() {
	p.cancel()
	<-p.done
}
