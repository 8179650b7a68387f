package timeline

import (
	"fmt"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/sim/model"
	"github.com/sluice-stream/sluice/microbatch"
)

// Runner is a world with at most one leading driver and one zombie.
type Runner struct {
	out    strings.Builder
	opt    microbatch.Options
	parts  int
	now    batch.EventTime
	query  *model.Query
	log    *model.Log
	sinks  []*model.Sink
	store  map[string]stored
	drv    *driver
	zombie *driver
	owners int
	serial int
	stops  []stop // armed crashes
	faults map[string]fault
}

type stored struct {
	state  model.State
	broken bool
}

// stop is a crash that waits for an effect.
type stop struct {
	when, name, arg string // before or after, the effect's name, and its argument if that matters
	keep            int
	sleep           bool // it falls asleep instead
}

// fault makes the next effect of a name fail.
type fault struct {
	lost  bool // it takes effect, the answer is lost
	final bool // trying again cannot help
	text  string
}

// driver is the shell around a machine.
type driver struct {
	m      *microbatch.Machine
	owner  int
	term   batch.Term
	queue  []effect
	states map[batch.ID]model.State
	runs   []*attempt
	status microbatch.Status
	wakeAt batch.EventTime
}

// effect is something the machine asked for.
type effect struct {
	name, arg string
	do        func() []microbatch.Event
}

// New makes an empty world.
func New() *Runner {
	return &Runner{parts: 1, query: &model.Query{Window: 10_000_000}, log: &model.Log{}, store: map[string]stored{}, faults: map[string]fault{}}
}

// commands are the handlers, a file for each family.
var commands = map[string]func(*Runner, *datadriven.TestData) error{
	"start": (*Runner).start, "restart": (*Runner).restart, "stop": (*Runner).stop, "process": (*Runner).process,
	"feed": (*Runner).feed, "trigger": (*Runner).trigger,
	"finish": (*Runner).finish, "fail": (*Runner).fail,
	"crash": (*Runner).crash, "drop": (*Runner).drop, "zombie": (*Runner).park, "wake": (*Runner).wake,
	"expect": (*Runner).expect,
}

// Run carries out one command and returns what happened.
func (r *Runner) Run(d *datadriven.TestData) string {
	r.out.Reset()
	h, ok := commands[d.Cmd]
	if !ok {
		return fmt.Sprintf("unknown command %s\n", d.Cmd)
	}
	if err := h(r, d); err != nil {
		r.printf("error: %v", err)
	}
	if r.out.Len() == 0 {
		return "ok\n"
	}
	return r.out.String()
}

func (r *Runner) printf(format string, args ...any) {
	fmt.Fprintf(&r.out, format, args...)
	r.out.WriteByte('\n')
}

// step feeds an event to a driver and carries out what follows until nothing is
// left but tasks, or until the driver dies.
func (r *Runner) step(d *driver, evs ...microbatch.Event) {
	for _, ev := range evs {
		r.feedMachine(d, ev)
	}
	for len(d.queue) > 0 && (d == r.drv || d == r.zombie) {
		e := d.queue[0]
		d.queue = d.queue[1:]
		if d == r.drv && r.dies("before", e) {
			return
		}
		answers := e.do()
		if d == r.drv && r.dies("after", e) {
			return
		}
		for _, ev := range answers {
			r.feedMachine(d, ev)
		}
	}
}

func (r *Runner) feedMachine(d *driver, ev microbatch.Event) {
	_ = d.m.Step(microbatch.Tick{At: r.now}) // an error shows in Ready
	_ = d.m.Step(ev)
	for rd, ok := d.m.Ready(); ok; rd, ok = d.m.Ready() {
		r.carryOut(d, rd)
		d.m.Advance(rd)
		if rd.Done {
			r.done(d, rd.Err)
			return
		}
	}
}

func (r *Runner) done(d *driver, err error) {
	switch {
	case err == nil:
		r.printf("done")
	default:
		r.printf("ends: %v", err)
	}
	r.remove(d)
}

func (r *Runner) remove(d *driver) {
	d.queue = nil
	for _, s := range r.sinks {
		s.Crash(func(owner int) bool { return owner == d.owner })
	}
	if r.drv == d {
		r.drv = nil
	}
	if r.zombie == d {
		r.zombie = nil
	}
}

// dies carries out an armed crash.
func (r *Runner) dies(when string, e effect) bool {
	for i, s := range r.stops {
		if s.when == when && s.name == e.name && (s.arg == "" || s.arg == e.arg) {
			r.stops = append(r.stops[:i], r.stops[i+1:]...)
			if s.sleep {
				r.drv.queue = append([]effect{e}, r.drv.queue...)
				r.printf("asleep before %s", e.name)
				r.zombie, r.drv = r.drv, nil
			} else {
				r.kill(s.keep)
			}
			return true
		}
	}
	return false
}

// kill is the death of the driver's process: the log keeps so many of its
// unsynced bytes, all if negative.
func (r *Runner) kill(keep int) {
	loss := r.log.Unsynced()
	if keep < 0 {
		keep = loss
	}
	_, torn, err := r.log.Crash(keep)
	switch {
	case err != nil:
		r.printf("error: %v", err)
	case torn:
		r.printf("crash: %d bytes not durable, %d kept, a record is torn", loss, keep)
	case loss > 0:
		r.printf("crash: %d bytes not durable, %d kept", loss, keep)
	default:
		r.printf("crash")
	}
	r.remove(r.drv)
}

// at prints a time as the duration since the world began.
func at(t batch.EventTime) string {
	switch t {
	case batch.NoTime:
		return "none"
	case batch.EndOfTime:
		return "end"
	default:
		return (time.Duration(t) * time.Microsecond).String()
	}
}

// parseTime reads such a duration.
func parseTime(text string) (batch.EventTime, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("time %q: %w", text, err)
	}
	return batch.EventTime(d.Microseconds()), nil
}
