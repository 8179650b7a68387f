package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/kafkaclient"
	"github.com/sluice-stream/sluice/internal/lock"
	"github.com/sluice-stream/sluice/sources"
)

// source is the driver's half.
type source struct {
	t       *table
	clock   clock.Clock
	cl      *kgo.Client
	adm     *kadm.Client
	feed    *feed // nil for a table of what is there now
	hub     *hub
	changed chan struct{}
	// publisher is nil without a group.
	publisher *publisher

	mu struct {
		lock.Mutex
		topology *topology      // newest that was found
		first    map[lane]int64 // where reading begins, as far as it was asked
		ends     map[lane]int64 // where reading ends, once it is known
		waiting  time.Time      // since when too few offsets wait for a batch; zero: none do
		stop     func() bool    // of the timer that ends the waiting
	}
	// parsed are the positions that were asked about last. They are not changed.
	parsed struct {
		sync.Mutex
		next  int
		texts [8]batch.Offset
		at    [8]position
	}
}

var (
	_ sources.Source   = (*source)(nil)
	_ sources.Notifier = (*source)(nil)
	_ sources.Bounded  = (*source)(nil)
	_ sources.Follower = (*source)(nil)
)

// topology is what is there to read.
type topology struct {
	ids     map[string]kadm.TopicID
	leaders map[lane]int32
}

func open(t *table, c clock.Clock, h *hub) (*source, error) {
	cl, err := t.client.Open(kgo.MetadataMinAge(metadataAge))
	if err != nil {
		return nil, err
	}
	s := &source{t: t, clock: c, cl: cl, adm: kadm.NewClient(cl), hub: h, changed: make(chan struct{}, 1)}
	s.mu.first = map[lane]int64{}
	if t.spec.Stream {
		s.feed = startFeed(t, c, cl, s.changed, s.discover)
		h.add(t.key(), s.feed)
		if t.group != "" {
			s.publisher = startPublisher(s)
		}
	}
	return s, nil
}

// key is the same for both halves of a table of one query.
func (t *table) key() string {
	return strings.Join(append([]string{t.spec.Dir, t.spec.Name, t.spec.Table, fmt.Sprint(t.committed)}, t.client.Brokers...), "\x00")
}

func (s *source) Schema() *arrow.Schema { return s.t.schema }

func (s *source) Changed() <-chan struct{} { return s.changed }

// position takes an offset apart. The same few are asked about again and again, with
// each answer of a broker. Who gets it must not change it.
func (s *source) position(o batch.Offset) (position, error) {
	c := &s.parsed
	c.Lock()
	i := slices.Index(c.texts[:], o)
	if i >= 0 && o != "" {
		defer c.Unlock()
		return c.at[i], nil
	}
	c.Unlock()
	p, err := parsePosition(o)
	if err == nil && o != "" {
		s.keep(o, p)
	}
	return p, err
}

// keep remembers what an offset's text says.
func (s *source) keep(o batch.Offset, p position) {
	c := &s.parsed
	c.Lock()
	defer c.Unlock()
	c.texts[c.next], c.at[c.next] = o, p
	c.next = (c.next + 1) % len(c.texts)
}

// look asks the brokers what there is to read.
func (s *source) look(ctx context.Context) (*topology, error) {
	details, err := topicsOf(ctx, s.cl, s.t.topics) // all, for a pattern
	if err != nil {
		return nil, kafkaclient.Classify(fmt.Errorf("%s: look for topics at %v: %w", s.t.spec, s.t.client.Brokers, err))
	}
	found := &topology{ids: map[string]kadm.TopicID{}, leaders: map[lane]int32{}}
	for _, d := range details {
		if d.Topic == nil || s.t.pattern != nil && (d.IsInternal || !s.t.pattern.MatchString(*d.Topic)) {
			continue
		}
		name := *d.Topic
		if err := kerr.ErrorForCode(d.ErrorCode); err != nil {
			return nil, kafkaclient.Classify(fmt.Errorf("%s: topic %q: %w", s.t.spec, name, err))
		}
		if len(d.Partitions) == 0 { // a broker that starts: no topic is without any (SPARK-41375)
			return nil, batch.ExternalError(s.t.userError("topic %q: the brokers told of no partitions", name), true)
		}
		found.ids[name] = d.TopicID
		for _, p := range d.Partitions {
			if l := (lane{name, p.Partition}); s.t.wants(l) {
				found.leaders[l] = p.Leader
			}
		}
	}
	for name, parts := range s.t.assign {
		for _, part := range parts {
			if _, ok := found.leaders[lane{name, part}]; !ok {
				return nil, s.t.userError("option 'assign': topic %q has no partition %d", name, part)
			}
		}
	}
	return found, nil
}

