package rowpattern

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/planner/expr"
)

// total is an aggregate of these tests: the sum of the values of its rows.
type total struct {
	expr.Accumulator
	sum   int64
	alloc memory.Allocator
}

func (t *total) Resize(int)   {}
func (t *total) Reset()       { t.sum = 0 }
func (t *total) Release()     {}
func (t *total) Bytes() int64 { return 8 }
func (t *total) State(int, int) ([]arrow.Array, error) {
	b := array.NewInt64Builder(t.alloc)
	defer b.Release()
	b.Append(t.sum)
	return []arrow.Array{b.NewArray()}, nil
}
func (t *total) Merge(_ []uint32, s []arrow.Array) error {
	t.sum += s[0].(*array.Int64).Value(0)
	return nil
}

// condition is one of these tests' own: of the row alone, of the last row but one
// of a variable, or of the sum of a variable's values.
type condition struct {
	kind, of int
	bound    int64
}

type world struct {
	values []int64
	conds  []condition
	m      *Matcher
}

// holds decides a condition by the rows taken, of which the last is the new one.
func (w *world) holds(v int, path []Label) bool {
	c, row := w.conds[v], path[len(path)-1].Row
	switch c.kind {
	case 0:
		return true
	case 1:
		return w.values[row] < c.bound
	case 2:
		return row > 0 && w.values[row] > w.values[row-1]
	}
	var of []int
	for _, l := range path {
		if l.Var == c.of {
			of = append(of, l.Row)
		}
	}
	if c.kind == 3 {
		return len(of) < 2 || w.values[of[len(of)-2]] <= w.values[row]
	}
	var sum int64
	for _, r := range of {
		sum += w.values[r]
	}
	return sum < c.bound
}

func (w *world) Row(v, row int) bool {
	return w.conds[v].kind > 2 || w.holds(v, []Label{{Row: row}})
}

func (w *world) Holds(v, row int, s *State) (bool, error) {
	c := w.conds[v]
	if c.kind == 3 {
		last, _ := w.m.Row(s, c.of, 1)
		return last < 0 || w.values[last] <= w.values[row], nil
	}
	return w.m.Acc(s, c.of).(*total).sum < c.bound, nil
}

// naive walks all matches in the order of preference, by the definition.
type naive struct {
	w     *world
	rows  Rows
	path  []Label
	steps int
}

var errSteps = errors.New("too many steps")

// walk calls then with each way in which p matches from row at on, until it says
// that it has found what it wants.
func (n *naive) walk(p *expr.MatchPattern, at int, excluded bool, then func(at int) bool) bool {
	if n.steps++; n.steps > 200_000 {
		panic(errSteps)
	}
	switch p.Op {
	case expr.PatternVar:
		r := &n.rows
		if at >= r.End || r.Within > 0 && len(n.path) > 0 && r.Times[at]-r.Times[n.path[0].Row] >= r.Within {
			return false
		}
		n.path = append(n.path, Label{Row: at, Var: p.Var, Excluded: excluded})
		found := n.w.holds(p.Var, n.path) && then(at+1)
		if !found {
			n.path = n.path[:len(n.path)-1]
		}
		return found
	case expr.PatternSeq:
		return n.list(p.Items, at, excluded, then)
	case expr.PatternAlt:
		return slices.ContainsFunc(p.Items, func(it *expr.MatchPattern) bool { return n.walk(it, at, excluded, then) })
	case expr.PatternPermute:
		for _, perm := range permutations(p.Items) {
			if n.walk(perm, at, excluded, then) {
				return true
			}
		}
		return false
	case expr.PatternExclude:
		return n.walk(p.Items[0], at, true, then)
	case expr.PatternStart:
		return at == n.rows.First && then(at)
	case expr.PatternEnd:
		return at == n.rows.End && then(at)
	case expr.PatternRepeat:
		return n.repeat(p, 0, at, excluded, then)
	default:
		return then(at)
	}
}

func (n *naive) list(items []*expr.MatchPattern, at int, excluded bool, then func(int) bool) bool {
	if len(items) == 0 {
		return then(at)
	}
	return n.walk(items[0], at, excluded, func(at int) bool { return n.list(items[1:], at, excluded, then) })
}

