package model

import (
	"cmp"
	"maps"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// Query counts rows by key in tumbling windows and hands every row on, so that
// its output shows both lost or doubled rows and lost or doubled windows.
type Query struct {
	Window  batch.EventTime
	Sources []*Source
}

// Out is a row of output: an input row (Window false) or a closed window.
type Out struct {
	Window bool
	Source uint8
	Key    uint8
	At     int64 // index of the row, or end of the window
	Count  int64
}

// Cell is a key in a window of state.
type Cell struct {
	End batch.EventTime
	Key uint8
}

// State is a version of the query's state. A version is never changed.
type State map[Cell]int64

// Part is the result of one task.
type Part struct {
	Result batch.TaskResult
	Out    []Out
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Digest is the hash of one row of output.
func (o Out) Digest() batch.Digest {
	h := uint64(o.Source)<<8 | uint64(o.Key)
	if o.Window {
		h |= 1 << 40
	}
	h = mix(mix(mix(h)^uint64(o.At)) ^ uint64(o.Count))
	return batch.Digest{Hi: mix(h ^ 1), Lo: h}
}

// Digest is the hash of one cell of state.
func (c Cell) digest(n int64) batch.Digest {
	h := mix(mix(uint64(c.Key)^uint64(c.End)<<8) ^ uint64(n))
	return batch.Digest{Hi: mix(h ^ 2), Lo: h}
}

// Sum adds up the digests of rows.
func Sum(rows []Out) (d batch.Digest) {
	for _, o := range rows {
		d = d.Add(o.Digest())
	}
	return d
}

// EndOf is the end of the window that a time falls into.
func (q *Query) EndOf(t batch.EventTime) batch.EventTime {
	r := t % q.Window
	if r < 0 {
		r += q.Window
	}
	return t - r + q.Window
}

// Compute runs a batch as parts tasks on state base. It depends on the plan and
// on base alone; the number of tasks changes how results are cut, not their sum.
func (q *Query) Compute(p microbatch.Planned, base State, parts int) (State, []Part, error) {
	state := maps.Clone(base)
	if state == nil {
		state = State{}
	}
	tasks := make([]Part, parts)
	for i := range tasks {
		tasks[i].Result.NextDue = batch.EndOfTime
	}
	for si, s := range q.Sources {
		rows, err := s.Read(p.Ranges[si])
		if err != nil {
			return nil, nil, err
		}
		from := Index(p.Ranges[si].Start)
		for i, r := range rows {
			t := &tasks[int(r.Key)%parts]
			q.row(state, t, s, r, p.Watermark)
			t.Out = append(t.Out, Out{Source: uint8(si), Key: r.Key, At: int64(from + i), Count: 1})
		}
	}
	for c, n := range state {
		t := &tasks[int(c.Key)%parts]
		if c.End <= p.Close {
			t.Out = append(t.Out, Out{Window: true, Key: c.Key, At: int64(c.End), Count: n})
			delete(state, c)
		}
	}
	for i := range tasks {
		slices.SortFunc(tasks[i].Out, compareOut) // map order must not show
	}
	for c, n := range state {
		r := &tasks[int(c.Key)%parts].Result
		r.NextDue = min(r.NextDue, c.End)
		r.Counters.StateRows++
		if len(r.Shards) == 0 {
			p := int(c.Key) % parts
			first, end := batch.GroupsOf(p, parts)
			r.Shards = []batch.ShardDigest{{Shard: batch.Shard{Operator: "count", Partition: p, FirstGroup: first, EndGroup: end}}}
		}
		r.Shards[0].Digest = r.Shards[0].Digest.Add(c.digest(n))
	}
	return state, tasks, nil
}

func (q *Query) row(state State, t *Part, s *Source, r Row, watermark batch.EventTime) {
	t.Result.Counters.RowsIn++
	name := s.Partition(r)
	i := slices.IndexFunc(t.Result.Times, func(st batch.SourceTime) bool { return st.Source == s.Name && st.Partition == name })
	if i < 0 {
		t.Result.Times = append(t.Result.Times, batch.SourceTime{Source: s.Name, Partition: name, Max: r.Time})
	} else {
		t.Result.Times[i].Max = max(t.Result.Times[i].Max, r.Time)
	}
	end := q.EndOf(r.Time)
	if end <= watermark {
		t.Result.Counters.Late++
		return
	}
	state[Cell{end, r.Key}]++
}

func compareOut(a, b Out) int {
	return cmp.Or(cmp.Compare(b2i(a.Window), b2i(b.Window)), cmp.Compare(a.Source, b.Source),
		cmp.Compare(a.At, b.At), cmp.Compare(a.Key, b.Key))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
