package sluice

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/internal/options"
	"github.com/sluice-stream/sluice/internal/transport"
)

// What queries that share workers may have of them. Those of admission belong to the
// process that runs the queries, the others to the query that is started next.
var (
	setWeight      = options.Option{Key: "query.weight", Kind: options.Int, Default: "1", Doc: "share of the workers' slots beside other queries: with 2 a query has twice the time of one with 1 while both want it"}
	setSlotsMax    = options.Option{Key: "query.slots-max", Kind: options.Int, Default: "0", Doc: "how many tasks of the query run at a time, on all workers together; 0 is as many as there are slots"}
	setQueryMemory = options.Option{Key: memory.QueryLimitOption, Kind: options.Bytes, Default: "0", Doc: "bytes of each worker that the query may hold, and that are kept for it: it waits until so much is not promised to others, spills within it, and what cannot spill fails the query alone; 0 is what memory_limit leaves"}
	setQueriesMax  = options.Option{Key: "admission.max-queries", Kind: options.Int, Default: "0", Doc: "how many queries of the process, or of the cluster's driver, run at a time; the others wait, first in first out; 0 is any number"}
	setTaskTimeout = options.Option{Key: "task.timeout", Kind: options.Duration, Default: "0s", Doc: "after this time a task is cancelled and tried again; 0 is never"}

	setSpeculation    = options.Option{Key: "task.speculation", Kind: options.Boolean, Default: "false", Doc: "begin a task that takes much longer than those of its stage a second time, on another worker; tasks with state stay where that is"}
	setSpecQuantile   = options.Option{Key: "task.speculation.quantile", Kind: options.Float, Default: "0.9", Doc: "the part of a stage's tasks that must be done before another one counts as slow"}
	setSpecMultiplier = options.Option{Key: "task.speculation.multiplier", Kind: options.Float, Default: "3", Doc: "how many times the median of those it must have taken"}
	setSpecRuntime    = options.Option{Key: "task.speculation.min-runtime", Kind: options.Duration, Default: "100ms", Doc: "how long it must have taken in any case"}

	sharingSettings = []options.Option{setWeight, setSlotsMax, setQueryMemory, setQueriesMax, setTaskTimeout, setSpeculation, setSpecQuantile, setSpecMultiplier, setSpecRuntime}
)

// checkSharing refuses values outside of what the settings above take.
func checkSharing(key, value string) error {
	bounds := map[string][2]float64{
		setWeight.Key: {1, 1000}, setSlotsMax.Key: {0, math.MaxInt32}, setQueriesMax.Key: {0, math.MaxInt32},
		setSpecQuantile.Key: {0.01, 1}, setSpecMultiplier.Key: {1, 1000}, setStandbys.Key: {0, 8},
	}
	b, ok := bounds[key]
	if !ok {
		return nil
	}
	if n, err := strconv.ParseFloat(strings.ReplaceAll(value, "_", ""), 64); err != nil || !(n >= b[0] && n <= b[1]) {
		return batch.UserErrorf("SET %s: %s is not between %v and %.0f", key, value, b[0], b[1])
	}
	return nil
}

// share tells a query's driver what it may have.
func (s *Session) share(opt *driver.Options) {
	set := s.set.snapshot()
	opt.Quota = transport.Quota{Weight: int(set.Int(setWeight)), Memory: set.Bytes(setQueryMemory)}
	opt.SlotsMax, opt.TaskTimeout, opt.Admission = int(set.Int(setSlotsMax)), set.Duration(setTaskTimeout), s.admission
	opt.Speculation = driver.Speculation{
		On: set.Bool(setSpeculation), Quantile: set.Float(setSpecQuantile), Multiplier: set.Float(setSpecMultiplier), MinRuntime: set.Duration(setSpecRuntime),
	}
}

// admit makes the session ask before its queries begin: of a cluster the one that all
// pipelines share.
func (s *Session) admit() {
	most := int(s.set.snapshot().Int(setQueriesMax))
	if w := s.opts.workforce; w != nil {
		s.admission = w.members.Admission()
		s.admission.SetMost(most)
		return
	}
	s.admission = driver.NewAdmission(most, func() []int64 { return []int64{s.memory.Limit()} })
}

// resize is told that settings of the process may have changed.
func (s *Session) resize() {
	s.memory.SetLimit(s.memoryLimit())
	if s.opts.workforce == nil {
		s.admission.SetMost(int(s.set.snapshot().Int(setQueriesMax)))
	}
}

// memoryRoom is how much a query may hold on a worker of this process.
func (s *Session) memoryRoom() int64 {
	limit, own := s.memory.Limit(), s.set.snapshot().Bytes(setQueryMemory)
	if own > 0 && (limit == 0 || own < limit) {
		return own
	}
	return limit
}

// Quota is what a query may have of the workers that it shares with others.
type Quota struct {
	Weight      int   `json:"weight"`                // of its time in their slots
	SlotsMax    int   `json:"slotsMax,omitempty"`    // tasks at a time; 0: any number
	MemoryBytes int64 `json:"memoryBytes,omitempty"` // on each worker; 0: what there is
}

func quotaOf(set options.Map) Quota {
	return Quota{Weight: int(set.Int(setWeight)), SlotsMax: int(set.Int(setSlotsMax)), MemoryBytes: set.Bytes(setQueryMemory)}
}

// String says what differs from the default.
func (q Quota) String() string {
	var parts []string
	if q.Weight != 1 {
		parts = append(parts, fmt.Sprintf("weight %d", q.Weight))
	}
	if q.SlotsMax > 0 {
		parts = append(parts, fmt.Sprintf("at most %d tasks at a time", q.SlotsMax))
	}
	if q.MemoryBytes > 0 {
		parts = append(parts, fmt.Sprintf("%s of each worker's memory", memory.FormatBytes(q.MemoryBytes)))
	}
	return strings.Join(parts, ", ")
}

// explainQuota tells what a query would have that is started now.
func (s *Session) explainQuota(ctx context.Context) string {
	if f, _ := ctx.Value(explaining{}).(string); f == "JSON" {
		return ""
	}
	return quotaOf(s.set.snapshot()).explained()
}

// explained is a part of EXPLAIN; none if the query has no quota.
func (q Quota) explained() string {
	if text := q.String(); text != "" {
		return "== Quota ==\n" + text + "\n"
	}
	return ""
}
