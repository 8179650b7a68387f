package microbatch

import "github.com/sluice-stream/sluice/batch"

// sizer proposes how many rows a batch under LATENCY may have. It fits the time
// of a batch to a fixed part and a part per row, both as slowly forgetting
// averages, and takes the rows that fill the goal. When limits leave data behind
// batch after batch, the goal itself is widened, since larger batches carry more
// rows a second; it comes back as soon as nothing is left behind.
type sizer struct {
	on   bool
	goal float64 // µs
	wide float64 // factor on the goal, 1 to wideMax
	full int     // batches in a row that left data behind
	rows int64
	// weighted sums of the fit: weight, rows, time, rows², rows×time
	w, x, y, xx, xy float64
}

const (
	rowsFirst  = 1000    // before anything was measured
	rowsMin    = 1       // the least that makes progress
	rowsMax    = 1 << 24 // memory is bounded elsewhere; this bounds a bad fit
	growMax    = 4       // from one batch to the next
	wideMax    = 64
	fullBefore = 3   // batches that leave data behind before the goal is widened
	forgetting = 0.9 // weight of the past, per batch
	headroom   = 0.8 // of the goal, so that noise stays under it
)

func newSizer(t Trigger) sizer {
	if t.Kind != Latency {
		return sizer{}
	}
	return sizer{on: true, goal: float64(t.Interval.Microseconds()), wide: 1, rows: rowsFirst}
}

// limit is the proposal; 0 where the trigger is another one.
func (s *sizer) limit() int64 {
	if !s.on {
		return 0
	}
	return s.rows
}

// observe takes in what a batch took, and whether it left data behind.
func (s *sizer) observe(rows int64, took batch.EventTime, behind bool) {
	if !s.on {
		return
	}
	if rows > 0 {
		x, y := float64(rows), float64(max(took, 1))
		s.w, s.x, s.y = s.w*forgetting+1, s.x*forgetting+x, s.y*forgetting+y
		s.xx, s.xy = s.xx*forgetting+x*x, s.xy*forgetting+x*y
	}
	if !behind {
		s.full, s.wide = 0, max(1, s.wide/2)
	} else if s.full++; s.full > fullBefore {
		s.wide = min(wideMax, s.wide*1.5)
	}
	if s.w == 0 {
		return
	}
	fixed, perRow := s.fit()
	want := float64(rowsMax)
	if perRow > 0 {
		want = (s.goal*s.wide*headroom - fixed) / perRow
	}
	limit := float64(s.rows)
	want = min(max(want, limit/growMax), limit*growMax)
	s.rows = int64(min(max(want, rowsMin), rowsMax))
}

// fit returns the fixed time and the time per row, in µs. Batches of one size
// tell nothing of the fixed part: then all is counted per row.
func (s *sizer) fit() (fixed, perRow float64) {
	if det := s.w*s.xx - s.x*s.x; det > 1e-6*s.w*s.xx {
		perRow = (s.w*s.xy - s.x*s.y) / det
		fixed = (s.y - perRow*s.x) / s.w
		if perRow > 0 && fixed >= 0 {
			return fixed, perRow
		}
	}
	return 0, s.y / s.x
}
