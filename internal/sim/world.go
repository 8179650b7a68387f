package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/sim/model"
	"github.com/sluice-stream/sluice/microbatch"
)

const (
	queryID  = "sim"
	planHash = "plan-1"
	maxNodes = 3 // drivers alive at once: one that leads and zombies
)

// world is everything outside the drivers, and the drivers.
type world struct {
	o      Options
	rng    *rand.Rand
	now    batch.EventTime
	query  *model.Query
	log    *model.Log
	sinks  []*model.Sink
	store  map[string]snapshot // checkpoints, durable
	nodes  []*node             // the last one leads
	term   batch.Term
	serial int // makes names unique
	newest []batch.EventTime
	quiet  bool // no faults any more
	check  *checker
	hits   *Hits
	mutant Mutant
	trace  *strings.Builder
	err    error
}

type snapshot struct {
	state  model.State
	broken bool
}

func newWorld(o Options, rng *rand.Rand, hits *Hits, mutant Mutant) *world {
	w := &world{o: o, rng: rng, now: 1_700_000_000_000_000, log: &model.Log{}, store: map[string]snapshot{}, hits: hits, mutant: mutant}
	w.query = &model.Query{Window: o.Window}
	for i, s := range o.Sources {
		w.query.Sources = append(w.query.Sources, &model.Source{Name: fmt.Sprintf("s%d", i), Limit: s.Limit, Parted: s.Parts > 1})
		w.newest = append(w.newest, 1_000_000)
	}
	for i, tx := range o.Sinks {
		s := model.NewSink(fmt.Sprintf("k%d", i), tx)
		s.Unsafe = mutant == NoFence
		w.sinks = append(w.sinks, s)
	}
	w.log.Unsafe = mutant == NoFence
	w.check = newChecker(w)
	return w
}

func (w *world) fail(err error) {
	if w.err == nil && err != nil {
		w.err = err
		w.tracef("FAIL %v", err)
	}
}

func (w *world) tracef(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%12d  ", w.now-1_700_000_000_000_000)
		fmt.Fprintf(w.trace, format, args...)
		w.trace.WriteByte('\n')
	}
}

// chance draws a fault of n in 1000; never once faults have stopped.
func (w *world) chance(n int) bool { return !w.quiet && n > 0 && w.rng.IntN(1000) < n }

func (w *world) leader() *node {
	if n := len(w.nodes); n > 0 && !w.nodes[n-1].zombie {
		return w.nodes[n-1]
	}
	return nil
}

// options of the machine for a new term.
func (w *world) options() microbatch.Options {
	opt := microbatch.Options{
		Query: queryID, PlanHash: planHash, Term: w.term, Trigger: w.o.Trigger, Policy: w.o.Policy,
		CheckpointBatches: w.o.CkBatches, CheckpointsKept: w.o.CkKept, NoFinalCheckpoint: w.o.NoFinal,
	}
	for i, s := range w.query.Sources {
		spec := microbatch.SourceSpec{Name: s.Name, Pushes: w.o.Sources[i].Pushes, EventTime: true,
			Delay: delay(w.o.Disorder)}
		if w.o.Idle {
			spec.IdleTimeout = idleTimeout
		}
		opt.Sources = append(opt.Sources, spec)
	}
	for _, s := range w.sinks {
		opt.Sinks = append(opt.Sinks, microbatch.SinkSpec{Name: s.Name, Transactional: s.Transactional})
	}
	return opt
}

// start opens the log for a new term and starts a driver. Opening fences older
// terms: what is read then is all that they ever wrote.
func (w *world) start() {
	w.term++
	w.serial++
	w.elect()
	w.fail(w.log.Write(w.term, nil))
	m, err := microbatch.New(w.options())
	if err != nil {
		w.fail(err)
		return
	}
	n := &node{w: w, m: m, owner: w.serial, term: w.term, parts: 1 + w.rng.IntN(3), states: map[batch.ID]model.State{}}
	w.nodes = append(w.nodes, n)
	w.tracef("start driver %d term=%d parts=%d", n.owner, n.term, n.parts)
	recs := w.mutant.replayed(w.log.Records())
	for _, r := range recs {
		n.step(microbatch.LogRecord{Record: r})
	}
	n.step(microbatch.LogEnd{})
	n.fresh = w.unread() == 0 && len(recs) > 0
}

// elect lets go what the leader before had not made durable. A file still has it, for
// whoever opens it; of a replicated log it is left to chance which replica leads next.
func (w *world) elect() {
	if !w.o.Raft {
		w.check.durable(w.log.Sync())
		return
	}
	rest := w.log.Uncommitted()
	if rest == 0 {
		return
	}
	lucky, lost := w.log.Elect(w.rng.IntN(rest + 1))
	w.hits.At(16)
	w.tracef("of %d records that no majority held %d are lost", rest, lost)
	w.check.durable(lucky)
}

func (w *world) unread() int {
	n := 0
	for i, s := range w.query.Sources {
		n += len(s.Rows) - w.check.ends[i]
	}
	return n
}

