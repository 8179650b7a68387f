package microbatch

import "github.com/sluice-stream/sluice/batch"

// checkpointState asks for checkpoints and drops what they make unneeded. It
// holds at most CheckpointsKept+2 of them, or with CheckpointsAge checkpointsMax+2.
type checkpointState struct {
	latest    keptCheckpoint // newest committed batch, where the next one would be
	asked     batch.ID       // being written; None if none
	askedEnds []batch.Offset // of the batch asked for
	askedAt   batch.EventTime
	done      *CheckpointDone // written, waiting for its batch to be revealed (M7)
	kept      []keptCheckpoint
	last      batch.ID // newest batch that was asked for
	lastAt    batch.EventTime
	// floor: everything up to it was released and truncated. It starts at 0, so
	// that a log which begins with batch 0 can always be replayed from there.
	floor      batch.ID
	finalTried bool
	wanted     batch.ID // somebody asked for a checkpoint of this batch, or a later one
}

// checkpointsMax bounds how many checkpoints are kept by age (M10).
const checkpointsMax = 1000

// keptCheckpoint is a checkpoint in the log.
type keptCheckpoint struct {
	batch batch.ID
	ends  []batch.Offset  // where each source stood after it
	seq   uint64          // of its record
	at    batch.EventTime // now() of its batch
}

func newCheckpoints() checkpointState {
	return checkpointState{asked: batch.None, last: batch.None, lastAt: batch.NoTime, wanted: batch.None,
		latest: keptCheckpoint{batch: batch.None}}
}

func ends(p Planned) []batch.Offset {
	out := make([]batch.Offset, len(p.Ranges))
	for i, g := range p.Ranges {
		out[i] = g.End
	}
	return out
}

// recover takes over the checkpoints of the log.
func (c *checkpointState) recover(m *Machine, h *history) {
	for _, k := range h.checks {
		c.kept = append(c.kept, keptCheckpoint{batch: k.Batch, ends: ends(h.plans[k.Batch-h.base]), at: h.plans[k.Batch-h.base].Now})
		c.last = k.Batch
	}
	if n := h.last(); n != batch.None {
		c.latest = keptCheckpoint{batch: n, ends: ends(h.plans[n-h.base]), at: h.plans[n-h.base].Now}
	}
	c.lastAt = m.now
}

// drop forgets a checkpoint that cannot be loaded.
func (c *checkpointState) drop(id batch.ID) {
	if n := len(c.kept); n > 0 && c.kept[n-1].batch == id {
		c.kept = c.kept[:n-1]
	}
	c.last = c.newest()
}

func (c *checkpointState) newest() batch.ID {
	if n := len(c.kept); n > 0 {
		return c.kept[n-1].batch
	}
	return batch.None
}

// committed notes the version that a checkpoint would have now.
func (c *checkpointState) committed(id batch.ID, p Planned) {
	c.latest = keptCheckpoint{batch: id, ends: ends(p), at: p.Now}
}

func (c *checkpointState) pending() bool { return c.asked != batch.None || c.done != nil }

// dueAt is when the next checkpoint is due by time; EndOfTime if none is.
func (c *checkpointState) dueAt(m *Machine) batch.EventTime {
	if m.opt.CheckpointInterval < 0 || c.pending() || c.latest.batch <= c.last {
		return batch.EndOfTime
	}
	if c.lastAt == batch.NoTime {
		return batch.NoTime
	}
	return c.lastAt + batch.EventTime(m.opt.CheckpointInterval.Microseconds())
}

func (c *checkpointState) due(m *Machine) bool {
	if c.pending() || c.latest.batch <= c.last {
		return false
	}
	if c.wanted > c.last {
		return true
	}
	if n := m.opt.CheckpointBatches; n > 0 && c.latest.batch-c.last >= batch.ID(n) {
		return true
	}
	return m.now >= c.dueAt(m)
}

// decideCheckpoint asks for checkpoints and records those that are written.
func (m *Machine) decideCheckpoint() {
	c := &m.check
	if c.done != nil && m.reveal.done >= c.done.Batch { // M7
		rec := Checkpointed{Batch: c.done.Batch, Term: m.term, Prev: c.newest(), Manifests: c.done.Manifests, Identity: m.identity()}
		c.kept = append(c.kept, keptCheckpoint{batch: c.done.Batch, ends: c.askedEnds, at: c.askedAt, seq: m.append(rec)})
		c.done, c.askedEnds = nil, nil
	}
	m.decideTruncate()
	// Only while no task may have begun to change the version.
	if untouched := m.cur == nil || m.cur.state == planning || m.cur.state == backingOff && m.cur.attempt == 0; untouched && c.due(m) {
		c.ask(m)
	}
}

func (c *checkpointState) ask(m *Machine) {
	c.asked, c.askedEnds, c.askedAt, c.last, c.lastAt = c.latest.batch, c.latest.ends, c.latest.at, c.latest.batch, m.now
	m.out.Checkpoint = &Checkpoint{Batch: c.asked}
	m.has = true
}

// decideTruncate drops the log and releases the sources up to the oldest
// checkpoint that is to be kept, once enough newer ones are durable.
func (m *Machine) decideTruncate() {
	c := &m.check
	durable := 0
	for _, k := range c.kept {
		if k.seq <= m.durable {
			durable++
		}
	}
	if extra := c.surplus(m, durable); extra > 0 {
		c.kept = append(c.kept[:0], c.kept[extra:]...)
		durable -= extra
	}
	if durable < m.opt.CheckpointsKept || c.kept[0].batch <= c.floor {
		return
	}
	c.floor = c.kept[0].batch
	m.out.Truncate = c.floor
	m.out.Release = m.out.Release[:0]
	for i, to := range c.kept[0].ends {
		if !m.opt.Sources[i].Static {
			m.out.Release = append(m.out.Release, Release{Source: m.opt.Sources[i].Name, To: to})
		}
	}
	m.has = true
}

// surplus is how many of the oldest checkpoints are neither among the newest
// CheckpointsKept nor young enough to stay.
func (c *checkpointState) surplus(m *Machine, durable int) int {
	young := m.now - batch.EventTime(m.opt.CheckpointsAge.Microseconds())
	n := 0
	for n < durable-m.opt.CheckpointsKept && (m.opt.CheckpointsAge == 0 || c.kept[n].at <= young || durable-n > checkpointsMax) {
		n++
	}
	return n
}

func (m *Machine) checkpointDone(ev CheckpointDone) {
	if c := &m.check; c.asked != batch.None && c.asked == ev.Batch {
		c.asked, c.done = batch.None, &ev
	}
}

func (m *Machine) checkpointFailed(id batch.ID) {
	if c := &m.check; c.asked != batch.None && c.asked == id {
		c.asked, c.askedEnds, c.wanted = batch.None, nil, batch.None
		c.last = c.newest() // due again by the usual policy
		c.lastAt = m.now
		if m.opt.CheckpointBatches > 0 { // by count: after as many batches again
			c.last = max(c.last, id)
		}
	}
}

// final asks for a last checkpoint, once, and reports whether to wait for it.
func (c *checkpointState) final(m *Machine) bool {
	if c.finalTried || c.latest.batch <= c.newest() {
		return false
	}
	c.finalTried = true
	c.ask(m)
	return true
}
