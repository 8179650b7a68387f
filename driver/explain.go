package driver

import (
	"context"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// StageTrace says where the time of one stage of a batch went. Times are summed
// over the stage's tasks, but for Longest.
type StageTrace struct {
	Stage   int            `json:"stage"`
	Tasks   int            `json:"tasks"`
	Adopted int            `json:"adopted,omitempty"` // of the tasks, those that were begun for a driver before
	RowsIn  int64          `json:"rowsIn"`
	BytesIn int64          `json:"bytesIn"`
	Longest time.Duration  `json:"longestNanos"` // task, from being sent to its answer
	Compute int64          `json:"computeMs"`
	Prepare int64          `json:"prepareMs"` // making output durable
	Seal    int64          `json:"sealMs"`    // making the new version of the state
	Ops     []batch.OpWork `json:"operators"` // parents first
}

// BatchTrace is what EXPLAIN BATCH shows of a finished batch.
type BatchTrace struct {
	Progress   Progress      `json:"progress"`
	Stages     []StageTrace  `json:"stages"`
	Checkpoint time.Duration `json:"checkpointNanos"` // of the checkpoint of its state; 0 if there was none
}

// note takes in the answer of a task.
func (s *StageTrace) note(res *batch.TaskResult, took time.Duration) {
	s.Tasks++
	if res.Adopted {
		s.Adopted++
	}
	s.RowsIn += res.Counters.RowsIn
	s.BytesIn += res.Counters.BytesIn
	s.Longest = max(s.Longest, took)
	s.Compute += res.Millis["compute"]
	s.Prepare += res.Millis["prepare"]
	s.Seal += res.Millis["seal"]
}

// stageTraces returns those of the stages that ran.
func (x *execution) stageTraces() []StageTrace {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []StageTrace
	for i := range x.mu.stages {
		if t := x.mu.stages[i].trace; t.Tasks > 0 {
			t.Stage, t.Ops = i, x.mu.stages[i].plan.Work(x.mu.stages[i].ops)
			out = append(out, t)
		}
	}
	return out
}

// seen is what the operators that observe have reported.
func (x *execution) seen() []batch.Observed {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.observed
}

// arrived tells when the batch's rows came.
func (x *execution) arrived() batch.Arrivals {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.arrived
}

// spread describes the event times of the batch.
func (x *execution) spread() batch.TimeSpread {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.spread
}

// Batch returns what is remembered of one of the last batches.
func (q *Query) Batch(id batch.ID) (BatchTrace, bool) {
	q.recent.Lock()
	defer q.recent.Unlock()
	for i, p := range q.recent.list {
		if p.BatchID == int64(id) {
			t := q.recent.traces[i]
			t.Progress = p
			return t, true
		}
	}
	return BatchTrace{}, false
}

// noteUpload adds the time of a checkpoint to the batch whose state it holds.
func (q *Query) noteUpload(id batch.ID, took time.Duration) {
	q.recent.Lock()
	defer q.recent.Unlock()
	for i, p := range q.recent.list {
		if p.BatchID == int64(id) {
			q.recent.traces[i].Checkpoint = took
		}
	}
}

// Watermarks explains the watermark.
func (q *Query) Watermarks(ctx context.Context) (microbatch.Watermarks, error) {
	answer := make(chan microbatch.Watermarks, 1)
	select {
	case q.events <- posted{note: func() { answer <- q.m.Watermarks() }}:
	case <-q.done:
		return q.m.Watermarks(), nil // nobody changes it any more
	case <-ctx.Done():
		return microbatch.Watermarks{}, context.Cause(ctx)
	}
	select {
	case w := <-answer:
		return w, nil
	case <-q.done:
		return q.m.Watermarks(), nil
	case <-ctx.Done():
		return microbatch.Watermarks{}, context.Cause(ctx)
	}
}
