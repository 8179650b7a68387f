package rowpattern

import (
	"fmt"
)

// MaxThreads is how many alternatives a search may hold open at a row.
const MaxThreads = 10_000

// ErrThreads is returned by a search that would hold more open.
var ErrThreads = fmt.Errorf("more than %d ways to match are open at one row: "+
	"make the conditions of the pattern tell its variables apart", MaxThreads)

// Tests are the conditions of the variables.
type Tests interface {
	// Row says whether a row can be a variable, as far as the row alone tells.
	Row(variable, row int) bool
	// Holds says whether the rest of the condition holds: s has the row as its last
	// one. It is asked for variables whose condition needs any alone.
	Holds(variable, row int, s *State) (bool, error)
}

// Rows is a partition: rows [First, End) are known.
type Rows struct {
	First, End int
	Limit      int  // rows from here on cannot be judged yet
	Closed     bool // no row comes behind End
	Cut        bool // rows before First are known no more
	// Within is how much later than the first row of a match the last one is at most,
	// exclusive; 0 is no bound. Times are the rows', and rows to come are later than Now.
	Within int64
	Times  []int64
	Now    int64
}

// Found says what a search came to.
type Found int

// The results of a search.
const (
	Nothing Found = iota
	Matched
	Undecided
)

// Label is a row of a match.
type Label struct {
	Row, Var int
	Excluded bool
}

// Matcher searches the partitions of a table.
type Matcher struct {
	prog    *Program
	history History
	tests   Tests

	starts []int // of tracks in State.rows
	width  int
	live   [][]bool // by instruction: tracks and sums that conditions from there on ask for

	rows       Rows
	now, next  []thread
	marks      []uint32
	mark       uint32
	seen       map[uint64]int32
	path       []step
	best       int32
	matched    bool
	dead       deadEnds
	sums       []*sum
	freeSums   [][]*sum
	freeStates []*State
	compare    []uint64
}

type thread struct {
	pc    int32
	path  int32
	state *State
}

// step is a row taken; steps share what came before them.
type step struct {
	up, row  int32
	variable int16
	excluded bool
}

// New makes a matcher.
func New(p *Program, h History, t Tests) *Matcher {
	m := &Matcher{prog: p, history: h, tests: t, marks: make([]uint32, len(p.code)), freeSums: make([][]*sum, len(h.Sums))}
	for _, tr := range h.Tracks {
		m.starts = append(m.starts, m.width)
		m.width += tr.Depth
	}
	m.liveness()
	if !h.none() {
		m.seen = map[uint64]int32{}
	}
	return m
}

// Release gives the memory of the aggregates back.
func (m *Matcher) Release() {
	for _, s := range m.sums {
		s.acc.Release()
	}
	m.sums, m.freeStates = nil, nil
	m.freeSums = make([][]*sum, len(m.history.Sums))
}

// Bytes is the memory held.
func (m *Matcher) Bytes() int64 {
	n := int64(cap(m.path))*12 + int64(cap(m.now)+cap(m.next))*16 + int64(cap(m.dead.bits))*8 + int64(cap(m.dead.trail))*8
	for _, s := range m.sums {
		n += s.acc.Bytes()
	}
	return n
}

// liveness finds for each instruction what the conditions behind it ask for.
func (m *Matcher) liveness() {
	width := len(m.history.Tracks) + len(m.history.Sums)
	m.live = make([][]bool, len(m.prog.code))
	for i := range m.live {
		m.live[i] = make([]bool, width)
	}
	if width == 0 {
		return
	}
	merge := func(to, from []bool) bool {
		changed := false
		for i, v := range from {
			if v && !to[i] {
				to[i], changed = true, true
			}
		}
		return changed
	}
	for changed := true; changed; {
		changed = false
		for pc, in := range m.prog.code {
			switch in.op {
			case opLabel:
				changed = merge(m.live[pc], m.history.Needs[in.variable]) || changed
				changed = merge(m.live[pc], m.live[in.a]) || changed
			case opSplit:
				changed = merge(m.live[pc], m.live[in.b]) || changed
				changed = merge(m.live[pc], m.live[in.a]) || changed
			case opStart, opEnd:
				changed = merge(m.live[pc], m.live[in.a]) || changed
			case opMatch:
			}
		}
	}
}

// Partition turns to the rows of another partition.
func (m *Matcher) Partition(r Rows) {
	m.rows = r
	m.dead.reset(r.First, r.Limit, len(m.prog.code))
}

