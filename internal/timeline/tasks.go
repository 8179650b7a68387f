package timeline

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cockroachdb/datadriven"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/sim/model"
	"github.com/sluice-stream/sluice/microbatch"
)

// attempt is a run whose tasks wait for finish or fail.
type attempt struct {
	run     microbatch.Run
	collect *microbatch.Collector
	state   model.State
	parts   []model.Part
	given   bool
}

// launch computes a batch and prints its tasks; they finish on command. A replay
// finishes by itself.
func (r *Runner) launch(d *driver, run microbatch.Run) []microbatch.Event {
	base, ok := d.states[run.Plan.Batch-1]
	if !ok {
		r.printf("VIOLATION: no state version %d", run.Plan.Batch-1)
		return nil
	}
	a := &attempt{run: run}
	var err error
	if a.state, a.parts, err = r.query.Compute(run.Plan, base, r.parts); err != nil {
		r.printf("VIOLATION: %v", err)
		return nil
	}
	ids := make([]batch.TaskID, len(a.parts))
	for p := range a.parts {
		ids[p] = taskID(run, p)
		if run.Mode == microbatch.Live {
			r.printf("launch %s", ids[p])
		}
	}
	if a.collect, err = microbatch.NewCollector(run.Plan.Batch, d.term, ids); err != nil {
		r.printf("VIOLATION: %v", err)
		return nil
	}
	d.runs = append(d.runs, a)
	if run.Mode == microbatch.Live {
		return nil
	}
	r.printf("%s batch=%d", run.Mode, run.Plan.Batch)
	var evs []microbatch.Event
	for p := range a.parts {
		evs = append(evs, r.report(d, a, p)...)
	}
	return evs
}

func taskID(run microbatch.Run, p int) batch.TaskID {
	return batch.TaskID{Query: "q", Batch: run.Plan.Batch, Partition: p, Attempt: run.Attempt - 1}
}

// report prepares the output of a task and hands its result in.
func (r *Runner) report(d *driver, a *attempt, p int) []microbatch.Event {
	part := a.parts[p]
	res := part.Result
	res.Task, res.Term = taskID(a.run, p), d.term
	for _, s := range r.sinks {
		again := a.run.Mode == microbatch.Live
		for _, n := range a.run.Sinks {
			again = again || n == s.Name
		}
		if again {
			r.serial++
			res.Prepared = append(res.Prepared, s.Prepare(d.owner, "h"+strconv.Itoa(r.serial), p, part.Out))
		} else {
			res.Prepared = append(res.Prepared, batch.Prepared{Sink: s.Name, Partition: p, Rows: int64(len(part.Out)), Digest: model.Sum(part.Out)})
		}
	}
	if !a.collect.Add(res) {
		r.printf("ignored %s", res.Task)
		return nil
	}
	result, ok := a.collect.Result()
	if !ok {
		return nil
	}
	if !a.given {
		d.states[a.run.Plan.Batch] = a.state
	}
	return []microbatch.Event{microbatch.BatchDone{Batch: a.run.Plan.Batch, Attempt: a.run.Attempt, Result: result}}
}

// finish lets tasks of a batch finish: finish <batch> [task=p] [attempt=n] [driver=zombie].
func (r *Runner) finish(d *datadriven.TestData) error {
	drv, a, err := r.find(d)
	if err != nil {
		return err
	}
	task := intArg(d, "task", -1)
	if a.given {
		r.printf("late: the attempt was given up")
	}
	var evs []microbatch.Event
	for p := range a.parts {
		if task < 0 && a.collect.Waiting(0, p) || p == task {
			evs = append(evs, r.report(drv, a, p)...)
		}
	}
	r.step(drv, evs...)
	return nil
}

// find returns the newest attempt at a batch, or the one asked for.
func (r *Runner) find(d *datadriven.TestData) (*driver, *attempt, error) {
	drv := r.drv
	if d.HasArg("driver") {
		drv = r.zombie
	}
	if drv == nil || len(d.CmdArgs) == 0 {
		return nil, nil, fmt.Errorf("%s <batch>: no batch or no driver", d.Cmd)
	}
	id, err := strconv.Atoi(d.CmdArgs[0].Key)
	if err != nil {
		return nil, nil, fmt.Errorf("batch %q: %w", d.CmdArgs[0].Key, err)
	}
	n := intArg(d, "attempt", -1)
	for i := len(drv.runs) - 1; i >= 0; i-- {
		if a := drv.runs[i]; a.run.Plan.Batch == batch.ID(id) && (n < 0 || a.run.Attempt == n+1) {
			return drv, a, nil
		}
	}
	return nil, nil, fmt.Errorf("batch %d does not run", id)
}

// fail makes a batch fail, or arms a fault: fail <batch>, fail sink=k
// [reply=lost], fail source=a, fail checkpoint, each with [final].
func (r *Runner) fail(d *datadriven.TestData) error {
	f := fault{final: d.HasArg("final"), text: "disk on fire"}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "reply":
			f.lost = true
		case "final":
		case "sink", "sink-ask", "source", "restore":
			r.faults[a.Key+" "+a.Vals[0]] = f
		case "checkpoint", "append":
			r.faults[a.Key+" "] = f
		default:
			drv, at, err := r.find(d)
			if err != nil {
				return err
			}
			at.given = true
			r.step(drv, microbatch.BatchFailed{Batch: at.run.Plan.Batch, Attempt: at.run.Attempt, Err: errors.New(f.text), Retry: !f.final})
			return nil
		}
	}
	for k := range r.faults { // reply may stand after the name
		if g := r.faults[k]; f.lost && !g.lost {
			r.faults[k] = f
		}
	}
	return nil
}

// intArg reads a numeric argument.
func intArg(d *datadriven.TestData, key string, otherwise int) int {
	if a, ok := d.Arg(key); ok && len(a.Vals) == 1 {
		if n, err := strconv.Atoi(a.Vals[0]); err == nil {
			return n
		}
	}
	return otherwise
}
