package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/kafkaclient"
	"github.com/sluice-stream/sluice/sources"
)

// payload is what a split says: the offsets [From, To) of a partition.
type payload struct {
	Topic     string `json:"topic"`
	ID        []byte `json:"id,omitempty"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
	Era       int32  `json:"era,omitempty"` // of the message in front of From
}

func (p payload) bytes() []byte {
	b, _ := json.Marshal(p) // texts and numbers always can be
	return b
}

// opener is the worker's half.
type opener struct {
	t       *table
	hub     *hub
	callers *callers
}

func newOpener(t *table, h *hub, c clock.Clock) *opener {
	return &opener{t: t, hub: h, callers: &callers{t: t, clock: c}}
}

var _ sources.Opener = (*opener)(nil)

func (o *opener) Open(_ context.Context, s batch.Split, columns []int, alloc memory.Allocator) (sources.Reader, error) {
	var p payload
	err := json.Unmarshal(s.Payload, &p)
	var id kadm.TopicID
	if err == nil && (p.Topic == "" || p.Partition < 0 || p.From < 0 || p.To < p.From || copy(id[:], p.ID) != len(p.ID)) {
		err = errors.New("it names no offsets")
	}
	if err != nil {
		return nil, fmt.Errorf("open split %d of %s: %w", s.Index, o.t.spec, err)
	}
	d, err := newDecoder(o.t, columns, alloc)
	if err != nil {
		return nil, fmt.Errorf("open split %d of %s: %w", s.Index, o.t.spec, err)
	}
	return &reader{
		t: o.t, callers: o.callers, feed: o.hub.find(o.t.key()), d: d, alloc: alloc, end: p.To,
		want: want{lane: lane{p.Topic, p.Partition}, id: id, at: p.From, era: max(0, p.Era)},
	}, nil
}

// reader reads one split.
type reader struct {
	t       *table
	callers *callers
	feed    *feed // nil: nothing is in memory
	direct  *direct
	d       *decoder
	alloc   memory.Allocator
	want    want // at is where the next piece begins
	end     int64
	in      cursor // of the piece in hand
	failed  error
	// came are the times of the messages; count of the last ones, of millis, are to be added.
	came   batch.Arrivals
	millis int64
	count  int64

	setAside func(row batch.BadRow) error // nil: nobody takes bad rows
	aside    *formats.Aside
}

var (
	_ sources.Reader      = (*reader)(nil)
	_ sources.Quarantiner = (*reader)(nil)
	_ sources.Dated       = (*reader)(nil)
)

// SetAside implements sources.Quarantiner. A message's place stands for that of a row.
func (r *reader) SetAside(to func(row batch.BadRow) error) {
	if !formats.Quarantines(r.t.config) {
		return
	}
	r.setAside = func(row batch.BadRow) error {
		row.File = r.want.lane.String()
		return to(row)
	}
	r.aside = formats.NewAside(formats.File{}, 0, r.setAside)
}

func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	rec, err := r.next(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		r.failed = err
	}
	return rec, err
}

func (r *reader) next(ctx context.Context) (arrow.RecordBatch, error) {
	var m message
	for size := int64(0); r.d.Rows() < formats.BatchRows && size < formats.BatchBytes; {
		ok, err := r.in.next(&m)
		if err != nil {
			return nil, batch.ExternalError(fmt.Errorf("%s: %w", r.t.spec, err), false)
		}
		if !ok {
			if r.arrived(); r.want.at >= r.end {
				break
			}
			if err := r.pull(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if r.d.Rows()&255 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		if m.millis != r.millis {
			r.arrived()
		}
		r.millis, r.count = m.millis, r.count+1
		size += int64(len(m.key) + len(m.value))
		if err := r.decode(ctx, &m); err != nil {
			return nil, err
		}
	}
	r.arrived()
	if r.d.Rows() == 0 {
		return nil, io.EOF
	}
	rec := r.d.Flush()
	out, err := r.aside.Clean(rec, r.alloc)
	if err == nil && out.NumRows() == 0 {
		out.Release()
		return r.next(ctx) // nothing but bad ones so far
	}
	return out, err
}

// arrived notes the messages of one time.
func (r *reader) arrived() {
	if r.count > 0 {
		r.came.Add(batch.EventTime(r.millis*1000), r.count)
	}
	r.count = 0
}

// Arrived implements sources.Dated: a message's timestamp is when it came.
func (r *reader) Arrived() batch.Arrivals { return r.came }

// decode appends the rows of a message.
func (r *reader) decode(ctx context.Context, m *message) error {
	rows, err := r.d.add(ctx, m)
	if err == nil {
		return nil
	}
	if k, _ := batch.KindOf(err); k == batch.External || ctx.Err() != nil {
		return err // a registry cannot be reached: it is not about the message
	}
	if r.aside == nil {
		return r.t.userError("topic %q, partition %d, offset %d: %v", m.lane.topic, m.lane.part, m.offset, err)
	}
	for i := range rows {
		r.aside.Drop(r.d.Rows() - rows + i)
	}
	return r.aside.Add(m.value, 0, m.offset, err.Error())
}

// pull gets the next piece, from memory or from the broker.
func (r *reader) pull(ctx context.Context) error {
	if r.feed != nil {
		p, ok, err := r.feed.take(ctx, r.want, r.end)
		if err != nil {
			return err
		}
		if ok {
			r.in, r.want.at, r.want.era = newCursor(r.want.lane, p), p.to, p.era
			return nil
		}
		r.feed = nil
	}
	if r.direct == nil {
		var err error
		if r.direct, err = newDirect(r.callers, r.want); err != nil {
			return err
		}
	}
	p, err := r.direct.fetch(ctx, r.want, r.end)
	if errors.Is(err, kerr.OffsetOutOfRange) || errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.InconsistentTopicID) || isCutOff(err) {
		return r.gone(ctx, err)
	}
	if err != nil {
		return err
	}
	r.in, r.want.at, r.want.era = newCursor(r.want.lane, p), p.to, p.era
	return nil
}

// gone judges messages that were planned and are not there: the query stops, or goes
// on with what is left of the split.
func (r *reader) gone(ctx context.Context, cause error) error {
	l := r.want.lane
	var cut *cutOff
	if errors.As(cause, &cut) {
		if r.t.failOnLoss {
			return r.t.replaced(gap{l.topic, l.part, cut.end, r.want.at})
		}
		r.want.era = 0
		return nil // what is there now is read
	}
	if !errors.Is(cause, kerr.OffsetOutOfRange) {
		if r.t.failOnLoss {
			return r.t.userError("topic %q was deleted, or deleted and created again: offsets %d to %d of partition %d are gone before they were read. To go on without them, set 'fail-on-data-loss' = 'false'",
				l.topic, r.want.at, r.end-1, l.part)
		}
		return r.skip(r.end)
	}
	start, end, err := r.direct.bounds(ctx)
	if err != nil {
		return kafkaclient.Classify(fmt.Errorf("%s: ask what is there of %s: %w", r.t.spec, l, err))
	}
	to := r.end
	if start > r.want.at {
		to = min(start, r.end)
	}
	if r.t.failOnLoss {
		return r.t.lost(gap{l.topic, l.part, r.want.at, to}, start, end)
	}
	return r.skip(to)
}

// skip notes a gap with the bad rows, if somebody takes them.
func (r *reader) skip(to int64) error {
	from := r.want.at
	r.want.at = to
	if r.setAside == nil {
		return nil
	}
	return r.setAside(batch.BadRow{Offset: from, Reason: fmt.Sprintf("offsets %d to %d were gone before they were read", from, to-1)})
}

func (r *reader) Close() error {
	if r.d == nil {
		return nil
	}
	r.d.Release()
	r.d, r.in = nil, cursor{}
	if r.failed == nil {
		r.failed = io.EOF
	}
	if r.direct != nil {
		r.direct.close()
	}
	return nil
}
