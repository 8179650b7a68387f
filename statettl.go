package sluice

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
)

// setTTL bounds state that nothing else bounds.
var setTTL = options.Option{Key: "state.ttl", Kind: options.Text, Default: "0s",
	Doc: "how long state that no watermark bounds outlives its last change, such as '1 day'; behind it operators with a time of their own, by the names that EXPLAIN shows: '1 day, aggregate#2 = 2 hours'; 0 is for ever"}

// stateTTL is the parsed setting.
type stateTTL struct {
	all  time.Duration
	each map[string]time.Duration
}

func parseTTL(text string) (stateTTL, error) {
	t := stateTTL{each: map[string]time.Duration{}}
	for i, part := range strings.Split(text, ",") {
		name, value, named := strings.Cut(part, "=")
		if !named {
			value = part
			if i > 0 {
				return t, fmt.Errorf("%q: want the name of an operator = a time", strings.TrimSpace(part))
			}
		}
		value = strings.TrimSpace(value)
		if value == "0" {
			value = "0s"
		}
		d, err := options.ParseDuration(value)
		if err != nil {
			return t, err
		}
		if d < 0 {
			return t, fmt.Errorf("%q is negative", value)
		}
		if named {
			t.each[strings.TrimSpace(name)] = d
		} else {
			t.all = d
		}
	}
	return t, nil
}

// limitState gives a streaming plan its times to live. They are no part of the
// plan's key: they may be changed from start to start.
func (s *Session) limitState(q *planner.Query) error {
	t, err := parseTTL(s.set.get(setTTL))
	if err != nil {
		return err
	}
	may := q.Plan.SetTTL(func(_ string, inputs int) []int64 { return slices.Repeat([]int64{1}, inputs) })
	for i, v := range q.Verdicts {
		q.Verdicts[i].MayLive = len(may[v.Operator]) > 0 && v.Bound != incremental.ByWatermark && v.Bound != incremental.ByClock
	}
	q.Plan.ClearTTL()
	if t.all == 0 && len(t.each) == 0 && len(q.TTL) == 0 {
		return nil
	}
	set := q.Plan.SetTTL(func(operator string, inputs int) []int64 { return t.of(operator, inputs, q.TTL[operator]) })
	var names []string
	for i, v := range q.Verdicts {
		names = append(names, v.Operator)
		if times := set[v.Operator]; len(times) > 0 && v.Bound != incremental.ByWatermark && v.Bound != incremental.ByClock {
			q.Verdicts[i].TTL, q.Verdicts[i].Sides = joint(times, q.Plan.BoundedInputs(v.Operator))
		}
	}
	for name := range t.each {
		if len(set[name]) == 0 && t.each[name] > 0 {
			return refused(batch.UserErrorf("setting '%s': the query has no operator %q with state that may have a time to live; it has %s", setTTL.Key, name, strings.Join(names, ", ")))
		}
	}
	return nil
}

// of returns the times of an operator's inputs: what the setting says of it by name,
// else what the query says, else what holds for all.
func (t *stateTTL) of(operator string, inputs int, hint logical.TTL) []int64 {
	out := make([]int64, inputs)
	all, named := t.each[operator]
	if !named {
		all = t.all
	}
	for i := range out {
		d := all
		switch {
		case named || len(hint) == 0:
		case len(hint) == inputs && hint[i] > 0:
			d = hint[i]
		case len(hint) != inputs && slices.Max(hint) > 0:
			d = slices.Max(hint)
		}
		out[i] = d.Microseconds()
	}
	return out
}

// joint is the longest of the times of an operator's inputs, if all that need one
// have one, else those of each.
func joint(micros []int64, bounded []bool) (all time.Duration, sides []time.Duration) {
	some := false
	for i, us := range micros {
		d := time.Duration(us) * time.Microsecond
		all, sides = max(all, d), append(sides, d)
		some = some || us == 0 && !(i < len(bounded) && bounded[i])
	}
	if some {
		return 0, sides
	}
	return all, nil
}

// StateTTL says how long rows stay in the state of the operator with state that has
// made this DataFrame (a join, an aggregation, DISTINCT, a window function, dropped
// duplicates), after their last change, when a watermark does not bound it: one time for all
// its inputs, or for a join that of the left rows and that of the right ones, where 0
// is what the setting 'state.ttl' says. Names of a join's sides end here: select first.
// In SQL it is the hint STATE_TTL.
func (d *DataFrame) StateTTL(times ...time.Duration) *DataFrame {
	if d.err != nil {
		return d
	}
	for _, t := range times {
		if t < 0 {
			return d.failed(batch.UserErrorf("the time to live %s is negative", t))
		}
	}
	n, err := d.bound()
	if err != nil {
		return d.failed(err)
	}
	out, ok := limitTop(n, times)
	if !ok || len(times) == 0 || len(times) > 2 {
		return d.failed(batch.UserErrorf("StateTTL takes one time, or two of a join, and is of a DataFrame that an operator with state has made, such as a join or an aggregation"))
	}
	return &DataFrame{s: d.s, node: out}
}

// limitTop gives the topmost operator with state its times.
func limitTop(n logical.Node, ttl logical.TTL) (logical.Node, bool) {
	if _, join := n.(*logical.Join); len(ttl) < 2 || join {
		if out, ok := logical.WithTTL(n, ttl); ok {
			return out, true
		}
	}
	in := n.Inputs()
	if len(in) != 1 {
		return n, false
	}
	out, ok := limitTop(in[0], ttl)
	if !ok {
		return n, false
	}
	return n.WithInputs([]logical.Node{out}), true
}
