package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/kafkaclient"
)

// A transaction hangs when its partitions never hear how it ended: the coordinator
// says that it is complete, and readers of committed messages wait behind it for
// ever. Kafka 4.3 does that when a broker is killed between the decision and the
// markers: about one kill in ten, while batches follow each other closely, on a
// cluster of one broker. The coordinator has forgotten the partitions by then, but
// not its decision, until the transactional ID is taken up again.
//
// So that is asked first, and when the ID has been taken up and something cannot be
// read to its end, a transaction without messages goes over the same partitions and
// the group's offset, and ends as the one that hangs was decided: its markers are
// what was missing. Markers where nothing hangs do no harm.

// verdict is how the last transaction of an ID was decided.
type verdict struct {
	id     int64
	epoch  int16
	commit bool
}

// hearLocked asks the coordinator how the IDs' last transactions were decided. It has
// to know all of them, or it is an error: to take an ID up wipes the decision out.
// Brokers without the second version of transactions cannot be asked: there a message
// that came late may hang behind a transaction that it was no part of.
func (s *sink) hearLocked(ctx context.Context) error {
	cl, v2, err := s.cluster.client(ctx)
	if err != nil || !v2 {
		return err
	}
	if s.verdicts == nil {
		s.verdicts = map[string]verdict{}
	}
	req := kmsg.NewPtrDescribeTransactionsRequest()
	for i := range s.t.ids {
		req.TransactionalIDs = append(req.TransactionalIDs, s.t.transactionalID(i))
	}
	// One that is being decided is decided already: prepared is the decision.
	var states []kmsg.DescribeTransactionsResponseTransactionState
	err = s.cluster.patiently(ctx, func() error {
		states = states[:0]
		for _, shard := range cl.RequestSharded(ctx, req) {
			if shard.Err != nil {
				return shard.Err
			}
			for _, x := range shard.Resp.(*kmsg.DescribeTransactionsResponse).TransactionStates {
				err := kerr.ErrorForCode(x.ErrorCode)
				if err != nil && !errors.Is(err, kerr.TransactionalIDNotFound) {
					return err
				}
				states = append(states, x)
			}
		}
		return nil
	})
	if errors.Is(err, kerr.TransactionalIDAuthorizationFailed) {
		return nil // who may not ask is not told; the rest goes as without
	}
	if err != nil {
		return kafkaclient.Classify(fmt.Errorf("table %q: ask how the last transactions of %q were decided: %w", s.t.spec.Table, s.group, err))
	}
	for _, x := range states {
		switch x.State {
		case "PrepareCommit", "CompleteCommit":
			s.verdicts[x.TransactionalID] = verdict{x.ProducerID, x.ProducerEpoch, true}
		case "Ongoing", "PrepareAbort", "CompleteAbort", "PrepareEpochFence":
			s.verdicts[x.TransactionalID] = verdict{x.ProducerID, x.ProducerEpoch, false}
		case "Empty": // taken up since: what was heard before that still holds
			if v, ok := s.verdicts[x.TransactionalID]; ok && v.id == x.ProducerID {
				v.epoch = x.ProducerEpoch
				s.verdicts[x.TransactionalID] = v
			}
		}
	}
	return nil
}

// mendLocked ends what hangs, with IDs that were just taken up.
func (s *sink) mendLocked(ctx context.Context, producers []*producer) error {
	_, v2, err := s.cluster.client(ctx)
	if err != nil || !v2 {
		return err
	}
	hangs, unsure, err := s.stuckLocked(ctx)
	if err != nil {
		return err
	}
	if len(hangs) > 0 || unsure {
		for i, p := range producers {
			commit := s.decidedLocked(ctx, i, p, unsure)
			if err := s.cluster.enlist(ctx, p, hangs, s.group); err != nil {
				return kafkaclient.Classify(fmt.Errorf("table %q: end transactions that hang: %w", s.t.spec.Table, err))
			}
			if err := s.cluster.end(ctx, p, commit); err != nil {
				return kafkaclient.Classify(fmt.Errorf("table %q: end transactions that hang: %w", s.t.spec.Table, err))
			}
		}
	}
	s.verdicts, s.looked = nil, true
	return nil
}

