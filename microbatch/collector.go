package microbatch

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sluice-stream/sluice/batch"
)

// Result is what all tasks of a batch report together. It does not depend on
// the order in which they finished.
type Result struct {
	Prepared []batch.Prepared    // by sink, then partition
	Shards   []batch.ShardDigest // by operator, then partition
	Counters batch.Counters
	Times    []batch.SourceTime // by source, then partition; the highest of all tasks
	NextDue  batch.EventTime
	NextWake batch.EventTime // 0 if no timer by the clock is set
}

// Collector adopts exactly one result for each task of an attempt at a batch.
// Late, repeated and foreign results are refused without harm (C5, C18, C19).
// It is pure, like the machine; the driver's scheduler holds one for each Run.
type Collector struct {
	id      batch.ID
	term    batch.Term
	waiting map[taskKey]bool // expected tasks; true while not reported
	left    int
	results []batch.TaskResult
}

type taskKey struct{ stage, partition int }

// NewCollector expects one result for every stage and partition named in tasks,
// whatever their attempts.
func NewCollector(id batch.ID, term batch.Term, tasks []batch.TaskID) (*Collector, error) {
	c := &Collector{id: id, term: term, waiting: make(map[taskKey]bool, len(tasks))}
	for _, t := range tasks {
		k := taskKey{t.Stage, t.Partition}
		if t.Batch != id || c.waiting[k] {
			return nil, fmt.Errorf("collect batch %d: task %s is of another batch or expected twice", id, t)
		}
		c.waiting[k] = true
	}
	c.left = len(tasks)
	return c, nil
}

// Add reports whether the result was adopted. The output of a result that was
// not adopted is garbage: its sink's writer is to discard it.
func (c *Collector) Add(r batch.TaskResult) bool {
	k := taskKey{r.Task.Stage, r.Task.Partition}
	if r.Task.Batch != c.id || r.Term != c.term || !c.waiting[k] {
		return false
	}
	c.waiting[k] = false
	c.left--
	c.results = append(c.results, r)
	return true
}

// Waiting reports whether a result of the stage's partition would still be adopted.
func (c *Collector) Waiting(stage, partition int) bool { return c.waiting[taskKey{stage, partition}] }

// Left is the number of tasks that have not reported.
func (c *Collector) Left() int { return c.left }

// Result sums up the batch; false while tasks are missing.
func (c *Collector) Result() (Result, bool) {
	if c.left > 0 {
		return Result{}, false
	}
	res := Result{NextDue: batch.EndOfTime}
	for _, r := range c.results {
		res.Prepared = append(res.Prepared, r.Prepared...)
		res.Shards = append(res.Shards, r.Shards...)
		res.Counters = res.Counters.Add(r.Counters)
		res.Times = append(res.Times, r.Times...)
		res.NextDue = min(res.NextDue, r.NextDue)
		if r.NextWake != 0 && (res.NextWake == 0 || r.NextWake < res.NextWake) {
			res.NextWake = r.NextWake
		}
	}
	slices.SortStableFunc(res.Prepared, func(a, b batch.Prepared) int {
		return cmp.Or(cmp.Compare(a.Sink, b.Sink), cmp.Compare(a.Partition, b.Partition))
	})
	slices.SortStableFunc(res.Shards, func(a, b batch.ShardDigest) int {
		return cmp.Or(cmp.Compare(a.Shard.Operator, b.Shard.Operator), cmp.Compare(a.Shard.Partition, b.Shard.Partition))
	})
	res.Times = highest(res.Times)
	return res, true
}

// highest keeps the highest time of each partition, in the order of names.
func highest(times []batch.SourceTime) []batch.SourceTime {
	slices.SortFunc(times, func(a, b batch.SourceTime) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Partition, b.Partition), cmp.Compare(b.Max, a.Max))
	})
	return slices.CompactFunc(times, func(a, b batch.SourceTime) bool {
		return a.Source == b.Source && a.Partition == b.Partition
	})
}
