package sluice

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
)

// Keyed is a DataFrame whose rows are taken key by key, see Keyed.Process.
type Keyed struct {
	d     *DataFrame
	keys  []expr.Expr
	names []string
	err   error
}

// KeyBy says by which columns Process, MapGroups and FlatMapGroups take the rows.
func (d *DataFrame) KeyBy(columns ...any) *Keyed {
	k := &Keyed{d: d}
	n, err := d.bound()
	if err == nil && len(columns) == 0 {
		err = batch.UserErrorf("KeyBy needs a column at least")
	}
	if err == nil {
		k.keys, k.names, err = d.expressions(n, columns)
	}
	k.err = err
	return k
}

// expressions binds columns over the rows of this DataFrame.
func (d *DataFrame) expressions(n logical.Node, columns []any) ([]expr.Expr, []string, error) {
	out := d.Select(columns...)
	if out.err != nil {
		return nil, nil, out.err
	}
	if out.node == n { // all of its columns
		var es []expr.Expr
		var names []string
		for i, f := range n.Schema().Fields() {
			es, names = append(es, &expr.Column{Index: i, Name: f.Name, DT: f.Type, Null: f.Nullable}), append(names, f.Name)
		}
		return es, names, nil
	}
	p, ok := out.node.(*logical.Project)
	if !ok || p.Input != n {
		return nil, nil, batch.UserErrorf("a key is computed of each row alone: it cannot hold aggregates, window functions or subqueries")
	}
	return p.Exprs, p.Names, nil
}

// ProcessOption changes how a processor runs.
type ProcessOption func(p *processConfig) error

type processConfig struct {
	k    *Keyed
	def  *logical.ProcessDef
	node *logical.Process
	by   []string
}

// ProcessVersion names the version of a processor's code. A query does not go on
// from the checkpoint of another version: change it when the code means something
// else for the state that is there. For the same version a state may be added, and one
// that Open declares no more is dropped.
func ProcessVersion(version string) ProcessOption {
	return func(p *processConfig) error { p.def.Version = version; return nil }
}

// SideOutput adds an output, which ProcessorContext.EmitTo writes to and
// DataFrame.SideOutput reads. Its columns are an *arrow.Schema or declared as in
// "a BIGINT, b STRING".
func SideOutput(name string, columns any) ProcessOption {
	return func(p *processConfig) error {
		schema, err := p.k.d.s.columnsDeclared(columns)
		if err != nil {
			return err
		}
		if name == "" || slices.ContainsFunc(p.def.Outputs, func(o logical.ProcessOutput) bool { return o.Name == name }) {
			return batch.UserErrorf("output %q has no name of its own", name)
		}
		p.def.Outputs = append(p.def.Outputs, logical.ProcessOutput{Name: name, Schema: schema})
		return nil
	}
}

// InitialState gives a processor rows to start from: they are handed to its method
// Initial, by the keys, once, before the first row of the stream. They must be those of
// a table that is read whole.
func InitialState(rows *DataFrame, keys ...any) ProcessOption {
	return func(p *processConfig) error {
		n, err := rows.bound()
		if err != nil {
			return err
		}
		es, _, err := rows.expressions(n, keys)
		if err != nil {
			return err
		}
		es, err = keysLike(es, p.k.keys, "the initial state has")
		p.node.Initial, p.node.InitialKeys = n, es
		return err
	}
}

// Connect adds a second input: its rows, by its keys, are handed to the method
// ProcessConnected, which shares states, timers and outputs with Process. Both are
// streams, or both are tables. Within a batch the rows that a key has of it come before
// those of the main input; if InOrderOf is given for both, they come merged by these
// columns. The options are InOrderOf and DropLate, of the second input. Event time has
// passed when it has passed in both.
func Connect(other *Keyed, opts ...ProcessOption) ProcessOption {
	return func(p *processConfig) error {
		if other.err != nil {
			return other.err
		}
		if other.d.s != p.k.d.s {
			return batch.UserErrorf("what is connected belongs to another session")
		}
		keys, err := keysLike(other.keys, p.k.keys, "what is connected has")
		if err != nil {
			return err
		}
		q := &processConfig{k: other, def: &logical.ProcessDef{Outputs: make([]logical.ProcessOutput, 1)}, node: &logical.Process{}}
		for _, o := range opts {
			if err := o(q); err != nil {
				return err
			}
		}
		if d := q.def; d.Update || d.TTL != 0 || d.Version != "" || len(d.Outputs) > 1 || d.Outputs[0].Time != nil || q.node.Initial != nil || q.node.Other != nil {
			return batch.UserErrorf("Connect takes the options InOrderOf and DropLate")
		}
		p.node.Other, p.node.OtherKeys, p.node.OtherLate, p.node.OtherOrder = other.d.node, keys, q.node.Late, q.node.Order
		return nil
	}
}

