package driver

import (
	"errors"
	"fmt"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner/physical"
)

// ErrMoving is wrapped where the state of a query is on its way to other workers, or is
// being recovered.
var ErrMoving = errors.New("the state is not there at the moment")

// LiveState says where the state of a running query's operator lies.
type LiveState struct {
	Key    string   // of the deployment
	Batch  batch.ID // newest committed batch: the version to read
	Shards []LiveShard
}

// LiveShard is a shard and the worker that has it.
type LiveShard struct {
	Shard  batch.Shard
	Worker transport.NodeID
}

// liveView is what does not change in a life of the query.
type liveView struct {
	key    string
	d      *deployment
	shards map[string][]LiveShard // by operator, by key group
}

// show makes the state of this life known.
func (q *Query) showState() {
	v := &liveView{key: q.d.key, d: q.d, shards: map[string][]LiveShard{}}
	for _, w := range q.opt.Workers {
		for _, s := range q.d.shards()[w] {
			v.shards[s.Operator] = append(v.shards[s.Operator], LiveShard{s, w})
		}
	}
	for _, list := range v.shards {
		slices.SortFunc(list, func(a, b LiveShard) int { return a.Shard.FirstGroup - b.Shard.FirstGroup })
	}
	q.view.Store(v)
}

// State finds the state of an operator. The version is there until some later batch
// is committed; who finds it gone asks again.
func (q *Query) State(operator string) (LiveState, error) {
	v, st := q.view.Load(), q.Status()
	select {
	case <-q.done:
		return LiveState{}, ErrEnded
	default:
	}
	if v == nil || !slices.ContainsFunc(v.d.plan.Stages, func(s *physical.Stage) bool { return slices.Contains(s.Stateful, operator) }) {
		return LiveState{}, batch.UserErrorf("query %q keeps no state of an operator %q", q.opt.Name, operator)
	}
	if why := q.Waiting(); why != "" {
		return LiveState{}, batch.ExternalError(fmt.Errorf("nobody has the state of query %q: it is %s: %w", q.opt.Name, why, ErrMoving), true)
	}
	switch st.Phase {
	case microbatch.Reading, microbatch.Recovering, microbatch.Ended:
		return LiveState{}, batch.ExternalError(fmt.Errorf("nobody has the state of query %q: it is %s: %w", q.opt.Name, st.Phase, ErrMoving), true)
	case microbatch.Waiting, microbatch.Running, microbatch.Stopping:
	}
	if st.Committed == batch.None {
		return LiveState{}, batch.ExternalError(fmt.Errorf("query %q has no state yet: it is %s", q.opt.Name, st.Phase), true)
	}
	if len(v.shards[operator]) == 0 {
		return LiveState{}, batch.ExternalError(fmt.Errorf("nobody has the state of query %q: %w", q.opt.Name, ErrMoving), true)
	}
	return LiveState{Key: v.key, Batch: st.Committed, Shards: v.shards[operator]}, nil
}
