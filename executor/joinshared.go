package executor

import (
	"context"
	"errors"
	"sync"

	"github.com/sluice-stream/sluice/planner/physical"
)

// Tables are the join tables that tasks of one plan share on one worker: all
// tasks of a stage read the same rows of a side that was sent to all, and one
// table of them is enough. It may be used by several goroutines.
//
// The task that asks first makes the table, the others help it and wait. A table
// goes when every task of the stage has probed it, when another version of the
// same rows is asked for, or with the plan.
type Tables struct {
	mu struct {
		sync.Mutex
		tables map[tableKey]*sharedTable
		closed bool
	}
}

type tableKey struct {
	join *physical.HashJoin
	rows string
}

// sharedTable is guarded by Tables.mu but for table and err, which are there once
// made is closed.
type sharedTable struct {
	made chan struct{}
	*helpers
	table *joinTable
	err   error

	users int
	gone  bool         // not in the map any more: the last user releases it
	done  map[int]bool // partitions that have probed it
	parts int          // after so many it goes; 0 keeps it over batches
}

// errTooLarge says that the rows do not fit into one table: every task does what
// it can on its own.
var errTooLarge = errors.New("the build side of a join is too large to be shared")

// NewTables returns an empty set.
func NewTables() *Tables {
	t := &Tables{}
	t.mu.tables = map[tableKey]*sharedTable{}
	return t
}

// Close forgets all tables; those in use go with their last user, and so does
// what is made later.
func (t *Tables) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.closed = true
	for k, s := range t.mu.tables {
		t.dropLocked(k, s)
	}
}

func (t *Tables) dropLocked(k tableKey, s *sharedTable) {
	if t.mu.tables[k] == s {
		delete(t.mu.tables, k)
	}
	s.gone = true
	t.freeLocked(s)
}

func (t *Tables) freeLocked(s *sharedTable) {
	if s.gone && s.users == 0 {
		s.table.release()
		s.table = nil
	}
}

// lease is a task's use of a shared table.
type lease struct {
	tables    *Tables
	key       tableKey
	shared    *sharedTable
	partition int
}

// end gives the table back; finished says that the task has no use for it again.
func (l *lease) end(finished bool) {
	l.tables.mu.Lock()
	defer l.tables.mu.Unlock()
	s := l.shared
	s.users--
	if finished && s.parts > 0 {
		s.done[l.partition] = true
		if len(s.done) >= s.parts && !s.gone {
			l.tables.dropLocked(l.key, s)
			return
		}
	}
	l.tables.freeLocked(s)
}

// take returns the table of the rows called key, which build makes if nobody has
// yet. keep says that later batches will ask for the same rows.
func (t *Tables) take(ctx context.Context, tc *TaskContext, key tableKey, keep bool, build func(*helpers) (*joinTable, error)) (*lease, error) {
	for {
		l := &lease{tables: t, key: key, partition: tc.Spec.Task.Partition}
		t.mu.Lock()
		for k, s := range t.mu.tables {
			if k.join == key.join && k.rows != key.rows {
				t.dropLocked(k, s)
			}
		}
		s := t.mu.tables[key]
		first := s == nil
		if first {
			s = &sharedTable{made: make(chan struct{}), helpers: newHelpers(), done: map[int]bool{}}
			if !keep {
				s.parts = tc.Spec.Parts
			}
			if s.gone = t.mu.closed; !s.gone {
				t.mu.tables[key] = s
			}
		}
		s.users++
		l.shared = s
		t.mu.Unlock()
		if first {
			if err := l.build(build); err != nil {
				return nil, err
			}
			return l, nil
		}
		if err := s.help(ctx, tc.Lend, s.made); err != nil {
			l.end(false)
			return nil, err
		}
		if s.err == nil {
			return l, nil
		}
		l.end(errors.Is(s.err, errTooLarge))
		if errors.Is(s.err, errTooLarge) {
			return nil, s.err
		}
		// The task that was to make it has failed, maybe for a reason of its own.
	}
}

// errNotMade is what waiting tasks see of a panic.
var errNotMade = errors.New("a task that shared its join table has failed")

func (l *lease) build(build func(*helpers) (*joinTable, error)) error {
	s := l.shared
	s.err = errNotMade
	defer func() {
		if s.err != nil && !errors.Is(s.err, errTooLarge) {
			l.tables.mu.Lock()
			l.tables.dropLocked(l.key, s)
			l.tables.mu.Unlock()
		}
		close(s.made)
		if s.err != nil {
			l.end(errors.Is(s.err, errTooLarge))
		}
	}()
	s.table, s.err = build(s.helpers)
	return s.err
}
