package nexmark

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/sources"
)

var (
	optType     = options.Option{Key: "event-type", Kind: options.Enum, Default: "all", Values: []string{"all", "person", "auction", "bid"}, Doc: "Which events: 'all' gives one table with a struct for each type, else the columns of that type."}
	optEvents   = options.Option{Key: "events", Kind: options.Int, Doc: "Number of events after which the table ends; unset, it never ends."}
	optRate     = options.Option{Key: "events-per-second", Kind: options.Int, Default: "10000", Doc: "Events per second of event time."}
	optRealtime = options.Option{Key: "realtime", Kind: options.Boolean, Default: "false", Doc: "Send events at events-per-second by the wall clock too, else as fast as they are taken."}
	optTrigger  = options.Option{Key: "max-events-per-trigger", Kind: options.Int, Default: "1000000", Doc: "Most events in one micro-batch of a stream."}
	optSplit    = options.Option{Key: "split-events", Kind: options.Int, Default: "65536", Doc: "Events in one split, the unit of parallel work."}
	optSeed     = options.Option{Key: "seed", Kind: options.Int, Default: "0", Doc: "Seed of everything that is drawn."}
	optBase     = options.Option{Key: "base-time", Kind: options.Text, Default: "2015-07-15T00:00:00Z", Doc: "Event time of event 0, in RFC 3339."}
	optFirst    = options.Option{Key: "first-event-id", Kind: options.Int, Default: "0", Doc: "Id of the first event; Flink's generator has 2."}
	optGroup    = options.Option{Key: "out-of-order-group", Kind: options.Int, Default: "1", Doc: "Events within groups of so many come out of order; no multiple of 953."}
	optLate     = options.Option{Key: "late-fraction", Kind: options.Float, Default: "0", Doc: "Fraction of the events whose event time is set back."}
	optLateMax  = options.Option{Key: "late-max", Kind: options.Duration, Default: "10s", Doc: "How far event time is set back at most, in whole milliseconds."}
	optBug      = options.Option{Key: "bidder-offset-bug", Kind: options.Boolean, Default: "false", Doc: "Add 1000 to bidder ids a second time, as Flink's generator does."}
)

var declared = []options.Option{
	optType, optEvents, optRate, optRealtime, optTrigger, optSplit, optSeed, optBase,
	optFirst, optGroup, optLate, optLateMax, optBug,
}

// Limits of the options. maxEvents keeps event time within 64 bits at one event a second.
const (
	maxEvents     = int64(1) << 42
	maxSplit      = int64(1) << 30
	disorderPrime = 953
)

// config is a checked WITH clause.
type config struct {
	kind      kind
	events    int64 // maxEvents if it never ends
	bounded   bool
	rate      int64 // events per second of event time
	realtime  bool
	trigger   int64
	split     int64
	seed      int64
	base      int64 // ms since 1970
	first     int64
	group     int64
	lateBelow uint64 // of 2^53
	lateMax   uint64 // ms
	bug       bool
}

func parse(spec sources.Spec) (config, error) {
	m := spec.Options
	if err := options.Check(spec.String(), m, declared); err != nil {
		return config{}, err
	}
	c := config{
		kind: kindNamed(strings.ToLower(m.Get(optType))), events: m.Int(optEvents), rate: m.Int(optRate), realtime: m.Bool(optRealtime),
		trigger: m.Int(optTrigger), split: m.Int(optSplit), seed: m.Int(optSeed),
		first: m.Int(optFirst), group: m.Int(optGroup), bug: m.Bool(optBug),
		lateMax: uint64(max(m.Duration(optLateMax).Milliseconds(), 0)),
	}
	_, c.bounded = m[optEvents.Key]
	if !c.bounded {
		c.events = maxEvents
	}
	var faults []string
	within := func(o options.Option, v, low, high int64) {
		if v < low || v > high {
			faults = append(faults, fmt.Sprintf("option '%s' = '%d': want %d to %d", o.Key, v, low, high))
		}
	}
	within(optEvents, c.events, 0, maxEvents)
	within(optRate, c.rate, 1, 1_000_000_000)
	within(optTrigger, c.trigger, 1, maxEvents)
	within(optSplit, c.split, 1, maxSplit)
	within(optFirst, c.first, 0, maxEvents)
	within(optGroup, c.group, 1, maxSplit)
	if c.group > 1 && c.group%disorderPrime == 0 {
		faults = append(faults, fmt.Sprintf("option '%s' = '%d': a multiple of %d would repeat events", optGroup.Key, c.group, disorderPrime))
	}
	late := m.Float(optLate)
	if !(late >= 0 && late <= 1) {
		faults = append(faults, fmt.Sprintf("option '%s' = '%s': want 0 to 1", optLate.Key, m.Get(optLate)))
	} else {
		c.lateBelow = uint64(late * (1 << 53))
	}
	if late > 0 && c.lateMax == 0 {
		faults = append(faults, fmt.Sprintf("option '%s' = '%s': want at least 1 ms", optLateMax.Key, m.Get(optLateMax)))
	}
	base, err := time.Parse(time.RFC3339Nano, m.Get(optBase))
	if err != nil || base.Year() < 1 || base.Year() > 9999 {
		faults = append(faults, fmt.Sprintf("option '%s' = '%s': want a time such as '%s'", optBase.Key, m.Get(optBase), optBase.Default))
	}
	c.base = base.UnixMilli()
	if !spec.Stream && !c.bounded {
		faults = append(faults, fmt.Sprintf("option '%s' is missing: without it the table never ends, and this query reads all of it", optEvents.Key))
	}
	if len(faults) > 0 {
		return config{}, batch.UserErrorf("%s: %s", spec, strings.Join(faults, "; "))
	}
	return c, nil
}
