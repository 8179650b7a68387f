package planner

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// outputTag is the column that says which output of a processor a row belongs to.
const outputTag = "__output"

// processName begins the name of every processor's operator.
const processName = "process-"

// processorUses counts how often a query reads each processor.
func processorUses(outputs []Output) map[*logical.ProcessDef]int {
	uses := map[*logical.ProcessDef]int{}
	for _, out := range outputs {
		logical.Walk(out.Node, func(n logical.Node) bool {
			if p, ok := n.(*logical.Process); ok {
				uses[p.Def]++
			}
			return true
		})
	}
	return uses
}

// process plans a processor. One that is read several times, or has several outputs,
// runs once: the readers of its stage each pick their rows.
func (b *builder) process(n *logical.Process) (*fragment, error) {
	if len(n.Def.Outputs) == 1 && (b.uses[n.Def] < 2 || n.Def.Groups) {
		return b.processor(n)
	}
	all, ok := b.processors[n.Def]
	if !ok {
		f, err := b.processor(n)
		if err != nil {
			return nil, err
		}
		keys := make([]expr.Expr, len(n.Keys))
		for i, k := range n.KeyFields() {
			keys[i] = &expr.Column{Index: i, Name: k.Name, DT: k.Type, Null: k.Nullable}
		}
		id := b.close(f, physical.ToHash{Keys: keys})
		all = &fragment{
			root: &physical.ExchangeRead{Stage: id, Out: f.root.Schema()},
			kind: physical.Hash, inputs: []int{id}, static: f.static, changes: f.changes,
		}
		if b.processors == nil {
			b.processors = map[*logical.ProcessDef]*fragment{}
		}
		b.processors[n.Def] = all
	}
	return pickOutput(n, all), nil
}

// pickOutput keeps the rows and columns of one output.
func pickOutput(n *logical.Process, all *fragment) *fragment {
	if len(n.Def.Outputs) == 1 {
		return all
	}
	schema := all.root.Schema()
	tag := schema.FieldIndices(outputTag)[0]
	column := func(i int) *expr.Column {
		x := schema.Field(i)
		return &expr.Column{Index: i, Name: x.Name, DT: x.Type, Null: x.Nullable}
	}
	var es []expr.Expr
	for i := range n.Keys {
		es = append(es, column(i))
	}
	at := len(n.Keys)
	for i, o := range n.Def.Outputs {
		if i == n.Output {
			for c := range o.Schema.NumFields() {
				es = append(es, column(at+c))
			}
		}
		at += o.Schema.NumFields()
	}
	out := n.Schema()
	changes := all.changes && n.Output == 0
	if changes {
		es, out = append(es, column(schema.NumFields()-1)), withOp(out)
	}
	mine := &expr.In{Arg: column(tag), List: []*expr.Literal{{Value: int64(n.Output), DT: arrow.PrimitiveTypes.Int32}}}
	f := all.wrap(&physical.Project{Input: &physical.Filter{Input: all.root, Cond: mine}, Exprs: es, Out: out})
	f.changes = changes
	return f
}

