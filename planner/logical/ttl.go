package logical

import "time"

// TTL is how long rows of each input of an operator stay in a stream's state after
// their last change, if the query says so: one time for all inputs, or one for each;
// 0 is what holds for the query. It is no part of what a query computes, so that
// no text of a plan shows it: it may be another one at the next start.
type TTL []time.Duration

// TTLOf returns what the query says of an operator, or of the one below a filter or
// a projection.
func TTLOf(n Node) TTL {
	if at := ttlField(n); at != nil {
		return *at
	}
	switch n := n.(type) {
	case *Filter:
		return TTLOf(n.Input)
	case *Project:
		return TTLOf(n.Input)
	default:
		return nil
	}
}

// WithTTL returns a copy of an operator with the times, and false for one that
// keeps no rows.
func WithTTL(n Node, ttl TTL) (Node, bool) {
	if ttlField(n) == nil {
		return n, false
	}
	n = n.WithInputs(n.Inputs())
	*ttlField(n) = ttl
	return n, true
}

func ttlField(n Node) *TTL {
	switch n := n.(type) {
	case *Aggregate:
		return &n.TTL
	case *Analytic:
		return &n.TTL
	case *Join:
		return &n.TTL
	case *Distinct:
		return &n.TTL
	case *Dedup:
		return &n.TTL
	case *LimitBy:
		return &n.TTL
	default:
		return nil
	}
}
