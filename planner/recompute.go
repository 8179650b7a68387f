package planner

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// workTables numbers the tables between a Recompute and its body from here on, so
// that they do not meet those of a statement's recursive queries.
const workTables = 1 << 20

// stateful reports whether an operator over these inputs has to keep them.
func (b *builder) stateful(ins ...*fragment) bool {
	return b.opts.Stream && slices.ContainsFunc(ins, func(f *fragment) bool { return !f.static && !f.whole })
}

// under builds an input of an operator that keeps it as state: what it puts out
// need not be final, and is not yet the whole result.
func (b *builder) under(n logical.Node) (*fragment, error) {
	if b.opts.Stream && logical.Streaming(n) {
		b.above++
		defer func() { b.above-- }()
	}
	return b.build(n)
}

// recompute plans an operator in the form that works out the touched groups
// again: rows with equal keys, one list for each input, are of one group.
func (b *builder) recompute(name string, keys [][]expr.Expr, body func(tables []physical.Node) physical.Node, ins ...*fragment) *fragment {
	r := &physical.Recompute{EndKey: -1, Operator: name, Keys: keys}
	out := &fragment{kind: physical.Single, changes: true}
	if len(keys[0]) > 0 {
		out.kind = physical.Hash
	}
	tables := make([]physical.Node, len(ins))
	for i, f := range ins {
		f = b.partitioned(f, keys[i], len(ins) > 1)
		schema := withoutOp(f)
		id := workTables + b.tables
		b.tables++
		r.In, r.Tables, r.Static = append(r.In, f.root), append(r.Tables, id), append(r.Static, f.static)
		tables[i] = &physical.WorkTable{ID: id, Out: schema}
		out.kind = max(out.kind, f.kind)
		out.inputs = append(out.inputs, f.inputs...)
		out.sources = append(out.sources, f.sources...)
		out.state = append(out.state, f.state...)
	}
	r.Body = body(tables)
	r.Out = withOp(r.Body.Schema())
	out.state = append(out.state, r.Operator)
	b.query.Verdicts = append(b.query.Verdicts, incremental.Verdict{
		Operator: r.Operator, Bound: incremental.Unbounded, Advice: "every row of its input is kept",
	})
	return out.wrap(r)
}

// changeRecompute lets a fragment's Recompute be put in another form.
func (b *builder) changeRecompute(f *fragment, change func(*physical.Recompute)) *fragment {
	r, ok := f.root.(*physical.Recompute)
	if !ok {
		return f
	}
	c := *r
	change(&c)
	f = f.wrap(&c)
	f.changes = !c.Final && !c.Grows && !c.Whole
	return f
}

// partitioned sends rows to the task of their group. Several inputs meet in a
// stage of their own; one that is in a single task may stay there.
func (b *builder) partitioned(f *fragment, keys []expr.Expr, several bool) *fragment {
	switch {
	case len(keys) == 0:
		return b.single(f)
	case f.kind == physical.Single && !several && len(f.inputs) > 0:
		return f
	}
	return b.exchange(f, physical.ToHash{Keys: keys})
}

// withoutOp is the schema of a fragment's rows less the change column.
func withoutOp(f *fragment) *arrow.Schema {
	s := f.root.Schema()
	if !f.changes {
		return s
	}
	return arrow.NewSchema(s.Fields()[:s.NumFields()-1], nil)
}

// whole turns deltas into the whole result with every batch, for complete mode.
func (b *builder) wholeOf(n logical.Node, f *fragment) *fragment {
	if f.whole || f.static || !b.opts.Stream {
		return f
	}
	f = b.recompute(b.operatorName("result", n), [][]expr.Expr{nil}, func(t []physical.Node) physical.Node { return t[0] }, f)
	f = b.changeRecompute(f, func(c *physical.Recompute) { c.Whole, c.Out = true, c.Body.Schema() })
	f.whole = true
	return f
}

// once puts the rows of a table that is read whole out with the first batch.
func (b *builder) once(n logical.Node, f *fragment) *fragment {
	f = b.recompute(b.operatorName("table", n), [][]expr.Expr{nil}, func(t []physical.Node) physical.Node { return t[0] }, f)
	schema := withoutOp(f)
	es, _ := allColumns(schema)
	f = f.wrap(&physical.Project{Input: f.root, Exprs: es, Out: schema})
	f.changes = false
	return f
}

// opLast puts an operator on f that adds columns behind the change column, and
// moves that to the end again.
func (b *builder) opLast(f *fragment, root physical.Node) *fragment {
	if !f.changes {
		return f.wrap(root)
	}
	schema := root.Schema()
	at := slices.IndexFunc(schema.Fields(), func(x arrow.Field) bool { return x.Name == batch.OpColumn })
	var es []expr.Expr
	var fields []arrow.Field
	for _, i := range append(slices.DeleteFunc(positions(schema.NumFields()), func(i int) bool { return i == at }), at) {
		x := schema.Field(i)
		es = append(es, &expr.Column{Index: i, Name: x.Name, DT: x.Type, Null: x.Nullable})
		fields = append(fields, x)
	}
	return f.wrap(&physical.Project{Input: root, Exprs: es, Out: arrow.NewSchema(fields, nil)})
}

func positions(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// asChangelog makes an aggregate that tells of its groups by key alone tell what
// each was before, too, because something above drops or changes rows.
func asChangelog(n physical.Node) physical.Node {
	switch n := n.(type) {
	case *physical.StatefulAggregate:
		if n.Mode != "update" {
			return n
		}
		c := *n
		c.Mode = "changelog"
		return &c
	case *physical.Project:
		c := *n
		c.Input = asChangelog(n.Input)
		return &c
	case *physical.Filter:
		c := *n
		c.Input = asChangelog(n.Input)
		return &c
	default:
		return n
	}
}

// consolidate nets out the changes of a batch by the key of the result.
func (b *builder) consolidate(f *fragment, keys []int, before bool) *fragment {
	es := make([]expr.Expr, len(keys))
	for i, k := range keys {
		x := f.root.Schema().Field(k)
		es[i] = &expr.Column{Index: k, Name: x.Name, DT: x.Type, Null: x.Nullable}
	}
	if f.kind != physical.Single {
		f = b.spread(f, es)
	}
	return f.wrap(&physical.Consolidate{Input: f.root, Keys: keys, Before: before})
}
