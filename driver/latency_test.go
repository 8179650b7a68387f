package driver

import (
	"testing"

	"github.com/sluice-stream/sluice/batch"
)

// Rows are weighed, clocks that differ make no negative times, and batches add up.
func TestLatencies(t *testing.T) {
	var l latencies
	if p := l.shown(nil, 1000); p != nil {
		t.Errorf("a batch without rows has latency %+v", p)
	}
	const now = 10_000_000
	p := l.shown(batch.Arrivals{{At: now - 3_000_000, Rows: 1}, {At: now - 4000, Rows: 98}, {At: now + 5000, Rows: 1}}, now)
	if want := (LatencyProgress{Rows: 100, Min: 0, P50: 4, P99: 4, Max: 3000}); *p != want {
		t.Errorf("%+v, want %+v", *p, want)
	}
	l.shown(batch.Arrivals{{At: now - 100_000, Rows: 50}}, now)
	got := map[float64]uint64{}
	for i, bound := range LatencyBounds {
		got[bound] = l.sum.Counts[i]
	}
	for bound, want := range map[float64]uint64{.001: 1, .002: 1, .005: 99, .05: 99, .1: 149, 2: 149, 5: 150, 3600: 150} {
		if got[bound] != want {
			t.Errorf("%d rows took at most %g s, want %d", got[bound], bound, want)
		}
	}
	if l.sum.Rows != 150 || l.sum.Seconds < 8.39 || l.sum.Seconds > 8.4 {
		t.Errorf("%d rows took %g s", l.sum.Rows, l.sum.Seconds)
	}
}