// keysLike gives keys the types of others.
func keysLike(keys, others []expr.Expr, what string) ([]expr.Expr, error) {
	if len(keys) != len(others) {
		return nil, batch.UserErrorf("%s %d keys, the rows have %d", what, len(keys), len(others))
	}
	out := slices.Clone(keys)
	for i, e := range keys {
		if want := others[i].Type(); !arrow.TypeEqual(e.Type(), want) {
			out[i] = &expr.Cast{Arg: e, DT: want}
		}
	}
	return out, nil
}

// DefaultTTL is the TTL of the states that are declared without one.
func DefaultTTL(d time.Duration) ProcessOption {
	return func(p *processConfig) error {
		if d < time.Microsecond {
			return batch.UserErrorf("a TTL is at least a microsecond")
		}
		p.def.TTL = d
		return nil
	}
}

// DropLate drops and counts the rows whose event time, in a column, is at or before
// the watermark. Without it a processor gets them like all others.
func DropLate(column string) ProcessOption {
	return func(p *processConfig) error {
		e, err := p.column(column)
		if err == nil && e.Type().ID() != arrow.TIMESTAMP {
			err = batch.UserErrorf("column %q is no timestamp", column)
		}
		p.node.Late = e
		return err
	}
}

// EventTime says that a column of the main output, or one of the keys, is event time,
// so that windows, joins and queries without duplicates over it know when they are
// done. Its watermark is that of the input, less the delay: a row that is put out
// must not be older, or is late, and counted or kept as the query keeps late rows.
// What a timer puts out is judged by the timer's time: it may have that time without a
// delay. A session that is put out when it has ended, by the time of its start, needs
// the length of the longest as delay.
func EventTime(column string, delay time.Duration) ProcessOption {
	return func(p *processConfig) error { return p.eventTime(0, column, delay) }
}

// HoldEventTime lets the timers that ProcessorContext.SetEventTimerHolding sets hold the
// event time of the outputs back, so that no delay has to be known beforehand: windows
// above stay open for what such a timer will put out, however long that takes.
func HoldEventTime() ProcessOption {
	return func(p *processConfig) error { p.def.Holds = true; return nil }
}

// SideEventTime is EventTime of an output that SideOutput, before it in the options,
// has added.
func SideEventTime(output, column string, delay time.Duration) ProcessOption {
	return func(p *processConfig) error {
		at := slices.IndexFunc(p.def.Outputs, func(o logical.ProcessOutput) bool { return o.Name == output })
		if at < 1 {
			return batch.UserErrorf("SideEventTime: there is no output %q before it", output)
		}
		return p.eventTime(at, column, delay)
	}
}

func (p *processConfig) eventTime(output int, column string, delay time.Duration) error {
	if delay < 0 {
		return batch.UserErrorf("the delay of event time %q is %s, less than nothing", column, delay)
	}
	c := *p.node
	c.Output = output
	schema := c.Schema()
	at := schema.FieldIndices(column)
	if len(at) != 1 {
		return batch.UserErrorf("event time %q is no column of the keys and the output", column)
	}
	if dt := schema.Field(at[0]).Type; dt.ID() != arrow.TIMESTAMP {
		return batch.UserErrorf("event time %q is a %s, not a timestamp", column, dt)
	}
	p.def.Outputs[output].Time = &logical.ProcessTime{Column: at[0], Delay: delay}
	return nil
}

// InOrderOf sorts the rows of a key by a column within each batch; else they come
// as the source has them.
func InOrderOf(column string) ProcessOption {
	return func(p *processConfig) (err error) {
		p.node.Order, err = p.column(column)
		return err
	}
}

// UpdateBy makes the main output a table: a row that is put out replaces the one
// with the same keys and the same values in the columns, and ProcessorContext.Delete
// takes one back. Without columns there is one row for each key. Queries over it
// are exact, as over an aggregate; it is for the output modes update, changelog and
// complete.
func UpdateBy(columns ...string) ProcessOption {
	return func(p *processConfig) error {
		p.def.Update, p.by = true, columns
		return nil
	}
}

func (p *processConfig) column(name string) (expr.Expr, error) {
	n, err := p.k.d.bound()
	if err != nil {
		return nil, err
	}
	es, _, err := p.k.d.expressions(n, []any{name})
	if err != nil {
		return nil, err
	}
	return es[0], nil
}

// columnsDeclared takes a schema, or the text of one.
func (s *Session) columnsDeclared(columns any) (*arrow.Schema, error) {
	switch c := columns.(type) {
	case *arrow.Schema:
		if c != nil {
			return c, nil
		}
	case string:
		return s.schemaOf(c)
	}
	return nil, batch.UserErrorf("columns are a %T: want an *arrow.Schema or a text such as \"a BIGINT, b STRING\"", columns)
}

