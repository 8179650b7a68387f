//go:build synctests

package bubble

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// ledger holds what drivers have appended to the batch log against what others have
// appended and read: one plan and one commit for each batch, no batch without the one
// before, a term of one driver alone.
type ledger struct {
	mu       sync.Mutex
	plans    map[batch.ID][]byte
	commits  map[batch.ID][]byte
	terms    map[batch.Term]string // who appended under it
	last     batch.ID
	batches  int
	newest   batch.Term
	violated func(string, ...any)
}

func newLedger(violated func(string, ...any)) *ledger {
	return &ledger{plans: map[batch.ID][]byte{}, commits: map[batch.ID][]byte{}, terms: map[batch.Term]string{}, last: batch.None, violated: violated}
}

// wrote is told of a record whose append was acknowledged to a driver that lives.
func (l *ledger) wrote(who string, term batch.Term, r microbatch.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, ok := l.terms[term]; ok && was != who {
		l.violated("term %d is of driver %s and of driver %s", term, was, who)
	}
	l.terms[term] = who
	if c, ok := r.(microbatch.Committed); ok {
		if term < l.newest {
			l.violated("driver %s commits batch %d under term %d behind term %d", who, c.Batch, term, l.newest)
		}
		l.newest = term
	}
	l.takeLocked(who, r)
}

// read is told of what a life of the query finds in the log.
func (l *ledger) read(who string, r microbatch.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takeLocked(who, r)
}

// ledgerKept is how many of the newest batches are remembered.
const ledgerKept = 2000

func (l *ledger) takeLocked(who string, r microbatch.Record) {
	if id, ok := batchOf(r); !ok || id+ledgerKept <= l.last {
		return
	}
	switch r := r.(type) {
	case microbatch.Planned:
		l.sameLocked(l.plans, who, "plan", r.Batch, r)
	case microbatch.Committed:
		if l.commits[r.Batch] == nil && r.Batch != l.last+1 {
			l.violated("driver %s: batch %d is committed behind batch %d", who, r.Batch, l.last)
		}
		if l.plans[r.Batch] == nil {
			l.violated("driver %s: batch %d is committed without a plan", who, r.Batch)
		}
		l.sameLocked(l.commits, who, "commit", r.Batch, r)
		if r.Batch > l.last {
			l.last = r.Batch
			l.batches++
			delete(l.plans, r.Batch-ledgerKept)
			delete(l.commits, r.Batch-ledgerKept)
		}
	}
}

func batchOf(r microbatch.Record) (batch.ID, bool) {
	switch r := r.(type) {
	case microbatch.Planned:
		return r.Batch, true
	case microbatch.Committed:
		return r.Batch, true
	default:
		return 0, false
	}
}

func (l *ledger) sameLocked(m map[batch.ID][]byte, who, what string, id batch.ID, r microbatch.Record) {
	b := microbatch.EncodeRecord(r)
	if was := m[id]; was != nil && !bytes.Equal(was, b) {
		l.violated("driver %s: batch %d has two records of kind %s:\n%s\n%s", who, id, what, describe(was), describe(b))
	}
	m[id] = b
}

func describe(b []byte) string {
	r, err := microbatch.DecodeRecord(b)
	return fmt.Sprintf("%+v %v", r, err)
}

// committed returns how many batches there are.
func (l *ledger) committed() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.batches
}
