package physical

import (
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Observe passes rows on and reports aggregates over them: the partial results of each
// task, which whoever asks for them merges.
type Observe struct {
	Input Node
	Name  string
	// At tells the operators of one name apart: what is read twice is observed twice, and
	// one of them counts.
	At    int
	Aggs  []*expr.AggCall
	Exprs []expr.Expr // over the aggregates' results
	Names []string    // of Exprs
	// Observer is logical.Observe.Observer.
	Observer any
}

func (*Observe) node() {}

// Schema returns the columns.
func (n *Observe) Schema() *arrow.Schema { return n.Input.Schema() }

// Inputs returns what is read.
func (n *Observe) Inputs() []Node { return []Node{n.Input} }

func (n *Observe) String() string {
	aggs := make([]string, len(n.Aggs))
	for i, a := range n.Aggs {
		aggs[i] = a.String()
	}
	return "Observe " + n.Name + " [" + strings.Join(aggs, ", ") + "]"
}

// Observed are the operators of a plan that observe, the one that counts for each name.
func (p *Plan) Observed() map[string]*Observe {
	out := map[string]*Observe{}
	var walk func(n Node)
	walk = func(n Node) {
		if o, ok := n.(*Observe); ok && (out[o.Name] == nil || o.At < out[o.Name].At) {
			out[o.Name] = o
		}
		for _, in := range n.Inputs() {
			walk(in)
		}
	}
	for _, s := range p.Stages {
		walk(s.Root)
	}
	return out
}
