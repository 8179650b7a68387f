package batch

import "slices"

// What a task tells about its work, for progress, EXPLAIN BATCH and EXPLAIN ANALYZE. No
// decision depends on it, and no log keeps it.

// OpCount is the work of one operator in a task, or summed over tasks.
type OpCount struct {
	Rows    int64 `json:"rows"` // handed on
	Batches int64 `json:"batches"`
	Bytes   int64 `json:"bytes"` // handed on; only measured with a clock
	Nanos   int64 `json:"nanos"` // here and below; only measured with a clock
	// Memory is the most that the operator held at once, and Spilled what it wrote to disk
	// because memory was short. Notes are figures that only operators of its kind have, such
	// as the rows of a join's table. All three only where operators are measured.
	Memory  int64    `json:"memory,omitempty"`
	Spilled int64    `json:"spilled,omitempty"`
	Notes   []OpNote `json:"notes,omitempty"`
}

// OpNote is a figure of an operator that only its kind has.
type OpNote struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
}

// OpWork is OpCount with the operator's place in the plan: a line of EXPLAIN BATCH.
type OpWork struct {
	Name  string `json:"name"`  // the EXPLAIN line
	Depth int    `json:"depth"` // in the tree; the root is 0
	OpCount
}

// SelfNanos is the time of operator i without that of the operators below it.
func SelfNanos(ops []OpWork, i int) int64 {
	self := ops[i].Nanos
	for j := i + 1; j < len(ops) && ops[j].Depth > ops[i].Depth; j++ {
		if ops[j].Depth == ops[i].Depth+1 {
			self -= ops[j].Nanos
		}
	}
	return max(self, 0)
}

// StateWork is what became of one operator's state.
type StateWork struct {
	Operator    string `json:"operator"`
	Rows        int64  `json:"rows"` // after the batch
	Bytes       int64  `json:"bytes"`
	Updated     int64  `json:"updated"` // rows put
	Removed     int64  `json:"removed"` // rows deleted
	CommitNanos int64  `json:"commit_nanos"`
	UpdateNanos int64  `json:"update_nanos"` // of the operator
	RemoveNanos int64  `json:"remove_nanos"` // letting go of what its time to live is over
	Expired     int64  `json:"expired"`      // keys or rows that went so

	// What a store tells that keeps some rows in files: the bytes in memory and in
	// files, sorted runs of the latter, keys that were asked for and found out about
	// in memory, those that were looked for in files, and how often rows were pushed
	// out of memory since the worker opened the state.
	Hot       int64 `json:"hot,omitempty"`
	Cold      int64 `json:"cold,omitempty"`
	Runs      int64 `json:"runs,omitempty"`
	InMemory  int64 `json:"in_memory,omitempty"`
	Read      int64 `json:"read,omitempty"`
	Evictions int64 `json:"evictions,omitempty"`

	// Windows are those that wait for the watermark, and Ends their first ends, in order.
	// Of more than are known there is one more than those.
	Windows int64       `json:"windows,omitempty"`
	Ends    []EventTime `json:"ends,omitempty"`
}

// EndsMax is how many ends of windows a task tells of an operator.
const EndsMax = 64

// LateWork counts the late rows that one operator has left out.
type LateWork struct {
	Operator string `json:"operator"`
	Rows     int64  `json:"rows"`
}

// TimeSpread describes the event times of the rows of a source in a batch.
type TimeSpread struct {
	Count int64     `json:"count"` // of rows that have a time
	Min   EventTime `json:"min"`
	Sum   float64   `json:"sum"` // of the times, in microseconds
}

// Add takes in another part of the batch.
func (t *TimeSpread) Add(o TimeSpread) {
	if o.Count == 0 {
		return
	}
	if t.Count == 0 || o.Min < t.Min {
		t.Min = o.Min
	}
	t.Count += o.Count
	t.Sum += o.Sum
}

// AddState adds the work of another task on the same operators.
func AddState(sum []StateWork, more []StateWork) []StateWork {
next:
	for _, m := range more {
		for i := range sum {
			if s := &sum[i]; s.Operator == m.Operator {
				s.Rows, s.Bytes, s.Updated, s.Removed = s.Rows+m.Rows, s.Bytes+m.Bytes, s.Updated+m.Updated, s.Removed+m.Removed
				s.CommitNanos += m.CommitNanos
				s.UpdateNanos, s.RemoveNanos, s.Expired = s.UpdateNanos+m.UpdateNanos, s.RemoveNanos+m.RemoveNanos, s.Expired+m.Expired
				s.Hot, s.Cold, s.Runs = s.Hot+m.Hot, s.Cold+m.Cold, s.Runs+m.Runs
				s.InMemory, s.Read, s.Evictions = s.InMemory+m.InMemory, s.Read+m.Read, s.Evictions+m.Evictions
				s.addWindows(m)
				continue next
			}
		}
		sum = append(sum, m)
	}
	return sum
}

// addWindows takes in the windows of another task, most of which are the same.
func (s *StateWork) addWindows(m StateWork) {
	cut := s.Windows > int64(len(s.Ends)) || m.Windows > int64(len(m.Ends))
	most := max(s.Windows, m.Windows)
	ends := append(slices.Clone(s.Ends), m.Ends...)
	slices.Sort(ends)
	ends = slices.Compact(ends)
	if s.Windows = int64(len(ends)); cut {
		s.Windows = max(s.Windows, most)
	}
	s.Ends = ends[:min(len(ends), EndsMax)]
}

// AddLate adds late rows by operator.
func AddLate(sum []LateWork, more ...LateWork) []LateWork {
next:
	for _, m := range more {
		for i := range sum {
			if sum[i].Operator == m.Operator {
				sum[i].Rows += m.Rows
				continue next
			}
		}
		sum = append(sum, m)
	}
	return sum
}

// AddOps adds the work of another task of the same stage.
func AddOps(sum []OpCount, more []OpCount) []OpCount {
	if sum == nil {
		sum = make([]OpCount, len(more))
	}
	for i := range min(len(sum), len(more)) {
		s, m := &sum[i], &more[i]
		s.Rows, s.Batches, s.Bytes, s.Nanos = s.Rows+m.Rows, s.Batches+m.Batches, s.Bytes+m.Bytes, s.Nanos+m.Nanos
		s.Memory, s.Spilled = s.Memory+m.Memory, s.Spilled+m.Spilled
		for _, n := range m.Notes {
			at := slices.IndexFunc(s.Notes, func(o OpNote) bool { return o.Name == n.Name })
			if at < 0 {
				s.Notes = append(s.Notes, n)
				continue
			}
			s.Notes[at].Value += n.Value
		}
	}
	return sum
}
