package kafka

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-stream/sluice/internal/clock"
)

// feed fetches ahead for one stream. One goroutine for each broker asks for the
// partitions that it leads and that have room; a manager starts them anew when
// partitions come or leaders change. close stops them all and waits.
type feed struct {
	t        *table
	clock    clock.Clock
	cl       *kgo.Client
	discover func(ctx context.Context) (map[lane]int32, error) // leaders; tells the source of what is new
	changed  chan struct{}                                     // to the driver: messages came
	regroup  chan struct{}                                     // to the manager
	cancel   context.CancelFunc
	done     chan struct{}
	pace     pacer

	mu struct {
		sync.Mutex
		lanes   map[lane]*buffer
		leaders map[lane]int32
		moved   chan struct{} // closed, and made anew, when anything below changes
	}
}

// buffer is what is in memory of a partition: pieces that follow each other and end at next.
type buffer struct {
	id     kadm.TopicID
	pieces []piece
	next   int64
	era    int32 // of the message in front of next
	bytes  int64
	caught bool  // there was nothing behind next when the broker was asked last
	bad    int   // how often in turn the answer was damaged
	grows  int64 // how many bytes of memory one on the way becomes, where messages are compressed
	fault  error
}

// badMax is how often a damaged answer is asked for again: it may have been damaged on
// the way.
const badMax = 3

// start is where the buffer's memory begins.
func (b *buffer) start() int64 {
	if len(b.pieces) > 0 {
		return b.pieces[0].from
	}
	return b.next
}

// Long polls: how long a broker keeps a request for which it has nothing. It is shorter
// while some partition cannot be asked for because its buffer is full.
const (
	pollWait     = 250 * time.Millisecond
	pollWaitFull = 10 * time.Millisecond
)

func startFeed(t *table, c clock.Clock, cl *kgo.Client, changed chan struct{}, discover func(context.Context) (map[lane]int32, error)) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	f := &feed{t: t, clock: c, cl: cl, discover: discover, changed: changed, regroup: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	f.mu.lanes, f.mu.leaders, f.mu.moved = map[lane]*buffer{}, map[lane]int32{}, make(chan struct{})
	go func() {
		defer close(f.done)
		f.run(ctx)
	}()
	return f
}

