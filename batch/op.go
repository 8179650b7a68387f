package batch

// Op is the kind of change of an output row. A result that is not append-only
// carries it in a trailing column named OpColumn (int8).
type Op int8

// The kinds of change, in changelog order.
const (
	Insert       Op = iota // +I
	UpdateBefore           // -U
	UpdateAfter            // +U
	Delete                 // -D
)

// OpColumn is the name of the change column.
const OpColumn = "__op"

// String prints the change as Flink does.
func (o Op) String() string { return [...]string{"+I", "-U", "+U", "-D"}[o&3] }
