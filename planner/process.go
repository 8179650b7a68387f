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
// runs once: the readers of its stage each pick their rows. One that holds event time
// back ends a stage, too: only the next one is told.
func (b *builder) process(n *logical.Process) (*fragment, error) {
	if len(n.Def.Outputs) == 1 && (b.uses[n.Def] < 2 && !n.Def.Holds || n.Def.Groups) {
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
	p := &physical.Process{Def: n.Def, Tagged: len(n.Def.Outputs) > 1, KeyFields: n.KeyFields(), Out: processSchema(n)}
	inputs := []processInput{{f: in, of: logical.MainRows, keys: n.Keys, order: n.Order, late: n.Late, node: n.Input}}
	if n.Other != nil {
		other, err := b.under(n.Other)
		if err != nil {
			return nil, err
		}
		if b.stateful(in) != b.stateful(other) {
			return nil, refuse(n.String(), "of its two inputs one is a stream and one is not: a table is joined with the stream, or is its initial state")
		}
		inputs = append(inputs, processInput{f: other, of: logical.OtherRows, keys: n.OtherKeys, order: n.OtherOrder, late: n.OtherLate, node: n.Other})
	}
	stateful := b.stateful(in)
	if stateful {
		if err := b.processState(n, p, inputs); err != nil {
			return nil, err
		}
	}
	if n.Initial != nil {
		if b.opts.Stream && logical.Streaming(n.Initial) {
			return nil, refuse(n.String(), "its initial state is a stream, and must be a table that is read once")
		}
		init, err := b.under(n.Initial)
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, processInput{f: init, of: logical.InitialRows, keys: n.InitialKeys, onTime: -1})
	}
	out := &fragment{kind: physical.Hash, static: b.opts.Stream && !stateful}
	for _, i := range inputs {
		f := b.partitioned(i.f, i.keys, len(inputs) > 1)
		out.kind = max(out.kind, f.kind)
		out.inputs = append(out.inputs, f.inputs...)
		out.sources = append(out.sources, f.sources...)
		out.state = append(out.state, f.state...)
		p.In, p.Of, p.Keys = append(p.In, f.root), append(p.Of, i.of), append(p.Keys, i.keys)
		p.Orders, p.OnTime = append(p.Orders, i.order), append(p.OnTime, i.onTime)
	}
	if n.Def.Update && stateful {
		p.Out, out.changes = withOp(p.Out), true
	}
	if !b.opts.Stream {
		out.static = in.static
	}
	if stateful {
		out.state = append(slices.Clone(out.state), p.Operator)
		b.query.Verdicts = append(b.query.Verdicts, processVerdict(n.Def, p.Operator))
	}
	return out.wrap(p), nil
}

// processInput is an input of a processor in the making.
type processInput struct {
	f           *fragment
	of          logical.ProcessInput
	keys        []expr.Expr
	order, late expr.Expr
	node        logical.Node
	onTime      int
}

// processState plans what a processor over streams has besides: the name of its state,
// event time, changes as their columns say, and late rows left out.
func (b *builder) processState(n *logical.Process, p *physical.Process, inputs []processInput) error {
	p.Operator = processName + n.Def.Name
	b.counts[p.Operator]++
	if c := b.counts[p.Operator]; c > 1 {
		return refuse(n.String(), fmt.Sprintf("two processors of the query are named %q, and state is found by the name", n.Def.Name))
	}
	shift, onTime := incremental.ProcessTimes(n)
	p.Shift, p.Times = shift, outputTimes(n)
	for i := range inputs {
		in := &inputs[i]
		if in.onTime = onTime[i]; in.f.changes {
			in.f = in.f.wrap(asChangelog(in.f.root))
		}
		if t, _ := incremental.TimeOf(in.late, in.node); in.late != nil && !t.OnTime {
			in.f = in.f.wrap(&physical.LateFilter{Input: in.f.root, End: in.late, Shift: t.Shift, Operator: p.Operator})
		}
	}
	return nil
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
			In: tables, Of: []logical.ProcessInput{logical.MainRows}, Keys: [][]expr.Expr{n.Keys}, Orders: []expr.Expr{n.Order}, OnTime: []int{-1},
			Def: n.Def, KeyFields: n.KeyFields(), Out: processSchema(n),
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