func (f *feed) close() {
	f.cancel()
	<-f.done
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// movedLocked wakes who waits for room or for messages.
func (f *feed) movedLocked() {
	close(f.mu.moved)
	f.mu.moved = make(chan struct{})
}

// run looks for leaders and keeps a fetcher for each, until ctx is done. Fetchers go on
// while the brokers stay the same: each finds new partitions of its broker by itself.
func (f *feed) run(ctx context.Context) {
	stop := func() {}
	defer func() { stop() }()
	running := map[int32]bool{}
	for ctx.Err() == nil {
		leaders, err := f.discover(ctx)
		f.mu.Lock()
		if err == nil {
			f.mu.leaders = leaders
			f.movedLocked()
		}
		groups := map[int32]bool{}
		for l := range f.mu.lanes {
			if b, ok := f.mu.leaders[l]; ok && b >= 0 {
				groups[b] = true
			}
		}
		f.mu.Unlock()
		if !maps.Equal(groups, running) {
			stop()
			stop, running = f.group(ctx, groups), groups
		}
		f.await(ctx, err)
	}
}

// group starts a fetcher for each broker; stop ends them and waits.
func (f *feed) group(ctx context.Context, brokers map[int32]bool) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for broker := range brokers {
		wg.Go(func() { f.fetch(ctx, broker) })
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// await returns when leaders are to be looked for again.
func (f *feed) await(ctx context.Context, failed error) {
	after := f.t.discover
	if failed != nil {
		after = min(after, retryMax)
	}
	due := make(chan struct{})
	stop := f.clock.AfterFunc(after, func() { close(due) })
	defer stop()
	select {
	case <-ctx.Done():
	case <-due:
	case <-f.regroup:
	}
}

// fetch asks one broker again and again.
func (f *feed) fetch(ctx context.Context, broker int32) {
	pause := retryMin
	for ctx.Err() == nil {
		wants, full, caught, moved := f.wants(broker)
		if caught && clock.Wait(ctx, f.clock, f.pace.wait(f.clock.Now())) != nil {
			return
		}
		if len(wants) == 0 {
			select {
			case <-ctx.Done():
			case <-moved:
			}
			continue
		}
		wait := pollWait
		if full {
			wait = pollWaitFull
		}
		resp, err := f.t.request(wants, wait).RequestWith(ctx, f.cl.Broker(int(broker)))
		if err == nil {
			err = f.put(wants, f.t.answers(resp, wants))
		}
		if err == nil {
			pause = retryMin
			continue
		}
		if clock.Wait(ctx, f.clock, pause) == nil {
			poke(f.regroup)
		}
		pause = min(2*pause, retryMax)
	}
}

// wants lists the partitions of a broker that have room, in order. full says that some
// have none, caught that of each of them everything was in memory when it was asked last.
func (f *feed) wants(broker int32) (wants []want, full, caught bool, moved <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	room := max(f.t.prefetch/int64(max(1, len(f.mu.lanes))), 1<<14)
	caught = true
	for l, b := range f.mu.lanes {
		free := room - b.bytes
		switch {
		case f.mu.leaders[l] != broker || b.fault != nil:
		case free < room/8: // small pieces are not worth a request each
			full = true
		default:
			caught = caught && b.caught
			// An answer stays in memory until all of its pieces are read, so it is a part of the room.
			wants = append(wants, want{l, b.id, b.next, max(min(free, room/4)/max(1, b.grows), 1<<13), b.era})
		}
	}
	slices.SortFunc(wants, func(a, b want) int { return compareLanes(a.lane, b.lane) })
	return wants, full, caught && len(wants) > 0, f.mu.moved
}

// put takes what a broker answered. The error asks for another look at the leaders.
func (f *feed) put(wants []want, got map[lane]answer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var again error
	news := false
	for _, w := range wants {
		b, a := f.mu.lanes[w.lane], got[w.lane]
		if b == nil || b.id != w.id || b.next != w.at || b.fault != nil {
			continue // it was set elsewhere meanwhile
		}
		if _, ok := got[w.lane]; !ok {
			again = errors.New("a broker left a partition out of its answer")
			continue
		}
		switch {
		case a.to > w.at: // also of an answer that is damaged behind
			b.pieces, b.next, b.bytes, b.era = append(b.pieces, a.piece), a.to, b.bytes+a.bytes, a.era
			b.caught, b.bad, b.grows = a.err == nil && a.to >= a.end, 0, a.bytes/max(1, a.wire)
			news = true
		case errors.Is(a.err, kerr.OffsetOutOfRange), errors.Is(a.err, kerr.UnknownTopicID), errors.Is(a.err, kerr.InconsistentTopicID),
			errors.Is(a.err, kerr.TopicAuthorizationFailed), isCutOff(a.err):
			b.fault, news = a.err, true
		case errors.Is(a.err, errBatch) && b.bad == badMax:
			b.fault, news = a.err, true
		case a.err != nil:
			b.bad++
			again = a.err
		case !b.caught && a.to >= a.end:
			b.caught, news = true, true
		}
	}
	if news {
		f.movedLocked()
		poke(f.changed)
	}
	return again
}

// state is what the source needs to know of a partition from an offset on.
type state struct {
	end         int64 // of what is in memory
	rows, bytes int64
	known       bool // the offset is in memory, or next to come
	caught      bool
	fault       error
}

// track makes sure that partitions are fetched, from where they are to be read.
func (f *feed) track(p position) map[lane]state {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[lane]state{}
	added := false
	for l, s := range p.at {
		id := p.ids[l.topic]
		b := f.mu.lanes[l]
		if b == nil || b.id != id {
			b = &buffer{id: id, next: s.next, era: s.era}
			f.mu.lanes[l] = b
			added = true
		}
		st := state{end: s.next, fault: b.fault}
		if s.next >= b.start() && s.next <= b.next {
			st.end, st.known, st.caught = b.next, true, b.caught
			for _, p := range b.pieces {
				rows, bytes := p.behind(s.next)
				st.rows, st.bytes = st.rows+rows, st.bytes+bytes
			}
		}
		out[l] = st
	}
	for l := range f.mu.lanes {
		if _, ok := p.at[l]; !ok {
			delete(f.mu.lanes, l)
		}
	}
	if added {
		f.movedLocked()
		poke(f.regroup)
	}
	return out
}

// eras notes in a position what is known of the messages in front of it.
func (f *feed) eras(p *position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l, s := range p.at {
		b := f.mu.lanes[l]
		if b == nil || b.id != p.ids[l.topic] || s.era > 0 {
			continue
		}
		for _, piece := range b.pieces {
			if piece.from < s.next && s.next <= piece.to {
				s.era = piece.eraBefore(s.next)
			}
		}
		p.at[l] = s
	}
}

// reset makes a partition be fetched from another place.
func (f *feed) reset(l lane, id kadm.TopicID, at span) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.lanes[l] = &buffer{id: id, next: at.next, era: at.era}
	f.movedLocked()
	poke(f.regroup)
}

// release forgets what lies before a position.
func (f *feed) release(p position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l, s := range p.at {
		b := f.mu.lanes[l]
		if b == nil || b.id != p.ids[l.topic] {
			continue
		}
		b.dropTo(s.next)
		if b.next < s.next {
			f.mu.lanes[l] = &buffer{id: b.id, next: s.next, era: s.era}
			poke(f.regroup)
		}
	}
	f.movedLocked()
}

// dropTo forgets what lies before an offset.
func (b *buffer) dropTo(at int64) {
	for len(b.pieces) > 0 && b.pieces[0].from < at {
		_, tail := b.pieces[0].until(max(at, b.pieces[0].from))
		b.bytes -= b.pieces[0].bytes - tail.bytes
		if tail.from < tail.to {
			b.pieces[0] = tail
			return
		}
		b.pieces = slices.Delete(b.pieces, 0, 1)
	}
}

// take hands the next piece of [at, to) over, waiting for one that is being fetched. ok
// is false if it is not here and will not come, and has to be fetched directly.
func (f *feed) take(ctx context.Context, w want, to int64) (p piece, ok bool, err error) {
	for {
		f.mu.Lock()
		b := f.mu.lanes[w.lane]
		if b == nil || b.id != w.id || w.at < b.start() || w.at > b.next {
			f.mu.Unlock()
			return piece{}, false, nil
		}
		if w.at < b.next {
			b.dropTo(w.at)
			head, tail := b.pieces[0].until(to)
			b.bytes -= b.pieces[0].bytes - tail.bytes
			if tail.from < tail.to {
				b.pieces[0] = tail
			} else {
				b.pieces = slices.Delete(b.pieces, 0, 1)
			}
			f.movedLocked()
			f.mu.Unlock()
			return head, true, nil
		}
		moved := f.mu.moved
		lost := b.fault != nil || b.caught
		f.mu.Unlock()
		if lost {
			return piece{}, false, nil
		}
		select {
		case <-moved:
		case <-f.done:
			return piece{}, false, nil
		case <-ctx.Done():
			return piece{}, false, ctx.Err()
		}
	}
}

// hub lets the worker's half find the feeds of this process.
type hub struct {
	mu    sync.Mutex
	feeds map[string]*feed
}

func (h *hub) add(key string, f *feed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.feeds == nil {
		h.feeds = map[string]*feed{}
	}
	h.feeds[key] = f
}

func (h *hub) remove(key string, f *feed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.feeds[key] == f {
		delete(h.feeds, key)
	}
}

func (h *hub) find(key string) *feed {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.feeds[key]
}
