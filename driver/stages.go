package driver

import (
	"encoding/binary"
	"fmt"
	"maps"
	"strings"

	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/transport"
	"github.com/sluice-stream/sluice/planner/physical"
)

// versions names the contents of every static stage's output: equal names hold
// equal rows, since it depends on pinned sources alone.
func versions(plan *physical.Plan, ranges []batch.Range) map[int]string {
	pins := make(map[string]string, len(ranges))
	for _, g := range ranges {
		pins[g.Source] = g.Pin
	}
	out := map[int]string{}
	for _, s := range plan.Stages {
		if !s.Static {
			continue
		}
		var b strings.Builder
		for _, src := range s.Sources {
			fmt.Fprintf(&b, "%q=%q ", src, pins[src])
		}
		for _, in := range s.Inputs {
			fmt.Fprintf(&b, "%d=%s ", in, out[in])
		}
		h := xxh3.HashString128(b.String())
		out[s.ID] = fmt.Sprintf("%016x%016x", h.Hi, h.Lo)
	}
	return out
}

// readsOf hashes what the tasks of a batch read of sources. A source that was looked at
// again may cut the same range in another way, or into other rows.
func readsOf(plan *physical.Plan, w work) uint64 {
	var h xxh3.Hasher
	var num [8]byte
	number := func(n int64) {
		binary.LittleEndian.PutUint64(num[:], uint64(n))
		_, _ = h.Write(num[:]) // a hash takes everything
	}
	text := func(s string) {
		number(int64(len(s)))
		_, _ = h.WriteString(s)
	}
	for _, s := range plan.Stages {
		text(w.inputs[s.ID])
		if s.Static { // which is what its version says
			continue
		}
		number(int64(len(w.splits[s.ID])))
		for _, p := range w.splits[s.ID] {
			text(p.Source)
			text(p.Partition)
			number(int64(p.Index))
			number(p.Rows)
			number(p.Bytes)
			number(int64(len(p.Payload)))
			_, _ = h.Write(p.Payload)
		}
	}
	return max(h.Sum64(), 1)
}

// output tells where a stage's rows lie.
func (x *execution) output(stage int) (batch.Input, []transport.NodeID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := &x.mu.stages[stage]
	return r.input, r.nodes
}

// adopted returns the results that were taken in before the run was given up.
func (x *execution) adopted() []batch.TaskResult {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.results
}

// rowsBySource counts the rows that tasks have read from each source.
func (x *execution) rowsBySource() map[string]int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return maps.Clone(x.mu.perSrc)
}

// states describes the state of each operator that keeps some.
func (x *execution) states() []StateProgress {
	x.mu.Lock()
	defer x.mu.Unlock()
	late := map[string]int64{}
	for _, l := range x.mu.late {
		late[l.Operator] += l.Rows
	}
	var out []StateProgress
	for i := range x.mu.stages {
		r := &x.mu.stages[i]
		if len(r.plan.Stateful) > 0 && len(r.state) == 0 && r.tasks > 0 { // a worker that tells sums alone
			r.state = []batch.StateWork{{Operator: strings.Join(r.plan.Stateful, "+"), Rows: r.counters.StateRows, Bytes: r.counters.StateBytes}}
		}
		for _, s := range r.state {
			out = append(out, StateProgress{
				OperatorName: s.Operator, NumRowsTotal: s.Rows, NumRowsUpdated: s.Updated, NumRowsRemoved: s.Removed,
				MemoryUsedBytes: s.Bytes, CommitTimeMs: s.CommitNanos / 1e6, NumRowsDroppedWatermark: late[s.Operator],
				NumShufflePartitions: int64(r.tasks), NumStateStoreInstances: int64(r.tasks), CustomMetrics: customMetrics(s),
				AllUpdatesTimeMs: s.UpdateNanos / 1e6, AllRemovalsTimeMs: s.RemoveNanos / 1e6, ends: s.Ends,
			})
		}
	}
	return out
}

// customMetrics are what only some operators have: windows that wait for the
// watermark, keys or rows whose time to live was over, and where the rows are.
func customMetrics(s batch.StateWork) map[string]int64 {
	out := map[string]int64{}
	for _, m := range []struct {
		name  string
		value int64
	}{{"windowsWaiting", s.Windows}, {"keysExpired", s.Expired}, {"hotBytes", s.Hot}, {"coldBytes", s.Cold}, {"sortedRuns", s.Runs},
		{"keysInMemory", s.InMemory}, {"keysReadFromFiles", s.Read}, {"evictions", s.Evictions}} {
		if m.value > 0 {
			out[m.name] = m.value
		}
	}
	return out
}
