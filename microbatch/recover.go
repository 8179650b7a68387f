package microbatch

import (
	"fmt"

	"github.com/sluice-stream/sluice/batch"
)

// history is what the log says, checked while it is read. It lives until state
// is rebuilt, and log truncation bounds it.
type history struct {
	complete bool // LogEnd was seen
	records  int
	term     batch.Term
	identity *Identity
	base     batch.ID // ID of plans[0] and commits[0]
	plans    []Planned
	commits  []Committed
	checks   []Checkpointed
	// adopted is the batch whose state another plan or query has made, None if there
	// is no such batch: nothing before it can be run again.
	adopted batch.ID
}

func (h *history) add(r Record) error {
	if r == nil {
		return fmt.Errorf("%w: an empty log record", ErrProtocol)
	}
	h.records++
	if r.LogTerm() < h.term {
		return fmt.Errorf("%w: a record of term %d stands after one of term %d", ErrLogConflict, r.LogTerm(), h.term)
	}
	h.term = r.LogTerm()
	switch r := r.(type) {
	case Started:
		return h.own(r.Identity)
	case Planned:
		return h.addPlan(r)
	case Committed:
		return h.addCommit(r)
	case Checkpointed:
		return h.addCheckpoint(r)
	case Adopted:
		return h.adopt(r)
	}
	return fmt.Errorf("%w: unknown record %T", ErrProtocol, r)
}

func (h *history) own(id Identity) error {
	if h.identity != nil && *h.identity != id && !(h.idle() && sameQuery(*h.identity, id)) {
		return fmt.Errorf("%w: it is of query %q, plan %s, and of query %q, plan %s", ErrLogConflict,
			h.identity.Query, h.identity.PlanHash, id.Query, id.PlanHash)
	}
	h.identity = &id
	return nil
}

// idle reports whether no batch has been planned: whatever the plan was, nothing has
// come of it, and another one may begin.
func (h *history) idle() bool { return len(h.plans) == 0 }

func sameQuery(a, b Identity) bool {
	a.PlanHash = b.PlanHash
	return a == b
}

func (h *history) addPlan(p Planned) error {
	if len(h.plans) == 0 {
		h.base, h.plans = p.Batch, []Planned{p}
		return nil
	}
	last := h.plans[len(h.plans)-1]
	switch {
	case p.Batch <= last.Batch:
		if i := p.Batch - h.base; i < 0 || !SameRecord(p, h.plans[i]) {
			return fmt.Errorf("%w: two plans for batch %d", ErrLogConflict, p.Batch)
		}
		return nil
	case p.Batch != last.Batch+1:
		return fmt.Errorf("%w: plan %d follows plan %d", ErrLogGap, p.Batch, last.Batch)
	case len(h.commits) < len(h.plans):
		return fmt.Errorf("%w: batch %d is planned and batch %d is not committed", ErrLogGap, p.Batch, last.Batch)
	}
	if err := follows(last, p); err != nil {
		return err
	}
	h.plans = append(h.plans, p)
	return nil
}

// follows checks that plan p can stand after plan last (M1, M2).
func follows(last, p Planned) error {
	if p.Watermark < last.Watermark || p.Now < last.Now || p.Close < last.Close {
		return fmt.Errorf("%w: time falls from batch %d to %d", ErrLogConflict, last.Batch, p.Batch)
	}
	if len(p.Ranges) != len(last.Ranges) {
		return fmt.Errorf("%w: batch %d has %d sources, batch %d has %d", ErrLogConflict,
			last.Batch, len(last.Ranges), p.Batch, len(p.Ranges))
	}
	for i, g := range p.Ranges {
		if b := last.Ranges[i]; g.Source != b.Source || g.Start != b.End {
			return fmt.Errorf("%w: batch %d ends source %q at %q, batch %d starts %q at %q", ErrLogConflict,
				last.Batch, b.Source, b.End, p.Batch, g.Source, g.Start)
		}
	}
	return nil
}

func (h *history) addCommit(c Committed) error {
	if i := c.Batch - h.base; i >= 0 && i < batch.ID(len(h.commits)) {
		if !SameRecord(c, h.commits[i]) {
			return fmt.Errorf("%w: two commits of batch %d", ErrLogConflict, c.Batch)
		}
		return nil
	}
	if len(h.plans) == 0 || c.Batch != h.base+batch.ID(len(h.commits)) || c.Batch > h.plans[len(h.plans)-1].Batch {
		return fmt.Errorf("%w: batch %d is committed without its plan or the batch before", ErrLogGap, c.Batch)
	}
	h.commits = append(h.commits, c)
	return nil
}

func (h *history) addCheckpoint(c Checkpointed) error {
	if i := c.Batch - h.base; i < 0 || i >= batch.ID(len(h.commits)) {
		return fmt.Errorf("%w: a checkpoint of batch %d, whose commit is missing", ErrLogGap, c.Batch)
	}
	// Those after Prev were found unusable when this one was begun.
	for len(h.checks) > 0 && h.checks[len(h.checks)-1].Batch > c.Prev {
		h.checks = h.checks[:len(h.checks)-1]
	}
	h.checks = append(h.checks, c)
	return h.own(c.Identity)
}

