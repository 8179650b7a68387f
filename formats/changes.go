package formats

import (
	"errors"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
)

// Changes says how the rows of a format can carry a kind of change.
type Changes int

// The ways to carry it.
const (
	NoChanges Changes = iota
	OpColumn          // in a column that the table's options name: see OpField
	Envelope          // each record is one, whatever the options say: ReadSpec.Schema ends with batch.OpColumn
)

// opMark in a field's metadata tells a reader that its texts are kinds of change.
const opMark = "sluice.op"

// OpField is a column of a file whose texts are kinds of change. It is read as
// batch.Op in an int8.
func OpField(name string) arrow.Field {
	return arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int8, Nullable: true, Metadata: arrow.NewMetadata([]string{opMark}, []string{"1"})}
}

// IsOp reports whether a field is one that OpField has made.
func IsOp(f arrow.Field) bool { return f.HasMetadata() && f.Metadata.FindKey(opMark) >= 0 }

var errOp = errors.New("want a kind of change: +I, -U, +U or -D; I, U or D; c, r, u or d; insert, update or delete")

// ParseOp reads a kind of change as the systems that write changelogs spell it.
func ParseOp(v []byte) (batch.Op, error) {
	switch string(v) {
	case "+I", "I", "i", "c", "r", "insert", "INSERT":
		return batch.Insert, nil
	case "-U":
		return batch.UpdateBefore, nil
	case "+U", "U", "u", "update", "UPDATE":
		return batch.UpdateAfter, nil
	case "-D", "D", "d", "delete", "DELETE":
		return batch.Delete, nil
	}
	return 0, errOp
}

// OpAppender appends what ParseOp reads.
func OpAppender(b *array.Int8Builder) func(v []byte) error {
	return func(v []byte) error {
		op, err := ParseOp(v)
		if err == nil {
			b.Append(int8(op))
		}
		return err
	}
}
