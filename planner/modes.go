package planner

import (
	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
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

// updateKey gives a sink in update mode the key of the result: the columns that
// carry the keys of the aggregation, under their names in the result. A result
// that hides one of them has no key that an upsert could go by.
func updateKey(root physical.Node, sink *physical.Sink) error {
	keys, n, ok := resultKey(root)
	switch {
	case !ok || len(sink.Keys) > 0: // rows that never change, or a declared key
		return nil
	case n == 0:
		sink.OneRow = true
		return nil
	case len(keys) < n:
		return batch.UserErrorf("output mode update replaces rows by their key, and the result leaves out a column of GROUP BY: "+
			"select every key, declare a PRIMARY KEY for table %q, or use OUTPUT MODE complete or changelog", sink.Table)
	}
	for _, k := range keys {
		sink.Keys = append(sink.Keys, root.Schema().Field(k).Name)
	}
	return nil
}

// resultKey follows the n keys of the aggregate that makes an updating result up
// to its output; keys are the positions of those that arrive there unchanged.
func resultKey(root physical.Node) (keys []int, n int, ok bool) {
	switch root := root.(type) {
	case *physical.StatefulAggregate:
		for i := range root.NKeys {
			keys = append(keys, i)
		}
		return keys, root.NKeys, true
	case *physical.Project:
		in, n, ok := resultKey(root.Input)
		for _, k := range in {
			for at, e := range root.Exprs {
				if c, is := e.(*expr.Column); is && c.Index == k {
					keys = append(keys, at)
					break
				}
			}
		}
		return keys, n, ok
	default:
		return nil, 0, false
	}
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