// adopt begins anew with a state that was made elsewhere. What stands before is of
// the same query, and ended with the batch whose state is adopted, or with the one
// before it: then the adopted batch shows how the result has changed.
func (h *history) adopt(a Adopted) error {
	n := a.Plan.Batch
	switch {
	case len(h.plans) > 0 && (len(h.commits) < len(h.plans) || h.last() != n && h.last() != n-1):
		return fmt.Errorf("%w: the state of batch %d is adopted, and the log goes to batch %d", ErrLogConflict, n, h.plans[len(h.plans)-1].Batch)
	case h.identity != nil && (h.identity.Query != a.Identity.Query || h.identity.KeyGroups != a.Identity.KeyGroups):
		return fmt.Errorf("%w: query %q adopts state in the log of query %q", ErrLogConflict, a.Identity.Query, h.identity.Query)
	}
	id := a.Identity
	h.identity, h.base, h.adopted = &id, n, n
	h.plans, h.commits, h.checks = []Planned{a.Plan}, []Committed{a.Commit}, []Checkpointed{a.Checkpointed()}
	return nil
}

// last returns the newest committed batch.
func (h *history) last() batch.ID {
	if len(h.commits) == 0 {
		return batch.None
	}
	return h.commits[len(h.commits)-1].Batch
}

func (m *Machine) identity() Identity {
	return Identity{Query: m.opt.Query, PlanHash: m.opt.PlanHash, Policy: m.opt.Policy, KeyGroups: m.opt.KeyGroups}
}

// accept compares the log with the query that wants to go on from it.
func (m *Machine) accept(h *history) error {
	if h.records > 0 && h.identity == nil {
		return fmt.Errorf("%w: it holds %d records and none says of which query; starting under a new ID would write all output again",
			ErrNoIdentity, h.records)
	}
	if h.identity != nil {
		id := *h.identity
		if h.idle() {
			id.PlanHash = m.opt.PlanHash
		}
		if err := m.acceptIdentity(id); err != nil {
			return err
		}
	}
	m.before = h.term
	if m.opt.Term == 0 {
		m.term = h.term + 1
	} else if m.term = m.opt.Term; m.term <= h.term {
		return fmt.Errorf("query %q starts with term %d, the log holds term %d: %w", m.opt.Query, m.term, h.term, batch.ErrFenced)
	}
	if h.base > 0 && len(h.checks) == 0 {
		return fmt.Errorf("%w: it begins with batch %d and holds no checkpoint", ErrLogGap, h.base)
	}
	for _, p := range h.plans {
		if p.PlanHash != m.opt.PlanHash {
			return fmt.Errorf("%w: batch %d was planned with plan %s, the query now has %s", ErrPlanChanged,
				p.Batch, p.PlanHash, m.opt.PlanHash)
		}
		if len(p.Ranges) != len(m.opt.Sources) {
			return fmt.Errorf("%w: batch %d read %d sources, the query now has %d", ErrPlanChanged,
				p.Batch, len(p.Ranges), len(m.opt.Sources))
		}
		for i, g := range p.Ranges {
			if g.Source != m.opt.Sources[i].Name {
				return fmt.Errorf("%w: batch %d read source %q, the query now has %q", ErrPlanChanged,
					p.Batch, g.Source, m.opt.Sources[i].Name)
			}
		}
	}
	return nil
}

func (m *Machine) acceptIdentity(id Identity) error {
	own := m.identity()
	switch {
	case id.Query != own.Query:
		return fmt.Errorf("%w: it is of query %q, this one is %q", ErrForeignLog, id.Query, own.Query)
	case id.Policy != own.Policy:
		return fmt.Errorf("%w: watermark.policy is %s and was %s; it is fixed at the first start", ErrPlanChanged, own.Policy, id.Policy)
	case id.KeyGroups != own.KeyGroups:
		return fmt.Errorf("%w: it has %d key groups and had %d; they are fixed at the first start", ErrPlanChanged, own.KeyGroups, id.KeyGroups)
	case id.PlanHash != own.PlanHash:
		return fmt.Errorf("%w: its plan is %s and was %s; give the changed query a new checkpoint, or start the old one again",
			ErrPlanChanged, own.PlanHash, id.PlanHash)
	}
	return nil
}

// logEnd takes over what the log says and opens the term.
func (m *Machine) logEnd() error {
	h := m.history
	if h == nil || h.complete {
		return fmt.Errorf("%w: the log ends twice", ErrProtocol)
	}
	h.complete = true
	if err := m.accept(h); err != nil {
		return err
	}
	last := batch.None
	if n := len(h.plans); n > 0 {
		p := h.plans[n-1]
		m.lastPlan = &p
		last = p.Batch
		m.reading.begin(m.lastPlan.Now, m.now)
		m.now = max(m.now, m.lastPlan.Now)
		for i, g := range m.lastPlan.Ranges {
			m.sources[i].pos, m.sources[i].pin = g.End, g.Pin
		}
	}
	if n := len(h.commits); n > 0 {
		c := h.commits[n-1]
		m.lastDone, m.committed = &c, c.Batch
		m.marks = append([]Mark(nil), c.Marks...)
	}
	m.reveal.done = m.committed - 1
	if m.committed == batch.None {
		m.reveal.done = batch.None
	}
	if n := len(h.plans); n > len(h.commits) {
		m.cur = &flight{plan: h.plans[n-1]} // M6
	}
	m.startAt = m.now
	m.check.recover(m, h)
	m.replay.retryAt = batch.NoTime
	m.startSeq = m.append(Started{Term: m.term, Last: last, At: m.now, Identity: m.identity()})
	return nil
}
