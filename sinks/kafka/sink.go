package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/kafkaclient"
	"github.com/sluice-stream/sluice/internal/lock"
	"github.com/sluice-stream/sluice/sinks"
)

// attemptsMax is how often one Commit begins anew after a doubt. The driver asks what
// the target holds, and tries again, after that.
const attemptsMax = 3

// leaveTime bounds the giving up of a transaction when its commit was cancelled.
const leaveTime = 5 * time.Second

// impatience is how long Holds waits for transactions of others to be decided before
// it takes their IDs up: one that a crash left open is never decided by itself.
const impatience = 100 * time.Millisecond

// sink is the driver's half.
type sink struct {
	t       *target
	cluster *cluster
	waiting *waiting
	group   string

	// commits is held while anything is decided.
	commits   lock.Mutex
	term      batch.Term
	producers []*producer // nil: they have to be taken up
	held      held
	staged    staged
	verdicts  map[string]verdict // by transactional ID, until nothing is left that hangs
	looked    bool               // for what may hang, in this life
}

var _ sinks.Sink = (*sink)(nil)

func open(t *target, clk clock.Clock) (sinks.Sink, sinks.WriterFactory, error) {
	c := &cluster{t: t, clock: clk}
	w := &waiting{bytesMax: t.bytesMax, table: t.spec.Table, by: map[string]*prepared{}}
	s := &sink{t: t, cluster: c, waiting: w, group: t.group(), held: held{batch: batch.None}}
	if t.oneShot {
		// Nobody comes back for it, so that nothing needs to be read again.
		s.group = fmt.Sprintf("%s-once-%s", t.prefix, uuid.NewString())
	}
	return s, &factory{t: t, c: c, w: w}, nil
}

// noted reports whether the target keeps the batch's ID.
func (s *sink) noted() bool { return s.t.once && !s.t.oneShot }

func (s *sink) Commit(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	s.commits.Lock()
	defer s.commits.Unlock()
	if term < s.term {
		return s.older(term, s.term)
	}
	s.term = term
	want := wantOf(id, term, parts)
	if s.staged.open && !s.staged.of(want) {
		s.leaveLocked(ctx, false)
	}
	var last error
	for range attemptsMax {
		if s.producers == nil {
			if last = s.takeLocked(ctx); last != nil {
				if s.final(ctx, last) {
					return last
				}
				continue
			}
		}
		if id <= s.held.batch {
			if id == s.held.batch && s.noted() && s.held.digest != want.digest {
				return fmt.Errorf("table %q: topic %q holds batch %d with digest %s, it is to be committed with %s", s.t.spec.Table, s.t.topic, id, s.held.digest, want.digest)
			}
			s.forget(id)
			return nil
		}
		if !s.staged.of(want) {
			all, err := s.waiting.gather(parts)
			if err != nil {
				return fmt.Errorf("table %q: commit batch %d: %w", s.t.spec.Table, id, err)
			}
			last = s.sendLocked(ctx, want, parts, all)
		}
		if last == nil {
			last = s.showLocked(ctx)
		}
		if last == nil {
			s.held = want
			s.forget(id)
			s.afterTroubleLocked(ctx)
			return nil
		}
		s.leaveLocked(ctx, false)
		if s.final(ctx, last) {
			break
		}
	}
	return kafkaclient.Classify(fmt.Errorf("table %q: commit batch %d to topic %q: %w", s.t.spec.Table, id, s.t.topic, last))
}

// final reports whether another attempt cannot mend an error. Being fenced can be
// mended: who did it may have been of an older term.
func (s *sink) final(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, batch.ErrFenced) {
		return true
	}
	if k, _ := batch.KindOf(err); k == batch.User {
		return true
	}
	for _, e := range []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.TopicAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed,
		kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.InvalidTransactionTimeout, kerr.InvalidRecord, kerr.InvalidTimestamp} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *sink) older(term, newer batch.Term) error {
	return fmt.Errorf("sink %q under term %d, topic %q has seen term %d: %w", s.t.spec.Name, term, s.t.topic, newer, batch.ErrFenced)
}