// changedProcessors names the processors of a query that differs from its checkpoint's.
func changedProcessors(err error, q *planner.Query) string {
	var names []string
	if !errors.Is(err, microbatch.ErrPlanChanged) {
		return ""
	}
	for _, out := range q.Outputs {
		logical.Walk(out.Node, func(n logical.Node) bool {
			if p, ok := n.(*logical.Process); ok {
				name := fmt.Sprintf("%q", p.Def.Name)
				if p.Def.Version != "" {
					name += " version " + p.Def.Version
				}
				names = append(names, name)
			}
			return true
		})
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf(" (a processor has to have the name and version that it had; here is %s)", strings.Join(names, ", "))
}

var processName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Process runs Go code over the rows of each key, with state, timers and outputs of
// its own: once over a table, or batch by batch over a stream with what SQL has there:
// state in checkpoints, exactly-once output, restarts at another parallelism. The
// result has the keys, then the columns of the output: an *arrow.Schema or a text such
// as "a BIGINT, b STRING".
//
// make makes a Processor for each task. The name names the state in the checkpoint:
// a query goes on from it with a processor of the same name and version only.
//
// The code must do the same whenever it is given the same: batches are run again
// after a crash, and a digest that differs stops the query. So it takes the time from
// the context, draws no random numbers, depends on no order of a map, and keeps
// what matters in its states, not in its fields.
//
// Over a table all timers fire after the last row of the key, in the order of time.
func (k *Keyed) Process(name string, make func() Processor, output any, opts ...ProcessOption) *DataFrame {
	if k.err != nil {
		return k.d.failed(k.err)
	}
	def, node, err := k.processor(name, output, opts)
	if err != nil {
		return k.d.failed(err)
	}
	def.New = func() logical.Processor {
		user := make()
		if user == nil {
			return nil
		}
		return &processor{user: user, def: def}
	}
	return &DataFrame{s: k.d.s, node: node}
}

func (k *Keyed) processor(name string, output any, opts []ProcessOption) (*logical.ProcessDef, *logical.Process, error) {
	if !processName.MatchString(name) {
		return nil, nil, batch.UserErrorf("processor %q: a name has 1 to 64 letters, digits, - and _", name)
	}
	schema, err := k.d.s.columnsDeclared(output)
	if err != nil {
		return nil, nil, batch.UserErrorf("processor %q: %w", name, err)
	}
	def := &logical.ProcessDef{Name: name, Outputs: []logical.ProcessOutput{{Schema: schema}}}
	node := &logical.Process{Input: k.d.node, Keys: k.keys, Names: k.names, Def: def}
	p := &processConfig{k: k, def: def, node: node}
	for _, o := range opts {
		if err := o(p); err != nil {
			return nil, nil, batch.UserErrorf("processor %q: %w", name, err)
		}
	}
	if a, b := node.Order, node.OtherOrder; a != nil && b != nil && !arrow.TypeEqual(a.Type(), b.Type()) {
		return nil, nil, batch.UserErrorf("processor %q: its inputs are in order of a %s and of a %s: cast one", name, a.Type(), b.Type())
	}
	if def.Holds && !slices.ContainsFunc(def.Outputs, func(o logical.ProcessOutput) bool { return o.Time != nil }) {
		return nil, nil, batch.UserErrorf("processor %q: HoldEventTime without EventTime", name)
	}
	if def.Update && def.Outputs[0].Time != nil {
		return nil, nil, batch.UserErrorf("processor %q: an output with UpdateBy has no EventTime: what it takes back may have closed", name)
	}
	for _, c := range p.by {
		at := schema.FieldIndices(c)
		if len(at) != 1 {
			return nil, nil, batch.UserErrorf("processor %q: UpdateBy names %q, which is no column of its output", name, c)
		}
		def.UpdateBy = append(def.UpdateBy, at[0])
	}
	return def, node, nil
}

// SideOutput is an output that the option SideOutput has given the processor that
// made this DataFrame. Queries that write several outputs, see Writer.Also, run
// the processor once.
func (d *DataFrame) SideOutput(name string) *DataFrame {
	if d.err != nil {
		return d
	}
	p, ok := d.node.(*logical.Process)
	if !ok {
		return d.failed(batch.UserErrorf("SideOutput is of the DataFrame that Process has made, not of one derived from it"))
	}
	at := slices.IndexFunc(p.Def.Outputs, func(o logical.ProcessOutput) bool { return o.Name == name })
	if at < 1 {
		return d.failed(batch.UserErrorf("processor %q has no output %q", p.Def.Name, name))
	}
	c := *p
	c.Output = at
	return &DataFrame{s: d.s, node: &c}
}

// Also lets one streaming query write what another Writer writes, too: both see the
// same batches, and what they have in common runs once. Name, trigger, checkpoint
// and output mode are this one's.
func (w *Writer) Also(other *Writer) *Writer {
	w.err = firstErr(w.err, other.err)
	if w.err == nil && len(other.keys) > 0 {
		w.err = batch.UserErrorf("the other Writer of Also has Keys: declare them as PRIMARY KEY of its table")
	}
	w.def.inserts = append(slices.Clone(w.def.inserts), other.def.inserts...)
	return w
}
