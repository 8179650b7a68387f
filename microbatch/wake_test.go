package microbatch

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// A timer by the clock that a batch has left makes a batch without data when its
// time has come, not before, and the machine asks to be woken then.
func TestTimerByTheClockMakesABatch(t *testing.T) {
	m, err := New(Options{Query: "q", PlanHash: "h", Sources: []SourceSpec{{Name: "a", Pushes: true}}, Sinks: []SinkSpec{{Name: "s"}}, CheckpointInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	// answers takes events and tells whoever asks that there is nothing more.
	answers := func(evs ...Event) (all []Ready) {
		all = take(t, m, evs...)
		for i := 0; i < len(all); i++ {
			for _, a := range all[i].Ask {
				all = append(all, take(t, m, SourceAvailable{Source: "a", Ask: a.Seq, From: a.From, To: a.From})...)
			}
		}
		return all
	}
	answers(Tick{At: 1000}, LogEnd{})
	all := answers(SourceAvailable{Source: "a", From: "", To: "1"})
	if p, ok := planOf(all); !ok || p.NoData {
		t.Fatalf("no batch for the data: %+v", p)
	}
	run := func(id batch.ID, wake batch.EventTime) []Ready {
		all := answers(BatchDone{Batch: id, Attempt: 1, Result: Result{NextDue: batch.EndOfTime, NextWake: wake}})
		return append(all, answers(Revealed{Batch: id})...)
	}
	all = run(0, 5000)
	if p, ok := planOf(all); ok {
		t.Fatalf("a batch before its time: %+v", p)
	}
	if at := m.wakeAt(); at != 5000 {
		t.Errorf("the machine wants to be woken at %d", at)
	}
	if p, ok := planOf(answers(Tick{At: 4999})); ok {
		t.Errorf("a batch before its time: %+v", p)
	}
	p, ok := planOf(answers(Tick{At: 5000}))
	if !ok || !p.NoData || p.Now != 5000 {
		t.Fatalf("no batch for the timer: %+v", p)
	}
	if p, ok := planOf(append(run(1, 0), answers(Tick{At: 9000})...)); ok {
		t.Errorf("a batch without a timer: %+v", p)
	}
}

// It does not wait for the time at which a trigger looks for data: that is when rows
// are read, not when what is due comes out.
func TestTimerByTheClockDoesNotWaitForTheTrigger(t *testing.T) {
	m, err := New(Options{Query: "q", PlanHash: "h", Trigger: Trigger{Kind: Every, Interval: time.Hour},
		Sources: []SourceSpec{{Name: "a"}}, Sinks: []SinkSpec{{Name: "s"}}, CheckpointInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	const hour = batch.EventTime(time.Hour / time.Microsecond)
	all := take(t, m, Tick{At: hour}, LogEnd{})
	asked := 0
	answer := func(to batch.Offset) {
		for i := 0; i < len(all); i++ {
			for _, a := range all[i].Ask {
				asked++
				all = append(all, take(t, m, SourceAvailable{Source: "a", Ask: a.Seq, From: a.From, To: to})...)
			}
		}
	}
	answer("1")
	if p, ok := planOf(all); !ok || p.NoData {
		t.Fatalf("no batch for the data: %+v", p)
	}
	all = take(t, m, BatchDone{Batch: 0, Attempt: 1, Result: Result{NextDue: batch.EndOfTime, NextWake: hour + 5000}})
	all = append(all, take(t, m, Revealed{Batch: 0})...)
	answer("1")
	before := asked
	if at := m.wakeAt(); at != hour+5000 {
		t.Errorf("the machine wants to be woken at %d", at)
	}
	if p, ok := planOf(take(t, m, Tick{At: hour + 4999})); ok {
		t.Errorf("a batch before its time: %+v", p)
	}
	all = take(t, m, Tick{At: hour + 5000})
	p, ok := planOf(all)
	if !ok || !p.NoData || p.Now != hour+5000 || p.Ranges[0].End != "1" {
		t.Fatalf("no batch for the timer: %+v", p)
	}
	if answer("2"); asked != before {
		t.Error("the source was asked between two times of the trigger")
	}
}

// A table that batches look up is asked for its version when a batch is about to be
// planned, again for each, and not in between; its failure holds the batch up.
func TestLookedUpTablesAreAskedForEachBatch(t *testing.T) {
	m, err := New(Options{Query: "q", PlanHash: "h", Sources: []SourceSpec{{Name: "a", Pushes: true}, {Name: "dim", Static: true, Lookup: true}},
		Sinks: []SinkSpec{{Name: "s"}}, CheckpointInterval: -1})
	if err != nil {
		t.Fatal(err)
	}
	var dim Ask
	step := func(evs ...Event) []Ready {
		dim = Ask{}
		all := take(t, m, evs...)
		for i := 0; i < len(all); i++ {
			for _, a := range all[i].Ask {
				if a.Static {
					dim = a
					continue
				}
				all = append(all, take(t, m, SourceAvailable{Source: "a", Ask: a.Seq, From: a.From, To: a.From})...)
			}
		}
		return all
	}
	step(Tick{At: 1000}, LogEnd{})
	if dim.Seq != 0 {
		t.Error("the table is asked before there is data")
	}
	for id, pin := range []string{"v1", "v1", "v2"} {
		from, to := batch.Offset(""), batch.Offset("1")
		if id > 0 {
			from, to = batch.Offset(strconv.Itoa(id)), batch.Offset(strconv.Itoa(id+1))
		}
		all := step(SourceAvailable{Source: "a", From: from, To: to})
		if p, ok := planOf(all); ok || dim.Seq == 0 {
			t.Fatalf("batch %d is planned without asking the table: %+v", id, p)
		}
		if id == 1 { // its store is away for a while
			all = step(SourceFailed{Source: "dim", Ask: dim.Seq, Err: errors.New("away"), Retry: true})
			if p, ok := planOf(all); ok || dim.Seq != 0 {
				t.Fatalf("batch %d is planned without the table: %+v", id, p)
			}
			step(Tick{At: m.wakeAt()})
			if dim.Seq == 0 {
				t.Fatal("the table is not asked again")
			}
		}
		p, ok := planOf(step(SourceAvailable{Source: "dim", Ask: dim.Seq, Pin: pin}))
		if !ok || p.Ranges[1].Pin != pin || p.Ranges[0].End != to {
			t.Fatalf("batch %d: %+v", id, p)
		}
		step(BatchDone{Batch: batch.ID(id), Attempt: 1, Result: Result{NextDue: batch.EndOfTime}})
		if step(Revealed{Batch: batch.ID(id)}); dim.Seq != 0 {
			t.Error("the table is asked without a batch")
		}
	}
}
