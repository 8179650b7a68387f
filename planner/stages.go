package planner

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/planner/stats"
)

// builder cuts a logical plan into stages.
type builder struct {
	opts   Options
	plan   *physical.Plan
	query  *Query
	stats  *stats.Estimator // nil for a stream
	counts map[string]int   // scans by table, for source names, and what operators compute
	taken  map[string]bool  // names of operators with state
	// renamed are those names that a checkpoint has given.
	renamed []string
	sent    map[string]int // stages that may be read again, by what they compute and where it goes
	shares  map[int]int    // stages of plans that are used in several places, by ID
	// processors are the stages of processors with several outputs.
	processors map[*logical.ProcessDef]*fragment
	uses       map[*logical.ProcessDef]int // how often a query reads each processor
	mode       string                      // of the output being planned
	hold       holding                     // of its results
	// above counts the stateful operators between here and the output: only the
	// topmost one's mode is the output's, the others emit closed windows.
	above    int
	observed int // counts the operators that observe
	// tables counts the tables between operators that recompute and their bodies.
	tables int
}

// fragment is a stage in the making: more operators can be put on its root.
type fragment struct {
	root    physical.Node
	kind    physical.StageKind
	sources []string
	inputs  []int
	state   []string
	static  bool // depends on pinned sources alone
	changes bool // rows carry the change column
	local   bool // part of a recursive query's task: nothing may be cut off below its root
	whole   bool // the whole result comes out with every batch (complete mode)
	// spread lists sets of columns: rows with equal values in one of the sets are in
	// the same task. Only of Hash fragments of a plan that runs once.
	spread [][]int
}

// wrap puts an operator on the fragment.
func (f *fragment) wrap(root physical.Node) *fragment {
	c := *f
	c.root, c.spread = root, passedOn(f.spread, root)
	return &c
}

// close makes the fragment a stage and returns its ID.
func (b *builder) close(f *fragment, out physical.Output) int {
	id := len(b.plan.Stages)
	b.plan.Stages = append(b.plan.Stages, &physical.Stage{
		ID: id, Root: f.root, Kind: f.kind, Output: out,
		Sources: distinctNames(f.sources), Inputs: f.inputs, Stateful: f.state,
		Static: f.static && b.opts.Stream,
	})
	return id
}

// exchange closes the fragment and starts one that reads it.
func (b *builder) exchange(f *fragment, out physical.Output) *fragment {
	id := b.closeOnce(f, out)
	kind := physical.Hash
	if _, ok := out.(physical.ToOne); ok {
		kind = physical.Single
	}
	to := &fragment{
		root: &physical.ExchangeRead{Stage: id, Out: f.root.Schema()},
		kind: kind, inputs: []int{id}, static: f.static, changes: f.changes, whole: f.whole,
	}
	if h, ok := out.(physical.ToHash); ok && b.stats != nil {
		to.spread = spreadBy(h.Keys)
	}
	return to
}

// single returns the fragment as one task, through an exchange if need be.
func (b *builder) single(f *fragment) *fragment {
	if f.kind == physical.Single {
		return f
	}
	return b.exchange(f, physical.ToOne{})
}

