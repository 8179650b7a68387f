package sluice

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/driver"
	"github.com/sluice-stream/sluice/internal/memory"
	"github.com/sluice-stream/sluice/microbatch"
	"github.com/sluice-stream/sluice/planner/incremental"
	"github.com/sluice-stream/sluice/sql/ast"
)

// Watermarks says why a query's watermark is where it is.
type Watermarks = microbatch.Watermarks

// BatchTrace says where the time of a finished batch went.
type BatchTrace = driver.BatchTrace

// Watermarks explains the query's watermark: what each source and partition has
// reached, which one holds it back, and when something is due.
func (q *Query) Watermarks(ctx context.Context) (Watermarks, error) { return q.drv.Watermarks(ctx) }

// Batch tells where the time of one of the last batches went; false if it is not
// remembered.
func (q *Query) Batch(id int64) (BatchTrace, bool) { return q.drv.Batch(batch.ID(id)) }

// ExplainWatermark is what EXPLAIN WATERMARK prints.
func (q *Query) ExplainWatermark(ctx context.Context) (string, error) {
	w, err := q.Watermarks(ctx)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "== Watermark of %s ==\n", q.Name())
	switch {
	case len(w.Sources) == 0:
		b.WriteString("no source of the query has a watermark\n")
		return b.String(), nil
	case w.Watermark == batch.NoTime:
		b.WriteString("watermark: none yet\n")
	case w.Watermark == batch.EndOfTime:
		b.WriteString("watermark: the end, every source has ended\n")
	default:
		fmt.Fprintf(&b, "watermark: %s, %s behind now\n", w.Watermark, span(w.Now-w.Watermark))
	}
	for _, s := range w.Sources {
		b.WriteString(sourceLine(w, s))
	}
	b.WriteString(heldLine(w))
	b.WriteString(q.waitingLines(w))
	return b.String(), nil
}

// sourceLine tells how far a source has come.
func sourceLine(w Watermarks, s microbatch.SourceWatermark) string {
	name := s.Source
	if s.Partition != "" {
		name += " partition " + s.Partition
	}
	line := "  " + name + ": no event time yet"
	if s.Max != batch.NoTime {
		line = fmt.Sprintf("  %s: highest event time %s, less %s gives %s", name, s.Max, s.Delay, s.Watermark)
	}
	if s.Seen != batch.NoTime {
		line += fmt.Sprintf("; last rows %s ago, at %s", span(w.Now-s.Seen), s.Seen)
	}
	for _, f := range []struct {
		is   bool
		text string
	}{{s.Over, "ended"}, {s.Idle, "idle, does not count"}, {s.Holds, "HOLDS THE WATERMARK BACK"}} {
		if f.is {
			line += "; " + f.text
		}
	}
	return line + "\n"
}

// heldLine names what holds the watermark back, and since when.
func heldLine(w Watermarks) string {
	for _, s := range w.Sources {
		if !s.Holds {
			continue
		}
		if s.Max == batch.NoTime {
			return fmt.Sprintf("held back by %s: no row with an event time has come from it\n", w.HeldBy)
		}
		return fmt.Sprintf("held back by %s since %s: until rows later than %s come from it, the watermark stays\n", w.HeldBy, s.Seen, s.Max)
	}
	return "held back by nothing\n"
}

