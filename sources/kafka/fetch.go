package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/kafkaclient"
)

// Bounds of one answer of a broker. A single larger message comes all the same.
const (
	answerBytes    = 16 << 20
	partitionBytes = 4 << 20
)

// piece is what was fetched of one partition: all messages of [from, to) that a reader
// of the table may see, which are often fewer than there are offsets.
type piece struct {
	from, to int64
	runs     []run
	bytes    int64
	era      int32 // of the message in front of to
}

// until cuts the piece in front of an offset. A run that the offset lies within is in both.
func (p piece) until(to int64) (head, tail piece) {
	if to >= p.to {
		return p, piece{from: p.to, to: p.to, era: p.era}
	}
	n := len(p.runs)
	for n > 0 && p.runs[n-1].first >= to {
		n--
	}
	head = piece{from: p.from, to: to, runs: p.runs[:n:n], era: p.eraBefore(to)}
	for i := range head.runs {
		head.bytes += head.runs[i].size()
	}
	tail = piece{from: to, to: p.to, runs: p.runs[n:], bytes: p.bytes - head.bytes, era: p.era}
	if n > 0 && p.runs[n-1].end > to {
		tail.runs = p.runs[n-1:]
		tail.bytes += p.runs[n-1].size()
	}
	return head, tail
}

// behind counts the messages from an offset on and their bytes, about.
func (p piece) behind(at int64) (rows, bytes int64) {
	for i := range p.runs {
		r := &p.runs[i]
		n := int64(r.count)
		if part := r.end - max(at, p.from, r.first); part <= 0 {
			continue
		} else if whole := r.end - r.first; part < whole {
			n = max(1, n*part/whole)
		}
		if over := r.end - p.to; over > 0 {
			n = max(1, n-over)
		}
		rows, bytes = rows+n, bytes+r.size()*n/int64(r.count)
	}
	return rows, bytes
}

// want is one partition of a fetch request.
type want struct {
	lane lane
	id   kadm.TopicID
	at   int64
	room int64 // bytes that the answer may have; 0 is partitionBytes
	era  int32 // of the message in front of at
}

// request asks one broker for several partitions.
func (t *table) request(wants []want, wait time.Duration) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = -1, int32(wait.Milliseconds()), 1, answerBytes
	req.SessionID, req.SessionEpoch = 0, -1 // each request stands alone
	if t.committed {
		req.IsolationLevel = 1
	}
	for _, w := range wants {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != w.lane.topic {
			topic := kmsg.NewFetchRequestTopic()
			topic.Topic, topic.TopicID = w.lane.topic, w.id
			req.Topics = append(req.Topics, topic)
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = w.lane.part, w.at, partitionBytes
		if w.room > 0 {
			p.PartitionMaxBytes = int32(min(w.room, partitionBytes))
		}
		p.CurrentLeaderEpoch, p.LastFetchedEpoch, p.LogStartOffset = -1, w.era-1, -1
		topic := &req.Topics[len(req.Topics)-1]
		topic.Partitions = append(topic.Partitions, p)
	}
	return req
}

// answer is what a broker says of one partition.
type answer struct {
	piece
	end  int64 // how far it can be read now
	wire int64 // its bytes on the way
	err  error
}

// answers takes a response apart. Partitions that were not asked for are left out.
func (t *table) answers(resp *kmsg.FetchResponse, wants []want) map[lane]answer {
	out := map[lane]answer{}
	byID := map[kadm.TopicID]string{}
	asked := map[lane]want{}
	for _, w := range wants {
		byID[w.id] = w.lane.topic
		asked[w.lane] = w
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		for l, w := range asked {
			out[l] = answer{piece: piece{from: w.at, to: w.at}, err: err}
		}
		return out
	}
	for i := range resp.Topics {
		rt := &resp.Topics[i]
		name := rt.Topic
		if name == "" {
			name = byID[rt.TopicID]
		}
		for j := range rt.Partitions {
			rp := &rt.Partitions[j]
			if w, ok := asked[lane{name, rp.Partition}]; ok {
				out[w.lane] = t.answer(rp, w)
			}
		}
	}
	return out
}

func (t *table) answer(rp *kmsg.FetchResponseTopicPartition, w want) answer {
	if cut := rp.DivergingEpoch; cut.EndOffset >= 0 && rp.ErrorCode == 0 {
		return answer{piece: piece{from: w.at, to: w.at, era: w.era}, end: rp.HighWatermark, err: &cutOff{cut.EndOffset}}
	}
	runs, next, era, err := t.runs(rp, w.at)
	if next <= w.at {
		era = w.era
	}
	if e := kerr.ErrorForCode(rp.ErrorCode); e != nil {
		err = e
	}
	a := answer{piece: piece{from: w.at, to: max(next, w.at), runs: runs, era: era}, end: rp.HighWatermark, wire: int64(len(rp.RecordBatches)), err: err}
	if t.committed {
		a.end = rp.LastStableOffset
	}
	for i := range runs {
		a.bytes += runs[i].size()
	}
	return a
}

// direct fetches one partition for a reader that finds nothing in a buffer.
type direct struct {
	t       *table
	clock   clock.Clock
	callers *callers
	*caller
	want want
	// leader is -1 when it has to be looked for.
	leader int32
	heard  bool // the leader is from before this reader: what is wrong with it is asked again
	failed bool // a request has failed
}

