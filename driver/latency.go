package driver

import (
	"cmp"
	"slices"
	"sync"

	"github.com/sluice-stream/sluice/batch"
)

// LatencyBounds are the upper bounds of a latency histogram, in seconds.
var LatencyBounds = [...]float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300, 3600}

// Latency is a histogram of how long rows took from when their source's system was
// given them (a message's timestamp) until every sink showed what became of them.
type Latency struct {
	Rows    uint64
	Seconds float64                    // summed over the rows
	Counts  [len(LatencyBounds)]uint64 // of rows that took at most as long as the bound
}

// LatencyProgress describes the latency of a batch's rows in ms.
type LatencyProgress struct {
	Rows int64   `json:"rows"`
	Min  float64 `json:"min"`
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

// latencies is a query's histogram since it was started.
type latencies struct {
	mu  sync.Mutex
	sum Latency
}

// Latency returns the histogram of the query's rows since it was started. It has none
// where the sources do not tell when rows came.
func (q *Query) Latency() Latency {
	q.latency.mu.Lock()
	defer q.latency.mu.Unlock()
	return q.latency.sum
}

// shown takes in a batch whose output every sink shows at now.
func (l *latencies) shown(came batch.Arrivals, now batch.EventTime) *LatencyProgress {
	if len(came) == 0 {
		return nil
	}
	// Clocks differ: what seems to have come later than now took no time.
	seconds := func(a batch.Arrival) float64 { return float64(max(now-a.At, 0)) / 1e6 }
	came = slices.Clone(came)
	slices.SortFunc(came, func(x, y batch.Arrival) int { return cmp.Compare(y.At, x.At) }) // the fastest first
	p := &LatencyProgress{}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range came {
		s := seconds(a)
		p.Rows += a.Rows
		l.sum.Rows += uint64(a.Rows)
		l.sum.Seconds += s * float64(a.Rows)
		for i, bound := range LatencyBounds {
			if s <= bound {
				l.sum.Counts[i] += uint64(a.Rows)
			}
		}
	}
	at := func(part float64) float64 {
		left := int64(part * float64(p.Rows-1))
		for _, a := range came {
			if left -= a.Rows; left < 0 {
				return seconds(a) * 1000
			}
		}
		return 0
	}
	p.Min, p.P50, p.P99, p.Max = at(0), at(.5), at(.99), at(1)
	return p
}
