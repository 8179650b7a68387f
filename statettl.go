package sluice

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/incremental"
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
	if t.all == 0 && len(t.each) == 0 {
		return nil
	}
	set := q.Plan.SetTTL(func(operator string) int64 {
		d, ok := t.each[operator]
		if !ok {
			d = t.all
		}
		return d.Microseconds()
	})
	var names []string
	for i, v := range q.Verdicts {
		names = append(names, v.Operator)
		if us := set[v.Operator]; us > 0 && v.Bound != incremental.ByWatermark && v.Bound != incremental.ByClock {
			q.Verdicts[i].TTL = time.Duration(us) * time.Microsecond
		}
	}
	for name := range t.each {
		if _, ok := set[name]; !ok && t.each[name] > 0 {
			return refused(batch.UserErrorf("setting '%s': the query has no operator %q with state that may have a time to live; it has %s", setTTL.Key, name, strings.Join(names, ", ")))
		}
	}
	return nil
}
