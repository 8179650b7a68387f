package sluice

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/memory"
)

// analysisSummary is what EXPLAIN ANALYZE tells about the statement as a whole.
type analysisSummary struct {
	rows    int64
	message string // of a statement that gives no rows
	took    time.Duration
	peak    int64
}

// text prints the stages, a line an operator with its figures in front of it. All
// figures are sums over the stage's tasks, memory too: each task's most.
func (a *analysis) text(sum analysisSummary) string {
	var b strings.Builder
	if sum.message != "" {
		fmt.Fprintf(&b, "%s in %s", sum.message, shortTime(sum.took))
	} else {
		fmt.Fprintf(&b, "%d rows in %s", sum.rows, shortTime(sum.took))
	}
	fmt.Fprintf(&b, ", peak memory of the process %s\n", memory.FormatBytes(sum.peak))
	for _, stage := range a.plan.Plan.Stages {
		st := a.stages[stage.ID]
		if st == nil {
			fmt.Fprintf(&b, "Stage %d %s: nothing to do\n", stage.ID, stage.Flow())
			continue
		}
		fmt.Fprintf(&b, "Stage %d %s: %d tasks, the longest %s\n", stage.ID, stage.Flow(), st.tasks, shortTime(st.took))
		fmt.Fprintf(&b, "  %12s %10s %10s %10s %10s  %s\n", "rows", "time", "self", "memory", "spilled", "operator")
		ops := stage.Work(st.ops)
		for i, op := range ops {
			fmt.Fprintf(&b, "  %12d %10s %10s %10s %10s  %s%s%s\n", op.Rows, shortTime(time.Duration(op.Nanos)),
				shortTime(time.Duration(batch.SelfNanos(ops, i))), shortBytes(op.Memory), shortBytes(op.Spilled),
				strings.Repeat("  ", op.Depth), op.Name, notesText(op.Notes))
		}
	}
	return b.String()
}

// notesText prints what an operator tells about itself.
func notesText(notes []batch.OpNote) string {
	if len(notes) == 0 {
		return ""
	}
	parts := make([]string, len(notes))
	for i, n := range notes {
		parts[i] = fmt.Sprintf("%s %d", n.Name, n.Value)
	}
	return "  [" + strings.Join(parts, ", ") + "]"
}

func shortTime(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }

// shortBytes prints nothing as a dash, which is easier to overlook.
func shortBytes(n int64) string {
	if n == 0 {
		return "-"
	}
	return memory.FormatBytes(n)
}
