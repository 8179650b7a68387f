package planner

import (
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
)

// checkMode refuses an output mode that a streaming plan cannot have (L3).
func checkMode(n logical.Node, mode string) error {
	agg := topAggregate(n)
	switch mode {
	case "append":
		if agg == nil {
			return nil
		}
		if end, _ := incremental.EndKey(agg); end < 0 {
			return batch.UserErrorf("output mode append needs results that never change, but %q changes as rows come: "+
				"group by a window over a column with a WATERMARK, or use OUTPUT MODE update or complete", agg.String())
		}
	case "complete":
		if agg == nil {
			return batch.UserErrorf("output mode complete puts out the whole result each time, which needs an aggregation: use OUTPUT MODE append")
		}
	}
	return nil
}

// topAggregate returns the aggregate nearest to the output, which decides the
// mode; nil if there is none. A Distinct changes nothing once it is out, so it is none.
func topAggregate(n logical.Node) *logical.Aggregate {
	var found *logical.Aggregate
	logical.Walk(n, func(x logical.Node) bool {
		if found != nil || !logical.Streaming(x) {
			return false
		}
		if a, ok := x.(*logical.Aggregate); ok {
			found = a
			return false
		}
		return true
	})
	return found
}
