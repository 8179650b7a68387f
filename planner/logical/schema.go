package logical

import (
	"fmt"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
)

// Schema returns the columns read.
func (n *Scan) Schema() *arrow.Schema { return n.memo.get(n, n.schema) }

func (n *Scan) schema() *arrow.Schema {
	if n.Columns == nil {
		return n.Table.Schema
	}
	fields := make([]arrow.Field, len(n.Columns))
	for i, c := range n.Columns {
		fields[i] = n.Table.Schema.Field(c)
	}
	return arrow.NewSchema(fields, nil)
}

// Schema returns the declared columns.
func (n *Values) Schema() *arrow.Schema { return n.Out }

// Schema returns the input's columns.
func (n *Filter) Schema() *arrow.Schema { return n.Input.Schema() }

// Schema returns the computed columns.
func (n *Project) Schema() *arrow.Schema { return n.memo.get(n, n.schema) }

func (n *Project) schema() *arrow.Schema { return ExprSchema(n.Exprs, n.Names) }

// Schema returns the input's columns.
func (n *Watermark) Schema() *arrow.Schema { return n.Input.Schema() }

// Schema returns the input's columns and the window's three.
func (n *Window) Schema() *arrow.Schema { return n.memo.get(n, n.schema) }

func (n *Window) schema() *arrow.Schema { return WindowSchema(n.Input.Schema(), n.Time.Type()) }

// WindowSchema adds the columns of a window over a column of type t.
func WindowSchema(input *arrow.Schema, t arrow.DataType) *arrow.Schema {
	fields := append([]arrow.Field{}, input.Fields()...)
	for _, name := range []string{"window_start", "window_end", "window_time"} {
		fields = append(fields, arrow.Field{Name: name, Type: t})
	}
	return arrow.NewSchema(fields, nil)
}

// Schema returns the keys, then the aggregates.
func (n *Aggregate) Schema() *arrow.Schema { return n.memo.get(n, n.schema) }

func (n *Aggregate) schema() *arrow.Schema {
	fields := make([]arrow.Field, 0, len(n.Keys)+len(n.Aggs))
	for i, k := range n.Keys {
		fields = append(fields, arrow.Field{Name: n.Names[i], Type: k.Type(), Nullable: k.Nullable()})
	}
	for _, a := range n.Aggs {
		fields = append(fields, arrow.Field{Name: a.Name, Type: a.Type(), Nullable: a.Null})
	}
	return arrow.NewSchema(fields, nil)
}

// Schema returns the input's columns, then the calls'.
func (n *Analytic) Schema() *arrow.Schema { return n.memo.get(n, n.schema) }

func (n *Analytic) schema() *arrow.Schema {
	fields := append([]arrow.Field{}, n.Input.Schema().Fields()...)
	for _, c := range n.Calls {
		fields = append(fields, arrow.Field{Name: c.Name, Type: c.DT, Nullable: c.Null})
	}
	return arrow.NewSchema(fields, nil)
}

// Schema returns Left's columns and, unless it is a semi or anti join, Right's.
func (n *Join) Schema() *arrow.Schema { return n.memo.get(n, n.schema) }

func (n *Join) schema() *arrow.Schema {
	fields := append([]arrow.Field{}, n.Left.Schema().Fields()...)
	if n.Kind == RightOuter || n.Kind == FullOuter {
		for i := range fields {
			fields[i].Nullable = true
		}
	}
	if n.Kind == LeftSemi || n.Kind == LeftAnti {
		return arrow.NewSchema(fields, nil)
	}
	for _, f := range n.Right.Schema().Fields() {
		f.Nullable = f.Nullable || n.Kind == LeftOuter || n.Kind == FullOuter
		fields = append(fields, f)
	}
	return arrow.NewSchema(fields, nil)
}

// Schema returns the first input's names; a column is nullable if it is in any input.
func (n *Union) Schema() *arrow.Schema { return n.memo.get(n, n.schema) }

func (n *Union) schema() *arrow.Schema {
	fields := append([]arrow.Field{}, n.In[0].Schema().Fields()...)
	for _, in := range n.In[1:] {
		for i, f := range in.Schema().Fields() {
			fields[i].Nullable = fields[i].Nullable || f.Nullable
		}
	}
	return arrow.NewSchema(fields, nil)
}

// Schema returns the input's columns.
func (n *Distinct) Schema() *arrow.Schema { return n.Input.Schema() }

// Schema returns the input's columns.
func (n *Sort) Schema() *arrow.Schema { return n.Input.Schema() }

// Schema returns the input's columns.
func (n *Limit) Schema() *arrow.Schema { return n.Input.Schema() }

// ExprSchema returns the schema of computed columns.
func ExprSchema(es []expr.Expr, names []string) *arrow.Schema {
	fields := make([]arrow.Field, len(es))
	for i, e := range es {
		fields[i] = arrow.Field{Name: names[i], Type: e.Type(), Nullable: e.Nullable()}
	}
	return arrow.NewSchema(fields, nil)
}

// Inputs and WithInputs, a pair for each node.

func (n *Scan) Inputs() []Node      { return nil }
func (n *Values) Inputs() []Node    { return nil }
func (n *Filter) Inputs() []Node    { return []Node{n.Input} }
func (n *Project) Inputs() []Node   { return []Node{n.Input} }
func (n *Watermark) Inputs() []Node { return []Node{n.Input} }
func (n *Window) Inputs() []Node    { return []Node{n.Input} }
func (n *Aggregate) Inputs() []Node { return []Node{n.Input} }
func (n *Analytic) Inputs() []Node  { return []Node{n.Input} }
func (n *Join) Inputs() []Node      { return []Node{n.Left, n.Right} }
func (n *Union) Inputs() []Node     { return n.In }
func (n *Distinct) Inputs() []Node  { return []Node{n.Input} }
func (n *Sort) Inputs() []Node      { return []Node{n.Input} }
func (n *Limit) Inputs() []Node     { return []Node{n.Input} }

