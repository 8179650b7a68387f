package incremental

import "github.com/sluice-stream/sluice/planner/logical"

// InAppend marks what in append mode puts a row out only when it is final, where it
// would take rows back in the others: then its result only grows, so that time may
// bound what is above it.
func InAppend(n logical.Node) logical.Node {
	return logical.Transform(n, func(n logical.Node) logical.Node {
		switch n := n.(type) {
		case *logical.Aggregate:
			if end, _ := EndKey(n); end >= 0 && !n.Final {
				c := *n
				c.Final = true
				return &c
			}
		case *logical.Match:
			if !n.Final {
				c := *n
				c.Final = true
				return &c
			}
		case *logical.Join:
			if !n.Final && waits(n) {
				c := *n
				c.Final = true
				return &c
			}
		}
		return n
	})
}

// waits reports whether a join of streams can tell of every row when it meets none
// any more.
func waits(n *logical.Join) bool {
	if !logical.Streaming(n.Left) || !logical.Streaming(n.Right) {
		return false
	}
	v, ok := IntervalOf(n)
	if !ok {
		left, right := timesOf(n.Left), timesOf(n.Right)
		keyTimes(n, left, right)
		return len(left) > 0 // its groups close
	}
	_, left := v.LeftKeep()
	_, right := v.RightKeep()
	switch n.Kind {
	case logical.LeftOuter, logical.LeftAnti:
		return left
	case logical.RightOuter:
		return right
	case logical.FullOuter:
		return left && right
	default:
		return true
	}
}
