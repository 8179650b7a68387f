package raftlog

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// Create adds a query to the catalog. ErrExists: its name is taken. An ID is drawn if
// it has none; who draws it before may ask again after an error without making two.
func (n *Node) Create(ctx context.Context, q Query) (Query, error) {
	if q.ID == "" {
		id, err := drawUUID()
		if err != nil {
			return Query{}, err
		}
		q.ID = batch.QueryID(id)
	}
	if q.Created.IsZero() {
		q.Created = time.Now()
	}
	if q.KeyGroups == 0 {
		q.KeyGroups = batch.KeyGroups
	}
	if q.Wanted == 0 {
		q.Wanted = Running
	}
	if q.Name == "" || q.KeyGroups < 0 || q.Parallelism < 0 {
		return Query{}, batch.UserErrorf("create query %q with %d key groups and parallelism %d", q.Name, q.KeyGroups, q.Parallelism)
	}
	return n.propose(ctx, createQuery{q})
}

// Alter replaces a query's spec. ErrRevision: it is no longer at the given revision.
func (n *Node) Alter(ctx context.Context, id batch.QueryID, revision uint64, s Spec) (Query, error) {
	if s.Wanted < Running || s.Wanted > Dropped || s.Parallelism < 0 {
		return Query{}, batch.UserErrorf("alter query %s to %s with parallelism %d", id, s.Wanted, s.Parallelism)
	}
	return n.propose(ctx, alterQuery{id, revision, s})
}

// Forget removes a query that is wanted Dropped, with its batch log.
func (n *Node) Forget(ctx context.Context, id batch.QueryID, revision uint64) error {
	_, err := n.propose(ctx, forgetQuery{id, revision})
	return err
}

// Assign notes who runs a life of a query; batch.ErrFenced: it is no longer the newest.
func (n *Node) Assign(ctx context.Context, id batch.QueryID, term batch.Term, a Assignment) error {
	for _, p := range a.Partitions {
		if p < 0 || p >= len(a.Workers) {
			return fmt.Errorf("assign a partition of query %s to worker %d of %d", id, p, len(a.Workers))
		}
	}
	_, err := n.propose(ctx, assign{id, term, a})
	return err
}

// Catalog lists the queries by name, with all that was acknowledged to anybody before
// the call. Only the leader can tell.
func (n *Node) Catalog(ctx context.Context) (qs []Query, err error) {
	if err := n.barrier(ctx); err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	return n.Known(), nil
}

// Known lists the queries as this node knows them, which may be behind the leader.
func (n *Node) Known() (qs []Query) {
	n.fsm.read(func(s *state) { qs = s.catalog() })
	return qs
}

// Query returns a query as this node knows it.
func (n *Node) Query(id batch.QueryID) (q Query, ok bool) {
	n.fsm.read(func(s *state) {
		if known := s.queries[id]; known != nil {
			q, ok = known.query, true
		}
	})
	return q, ok
}

// Records returns the batch log of a query as this node knows it, for looking at it.
func (n *Node) Records(id batch.QueryID) ([]microbatch.Record, error) {
	stored, err := n.records(id, 0)
	if err != nil {
		return nil, err
	}
	recs := make([]microbatch.Record, len(stored))
	for i, s := range stored {
		if recs[i], err = microbatch.DecodeRecord(s.b); err != nil {
			return nil, fmt.Errorf("batch log of query %s: %w: %w", id, ErrDamaged, err)
		}
	}
	return recs, nil
}
