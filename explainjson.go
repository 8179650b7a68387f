package sluice

import (
	"encoding/json"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// planJSON is what EXPLAIN (FORMAT JSON) prints. Names carry their units.
type planJSON struct {
	Query   string         `json:"query,omitempty"`
	Mode    string         `json:"output_mode,omitempty"`
	Run     *runJSON       `json:"run,omitempty"` // EXPLAIN ANALYZE alone
	Logical []operatorJSON `json:"logical"`
	Stages  []stageJSON    `json:"stages"`
	State   []string       `json:"state,omitempty"` // verdicts on a stream's state
}

type runJSON struct {
	Rows      int64   `json:"rows"`
	Millis    float64 `json:"millis"`
	PeakBytes int64   `json:"peak_bytes"`
}

type stageJSON struct {
	ID        int          `json:"id"`
	Flow      string       `json:"flow"`
	Tasks     int          `json:"tasks,omitempty"`
	MaxMillis float64      `json:"max_millis,omitempty"`
	Plan      operatorJSON `json:"plan"`
}

type operatorJSON struct {
	Operator string         `json:"operator"`
	Run      *workJSON      `json:"run,omitempty"`
	Inputs   []operatorJSON `json:"inputs,omitempty"`
}

type workJSON struct {
	Rows         int64            `json:"rows"`
	Batches      int64            `json:"batches"`
	Bytes        int64            `json:"bytes"`
	Millis       float64          `json:"millis"`
	SelfMillis   float64          `json:"self_millis"`
	MemoryBytes  int64            `json:"memory_bytes"`
	SpilledBytes int64            `json:"spilled_bytes"`
	Notes        map[string]int64 `json:"notes,omitempty"`
}

func explainJSON(q *planner.Query, name, mode string) string {
	return marshalPlan(jsonOf(q, name, mode))
}

func marshalPlan(p planJSON) string {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err.Error() // strings and numbers can be written
	}
	return string(b) + "\n"
}

func jsonOf(q *planner.Query, name, mode string) planJSON {
	p := planJSON{Query: name, Mode: mode}
	for _, out := range q.Outputs {
		n := logicalJSON(out.Node)
		if out.Sink != nil {
			n = operatorJSON{Operator: "Insert into " + out.Sink.Table, Inputs: []operatorJSON{n}}
		}
		p.Logical = append(p.Logical, n)
	}
	for _, s := range q.Plan.Stages {
		p.Stages = append(p.Stages, stageJSON{ID: s.ID, Flow: s.Flow(), Plan: physicalJSON(s.Root)})
	}
	for _, v := range q.Verdicts {
		p.State = append(p.State, v.String())
	}
	return p
}

func logicalJSON(n logical.Node) operatorJSON {
	o := operatorJSON{Operator: n.String()}
	for _, in := range n.Inputs() {
		o.Inputs = append(o.Inputs, logicalJSON(in))
	}
	return o
}

func physicalJSON(n physical.Node) operatorJSON {
	o := operatorJSON{Operator: n.String()}
	for _, in := range n.Inputs() {
		o.Inputs = append(o.Inputs, physicalJSON(in))
	}
	return o
}

// json is EXPLAIN (ANALYZE, FORMAT JSON).
func (a *analysis) json(sum analysisSummary) string {
	p := jsonOf(a.plan, "", "")
	p.Run = &runJSON{Rows: sum.rows, Millis: millis(int64(sum.took)), PeakBytes: sum.peak}
	for i := range p.Stages {
		st := a.stages[p.Stages[i].ID]
		if st == nil || len(st.ops) == 0 {
			continue
		}
		p.Stages[i].Tasks, p.Stages[i].MaxMillis = st.tasks, millis(int64(st.took))
		p.Stages[i].Plan, _ = workTree(a.plan.Plan.Stages[i].Work(st.ops), 0)
	}
	return marshalPlan(p)
}

// workTree makes a tree of the list of operators, parents first, from number i on.
// It returns the number behind the tree.
func workTree(ops []batch.OpWork, i int) (operatorJSON, int) {
	op := ops[i]
	o := operatorJSON{Operator: op.Name, Run: &workJSON{
		Rows: op.Rows, Batches: op.Batches, Bytes: op.Bytes, Millis: millis(op.Nanos), SelfMillis: millis(batch.SelfNanos(ops, i)),
		MemoryBytes: op.Memory, SpilledBytes: op.Spilled,
	}}
	for _, n := range op.Notes {
		if o.Run.Notes == nil {
			o.Run.Notes = map[string]int64{}
		}
		o.Run.Notes[n.Name] = n.Value
	}
	next := i + 1
	for next < len(ops) && ops[next].Depth > op.Depth {
		var in operatorJSON
		in, next = workTree(ops, next)
		o.Inputs = append(o.Inputs, in)
	}
	return o, next
}

func millis(nanos int64) float64 { return float64(nanos/int64(10*time.Microsecond)) / 100 }
