package driver

import (
	"fmt"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/microbatch"
)

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
	if v == nil || len(v.shards[operator]) == 0 {
		return LiveState{}, batch.UserErrorf("query %q keeps no state of an operator %q", q.opt.Name, operator)
	}
	if st.Committed == batch.None || st.Phase == microbatch.Reading || st.Phase == microbatch.Recovering || st.Phase == microbatch.Ended {
		return LiveState{}, &batch.Error{Kind: batch.External, Retry: true, Err: fmt.Errorf("query %q has no state yet: it is %s", q.opt.Name, st.Phase)}
	}
	return LiveState{Key: v.key, Batch: st.Committed, Shards: v.shards[operator]}, nil
}