// metadataAge is for how long the client library may take what it knows of topics for
// the present, where it does so by itself.
const metadataAge = 50 * time.Millisecond

// topicsOf asks a broker for topics, all if none are named. It asks anew each time:
// who calls it has seen that something changed.
func topicsOf(ctx context.Context, cl *kgo.Client, names []string) ([]kmsg.MetadataResponseTopic, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &name
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	return resp.Topics, nil
}

func newDirect(cs *callers, w want) (*direct, error) {
	one, err := cs.take(w.lane)
	if err != nil {
		return nil, err
	}
	d := &direct{t: cs.t, clock: cs.clock, callers: cs, caller: one, want: w, leader: -1}
	if known, ok := one.leaders[w.lane]; ok && known.topic == w.id {
		d.leader, d.heard = known.node, true
	}
	return d, nil
}

const (
	retryMin = 10 * time.Millisecond
	retryMax = time.Second
	// directWait is how long the broker waits for messages that are known to be there.
	directWait = 100 * time.Millisecond
)

// fetch returns the next piece before to. What is there cannot be long in coming: a
// broker that has less than was planned once has lost it.
func (d *direct) fetch(ctx context.Context, from want, to int64) (piece, error) {
	at := from.at
	d.want.at, d.want.era = at, from.era
	end := d.clock.Now().Add(d.t.client.Timeout)
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		a, err := d.once(ctx)
		d.failed = d.failed || err != nil
		switch {
		case ctx.Err() != nil:
			return piece{}, ctx.Err()
		case err != nil && d.heard:
			d.forget()
			continue
		case err == nil && a.to > at:
			head, _ := a.until(to)
			return head, nil
		case errors.Is(err, kerr.OffsetOutOfRange), isCutOff(err):
			return piece{}, err
		case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.InconsistentTopicID):
			return piece{}, err
		case err != nil && !retriable(err):
			return piece{}, kafkaclient.Classify(fmt.Errorf("fetch %s: %w", d.want.lane, err))
		case d.clock.Now().After(end):
			if err == nil {
				return piece{}, kerr.OffsetOutOfRange
			}
			return piece{}, batch.ExternalError(fmt.Errorf("fetch %s at offset %d: %w", d.want.lane, at, err), true)
		}
		if err != nil {
			d.forget()
		}
		if err := clock.Wait(ctx, d.clock, pause); err != nil {
			return piece{}, err
		}
	}
}

// retriable reports whether an error may be gone when the leader is looked for again.
func retriable(err error) bool {
	var ke *kerr.Error
	return !errors.As(err, &ke) || ke.Retriable
}

func (d *direct) once(ctx context.Context) (answer, error) {
	if d.leader < 0 {
		topics, err := topicsOf(ctx, d.cl, []string{d.want.lane.topic})
		if err == nil && len(topics) != 1 {
			err = kerr.UnknownTopicOrPartition
		}
		if err == nil {
			err = kerr.ErrorForCode(topics[0].ErrorCode)
		}
		if err != nil {
			return answer{}, err
		}
		if d.want.id == (kadm.TopicID{}) {
			d.want.id = topics[0].TopicID
		}
		if topics[0].TopicID != d.want.id {
			return answer{}, kerr.UnknownTopicID
		}
		i := slices.IndexFunc(topics[0].Partitions, func(p kmsg.MetadataResponseTopicPartition) bool { return p.Partition == d.want.lane.part })
		if i < 0 || topics[0].Partitions[i].Leader < 0 {
			return answer{}, kerr.LeaderNotAvailable
		}
		d.leader = topics[0].Partitions[i].Leader
		d.leaders[d.want.lane] = leader{d.want.id, d.leader}
	}
	wants := []want{d.want}
	resp, err := d.t.request(wants, directWait).RequestWith(ctx, d.cl.Broker(int(d.leader)))
	if err != nil {
		return answer{}, err
	}
	a, ok := d.t.answers(resp, wants)[d.want.lane]
	if !ok {
		return answer{}, errors.New("the broker's answer is not about the partition")
	}
	return a, a.err
}

// bounds returns what the broker has of the partition.
func (d *direct) bounds(ctx context.Context) (start, end int64, err error) {
	l := d.want.lane
	adm := kadm.NewClient(d.cl)
	starts, err := adm.ListStartOffsets(ctx, l.topic)
	if err != nil {
		return 0, 0, err
	}
	ends, err := adm.ListEndOffsets(ctx, l.topic)
	if err != nil {
		return 0, 0, err
	}
	s, ok := starts.Lookup(l.topic, l.part)
	e, ok2 := ends.Lookup(l.topic, l.part)
	if !ok || !ok2 {
		return 0, 0, fmt.Errorf("the brokers do not tell what they have of %s", l)
	}
	return s.Offset, e.Offset, errors.Join(s.Err, e.Err)
}

// forget has the leader looked for again.
func (d *direct) forget() {
	d.leader, d.heard = -1, false
	delete(d.leaders, d.want.lane)
}

func (d *direct) close() { d.callers.give(d.caller, d.failed) }
