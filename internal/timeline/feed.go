package timeline

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/datadriven"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/sim/model"
	"github.com/sluice-stream/sluice/microbatch"
)

// feed appends rows: feed <source> times=(1s,2s) [part=b] [key=3] [ended]. With
// rewrite=<n> they replace those from row n on, as no source ever may. A source that pushes
// tells the driver, which looks no further than from where it would read next.
func (r *Runner) feed(d *datadriven.TestData) error {
	if len(d.CmdArgs) == 0 {
		return fmt.Errorf("feed <source> times=(..)")
	}
	i, err := r.source(d.CmdArgs[0].Key)
	if err != nil {
		return err
	}
	s := r.query.Sources[i]
	from := r.planned(s.Name)
	part, key, rewrite := uint8(0), intArg(d, "key", -1), intArg(d, "rewrite", -1)
	if a, ok := d.Arg("part"); ok && len(a.Vals[0]) == 1 {
		part = a.Vals[0][0] - 'a'
	}
	for _, a := range d.CmdArgs[1:] {
		switch a.Key {
		case "key", "rewrite", "part":
		case "ended":
			s.Ended = true
		case "times":
			if rewrite >= 0 {
				s.Rows = s.Rows[:rewrite]
			}
			for _, v := range a.Vals {
				t, err := parseTime(v)
				if err != nil {
					return err
				}
				row := model.Row{Part: part, Time: t, Key: uint8(len(s.Rows) % 2)}
				if key >= 0 {
					row.Key = uint8(key)
				}
				s.Rows = append(s.Rows, row)
			}
		default:
			return fmt.Errorf("unknown argument %s", a.Key)
		}
	}
	r.printf("%s end=%d", s.Name, len(s.Rows))
	if r.drv != nil && s.Ended && len(s.Rows) == from {
		r.step(r.drv, microbatch.SourceChanged{Source: s.Name}) // no rows, but news
	} else if r.drv != nil && r.opt.Sources[r.specIndex(s.Name)].Pushes {
		r.step(r.drv, s.Answer(microbatch.Ask{From: model.Offset(from)}))
	}
	return nil
}

func (r *Runner) specIndex(name string) int {
	for i, s := range r.opt.Sources {
		if s.Name == name {
			return i
		}
	}
	return 0
}

func (r *Runner) source(name string) (int, error) {
	for i, s := range r.query.Sources {
		if s.Name == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("no source %q", name)
}

// planned is where the newest plan in the log ends.
func (r *Runner) planned(source string) int {
	end := 0
	for _, rec := range r.log.Records() {
		if p, ok := rec.(microbatch.Planned); ok {
			for _, g := range p.Ranges {
				if g.Source == source {
					end = model.Index(g.End)
				}
			}
		}
	}
	return end
}

// trigger lets time pass: trigger at=10s, or trigger +5ms.
func (r *Runner) trigger(d *datadriven.TestData) error {
	for _, a := range d.CmdArgs {
		text, base := strings.Join(a.Vals, ""), batch.EventTime(0)
		if rest, ok := strings.CutPrefix(a.Key, "+"); ok {
			text, base = rest, r.now
		}
		t, err := parseTime(text)
		if err != nil {
			return err
		}
		r.now = base + t
	}
	if r.drv != nil {
		r.step(r.drv, microbatch.Tick{At: r.now})
	}
	return nil
}
