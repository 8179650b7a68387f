package timeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/datadriven"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/sim/model"
)

// expect looks at the world: log, sinks, status, or wake (when the machine wants
// to be woken).
func (r *Runner) expect(d *datadriven.TestData) error {
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "log":
			for _, rec := range r.log.Records() {
				r.printf("%s", describe(rec))
			}
		case "sinks":
			for _, s := range r.sinks {
				r.printf("%s: %s", s.Name, content(s, r.query))
			}
		case "status":
			if r.drv == nil {
				return fmt.Errorf("no driver")
			}
			s := r.drv.m.Status()
			r.printf("%s term=%d planned=%d committed=%d revealed=%d checkpointed=%d watermark=%s due=%s", s.Phase, s.Term,
				s.Planned, s.Committed, s.Revealed, s.Checkpointed, at(s.Watermark), at(s.NextDue))
			if s.HeldBackBy != "" {
				r.printf("held back by %s", s.HeldBackBy)
			}
		case "wake":
			if r.drv == nil {
				return fmt.Errorf("no driver")
			}
			r.printf("wake at=%s", at(r.drv.wakeAt))
		default:
			return fmt.Errorf("unknown argument %s", a.Key)
		}
	}
	return nil
}

// content prints what a sink shows: rows as ranges of each source, windows by
// their end, and in capitals what must never be.
func content(s *model.Sink, q *model.Query) string {
	var words []string
	for i, src := range q.Sources {
		var at []int
		for _, o := range s.Shown {
			if !o.Window && int(o.Source) == i {
				at = append(at, int(o.At))
			}
		}
		slices.Sort(at)
		for j, n := range at {
			if n != j {
				words = append(words, fmt.Sprintf("LOST OR TWICE %s %d", src.Name, n))
				break
			}
		}
		words = append(words, fmt.Sprintf("%s=[0,%d)", src.Name, len(at)))
	}
	var windows []model.Out
	for _, o := range s.Shown {
		if o.Window {
			windows = append(windows, o)
		}
	}
	slices.SortFunc(windows, func(a, b model.Out) int { return int(a.At-b.At)*4 + int(a.Key) - int(b.Key) })
	for i, o := range windows {
		if i > 0 && windows[i-1].At == o.At && windows[i-1].Key == o.Key {
			words = append(words, "TWICE")
		}
		words = append(words, fmt.Sprintf("%s/%d=%d", at(batch.EventTime(o.At)), o.Key, o.Count))
	}
	return strings.Join(words, " ")
}
