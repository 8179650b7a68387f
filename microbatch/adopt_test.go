package microbatch

import (
	"errors"
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

func adoptedAt(id batch.ID, end batch.Offset, hash string) Adopted {
	return Adopted{Term: 9, From: "elsewhere", Identity: Identity{Query: "q", PlanHash: hash, KeyGroups: batch.KeyGroups},
		Plan:   Planned{Batch: id, Term: 9, Ranges: []batch.Range{{Source: "a", Start: end, End: end}}, PlanHash: hash, Watermark: 50, Close: 50, Now: 60},
		Commit: Committed{Batch: id, Term: 9, NextWatermark: 50, NextDue: batch.EndOfTime}}
}

// A query begins with an adopted state: the next batch follows it, from where it
// stands, and time goes on.
func TestBeginWithAdoptedState(t *testing.T) {
	for _, id := range []batch.ID{0, 41} {
		s := &shell{t: t, now: 1_000_000, end: "here", log: []Record{adoptedAt(id, "here", "p")}}
		opt := testOptions()
		opt.CheckpointBatches = 1
		s.start(opt)
		s.feed("there")
		if len(s.runs) != 1 {
			t.Fatalf("%d runs", len(s.runs))
		}
		p := s.runs[0].Plan
		if p.Batch != id+1 || p.Ranges[0] != (batch.Range{Source: "a", Start: "here", End: "there"}) || p.Watermark < 50 || s.runs[0].Mode != Live {
			t.Errorf("planned %+v", p)
		}
		if st := s.m.Status(); st.Term != 10 || st.Committed != id+1 {
			t.Errorf("status %+v", st)
		}
		s.start(opt) // from a log that has gone on
		if st := s.m.Status(); st.Committed != id+1 || st.Term != 11 {
			t.Errorf("after a restart: %+v", st)
		}
	}
}

// An adopted state cannot be rebuilt: where it cannot be loaded the query ends,
// also if its batch is the first one, before which there is no state.
func TestAdoptedStateThatIsLost(t *testing.T) {
	m, err := New(testOptions())
	if err != nil {
		t.Fatal(err)
	}
	steps := []Event{LogRecord{Record: adoptedAt(0, "here", "p")}, LogEnd{}, LogAppended{Through: 1}}
	for _, ev := range steps {
		if err := m.Step(ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Step(RestoreFailed{Batch: 0, Err: errors.New("gone")}); !errors.Is(err, ErrNoCheckpoint) {
		t.Fatalf("got %v", err)
	}
}

// What stands before an adopted state in the log is another plan's, and of the same query.
func TestAdoptedStateInALog(t *testing.T) {
	opt := testOptions()
	opt.CheckpointBatches = 1
	s := newShell(t, opt)
	s.feed("x")
	s.feed("y")
	last := s.m.Status().Committed
	old := s.log
	opt.PlanHash = "changed"
	start := func(recs ...Record) error {
		m, err := New(opt)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recs {
			if err := m.Step(LogRecord{Record: r}); err != nil {
				return err
			}
		}
		return m.Step(LogEnd{})
	}
	if err := start(old...); !errors.Is(err, ErrPlanChanged) {
		t.Errorf("another plan is not refused: %v", err)
	}
	with := func(a Adopted) []Record { return append(append([]Record{}, old...), a) }
	if err := start(with(adoptedAt(last, "y", "changed"))...); err != nil {
		t.Error(err)
	}
	if err := start(with(adoptedAt(last-1, "y", "changed"))...); !errors.Is(err, ErrLogConflict) {
		t.Errorf("an older batch: %v", err)
	}
	foreign := adoptedAt(last, "y", "changed")
	foreign.Identity.Query = "another"
	if err := start(with(foreign)...); !errors.Is(err, ErrLogConflict) {
		t.Errorf("another query's: %v", err)
	}
}

// Checkpoints stay while they are among the newest or young enough.
func TestCheckpointsAreKeptByAge(t *testing.T) {
	kept := func(number int, age, step time.Duration, batches int) int {
		opt := testOptions()
		opt.CheckpointBatches, opt.CheckpointsKept, opt.CheckpointsAge = 1, number, age
		s := newShell(t, opt)
		for i := range batches {
			s.now += batch.EventTime(step.Microseconds())
			s.feed(offset(i))
		}
		n := 0
		for _, r := range s.log {
			if _, ok := r.(Checkpointed); ok {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		number    int
		age, step time.Duration
		want      int
	}{
		{2, 0, time.Second, 2},
		{2, 10 * time.Second, time.Second, 10},
		{20, 10 * time.Second, time.Second, 20},
		{2, 10 * time.Second, time.Minute, 2},
		{2, time.Hour, time.Microsecond, checkpointsMax},
	} {
		if got := kept(c.number, c.age, c.step, 2000); got < c.want || got > c.want+1 {
			t.Errorf("%d and %s, one every %s: %d are kept, want %d", c.number, c.age, c.step, got, c.want)
		}
	}
}

// A checkpoint that is asked for is of the newest committed batch, and is written once.
func TestCheckpointOnRequest(t *testing.T) {
	opt := testOptions()
	opt.CheckpointInterval = time.Hour
	s := newShell(t, opt)
	s.feed("x")
	s.feed("y")
	before := s.m.Status()
	for range 3 {
		s.step(CheckpointRequested{})
	}
	if st := s.m.Status(); before.Checkpointed != batch.None || st.Checkpointed != st.Committed {
		t.Errorf("before %d, then %d of %d", before.Checkpointed, st.Checkpointed, st.Committed)
	}
	n := 0
	for _, r := range s.log {
		if _, ok := r.(Checkpointed); ok {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d checkpoints", n)
	}
}

// A query that was started, and of which no batch was planned, may come back with
// another plan; one of another query may not.
func TestAnotherPlanBeforeTheFirstBatch(t *testing.T) {
	start := func(ids ...Identity) error {
		m, err := New(testOptions())
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range ids {
			if err := m.Step(LogRecord{Record: Started{Term: batch.Term(i + 1), Last: batch.None, Identity: id}}); err != nil {
				return err
			}
		}
		return m.Step(LogEnd{})
	}
	own := adoptedAt(0, "x", "p").Identity
	other, foreign := own, own
	other.PlanHash, foreign.Query = "another", "another"
	if err := start(other); err != nil {
		t.Error(err)
	}
	if err := start(own, other, own); err != nil {
		t.Error(err)
	}
	if err := start(foreign); !errors.Is(err, ErrForeignLog) {
		t.Errorf("another query's log: %v", err)
	}
	if err := start(own, foreign); !errors.Is(err, ErrLogConflict) {
		t.Errorf("a log of two queries: %v", err)
	}
}
