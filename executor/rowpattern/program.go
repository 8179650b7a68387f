package rowpattern

import "github.com/sluice-stream/sluice/planner/expr"

// opcode is what an instruction does.
type opcode uint8

const (
	opLabel opcode = iota // takes a row as a variable, then goes to a
	opSplit               // goes to a, and less preferred to b
	opMatch
	opStart // goes to a at the partition's first row
	opEnd   // goes to a behind the partition's last row
)

type instruction struct {
	op       opcode
	excluded bool // of opLabel: within {- -}
	variable int
	a, b     int
	exit     int // of a split that is a loop: where it goes on behind it; else -1
}

// Program is a compiled pattern.
type Program struct {
	code  []instruction
	entry int
	ends  bool // it asks where the partition ends
}

// Compile makes the program of a pattern. How large it gets is
// expr.MatchPattern.Size, which the caller bounds.
func Compile(p *expr.MatchPattern) *Program {
	c := &compiler{p: &Program{}}
	end := c.add(instruction{op: opMatch})
	c.p.entry = c.compile(p, end)
	return c.p
}

// Ends reports whether the program has to know where a partition ends.
func (p *Program) Ends() bool { return p.ends }

type compiler struct {
	p        *Program
	excluded bool
}

func (c *compiler) add(i instruction) int {
	i.exit = -1
	c.p.code = append(c.p.code, i)
	return len(c.p.code) - 1
}

// compile returns where the code for p starts; it goes on to next.
func (c *compiler) compile(p *expr.MatchPattern, next int) int {
	switch p.Op {
	case expr.PatternVar:
		return c.add(instruction{op: opLabel, variable: p.Var, a: next, excluded: c.excluded})
	case expr.PatternSeq:
		for i := len(p.Items) - 1; i >= 0; i-- {
			next = c.compile(p.Items[i], next)
		}
		return next
	case expr.PatternAlt:
		return c.alternatives(p.Items, next)
	case expr.PatternPermute:
		return c.alternatives(permutations(p.Items), next)
	case expr.PatternExclude:
		before := c.excluded
		c.excluded = true
		at := c.compile(p.Items[0], next)
		c.excluded = before
		return at
	case expr.PatternStart:
		return c.add(instruction{op: opStart, a: next})
	case expr.PatternEnd:
		c.p.ends = true
		return c.add(instruction{op: opEnd, a: next})
	case expr.PatternRepeat:
		return c.repeat(p, next)
	default: // PatternEmpty
		return next
	}
}

func (c *compiler) alternatives(items []*expr.MatchPattern, next int) int {
	at := c.compile(items[len(items)-1], next)
	for i := len(items) - 2; i >= 0; i-- {
		a := c.compile(items[i], next)
		at = c.add(instruction{op: opSplit, a: a, b: at})
	}
	return at
}

// repeat writes a repetition out: what must stand, then a loop or what may stand.
func (c *compiler) repeat(p *expr.MatchPattern, next int) int {
	x := p.Items[0]
	if p.Max < 0 {
		// A loop always tries its body once before it asks whether to go on: a body
		// that can be empty keeps its order of preference that way.
		loop := c.add(instruction{op: opSplit})
		body := c.compile(x, loop)
		a, b := prefer(body, next, p.Reluctant)
		c.p.code[loop].a, c.p.code[loop].b, c.p.code[loop].exit = a, b, next
		next = body
		if p.Min == 0 {
			next = c.add(instruction{op: opSplit, a: a, b: b})
		}
	} else {
		after := next
		for range p.Max - p.Min {
			a, b := prefer(c.compile(x, next), after, p.Reluctant)
			next = c.add(instruction{op: opSplit, a: a, b: b})
		}
	}
	must := p.Min
	if p.Max < 0 {
		must = max(p.Min-1, 0)
	}
	for range must {
		next = c.compile(x, next)
	}
	return next
}

// prefer orders the body of a repetition and what follows it.
func prefer(body, after int, reluctant bool) (int, int) {
	if reluctant {
		return after, body
	}
	return body, after
}

// permutations lists the orders of items, the one they are written in first.
func permutations(items []*expr.MatchPattern) []*expr.MatchPattern {
	var out []*expr.MatchPattern
	used := make([]bool, len(items))
	var order []*expr.MatchPattern
	var walk func()
	walk = func() {
		if len(order) == len(items) {
			out = append(out, &expr.MatchPattern{Op: expr.PatternSeq, Items: append([]*expr.MatchPattern{}, order...)})
			return
		}
		for i, it := range items {
			if used[i] {
				continue
			}
			used[i], order = true, append(order, it)
			walk()
			used[i], order = false, order[:len(order)-1]
		}
	}
	walk()
	return out
}
