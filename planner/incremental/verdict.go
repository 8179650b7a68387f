package incremental

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/planner/logical"
)

// Bound says how the state of an operator is bounded.
type Bound int

// The bounds.
const (
	ByWatermark Bound = iota // rows leave when the watermark passes them
	ByKeys                   // one row a key
	Unbounded
	ByClock // rows leave when the time of the batches passes them
)

// Verdict is what EXPLAIN says of one stateful operator.
type Verdict struct {
	Operator string
	Bound    Bound
	Advice   string // what would bound it, for all but ByWatermark
	MayLive  bool   // it may have a time to live, which would
	// TTL is how long a row or key stays after its last change, if a time to live is
	// set; whatever Bound says, the state is then bounded by it as well. Of an operator
	// of which only some inputs have one, Sides has those of each.
	TTL   time.Duration
	Sides []time.Duration
}

// String prints the verdict as a sentence.
func (v Verdict) String() string {
	s := fmt.Sprintf("state of %s is ", v.Operator)
	if v.TTL > 0 {
		return s + fmt.Sprintf("bounded by its time to live: what has not changed for %s is forgotten, and a key that comes back starts anew", v.TTL)
	}
	if len(v.Sides) > 0 {
		s += "bounded in part by a time to live (" + sides(v.Sides) + "); else it is "
	}
	advice := v.Advice
	if v.MayLive {
		advice += "; or give it a time to live: SET 'state.ttl' = '1 day', or the hint STATE_TTL"
	}
	switch v.Bound {
	case ByWatermark:
		return s + "bounded by the watermark, and needs no time to live"
	case ByClock:
		return s + "bounded by the clock, and needs no time to live"
	case ByKeys:
		return s + "bounded by the number of distinct keys; " + advice
	default:
		return s + "unbounded; " + advice
	}
}

// EndKey returns which key of an aggregate tells when a group closes, and what
// is known of it; -1 if groups never close.
func EndKey(n *logical.Aggregate) (int, Time) {
	times := throughExprs(n.Keys, timesOf(n.Input))
	best := earliest(times)
	return best, times[best]
}

// Judge returns the verdict on a streaming aggregate.
func Judge(operator string, n *logical.Aggregate, mode string) Verdict {
	if end, t := EndKey(n); end >= 0 && mode != "complete" {
		return Verdict{Operator: operator, Bound: t.Bound()}
	}
	if len(n.Keys) == 0 {
		return Verdict{Operator: operator, Bound: ByKeys, Advice: "it is a single row"}
	}
	return Verdict{
		Operator: operator, Bound: ByKeys,
		Advice: "group by a window over a column with a WATERMARK to bound it by time",
	}
}

// sides prints the times to live of each input.
func sides(ts []time.Duration) string {
	texts := make([]string, len(ts))
	for i, t := range ts {
		if texts[i] = t.String(); t == 0 {
			texts[i] = "for ever"
		}
	}
	return strings.Join(texts, ", ")
}
