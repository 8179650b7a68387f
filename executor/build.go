package executor

import (
	"fmt"

	"github.com/sluice-stream/sluice/planner/physical"
)

// builder makes the operators of one stage.
type builder struct {
	task   *Task
	stages map[int]*physical.Stage
	work   map[int][]*workTable // by the Recursive that fills them
	// guarded are the inputs whose rows the stages below have tried.
	guarded map[guardAt]bool
}

// build is the one switch from a node of the plan to its operator.
func (b *builder) build(n physical.Node, depth int) (Operator, error) {
	w := &watched{task: b.task, name: n.String(), depth: depth}
	b.task.ops = append(b.task.ops, w)
	in := make([]Operator, len(n.Inputs()))
	for i, c := range n.Inputs() {
		var err error
		if in[i], err = b.build(c, depth+1); err != nil {
			return nil, err
		}
	}
	if err := b.guardInputs(n, in); err != nil {
		return nil, fmt.Errorf("build %s: %w", n, err)
	}
	op, err := b.operator(n, in)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", n, err)
	}
	w.op = op
	return w, nil
}

func (b *builder) operator(n physical.Node, in []Operator) (Operator, error) {
	switch n := n.(type) {
	case *physical.Scan:
		return newScan(n), nil
	case *physical.Values:
		return newValues(n)
	case *physical.Filter:
		return newFilter(n, in[0])
	case *physical.Project:
		return newProject(n, in[0])
	case *physical.Watermark:
		return newWatermark(n, in[0]), nil
	case *physical.LateFilter:
		return newLateFilter(n, in[0])
	case *physical.Observe:
		return newObserve(n, in[0])
	case *physical.Window:
		return newWindow(n, in[0])
	case *physical.Sessions:
		return newSessions(n, in[0])
	case *physical.PartialAggregate:
		return newPartialAggregate(n, in[0])
	case *physical.FinalAggregate:
		return newFinalAggregate(n, in[0])
	case *physical.CompleteAggregate:
		return newCompleteAggregate(n, in[0])
	case *physical.StatefulAggregate:
		return newStatefulAggregate(n, in[0])
	case *physical.PartialSessions:
		return newPartialSessions(n, in[0])
	case *physical.Rank:
		return newRankTop(n, in[0])
	case *physical.SessionAggregate:
		return newSessionAggregate(n, in[0])
	case *physical.HashJoin:
		return newHashJoin(n, in[0], in[1], b.shared, b.task.plan.Stream)
	case *physical.Union:
		return newUnion(n, in), nil
	case *physical.Analytic:
		return newAnalytic(n, in[0])
	case *physical.Match:
		return newMatch(n, in[0])
	case *physical.StatefulMatch:
		return newStatefulMatch(n, in[0])
	case *physical.Sort:
		return newSorter(n, in[0])
	case *physical.TopN:
		return newTopN(n, in[0])
	case *physical.Limit:
		return newLimit(n, in[0]), nil
	case *physical.Generate:
		g, err := newGenerate(n, in[0])
		b.task.asides = append(b.task.asides, g)
		return g, err
	case *physical.LimitBy:
		return newLimitBy(n, in[0])
	case *physical.WorkTable:
		w := &workTable{base: base{node: n}, n: n}
		b.work[n.ID] = append(b.work[n.ID], w)
		return w, nil
	case *physical.Recursive:
		return newRecursive(n, in[0], in[1], b.work[n.ID])
	case *physical.Range:
		return newRange(n), nil
	case *physical.ExchangeRead:
		return newExchangeRead(n), nil
	default:
		return b.stateful(n, in)
	}
}

// stateful makes the operators that only the plan of a stream has, Process and Fold.
func (b *builder) stateful(n physical.Node, in []Operator) (Operator, error) {
	switch n := n.(type) {
	case *physical.Recompute:
		return newRecompute(n, in, b.work)
	case *physical.Latest:
		return newLatest(n, in[0])
	case *physical.Fold:
		return newFold(n, in[0])
	case *physical.Process:
		return newProcess(n, in)
	case *physical.OpenSessions:
		return newOpenSessions(n, in[0])
	case *physical.IntervalJoin:
		return newIntervalJoin(n, in)
	case *physical.FirstWithin:
		return newFirstWithin(n, in[0])
	case *physical.LookupJoin:
		return newLookupJoin(n, in, b.work)
	case *physical.Versions:
		return newVersions(n, in, b.work)
	case *physical.OverTime:
		return newOverTime(n, in, b.work)
	case *physical.MarkFirst:
		return newMarkFirst(n, in[0])
	case *physical.Tally:
		return newTally(n, in[0])
	case *physical.Emit:
		return newEmitHeld(n, in[0])
	case *physical.Consolidate:
		return newConsolidate(n, in[0])
	default:
		return nil, fmt.Errorf("no operator for a %T", n)
	}
}

// shared reports whether every task that reads a stage's output reads all of it.
func (b *builder) shared(stage int) bool {
	s := b.stages[stage]
	if s == nil {
		return false
	}
	_, hash := s.Output.(physical.ToHash)
	return !hash
}