// waitingLines tell what waits for the watermark.
func (q *Query) waitingLines(w Watermarks) string {
	if w.NextDue >= batch.AtTheEnd {
		return "waiting for it: nothing\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "waiting for it: the earliest window or timer ends at %s", w.NextDue)
	if w.Watermark != batch.NoTime && w.NextDue > w.Watermark {
		fmt.Fprintf(&b, ", %s past the watermark", span(w.NextDue-w.Watermark))
	}
	b.WriteByte('\n')
	p, ok := q.drv.Progress()
	if !ok {
		return b.String()
	}
	for _, v := range q.plan.Verdicts {
		if v.Bound != incremental.ByWatermark {
			continue
		}
		for _, s := range p.StateOperators {
			if s.OperatorName == v.Operator {
				b.WriteString(windowsLine(s))
			}
		}
	}
	return b.String()
}

// endsShown is how many ends of windows a line of EXPLAIN WATERMARK has.
const endsShown = 5

// windowsLine tells which windows of an operator wait, the oldest first.
func windowsLine(s driver.StateProgress) string {
	n, ends := s.CustomMetrics["windowsWaiting"], s.WindowEnds()
	if n == 0 {
		return fmt.Sprintf("  %s: %d rows of state wait\n", s.OperatorName, s.NumRowsTotal)
	}
	texts := make([]string, min(len(ends), endsShown))
	for i := range texts {
		texts[i] = ends[i].String()
	}
	if n > int64(len(texts)) {
		texts = append(texts, "..")
	}
	noun := "windows wait"
	if n == 1 {
		noun = "window waits"
	}
	return fmt.Sprintf("  %s: %d %s, ending at %s; %d rows of state\n", s.OperatorName, n, noun, strings.Join(texts, ", "), s.NumRowsTotal)
}

func span(us batch.EventTime) string {
	return (time.Duration(us) * time.Microsecond).Round(time.Millisecond).String()
}

// ExplainBatch is what EXPLAIN BATCH prints; an error if the batch is not remembered.
func (q *Query) ExplainBatch(id int64) (string, error) {
	t, ok := q.Batch(id)
	if !ok {
		first, last := "none", ""
		if all := q.Recent(); len(all) > 0 {
			first, last = fmt.Sprint(all[0].BatchID), fmt.Sprintf(" to %d", all[len(all)-1].BatchID)
		}
		return "", batch.UserErrorf("query %s does not remember batch %d; it remembers %s%s of this run", q.Name(), id, first, last)
	}
	var b strings.Builder
	p := t.Progress
	fmt.Fprintf(&b, "== Batch %d of %s, %s ==\n", id, q.Name(), p.Timestamp)
	fmt.Fprintf(&b, "took %d ms; rows in %d, out %d, late %d, quarantined %d, filtered %d\n", p.BatchDuration, p.NumInputRows, p.Sink.NumOutputRows,
		p.LateRows, p.QuarantinedRows, p.Balance.Filtered)
	for _, ph := range driver.Phases {
		if ms, ok := p.Phases[ph.Key]; ok {
			fmt.Fprintf(&b, "  %10.3f ms  %-16s %s\n", ms, ph.Key, ph.Doc)
		}
	}
	if t.Checkpoint > 0 {
		fmt.Fprintf(&b, "  %10.3f ms  %-16s %s\n", float64(t.Checkpoint.Microseconds())/1000, "checkpoint", "making its state durable, beside later batches")
	}
	for _, s := range t.Stages {
		fmt.Fprintf(&b, "Stage %d %s: %d tasks, the longest %s; compute %d ms, prepare %d ms, state %d ms", s.Stage, q.plan.Plan.Stages[s.Stage].Flow(),
			s.Tasks, shortTime(s.Longest), s.Compute, s.Prepare, s.Seal)
		if s.RowsIn > 0 {
			fmt.Fprintf(&b, "; read %d rows, %s", s.RowsIn, memory.FormatBytes(s.BytesIn))
		}
		b.WriteByte('\n')
		fmt.Fprintf(&b, "  %12s %10s %10s %10s  %s\n", "rows", "bytes", "time", "self", "operator")
		for i, op := range s.Ops {
			fmt.Fprintf(&b, "  %12d %10s %10s %10s  %s%s\n", op.Rows, shortBytes(op.Bytes), shortTime(time.Duration(op.Nanos)),
				shortTime(time.Duration(batch.SelfNanos(s.Ops, i))), strings.Repeat("  ", op.Depth), op.Name)
		}
	}
	for _, o := range p.StateOperators {
		fmt.Fprintf(&b, "State %s: %d rows, %s; %d put, %d deleted, %d late\n", o.OperatorName, o.NumRowsTotal, memory.FormatBytes(o.MemoryUsedBytes),
			o.NumRowsUpdated, o.NumRowsRemoved, o.NumRowsDroppedWatermark)
	}
	return b.String(), nil
}

// explainQuery answers EXPLAIN of a query that runs: its plan, its watermark or one
// of its batches.
func (s *Session) explainQuery(ctx context.Context, st *ast.Explain) (*Result, error) {
	q, err := s.namedQuery(nameText(*st.Name), st.Name.Pos)
	if err != nil {
		return nil, err
	}
	text := ""
	switch st.Mode {
	case "WATERMARK":
		text, err = q.ExplainWatermark(ctx)
	case "BATCH":
		if text, err = q.ExplainBatch(st.Batch); err != nil {
			return nil, s.located(err, st.Pos)
		}
	default:
		text = q.Explain()
	}
	if err != nil {
		return nil, err
	}
	return s.planRows(text), nil
}
