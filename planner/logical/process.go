package logical

import (
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// Process hands the rows of each key to code of the user's, which keeps state and
// puts out rows of its own. Its columns are the keys, then those of the output.
type Process struct {
	Input Node
	Keys  []expr.Expr
	Names []string // of the keys
	// Other is a second input that shares state and timers with the first; nil for none.
	Other      Node
	OtherKeys  []expr.Expr
	OtherLate  expr.Expr // as Late
	OtherOrder expr.Expr // as Order; if both are there, the rows of a key come merged by them
	// Initial is read once, before the first row of Input; nil for none.
	Initial     Node
	InitialKeys []expr.Expr
	Def         *ProcessDef
	Output      int       // of Def.Outputs: which of them this node stands for
	Late        expr.Expr // event time by which late rows are dropped, nil to hand on all
	Order       expr.Expr // by which the rows of a key are sorted within a batch, nil for their coming
}

// ProcessDef is a processor as the plan knows it. All nodes of one processor share it.
type ProcessDef struct {
	Name, Version string
	Outputs       []ProcessOutput // the main one first
	// Update says that a row of the main output stands for the one with the same
	// keys and the same values in the columns UpdateBy before it.
	Update   bool
	UpdateBy []int
	// Groups says that the code keeps no state: it is run over all rows of a key, and
	// again when they change. With Single it puts out one row for each key.
	Groups, Single bool
	// Holds says that timers may hold the event time of the outputs back.
	Holds bool
	TTL   time.Duration // of each state that sets none of its own; 0 for ever
	New   func() Processor
}

// ProcessOutput is one result of a processor.
type ProcessOutput struct {
	Name   string // "" for the main one
	Schema *arrow.Schema
	Time   *ProcessTime // which of its columns is event time, nil for none
}

// ProcessTime says that a column of an output is event time: rows come at most Delay
// behind the watermark of the input.
type ProcessTime struct {
	Column int // of the keys and the output's columns behind them
	Delay  time.Duration
}

// Processor is the user's code. It is used by one goroutine.
type Processor interface {
	// Open comes once, before all else; it declares the states.
	Open(c *ProcessContext) error
	// Rows hands on rows [from, to) of rec, which are all of one key and of one input.
	Rows(rec arrow.RecordBatch, from, to int, of ProcessInput) error
	Timer(at batch.EventTime, clock bool) error
	Close() error
}

// ProcessInput says which input of a processor rows are of.
type ProcessInput int

// The inputs of a processor, in the order in which their rows come.
const (
	InitialRows ProcessInput = iota
	OtherRows
	MainRows
)

// ProcessContext is what a processor works with. All of it is about the key in hand.
type ProcessContext struct {
	State  ProcessState
	Timers ProcessTimers
	Out    ProcessRows
	Input  [MainRows + 1]*arrow.Schema // nil for an input that there is not
	Keys   []arrow.DataType
	Key    func() []byte // the key in hand in the form of rowkey, valid until the next
	Batch  ProcessBatch
}

// ProcessBatch is what a processor may know of the batch.
type ProcessBatch struct {
	ID        batch.ID
	Now       batch.EventTime
	Watermark batch.EventTime
	Ended     bool // no row will come after this batch
}

// StateKind is the form of a state.
type StateKind string

// The forms of states.
const (
	ValueState StateKind = "value"
	ListState  StateKind = "list"
	MapState   StateKind = "map"
)

// StateDecl declares a state. Its types may grow between two runs by nullable
// fields at the end.
type StateDecl struct {
	Name   string        `json:"name"`
	Kind   StateKind     `json:"kind"`
	Key    []StateField  `json:"key,omitempty"` // of a map
	Fields []StateField  `json:"fields"`
	TTL    time.Duration `json:"-"` // 0: for ever
	OnRead bool          `json:"-"` // the TTL starts again when a value is read
}

// StateField is a field of a state's value.
type StateField struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Nullable bool   `json:"nullable"`
}