// discover looks again, for the feed, and tells the driver if there is something new.
func (s *source) discover(ctx context.Context) (map[lane]int32, error) {
	found, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	old := s.mu.topology
	s.mu.topology = found
	s.mu.Unlock()
	if old != nil && (len(old.leaders) != len(found.leaders) || !maps.Equal(old.ids, found.ids)) {
		poke(s.changed)
	}
	return found.leaders, nil
}

// topology returns what was found last.
func (s *source) topologyLocked(ctx context.Context) (*topology, error) {
	if s.mu.topology == nil {
		found, err := s.look(ctx)
		if err != nil {
			return nil, err
		}
		s.mu.topology = found
	}
	return s.mu.topology, nil
}

// Latest returns how far can be read: what is in memory, or if that is nothing, what
// the brokers say.
func (s *source) Latest(ctx context.Context, from batch.Offset, limit sources.Limit) (batch.Offset, error) {
	at, err := s.position(from)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.t.spec, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var next position
	var ends map[lane]int64
	var perRow int64
	for range 2 { // the second time, of a topic that was created again since it was looked for
		if next, err = s.beginLocked(ctx, at, from == ""); err != nil {
			return "", err
		}
		if from == "" && s.t.spec.Stream && s.t.start.moves() {
			// Where a query began at the end of what was there is durable before anything
			// more comes: a batch without rows holds it (FLINK-28303).
			return next.offset(), nil
		}
		if !s.t.spec.Stream {
			return s.allLocked(ctx, from, next)
		}
		if ends, perRow, err = s.readable(ctx, &next); !errors.Is(err, errAnotherTopic) {
			break
		}
	}
	if err != nil {
		return "", kafkaclient.Classify(err)
	}
	if ends == nil && len(next.lost) == 0 {
		return from, nil
	}
	if err := s.endLocked(ctx, next, ends); err != nil {
		return "", err
	}
	rows := s.rows(limit, perRow)
	to := next.limited(ends, rows)
	to.lost = next.lost
	if s.tooFewLocked(next, to, rows) || total(next, to) == 0 && len(to.lost) == 0 {
		return from, nil
	}
	if text, ok := s.told(to); ok {
		return text, nil
	}
	s.feed.eras(&to)
	text := to.offset()
	s.keep(text, to)
	return text, nil
}

// told returns the text by which a position was told before: what is known of the
// messages in front of it may be forgotten meanwhile, or have come.
func (s *source) told(p position) (batch.Offset, bool) {
	c := &s.parsed
	c.Lock()
	defer c.Unlock()
	for i, o := range c.at {
		if c.texts[i] != "" && maps.Equal(o.ids, p.ids) && slices.Equal(o.lost, p.lost) &&
			maps.EqualFunc(o.at, p.at, func(a, b span) bool { return a.first == b.first && a.next == b.next }) {
			return c.texts[i], true
		}
	}
	return "", false
}

// rows is how many offsets a batch may take; 0 is no limit.
func (s *source) rows(limit sources.Limit, perRow int64) int64 {
	rows := s.t.rows
	tighten := func(n int64) {
		if n > 0 && (rows == 0 || n < rows) {
			rows = n
		}
	}
	tighten(limit.Rows)
	for _, bytes := range []int64{limit.Bytes, s.t.bytes} {
		if bytes > 0 && perRow > 0 {
			tighten(max(1, bytes/perRow))
		}
	}
	return rows
}

