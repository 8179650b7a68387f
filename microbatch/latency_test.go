package microbatch

import (
	"testing"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// model of a worker: a fixed part and a part per row, in µs.
type worker struct{ fixed, perRow float64 }

func (w worker) took(rows int64) batch.EventTime {
	return batch.EventTime(w.fixed + w.perRow*float64(rows))
}

func TestSizerFillsTheGoal(t *testing.T) {
	for _, w := range []worker{{500, 1}, {2000, 10}, {0, 0.5}, {8000, 2}} {
		s := newSizer(Trigger{Kind: Latency, Interval: 20 * time.Millisecond})
		jitter := int64(0)
		for range 60 {
			jitter = (jitter*31 + 7) % 11 // arrivals differ a little
			rows := s.limit() - s.limit()*jitter/50
			s.observe(rows, w.took(rows), false)
		}
		if got := w.took(s.limit()); got > 20_000 || got < 10_000 {
			t.Errorf("%+v: batches of %d rows take %d µs", w, s.limit(), got)
		}
	}
}

// A backlog widens the batches, so that they carry more rows a second, and they
// come back when it is gone.
func TestSizerWidensOnABacklog(t *testing.T) {
	w := worker{5000, 1}
	s := newSizer(Trigger{Kind: Latency, Interval: 20 * time.Millisecond})
	for i := range 40 {
		rows := s.limit() - int64(i%3)
		s.observe(rows, w.took(rows), false)
	}
	steady := s.limit()
	for i := range 20 {
		rows := s.limit() - int64(i%3)
		s.observe(rows, w.took(rows), true)
	}
	if s.limit() < 4*steady {
		t.Errorf("%d rows on a backlog after %d", s.limit(), steady)
	}
	for i := range 40 {
		rows := min(s.limit(), 2000) - int64(i%3)
		s.observe(rows, w.took(rows), false)
	}
	if got := w.took(s.limit()); got > 22_000 {
		t.Errorf("after the backlog %d rows take %d µs", s.limit(), got)
	}
}

func TestSizerIsOffElsewhere(t *testing.T) {
	s := newSizer(Trigger{Kind: Immediate})
	s.observe(10, 10, true)
	if s.limit() != 0 {
		t.Errorf("limit %d", s.limit())
	}
}

func TestSizerSurvivesNonsense(t *testing.T) {
	s := newSizer(Trigger{Kind: Latency, Interval: time.Microsecond})
	for range 100 {
		s.observe(0, 0, true)
		s.observe(1<<40, -5, true)
		s.observe(1, 1<<50, false)
		if s.limit() < rowsMin || s.limit() > rowsMax {
			t.Fatalf("limit %d", s.limit())
		}
	}
}
