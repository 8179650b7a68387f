package microbatch

import "github.com/sluice-stream/sluice/batch"

// reading makes the machine's time of a clock's. The two are the same, except where the
// log is ahead of the clock at the start: the machine before had another clock, on this
// node or on another one, or this one was set back since. A plan's time never falls, and
// time must not stand still either until the clock has come to where the log is: triggers
// would not ring and nothing would be tried again for as long. So the machine's time goes on
// from the log's, a sixteenth slower than the clock's, until the clock has caught up.
type reading struct {
	floor batch.EventTime // the log's time at the start; NoTime if that is no question any more
	since batch.EventTime // the clock's time then
	ahead batch.EventTime // of the clock, then; 0: the two are the same
}

const slower = 16

// begin is told the newest time of the log, and the clock's, NoTime if nobody has told it yet.
func (r *reading) begin(log, clock batch.EventTime) {
	r.floor = log
	if clock != batch.NoTime {
		r.at(clock)
	}
}

// at is the machine's time.
func (r *reading) at(clock batch.EventTime) batch.EventTime {
	if r.floor != batch.NoTime {
		if r.floor > clock {
			r.since, r.ahead = clock, r.floor-clock
		}
		r.floor = batch.NoTime
	}
	if r.ahead == 0 {
		return clock
	}
	left := r.ahead - (clock-r.since)/slower
	if left <= 0 {
		r.ahead = 0
		return clock
	}
	return clock + left
}

// clock is when the machine's time will be t, by the clock.
func (r *reading) clock(t batch.EventTime) batch.EventTime {
	if r.ahead == 0 || t == batch.EndOfTime {
		return t
	}
	past := (t-r.ahead-r.since)*slower/(slower-1) + 1
	if past >= r.ahead*slower {
		return t // it has caught up by then
	}
	return r.since + past
}