func (n *Scan) WithInputs([]Node) Node        { return n }
func (n *Values) WithInputs([]Node) Node      { return n }
func (n *Filter) WithInputs(in []Node) Node   { c := *n; c.Input = in[0]; return &c }
func (n *Project) WithInputs(in []Node) Node  { c := *n; c.Input = in[0]; return &c }
func (n *Window) WithInputs(in []Node) Node   { c := *n; c.Input = in[0]; return &c }
func (n *Distinct) WithInputs(in []Node) Node { c := *n; c.Input = in[0]; return &c }
func (n *Sort) WithInputs(in []Node) Node     { c := *n; c.Input = in[0]; return &c }
func (n *Limit) WithInputs(in []Node) Node    { c := *n; c.Input = in[0]; return &c }
func (n *Union) WithInputs(in []Node) Node    { return &Union{In: in} }

func (n *Watermark) WithInputs(in []Node) Node { c := *n; c.Input = in[0]; return &c }
func (n *Aggregate) WithInputs(in []Node) Node { c := *n; c.Input = in[0]; return &c }
func (n *Analytic) WithInputs(in []Node) Node  { c := *n; c.Input = in[0]; return &c }

func (n *Join) WithInputs(in []Node) Node {
	c := *n
	c.Left, c.Right = in[0], in[1]
	return &c
}

func (n *Scan) String() string {
	s := "Scan " + n.Table.Name
	if n.Table.Stream {
		s += " stream"
	}
	names := make([]string, 0, n.Schema().NumFields())
	for _, f := range n.Schema().Fields() {
		names = append(names, f.Name)
	}
	s += " [" + strings.Join(names, ", ") + "]"
	if len(n.Filters) > 0 {
		s += " skip where " + exprs(n.Filters, " AND ")
	}
	return s
}

func (n *Values) String() string { return fmt.Sprintf("Values %d rows", len(n.Rows)) }
func (n *Filter) String() string { return "Filter " + n.Cond.String() }

func (n *Project) String() string {
	parts := make([]string, len(n.Exprs))
	for i, e := range n.Exprs {
		parts[i] = e.String()
		if c, ok := e.(*expr.Column); !ok || c.Name != n.Names[i] {
			parts[i] += " AS " + n.Names[i]
		}
	}
	return "Project " + strings.Join(parts, ", ")
}

func (n *Watermark) String() string {
	return fmt.Sprintf("Watermark %s - %s", n.Schema().Field(n.Col).Name, n.Delay)
}

func (n *Window) String() string {
	if n.Kind == Session {
		s := "Session " + n.Time.String() + " to " + n.End.String()
		if len(n.Partition) > 0 {
			s += " by [" + exprs(n.Partition, ", ") + "]"
		}
		return s
	}
	s := [...]string{"Tumble", "Hop", "Cumulate"}[n.Kind] + " " + n.Time.String() + " size " + n.Size.String()
	if n.Kind != Tumble {
		s += " slide " + n.Slide.String()
	}
	if n.Offset != 0 {
		s += " offset " + n.Offset.String()
	}
	return s
}

func (n *Aggregate) String() string {
	aggs := make([]string, len(n.Aggs))
	for i, a := range n.Aggs {
		aggs[i] = a.String() + " AS " + a.Name
	}
	return "Aggregate by [" + exprs(n.Keys, ", ") + "] [" + strings.Join(aggs, ", ") + "]"
}

func (n *Analytic) String() string {
	calls := make([]string, len(n.Calls))
	for i, c := range n.Calls {
		calls[i] = c.String() + " AS " + c.Name
	}
	return "Analytic by [" + exprs(n.Partition, ", ") + "] order [" + expr.SortKeys(n.Order) + "] [" + strings.Join(calls, ", ") + "]"
}

// String names the kind as SQL does.
func (k JoinKind) String() string {
	return [...]string{"Inner", "Left", "Right", "Full", "LeftSemi", "LeftAnti", "Cross"}[k]
}

func (n *Join) String() string {
	s := n.Kind.String() + "Join"
	for i := range n.LeftKeys {
		if i == 0 {
			s += " on "
		} else {
			s += " AND "
		}
		op := " = "
		if n.NullSafe != nil && n.NullSafe[i] {
			op = " <=> "
		}
		s += n.LeftKeys[i].String() + op + n.RightKeys[i].String()
	}
	if n.Residual != nil {
		s += " where " + n.Residual.String()
	}
	return s
}

func (n *Union) String() string    { return "UnionAll" }
func (n *Distinct) String() string { return "Distinct" }
func (n *Sort) String() string     { return "Sort " + expr.SortKeys(n.Keys) }

func (n *Limit) String() string {
	s := "Limit"
	if n.Count >= 0 {
		s += fmt.Sprintf(" %d", n.Count)
	}
	if n.Offset > 0 {
		s += fmt.Sprintf(" offset %d", n.Offset)
	}
	return s
}

func exprs(es []expr.Expr, sep string) string {
	parts := make([]string, len(es))
	for i, e := range es {
		parts[i] = e.String()
	}
	return strings.Join(parts, sep)
}
