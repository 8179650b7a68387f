package batch

import "fmt"

// QueryID names a streaming query for ever: it is drawn once, at the query's
// first start, and stored in its checkpoint. Sinks fence and deduplicate by it.
type QueryID string

// ID numbers the micro-batches of a query from 0 without gaps.
type ID int64

// None is the batch before the first one: the base version of empty state.
const None ID = -1

// Term counts leaderships. Records and sink commits of an older term are refused.
type Term uint64

// TaskID names one attempt at one partition of one stage of one batch.
type TaskID struct {
	Query     QueryID `json:"query"`
	Batch     ID      `json:"batch"`
	Stage     int     `json:"stage"`
	Partition int     `json:"partition"`
	Attempt   int     `json:"attempt"`
}

// String prints the task as query/batch/stage/partition, the form of logs and timelines.
func (t TaskID) String() string {
	s := fmt.Sprintf("%s/%d/%d/%d", t.Query, t.Batch, t.Stage, t.Partition)
	if t.Attempt > 0 {
		s += fmt.Sprintf("#%d", t.Attempt)
	}
	return s
}

// Shard names the state that one operator keeps for one partition of its stage.
// The partition owns the key groups [FirstGroup, EndGroup).
type Shard struct {
	Operator   string `json:"operator"`
	Partition  int    `json:"partition"`
	FirstGroup int    `json:"first_group"`
	EndGroup   int    `json:"end_group"`
}

// String prints the shard as operator/partition.
func (s Shard) String() string { return fmt.Sprintf("%s/%d", s.Operator, s.Partition) }

// KeyGroups is the number of key groups that a query's state is cut into. It is
// fixed at the query's first start and recorded in its checkpoint.
const KeyGroups = 256

// GroupsOf returns the key groups [first, end) that partition p of n owns.
func GroupsOf(p, n int) (first, end int) {
	return p * KeyGroups / n, (p + 1) * KeyGroups / n
}

// PartitionOf returns the partition of n that owns key group g, the inverse of GroupsOf.
func PartitionOf(g, n int) int {
	return ((g+1)*n - 1) / KeyGroups
}
