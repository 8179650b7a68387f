package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/sim/model"
	"github.com/sluice-stream/sluice/microbatch"
)

// Report is what one life was like.
type Report struct {
	Options Options
	Hits    Hits
	Batches int
	Rows    int
	Drivers int
	Trace   string // if asked for
	Err     error  // nil: the protocol held
}

// endMax bounds the steps that a query may need to finish when faults stop (I10).
const endMax = 20_000

// Run lives the life of a seed.
func Run(seed uint64, mutant Mutant, verbose bool) Report {
	rng := rand.New(rand.NewPCG(seed, 0x5ea))
	rep := Report{Options: draw(rng, seed)}
	w := newWorld(rep.Options, rng, &rep.Hits, mutant)
	if verbose {
		w.trace = &strings.Builder{}
	}
	for range rep.Options.Steps {
		if w.err != nil {
			break
		}
		w.chaos()
	}
	if w.err == nil {
		w.finish()
	}
	if w.err == nil {
		w.check.answer()
	}
	rep.Batches, rep.Drivers, rep.Err = len(w.check.commits), int(w.term), w.err
	for _, s := range w.query.Sources {
		rep.Rows += len(s.Rows)
	}
	if w.trace != nil {
		rep.Trace = w.trace.String()
	}
	if rep.Err != nil {
		rep.Err = fmt.Errorf("seed %d: %w", seed, rep.Err)
	}
	return rep
}

// chaos draws one step.
func (w *world) chaos() {
	n := w.leader()
	if n == nil {
		if w.rng.IntN(4) == 0 {
			w.feed(1 + w.rng.IntN(3))
		}
		w.probe()
		w.start()
		return
	}
	f := w.o.Faults
	switch {
	case w.chance(f.Crash):
		w.crash(n)
	case len(w.nodes) < maxNodes && w.chance(f.Zombie):
		w.tracef("driver %d is taken for dead", n.owner)
		n.zombie = true
	case w.chance(f.Stop):
		ev := microbatch.StopRequested{Abandon: w.rng.IntN(3) == 0}
		w.tracef("stop driver %d, abandon %t", n.owner, ev.Abandon)
		n.step(ev)
	default:
		w.live()
	}
}

// live is a step without a fault of its own.
func (w *world) live() {
	switch k := w.rng.IntN(100); {
	case k < 78:
		w.work(w.nodes[w.rng.IntN(len(w.nodes))])
	case k < 88:
		w.feed(1 + w.rng.IntN(4))
	default:
		w.advance()
	}
}

// work does the next step of something that a driver has under way.
func (w *world) work(n *node) {
	if len(n.works) == 0 {
		w.advance()
		return
	}
	i := w.rng.IntN(len(n.works))
	if w.quiet && w.rng.IntN(4) > 0 {
		i = 0 // mostly in order, so that nothing waits for ever
	}
	k := n.works[i]
	if k.name == "append" { // the log writes in order
		i = slices.IndexFunc(n.works, func(o *work) bool { return o.name == "append" })
		k = n.works[i]
	}
	ev, more := k.run()
	if n.dead {
		return
	}
	if !more {
		n.works = slices.DeleteFunc(n.works, func(o *work) bool { return o == k })
	}
	if ev != nil {
		n.step(ev)
	}
	if n.fresh && len(w.check.plans) > 0 && w.check.plans[len(w.check.plans)-1].NoData && n.run != nil {
		w.hits.At(23)
		n.fresh = false
	}
}

// finish stops all faults, lets the zombies end, and waits until everything is
// processed.
func (w *world) finish() {
	w.quiet = true
	w.tracef("faults stop")
	for _, n := range slices.Clone(w.nodes) {
		if n.zombie {
			w.drainZombie(n)
		}
	}
	begun, asked := false, false // a driver was started after the faults; one was asked
	// Half the lives are not asked to process all, but have to get there by
	// themselves: what a source says must not be missed.
	patient := !w.o.Trigger.Bounded() && w.rng.IntN(2) == 0
	for step := 0; w.err == nil; step++ {
		if step > endMax {
			w.fail(model.Violationf("I10: %d steps after the faults the query has not caught up: %d rows unread, %d plans, %d commits",
				endMax, w.unread(), len(w.check.plans), len(w.check.commits)))
			return
		}
		n := w.leader()
		if n == nil {
			if w.o.Trigger.Bounded() && begun && w.caughtUp() {
				return
			}
			w.start()
			begun, asked = true, false
			continue
		}
		if patient && step < 100 { // rows still come for a while
			if w.rng.IntN(8) == 0 {
				w.feed(1)
			}
		} else if patient && w.caughtUp() && !w.check.due() {
			return
		}
		if !patient && !asked && !w.o.Trigger.Bounded() { // also the driver that lived on, which may be stopping
			asked = true
			n.step(microbatch.ProcessAll{Token: 7})
			continue
		}
		if slices.Contains(n.processed, 7) {
			if !w.caughtUp() {
				w.fail(model.Violationf("everything is said to be processed: %d rows unread, %d plans, %d commits",
					w.unread(), len(w.check.plans), len(w.check.commits)))
			}
			return
		}
		w.work(n)
	}
}