// total counts the offsets between two positions.
func total(from, to position) int64 {
	n := int64(0)
	for l, s := range to.at {
		n += s.next - from.at[l].next
	}
	return n
}

// tooFewLocked reports whether a batch should wait for more, and has it asked for when
// it has waited long enough.
func (s *source) tooFewLocked(from, to position, rows int64) bool {
	n := total(from, to)
	least := s.t.min
	if rows > 0 {
		least = min(least, rows)
	}
	if n >= least || n == 0 {
		s.notWaitingLocked()
		return false
	}
	now := s.clock.Now()
	if s.mu.waiting.IsZero() {
		s.mu.waiting = now
		s.mu.stop = s.clock.AfterFunc(s.t.delay, func() { poke(s.changed) })
	}
	if now.Sub(s.mu.waiting) < s.t.delay {
		return true
	}
	s.notWaitingLocked()
	return false
}

func (s *source) notWaitingLocked() {
	if s.mu.stop != nil {
		s.mu.stop()
	}
	s.mu.stop, s.mu.waiting = nil, time.Time{}
}

// allLocked is the end of a table that is read as it is now.
func (s *source) allLocked(ctx context.Context, from batch.Offset, next position) (batch.Offset, error) {
	if from != "" {
		return from, nil
	}
	_, ends, err := s.bounds(ctx, next)
	if err != nil {
		return "", err
	}
	if err := s.endLocked(ctx, next, ends); err != nil {
		return "", err
	}
	return next.limited(ends, 0).offset(), nil
}

// readable says how far each partition can be read: to the end of what is in memory,
// if that is anything, else as the brokers say. nil is nothing. Offsets that are gone
// are skipped in next, or an error.
func (s *source) readable(ctx context.Context, next *position) (ends map[lane]int64, perRow int64, err error) {
	ends = map[lane]int64{}
	var rows, bytes int64
	caught, known := true, true
	faulty := map[lane]error{}
	for l, st := range s.feed.track(*next) {
		ends[l] = st.end
		rows, bytes = rows+st.rows, bytes+st.bytes
		caught, known = caught && st.caught, known && st.known
		if errors.Is(st.fault, errBatch) {
			return nil, 0, batch.ExternalError(fmt.Errorf("%s: %s: %w", s.t.spec, l, st.fault), false)
		}
		if st.fault != nil {
			faulty[l] = st.fault
		}
	}
	if rows > 0 {
		perRow = max(1, bytes/rows)
	}
	if len(faulty) == 0 && known && rows > 0 {
		return ends, perRow, nil
	}
	if len(faulty) == 0 && caught {
		return nil, 0, nil
	}
	starts, ends, err := s.bounds(ctx, *next)
	if err != nil {
		return nil, 0, err
	}
	if err := s.askCut(ctx, *next, faulty); err != nil {
		return nil, 0, err
	}
	if err := s.checkCut(next, faulty, starts, ends); err != nil {
		return nil, 0, err
	}
	if err := s.checkLossLocked(ctx, next, starts, ends); err != nil {
		return nil, 0, err
	}
	for l, fault := range faulty { // whatever it was, it is judged again from here
		at := next.at[l]
		if !isCutOff(fault) {
			at.era = 0 // a broker that does not know of it would say so for ever
		}
		s.feed.reset(l, next.ids[l.topic], at)
	}
	return ends, perRow, nil
}

// bounds asks what the brokers have of a position's partitions: the first offset and
// the one behind the last that can be read.
func (s *source) bounds(ctx context.Context, p position) (starts, ends map[lane]int64, err error) {
	if starts, err = s.list(ctx, p, s.adm.ListStartOffsets); err != nil {
		return nil, nil, err
	}
	ends, err = s.listEnds(ctx, p)
	return starts, ends, err
}

func (s *source) listEnds(ctx context.Context, p position) (map[lane]int64, error) {
	if s.t.committed {
		return s.list(ctx, p, s.adm.ListCommittedOffsets)
	}
	return s.list(ctx, p, s.adm.ListEndOffsets)
}

