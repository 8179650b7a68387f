package timeline

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/sim/model"
	"github.com/sluice-stream/sluice/microbatch"
)

// start opens an empty log with the options that its arguments change.
func (r *Runner) start(d *datadriven.TestData) error {
	r.opt = microbatch.Options{Query: "q", PlanHash: "p1", CheckpointInterval: -1, NoFinalCheckpoint: true,
		Sources: []microbatch.SourceSpec{{Name: "a", Pushes: true, EventTime: true}}, Sinks: []microbatch.SinkSpec{{Name: "file"}}}
	for _, a := range d.CmdArgs {
		if a.Key == "sources" {
			r.opt.Sources = nil
			for _, v := range a.Vals {
				if v != "none" {
					r.opt.Sources = append(r.opt.Sources, sourceSpec(v))
				}
			}
		}
	}
	if err := r.options(d); err != nil {
		return err
	}
	for _, s := range r.opt.Sources {
		if !s.Static {
			r.query.Sources = append(r.query.Sources, &model.Source{Name: s.Name, Parted: s.IdleTimeout > 0})
		}
	}
	for _, s := range r.opt.Sinks {
		r.sinks = append(r.sinks, model.NewSink(s.Name, s.Transactional))
	}
	for _, a := range d.CmdArgs {
		if a.Key == "limit" {
			n, err := strconv.Atoi(a.Vals[0])
			if err != nil {
				return err
			}
			for _, s := range r.query.Sources {
				s.Limit = n
			}
		}
	}
	return r.open()
}

func sourceSpec(text string) microbatch.SourceSpec {
	name, kind, _ := strings.Cut(text, ":")
	return microbatch.SourceSpec{Name: name, Pushes: kind != "polled", EventTime: true}
}

// options reads the arguments that start and restart share.
func (r *Runner) options(d *datadriven.TestData) error {
	for _, a := range d.CmdArgs {
		v := strings.Join(a.Vals, " ")
		var err error
		switch a.Key {
		case "sources", "limit":
		case "sinks":
			r.opt.Sinks = nil
			for _, s := range a.Vals {
				name, kind, _ := strings.Cut(s, ":")
				r.opt.Sinks = append(r.opt.Sinks, microbatch.SinkSpec{Name: name, Transactional: kind == "tx"})
			}
		case "trigger":
			r.opt.Trigger, err = parseTrigger(v)
		case "term":
			err = number(v, func(n int) { r.opt.Term = batch.Term(n) })
		case "plan":
			r.opt.PlanHash = v
		case "query":
			r.opt.Query = batch.QueryID(v)
		case "policy":
			if v == "max" {
				r.opt.Policy = microbatch.MaxWatermark
			}
		case "parts":
			err = number(v, func(n int) { r.parts = n })
		case "checkpoint":
			err = number(v, func(n int) { r.opt.CheckpointBatches = n })
		case "kept":
			err = number(v, func(n int) { r.opt.CheckpointsKept = n })
		case "attempts":
			err = number(v, func(n int) { r.opt.AttemptsMax = n })
		case "final":
			r.opt.NoFinalCheckpoint = v != "checkpoint"
		case "close":
			r.opt.CloseAtEnd = true
		case "delay", "idle":
			err = r.eventTime(a.Key, v)
		default:
			err = fmt.Errorf("unknown argument %s", a.Key)
		}
		if err != nil {
			return fmt.Errorf("argument %s: %w", a.Key, err)
		}
	}
	return nil
}

func (r *Runner) eventTime(key, v string) error {
	d, err := time.ParseDuration(v)
	for i := range r.opt.Sources {
		if key == "delay" {
			r.opt.Sources[i].Delay = d
		} else {
			r.opt.Sources[i].IdleTimeout = d
		}
	}
	return err
}

func number(v string, set func(int)) error {
	n, err := strconv.Atoi(v)
	if err == nil {
		set(n)
	}
	return err
}

func parseTrigger(v string) (microbatch.Trigger, error) {
	kind, arg, _ := strings.Cut(v, " ")
	t := microbatch.Trigger{}
	var err error
	switch kind {
	case "immediate":
	case "every":
		t.Kind = microbatch.Every
		t.Interval, err = time.ParseDuration(arg)
	case "latency":
		t.Kind = microbatch.Latency
		t.Interval, err = time.ParseDuration(arg)
	case "available":
		t.Kind = microbatch.AvailableNow
	case "once":
		t.Kind = microbatch.Once
	case "cron":
		t.Kind, t.Schedule = microbatch.Cron, arg
	default:
		err = fmt.Errorf("unknown trigger %q", v)
	}
	return t, err
}

// restart opens the log again, by default for the next term.
func (r *Runner) restart(d *datadriven.TestData) error {
	if r.drv != nil {
		return fmt.Errorf("the driver is alive: crash, stop or zombie first")
	}
	r.opt.Term = 0
	keep := r.opt
	if err := r.options(d); err != nil {
		return err
	}
	err := r.open()
	r.opt.Query, r.opt.PlanHash = keep.Query, keep.PlanHash // a refused start changes nothing
	return err
}

func (r *Runner) open() error {
	r.log.Sync()
	m, err := microbatch.New(r.opt)
	if err != nil {
		return err
	}
	r.owners++
	d := &driver{m: m, owner: r.owners, states: map[batch.ID]model.State{}}
	r.drv = d
	for _, rec := range r.log.Records() {
		r.step(d, microbatch.LogRecord{Record: rec})
		if r.drv == nil {
			return nil
		}
	}
	r.step(d, microbatch.LogEnd{})
	return nil
}

func (r *Runner) stop(d *datadriven.TestData) error {
	if r.drv == nil {
		return fmt.Errorf("no driver")
	}
	r.step(r.drv, microbatch.StopRequested{Abandon: d.HasArg("abandon")})
	return nil
}

func (r *Runner) process(d *datadriven.TestData) error {
	if r.drv == nil {
		return fmt.Errorf("no driver")
	}
	r.step(r.drv, microbatch.ProcessAll{Token: intArg(d, "token", 1)})
	return nil
}
