package formats

import (
	"github.com/apache/arrow-go/v18/arrow"
)

// MergeType returns the narrowest type that holds the values of both, or
// string if there is no other. Null is the type of a column that had no value.
func MergeType(a, b arrow.DataType) arrow.DataType {
	switch {
	case arrow.TypeEqual(a, b):
		return a
	case a.ID() == arrow.NULL:
		return b
	case b.ID() == arrow.NULL:
		return a
	}
	if ra, rb := numericRank(a), numericRank(b); ra > 0 && rb > 0 {
		if ra > rb {
			return a
		}
		return b
	}
	if a.ID() == arrow.DATE32 && b.ID() == arrow.TIMESTAMP {
		return b
	}
	if b.ID() == arrow.DATE32 && a.ID() == arrow.TIMESTAMP {
		return a
	}
	la, oka := a.(*arrow.ListType)
	lb, okb := b.(*arrow.ListType)
	if oka && okb {
		return arrow.ListOf(MergeType(la.Elem(), lb.Elem()))
	}
	sa, oka := a.(*arrow.StructType)
	sb, okb := b.(*arrow.StructType)
	if oka && okb {
		return arrow.StructOf(MergeFields(sa.Fields(), sb.Fields())...)
	}
	return arrow.BinaryTypes.String
}

func numericRank(t arrow.DataType) int {
	switch t.ID() {
	case arrow.INT32:
		return 1
	case arrow.INT64:
		return 2
	case arrow.FLOAT64:
		return 3
	}
	return 0
}

// MergeFields merges two lists of fields by name, in the order of first sight.
func MergeFields(a, b []arrow.Field) []arrow.Field {
	out := make([]arrow.Field, len(a), len(a)+len(b))
	copy(out, a)
	at := make(map[string]int, len(a))
	for i, f := range a {
		at[f.Name] = i
	}
	for _, f := range b {
		if i, ok := at[f.Name]; ok {
			out[i].Type = MergeType(out[i].Type, f.Type)
			continue
		}
		at[f.Name] = len(out)
		out = append(out, f)
	}
	return out
}

// Settle replaces the types of columns that never had a value by string.
func Settle(t arrow.DataType) arrow.DataType {
	switch t := t.(type) {
	case *arrow.NullType:
		return arrow.BinaryTypes.String
	case *arrow.ListType:
		return arrow.ListOf(Settle(t.Elem()))
	case *arrow.StructType:
		fields := make([]arrow.Field, t.NumFields())
		for i, f := range t.Fields() {
			fields[i] = arrow.Field{Name: f.Name, Type: Settle(f.Type), Nullable: true}
		}
		return arrow.StructOf(fields...)
	}
	return t
}