// processor plans the operator itself.
func (b *builder) processor(n *logical.Process) (*fragment, error) {
	in, err := b.under(n.Input)
	if err != nil {
		return nil, err
	}
	if n.Def.Groups && b.stateful(in) {
		return b.groups(n, in), nil
	}
	p := &physical.Process{Order: n.Order, Def: n.Def, Tagged: len(n.Def.Outputs) > 1, KeyFields: n.KeyFields(), OnTime: -1}
	stateful := b.stateful(in)
	name := processName + n.Def.Name
	if stateful {
		b.counts[name]++
		if c := b.counts[name]; c > 1 {
			return nil, refuse(n.String(), fmt.Sprintf("two processors of the query are named %q, and state is found by the name", n.Def.Name))
		}
		p.Operator = name
		if in.changes {
			in = in.wrap(asChangelog(in.root))
		}
		if t, _ := incremental.TimeOf(n.Late, n.Input); n.Late != nil && !t.OnTime {
			in = in.wrap(&physical.LateFilter{Input: in.root, End: n.Late, Shift: t.Shift, Operator: name})
		}
		p.Times = outputTimes(n)
		column, t := incremental.ProcessTime(n)
		if p.Shift = t.Shift; t.OnTime {
			p.OnTime = column
		}
	}
	ins, keys := []*fragment{in}, [][]expr.Expr{n.Keys}
	if n.Initial != nil {
		if b.opts.Stream && logical.Streaming(n.Initial) {
			return nil, refuse(n.String(), "its initial state is a stream, and must be a table that is read once")
		}
		init, err := b.under(n.Initial)
		if err != nil {
			return nil, err
		}
		p.Initials = true
		ins, keys = append(ins, init), append(keys, n.InitialKeys)
	}
	out := &fragment{kind: physical.Hash, static: b.opts.Stream && !stateful}
	for i, f := range ins {
		f = b.partitioned(f, keys[i], len(ins) > 1)
		out.kind = max(out.kind, f.kind)
		out.inputs = append(out.inputs, f.inputs...)
		out.sources = append(out.sources, f.sources...)
		out.state = append(out.state, f.state...)
		p.In, p.Keys = append(p.In, f.root), append(p.Keys, keys[i])
	}
	p.Out = processSchema(n)
	if n.Def.Update && stateful {
		p.Out, out.changes = withOp(p.Out), true
	}
	if !b.opts.Stream {
		out.static = in.static
	}
	if stateful {
		out.state = append(slices.Clone(out.state), name)
		b.query.Verdicts = append(b.query.Verdicts, processVerdict(n.Def, name))
	}
	return out.wrap(p), nil
}

// outputTimes says where the outputs have their event times.
func outputTimes(n *logical.Process) []physical.ProcessTime {
	var out []physical.ProcessTime
	start := len(n.Keys)
	for i, o := range n.Def.Outputs {
		c := *n
		c.Output = i
		for column := range incremental.EventTimes(&c) { // one at most
			if column >= len(n.Keys) {
				column += start - len(n.Keys)
			}
			out = append(out, physical.ProcessTime{Output: i, Column: column, Shift: o.Time.Delay.Microseconds()})
		}
		start += o.Schema.NumFields()
	}
	return out
}

// groups plans code that is run over whole groups: over those that a batch touches.
func (b *builder) groups(n *logical.Process, in *fragment) *fragment {
	if in.changes {
		in = in.wrap(asChangelog(in.root))
	}
	return b.recompute(b.operatorName("groups", n), [][]expr.Expr{n.Keys}, func(tables []physical.Node) physical.Node {
		return &physical.Process{
			In: tables, Keys: [][]expr.Expr{n.Keys}, Order: n.Order, Def: n.Def, KeyFields: n.KeyFields(), OnTime: -1, Out: processSchema(n),
		}
	}, in)
}

// processSchema has the keys and the columns of every output, and says behind
// them which output a row belongs to if there are several.
func processSchema(n *logical.Process) *arrow.Schema {
	fields := n.KeyFields()
	for _, o := range n.Def.Outputs {
		for _, f := range o.Schema.Fields() {
			f.Nullable = f.Nullable || len(n.Def.Outputs) > 1
			fields = append(fields, f)
		}
	}
	if len(n.Def.Outputs) > 1 {
		fields = append(fields, arrow.Field{Name: outputTag, Type: arrow.PrimitiveTypes.Int32})
	}
	return arrow.NewSchema(fields, nil)
}

// processVerdict goes by what the plan can see: what the code clears, it cannot.
func processVerdict(d *logical.ProcessDef, name string) incremental.Verdict {
	v := incremental.Verdict{Operator: name, Bound: incremental.ByKeys}
	v.TTL, v.Advice = d.TTL, "clear what a key holds in a timer, or give it a TTL"
	return v
}
