package physical

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
)

// The forms of state whose rows can be read as columns.
const (
	// GroupState is a row for each group: its keys, and partial results of aggregates.
	GroupState = "groups"
	// RowState is a row for each different row of each input: the group's keys, how
	// often the row is there, and the row; or one for all that a batch had of them.
	RowState = "rows"
)

// Appended in the Detail of RowState says that the rows of a batch may be stored
// together. An operator that does so reads rows that each stand by themselves, too.
const Appended = ", appended"

// Reads reports whether an operator whose state has one detail reads that of another.
func Reads(detail, old string) bool { return detail == old || detail == old+Appended }

// StateForm says how the rows of an operator's state lie in its shards: all that
// has to be the same for a changed query to keep them.
type StateForm struct {
	Operator string
	Kind     string          // GroupState, RowState, or the operator's own
	Keys     []arrow.Field   // in the order in which the state's key has them
	Values   [][]arrow.Field // of GroupState one list, of RowState one for each input
	// Detail tells what else the rows depend on.
	Detail string
	Line   string // of the operator in EXPLAIN, for people
	EndKey int    // position in GROUP BY of the key that stands first in Keys, -1 if they have its order
}

// StateForms describes the state of all operators, in the order of the stages.
func (p *Plan) StateForms() []StateForm {
	var out []StateForm
	for _, s := range p.Stages {
		var walk func(n Node)
		walk = func(n Node) {
			if f, ok := stateForm(n); ok {
				f.Line = n.String()
				out = append(out, f)
			}
			for _, in := range n.Inputs() {
				walk(in)
			}
		}
		walk(s.Root)
		for _, name := range s.Stateful { // what no operator's name tells: indexes of expiry
			if !slices.ContainsFunc(out, func(f StateForm) bool { return f.Operator == name }) {
				out = append(out, StateForm{Operator: name, Kind: "index"})
			}
		}
	}
	return out
}

func stateForm(n Node) (StateForm, bool) {
	switch n := n.(type) {
	case *StatefulAggregate:
		fields := n.Input.Schema().Fields()
		return StateForm{Operator: n.Operator, Kind: GroupState, Keys: endFirst(fields[:n.NKeys], n.EndKey), Values: [][]arrow.Field{fields[n.NKeys:]},
			EndKey: n.EndKey, Detail: fmt.Sprintf("closes by key %d", n.EndKey)}, true
	case *Recompute:
		f := StateForm{Operator: n.Operator, Kind: RowState, Keys: endFirst(exprFields(n.Keys[0]), n.EndKey),
			EndKey: n.EndKey, Detail: fmt.Sprintf("closes by key %d, pruned %t, whole %t, read once %v", n.EndKey, n.Prune, n.Whole, n.Static)}
		if n.Bilinear && n.Grows {
			f.Detail += Appended
		}
		for _, in := range n.In {
			fields := in.Schema().Fields()
			if last := len(fields) - 1; last >= 0 && fields[last].Name == batch.OpColumn {
				fields = fields[:last]
			}
			f.Values = append(f.Values, fields)
		}
		return f, true
	case *MarkFirst:
		return ownForm(n.Operator, "marks", n), true
	case *Tally:
		return ownForm(n.Operator, "values", n), true
	case *OpenSessions:
		return ownForm(n.Operator, "sessions", n), true
	case *IntervalJoin:
		return ownForm(n.Operator, "interval join", n), true
	case *FirstWithin:
		return ownForm(n.Operator, "first rows", n), true
	case *Versions:
		return ownForm(n.Operator, "versions", n), true
	case *Emit:
		return ownForm(n.Operator, "held changes", n), true
	case *StatefulMatch:
		return ownForm(n.Operator, "matches", n), true
	case *Process:
		// A processor checks the form of its states itself when it opens them; its line has
		// its name and version.
		return StateForm{Operator: n.Operator, Kind: "processor", Detail: n.String()}, n.Operator != ""
	}
	return StateForm{}, false
}

// ownForm is that of an operator whose rows only it can read: all its columns, and
// its line in the plan, have to stay.
func ownForm(operator, kind string, n Node) StateForm {
	f := StateForm{Operator: operator, Kind: kind, Detail: n.String()}
	for _, in := range n.Inputs() {
		f.Values = append(f.Values, in.Schema().Fields())
	}
	return f
}

func exprFields(es []expr.Expr) []arrow.Field {
	out := make([]arrow.Field, len(es))
	for i, e := range es {
		out[i] = arrow.Field{Name: e.String(), Type: e.Type(), Nullable: true}
		if c, ok := e.(*expr.Column); ok {
			out[i].Name = c.Name
		}
	}
	return out
}

// endFirst puts the window's end in front, where the state's key has it.
func endFirst(fields []arrow.Field, end int) []arrow.Field {
	if end < 0 {
		return fields
	}
	out := []arrow.Field{fields[end]}
	out = append(out, fields[:end]...)
	return append(out, fields[end+1:]...)
}
