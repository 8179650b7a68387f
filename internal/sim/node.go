package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/sim/model"
	"github.com/sluice-stream/sluice/microbatch"
)

const idleTimeout = 300 * time.Millisecond

func delay(d batch.EventTime) time.Duration { return time.Duration(d) * time.Microsecond }

// node is a driver with its workers in one process: the shell around the machine.
type node struct {
	w      *world
	m      *microbatch.Machine
	owner  int
	term   batch.Term
	parts  int
	zombie bool // a newer driver leads
	dead   bool
	fresh  bool // started with nothing to read
	works  []*work
	wakeAt batch.EventTime
	status microbatch.Status

	appends []appending
	states  map[batch.ID]model.State
	run     *run
	showing *microbatch.Reveal
	shown   int // sinks that the reveal has reached
	// for the crash points
	uploading, restoring, truncating bool
	processed                        []int
}

// work is something under way. run does its next step and returns the event
// that results, if any, and whether there are more steps.
type work struct {
	name string
	run  func() (microbatch.Event, bool)
}

type appending struct {
	recs    []microbatch.Record
	through uint64
	phase   int
}

func (n *node) later(name string, run func() (microbatch.Event, bool)) {
	n.works = append(n.works, &work{name, run})
}

// position is where the leader would read source i next.
func (n *node) position(i int) (int, bool) { return n.w.check.ends[i], !n.dead }

// step feeds an event and carries out what the machine then wants.
func (n *node) step(ev microbatch.Event) {
	if n.dead || n.w.err != nil {
		return
	}
	if _, ok := ev.(microbatch.Tick); !ok && !n.zombie {
		_ = n.m.Step(microbatch.Tick{At: n.w.now}) // an error shows in Ready
	}
	err := n.m.Step(ev)
	for rd, ok := n.m.Ready(); ok && !n.dead; rd, ok = n.m.Ready() {
		n.carryOut(rd)
		n.m.Advance(rd)
		if rd.Done {
			n.ended(rd.Err)
			return
		}
	}
	if err != nil && !n.dead {
		n.w.fail(model.Violationf("step %T failed with %v and the machine goes on", ev, err))
	}
}

func (n *node) ended(err error) {
	w := n.w
	w.tracef("driver %d ends: %v", n.owner, err)
	switch {
	case errors.Is(err, batch.ErrFenced):
		if n.term == w.term && !errors.Is(err, model.ErrViolation) {
			w.fail(fmt.Errorf("the newest term is fenced: %w", err))
		}
		w.hits.At(17)
	case microbatch.IsRefusal(err) || errors.Is(err, model.ErrViolation):
		w.fail(err)
	}
	w.remove(n)
}

func (n *node) carryOut(rd microbatch.Ready) {
	w := n.w
	n.wakeAt, n.status = rd.WakeAt, rd.Status
	n.processed = append(n.processed, rd.Processed...)
	if len(rd.Append) > 0 {
		n.appends = append(n.appends, appending{recs: rd.Append, through: rd.AppendThrough})
		n.later("append", n.appendNext)
	}
	if rd.Restore != nil {
		n.restore(*rd.Restore)
	}
	for _, a := range rd.AskSinks {
		n.askSink(a)
	}
	for _, a := range rd.Ask {
		n.ask(a)
	}
	if rd.Checkpoint != nil {
		n.checkpoint(rd.Checkpoint.Batch)
	}
	if rd.Run != nil {
		n.startRun(*rd.Run)
	}
	if rd.Reveal != nil {
		n.reveal(*rd.Reveal)
	}
	if rd.Prune != batch.None {
		for v := range n.states {
			if v < rd.Prune {
				delete(n.states, v)
			}
		}
		if w.mutant == EarlyRelease {
			for i, src := range w.query.Sources {
				src.Released = max(src.Released, w.check.ends[i])
			}
		}
	}
	if len(rd.Release) > 0 {
		rel := rd.Release
		n.later("release", func() (microbatch.Event, bool) {
			for _, r := range rel {
				for _, s := range w.query.Sources {
					if s.Name == r.Source && n.term == w.term {
						s.Released = max(s.Released, model.Index(r.To))
					}
				}
			}
			return nil, false
		})
	}
	if rd.Truncate != batch.None {
		n.truncate(rd.Truncate)
	}
}

// appendNext does the next step of the oldest append: write, sync, answer.
func (n *node) appendNext() (microbatch.Event, bool) {
	w, a := n.w, &n.appends[0]
	a.phase++
	if w.o.Raft && n.term < w.term {
		return n.minorityAppend(a)
	}
	switch a.phase {
	case 1:
		if err := w.log.Write(n.term, a.recs); err != nil {
			n.appends = n.appends[1:]
			return microbatch.AppendFailed{Err: err}, false
		}
		if w.trace != nil {
			for _, r := range a.recs {
				w.tracef("driver %d writes %s", n.owner, describe(r))
			}
		}
		if w.mutant == NoSync || w.mutant == NoQuorum && w.o.Raft {
			through := a.through
			n.appends = n.appends[1:]
			return microbatch.LogAppended{Through: through}, false
		}
		return nil, true
	case 2:
		w.check.durable(w.log.Sync())
		return nil, true
	}
	through := a.through
	n.appends = n.appends[1:]
	return microbatch.LogAppended{Through: through}, false
}

