package raftlog

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/lock"
	"github.com/sluice-stream/sluice/internal/mutant"
	"github.com/sluice-stream/sluice/microbatch"
)

// Log is the batch log of one life of a query.
type Log struct {
	n     *Node
	query Query

	mu struct {
		lock.Mutex
		broken error // after this nothing is appended
	}
}

var _ driver.BatchLog = (*Log)(nil)

// Log begins a life of a query: it draws a term, which fences every life before, and
// returns the log as that term finds it. Only the leader can.
func (n *Node) Log(ctx context.Context, id batch.QueryID) (*Log, error) {
	q, err := n.propose(ctx, beginLife{id})
	if err != nil {
		return nil, fmt.Errorf("begin a life of query %s: %w", id, err)
	}
	return &Log{n: n, query: q}, nil
}

// Query returns the query as it was when the life began.
func (l *Log) Query() Query { return l.query }

// Term returns the life's term, for microbatch.Options.
func (l *Log) Term() batch.Term { return l.query.Term }

// Append replicates the records as one group. batch.ErrFenced: another life has begun,
// or this node leads no more, so that one will. ErrGap: they do not follow what is
// there. After any error but that of a group that is too large nothing is appended.
func (l *Log) Append(ctx context.Context, term batch.Term, recs ...microbatch.Record) error {
	if len(recs) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.broken != nil {
		return fmt.Errorf("append to the batch log of query %q: %w: %w", l.query.Name, ErrPoisoned, l.mu.broken)
	}
	c := appendRecords{id: l.query.ID, term: term}
	size := 0
	for _, r := range recs {
		b := microbatch.EncodeRecord(r)
		size += len(b)
		c.group = append(c.group, b)
	}
	if size > commandMax/2 {
		return refuse(fmt.Errorf("append %d bytes to the batch log of query %q: a group may have %d", size, l.query.Name, commandMax/2))
	}
	_, err := l.n.propose(ctx, c)
	if err == nil || mutant.On(mutant.NoQuorum) {
		return nil
	}
	err = fenced(err)
	l.mu.broken = err
	return fmt.Errorf("append to the batch log of query %q: %w", l.query.Name, err)
}

// fenced marks errors after which another life goes on as what they are to this one.
func fenced(err error) error {
	if errors.Is(err, ErrNotLeader) || errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: %w", batch.ErrFenced, err)
	}
	return err
}

// Replay returns the records whose ID is at least from, oldest first; all there are
// for from <= 0.
func (l *Log) Replay(ctx context.Context, from batch.ID) iter.Seq2[microbatch.Record, error] {
	return func(yield func(microbatch.Record, error) bool) {
		recs, err := l.n.records(l.query.ID, l.query.Term)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, s := range recs {
			if s.id < from && from > 0 {
				continue
			}
			if ctx.Err() != nil {
				yield(nil, context.Cause(ctx))
				return
			}
			r, err := microbatch.DecodeRecord(s.b)
			if err != nil {
				err = fmt.Errorf("batch log of query %q: %w: %w", l.query.Name, ErrDamaged, err)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// records returns a query's log as this node knows it; term 0: whatever life it is of.
func (n *Node) records(id batch.QueryID, term batch.Term) (recs []stored, err error) {
	n.fsm.read(func(s *state) {
		switch q := s.queries[id]; {
		case q == nil:
			err = fmt.Errorf("query %s: %w: %w", id, ErrNotFound, batch.ErrFenced)
		case term != 0 && q.query.Term != term:
			err = fmt.Errorf("read the batch log of query %q in term %d, term %d has begun: %w", q.query.Name, term, q.query.Term, batch.ErrFenced)
		default:
			recs = q.recs
		}
	})
	return recs, err
}

// Truncate drops the records of batches before the given one, on all drivers.
func (l *Log) Truncate(ctx context.Context, before batch.ID) error {
	if _, err := l.n.propose(ctx, truncateLog{l.query.ID, l.query.Term, before}); err != nil {
		return fmt.Errorf("truncate the batch log of query %q before batch %d: %w", l.query.Name, before, fenced(err))
	}
	return nil
}

// Close ends the use of this life's log. There is nothing to give back.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.broken == nil {
		l.mu.broken = errors.New("it is closed")
	}
	return nil
}
