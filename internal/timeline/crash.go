package timeline

import (
	"fmt"

	"github.com/cockroachdb/datadriven"

	"github.com/sluice-stream/sluice/internal/sim/model"
	"github.com/sluice-stream/sluice/microbatch"
)

// crash kills the driver: now, or before= or after= the next effect of a name,
// with arg= of that argument (a sink, the kind of the last record). keep= says
// how many bytes of what was not synced the log keeps; all without it.
func (r *Runner) crash(d *datadriven.TestData) error {
	keep := intArg(d, "keep", -1)
	s := stop{keep: keep}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "before", "after":
			s.when, s.name = a.Key, a.Vals[0]
		case "arg":
			s.arg = a.Vals[0]
		}
	}
	if s.when != "" {
		r.stops = append(r.stops, s)
		return nil
	}
	if r.drv == nil {
		return fmt.Errorf("no driver")
	}
	r.kill(keep)
	return nil
}

// park makes the driver a zombie: alive, not scheduled, and replaced by the next
// restart. With before= it falls asleep right before such an effect.
func (r *Runner) park(d *datadriven.TestData) error {
	if a, ok := d.Arg("before"); ok {
		s := stop{when: "before", name: a.Vals[0], sleep: true}
		if b, ok := d.Arg("arg"); ok {
			s.arg = b.Vals[0]
		}
		r.stops = append(r.stops, s)
		return nil
	}
	if r.drv == nil || r.zombie != nil {
		return fmt.Errorf("no driver, or one sleeps already")
	}
	r.zombie, r.drv = r.drv, nil
	return nil
}

// wake lets the zombie do everything that it still has to do; tasks that it had
// running finish with finish <batch> driver=zombie.
func (r *Runner) wake(*datadriven.TestData) error {
	if r.zombie == nil {
		return fmt.Errorf("no zombie")
	}
	r.step(r.zombie, microbatch.Tick{At: r.now})
	return nil
}

// drop damages what is durable: last=<kind> cuts the log before its last such
// record, identity removes every record that says whose log it is, batch=<n>
// removes the records of a batch, checkpoint=<n> damages a checkpoint, and sink=<k>
// empties a sink.
func (r *Runner) drop(d *datadriven.TestData) error {
	recs := r.log.Records()
	var keep []microbatch.Record
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "last":
			cut := len(recs)
			for i, rec := range recs {
				if kindOf(rec) == a.Vals[0] {
					cut = i
				}
			}
			keep = recs[:cut]
		case "identity":
			for _, rec := range recs {
				if k := kindOf(rec); k != "started" && k != "checkpointed" {
					keep = append(keep, rec)
				}
			}
		case "batch":
			for _, rec := range recs {
				if int(rec.ID()) != intArg(d, "batch", -1) {
					keep = append(keep, rec)
				}
			}
		case "sink":
			s := r.sink(a.Vals[0])
			if s == nil {
				return fmt.Errorf("no sink %q", a.Vals[0])
			}
			*s = *model.NewSink(s.Name, s.Transactional)
			return nil
		case "checkpoint":
			return r.damage(recs, intArg(d, "checkpoint", -1))
		default:
			return fmt.Errorf("unknown argument %s", a.Key)
		}
	}
	return r.log.Replace(keep)
}

func (r *Runner) damage(recs []microbatch.Record, id int) error {
	n := 0
	for _, rec := range recs {
		if c, ok := rec.(microbatch.Checkpointed); ok && int(c.Batch) == id {
			ref := c.Manifests[0].Ref
			r.store[ref] = stored{state: r.store[ref].state, broken: true}
			n++
		}
	}
	if n == 0 {
		return fmt.Errorf("no checkpoint of batch %d", id)
	}
	return nil
}