// minorityAppend is that of a driver which still believes that it leads: its own disk
// takes the records, nobody else does, and it hears of that some steps later. What it
// had sent before may be in the log or not; it cannot know.
func (n *node) minorityAppend(a *appending) (microbatch.Event, bool) {
	w := n.w
	if a.phase <= 2 && w.mutant != NoQuorum && w.mutant != NoFence {
		return nil, true
	}
	through := a.through
	n.appends = n.appends[1:]
	switch w.mutant {
	case NoQuorum:
		return microbatch.LogAppended{Through: through}, false
	case NoFence:
		if a.phase == 1 {
			w.fail(w.log.Write(n.term, a.recs))
			w.check.durable(w.log.Sync())
		}
		return microbatch.LogAppended{Through: through}, false
	default:
		return microbatch.AppendFailed{Err: fmt.Errorf("leadership was lost: %w", batch.ErrFenced)}, false
	}
}

func (n *node) restore(r microbatch.Restore) {
	w := n.w
	n.restoring = true
	n.later("restore", func() (microbatch.Event, bool) {
		if w.chance(w.o.Faults.Restore) {
			w.tracef("driver %d: restore takes longer", n.owner)
			return nil, true
		}
		n.restoring = false
		clear(n.states)
		if r.Batch == batch.None {
			n.states[batch.None] = model.State{}
			return microbatch.Restored{Batch: r.Batch}, false
		}
		s, ok := w.store[r.Manifests[0].Ref]
		if !ok {
			w.fail(model.Violationf("checkpoint of batch %d is gone", r.Batch)) // I5
			return nil, false
		}
		if s.broken {
			w.tracef("driver %d: checkpoint of batch %d is damaged", n.owner, r.Batch)
			return microbatch.RestoreFailed{Batch: r.Batch, Err: errors.New("bad checksum")}, false
		}
		w.tracef("driver %d restores batch %d", n.owner, r.Batch)
		n.states[r.Batch] = s.state
		return microbatch.Restored{Batch: r.Batch}, false
	})
}

func (n *node) askSink(a microbatch.AskSink) {
	w := n.w
	s := w.sink(a.Sink)
	n.later("asksink", func() (microbatch.Event, bool) {
		if w.chance(w.o.Faults.SinkAsk) {
			return microbatch.SinkUnknown{Sink: a.Sink, Err: errors.New("no answer"), Retry: true}, false
		}
		id, digest, err := s.Ask(a.Term, n.owner)
		if err != nil {
			return microbatch.SinkUnknown{Sink: a.Sink, Err: err}, false
		}
		if w.mutant == BlindRetry && id > batch.None {
			id--
		}
		w.tracef("driver %d: sink %s holds %d", n.owner, a.Sink, id)
		return microbatch.SinkHolds{Sink: a.Sink, Batch: id, Digest: digest}, false
	})
}

func (w *world) sink(name string) *model.Sink {
	i := slices.IndexFunc(w.sinks, func(s *model.Sink) bool { return s.Name == name })
	return w.sinks[i]
}

func (n *node) ask(a microbatch.Ask) {
	w := n.w
	i := slices.IndexFunc(w.query.Sources, func(s *model.Source) bool { return s.Name == a.Source })
	var ev microbatch.SourceAvailable
	looked := false
	n.later("ask", func() (microbatch.Event, bool) {
		if looked { // data may have come between looking and answering
			return ev, false
		}
		if w.chance(w.o.Faults.Ask) {
			return microbatch.SourceFailed{Source: a.Source, Ask: a.Seq, Err: errors.New("no answer"), Retry: true}, false
		}
		ev, looked = w.query.Sources[i].Answer(a), true
		return nil, true
	})
}

func (n *node) checkpoint(id batch.ID) {
	w := n.w
	state, ok := n.states[id]
	if !ok || n.run != nil {
		w.fail(model.Violationf("a checkpoint of batch %d is asked for while the state has moved on", id))
		return
	}
	n.uploading = true
	w.serial++
	ref := fmt.Sprintf("ck-%d-%d", id, w.serial)
	uploaded := false
	n.later("checkpoint", func() (microbatch.Event, bool) {
		if uploaded {
			n.uploading = false
			var d batch.Digest
			return microbatch.CheckpointDone{Batch: id, Manifests: []microbatch.Manifest{{Ref: ref, Digest: d}}}, false
		}
		if w.chance(w.o.Faults.Checkpoint) {
			n.uploading = false
			return microbatch.CheckpointFailed{Batch: id, Err: errors.New("store refused")}, false
		}
		w.store[ref] = snapshot{state: state}
		uploaded = true
		return nil, true
	})
}

func (n *node) truncate(before batch.ID) {
	w := n.w
	n.truncating = true
	n.later("truncate", func() (microbatch.Event, bool) {
		n.truncating = false
		if err := w.log.Truncate(n.term, before); err != nil {
			return microbatch.TermLost{}, false
		}
		w.tracef("driver %d truncates before %d: %d records left", n.owner, before, w.log.Size())
		w.check.truncated()
		return nil, false
	})
}

func describe(r microbatch.Record) string {
	switch r := r.(type) {
	case microbatch.Planned:
		return fmt.Sprintf("planned batch=%d term=%d %v watermark=%d close=%d nodata=%t", r.Batch, r.Term, r.Ranges, r.Watermark, r.Close, r.NoData)
	case microbatch.Committed:
		return fmt.Sprintf("committed batch=%d term=%d rows=%d next=%d due=%d", r.Batch, r.Term, r.Counters.RowsIn, r.NextWatermark, r.NextDue)
	case microbatch.Checkpointed:
		return fmt.Sprintf("checkpointed batch=%d term=%d", r.Batch, r.Term)
	case microbatch.Started:
		return fmt.Sprintf("started term=%d last=%d", r.Term, r.Last)
	case microbatch.Adopted:
		return fmt.Sprintf("adopted batch=%d term=%d from %q", r.Plan.Batch, r.Term, r.From)
	}
	return "?"
}
