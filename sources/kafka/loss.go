package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/internal/kafkaclient"
)

// errAnotherTopic says that what seemed to be gone is a topic that was created again:
// the position has to be completed anew.
var errAnotherTopic = errors.New("a topic was created again")

// checkLossLocked compares where partitions are to be read with what the brokers have
// of them, and takes next behind what is gone, or says so.
func (s *source) checkLossLocked(ctx context.Context, next *position, starts, ends map[lane]int64) error {
	var doubt []lane
	for _, l := range next.lanes() {
		if at := next.at[l].next; at < starts[l] || at > ends[l] {
			doubt = append(doubt, l)
		}
	}
	if len(doubt) == 0 {
		return nil
	}
	// A topic that was created again has other offsets, and is no gap in this one.
	found, err := s.look(ctx)
	if err != nil {
		return err
	}
	s.mu.topology = found
	for _, l := range doubt {
		if !next.same(l.topic, found.ids[l.topic]) {
			return errAnotherTopic
		}
	}
	// A place by time may lie behind what is decided; that is not lost but to come.
	highs := ends
	if s.t.committed {
		if highs, err = s.list(ctx, *next, s.adm.ListEndOffsets); err != nil {
			return err
		}
	}
	for _, l := range doubt {
		if err := s.checkLoss(next, l, starts[l], highs[l]); err != nil {
			return err
		}
	}
	return nil
}

// checkLoss judges one partition.
func (s *source) checkLoss(next *position, l lane, start, end int64) error {
	at := next.at[l]
	if at.next >= start && at.next <= end {
		return nil
	}
	g := gap{l.topic, l.part, at.next, start}
	to := start
	if at.next > end {
		g, to = gap{l.topic, l.part, end, at.next}, end
	}
	if s.t.failOnLoss {
		return s.t.lost(g, start, end)
	}
	next.lost = append(next.lost, g)
	next.at[l] = span{first: min(at.first, to), next: to}
	s.feed.reset(l, next.ids[l.topic], next.at[l])
	return nil
}

// askCut asks the brokers whether what was read last is in their logs: nothing has been
// fetched behind it yet, which would have told.
func (s *source) askCut(ctx context.Context, next position, faulty map[lane]error) error {
	byLeader := map[int32]*kmsg.OffsetForLeaderEpochRequest{}
	for _, l := range next.lanes() {
		at := next.at[l]
		if at.era == 0 || faulty[l] != nil || s.mu.topology == nil {
			continue
		}
		leader := s.mu.topology.leaders[l]
		req := byLeader[leader]
		if req == nil {
			req = kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.ReplicaID, byLeader[leader] = -1, req
		}
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != l.topic {
			t := kmsg.NewOffsetForLeaderEpochRequestTopic()
			t.Topic = l.topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = l.part, -1, at.era-1
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	for leader, req := range byLeader {
		resp, err := req.RequestWith(ctx, s.cl.Broker(int(leader)))
		if err != nil {
			return kafkaclient.Classify(fmt.Errorf("%s: ask where leader epochs end: %w", s.t.spec, err))
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				l := lane{t.Topic, p.Partition}
				if p.ErrorCode == 0 && p.EndOffset >= 0 && p.EndOffset < next.at[l].next {
					faulty[l] = &cutOff{p.EndOffset}
				}
			}
		}
	}
	return nil
}

// checkCut judges partitions of which a broker says that their log is another one from
// some place on. What was fetched and not read yet is fetched anew; of what was read
// nobody can take anything back.
func (s *source) checkCut(next *position, faulty map[lane]error, starts, ends map[lane]int64) error {
	for _, l := range next.lanes() {
		at := next.at[l]
		var cut *cutOff
		if !errors.As(faulty[l], &cut) || cut.end >= at.next {
			continue
		}
		g := gap{l.topic, l.part, max(cut.end, starts[l]), at.next}
		if s.t.failOnLoss {
			return s.t.replaced(g)
		}
		next.lost = append(next.lost, g)
		next.at[l] = span{first: min(at.first, g.From), next: g.From}
	}
	return nil
}

// replaced is the error for messages that were read, and in whose place others are.
func (t *table) replaced(g gap) error {
	return t.userError("topic %q, partition %d: offsets %d to %d were read and are gone: the log was cut off there, and other messages were written in their place. To read those, set 'fail-on-data-loss' = 'false'",
		g.Topic, g.Partition, g.From, g.To-1)
}

// lost is the error for a gap.
func (t *table) lost(g gap, start, end int64) error {
	if g.To >= 0 && g.From >= g.To {
		g.From, g.To = g.To, g.From
	}
	if g.To > end && g.From >= end { // they were read: somebody cut the log, or lost its end
		return t.userError("topic %q, partition %d: offsets %d to %d were read and are gone: the topic has %d to %d now. What comes there next are other messages. To read them, set 'fail-on-data-loss' = 'false'",
			g.Topic, g.Partition, g.From, g.To-1, start, end)
	}
	what := fmt.Sprintf("offsets %d to %d are gone", g.From, g.To-1)
	if g.To < 0 {
		what = fmt.Sprintf("the offsets from %d on are gone", g.From)
	}
	return t.userError("topic %q, partition %d: %s before they were read: the topic has %d to %d now. To go on behind them, set 'fail-on-data-loss' = 'false'",
		g.Topic, g.Partition, what, start, end)
}
