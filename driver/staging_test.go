package driver

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/sinks"
)

// stager is a shelf that wants to know of batches before their commit.
type stager struct {
	*shelf
	told map[batch.ID][]batch.Prepared // under shelf.mu
	came chan batch.ID
}

func newStager(s *shelf) *stager {
	return &stager{shelf: s, told: map[batch.ID][]batch.Prepared{}, came: make(chan batch.ID, 100)}
}

func (s *stager) Stage(_ context.Context, id batch.ID, _ batch.Term, parts []batch.Prepared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id > s.last+1 {
		s.wrong = errors.Join(s.wrong, errors.New("a batch is staged while the one before is not shown"))
	}
	s.told[id] = parts
	s.came <- id
}

func (s *stager) Commit(ctx context.Context, id batch.ID, term batch.Term, parts []batch.Prepared) error {
	s.mu.Lock()
	if told, ok := s.told[id]; ok && !reflect.DeepEqual(told, parts) {
		s.wrong = errors.Join(s.wrong, errors.New("another output is committed than was staged"))
	}
	s.mu.Unlock()
	return s.shelf.Commit(ctx, id, term, parts)
}

// waitingLog makes a commit durable only when its batch is staged. If refuse is set it
// then fails instead.
type waitingLog struct {
	memLog
	came   chan batch.ID
	refuse error
	held   func() batch.ID
	early  bool // something was shown before its commit was durable
}

func (l *waitingLog) Append(ctx context.Context, term batch.Term, recs ...microbatch.Record) error {
	for _, r := range recs {
		if c, ok := r.(microbatch.Committed); ok {
			for id := range l.came {
				if id == c.Batch {
					break
				}
			}
			l.early = l.early || l.held() >= c.Batch
			if l.refuse != nil {
				return l.refuse
			}
		}
	}
	return l.memLog.Append(ctx, term, recs...)
}

// TestStage: a sink is told of a batch while its commit is being made durable, and
// shows it after that; and never, if the commit fails.
func TestStage(t *testing.T) {
	for _, refuse := range []error{nil, errors.New("the disk is gone")} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, 30)
			defer b.close()
			out := newStager(b.out)
			log := &waitingLog{came: out.came, refuse: refuse, held: func() batch.ID {
				b.out.mu.Lock()
				defer b.out.mu.Unlock()
				return b.out.last
			}}
			b.opt.Log, b.opt.Sinks = log, map[string]sinks.Sink{"out#0": out}
			q := b.start()
			if refuse == nil {
				for end := int64(30); end <= 90; end += 30 {
					b.src.grow(end)
					if err := q.ProcessAllAvailable(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if err := q.Stop(t.Context(), false); err != nil {
					t.Fatal(err)
				}
				b.out.check(t, 90)
			} else if err := q.Await(t.Context()); !errors.Is(err, refuse) {
				t.Fatalf("ended with %v", err)
			}
			if log.early || refuse != nil && b.out.last != batch.None {
				t.Error("a batch is shown whose commit is not durable")
			}
			if len(out.told) == 0 || b.out.wrong != nil {
				t.Errorf("%d batches were staged, %v", len(out.told), b.out.wrong)
			}
		})
	}
}
