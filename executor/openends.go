package executor

import (
	"slices"

	"github.com/sluice-stream/sluice/batch"
)

// openEndsMax bounds how many ends of an operator are known by name in a task. Of
// windows there are few; what is due row by row may be as many as the rows.
const openEndsMax = 1 << 10

// openEnds is when what an operator keeps will end: the different ends of windows,
// for whoever asks what waits for the watermark.
type openEnds struct {
	ends   map[batch.EventTime]struct{}
	more   bool // there are others
	last   batch.EventTime
	some   bool            // last is one
	closed batch.EventTime // up to when all is over in the batch
}

func (o *openEnds) forget() { o.ends, o.more, o.some = map[batch.EventTime]struct{}{}, false, false }

// add notes an end. It reports whether there is room for others.
func (o *openEnds) add(end batch.EventTime) bool {
	if o.some && end == o.last || end == batch.EndOfTime {
		return true
	}
	o.last, o.some = end, true
	if len(o.ends) >= openEndsMax {
		_, known := o.ends[end]
		o.more = o.more || !known
		return false
	}
	if o.ends == nil {
		o.forget()
	}
	o.ends[end] = struct{}{}
	return true
}

// close forgets what is over; first is the earliest end that is left.
func (o *openEnds) close(first batch.EventTime) {
	o.some = false
	for end := range o.ends {
		if end < first || o.closed != batch.NoTime && end <= o.closed {
			delete(o.ends, end)
		}
	}
}

// work is what progress tells of it.
func (o *openEnds) work(s *batch.StateWork) {
	for end := range o.ends {
		if end != batch.NoTime {
			s.Ends = append(s.Ends, end)
		}
	}
	slices.Sort(s.Ends)
	s.Windows = int64(len(s.Ends))
	if o.more {
		s.Windows++
	}
	s.Ends = s.Ends[:min(len(s.Ends), batch.EndsMax)]
}

// endBytes is how much of a state's key tells when it ends: its key group, a byte
// that says that there is a time, and the time.
func endBytes(end batch.EventTime) int {
	if end == batch.NoTime {
		return 2
	}
	return 2 + 8
}

// note remembers the dues of the operator whose state was opened last.
func (tc *TaskContext) note(d *dues) {
	if tc.opened != nil && tc.opened.operator != "" {
		tc.opened.dues[tc.opened.operator] = d
	}
}

// openedState is what a task knows of the states that it has opened.
type openedState struct {
	operator string // the last one
	dues     map[string]*dues
}
