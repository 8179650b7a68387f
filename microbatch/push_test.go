package microbatch

import (
	"testing"

	"github.com/sluice-stream/sluice/batch"
)

// take steps events and gathers what the machine asks for, answering nothing but appends.
func take(t *testing.T, m *Machine, evs ...Event) (all []Ready) {
	t.Helper()
	for len(evs) > 0 {
		if err := m.Step(evs[0]); err != nil {
			t.Fatalf("step %T: %v", evs[0], err)
		}
		evs = evs[1:]
		for rd, ok := m.Ready(); ok; rd, ok = m.Ready() {
			if len(rd.Append) > 0 {
				evs = append(evs, LogAppended{Through: rd.AppendThrough})
			}
			if rd.Restore != nil {
				evs = append(evs, Restored{Batch: rd.Restore.Batch})
			}
			all = append(all, rd)
			m.Advance(rd)
		}
	}
	return all
}

func askOf(t *testing.T, all []Ready) Ask {
	t.Helper()
	for i := len(all) - 1; i >= 0; i-- {
		if len(all[i].Ask) > 0 {
			return all[i].Ask[0]
		}
	}
	t.Fatal("nothing is asked")
	return Ask{}
}

func planOf(all []Ready) (p Planned, ok bool) {
	for _, rd := range all {
		for _, r := range rd.Append {
			if q, is := r.(Planned); is {
				p, ok = q, true
			}
		}
	}
	return p, ok
}

// A source looks, finds nothing, gets data and pushes; its answer, which is older
// than the push, arrives last. The data must not be forgotten until some next push.
func TestAnswerOlderThanAPush(t *testing.T) {
	for name, push := range map[string]Event{
		"with an offset": SourceAvailable{Source: "a", From: "1", To: "2"},
		"as a hint":      SourceChanged{Source: "a"},
		"from before":    SourceAvailable{Source: "a", From: "", To: "2"},
	} {
		for _, kind := range []TriggerKind{Immediate, Latency} {
			opt := testOptions()
			opt.Trigger = Trigger{Kind: kind, Interval: 1000}
			if kind == Latency {
				opt.Trigger.Interval = 1_000_000
			}
			m, err := New(opt)
			if err != nil {
				t.Fatal(err)
			}
			all := take(t, m, Tick{At: 1}, LogEnd{})
			all = take(t, m, SourceAvailable{Source: "a", Ask: askOf(t, all).Seq, To: "1"})
			if p, ok := planOf(all); !ok || p.Ranges[0].End != "1" {
				t.Fatalf("planned %+v", p)
			}
			old := askOf(t, all) // while batch 0 runs
			all = append(take(t, m, push), take(t, m, SourceAvailable{Source: "a", Ask: old.Seq, From: "1", To: "1"})...)
			for _, rd := range all {
				for _, a := range rd.Ask {
					take(t, m, SourceAvailable{Source: "a", Ask: a.Seq, From: a.From, To: "2"})
				}
			}
			all = take(t, m, BatchDone{Batch: 0, Attempt: 1, Result: Result{NextDue: batch.EndOfTime}})
			if p, ok := planOf(all); !ok || p.Batch != 1 || p.Ranges[0].End != "2" {
				t.Errorf("push %s under %v: planned %+v, %t", name, kind, p, ok)
			}
		}
	}
}

// TestPushesBeforeThePlan: what comes while a batch runs, or is shown, goes into the next
// one under LATENCY, too, also when something is known to come already.
func TestPushesBeforeThePlan(t *testing.T) {
	for _, early := range []bool{false, true} { // the second push comes before the answer to the first
		opt := testOptions()
		opt.Trigger = Trigger{Kind: Latency, Interval: 1_000_000}
		m, err := New(opt)
		if err != nil {
			t.Fatal(err)
		}
		all := take(t, m, Tick{At: 1}, LogEnd{})
		all = take(t, m, SourceAvailable{Source: "a", Ask: askOf(t, all).Seq, To: "1"}) // batch 0 is planned
		all = take(t, m, SourceAvailable{Source: "a", Ask: askOf(t, all).Seq, From: "1", To: "1"})
		all = append(all, take(t, m, SourceAvailable{Source: "a", From: "1", To: "2"})...)
		first := askOf(t, all)
		if early {
			take(t, m, SourceAvailable{Source: "a", From: "1", To: "3"})
		}
		all = take(t, m, SourceAvailable{Source: "a", Ask: first.Seq, From: "1", To: "2"})
		if !early {
			all = take(t, m, SourceAvailable{Source: "a", From: "1", To: "3"})
		}
		take(t, m, SourceAvailable{Source: "a", Ask: askOf(t, all).Seq, From: "1", To: "3"})
		all = take(t, m, BatchDone{Batch: 0, Attempt: 1, Result: Result{NextDue: batch.EndOfTime}})
		if p, ok := planOf(all); !ok || p.Batch != 1 || p.Ranges[0].End != "3" {
			t.Errorf("early %t: planned %+v, %t", early, p, ok)
		}
		if all := take(t, m, SourceAvailable{Source: "a", From: "3", To: "3"}); len(all) > 0 && len(all[0].Ask) > 0 {
			t.Error("a push without anything new is asked about")
		}
	}
}
