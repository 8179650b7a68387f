package physical

import "github.com/apache/arrow-go/v18/arrow"

// LateRows says where rows go to that come too late for an operator. Like a
// quarantine it is no part of the plan's text or key.
type LateRows struct {
	Sink    string
	Schema  *arrow.Schema // of the sink's rows
	Columns []LateColumn  // what each of its columns takes
}

// LateColumn is a fact about a late row, or the row's own column of a name.
type LateColumn struct {
	Fact int    // of LateSchema, -1 for a column of the row
	Name string // of the row's column
}

// The facts about a late row that its table may have columns for.
const (
	LateAt = iota // now() of the batch
	LateQuery
	LateBatch
	LateOperator
	LateWatermark // that judged it
	LateEnd       // what was judged: a window's end or a time, NULL for a row without
	LateChange    // its kind of change
	LateRow       // the whole row, as JSON
)

// LateSchema has every fact about a late row.
var LateSchema = arrow.NewSchema([]arrow.Field{
	{Name: "late_at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
	{Name: "late_query", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "late_batch", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "late_operator", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "late_watermark", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
	{Name: "late_end", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
	{Name: "late_change", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "late_row", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// LateInputs are the rows of each operator that judges whether rows are late, in
// the order of the plan.
func (p *Plan) LateInputs() []*arrow.Schema {
	var out []*arrow.Schema
	var walk func(n Node)
	walk = func(n Node) {
		for _, in := range n.Inputs() {
			walk(in)
		}
		switch n := n.(type) {
		case *LateFilter:
			out = append(out, n.Input.Schema())
		case *StatefulMatch:
			out = append(out, n.Input.Schema())
		case *Process:
			if len(n.Times) > 0 {
				out = append(out, n.Out)
			}
		}
	}
	for _, s := range p.Stages {
		walk(s.Root)
	}
	return out
}