func (b *builder) build(n logical.Node) (*fragment, error) {
	switch n := n.(type) {
	case *logical.Scan:
		if n.Table.Keyed && b.opts.Stream {
			return nil, refuse("a scan of table "+n.Table.Name, "others may change the table at any time, and a batch that runs again could not read it as it was; "+
				"look rows up in it by key: JOIN .. FOR SYSTEM_TIME AS OF a column that is PROCTIME()")
		}
		return b.scan(n), nil
	case *logical.Values:
		return &fragment{root: &physical.Values{Rows: n.Rows, Out: n.Out}, kind: physical.Single, static: true}, nil
	case *logical.Filter:
		return b.filter(n)
	case *logical.Project:
		return b.project(n)
	case *logical.Watermark:
		return b.watermark(n)
	case *logical.Window:
		return b.window(n)
	case *logical.Aggregate:
		return b.aggregate(n)
	case *logical.Analytic:
		return b.analytic(n)
	case *logical.Match:
		return b.match(n)
	case *logical.Distinct:
		return b.distinct(n)
	case *logical.Dedup:
		return b.dedup(n)
	case *logical.Latest:
		return b.latest(n)
	case *logical.Join:
		return b.join(n)
	case *logical.Union:
		return b.union(n)
	case *logical.Sort:
		return b.sort(n)
	case *logical.Limit:
		return b.limit(n)
	case *logical.Generate:
		return b.generate(n)
	case *logical.Process:
		return b.process(n)
	case *logical.Observe:
		return b.observe(n)
	case *logical.LimitBy:
		return b.limitBy(n)
	case *logical.Recursive:
		return b.recursive(n)
	case *logical.WorkTable:
		return workTable(n), nil
	case *logical.Range:
		return rangeFragment(n), nil
	case *logical.Shared:
		return b.shared(n)
	case *logical.Apply: // the first rule has made joins of them all
	}
	return nil, fmt.Errorf("planner: no physical form of %T", n)
}

func (b *builder) scan(n *logical.Scan) *fragment {
	name, known := b.sourceOf(n.Table)
	if !known {
		b.plan.Sources = append(b.plan.Sources, physical.Source{Name: name, Table: n.Table.Name, Stream: n.Table.Stream && b.opts.Stream, Lookup: n.Table.Lookup && b.opts.Stream})
		b.query.Tables[name] = n.Table
	}
	f := &fragment{
		root:    &physical.Scan{Source: name, Table: n.Table.Name, Columns: n.Columns, Out: n.Schema(), Filters: n.Filters},
		kind:    physical.Splits,
		sources: []string{name},
		static:  !n.Table.Stream,
	}
	if n.Table.Changes == batch.OnlyGrows {
		return f
	}
	return b.changelog(n, f)
}

func (b *builder) filter(n *logical.Filter) (*fragment, error) {
	if f, err := b.ranked(n); f != nil || err != nil {
		return f, err
	}
	if f, err := b.versions(n); f != nil || err != nil {
		return f, err
	}
	in, err := b.build(n.Input)
	if err != nil {
		return nil, err
	}
	return b.filterOver(n, in)
}

// filterOver plans a condition over an input that is built.
func (b *builder) filterOver(n *logical.Filter, in *fragment) (*fragment, error) {
	if err := b.repeatable(in, n.Cond); err != nil {
		return nil, err
	}
	if err := b.steady(n.Input, n.Cond); err != nil {
		return nil, err
	}
	if agg, ok := in.root.(*physical.StatefulAggregate); ok && in.changes {
		c := *agg
		c.Having = expr.AndAll(append(expr.Conjuncts(agg.Having), n.Cond))
		return in.wrap(&c), nil
	}
	root := in.root
	if in.changes {
		root = asChangelog(root)
	}
	return in.wrap(&physical.Filter{Input: root, Cond: n.Cond}), nil
}

// repeatable refuses functions such as rand() behind an exchange of a stream:
// they are seeded by the place of a row, which there depends on the number of
// partitions, so that a batch run again after a change of it would differ.
func (b *builder) repeatable(in *fragment, es ...expr.Expr) error {
	if !b.opts.Stream || in.static || in.kind == physical.Splits {
		return nil
	}
	for _, e := range es {
		if !expr.Deterministic(e) {
			return refuse(e.String(), "its value depends on a row's place, which is not fixed behind a GROUP BY; compute it before, over the rows of the source")
		}
	}
	return nil
}

// steady refuses what depends on the clock over a source that takes rows back: a row
// that has passed could not be found again when it goes.
func (b *builder) steady(in logical.Node, es ...expr.Expr) error {
	if !b.opts.Stream || !incremental.Changing(in) {
		return nil
	}
	for _, e := range es {
		if expr.PerBatch(e) {
			return refuse(e.String(), "it has another value later, when a row of a table that changes is taken back")
		}
	}
	return nil
}

