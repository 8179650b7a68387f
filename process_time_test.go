package sluice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// firsts puts a row out the first time that it sees its value within an hour.
type firsts struct {
	ProcessorBase
	seen *ValueState[bool]
}

func (p *firsts) Open(c *ProcessorContext) error {
	p.seen = NewValueState[bool](c, "seen", StateTTL(time.Hour))
	return nil
}

func (p *firsts) Process(c *ProcessorContext, _ Row, rows *Rows) error {
	_, seen, err := p.seen.Get()
	if err != nil || seen {
		return err
	}
	return errors.Join(c.Emit(rows.Int64(0, 1)), p.seen.Update(true))
}

// alarms rings an hour after the first row of a key, and again after another.
type alarms struct {
	ProcessorBase
	rung *ValueState[int64]
}

func (p *alarms) Open(c *ProcessorContext) error {
	p.rung = NewValueState[int64](c, "rung")
	return nil
}

func (p *alarms) Process(c *ProcessorContext, _ Row, rows *Rows) error {
	if set, err := c.ClockTimers(); err != nil || len(set) > 0 {
		return err
	}
	return c.SetClockTimer(c.Now().Add(time.Hour))
}

func (p *alarms) OnTimer(c *ProcessorContext, _ Row, t Timer) error {
	if !t.Clock || t.At.After(c.Now()) && !c.Ended() {
		return fmt.Errorf("timer %+v at %s", t, c.Now())
	}
	n, _, err := p.rung.Get()
	if err != nil {
		return err
	}
	if err := errors.Join(c.Emit(n+1), p.rung.Update(n+1)); err != nil || n > 0 || c.Ended() {
		return err
	}
	return c.SetClockTimer(t.At.Add(time.Hour))
}

// collected gathers the rows of a query.
type collected struct {
	mu   sync.Mutex
	rows []string
}

func (x *collected) add(_ context.Context, _ int64, recs []arrow.RecordBatch) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rows = append(x.rows, linesOf(recs...)...)
	return nil
}

func (x *collected) take() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	slices.Sort(x.rows)
	out := strings.Join(x.rows, " ")
	x.rows = nil
	return out
}

// inBubble runs a processor over a stream of (k, v) in time that passes at once.
func inBubble(t *testing.T, make func() Processor, f func(t *testing.T, st *Stream, q *Query, got *collected)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := NewSession(Options{CheckpointDir: dir, Logger: slog.New(slog.DiscardHandler), Stdout: io.Discard, Settings: map[string]string{"parallelism": "2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		st, err := s.CreateStream("st", schemaOf(t, s, "k STRING, v BIGINT"))
		if err != nil {
			t.Fatal(err)
		}
		got := &collected{}
		q, err := s.Table("st").KeyBy("k").Process("p", make, "v BIGINT").ForeachBatch(got.add).Name("q").Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f(t, st, q, got)
	})
}

func TestProcessForgetsWhatIsOver(t *testing.T) {
	inBubble(t, func() Processor { return &firsts{} }, func(t *testing.T, st *Stream, q *Query, got *collected) {
		step := func(wait time.Duration, lines, want string) {
			t.Helper()
			<-time.After(wait)
			add(t, st, lines)
			process(t, q)
			if g := got.take(); g != want {
				t.Errorf("after %s %q gave %q, want %q", wait, lines, g, want)
			}
		}
		step(0, "a,1\nb,2", "a|1 b|2")
		step(30*time.Minute, "a,3\nc,4", "c|4")
		step(31*time.Minute, "a,5\nc,6", "a|5")
		if n := q.Progress().StateOperators[0].NumRowsTotal; n > 12 {
			t.Errorf("%d rows of state: what is over was not taken out", n)
		}
		step(10*time.Hour, "d,7", "d|7")
		step(2*time.Hour, "x,7", "x|7")
	})
}

func TestProcessTimersByTheClockNeedNoData(t *testing.T) {
	inBubble(t, func() Processor { return &alarms{} }, func(t *testing.T, st *Stream, q *Query, got *collected) {
		add(t, st, "a,1\nb,2")
		process(t, q)
		<-time.After(59 * time.Minute)
		if g := got.take(); g != "" {
			t.Errorf("too early: %q", g)
		}
		<-time.After(2 * time.Minute)
		process(t, q)
		if g := got.take(); g != "a|1 b|1" {
			t.Errorf("after an hour: %q", g)
		}
		<-time.After(50 * time.Minute)
		add(t, st, "c,1")
		process(t, q)
		if g := got.take(); g != "" {
			t.Errorf("a batch before the timers: %q", g)
		}
		<-time.After(20 * time.Minute)
		process(t, q)
		if g := got.take(); g != "a|2 b|2" {
			t.Errorf("after two hours: %q", g)
		}
		st.End()
		if err := q.Await(t.Context()); err != nil {
			t.Error(err)
		}
		if g := got.take(); g != "c|1" {
			t.Errorf("at the end: %q", g)
		}
	})
}
