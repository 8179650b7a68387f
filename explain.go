package sluice

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/planner"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/planner/logical"
)

// broadcastShare is the part of the memory limit that a join's side may take in
// every task.
const broadcastShare = 8

// planBatch plans a query over what its tables hold now. Planning ends with the context.
func (s *Session) planBatch(ctx context.Context, out planner.Output) (*planner.Query, error) {
	set := s.set.snapshot()
	o := planner.Options{
		Zone: s.zone(), RecursionMax: int(set.Int(setRecursion)), SkipRules: s.set.skipRules(), Stats: s.tableStats(ctx),
		BroadcastMax: set.Bytes(setBroadcast), ReduceFrom: set.Int(setReduce),
		Interrupted: ctx.Err,
	}
	if limit := s.memoryRoom(); o.BroadcastMax == 0 && limit > 0 {
		o.BroadcastMax = min(planner.BroadcastMax, limit/broadcastShare)
	}
	q, err := planner.Build([]planner.Output{out}, o)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return q, refused(err)
}

// explain prints the plan of a query: as a stream if it reads one and the
// session runs pipelines, else as a batch.
func (s *Session) explain(ctx context.Context, n logical.Node) (string, error) {
	q, err := s.planBatch(ctx, planner.Output{Node: n})
	if err != nil {
		return "", err
	}
	plan := planIn(ctx, q, "", "")
	if f, _ := ctx.Value(explaining{}).(string); f == "JSON" {
		return plan, nil
	}
	files, err := s.prunedFiles(ctx, q)
	return plan + files + s.explainQuota(ctx), err
}

// planIn prints a plan in the format that EXPLAIN asked for.
func planIn(ctx context.Context, q *planner.Query, name, mode string) string {
	if f, _ := ctx.Value(explaining{}).(string); f == "JSON" {
		return explainJSON(q, name, mode)
	}
	return explainText(q, name, mode)
}

// explainText is what EXPLAIN prints.
func explainText(q *planner.Query, name, mode string) string {
	var b strings.Builder
	if name != "" {
		fmt.Fprintf(&b, "== Streaming query %s, output mode %s ==\n", name, mode)
	}
	b.WriteString("== Logical plan ==\n")
	for _, out := range q.Outputs {
		if out.Sink != nil {
			fmt.Fprintf(&b, "Insert into %s\n", out.Sink.Table)
		}
		b.WriteString(logical.Explain(out.Node))
	}
	b.WriteString("== Stages ==\n")
	b.WriteString(q.Plan.String())
	if !q.Plan.Stream {
		return b.String()
	}
	b.WriteString("== Event time and state ==\n")
	for _, w := range q.Plan.Watermarks {
		fmt.Fprintf(&b, "watermark of %s is its highest event time - %s\n", w.Source, time.Duration(w.Delay)*time.Microsecond)
	}
	if len(q.Plan.Watermarks) == 0 {
		b.WriteString("no watermark\n")
	}
	for _, v := range q.Verdicts {
		b.WriteString(v.String() + "\n")
	}
	if len(q.Verdicts) == 0 {
		b.WriteString("no state\n")
	}
	return b.String()
}

// warnings are the verdicts that a start logs.
func warnings(q *planner.Query) []string {
	var out []string
	for _, v := range q.Verdicts {
		if v.TTL > 0 {
			continue
		}
		if v.Bound == incremental.Unbounded || v.Bound == incremental.ByKeys && !strings.Contains(v.Advice, "single row") {
			out = append(out, v.String())
		}
	}
	return out
}
