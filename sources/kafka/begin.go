package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/sluice-stream/sluice/batch"
)

// beginLocked completes a position: partitions that it does not have are there with the
// place where they begin, and topics that were created again begin anew.
//
// start says that the query has no position yet: what is new later is read from its
// beginning, also of a pattern that matched nothing at first (FLINK-32019).
func (s *source) beginLocked(ctx context.Context, at position, start bool) (position, error) {
	found, err := s.topologyLocked(ctx)
	if err != nil {
		return at, err
	}
	next := at.clone()
	// A list that lacks partitions is an old one or one of a broker that starts:
	// partitions never go while their topic stays.
	for l := range at.at {
		id, ok := found.ids[l.topic]
		if ok && !at.same(l.topic, id) {
			continue
		}
		if _, there := found.leaders[l]; !ok || !there {
			if found, err = s.look(ctx); err != nil {
				return at, err
			}
			s.mu.topology = found
			if _, there := found.leaders[l]; !there && at.same(l.topic, found.ids[l.topic]) {
				return at, batch.ExternalError(s.t.userError("partition %d of topic %q was read to offset %d, and the brokers do not have it", l.part, l.topic, at.at[l].next), true)
			}
		}
	}
	for topic, id := range found.ids {
		if _, known := at.ids[topic]; known && !at.same(topic, id) {
			if err := s.createdAgain(&next, topic, id); err != nil {
				return at, err
			}
		}
		next.ids[topic] = id
	}
	var fresh []lane
	for l := range found.leaders {
		if _, ok := next.at[l]; !ok {
			fresh = append(fresh, l)
		}
	}
	return next, s.firstLocked(ctx, &next, fresh, start)
}

// createdAgain takes a topic out of the position that is another one of the same name.
func (s *source) createdAgain(next *position, topic string, id kadm.TopicID) error {
	for _, l := range next.lanes() {
		if l.topic != topic {
			continue
		}
		if s.t.failOnLoss {
			return s.t.userError("topic %q was deleted and created again (its ID was %v and is %v): partition %d was read to offset %d, and what came behind it is gone. To read the new topic from its beginning, set 'fail-on-data-loss' = 'false'",
				topic, next.ids[topic], id, l.part, next.at[l].next)
		}
		next.lost = append(next.lost, gap{l.topic, l.part, next.at[l].next, -1})
		delete(next.at, l)
		delete(s.mu.first, l)
	}
	return nil
}

// firstLocked finds out where partitions begin that the position does not have.
func (s *source) firstLocked(ctx context.Context, next *position, fresh []lane, start bool) error {
	ask := newPosition()
	for _, l := range fresh {
		if _, ok := s.mu.first[l]; !ok {
			ask.at[l] = span{}
		}
	}
	if len(ask.at) > 0 {
		where := place{all: earliest}
		if start && s.t.start.set {
			where = s.t.start
		}
		first, err := s.resolve(ctx, ask, where)
		if err != nil {
			return err
		}
		for l, at := range first {
			s.mu.first[l] = at
		}
	}
	for _, l := range fresh {
		next.at[l] = span{first: s.mu.first[l], next: s.mu.first[l]}
	}
	return nil
}

// resolve turns a place into offsets.
func (s *source) resolve(ctx context.Context, p position, where place) (map[lane]int64, error) {
	if where.byTime {
		return s.list(ctx, p, func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
			return s.adm.ListOffsetsAfterMilli(ctx, where.all, topics...)
		})
	}
	starts, ends, err := s.bounds(ctx, p)
	if err != nil {
		return nil, err
	}
	out := map[lane]int64{}
	for l := range p.at {
		at, ok := where.exact[l]
		if !ok {
			at = where.all
		}
		switch at {
		case earliest:
			at = starts[l]
		case latest:
			at = ends[l]
		default:
			if at > ends[l] {
				return nil, s.t.userError("partition %d of topic %q has offsets %d to %d: there is no place to begin or end at %d", l.part, l.topic, starts[l], ends[l], at)
			}
			if at < starts[l] {
				return nil, s.t.lost(gap{l.topic, l.part, at, starts[l]}, starts[l], ends[l])
			}
		}
		out[l] = at
	}
	return out, nil
}

// endLocked cuts ends to where reading is to end.
func (s *source) endLocked(ctx context.Context, next position, ends map[lane]int64) error {
	if !s.t.end.set {
		return nil
	}
	if s.mu.ends == nil {
		at, err := s.resolve(ctx, next, s.t.end)
		if err != nil {
			return err
		}
		s.mu.ends = at
	}
	for l := range ends {
		ends[l] = max(min(ends[l], s.mu.ends[l]), min(ends[l], next.at[l].next))
	}
	return nil
}
