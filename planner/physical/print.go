package physical

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/planner/expr"
)

// String prints all stages, for EXPLAIN and for the plan's key.
func (p *Plan) String() string {
	var b strings.Builder
	for _, s := range p.Stages {
		fmt.Fprintf(&b, "Stage %d %s\n", s.ID, s.Flow())
		printNode(&b, s.Root, 1)
	}
	return b.String()
}

// Flow says which tasks a stage has and where its rows go.
func (s *Stage) Flow() string {
	text := [...]string{"splits", "hash", "single"}[s.Kind] + " -> " + outputString(s.Output)
	if s.Static {
		text += " static"
	}
	return text
}

func printNode(b *strings.Builder, n Node, depth int) {
	fmt.Fprintf(b, "%s%s\n", strings.Repeat("  ", depth), n.String())
	for _, in := range n.Inputs() {
		printNode(b, in, depth+1)
	}
}

func outputString(o Output) string {
	switch o := o.(type) {
	case ToHash:
		return "hash(" + list(o.Keys) + ")"
	case ToOne:
		return "one"
	case ToAll:
		return "all"
	case ToSink:
		return "sink " + o.Sink
	case ToClient:
		return "client"
	}
	return "?"
}

func list(es []expr.Expr) string {
	s := make([]string, len(es))
	for i, e := range es {
		s[i] = e.String()
	}
	return strings.Join(s, ", ")
}

func aggs(as []*expr.AggCall) string {
	s := make([]string, len(as))
	for i, a := range as {
		s[i] = a.String()
	}
	return strings.Join(s, ", ")
}

func micros(us int64) string { return (time.Duration(us) * time.Microsecond).String() }

func (n *Scan) String() string {
	names := make([]string, n.Out.NumFields())
	for i, f := range n.Out.Fields() {
		names[i] = f.Name
	}
	s := "Scan " + n.Source + " [" + strings.Join(names, ", ") + "]"
	if len(n.Filters) > 0 {
		s += " skip where " + list(n.Filters)
	}
	return s
}

func (n *Values) String() string { return fmt.Sprintf("Values %d rows", len(n.Rows)) }
func (n *Filter) String() string { return "Filter " + n.Cond.String() }
func (n *Watermark) String() string {
	return "Watermark " + n.Schema().Field(n.Col).Name + " of " + n.Source
}

func (n *Project) String() string {
	s := make([]string, len(n.Exprs))
	for i, e := range n.Exprs {
		s[i] = e.String() + " AS " + n.Out.Field(i).Name
	}
	return "Project " + strings.Join(s, ", ")
}

func (n *LateFilter) String() string {
	s := "LateFilter " + n.End.String()
	if n.Shift != 0 {
		s += " + " + micros(n.Shift)
	}
	return s
}

func (n *Window) String() string {
	s := [...]string{"Tumble", "Hop", "Cumulate"}[n.Kind] + " " + n.Time.String() + " size " + micros(n.Size)
	if n.Slide != 0 && n.Slide != n.Size {
		s += " slide " + micros(n.Slide)
	}
	if n.Offset != 0 {
		s += " offset " + micros(n.Offset)
	}
	return s
}

func (n *PartialAggregate) String() string {
	s := "PartialAggregate by [" + list(n.Keys) + "] [" + aggs(n.Aggs) + "]"
	if n.Signed {
		s += " signed"
	}
	return s
}

func (n *FinalAggregate) String() string {
	return fmt.Sprintf("FinalAggregate by %d keys [%s]", n.NKeys, aggs(n.Aggs))
}

func (n *CompleteAggregate) String() string {
	return "Aggregate by [" + list(n.Keys) + "] [" + aggs(n.Aggs) + "]"
}

func (n *StatefulAggregate) String() string {
	s := fmt.Sprintf("StatefulAggregate %s by %d keys [%s] %s", n.Operator, n.NKeys, aggs(n.Aggs), n.Mode)
	if n.EndKey >= 0 {
		s += fmt.Sprintf(" closes by key %d", n.EndKey)
		if n.EndShift != 0 {
			s += " + " + micros(n.EndShift)
		}
		s += byClock(n.Clock)
	}
	if n.Signed {
		s += " signed"
	}
	if n.Having != nil {
		s += " having " + n.Having.String()
	}
	return s
}

func byClock(is bool) string {
	if is {
		return " by the clock"
	}
	return ""
}

func (n *HashJoin) String() string {
	s := n.Kind.String() + "HashJoin"
	for i := range n.LeftKeys {
		op := " = "
		if n.NullSafe != nil && n.NullSafe[i] {
			op = " <=> "
		}
		sep := " AND "
		if i == 0 {
			sep = " on "
		}
		s += sep + n.LeftKeys[i].String() + op + n.RightKeys[i].String()
	}
	if n.Residual != nil {
		s += " where " + n.Residual.String()
	}
	if n.BuildLeft {
		s += " build left"
	} else {
		s += " build right"
	}
	if n.Keep != nil {
		names := make([]string, n.Out.NumFields())
		for i, f := range n.Out.Fields() {
			names[i] = f.Name
		}
		s += " keep [" + strings.Join(names, ", ") + "]"
	}
	return s
}

func (n *Analytic) String() string {
	calls := make([]string, len(n.Calls))
	for i, c := range n.Calls {
		calls[i] = c.String()
	}
	return "Analytic by [" + list(n.Partition) + "] order [" + expr.SortKeys(n.Order) + "] [" + strings.Join(calls, ", ") + "]"
}

func (n *Union) String() string { return "UnionAll" }
func (n *Sort) String() string  { return "Sort " + expr.SortKeys(n.Keys) }

func (n *TopN) String() string {
	return fmt.Sprintf("TopN %d offset %d by %s", n.Count, n.Offset, expr.SortKeys(n.Keys))
}

func (n *Limit) String() string { return fmt.Sprintf("Limit %d offset %d", n.Count, n.Offset) }

func (n *ExchangeRead) String() string { return fmt.Sprintf("ExchangeRead stage %d", n.Stage) }
