package executor

import "github.com/sluice-stream/sluice/planner/physical"

// guardAt is an input of an operator.
type guardAt struct {
	n     physical.Node
	input int
}

// demand is what an operator computes of rows as a stage below has put them out.
type demand struct {
	guarding
	at guardAt
}

// demands lists what the only reader of a stage computes of its rows. Of several
// readers each has its own opinion of what is a bad row.
func (b *builder) demands(s *physical.Stage) []demand {
	var found []demand
	readers := 0
	for _, reader := range b.task.plan.Stages {
		up := parents{}
		up.note(reader.Root)
		for _, at := range up.reads(reader.Root, s.ID) {
			readers++
			found = up.demands(at)
		}
	}
	if readers != 1 {
		return nil
	}
	return found
}

// findGuarded notes which inputs of the stage's operators need no guard.
func (b *builder) findGuarded() {
	b.guarded = map[guardAt]bool{}
	for _, id := range b.task.stage.Inputs {
		if s := b.stages[id]; s != nil {
			for _, d := range b.demands(s) {
				b.guarded[d.at] = true // a static stage's rows are no batch's
			}
		}
	}
}

// parents knows where in a tree the operators' outputs go.
type parents map[physical.Node]guardAt

func (p parents) note(n physical.Node) {
	for i, in := range n.Inputs() {
		p[in] = guardAt{n, i}
		p.note(in)
	}
}

// reads lists the places where a stage's output is read.
func (p parents) reads(n physical.Node, stage int) (out []guardAt) {
	for i, in := range n.Inputs() {
		if r, ok := in.(*physical.ExchangeRead); ok && r.Stage == stage {
			out = append(out, guardAt{n, i})
		}
		out = append(out, p.reads(in, stage)...)
	}
	if r, ok := n.(*physical.ExchangeRead); ok && p[n].n == nil && r.Stage == stage {
		out = append(out, guardAt{}) // the root, which computes nothing
	}
	return out
}

// demands follows rows up from an input as long as all of them go on as they are.
func (p parents) demands(at guardAt) (out []demand) {
	for at.n != nil {
		for _, g := range guardsOf(at.n) {
			if g.input == at.input {
				out = append(out, demand{g, at})
			}
		}
		switch n := at.n.(type) {
		case *physical.Sort:
			at = p[n]
		case *physical.Recompute:
			if at.input >= len(n.Tables) {
				return out
			}
			at = p.readsTable(n.Body, n.Tables[at.input])
		default:
			return out
		}
	}
	return out
}

// readsTable is where a body reads a table, if it does so once.
func (p parents) readsTable(body physical.Node, table int) guardAt {
	var found []guardAt
	var walk func(n physical.Node)
	walk = func(n physical.Node) {
		if w, ok := n.(*physical.WorkTable); ok && w.ID == table {
			found = append(found, p[n])
		}
		for _, in := range n.Inputs() {
			walk(in)
		}
	}
	walk(body)
	if len(found) != 1 {
		return guardAt{}
	}
	return found[0]
}