// takeLocked takes all transactional IDs up and reads what the target holds. It is
// read before, too, so that an older leader does not disturb a newer one.
func (s *sink) takeLocked(ctx context.Context) error {
	if !s.t.once {
		p, err := s.cluster.take(ctx, "")
		if err == nil {
			s.producers = []*producer{p}
		}
		return err
	}
	n := 1
	if s.noted() {
		n = s.t.ids
		h, err := s.cluster.holds(ctx, s.group, stable)
		if err != nil && !errors.Is(err, kerr.UnstableOffsetCommit) {
			return kafkaclient.Classify(err)
		}
		if err == nil && h.term > s.term {
			return s.older(s.term, h.term)
		}
	}
	producers, err := s.takeAllLocked(ctx, n)
	if err != nil {
		return err
	}
	if s.noted() {
		h, err := s.cluster.holds(ctx, s.group, patient)
		if err != nil {
			return kafkaclient.Classify(err)
		}
		if h.term > s.term {
			return s.older(s.term, h.term)
		}
		s.held = h
	}
	s.producers = producers
	return nil
}

func (s *sink) takeAllLocked(ctx context.Context, n int) ([]*producer, error) {
	if s.noted() {
		if err := s.hearLocked(ctx); err != nil {
			return nil, err
		}
	}
	producers := make([]*producer, n)
	g, gctx := errgroup.WithContext(ctx)
	for i := range producers {
		g.Go(func() (err error) {
			name := s.group
			if s.noted() {
				name = s.t.transactionalID(i)
			}
			producers[i], err = s.cluster.take(gctx, name)
			return err
		})
	}
	if err := g.Wait(); err != nil || !s.noted() {
		return producers, err
	}
	return producers, s.mendLocked(ctx, producers)
}

// forget drops messages that will not be sent any more.
func (s *sink) forget(id batch.ID) {
	s.waiting.drop(func(_ string, p *prepared) bool { return p.id <= id })
}

func (s *sink) Abort(ctx context.Context, _ batch.ID, term batch.Term, parts []batch.Prepared) error {
	s.commits.Lock()
	defer s.commits.Unlock()
	newest := s.term
	if s.noted() && term >= newest {
		h, err := s.cluster.holds(ctx, s.group, stable)
		if err != nil && !errors.Is(err, kerr.UnstableOffsetCommit) {
			return kafkaclient.Classify(err)
		}
		newest = max(newest, h.term)
	}
	if term < newest {
		return s.older(term, newest)
	}
	keys := map[string]bool{}
	for _, p := range parts {
		keys[string(p.Payload)] = true
	}
	if s.staged.open && slices.ContainsFunc(s.staged.keys, func(k string) bool { return keys[k] }) {
		s.leaveLocked(ctx, true)
	}
	s.waiting.drop(func(key string, _ *prepared) bool { return keys[key] })
	return nil
}

// Holds reads what the target holds. At least once keeps nothing there.
func (s *sink) Holds(ctx context.Context) (batch.ID, batch.Digest, error) {
	s.commits.Lock()
	defer s.commits.Unlock()
	if !s.noted() {
		return s.held.batch, batch.Digest{}, nil
	}
	h, err := s.settledLocked(ctx)
	if err != nil {
		return batch.None, batch.Digest{}, kafkaclient.Classify(err)
	}
	return h.batch, h.digest, nil
}

// settledLocked reads what the target holds, of which a crash may have left
// something undecided.
func (s *sink) settledLocked(ctx context.Context) (held, error) {
	if s.staged.open { // it is this sink's own, and not decided until Commit or Close
		return s.cluster.holds(ctx, s.group, decided)
	}
	if s.producers != nil {
		return s.cluster.holds(ctx, s.group, patient)
	}
	for waited := time.Duration(0); ; waited += impatience / 10 {
		h, err := s.cluster.holds(ctx, s.group, stable)
		if err != nil && !errors.Is(err, kerr.UnstableOffsetCommit) {
			return h, err
		}
		if err == nil {
			hangs, err := s.hangsLocked(ctx)
			if err != nil || len(hangs) == 0 {
				return h, err
			}
		}
		if waited >= impatience {
			break
		}
		if err := clock.Wait(ctx, s.cluster.clock, impatience/10); err != nil {
			return h, err
		}
	}
	if _, err := s.takeAllLocked(ctx, s.t.ids); err != nil {
		return held{}, err
	}
	s.looked = true
	return s.cluster.holds(ctx, s.group, patient)
}

// Close gives up a transaction that waits for its batch's commit: nobody will tell of it.
func (s *sink) Close() error {
	s.commits.Lock()
	defer s.commits.Unlock()
	s.leaveLocked(context.Background(), true)
	s.cluster.close()
	return nil
}