// project carries the change column along as the last one.
func (b *builder) project(n *logical.Project) (*fragment, error) {
	in, err := b.build(n.Input)
	if err != nil {
		return nil, err
	}
	if err := b.repeatable(in, n.Exprs...); err != nil {
		return nil, err
	}
	if err := b.steady(n.Input, n.Exprs...); err != nil {
		return nil, err
	}
	es, fields := slices.Clone(n.Exprs), slices.Clone(n.Schema().Fields())
	if in.changes {
		last := in.root.Schema().NumFields() - 1
		f := in.root.Schema().Field(last)
		es = append(es, &expr.Column{Index: last, Name: f.Name, DT: f.Type})
		fields = append(fields, f)
	}
	out := arrow.NewSchema(fields, nil)
	if j, ok := in.root.(*physical.HashJoin); ok {
		f := in.wrap(keepOnly(j, es, out))
		f.spread = throughProject(in.spread, es)
		return f, nil
	}
	return in.wrap(&physical.Project{Input: in.root, Exprs: es, Out: out}), nil
}

func (b *builder) watermark(n *logical.Watermark) (*fragment, error) {
	if l, ok := n.Input.(*logical.Latest); ok { // it goes by the rows as they come
		below, above := *n, *l
		below.Input = l.Input
		above.Input = &below
		return b.latest(&above)
	}
	in, err := b.build(n.Input)
	if err != nil || !b.opts.Stream || in.static {
		return in, err // a batch has no event time to wait for
	}
	if len(in.sources) != 1 {
		return nil, refuse(n.String(), "a watermark stands on one source, declare it on each table")
	}
	w := &physical.Watermark{Input: in.root, Col: n.Col, Source: in.sources[0]}
	w.Column = b.eventTimeOf(w.Source, n)
	return in.wrap(w), nil
}

func (b *builder) window(n *logical.Window) (*fragment, error) {
	if n.Kind == logical.Session {
		return b.session(n)
	}
	in, err := b.build(n.Input)
	if err != nil {
		return nil, err
	}
	w := &physical.Window{
		Input: in.root, Kind: n.Kind, Time: n.Time,
		Size: n.Size.Microseconds(), Slide: n.Slide.Microseconds(), Offset: n.Offset.Microseconds(),
	}
	w.Out = logical.WindowSchema(in.root.Schema(), n.Time.Type())
	return b.opLast(in, w), nil
}

// union keeps inputs that are read split by split in one stage; anything else is gathered first.
func (b *builder) union(n *logical.Union) (*fragment, error) {
	out := &fragment{kind: physical.Splits, static: true}
	var ins []*fragment
	for _, c := range n.In {
		f, err := b.under(c)
		if err != nil {
			return nil, err
		}
		out.changes = out.changes || f.changes
		if f.kind != physical.Splits {
			out.kind = physical.Single
		}
		out.static = out.static && f.static
		out.local = out.local || f.local
		ins = append(ins, f)
	}
	u := &physical.Union{Out: n.Schema()}
	if out.changes {
		u.Out = withOp(u.Out)
	}
	once := func(f *fragment) bool { return b.opts.Stream && f.static && !out.static }
	if slices.ContainsFunc(ins, once) {
		out.kind = physical.Single
	}
	for _, f := range ins {
		if once(f) {
			f = b.once(n, f)
		}
		if out.changes {
			f = inserts(f)
		}
		if out.kind == physical.Single {
			f = b.single(f)
		}
		u.In = append(u.In, f.root)
		out.sources = append(out.sources, f.sources...)
		out.inputs = append(out.inputs, f.inputs...)
		out.state = append(out.state, f.state...)
	}
	return out.wrap(u), nil
}

// inserts gives the rows of a fragment the change column.
func inserts(f *fragment) *fragment {
	if f.changes {
		return f.wrap(asChangelog(f.root))
	}
	es, _ := allColumns(f.root.Schema())
	es = append(es, &expr.Literal{Value: int64(batch.Insert), DT: arrow.PrimitiveTypes.Int8})
	out := f.wrap(&physical.Project{Input: f.root, Exprs: es, Out: withOp(f.root.Schema())})
	out.changes = true
	return out
}
