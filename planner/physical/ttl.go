package physical

import (
	"slices"
	"strings"
)

// StateTTL says how long the state of an operator outlives its last change, in
// processing time: the now() of the batches.
type StateTTL struct {
	Micros int64
	// Tail is how many bytes at the end of a state key tell rows of one key apart: what
	// they share lives and goes together. 0: every row for itself.
	Tail int
	// Inputs are the times of the rows of each input, if they differ, 0 for rows that
	// stay: those of static tables are read once. The byte so many from the end of a
	// key as InputAt says names the input; a shorter key is a mark, which stays.
	Inputs  []int64
	InputAt int
	// Tag is the byte behind the key group of the keys that the time holds for, 0 for all.
	Tag byte
}

// TTLName is the name under which the expiry index of an operator's state is kept.
func TTLName(operator string) string { return operator + ttlSuffix }

const ttlSuffix = ".ttl"

// What the keys of operators look like. LastVersion and PairRow are the bytes behind
// the key group of a Versions' last row and of an IntervalJoin's rows.
const (
	recomputeTail = 17 // the input and the digest at the end of a Recompute's keys
	pairTail      = 25 // the side, the time and the digest at the end of an IntervalJoin's
	LastVersion   = 1
	PairRow       = 1
)

// SetTTL gives the operators of a plan that nothing else bounds a time to live, by
// their names, and returns for those that have one the times of each input; one of
// 0 stays. of returns the times of an operator with so many inputs, nil for none.
func (p *Plan) SetTTL(of func(operator string, inputs int) []int64) map[string][]int64 {
	out := map[string][]int64{}
	for _, s := range p.Stages {
		s.TTL = nil
		var walk func(n Node)
		walk = func(n Node) {
			if name, ttl, times := ttlOf(n, of); ttl.Micros > 0 {
				if s.TTL == nil {
					s.TTL = map[string]StateTTL{}
				}
				s.TTL[name], out[name] = ttl, times
				if !slices.Contains(s.Stateful, TTLName(name)) {
					s.Stateful = append(s.Stateful, TTLName(name))
				}
			}
			for _, in := range n.Inputs() {
				walk(in)
			}
		}
		walk(s.Root)
	}
	return out
}

// ClearTTL takes all times to live back, and the states that they need.
func (p *Plan) ClearTTL() {
	for _, s := range p.Stages {
		s.Stateful = slices.DeleteFunc(s.Stateful, func(name string) bool {
			_, index := s.TTL[strings.TrimSuffix(name, ttlSuffix)]
			return index && strings.HasSuffix(name, ttlSuffix)
		})
		s.TTL = nil
	}
}

// ttlOf is the time to live of an operator's state, if it may have one. What a
// watermark bounds needs none, and a result without keys is one row. A pattern has
// none either: rows that wait for the rest of a match must not go one by one, and
// WITHIN says how long they wait.
func ttlOf(n Node, of func(operator string, inputs int) []int64) (name string, ttl StateTTL, times []int64) {
	one := func(operator string, may bool) (string, StateTTL, []int64) {
		if times := of(operator, 1); may && len(times) > 0 {
			return operator, StateTTL{Micros: times[0]}, times
		}
		return operator, StateTTL{}, nil
	}
	switch n := n.(type) {
	case *StatefulAggregate:
		return one(n.Operator, n.EndKey < 0 && n.NKeys > 0)
	case *Rank:
		return one(n.Operator, len(n.Partition) > 0)
	case *MarkFirst:
		return one(n.Operator, n.EndKey < 0 && len(n.Keys) > 0)
	case *Latest:
		return one(n.Operator, true)
	case *Versions: // what has no version yet waits for the watermark
		name, ttl, times = one(n.Operator, len(n.Keys) > 0)
		ttl.Tag = LastVersion
		return name, ttl, times
	case *Recompute:
		if n.EndKey < 0 && len(n.Keys) > 0 && len(n.Keys[0]) > 0 && !n.Whole {
			ttl, times = n.ttl(of(n.Operator, len(n.In)))
		}
		return n.Operator, ttl, times
	case *IntervalJoin:
		if times = of(n.Operator, 2); len(times) < 2 {
			return n.Operator, ttl, nil
		}
		times = slices.Clone(times)
		for i, keep := range n.Keep {
			if keep != nil { // the watermark bounds this side
				times[i] = 0
			}
		}
		return n.Operator, StateTTL{Micros: slices.Max(times), Inputs: times, InputAt: pairTail, Tag: PairRow}, times
	}
	return "", ttl, nil
}

// ttl is that of a Recompute. Of an inner join each row goes by itself; any other
// result is of a key's rows together, which go when the longest of the times is over.
func (n *Recompute) ttl(times []int64) (StateTTL, []int64) {
	if len(times) != len(n.In) {
		return StateTTL{}, nil
	}
	own := slices.Clone(times)
	for i, static := range n.Static {
		if static {
			own[i] = 0
		}
	}
	longest := slices.Max(own)
	if n.Bilinear {
		return StateTTL{Micros: longest, Inputs: own, InputAt: recomputeTail}, own
	}
	for i, t := range own {
		switch {
		case n.Static[i]:
		case t == 0:
			return StateTTL{}, nil // a side whose rows stay keeps the key
		default:
			own[i] = longest
		}
	}
	return StateTTL{Micros: longest, Tail: recomputeTail, Inputs: own, InputAt: recomputeTail}, own
}

// BoundedInputs says which inputs of an operator need no time to live, because they
// are read once or the watermark bounds them; nil for none.
func (p *Plan) BoundedInputs(operator string) (bounded []bool) {
	var walk func(n Node)
	walk = func(n Node) {
		switch n := n.(type) {
		case *Recompute:
			if n.Operator == operator {
				bounded = n.Static
			}
		case *IntervalJoin:
			if n.Operator == operator {
				bounded = []bool{n.Keep[0] != nil, n.Keep[1] != nil}
			}
		}
		for _, in := range n.Inputs() {
			walk(in)
		}
	}
	for _, s := range p.Stages {
		walk(s.Root)
	}
	return bounded
}