// ProcessState holds the states of the key in hand as bytes: each is a sorted map
// from sub to value. Values that have outlived their TTL are not there.
type ProcessState interface {
	Declare(d StateDecl) (int, error)
	// Get visits a value, which is valid inside visit only, and reports whether it is there.
	Get(state int, sub []byte, visit func(value []byte) error) (bool, error)
	Put(state int, sub, value []byte) error
	Delete(state int, sub []byte) error
	// Scan visits a state in the order of sub; it must not be changed meanwhile.
	Scan(state int, visit func(sub, value []byte) (bool, error)) error
}

// ProcessTimers holds the timers of the key in hand: by event time, or by the clock.
type ProcessTimers interface {
	Set(at batch.EventTime, clock bool) error
	// Hold is Set of a timer by event time that holds the outputs' event time back: until
	// it has fired or is removed, rows of that time are not late.
	Hold(at, hold batch.EventTime) error
	Remove(at batch.EventTime, clock bool) error
	List(clock bool) ([]batch.EventTime, error)
}

// ProcessRows takes the rows that come out, without the keys.
type ProcessRows interface {
	// Builders are those of the columns of an output, to which one value each is
	// appended before Done.
	Builders(output int) []array.Builder
	// Done ends a row. A deleted one is that of its update key.
	Done(output int, deleted bool) error
}

func (*Process) node() {}

// Schema returns the keys and the columns of the output.
func (n *Process) Schema() *arrow.Schema {
	return arrow.NewSchema(append(n.KeyFields(), n.Def.Outputs[n.Output].Schema.Fields()...), nil)
}

// KeyFields are the columns of the keys.
func (n *Process) KeyFields() []arrow.Field {
	out := make([]arrow.Field, len(n.Keys))
	for i, k := range n.Keys {
		out[i] = arrow.Field{Name: n.Names[i], Type: k.Type(), Nullable: k.Nullable()}
	}
	return out
}

// Inputs returns the rows and, if there are any, the other and the initial ones.
func (n *Process) Inputs() []Node {
	out := []Node{n.Input}
	if n.Other != nil {
		out = append(out, n.Other)
	}
	if n.Initial != nil {
		out = append(out, n.Initial)
	}
	return out
}

// WithInputs replaces what is read.
func (n *Process) WithInputs(in []Node) Node {
	c := *n
	c.Input = in[0]
	if n.Other != nil {
		c.Other = in[1]
	}
	if n.Initial != nil {
		c.Initial = in[len(in)-1]
	}
	return &c
}

func (n *Process) String() string {
	s := n.Def.String() + inputText(n.Keys, n.Order, n.Late)
	if n.Other != nil {
		s += " with others" + inputText(n.OtherKeys, n.OtherOrder, n.OtherLate)
	}
	if n.Output > 0 {
		s += " output " + n.Def.Outputs[n.Output].Name
	}
	return s
}

func inputText(exprs []expr.Expr, order, late expr.Expr) string {
	keys := make([]string, len(exprs))
	for i, k := range exprs {
		keys[i] = k.String()
	}
	s := " by [" + strings.Join(keys, ", ") + "]"
	if order != nil {
		s += " in order of " + order.String()
	}
	if late != nil {
		s += " drops late " + late.String()
	}
	return s
}

// String prints what of a processor changes its results: name, version, outputs.
func (d *ProcessDef) String() string {
	s := "Process " + d.Name
	if d.Version != "" {
		s += " version " + d.Version
	}
	for _, o := range d.Outputs {
		cols := make([]string, o.Schema.NumFields())
		for i, f := range o.Schema.Fields() {
			cols[i] = f.Name + " " + f.Type.String()
		}
		if s += " ->"; o.Name != "" {
			s += " " + o.Name
		}
		s += " [" + strings.Join(cols, ", ") + "]"
		if t := o.Time; t != nil {
			s += fmt.Sprintf(" event time #%d", t.Column)
			if t.Delay > 0 {
				s += " - " + t.Delay.String()
			}
		}
	}
	if d.Holds {
		s += " holds event time"
	}
	if d.Update {
		s += fmt.Sprintf(" updates by %v", d.UpdateBy)
	}
	return s
}
