package microbatch

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// shell answers everything at once: the simplest driver there is. Its source
// holds rows up to end, its tasks take no time and have no state.
type shell struct {
	t    *testing.T
	m    *Machine
	log  []Record
	now  batch.EventTime
	end  batch.Offset
	more bool
	runs []Run
	asks []Ask
	took time.Duration // of a batch
	done *Ready
	rows int64
	nap  batch.EventTime
	pin  string
	// alter changes what comes of a Ready; nil: nothing does.
	alter func(rd Ready, evs []Event) []Event
}

func newShell(t *testing.T, opt Options) *shell {
	t.Helper()
	s := &shell{t: t, now: 1_000_000}
	s.start(opt)
	return s
}

func testOptions() Options {
	return Options{Query: "q", PlanHash: "p", Sources: []SourceSpec{{Name: "a", Pushes: true}}, Sinks: []SinkSpec{{Name: "k"}}}
}

func (s *shell) start(opt Options) {
	s.t.Helper()
	m, err := New(opt)
	if err != nil {
		s.t.Fatal(err)
	}
	s.m, s.done = m, nil
	for _, r := range s.log {
		s.step(LogRecord{Record: r})
	}
	s.step(LogEnd{})
}

func (s *shell) step(ev Event) {
	s.t.Helper()
	queue := []Event{Tick{At: s.now}, ev}
	for len(queue) > 0 {
		if err := s.m.Step(queue[0]); err != nil {
			s.t.Fatalf("step %T: %v", queue[0], err)
		}
		queue = queue[1:]
		for rd, ok := s.m.Ready(); ok; rd, ok = s.m.Ready() {
			evs := s.carryOut(rd)
			if s.alter != nil {
				evs = s.alter(rd, evs)
			}
			queue = append(queue, evs...)
			s.m.Advance(rd)
		}
	}
}

func (s *shell) carryOut(rd Ready) (evs []Event) {
	if len(rd.Append) > 0 {
		s.log = append(s.log, rd.Append...)
		evs = append(evs, LogAppended{Through: rd.AppendThrough})
	}
	if rd.Truncate != batch.None {
		var rest []Record
		for _, r := range s.log {
			if r.ID() >= rd.Truncate {
				rest = append(rest, r)
			}
		}
		s.log = rest
	}
	if rd.Restore != nil {
		evs = append(evs, Restored{Batch: rd.Restore.Batch})
	}
	for _, a := range rd.Ask {
		s.asks = append(s.asks, a)
		if a.Static && s.pin == "away" {
			evs = append(evs, SourceFailed{Source: a.Source, Ask: a.Seq, Err: errors.New("no such file")})
			continue
		}
		if a.Static {
			evs = append(evs, SourceAvailable{Source: a.Source, Ask: a.Seq, From: a.From, To: a.From, Pin: s.pin})
			continue
		}
		evs = append(evs, SourceAvailable{Source: a.Source, Ask: a.Seq, From: a.From, To: s.end, More: s.more})
	}
	if rd.Checkpoint != nil {
		evs = append(evs, CheckpointDone{Batch: rd.Checkpoint.Batch})
	}
	if rd.Run != nil {
		s.runs = append(s.runs, *rd.Run)
		s.now += batch.EventTime(s.took.Microseconds())
		evs = append(evs, Tick{At: s.now}, BatchDone{Batch: rd.Run.Plan.Batch, Attempt: rd.Run.Attempt,
			Result: Result{NextDue: batch.EndOfTime, Counters: batch.Counters{RowsIn: s.rows}}})
	}
	if rd.Reveal != nil {
		evs = append(evs, Revealed{Batch: rd.Reveal.Batch})
	}
	if rd.Done {
		s.done = &rd
	}
	s.nap = rd.WakeAt
	return evs
}

// feed makes the source readable up to an offset and tells the machine.
func (s *shell) feed(to batch.Offset) {
	s.t.Helper()
	s.end = to
	s.step(SourceChanged{Source: "a"})
}

func offset(n int) batch.Offset {
	return batch.Offset(strings.Repeat("x", n%7+1) + string(rune('a'+n%26)))
}