func (s *source) list(ctx context.Context, p position, ask func(context.Context, ...string) (kadm.ListedOffsets, error)) (map[lane]int64, error) {
	topics := map[string]bool{}
	for l := range p.at {
		topics[l.topic] = true
	}
	out := map[lane]int64{}
	if len(topics) == 0 {
		return out, nil
	}
	names := make([]string, 0, len(topics))
	for name := range topics {
		names = append(names, name)
	}
	listed, err := ask(ctx, names...)
	if err != nil {
		return nil, kafkaclient.Classify(fmt.Errorf("%s: ask for offsets: %w", s.t.spec, err))
	}
	for l := range p.at {
		o, ok := listed.Lookup(l.topic, l.part)
		if ok && o.Err == nil && o.Offset >= 0 {
			out[l] = o.Offset
			continue
		}
		if !ok || o.Err == nil {
			o.Err = errors.New("the brokers do not tell")
		}
		return nil, kafkaclient.Classify(fmt.Errorf("%s: ask for the offsets of partition %d of topic %q: %w", s.t.spec, l.part, l.topic, o.Err))
	}
	return out, nil
}

// Plan cuts a range into a split for each partition, by the position's text alone.
func (s *source) Plan(_ context.Context, r batch.Range) ([]batch.Split, error) {
	if s.feed != nil {
		s.feed.pace.planned(s.clock.Now())
	}
	from, err := s.position(r.Start)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.t.spec, err)
	}
	to, err := s.position(r.End)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.t.spec, err)
	}
	gone := map[lane]gap{}
	for _, g := range to.lost {
		gone[lane{g.Topic, g.Partition}] = g
	}
	var splits []batch.Split
	for _, l := range to.lanes() {
		end := to.at[l]
		start, era := end.first, int32(0)
		if was, ok := from.at[l]; ok && from.same(l.topic, to.ids[l.topic]) {
			g, lost := gone[l]
			switch {
			case lost && g.To >= 0 && g.From < was.next: // what was read there is another message now
				start = g.From
			case lost:
				start = max(was.next, min(g.To, end.next))
			default:
				start, era = was.next, was.era
			}
		}
		if start >= end.next {
			continue
		}
		id := to.ids[l.topic]
		splits = append(splits, batch.Split{
			Source: r.Source, Index: len(splits), Payload: payload{l.topic, id[:], l.part, start, end.next, era}.bytes(),
			Rows: end.next - start, Partition: l.String(),
		})
	}
	return splits, nil
}

// Release forgets what is committed. It says, too, why offsets could not be published,
// which stops nobody.
func (s *source) Release(_ context.Context, to batch.Offset) error {
	p, err := s.position(to)
	if err != nil {
		return fmt.Errorf("%s: %w", s.t.spec, err)
	}
	if s.feed != nil {
		s.feed.release(p)
	}
	if s.publisher != nil {
		return s.publisher.failure()
	}
	return nil
}

// Shown publishes how far the query is.
func (s *source) Shown(to batch.Offset) {
	if s.publisher != nil {
		s.publisher.offer(to)
	}
}

// Ended reports whether a stream with an end has come to it.
func (s *source) Ended(at batch.Offset) bool {
	if !s.t.spec.Stream || !s.t.end.set {
		return false
	}
	p, err := s.position(at)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || s.mu.ends == nil || s.mu.topology == nil {
		return false
	}
	for l := range s.mu.topology.leaders {
		if p.at[l].next < s.mu.ends[l] {
			return false
		}
		if _, ok := p.at[l]; !ok && s.mu.ends[l] > s.mu.first[l] {
			return false
		}
	}
	return true
}

func (s *source) Close() error {
	if s.feed != nil {
		s.hub.remove(s.t.key(), s.feed)
		s.feed.close()
	}
	if s.publisher != nil {
		s.publisher.close()
	}
	s.mu.Lock()
	s.notWaitingLocked()
	s.mu.Unlock()
	s.cl.Close()
	return nil
}
