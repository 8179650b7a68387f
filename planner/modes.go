package planner

import (
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// refuseAppend says why a result cannot be had in append mode (L3).
func refuseAppend(n logical.Node) error {
	what := n
	changing := ""
	logical.Walk(n, func(x logical.Node) bool {
		if !logical.Streaming(x) {
			return false
		}
		switch x := x.(type) {
		case *logical.Scan:
			if x.Table.Changes != batch.OnlyGrows && what == n {
				changing = x.Table.Name
			}
			return false
		case *logical.Aggregate, *logical.Join, *logical.Analytic, *logical.Match, *logical.Limit, *logical.LimitBy, *logical.Distinct, *logical.Recursive:
			what = x
			return false
		default:
			return what == n
		}
	})
	if changing != "" && what == n {
		return batch.UserErrorf("output mode append needs results that never change, but the rows of table %q are changed and taken back: "+
			"use OUTPUT MODE changelog or complete, or update with a PRIMARY KEY", changing)
	}
	return batch.UserErrorf("output mode append needs results that never change, but %q changes as rows come: "+
		"%suse OUTPUT MODE update or complete%s", what.String(), finalBy(what), timeLost(what))
}

// finalBy says how the result of an operator would become final.
func finalBy(n logical.Node) string {
	const timed = "a column with a WATERMARK"
	switch n := n.(type) {
	case *logical.Join:
		if n.Kind == logical.Inner || n.Kind == logical.Cross || n.Kind == logical.LeftSemi {
			return "join rows that only come, or "
		}
		return "bound in its condition how far apart the event times of both sides are, or join equal windows over " + timed + ", or "
	case *logical.Analytic:
		return "partition by a window over " + timed + ", or order by that column first, with a frame that ends at the row, or "
	case *logical.Limit, *logical.LimitBy, *logical.Recursive:
		return ""
	default:
		return "group by a window over " + timed + ", or "
	}
}

// keyed gives a sink the key of an updating result, and nets out the changes of
// a batch by it. A result without a key goes out as changes of whole rows.
func (b *builder) keyed(n logical.Node, f *fragment, sink *physical.Sink) (*fragment, error) {
	if _, _, ok := resultKey(f.root); ok && b.mode == "update" && !replacesOthers(f.root, sink) {
		return f, updateKey(n, f.root, sink)
	} else if ok && b.mode != "update" {
		return f, nil
	}
	key, ok := incremental.Key(n)
	if len(sink.Keys) > 0 {
		key, ok = nil, true
		for _, name := range sink.Keys {
			at := f.root.Schema().FieldIndices(name)
			if len(at) == 0 {
				return nil, batch.UserErrorf("table %q has %s in its PRIMARY KEY, which the query does not put out", sink.Table, name)
			}
			key = append(key, at[0])
		}
	}
	if !ok && b.mode == "update" {
		return nil, &modeError{batch.UserErrorf("output mode update replaces rows by their key, and the result has none: "+
			"declare a PRIMARY KEY for table %q, or use OUTPUT MODE complete or changelog", sink.Table), b.mode}
	}
	if !ok {
		f = f.wrap(asChangelog(f.root))
		if !netted(f.root) {
			// Equal rows must meet: else what comes out would depend on how many tasks
			// there are, and a replay on other ones would differ.
			if all, _ := allColumns(withoutOp(f)); f.kind != physical.Single {
				f = b.spread(f, all)
			}
			f = f.wrap(&physical.Consolidate{Input: f.root, Rows: true})
		}
		return f, nil
	}
	if b.mode == "update" {
		sink.OneRow = len(key) == 0
		sink.Keys = nil
		for _, k := range key {
			sink.Keys = append(sink.Keys, f.root.Schema().Field(k).Name)
		}
	}
	return b.consolidate(f.wrap(asChangelog(f.root)), key, b.mode == "changelog"), nil
}

// replacesOthers reports whether by a sink's declared key one group may take the
// place of another one that goes in the same batch, as a session does that has
// grown, where its start is in the key and its end is not. The two come from
// different tasks: only their difference may reach the sink.
func replacesOthers(root physical.Node, sink *physical.Sink) bool {
	keys, n, _ := resultKey(root)
	top := root
	for {
		p, ok := top.(*physical.Project)
		if !ok {
			break
		}
		top = p.Input
	}
	agg, ok := top.(*physical.StatefulAggregate)
	if !ok || !agg.Signed || len(sink.Keys) == 0 {
		return false
	}
	for _, k := range keys {
		if !slices.Contains(sink.Keys, root.Schema().Field(k).Name) {
			return true
		}
	}
	return len(keys) < n
}

// netted reports whether no row is put out and taken back in one batch: what was
// never true must not be seen. A difference of results has no such rows; joins of
// changes do, and columns left out make different rows equal.
func netted(root physical.Node) bool {
	switch n := root.(type) {
	case *physical.Recompute:
		return !n.Bilinear
	case *physical.StatefulAggregate:
		return true
	case *physical.Filter:
		return netted(n.Input)
	default:
		return false
	}
}

// updateKey gives a sink in update mode the key of the result: the columns that
// carry the keys of the aggregation, under their names in the result. A result
// that hides one of them has no key that an upsert could go by.
func updateKey(result logical.Node, root physical.Node, sink *physical.Sink) error {
	keys, n, _ := resultKey(root)
	if len(keys) < n { // what is left out may follow from what is there
		if all, ok := incremental.Key(result); ok {
			keys, n = all, len(all)
		}
	}
	switch {
	case len(sink.Keys) > 0: // a declared key
		return nil
	case n == 0:
		sink.OneRow = true
		return nil
	case len(keys) < n:
		return &modeError{batch.UserErrorf("output mode update replaces rows by their key, and the result leaves out a column of GROUP BY: "+
			"select every key, declare a PRIMARY KEY for table %q, or use OUTPUT MODE complete or changelog", sink.Table), "update"}
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
