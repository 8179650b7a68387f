package raftlog

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// queriesMax bounds the catalog: each driver holds all of it.
const queriesMax = 10_000

// state is the state machine: a function of the commands applied, without clock,
// I/O or randomness. What it hands out is never changed in place, so that a
// snapshot is a copy of the maps.
type state struct {
	cluster string
	queries map[batch.QueryID]*queryState
	names   map[string]batch.QueryID // in lower case
	drivers map[string]Driver
	// pipelines are by name, with regard to case.
	pipelines map[string]Pipeline
}

// queryState is a query and its batch log. It is replaced, never changed, except
// that records are added behind those that others may hold.
type queryState struct {
	query              Query
	recs               []stored
	planned, committed batch.ID
	again              xxh3.Uint128 // hash of the last group; zero: none
}

// stored is a record of the batch log as it was appended.
type stored struct {
	id batch.ID
	b  []byte
}

// outcome is what applying a command gives.
type outcome struct {
	query Query // as it is then, for commands of one query
	err   error
}

func newState() *state {
	return &state{queries: map[batch.QueryID]*queryState{}, names: map[string]batch.QueryID{}, drivers: map[string]Driver{}, pipelines: map[string]Pipeline{}}
}

// clone is a state that does not change with this one.
func (s *state) clone() *state {
	return &state{cluster: s.cluster, queries: maps.Clone(s.queries), names: maps.Clone(s.names), drivers: maps.Clone(s.drivers), pipelines: maps.Clone(s.pipelines)}
}

// apply carries out a command of an entry of the given raft term.
func (s *state) apply(raftTerm uint64, c command) outcome {
	switch c := c.(type) {
	case setCluster:
		if s.cluster == "" {
			s.cluster = c.id
		}
		return outcome{}
	case createQuery:
		return s.create(c.query)
	case setDriver:
		s.drivers[c.driver.ID] = c.driver
		return outcome{}
	case removeDriver:
		delete(s.drivers, c.id)
		return outcome{}
	case setPipeline:
		return s.keep(c.pipeline)
	case dropPipeline:
		return s.withdraw(c.name)
	case alterQuery:
		return s.change(c.id, func(q *queryState) error { return q.alter(c) })
	case forgetQuery:
		return s.forget(c)
	case beginLife:
		return s.change(c.id, func(q *queryState) error { return q.begin(raftTerm) })
	case appendRecords:
		return s.change(c.id, func(q *queryState) error { return q.append(c) })
	case truncateLog:
		return s.change(c.id, func(q *queryState) error { return q.truncate(c) })
	case assign:
		return s.change(c.id, func(q *queryState) error {
			if err := q.lives(c.term, "assign workers"); err != nil {
				return err
			}
			q.query.Assigned = c.assignment
			return nil
		})
	default:
		return outcome{err: fmt.Errorf("a command %T", c)}
	}
}

func (s *state) create(q Query) outcome {
	name := strings.ToLower(q.Name)
	if o, ok := s.queries[q.ID]; ok && strings.ToLower(o.query.Name) == name {
		return outcome{query: o.query} // asked again by somebody who did not hear the answer
	}
	if id, ok := s.names[name]; ok {
		return outcome{query: s.queries[id].query, err: fmt.Errorf("create query %q: %w (ID %s)", q.Name, ErrExists, id)}
	}
	if o, ok := s.queries[q.ID]; ok {
		return outcome{query: o.query, err: fmt.Errorf("create query %q with the ID %s of query %q: %w", q.Name, q.ID, o.query.Name, ErrExists)}
	}
	if len(s.queries) >= queriesMax {
		return outcome{err: fmt.Errorf("create query %q: there are %d, and no more are allowed", q.Name, queriesMax)}
	}
	q.Revision, q.Term, q.Assigned = 1, 0, Assignment{}
	s.queries[q.ID] = &queryState{query: q, planned: batch.None, committed: batch.None}
	s.names[name] = q.ID
	return outcome{query: q}
}

// change replaces a query by what do makes of it. A refusal changes nothing.
func (s *state) change(id batch.QueryID, do func(*queryState) error) outcome {
	old, ok := s.queries[id]
	if !ok {
		return outcome{err: fmt.Errorf("query %s: %w", id, ErrNotFound)}
	}
	q := *old
	if err := do(&q); err != nil {
		return outcome{query: old.query, err: fmt.Errorf("query %q: %w", old.query.Name, err)}
	}
	s.queries[id] = &q
	return outcome{query: q.query}
}