// M10: neither the machine, its log nor the time of a batch grows with their number.
func TestNothingGrowsWithBatches(t *testing.T) {
	opt := testOptions()
	opt.CheckpointBatches = 10
	s := newShell(t, opt)
	run := func(n int) {
		for i := range n {
			s.now += 1000
			s.runs, s.asks = s.runs[:0], s.asks[:0]
			s.feed(offset(i + 1))
		}
	}
	run(100)
	few := testing.AllocsPerRun(1, func() { run(100) })
	run(20_000)
	many := testing.AllocsPerRun(1, func() { run(100) })
	if many > few*1.1 {
		t.Errorf("100 batches take %.0f allocations at first and %.0f later", few, many)
	}
	if n := len(s.log); n > 100 {
		t.Errorf("the log holds %d records", n)
	}
	if n := len(s.m.check.kept) + len(s.m.marks) + len(s.m.queued); n > 5 {
		t.Errorf("the machine holds %d things", n)
	}
}

func BenchmarkBatch(b *testing.B) {
	opt := testOptions()
	opt.CheckpointBatches = 100
	s := newShell(&testing.T{}, opt)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.now += 1000
		s.runs, s.asks = s.runs[:0], s.asks[:0]
		s.feed(offset(i + 1))
	}
}

// A clock that is set back stops nothing, and time in plans never falls (E8).
func TestClockSetBack(t *testing.T) {
	opt := testOptions()
	opt.Trigger = Trigger{Kind: Every, Interval: time.Second}
	s := newShell(t, opt)
	s.end = "1"
	s.now += 3_600_000_000
	s.step(Tick{At: s.now})
	late := s.now
	s.now -= 7_200_000_000
	s.step(Tick{At: s.now})
	s.end = "2"
	s.now = late + 1_000_000
	s.step(Tick{At: s.now})
	if len(s.runs) != 2 || s.runs[1].Plan.Now < s.runs[0].Plan.Now {
		t.Fatalf("ran %+v", s.runs)
	}
}

// A static source is pinned in every plan and starts no batch; its new version
// counts for batches that are planned once it was asked for again, after a while or
// at the next start, and not for a batch that was planned before.
func TestStaticSourceIsPinned(t *testing.T) {
	opt := testOptions()
	opt.Sources = append(opt.Sources, SourceSpec{Name: "airports", Static: true})
	s := newShell(t, opt)
	s.pin = "v1"
	s.start(opt)
	if len(s.runs) != 0 {
		t.Fatalf("a batch without data: %+v", s.runs)
	}
	s.feed("1")
	s.pin = "v2"
	s.feed("2")
	s.start(opt)
	s.feed("3")
	s.pin = "v3"
	s.feed("4")
	s.now += 1_000_000
	s.step(Tick{At: s.now})
	s.feed("5")
	want := []string{"v1", "v1", "v1", "v1", "v2", "v2", "v3"} // two live, two replayed, three live
	for i, w := range want {
		if i >= len(s.runs) || s.runs[i].Plan.Ranges[1].Pin != w {
			t.Fatalf("run %d of %d is not pinned to %s: %+v", i, len(s.runs), w, s.runs)
		}
	}
}

// A trigger that fires asks for the version of a static source as it is then: one
// that was told long before may be gone. While a table that was read before is
// away, a query whose batches start by themselves goes on with what it has read.
func TestStaticSourceIsAskedAtTheTrigger(t *testing.T) {
	opt := testOptions()
	opt.Trigger = Trigger{Kind: Every, Interval: time.Second}
	opt.Sources = append(opt.Sources, SourceSpec{Name: "airports", Static: true})
	s := newShell(t, opt)
	for i, pin := range []string{"v1", "v2"} {
		s.pin, s.end = pin, offset(i)
		s.now += 3_600_000_000
		s.step(Tick{At: s.now})
		if len(s.runs) != i+1 || s.runs[i].Plan.Ranges[1].Pin != pin {
			t.Fatalf("run %d is not pinned to %s: %+v", i, pin, s.runs)
		}
	}
	opt.Trigger = Trigger{}
	s = newShell(t, opt)
	s.pin = "v1"
	s.start(opt)
	s.feed("1")
	asks := len(s.asks)
	s.pin = "away"
	s.now += 1_000_000
	s.step(Tick{At: s.now})
	if len(s.asks) == asks {
		t.Fatal("the version was not asked for again")
	}
	s.feed("2")
	if s.done != nil || len(s.runs) != 2 || s.runs[1].Plan.Ranges[1].Pin != "v1" {
		t.Fatalf("the query does not go on: %+v, %+v", s.done, s.runs)
	}
}

