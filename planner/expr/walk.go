package expr

// Children returns the direct arguments of e, in order.
func Children(e Expr) []Expr {
	switch e := e.(type) {
	case *Call:
		return e.Args
	case *Cast:
		return []Expr{e.Arg}
	case *Case:
		out := make([]Expr, 0, 2*len(e.Whens)+1)
		for _, w := range e.Whens {
			out = append(out, w.Cond, w.Then)
		}
		return append(out, e.Else)
	case *Logical:
		return e.Args
	case *In:
		return []Expr{e.Arg}
	case *Field:
		return []Expr{e.Arg}
	case *Lambda:
		return []Expr{e.Body}
	default:
		return nil
	}
}

// WithChildren returns e with its arguments replaced, in the order of Children.
func WithChildren(e Expr, ch []Expr) Expr {
	switch e := e.(type) {
	case *Call:
		c := *e
		c.Args = ch
		return &c
	case *Cast:
		c := *e
		c.Arg = ch[0]
		return &c
	case *Case:
		c := *e
		c.Whens = make([]When, len(e.Whens))
		for i := range c.Whens {
			c.Whens[i] = When{Cond: ch[2*i], Then: ch[2*i+1]}
		}
		c.Else = ch[len(ch)-1]
		return &c
	case *Logical:
		c := *e
		c.Args = ch
		return &c
	case *In:
		c := *e
		c.Arg = ch[0]
		return &c
	case *Field:
		c := *e
		c.Arg = ch[0]
		return &c
	case *Lambda:
		c := *e
		c.Body = ch[0]
		return &c
	default:
		return e
	}
}

// Walk visits e and everything below it, parents first, until visit returns false for a subtree.
func Walk(e Expr, visit func(Expr) bool) {
	if e == nil || !visit(e) {
		return
	}
	for _, c := range Children(e) {
		Walk(c, visit)
	}
}

// Transform rewrites e bottom-up; f returns its argument where it changes nothing.
func Transform(e Expr, f func(Expr) Expr) Expr {
	ch := Children(e)
	changed := false
	out := make([]Expr, len(ch))
	for i, c := range ch {
		out[i] = Transform(c, f)
		changed = changed || out[i] != c
	}
	if changed {
		e = WithChildren(e, out)
	}
	return f(e)
}

// Columns adds the positions of the columns that e reads to set.
func Columns(e Expr, set map[int]bool) {
	Walk(e, func(x Expr) bool {
		if c, ok := x.(*Column); ok {
			set[c.Index] = true
		}
		return true
	})
}

// Remap returns e with each column position i replaced by to(i).
func Remap(e Expr, to func(int) int) Expr {
	return Transform(e, func(x Expr) Expr {
		if c, ok := x.(*Column); ok {
			if n := to(c.Index); n != c.Index {
				d := *c
				d.Index = n
				return &d
			}
		}
		return x
	})
}

// Conjuncts splits e at its top-level ANDs.
func Conjuncts(e Expr) []Expr {
	if e == nil {
		return nil
	}
	if l, ok := e.(*Logical); ok && l.Op == And {
		var out []Expr
		for _, a := range l.Args {
			out = append(out, Conjuncts(a)...)
		}
		return out
	}
	return []Expr{e}
}

// AndAll joins conditions with AND; nil if there are none.
func AndAll(es []Expr) Expr {
	switch len(es) {
	case 0:
		return nil
	case 1:
		return es[0]
	}
	return &Logical{Op: And, Args: es}
}

// Equal reports whether two expressions are the same.
func Equal(a, b Expr) bool { return a == b || a.String() == b.String() && typeEqual(a, b) }

// Deterministic reports whether e may be folded or moved freely.
func Deterministic(e Expr) bool {
	ok := true
	Walk(e, func(x Expr) bool {
		if c, is := x.(*Call); is && c.Func.Volatility >= PerRow {
			ok = false
		}
		return ok
	})
	return ok
}

// PerBatch reports whether e, over the same row, may have another value in another
// batch: it asks for the time, or is not deterministic at all.
func PerBatch(e Expr) bool {
	found := false
	Walk(e, func(x Expr) bool {
		if c, is := x.(*Call); is && c.Func.Volatility != Immutable {
			found = true
		}
		return !found
	})
	return found
}

func typeEqual(a, b Expr) bool { return TypeName(a.Type()) == TypeName(b.Type()) }
