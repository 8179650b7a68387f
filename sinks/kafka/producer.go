package kafka

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/fault"
	"github.com/sluice-stream/sluice/internal/kafkaclient"
	"github.com/sluice-stream/sluice/internal/mutant"
)

// producer is one transactional ID, or with an empty name the one of no transactions.
type producer struct {
	name  string
	id    int64
	epoch int16
	next  map[int32]int32 // sequence number by partition
}

// stamp makes a record batch this producer's next one in a partition.
func (p *producer) stamp(part int32, s sealed) []byte {
	b := s.stamp(p.id, p.epoch, p.next[part], p.name != "")
	p.next[part] = int32((int64(p.next[part]) + int64(s.count)) & 0x7fffffff)
	return b
}

// take takes a transactional ID up: who had it before is fenced, and what was open ended.
func (c *cluster) take(ctx context.Context, name string) (*producer, error) {
	if mutant.On(mutant.IDPerAttempt) && name != "" {
		name += rand.Text()
	}
	p := &producer{name: name, next: map[int32]int32{}}
	err := c.patiently(ctx, func() error {
		cl, _, err := c.client(ctx)
		if err != nil {
			return err
		}
		req := kmsg.NewPtrInitProducerIDRequest()
		if name != "" {
			req.TransactionalID = &p.name
		}
		req.TransactionTimeoutMillis = int32(c.t.timeout.Milliseconds())
		resp, err := req.RequestWith(ctx, cl)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			return err
		}
		p.id, p.epoch = resp.ProducerID, resp.ProducerEpoch
		return nil
	})
	if err != nil {
		return nil, kafkaclient.Classify(fmt.Errorf("table %q: take up transactional ID %q: %w", c.t.spec.Table, name, err))
	}
	return p, nil
}

// passing are the errors that time mends.
var passing = []error{kerr.ConcurrentTransactions, kerr.UnstableOffsetCommit, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable}

// patiently repeats what fails because the transaction before is being ended, or because
// nobody coordinates yet, as on a cluster that has never seen a transaction.
func (c *cluster) patiently(ctx context.Context, do func() error) error {
	end := c.clock.Now().Add(c.t.client.Timeout)
	for pause := pauseMin; ; pause = min(2*pause, pauseMax) {
		err := do()
		if !slices.ContainsFunc(passing, func(e error) bool { return errors.Is(err, e) }) || c.clock.Now().After(end) {
			return err
		}
		if werr := clock.Wait(ctx, c.clock, pause); werr != nil {
			return werr
		}
	}
}

// begin names to the coordinator what the transaction is about to touch, which later
// brokers find out by themselves.
func (c *cluster) begin(ctx context.Context, p *producer, all map[int32][]sealed, group string) error {
	_, v2, err := c.client(ctx)
	if err != nil || v2 {
		return err
	}
	return c.enlist(ctx, p, slices.Sorted(maps.Keys(all)), group)
}

