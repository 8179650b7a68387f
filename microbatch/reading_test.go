package microbatch

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// The clock of who takes over may be behind that of who has planned before.
func TestTriggersRingThoughTheLogIsAheadOfTheClock(t *testing.T) {
	hour, interval := batch.EventTime(time.Hour.Microseconds()), batch.EventTime(time.Second.Microseconds())
	opt := Options{Query: "q", PlanHash: "h", Trigger: Trigger{Kind: Every, Interval: time.Second}, Sources: []SourceSpec{{Name: "a"}}, Sinks: []SinkSpec{{Name: "s"}}, CheckpointInterval: -1}
	m, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	at, pos, now := 10*hour, batch.Offset(""), batch.EventTime(0)
	var log []Record
	// live answers whatever the machine asks for until it has made so many batches, by a
	// clock that is at first where at is and then rings when the machine says.
	live := func(m *Machine, batches int) {
		t.Helper()
		for _, r := range log {
			take(t, m, LogRecord{Record: r})
		}
		todo := take(t, m, Tick{At: at}, LogEnd{})
		for steps := 0; batches > 0 || len(todo) > 0; steps++ {
			if steps > 1000 {
				t.Fatalf("no batch at %s of the clock", time.Duration(at)*time.Microsecond)
			}
			if len(todo) == 0 {
				wake := m.reading.clock(m.wakeAt())
				if wake == batch.EndOfTime || wake < at {
					t.Fatalf("the machine waits for %d at %d", wake, at)
				}
				if d := wake - at; d > 2*interval {
					t.Fatalf("a trigger each second rings %s later", time.Duration(d)*time.Microsecond)
				}
				at = wake
				todo = take(t, m, Tick{At: at})
				continue
			}
			rd := todo[0]
			todo = todo[1:]
			for _, r := range rd.Append {
				log = append(log, r)
				if p, ok := r.(Planned); ok {
					if p.Now < now {
						t.Errorf("time falls from %d to %d", now, p.Now)
					}
					now, pos = p.Now, p.Ranges[0].End
					batches--
				}
			}
			if r := rd.Run; r != nil {
				todo = append(todo, take(t, m, BatchDone{Batch: r.Plan.Batch, Attempt: r.Attempt, Result: Result{NextDue: batch.EndOfTime}})...)
			}
			if r := rd.Reveal; r != nil {
				todo = append(todo, take(t, m, Revealed{Batch: r.Batch})...)
			}
			for _, a := range rd.Ask {
				todo = append(todo, take(t, m, SourceAvailable{Source: "a", Ask: a.Seq, From: a.From, To: pos + "x"})...)
			}
		}
	}
	live(m, 3)
	opt.Term = 2
	if m, err = New(opt); err != nil {
		t.Fatal(err)
	}
	at -= hour
	live(m, 3)
}

func TestReadingsOnlyRise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var r reading
		clock, log := batch.EventTime(rng.Int64N(1000)), batch.EventTime(rng.Int64N(2000))
		r.begin(log, batch.NoTime)
		was := r.at(clock)
		if was != max(log, clock) {
			t.Fatalf("time begins at %d, by a clock at %d and a log at %d", was, clock, log)
		}
		for range 100 {
			wish := was + batch.EventTime(rng.Int64N(300))
			wake := r.clock(wish)
			if rng.IntN(2) == 0 {
				wake = clock + batch.EventTime(rng.Int64N(300))
			}
			if wake < clock {
				wake = clock
			}
			now := r.at(wake)
			if now < was || now < wake {
				t.Fatalf("time goes from %d to %d, the clock from %d to %d", was, now, clock, wake)
			}
			if wake == r.clock(wish) && now < wish {
				t.Fatalf("woken at %d, it is %d and not %d", wake, now, wish)
			}
			clock, was = wake, now
		}
		if r.ahead != 0 && clock-r.since > r.ahead*slower {
			t.Fatalf("it has not caught up: %+v at %d", r, clock)
		}
	}
}
