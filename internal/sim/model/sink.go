package model

import (
	"errors"
	"fmt"

	"github.com/sluice-stream/sluice/batch"
)

// ErrOutputLost says that prepared output is gone: its transaction was aborted.
var ErrOutputLost = errors.New("the transaction is gone")

// Sink shows rows by batch. As a file sink it stages output durably and ignores
// a batch that it shows already. As a transactional one its staged output dies
// with its owner, it keeps the batch and digest with the rows, and it does
// exactly what it is told: a blind second commit would double the output.
type Sink struct {
	Name          string
	Transactional bool
	Unsafe        bool // a mutant: no fence
	staged        map[string]stage
	fence         batch.Term
	Holds         batch.ID
	Digest        batch.Digest
	Shown         []Out
	Commits       int // that had an effect
}

type stage struct {
	rows  []Out
	owner int
}

// NewSink makes an empty sink.
func NewSink(name string, transactional bool) *Sink {
	return &Sink{Name: name, Transactional: transactional, staged: map[string]stage{}, Holds: batch.None}
}

// Prepare stages rows under a handle that is unique for ever.
func (s *Sink) Prepare(owner int, handle string, partition int, rows []Out) batch.Prepared {
	s.staged[handle] = stage{rows: rows, owner: owner}
	return batch.Prepared{Sink: s.Name, Partition: partition, Payload: []byte(handle), Rows: int64(len(rows)), Digest: Sum(rows)}
}

// Ask tells what the sink shows and fences older terms, whose transactions it aborts.
func (s *Sink) Ask(term batch.Term, owner int) (batch.ID, batch.Digest, error) {
	if term < s.fence && !s.Unsafe {
		return 0, batch.Digest{}, fmt.Errorf("sink %s, term %d after %d: %w", s.Name, term, s.fence, batch.ErrFenced)
	}
	if term > s.fence && !s.Unsafe {
		s.Crash(func(o int) bool { return o != owner })
	}
	s.fence = max(s.fence, term)
	return s.Holds, s.Digest, nil
}

// Commit shows a batch. It reports whether it changed anything.
func (s *Sink) Commit(id batch.ID, term batch.Term, parts []batch.Prepared) (bool, error) {
	if term < s.fence && !s.Unsafe {
		return false, fmt.Errorf("sink %s, batch %d of term %d after term %d: %w", s.Name, id, term, s.fence, batch.ErrFenced)
	}
	s.fence = max(s.fence, term)
	if !s.Transactional && id <= s.Holds {
		return false, nil
	}
	if s.Transactional && id <= s.Holds { // it would write the batch again
		return false, Violationf("sink %s shows batch %d and is told blindly to show %d", s.Name, s.Holds, id)
	}
	if id > s.Holds+1 {
		return false, Violationf("sink %s shows batch %d and is told to show %d", s.Name, s.Holds, id)
	}
	var sum batch.Digest
	var rows []Out
	for _, p := range parts {
		if p.Sink != s.Name {
			continue
		}
		st, ok := s.staged[string(p.Payload)]
		if !ok {
			if s.Transactional {
				return false, fmt.Errorf("sink %s, batch %d, part %s: %w", s.Name, id, p.Payload, ErrOutputLost)
			}
			return false, Violationf("sink %s, batch %d: staged part %s does not exist", s.Name, id, p.Payload)
		}
		if got := Sum(st.rows); got != p.Digest {
			return false, Violationf("sink %s, batch %d: part %s has digest %s, its handle says %s", s.Name, id, p.Payload, got, p.Digest)
		}
		rows = append(rows, st.rows...)
		sum = sum.Add(p.Digest)
	}
	for _, p := range parts {
		delete(s.staged, string(p.Payload))
	}
	s.Shown = append(s.Shown, rows...)
	s.Holds, s.Digest = id, sum
	s.Commits++
	return true, nil
}

// Crash drops what does not survive the death of the owners for which dead holds.
func (s *Sink) Crash(dead func(owner int) bool) {
	if !s.Transactional {
		return
	}
	for h, st := range s.staged {
		if dead(st.owner) {
			delete(s.staged, h)
		}
	}
}