// enlist adds partitions of the topic, and the offset of a group unless it is "", to
// the transaction, which begins with it.
func (c *cluster) enlist(ctx context.Context, p *producer, parts []int32, group string) error {
	cl, _, err := c.client(ctx)
	if err != nil {
		return err
	}
	if len(parts) > 0 {
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = p.name, p.id, p.epoch
		t := kmsg.NewAddPartitionsToTxnRequestTopic()
		t.Topic, t.Partitions = c.t.topic, parts
		req.Topics = append(req.Topics, t)
		err := c.patiently(ctx, func() error {
			resp, err := req.RequestWith(ctx, cl)
			if err != nil {
				return err
			}
			for _, t := range resp.Topics {
				for _, part := range t.Partitions {
					if err := kerr.ErrorForCode(part.ErrorCode); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("add partitions to the transaction: %w", err)
		}
	}
	if group == "" {
		return nil
	}
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = p.name, p.id, p.epoch, group
	err = c.patiently(ctx, func() error {
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	})
	if err != nil {
		return fmt.Errorf("add the offset to the transaction: %w", err)
	}
	return nil
}

// note commits the batch's ID, as the metadata of an offset, in the transaction.
func (c *cluster) note(ctx context.Context, p *producer, group string, h held) error {
	cl, _, err := c.client(ctx)
	if err != nil {
		return err
	}
	_, id, err := c.topic(ctx, false)
	if err != nil {
		return err
	}
	text := h.text()
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = p.name, group, p.id, p.epoch, -1
	t := kmsg.NewTxnOffsetCommitRequestTopic()
	t.Topic, t.TopicID = c.t.topic, id
	part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	part.Offset, part.LeaderEpoch, part.Metadata = int64(h.batch)+1, -1, &text
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	err = c.patiently(ctx, func() error {
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
			return errors.New("the answer is not about the offset")
		}
		return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	})
	if err != nil {
		return fmt.Errorf("note the batch in group %q: %w", group, err)
	}
	return nil
}

// end commits the transaction or gives it up.
func (c *cluster) end(ctx context.Context, p *producer, commit bool) error {
	cl, _, err := c.client(ctx)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = p.name, p.id, p.epoch, commit
	err = c.patiently(ctx, func() error {
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return err
		}
		if resp.Version >= 5 && resp.ProducerID >= 0 {
			p.id, p.epoch = resp.ProducerID, resp.ProducerEpoch
			clear(p.next) // each transaction is an epoch of its own
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("end the transaction: %w", err)
	}
	if commit {
		fault.Hit(fault.C7)
	}
	return nil
}

// reading says what becomes of a read while a transaction on the group is not decided.
type reading int

const (
	stable  reading = iota // it fails
	patient                // it waits for the decision, which is what every decision needs
	decided                // it tells of what was decided before
)

// holds reads what the group's metadata tells.
func (c *cluster) holds(ctx context.Context, group string, how reading) (held, error) {
	h := held{batch: batch.None}
	if mutant.On(mutant.RecordUnread) {
		return h, nil
	}
	cl, _, err := c.client(ctx)
	if err != nil {
		return h, err
	}
	_, id, err := c.topic(ctx, false)
	if err != nil {
		return h, err
	}
	ask := func() error {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.RequireStable, req.Group = how != decided, group
		old := kmsg.NewOffsetFetchRequestTopic()
		old.Topic, old.Partitions = c.t.topic, []int32{0}
		req.Topics = append(req.Topics, old)
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = group
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.TopicID, t.Partitions = c.t.topic, id, []int32{0}
		g.Topics = append(g.Topics, t)
		req.Groups = append(req.Groups, g)
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		text, err := metadataIn(resp)
		if err != nil {
			return err
		}
		h, err = parseHeld(text)
		return err
	}
	// Of a group that nobody wrote to yet, brokers say that it is not there, or nothing.
	if how == patient {
		err = c.patiently(ctx, ask)
	} else {
		err = ask()
	}
	if errors.Is(err, kerr.GroupIDNotFound) {
		return held{batch: batch.None}, nil
	}
	if err != nil {
		return h, fmt.Errorf("table %q: read what topic %q holds from group %q: %w", c.t.spec.Table, c.t.topic, group, err)
	}
	return h, nil
}

// metadataIn finds the metadata of the only offset that was asked for; "" if there is none.
func metadataIn(resp *kmsg.OffsetFetchResponse) (string, error) {
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return "", err
	}
	for _, g := range resp.Groups {
		if err := kerr.ErrorForCode(g.ErrorCode); err != nil {
			return "", err
		}
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return "", err
				}
				if p.Metadata != nil && p.Offset >= 0 {
					return *p.Metadata, nil
				}
			}
		}
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return "", err
			}
			if p.Metadata != nil && p.Offset >= 0 {
				return *p.Metadata, nil
			}
		}
	}
	return "", nil
}
