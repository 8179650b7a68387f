package kafka

import (
	"context"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/sinks"
)

// staged is the batch that is with the brokers and not decided.
type staged struct {
	want held
	sent bool     // all of it
	open bool     // in a transaction, which began with its first message
	keys []string // of the messages
}

// of reports whether all of a batch is with the brokers.
func (g *staged) of(want held) bool { return g.sent && g.want == want }

var _ sinks.Stager = (*sink)(nil)

// Stage sends a batch whose commit is being made durable, so that Commit has only to
// end its transaction: readers of committed messages see nothing of it before. At least
// once shows it at once: should the commit be lost, the batch's plan is not, and the
// same messages come again. Nothing is staged before a Commit of the same term has taken
// up the IDs and knows what the target holds (F1).
func (s *sink) Stage(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) {
	s.commits.Lock()
	defer s.commits.Unlock()
	want := wantOf(id, term, parts)
	if s.producers == nil || term != s.term || id != s.held.batch+1 || s.staged.open || s.staged.of(want) {
		return
	}
	all, err := s.waiting.gather(parts)
	if err != nil {
		return // Commit tells of it
	}
	if err := s.sendLocked(ctx, want, parts, all); err != nil {
		s.leaveLocked(ctx, true) // Commit begins anew
	}
}

func wantOf(id batch.ID, term batch.Term, parts []batch.Prepared) held {
	want := held{batch: id, term: term}
	for _, p := range parts {
		want.digest = want.digest.Add(p.Digest)
	}
	return want
}

// sendLocked sends a batch once, and leaves its transaction open.
func (s *sink) sendLocked(ctx context.Context, want held, parts []batch.Prepared, all map[int32][]sealed) error {
	s.staged = staged{want: want}
	if !s.t.once {
		err := s.cluster.send(ctx, s.producers[0], all)
		s.staged.sent = err == nil
		return err
	}
	group := ""
	if s.noted() {
		group = s.group
	} else if len(all) == 0 {
		return nil
	}
	for _, p := range parts {
		if len(p.Payload) > 0 {
			s.staged.keys = append(s.staged.keys, string(p.Payload))
		}
	}
	s.staged.open = true
	p := s.producerOf(want.batch)
	if err := s.cluster.begin(ctx, p, all, group); err != nil {
		return err
	}
	if err := s.cluster.send(ctx, p, all); err != nil {
		return err
	}
	if group != "" {
		if err := s.cluster.note(ctx, p, group, want); err != nil {
			return err
		}
	}
	s.staged.sent = true
	return nil
}

func (s *sink) producerOf(id batch.ID) *producer { return s.producers[int(id)%len(s.producers)] }

// showLocked ends the transaction of the batch that is staged.
func (s *sink) showLocked(ctx context.Context) error {
	if s.staged.open {
		if err := s.cluster.end(ctx, s.producerOf(s.staged.want.batch), true); err != nil {
			return err
		}
	}
	s.staged = staged{}
	return nil
}

// leaveLocked gives up what an attempt may have left open: readers would wait for it
// until it times out. Unless it is to be given up now, or ctx has ended, that is left to
// the next attempt, which takes the ID up at once and so ends the transaction. What
// became of the attempt is found out when the IDs are taken up again.
func (s *sink) leaveLocked(ctx context.Context, now bool) {
	left, producers := s.staged, s.producers
	s.staged, s.producers = staged{}, nil
	if !left.open || producers == nil || !now && ctx.Err() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	_, _ = s.cluster.take(ctx, producers[int(left.want.batch)%len(producers)].name) // best effort: the time-out does it else
}