// remove forgets dead drivers; the memory of their sinks' writers goes with them.
func (w *world) remove(n *node) {
	n.dead = true
	w.nodes = slices.DeleteFunc(w.nodes, func(o *node) bool { return o == n })
	for _, s := range w.sinks {
		s.Crash(func(owner int) bool { return owner == n.owner })
	}
}

// crash kills the leader. The log loses what was not synced, at any byte.
func (w *world) crash(n *node) {
	w.hits.crash(n)
	if w.o.Raft {
		w.elect()
		w.tracef("crash driver %d", n.owner)
		w.remove(n)
		w.corrupt()
		return
	}
	loss := w.log.Unsynced()
	keep := 0
	if loss > 0 {
		keep = w.rng.IntN(loss + 1)
	}
	lucky, torn, err := w.log.Crash(keep)
	w.fail(err)
	w.check.durable(lucky)
	if torn {
		w.hits.At(3)
	}
	w.tracef("crash driver %d: %d bytes unsynced, %d kept, torn %t", n.owner, loss, keep, torn)
	w.remove(n)
	w.corrupt()
	if len(w.nodes) == 0 && w.err == nil && w.check.mayLose && w.chance(w.o.Faults.Lose) {
		w.lose()
	}
}

// lose takes the last commit from the log, and what follows it, as other engines
// were hurt by: sinks that show the batch must not show it twice. A checkpoint
// that follows the commit keeps it: what it allowed to release is gone.
func (w *world) lose() {
	recs := w.log.Records()
	cut := -1
	for i, r := range recs {
		switch r.(type) {
		case microbatch.Committed:
			cut = i
		case microbatch.Checkpointed, microbatch.Adopted:
			cut = -1
		case microbatch.Started, microbatch.Planned:
		}
	}
	if cut < 0 || w.check.committed() != recs[cut].ID() {
		return
	}
	w.tracef("the log loses %d records from %s on", len(recs)-cut, describe(recs[cut]))
	w.fail(w.log.Replace(recs[:cut]))
	w.check.lost()
	w.hits.At(8)
}

// corrupt damages the newest checkpoint if an older one or the whole log is
// there: of n kept ones, one fewer may be lost.
func (w *world) corrupt() {
	if w.o.CkKept < 2 || !w.chance(w.o.Faults.Corrupt) {
		return
	}
	var refs []microbatch.Checkpointed
	base := batch.ID(-1)
	for _, r := range w.log.Records() {
		switch r := r.(type) {
		case microbatch.Checkpointed:
			refs = append(refs, r)
		case microbatch.Planned:
			if base < 0 {
				base = r.Batch
			}
		case microbatch.Started, microbatch.Committed, microbatch.Adopted:
		}
	}
	whole := 0
	for _, c := range refs {
		if s, ok := w.store[c.Manifests[0].Ref]; ok && !s.broken {
			whole++
		}
	}
	if len(refs) == 0 || whole < 2 && (base != 0 || len(refs) > 1) {
		return
	}
	ref := refs[len(refs)-1].Manifests[0].Ref
	s := w.store[ref]
	s.broken = true
	w.store[ref] = s
	w.tracef("checkpoint %s is damaged", ref)
}

// feed appends rows to a source and lets it tell whoever listens.
func (w *world) feed(rows int) {
	i := w.rng.IntN(len(w.query.Sources))
	s := w.query.Sources[i]
	for range rows {
		w.newest[i] += batch.EventTime(w.rng.IntN(8000))
		t := w.newest[i]
		if w.o.Disorder > 0 {
			t -= batch.EventTime(w.rng.Int64N(int64(w.o.Disorder)))
		}
		if w.o.Late && w.rng.IntN(8) == 0 {
			t -= 3 * (w.o.Disorder + w.o.Window)
		}
		s.Rows = append(s.Rows, model.Row{Part: uint8(w.rng.IntN(w.o.Sources[i].Parts)), Key: uint8(w.rng.IntN(4)), Time: t})
	}
	w.tracef("feed %s rows=%d end=%d", s.Name, rows, len(s.Rows))
	if !w.o.Sources[i].Pushes {
		return
	}
	for _, n := range slices.Clone(w.nodes) {
		if from, ok := n.position(i); ok && !n.zombie {
			var ev microbatch.Event = s.Answer(microbatch.Ask{From: model.Offset(from)})
			if w.rng.IntN(2) == 0 {
				ev = microbatch.SourceChanged{Source: s.Name}
			}
			n.later("push", func() (microbatch.Event, bool) { return ev, false })
		}
	}
}

// advance moves time to the leader's next wish, or by a little.
func (w *world) advance() {
	n := w.leader()
	if n != nil && n.wakeAt != batch.EndOfTime && (w.quiet || w.rng.IntN(3) > 0) {
		w.now = max(w.now, n.wakeAt)
	} else {
		w.now += batch.EventTime(w.rng.IntN(100_000))
	}
	if n == nil {
		return
	}
	at := w.now
	if w.chance(20) {
		at -= 3_600_000_000 // a clock that was set back must not matter
	}
	n.step(microbatch.Tick{At: at})
}