// repeat has gone round a repetition some times. A turn that takes nothing, where
// there is no bound, is the last one.
func (n *naive) repeat(p *expr.MatchPattern, turns, at int, excluded bool, then func(int) bool) bool {
	more := func() bool {
		return (p.Max < 0 || turns < p.Max) && n.walk(p.Items[0], at, excluded, func(next int) bool {
			if next == at && p.Max < 0 && turns+1 >= p.Min {
				return then(next)
			}
			return n.repeat(p, turns+1, next, excluded, then)
		})
	}
	switch {
	case turns < p.Min:
		return more()
	case p.Reluctant:
		return then(at) || more()
	default:
		return more() || then(at)
	}
}

// randomPattern draws a pattern over some variables.
func randomPattern(r *rand.Rand, vars, depth int) *expr.MatchPattern {
	op := expr.PatternVar
	if depth > 0 {
		op = []expr.MatchOp{expr.PatternVar, expr.PatternSeq, expr.PatternSeq, expr.PatternAlt, expr.PatternRepeat, expr.PatternRepeat,
			expr.PatternRepeat, expr.PatternPermute, expr.PatternExclude, expr.PatternEmpty, expr.PatternStart, expr.PatternEnd}[r.IntN(12)]
	}
	p := &expr.MatchPattern{Op: op, Var: r.IntN(vars)}
	items := 0
	switch op {
	case expr.PatternSeq, expr.PatternAlt, expr.PatternPermute:
		items = 1 + r.IntN(3)
	case expr.PatternRepeat:
		items = 1
		p.Min, p.Max = r.IntN(3), -1
		if r.IntN(2) == 0 {
			p.Max = max(p.Min+r.IntN(3), 1)
		}
		p.Reluctant = r.IntN(2) == 0
	case expr.PatternExclude:
		items = 1
	default:
	}
	for range items {
		p.Items = append(p.Items, randomPattern(r, vars, depth-1))
	}
	return p
}

// TestAgainstDefinition compares the first match from each row with the one that
// a walk through all of them in the order of preference finds first.
func TestAgainstDefinition(t *testing.T) {
	matched, skipped := 0, 0
	const cases = 4000
	for seed := range uint64(cases) {
		r := rand.New(rand.NewPCG(seed, 5))
		w, rows, p, text := randomCase(r)
		want, ok := everyMatch(w, rows, p)
		if !ok {
			skipped++
			continue
		}
		for start := rows.First; start < rows.End; start++ {
			found, err := w.m.Find(start)
			if err != nil {
				t.Fatalf("seed %d: %s: %v", seed, text, err)
			}
			if (found == Matched) != (want[start] != nil) {
				t.Fatalf("seed %d: %s of %v from %d: found %d, want %v", seed, text, w.values, start, found, want[start])
			}
			if got := w.m.Labels(nil); found == Matched && !slices.Equal(got, want[start]) {
				t.Fatalf("seed %d: %s of %v from %d, conditions %v:\n got %v\nwant %v", seed, text, w.values, start, w.conds, got, want[start])
			}
			if found == Matched && len(want[start]) > 0 {
				matched++
			}
		}
		w.m.Release()
	}
	if matched < cases || skipped > cases/10 {
		t.Fatalf("only %d matches, %d cases skipped", matched, skipped)
	}
}

func randomCase(r *rand.Rand) (*world, Rows, *expr.MatchPattern, string) {
	vars := 1 + r.IntN(3)
	w := &world{}
	for range 3 + r.IntN(8) {
		w.values = append(w.values, r.Int64N(6))
	}
	h := History{Needs: make([][]bool, vars)}
	names := []string{"A", "B", "C"}
	kinds := 3 + 2*r.IntN(2)
	for v := range vars {
		c := condition{kind: r.IntN(kinds), of: r.IntN(vars), bound: 1 + r.Int64N(8)}
		w.conds = append(w.conds, c)
		only := make([]bool, vars)
		only[v] = true
		h.Tracks = append(h.Tracks, Track{Vars: only, Depth: 2})
		h.Sums = append(h.Sums, Sum{Vars: only, New: func() expr.Accumulator { return &total{alloc: memory.DefaultAllocator} },
			Add: func(acc expr.Accumulator, row int) error { acc.(*total).sum += w.values[row]; return nil }})
	}
	for v, c := range w.conds {
		if c.kind > 2 {
			h.Needs[v] = make([]bool, 2*vars)
			h.Needs[v][c.of+vars*(c.kind-3)] = true
		}
	}
	if kinds == 3 {
		h = History{}
	}
	p := randomPattern(r, vars, 4)
	w.m = New(Compile(p), h, w)
	rows := Rows{End: len(w.values), Limit: len(w.values), Closed: true}
	if r.IntN(4) == 0 {
		at := int64(0)
		for range w.values {
			at += r.Int64N(4)
			rows.Times = append(rows.Times, at)
		}
		rows.Within = 1 + r.Int64N(10)
	}
	w.m.Partition(rows)
	return w, rows, p, fmt.Sprintf("%s within %d at %v", p.Text(names), rows.Within, rows.Times)
}