// Find searches for the match that starts at a row before Limit. Labels has it.
func (m *Matcher) Find(start int) (Found, error) {
	m.path, m.best, m.matched = m.path[:0], -1, false
	m.now, m.next, m.dead.trail = m.now[:0], m.next[:0], m.dead.trail[:0]
	clear(m.seen)
	remember := m.history.none() && !m.history.Other && m.rows.Within == 0
	defer m.clear()
	var first *State
	if !m.history.none() {
		var err error
		if first, err = m.newState(); err != nil {
			return Nothing, err
		}
	}
	m.mark++
	err := m.follow(m.prog.entry, start, -1, first)
	m.drop(first)
	if err != nil {
		return Nothing, err
	}
	row := start
	for ; ; row++ {
		m.now, m.next = m.next, m.now[:0]
		if len(m.now) == 0 {
			break
		}
		if row >= m.rows.Limit {
			if m.open(start) {
				return Undecided, nil
			}
			break
		}
		if m.rows.Within > 0 && m.rows.Times[row]-m.rows.Times[start] >= m.rows.Within {
			break
		}
		if err := m.step(row, remember); err != nil {
			return Nothing, err
		}
	}
	if m.matched {
		m.dead.forget()
		return Matched, nil
	}
	m.dead.keep(row - start)
	return Nothing, nil
}

// open reports whether rows that are not known yet could be taken.
func (m *Matcher) open(start int) bool {
	r := &m.rows
	if r.Limit == r.End && r.Closed {
		return false
	}
	if r.Within == 0 {
		return true
	}
	next := r.Now
	if r.Limit < r.End {
		next = r.Times[r.Limit] - 1
	}
	return next-r.Times[start] < r.Within-1
}

// step lets every thread take a row.
func (m *Matcher) step(row int, remember bool) error {
	m.mark++
	clear(m.seen)
	// What the threads held is let go of once all have taken the row: until then a
	// thread that nothing else shares its history with may change it in place.
	defer m.dropAll(m.now)
	for i := range m.now {
		t := &m.now[i]
		in := &m.prog.code[t.pc]
		if !m.tests.Row(in.variable, row) {
			continue
		}
		if remember && m.dead.visit(row, int(t.pc)) {
			continue
		}
		if t.state != nil {
			t.state = m.own(t.state)
			if err := m.extend(t.state, row, in.variable); err != nil {
				return err
			}
		}
		if m.asks(in.variable) {
			ok, err := m.tests.Holds(in.variable, row, t.state)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
		}
		m.path = append(m.path, step{up: t.path, row: int32(row), variable: int16(in.variable), excluded: in.excluded})
		if !m.history.none() {
			m.mark++
		}
		matched := m.matched
		m.matched = false
		err := m.follow(in.a, row+1, int32(len(m.path)-1), t.state)
		found := m.matched
		m.matched = matched || found
		if err != nil {
			return err
		}
		if found {
			break // what follows is less preferred
		}
	}
	return nil
}

func (m *Matcher) asks(variable int) bool {
	return m.history.Needs != nil && m.history.Needs[variable] != nil
}

// follow adds the threads that go on from pc before row at, in their order. Once
// it has found a match it adds no more. A loop that comes round without a row is
// left, with the preference of the turn that took none.
func (m *Matcher) follow(pc, at int, path int32, s *State) error {
	for !m.matched {
		in := &m.prog.code[pc]
		if m.marks[pc] == m.mark {
			if in.exit < 0 {
				return nil
			}
			pc = in.exit
			continue
		}
		m.marks[pc] = m.mark
		switch in.op {
		case opLabel:
			return m.add(pc, path, s)
		case opMatch:
			m.best, m.matched = path, true
			return nil
		case opSplit:
			if err := m.follow(in.a, at, path, s); err != nil {
				return err
			}
			pc = in.b
		case opStart:
			if at != m.rows.First || m.rows.Cut {
				return nil
			}
			pc = in.a
		case opEnd:
			if at != m.rows.End || !m.rows.Closed {
				return nil
			}
			pc = in.a
		}
	}
	return nil
}

// add adds a thread, unless a more preferred one is the same.
func (m *Matcher) add(pc int, path int32, s *State) error {
	t := thread{pc: int32(pc), path: path}
	if s != nil {
		h := m.digest(s, pc)
		if i, ok := m.seen[h]; ok {
			if o := &m.next[i]; int(o.pc) == pc && m.same(o.state, s, pc) {
				return nil
			}
		} else {
			m.seen[h] = int32(len(m.next))
		}
		s.refs++
		t.state = m.forget(s, pc)
	}
	if len(m.next) >= MaxThreads {
		m.drop(t.state)
		return ErrThreads
	}
	m.next = append(m.next, t)
	return nil
}

// clear lets go of what the threads hold.
func (m *Matcher) clear() {
	m.dropAll(m.now)
	m.dropAll(m.next)
	m.now, m.next = m.now[:0], m.next[:0]
}

func (m *Matcher) dropAll(list []thread) {
	for i := range list {
		m.drop(list[i].state)
		list[i].state = nil
	}
}

// Labels appends the rows of the match found, in order.
func (m *Matcher) Labels(dst []Label) []Label {
	from := len(dst)
	for at := m.best; at >= 0; at = m.path[at].up {
		s := &m.path[at]
		dst = append(dst, Label{Row: int(s.row), Var: int(s.variable), Excluded: s.excluded})
	}
	for i, j := from, len(dst)-1; i < j; i, j = i+1, j-1 {
		dst[i], dst[j] = dst[j], dst[i]
	}
	return dst
}
