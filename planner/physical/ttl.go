package physical

import "slices"

// StateTTL says how long the state of an operator outlives its last change, in
// processing time: the now() of the batches.
type StateTTL struct {
	Micros int64
	// Tail is how many bytes at the end of a state key tell rows of one key apart: what
	// they share lives and goes together. 0: every row for itself.
	Tail int
	// Keep are inputs, told by the byte in front of a row's digest, whose rows stay
	// because they are read once: static tables.
	Keep []bool
}

// TTLName is the name under which the expiry index of an operator's state is kept.
func TTLName(operator string) string { return operator + ".ttl" }

// recomputeTail is the input and the digest at the end of a Recompute's keys.
const recomputeTail = 17

// SetTTL gives the operators of a plan that nothing else bounds a time to live, by
// their names, and returns those that have one. of returns 0 for none.
func (p *Plan) SetTTL(of func(operator string) int64) map[string]int64 {
	out := map[string]int64{}
	for _, s := range p.Stages {
		s.TTL = nil
		var walk func(n Node)
		walk = func(n Node) {
			if name, ttl, ok := ttlOf(n); ok {
				if ttl.Micros = of(name); ttl.Micros > 0 {
					if s.TTL == nil {
						s.TTL = map[string]StateTTL{}
					}
					s.TTL[name], out[name] = ttl, ttl.Micros
					if !slices.Contains(s.Stateful, TTLName(name)) {
						s.Stateful = append(s.Stateful, TTLName(name))
					}
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

// ttlOf says whether the state of an operator may have a time to live. What a
// watermark bounds needs none, and a result without keys is one row.
func ttlOf(n Node) (name string, ttl StateTTL, ok bool) {
	switch n := n.(type) {
	case *StatefulAggregate:
		return n.Operator, ttl, n.EndKey < 0 && n.NKeys > 0
	case *MarkFirst:
		return n.Operator, ttl, n.EndKey < 0 && len(n.Keys) > 0
	case *Latest:
		return n.Operator, ttl, len(n.Keys) > 0
	case *Recompute:
		// Of an inner join each row is alone; any other result is of a key's rows together.
		ttl.Keep = n.Static
		if ttl.Tail = recomputeTail; n.Bilinear {
			ttl.Tail = 0
		}
		return n.Operator, ttl, n.EndKey < 0 && len(n.Keys) > 0 && len(n.Keys[0]) > 0 && !n.Whole
	}
	return "", ttl, false
}
