package microbatch

import (
	"strconv"
	"testing"

	"github.com/sluice-stream/sluice/batch"
)

// paced drives a machine whose source always has more, and whose batches take made µs
// from plan to result and shown µs from commit to reveal.
type paced struct {
	t           *testing.T
	m           *Machine
	now         batch.EventTime
	made, shown batch.EventTime
	offset      int
	together    bool // the newest plan came with the commit of the batch before
	planned     batch.EventTime
	before      batch.EventTime // when the batch before the newest plan's was committed
	committed   batch.EventTime

	newest, done, newestCommitted, revealed batch.ID
}

func newPaced(t *testing.T) *paced {
	t.Helper()
	m, err := New(Options{Query: "q", PlanHash: "h", Sources: []SourceSpec{{Name: "a", Pushes: true}}, Sinks: []SinkSpec{{Name: "s"}}, CheckpointInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	p := &paced{t: t, m: m, now: 1000, newest: batch.None, done: batch.None, newestCommitted: batch.None, revealed: batch.None}
	p.step(LogEnd{})
	return p
}

// step tells the time and events, answers asks with one more offset, and notes when
// plans and commits are made.
func (p *paced) step(evs ...Event) {
	p.t.Helper()
	all := take(p.t, p.m, append([]Event{Tick{At: p.now}}, evs...)...)
	for i := 0; i < len(all); i++ {
		plan, commit := false, false
		for _, r := range all[i].Append {
			switch r := r.(type) {
			case Planned:
				plan, p.planned, p.newest, p.before = true, p.now, r.Batch, p.committed
			case Committed:
				commit, p.committed, p.newestCommitted = true, p.now, r.Batch
			}
		}
		if plan {
			p.together = commit
		}
		for _, a := range all[i].Ask {
			p.offset++
			all = append(all, take(p.t, p.m, SourceAvailable{Source: "a", Ask: a.Seq, From: a.From, To: batch.Offset(strconv.Itoa(p.offset))})...)
		}
	}
}

// round goes on until batch id is shown.
func (p *paced) round(id batch.ID) {
	p.t.Helper()
	for p.revealed < id {
		done, shown := batch.EndOfTime, batch.EndOfTime
		if p.done < p.newest {
			done = p.planned + p.made
		}
		if p.revealed < p.newestCommitted {
			shown = p.committed + p.shown
		}
		next := min(p.m.wakeAt(), done, shown)
		if next == batch.EndOfTime {
			p.t.Fatalf("nothing happens any more before batch %d is shown", id)
		}
		p.now = max(p.now, next)
		switch next {
		case done:
			p.done++
			p.step(BatchDone{Batch: p.done, Attempt: 1, Result: Result{NextDue: batch.EndOfTime}})
		case shown:
			p.revealed++
			p.step(Revealed{Batch: p.revealed})
		default:
			p.step()
		}
	}
}

// While a sink takes long to show a batch the next one is not planned along with the
// commit but later, so that it is made when the one before is shown: it gets what comes
// until then.
func TestPlanIsPutOffWhileASinkShows(t *testing.T) {
	p := newPaced(t)
	p.made, p.shown = 1000, 8000
	if p.round(0); !p.together {
		t.Error("the second batch was put off before anything was known")
	}
	for id := batch.ID(1); id < 100; id++ {
		p.round(id)
	}
	if p.together {
		t.Error("a batch is planned with the commit of the one before, though that takes long to be shown")
	}
	// Made just in time, and planned not much sooner than that needs.
	if late := p.planned - p.before; late < 6000 || late > 7000 {
		t.Errorf("the next batch was planned %d µs after the commit; it takes %d and the reveal %d", late, p.made, p.shown)
	}
}

// A reveal that is over earlier than thought ends the waiting; a sink that has become
// fast has the plan with the commit again; a batch that takes longer than the reveal
// is never put off.
func TestPlanIsNotPutOffForLonger(t *testing.T) {
	p := newPaced(t)
	p.made, p.shown = 1000, 8000
	id := batch.ID(0)
	for ; id < 100; id++ {
		p.round(id)
	}
	p.shown = 3000
	if p.round(id); p.planned != p.now {
		t.Errorf("planned at %d, the batch before was shown at %d", p.planned, p.now)
	}
	p.shown = 100
	for id++; id < 150; id++ {
		p.round(id)
	}
	if !p.together {
		t.Error("a batch is put off though the one before is shown at once")
	}
	p.made, p.shown = 20_000, 8000
	for ; id < 300; id++ {
		p.round(id)
	}
	if !p.together {
		t.Error("a batch is put off that takes longer than the reveal")
	}
}

// A backlog makes batches long; once it is worked off, plans are put off as before,
// within some batches and without anybody's doing.
func TestPaceReturnsAfterABacklog(t *testing.T) {
	p := newPaced(t)
	p.made, p.shown = 1000, 8000
	id := batch.ID(0)
	for ; id < 100; id++ {
		p.round(id)
	}
	p.made, p.shown = 5_000_000, 2_000_000
	for end := id + 20; id < end; id++ {
		p.round(id)
	}
	if !p.together {
		t.Error("a batch of a backlog is put off")
	}
	p.made, p.shown = 1000, 8000
	for end := id + 50; id < end; id++ {
		p.round(id)
	}
	if late := p.planned - p.before; p.together || late < 4000 || late > 8000 {
		t.Errorf("50 batches after the backlog the next one is planned %d µs after the commit; it takes %d and the reveal %d", late, p.made, p.shown)
	}
}
