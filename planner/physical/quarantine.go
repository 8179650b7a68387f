package physical

import "github.com/apache/arrow-go/v18/arrow"

// Quarantine says what becomes of the rows of one source that cannot be decoded,
// or of rows that cannot be computed.
type Quarantine struct {
	Source  string        // "" for rows that cannot be computed
	Table   string        // of the source, for the column "source"; "" for rows that cannot be computed
	Sink    string        // of the plan: takes the rows with the batch
	Columns []int         // of QuarantineSchema, that the sink's table has
	Schema  *arrow.Schema // of these under the table's own names
}

// QuarantineOf returns what is to be done with bad rows of a source.
func (p *Plan) QuarantineOf(source string) (Quarantine, bool) {
	for _, q := range p.Quarantines {
		if q.Source == source {
			return q, true
		}
	}
	return Quarantine{}, false
}

// OwnSinks are the names of the sinks that take bad or late rows and not results.
func (p *Plan) OwnSinks() map[string]bool {
	if len(p.Quarantines) == 0 && p.Late == nil {
		return nil
	}
	out := map[string]bool{}
	for _, q := range p.Quarantines {
		out[q.Sink] = true
	}
	if p.Late != nil {
		out[p.Late.Sink] = true
	}
	return out
}

// The columns of a quarantine table, in order.
const (
	BadID = iota
	BadAt
	BadQuery
	BadBatch
	BadSource
	BadFile
	BadLine
	BadOffset
	BadReason
	BadRaw
)

// QuarantineSchema has every column of a quarantine table.
var QuarantineSchema = arrow.NewSchema([]arrow.Field{
	{Name: "row_id", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "quarantined_at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, Nullable: true},
	{Name: "query", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "batch_id", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "source", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "file", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "line", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "position", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
	{Name: "reason", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "raw", Type: arrow.BinaryTypes.Binary, Nullable: true},
}, nil)
