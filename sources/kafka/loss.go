package kafka

import (
	"context"
	"errors"
	"fmt"
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
	at.next, at.first = to, min(at.first, to)
	next.at[l] = at
	s.feed.reset(l, next.ids[l.topic], to)
	return nil
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