// everyMatch returns the match from each row; ok is false if that takes too long.
func everyMatch(w *world, rows Rows, p *expr.MatchPattern) (out [][]Label, ok bool) {
	defer func() {
		if e := recover(); e != nil && e != errSteps {
			panic(e)
		}
	}()
	for start := range rows.End {
		n := &naive{w: w, rows: rows}
		var match []Label
		if n.walk(p, start, false, func(int) bool { return true }) {
			match = append([]Label{}, n.path...)
		}
		out = append(out, match)
	}
	return out, true
}

// TestUndecided checks that what is found before the rows have ended is found
// again after, and that what is undecided depends on what follows.
func TestUndecided(t *testing.T) {
	undecided := 0
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 6))
		w, rows, _, text := randomCase(r)
		if w.m.prog.Ends() {
			continue
		}
		early := rows
		early.End = 1 + r.IntN(rows.End)
		early.Limit, early.Closed = early.End, false
		if rows.Within > 0 {
			early.Now = rows.Times[early.End-1]
			if early.End < rows.End {
				early.Now = max(early.Now, rows.Times[early.End]-1)
			}
		}
		for start := range early.End {
			w.m.Partition(early)
			found, err := w.m.Find(start)
			if err != nil {
				t.Fatal(err)
			}
			if found == Undecided {
				undecided++
				continue
			}
			labels := w.m.Labels(nil)
			w.m.Partition(rows)
			later, err := w.m.Find(start)
			if err != nil || later != found || !slices.Equal(labels, w.m.Labels(nil)) {
				t.Fatalf("seed %d: %s of %v from %d, known to %d: %d %v, then %d %v", seed, text, w.values, start, early.End, found, labels, later, w.m.Labels(nil))
			}
		}
		w.m.Release()
	}
	if undecided < 100 {
		t.Fatalf("only %d undecided", undecided)
	}
}

// TestBounds holds the work for patterns that would take a backtracking search
// for ever, and the error where no bound can be kept.
func TestBounds(t *testing.T) {
	a, b := &expr.MatchPattern{Op: expr.PatternVar}, &expr.MatchPattern{Op: expr.PatternVar, Var: 1}
	star := func(p *expr.MatchPattern) *expr.MatchPattern {
		return &expr.MatchPattern{Op: expr.PatternRepeat, Items: []*expr.MatchPattern{p}, Max: -1}
	}
	seq := func(items ...*expr.MatchPattern) *expr.MatchPattern {
		return &expr.MatchPattern{Op: expr.PatternSeq, Items: items}
	}
	const rows = 2000
	tests := &never{last: 1}
	m := New(Compile(seq(star(star(a)), star(a), star(a), b)), History{}, tests)
	m.Partition(Rows{End: rows, Limit: rows, Closed: true})
	for start := range rows {
		if found, err := m.Find(start); found != Nothing || err != nil {
			t.Fatal(found, err)
		}
	}
	if limit := 10 * rows * 4; tests.asked > limit {
		t.Fatalf("%d rows took %d tests, more than %d", rows, tests.asked, limit)
	}
	either := star(&expr.MatchPattern{Op: expr.PatternAlt, Items: []*expr.MatchPattern{a, b}})
	h := History{Tracks: []Track{{Vars: []bool{true, false, false}, Depth: 40}}, Needs: [][]bool{{true}, {true}, nil}}
	m = New(Compile(seq(either, &expr.MatchPattern{Op: expr.PatternVar, Var: 2})), h, &never{last: 2})
	m.Partition(Rows{End: rows, Limit: rows, Closed: true})
	if _, err := m.Find(0); !errors.Is(err, ErrThreads) {
		t.Fatalf("err = %v", err)
	}
}

// never refuses one variable.
type never struct{ last, asked int }

func (n *never) Row(v, _ int) bool                    { n.asked++; return v != n.last }
func (n *never) Holds(int, int, *State) (bool, error) { return true, nil }