// drainZombie lets a zombie do all that it had under way. Nothing of it may count.
func (w *world) drainZombie(n *node) {
	for step := 0; len(n.works) > 0 && !n.dead && w.err == nil && step < endMax; step++ {
		w.work(n)
	}
	w.remove(n)
}

func (w *world) caughtUp() bool {
	if w.unread() > 0 || len(w.check.plans) != len(w.check.commits) {
		return false
	}
	for _, s := range w.sinks {
		if s.Holds != w.check.committed() {
			return false
		}
	}
	return true
}

// probe starts drivers that must be refused by name and must change nothing.
func (w *world) probe() {
	recs := w.log.Records()
	if w.quiet || len(recs) == 0 || w.rng.IntN(4) > 0 {
		return
	}
	opt := w.options()
	opt.Term = w.term + 1
	var want error
	switch w.rng.IntN(4) {
	case 0:
		if !slices.ContainsFunc(recs, func(r microbatch.Record) bool { _, ok := r.(microbatch.Planned); return ok }) {
			return // another plan may begin where no batch was planned
		}
		opt.PlanHash, want = "plan-2", microbatch.ErrPlanChanged
		w.hits.At(15)
	case 1:
		opt.Query, want = "another", microbatch.ErrForeignLog
		w.hits.At(20)
	case 2:
		recs = slices.DeleteFunc(recs, func(r microbatch.Record) bool {
			switch r.(type) {
			case microbatch.Started, microbatch.Checkpointed, microbatch.Adopted:
				return true
			case microbatch.Planned, microbatch.Committed:
			}
			return false
		})
		if want = microbatch.ErrNoIdentity; len(recs) == 0 {
			return
		}
		w.hits.At(22)
	case 3:
		w.probeRewind(opt, recs)
		return
	}
	if _, err := open(opt, recs); !errors.Is(err, want) {
		w.fail(model.Violationf("a driver that must be refused with %q gets %v", want, err))
	}
}

func open(opt microbatch.Options, recs []microbatch.Record) (*microbatch.Machine, error) {
	m, err := microbatch.New(opt)
	if err != nil {
		return nil, err
	}
	for _, r := range recs {
		if err := m.Step(microbatch.LogRecord{Record: r}); err != nil {
			return nil, err
		}
	}
	return m, m.Step(microbatch.LogEnd{})
}

// probeRewind puts an older log before a sink that is ahead of it (C21).
func (w *world) probeRewind(opt microbatch.Options, recs []microbatch.Record) {
	cut, commits := 0, 0
	var held batch.ID = batch.None
	for _, s := range w.sinks {
		if s.Transactional {
			held = s.Holds
		}
	}
	for i, r := range recs {
		if c, ok := r.(microbatch.Committed); ok && c.Batch < held {
			cut, commits = i+1, commits+1
		}
	}
	if commits == 0 {
		return
	}
	w.hits.At(21)
	m, err := open(opt, recs[:cut])
	if err == nil {
		rd, _ := m.Ready()
		m.Advance(rd)
		err = m.Step(microbatch.LogAppended{Through: rd.AppendThrough})
		rd, _ = m.Ready()
		m.Advance(rd)
	}
	for _, s := range w.sinks {
		if s.Transactional && err == nil {
			err = m.Step(microbatch.SinkHolds{Sink: s.Name, Batch: s.Holds, Digest: s.Digest})
		}
	}
	// What is left of a truncated log may not even say whose it is.
	if !errors.Is(err, microbatch.ErrSinkAhead) && !errors.Is(err, microbatch.ErrNoIdentity) && !errors.Is(err, microbatch.ErrLogGap) {
		w.fail(model.Violationf("a log that ends before what sinks show is opened with %v", err))
	}
}