func TestAnswersThatCannotBe(t *testing.T) {
	for name, evs := range map[string][]Event{
		"append":         {LogAppended{Through: 99}},
		"record":         {LogRecord{Record: Started{Term: 1}}},
		"end":            {LogEnd{}},
		"unknown source": {SourceChanged{Source: "z"}},
		"position":       {SourceAvailable{Source: "a", Ask: 1, From: "elsewhere"}},
	} {
		m, err := New(testOptions())
		if err != nil {
			t.Fatal(err)
		}
		err = m.Step(LogEnd{})
		rd, _ := m.Ready()
		m.Advance(rd)
		err = errors.Join(err, m.Step(LogAppended{Through: rd.AppendThrough}), m.Step(Restored{Batch: batch.None}))
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range evs {
			err = m.Step(ev)
		}
		rd, ok := m.Ready()
		if !errors.Is(err, ErrProtocol) || !ok || !rd.Done || !errors.Is(rd.Err, ErrProtocol) {
			t.Errorf("%s: %v, done %t with %v", name, err, rd.Done, rd.Err)
		}
		if err := m.Step(Tick{At: 1}); err != nil {
			t.Errorf("%s: an event after the end: %v", name, err)
		}
	}
}

func TestOptionsJoinAllFaults(t *testing.T) {
	_, err := New(Options{
		Sources: []SourceSpec{{Name: "a"}, {Name: "a", Delay: -1}, {Name: "s", Static: true, EventTime: true}},
		Sinks:   []SinkSpec{{}}, Trigger: Trigger{Kind: Cron, Schedule: "x"}, Policy: 9, AttemptsMax: -1, RetryBackoff: -1,
	})
	for _, want := range []string{"needs an ID", "hash", "given twice", "negative", "static", "sink name", "cron", "policy"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
	if kind, _ := batch.KindOf(err); kind != batch.User {
		t.Errorf("kind is %v", kind)
	}
}

// TestStopFinishesWhatIsPlanned: a query that is stopped while its next batch is
// planned already runs that, too, so that another plan can go on from its last
// checkpoint; one that waits to try again is left.
func TestStopFinishesWhatIsPlanned(t *testing.T) {
	for _, fails := range []bool{false, true} {
		s := newShell(t, testOptions())
		s.feed("a")
		s.feed("b")
		runs, stopped, failed := len(s.runs), false, false
		s.alter = func(rd Ready, evs []Event) []Event {
			for _, rec := range rd.Append {
				if _, ok := rec.(Planned); ok && !stopped {
					stopped = true
					evs = append([]Event{StopRequested{}}, evs...)
				}
			}
			for i, ev := range evs {
				if done, ok := ev.(BatchDone); ok && fails {
					evs[i], failed = BatchFailed{Batch: done.Batch, Attempt: done.Attempt, Err: errors.New("no luck"), Retry: true}, true
				}
			}
			return evs
		}
		s.feed("c")
		if s.done == nil || s.done.Err != nil || !stopped {
			t.Fatalf("fails %t: it did not end in order: %+v", fails, s.done)
		}
		st := s.done.Status
		if got := len(s.runs) - runs; got != 1 {
			t.Errorf("fails %t: %d runs of the planned batch", fails, got)
		}
		if fails != failed || fails != (st.Committed < st.Planned) {
			t.Errorf("fails %t: it ended with batch %d planned and %d committed", fails, st.Planned, st.Committed)
		}
	}
}