func (s *state) forget(c forgetQuery) outcome {
	q, ok := s.queries[c.id]
	switch {
	case !ok:
		return outcome{err: fmt.Errorf("forget query %s: %w", c.id, ErrNotFound)}
	case q.query.Revision != c.revision:
		return outcome{query: q.query, err: revision("forget", q.query, c.revision)}
	case q.query.Wanted != Dropped:
		return outcome{query: q.query, err: fmt.Errorf("forget query %q, which is wanted %s: %w", q.query.Name, q.query.Wanted, ErrNotDropped)}
	}
	delete(s.queries, c.id)
	delete(s.names, strings.ToLower(q.query.Name))
	return outcome{query: q.query}
}

func revision(what string, q Query, asked uint64) error {
	return fmt.Errorf("%s query %q at revision %d, it has %d: %w", what, q.Name, asked, q.Revision, ErrRevision)
}

func (q *queryState) alter(c alterQuery) error {
	switch {
	case q.query.Revision != c.revision:
		return revision("alter", q.query, c.revision)
	case q.query.Wanted == Dropped && c.spec.Wanted != Dropped:
		return fmt.Errorf("it is being dropped: %w", ErrNotFound)
	}
	q.query.Spec = c.spec
	q.query.Revision++
	return nil
}

// begin hands out a term that is new whoever asks: a leader after a change, or the
// same one for the query's next life (R2).
func (q *queryState) begin(raftTerm uint64) error {
	q.query.Term = max(q.query.Term+1, batch.Term(raftTerm))
	q.query.Assigned = Assignment{}
	return nil
}

// lives refuses what is not of the newest life.
func (q *queryState) lives(t batch.Term, what string) error {
	if t != q.query.Term {
		return fmt.Errorf("%s in term %d, term %d has begun: %w", what, t, q.query.Term, batch.ErrFenced)
	}
	return nil
}

func (q *queryState) append(c appendRecords) error {
	if err := q.lives(c.term, "append"); err != nil {
		return err
	}
	sum := groupSum(c.group)
	if sum == q.again {
		return nil
	}
	for _, b := range c.group {
		r, err := microbatch.DecodeRecord(b)
		if err != nil {
			return fmt.Errorf("append: %w", err)
		}
		if err := q.follows(r, c.term); err != nil {
			return err
		}
		q.recs = append(q.recs, stored{r.ID(), bytes.Clone(b)}) // b is a part of the entry
	}
	q.again = sum
	return nil
}

func groupSum(group [][]byte) xxh3.Uint128 {
	var e encoder
	for _, b := range group {
		e.p(b)
	}
	return xxh3.Hash128(e.b)
}

// follows holds the log to R3 and takes note of the record.
func (q *queryState) follows(r microbatch.Record, term batch.Term) error {
	planned, committed := q.planned, q.committed
	ok := r.LogTerm() <= term
	switch r := r.(type) {
	case microbatch.Started:
		ok = ok && r.Last == q.planned
	case microbatch.Planned:
		ok = ok && r.Batch == q.planned+1 && q.planned == q.committed
		q.planned = r.Batch
	case microbatch.Committed:
		ok = ok && r.Batch == q.planned && r.Batch == q.committed+1
		q.committed = r.Batch
	case microbatch.Checkpointed:
		ok = ok && r.Batch <= q.committed
	case microbatch.Adopted:
		q.planned, q.committed = r.Plan.Batch, r.Plan.Batch
	}
	if !ok {
		return fmt.Errorf("append %T of batch %d and term %d in term %d, batch %d is planned and %d committed: %w",
			r, r.ID(), r.LogTerm(), term, planned, committed, ErrGap)
	}
	return nil
}

func (q *queryState) truncate(c truncateLog) error {
	if err := q.lives(c.term, "truncate"); err != nil {
		return err
	}
	old := func(r stored) bool { return r.id < c.before }
	if !slices.ContainsFunc(q.recs, old) {
		return nil
	}
	q.recs = slices.DeleteFunc(slices.Clone(q.recs), old) // readers hold the old ones
	return nil
}

// catalog lists the queries by name.
func (s *state) catalog() []Query {
	qs := make([]Query, 0, len(s.queries))
	for _, q := range s.queries {
		qs = append(qs, q.query)
	}
	slices.SortFunc(qs, func(a, b Query) int { return strings.Compare(a.Name, b.Name) })
	return qs
}

// members lists the drivers by ID.
func (s *state) members() []Driver {
	ds := slices.Collect(maps.Values(s.drivers))
	slices.SortFunc(ds, func(a, b Driver) int { return strings.Compare(a.ID, b.ID) })
	return ds
}
