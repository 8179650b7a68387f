package microbatch

import (
	"fmt"
	"time"

	"github.com/sluice-stream/sluice/batch"
)

// TriggerKind says when batches start.
type TriggerKind int

// The triggers.
const (
	Immediate    TriggerKind = iota // the moment data is there and the batch before is done; the default
	Every                           // on multiples of Interval since 1970; after an overrun at once
	AvailableNow                    // drain what is there at the start under the sources' limits, then end
	Once                            // one batch with all that is there, then end
	Cron                            // at each time of a schedule drain what is there
	Latency                         // as Immediate, with batch sizes that keep a batch under Interval
)

// Trigger is a trigger with its argument. The zero value is Immediate.
type Trigger struct {
	Kind     TriggerKind
	Interval time.Duration // of Every, and the goal of Latency
	Schedule string        // of Cron: five fields
}

// String prints the trigger as SQL spells it.
func (t Trigger) String() string {
	switch t.Kind {
	case Immediate:
		return "IMMEDIATE"
	case Every:
		return fmt.Sprintf("EVERY '%s'", t.Interval)
	case AvailableNow:
		return "AVAILABLE NOW"
	case Once:
		return "ONCE"
	case Cron:
		return fmt.Sprintf("CRON '%s'", t.Schedule)
	case Latency:
		return fmt.Sprintf("LATENCY '%s'", t.Interval)
	}
	return fmt.Sprintf("trigger %d", int(t.Kind))
}

// Validate refuses an argument that the trigger cannot have.
func (t Trigger) Validate() error {
	switch t.Kind {
	case Every, Latency:
		if t.Interval < time.Microsecond {
			return batch.UserErrorf("trigger %s: the interval must be at least a microsecond", t)
		}
	case Cron:
		if _, err := ParseSchedule(t.Schedule); err != nil {
			return err
		}
	case Immediate, AvailableNow, Once:
	default:
		return batch.UserErrorf("unknown trigger %d", int(t.Kind))
	}
	return nil
}

// Bounded reports whether a query under the trigger ends by itself.
func (t Trigger) Bounded() bool { return t.Kind == AvailableNow || t.Kind == Once }
