package rowpattern

import (
	"github.com/sluice-stream/sluice/planner/expr"
)

// Track are the first or the last rows that were taken as some variables.
type Track struct {
	Vars  []bool // by variable
	First bool
	Depth int // how many rows; nearest to the end that it counts from first
	// Variables says that conditions also ask as what the rows were taken.
	Variables bool
}

// Sum is an aggregate over the rows that were taken as some variables.
type Sum struct {
	Vars []bool // by variable
	New  func() expr.Accumulator
	Add  func(acc expr.Accumulator, row int) error
}

// History is what conditions ask of the rows that a thread has taken.
type History struct {
	Tracks []Track
	Sums   []Sum
	// Needs are, for each variable, the tracks and then the sums that its condition asks for.
	Needs [][]bool
	// Other says that conditions depend on what else can differ between two searches.
	Other bool
}

func (h *History) none() bool { return len(h.Tracks) == 0 && len(h.Sums) == 0 }

// State is a thread's history.
type State struct {
	refs int
	rows []int32 // of the tracks, one behind the other; -1 for no row
	vars []int16 // as what they were taken
	sums []*sum  // nil where nothing asks for one any more
}

// sum is the running state of an aggregate. Its digest stands for the rows in it.
type sum struct {
	refs   int
	acc    expr.Accumulator
	digest [2]uint64
}

// Row returns row n of a track and its variable, -1 if there is none.
func (m *Matcher) Row(s *State, track, n int) (row, variable int) {
	at := m.starts[track] + n
	return int(s.rows[at]), int(s.vars[at])
}

// Acc returns an aggregate's running state.
func (m *Matcher) Acc(s *State, i int) expr.Accumulator { return s.sums[i].acc }

// newState starts a thread without rows.
func (m *Matcher) newState() (*State, error) {
	s := m.takeState()
	for i := range s.rows {
		s.rows[i], s.vars[i] = -1, -1
	}
	for i := range s.sums {
		s.sums[i] = m.takeSum(i)
	}
	return s, nil
}

func (m *Matcher) takeState() *State {
	if n := len(m.freeStates); n > 0 {
		s := m.freeStates[n-1]
		m.freeStates = m.freeStates[:n-1]
		s.refs = 1
		return s
	}
	return &State{refs: 1, rows: make([]int32, m.width), vars: make([]int16, m.width), sums: make([]*sum, len(m.history.Sums))}
}

func (m *Matcher) takeSum(i int) *sum {
	free := &m.freeSums[i]
	if n := len(*free); n > 0 {
		s := (*free)[n-1]
		*free = (*free)[:n-1]
		s.acc.Reset()
		s.acc.Resize(1)
		*s = sum{refs: 1, acc: s.acc}
		return s
	}
	s := &sum{refs: 1, acc: m.history.Sums[i].New()}
	s.acc.Resize(1)
	m.sums = append(m.sums, s)
	return s
}

func (m *Matcher) dropSum(i int, s *sum) {
	if s == nil {
		return
	}
	if s.refs--; s.refs == 0 {
		m.freeSums[i] = append(m.freeSums[i], s)
	}
}

func (m *Matcher) drop(s *State) {
	if s == nil {
		return
	}
	if s.refs--; s.refs > 0 {
		return
	}
	for i, x := range s.sums {
		m.dropSum(i, x)
		s.sums[i] = nil
	}
	m.freeStates = append(m.freeStates, s)
}

// own returns the state for a thread alone to change; it takes s over.
func (m *Matcher) own(s *State) *State {
	if s.refs == 1 {
		return s
	}
	c := m.takeState()
	copy(c.rows, s.rows)
	copy(c.vars, s.vars)
	copy(c.sums, s.sums)
	for _, x := range c.sums {
		if x != nil {
			x.refs++
		}
	}
	m.drop(s)
	return c
}

// forget leaves out the sums that nothing asks for from pc on; it takes s over.
func (m *Matcher) forget(s *State, pc int) *State {
	live := m.live[pc][len(m.history.Tracks):]
	for i, x := range s.sums {
		if x != nil && !live[i] {
			s = m.own(s)
			m.dropSum(i, s.sums[i])
			s.sums[i] = nil
		}
	}
	return s
}

// extend adds a row to a state that is the thread's own.
func (m *Matcher) extend(s *State, row, variable int) error {
	for t := range m.history.Tracks {
		tr := &m.history.Tracks[t]
		if !tr.Vars[variable] {
			continue
		}
		from, end := m.starts[t], m.starts[t]+tr.Depth
		if !tr.First {
			copy(s.rows[from+1:end], s.rows[from:])
			copy(s.vars[from+1:end], s.vars[from:])
			s.rows[from], s.vars[from] = int32(row), int16(variable)
			continue
		}
		for at := from; at < end; at++ {
			if s.rows[at] < 0 {
				s.rows[at], s.vars[at] = int32(row), int16(variable)
				break
			}
		}
	}
	for i := range m.history.Sums {
		x := s.sums[i]
		if x == nil || !m.history.Sums[i].Vars[variable] {
			continue
		}
		if x.refs > 1 {
			c, err := m.copySum(i, x)
			if err != nil {
				return err
			}
			x.refs--
			x, s.sums[i] = c, c
		}
		if err := m.history.Sums[i].Add(x.acc, row); err != nil {
			return err
		}
		x.digest = [2]uint64{mix(x.digest[0], uint64(row)), mix(x.digest[1], ^uint64(row))}
	}
	return nil
}

func (m *Matcher) copySum(i int, x *sum) (*sum, error) {
	c := m.takeSum(i)
	c.digest = x.digest
	state, err := x.acc.State(0, 1)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, a := range state {
			a.Release()
		}
	}()
	return c, c.acc.Merge([]uint32{0}, state)
}

// mix adds a number to a digest. Two sequences of rows that differ meet with a
// probability of 2^-128 per pair, which stands for equality here.
func mix(h, v uint64) uint64 {
	h = (h ^ v) + 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// digest is equal for threads that are the same to every condition from pc on.
func (m *Matcher) digest(s *State, pc int) uint64 {
	h := mix(1, uint64(pc))
	m.each(s, pc, func(v uint64) { h = mix(h, v) })
	return h
}

// same compares what the conditions from pc on can ask of two states.
func (m *Matcher) same(a, b *State, pc int) bool {
	m.compare = m.compare[:0]
	m.each(a, pc, func(v uint64) { m.compare = append(m.compare, v) })
	i, equal := 0, true
	m.each(b, pc, func(v uint64) {
		equal = equal && i < len(m.compare) && m.compare[i] == v
		i++
	})
	return equal && i == len(m.compare)
}

func (m *Matcher) each(s *State, pc int, visit func(v uint64)) {
	for t, live := range m.live[pc] {
		switch {
		case !live:
		case t < len(m.history.Tracks):
			from, end := m.starts[t], m.starts[t]+m.history.Tracks[t].Depth
			for at := from; at < end; at++ {
				v := uint64(uint32(s.rows[at]))
				if m.history.Tracks[t].Variables {
					v |= uint64(uint16(s.vars[at])) << 32
				}
				visit(v)
			}
		default:
			x := s.sums[t-len(m.history.Tracks)]
			visit(x.digest[0])
			visit(x.digest[1])
		}
	}
}