// decidedLocked says how what hangs of an ID is to end. If nobody can tell any more,
// because a process died right here before this one, the batch's ID tells, which is
// decided with it: what is held was committed, and if that cannot be read, because it
// hangs as well, nobody has seen anything of the batch, and it comes again.
func (s *sink) decidedLocked(ctx context.Context, i int, p *producer, unsure bool) bool {
	if v, ok := s.verdicts[p.name]; ok {
		// Somebody who took the ID up in between has aborted what was open.
		return v.commit && v.id == p.id && p.epoch == v.epoch+1
	}
	if unsure {
		return false
	}
	h, err := s.cluster.holds(ctx, s.group, stable)
	return err == nil && h.batch >= 0 && int(h.batch)%s.t.ids == i
}

// stuckLocked finds what cannot be read to its end although nothing of ours is open,
// and stays so for a moment: others may write to the topic in transactions, too.
func (s *sink) stuckLocked(ctx context.Context) (hangs []int32, unsure bool, err error) {
	for waited := time.Duration(0); ; waited += impatience / 10 {
		if hangs, err = s.unreadable(ctx); err != nil {
			return nil, false, err
		}
		_, err := s.cluster.holds(ctx, s.group, stable)
		if unsure = errors.Is(err, kerr.UnstableOffsetCommit); err != nil && !unsure {
			return nil, false, kafkaclient.Classify(err)
		}
		if len(hangs) == 0 && !unsure || waited >= impatience {
			return hangs, unsure, nil
		}
		if err := clock.Wait(ctx, s.cluster.clock, impatience/10); err != nil {
			return nil, false, err
		}
	}
}

// hangsLocked is what a start looks for, once: it is the only one to see what a crash
// of the broker left behind the last batch.
func (s *sink) hangsLocked(ctx context.Context) ([]int32, error) {
	if _, v2, err := s.cluster.client(ctx); err != nil || !v2 || s.looked {
		return nil, err
	}
	hangs, err := s.unreadable(ctx)
	s.looked = err == nil && len(hangs) == 0
	return hangs, err
}

// unreadable lists the partitions whose last messages are not decided.
func (s *sink) unreadable(ctx context.Context) ([]int32, error) {
	cl, _, err := s.cluster.client(ctx)
	if err != nil {
		return nil, err
	}
	leaders, _, err := s.cluster.topic(ctx, false)
	if err != nil {
		return nil, err
	}
	var ends [2]map[int32]int64 // of all messages, of those that are decided
	for isolation := range ends {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID, req.IsolationLevel = -1, int8(isolation)
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = s.t.topic
		for part := range leaders {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp, p.CurrentLeaderEpoch = int32(part), -1, -1
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
		ends[isolation] = map[int32]int64{}
		err := s.cluster.patiently(ctx, func() error {
			resp, err := req.RequestWith(ctx, cl)
			if err != nil {
				return err
			}
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						return err
					}
					ends[isolation][p.Partition] = p.Offset
				}
			}
			return nil
		})
		if err != nil {
			return nil, kafkaclient.Classify(fmt.Errorf("table %q: ask how far topic %q can be read: %w", s.t.spec.Table, s.t.topic, err))
		}
	}
	var out []int32
	for part, end := range ends[0] {
		if ends[1][part] < end {
			out = append(out, part)
		}
	}
	slices.Sort(out)
	return out, nil
}

// afterTroubleLocked takes the IDs up again when connections have broken since the
// last time: what a broker had promised before it died may hang, and if no batch
// follows nobody else looks. The batch is shown, so that a failure here is the next
// commit's business.
func (s *sink) afterTroubleLocked(ctx context.Context) {
	if !s.noted() || s.cluster.trouble.n.Swap(0) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	s.producers = nil
	_ = s.takeLocked(ctx)
}

// trouble counts what went wrong with connections.
type trouble struct{ n atomic.Int64 }

var (
	_ kgo.HookBrokerConnect = (*trouble)(nil)
	_ kgo.HookBrokerE2E     = (*trouble)(nil)
)

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (t *trouble) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil {
		t.n.Add(1)
	}
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (t *trouble) OnBrokerE2E(_ kgo.BrokerMetadata, _ int16, e kgo.BrokerE2E) {
	if e.Err() != nil {
		t.n.Add(1)
	}
}
