package batch

// Changes says what the rows of a source tell of its table.
type Changes int

// The kinds of sources. The rows of all but the first carry a kind of change behind
// their columns, in a column named OpColumn.
const (
	OnlyGrows Changes = iota // each row is a row of the table, for ever
	Retracts                 // a row is added or taken back, and what is taken back is given whole
	Upserts                  // the last row of a key is the table's, until it is deleted; of a deleted one the key is given
)

// String names the kind as the option 'changelog' does.
func (c Changes) String() string { return [...]string{"none", "retract", "upsert"}[c%3] }
