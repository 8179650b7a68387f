package parquet

import (
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/schema"
)

// RowGroup is what the footer says of a row group, for pruning.
type RowGroup struct {
	Rows    int64
	Bytes   int64
	Columns map[string]ColumnStats // top-level columns that are not nested, by name; absent: nothing known
}

// ColumnStats bounds a column's values in one row group. Min and Max are
// bounds, not always values; they are nil if unknown, else int64 (integers,
// days of a date, microseconds of a timestamp), float64 or string (also
// binary). Bounds of floats leave NaN out of account.
type ColumnStats struct {
	Nulls int64 // -1 if unknown
	Min   any
	Max   any
}

// RowGroups returns the statistics of the row groups.
func (f *File) RowGroups() (out []RowGroup, err error) {
	defer catch(&err, "read the statistics of Parquet file %q", f.name)
	for g := range f.r.NumRowGroups() {
		md := f.r.MetaData().RowGroup(g)
		rg := RowGroup{Rows: md.NumRows(), Bytes: md.TotalByteSize(), Columns: map[string]ColumnStats{}}
		for _, n := range f.root {
			if n.shape != leafNode {
				continue
			}
			cc, err := md.ColumnChunk(n.column)
			if err != nil {
				return nil, err
			}
			// Statistics that cannot be read prune nothing.
			if st, err := cc.Statistics(); err == nil && st != nil {
				rg.Columns[n.name] = statsOf(n, st)
			}
		}
		out = append(out, rg)
	}
	return out, nil
}

func statsOf(n *node, st metadata.TypedStatistics) ColumnStats {
	s := ColumnStats{Nulls: -1}
	if st.HasNullCount() {
		s.Nulls = st.NullCount()
	}
	if !st.HasMinMax() {
		return s
	}
	switch st := st.(type) {
	case *metadata.Int32Statistics:
		if lt, ok := n.prim.LogicalType().(schema.IntLogicalType); ok && !lt.IsSigned() {
			s.Min, s.Max = int64(uint32(st.Min())), int64(uint32(st.Max()))
			break
		}
		if _, ok := n.prim.LogicalType().(schema.DecimalLogicalType); !ok {
			s.Min, s.Max = int64(st.Min()), int64(st.Max())
		}
	case *metadata.Int64Statistics:
		s.Min, s.Max = int64Bounds(n, st.Min(), st.Max())
	case *metadata.Float32Statistics:
		s.Min, s.Max = float64(st.Min()), float64(st.Max())
	case *metadata.Float64Statistics:
		s.Min, s.Max = st.Min(), st.Max()
	case *metadata.ByteArrayStatistics:
		if _, ok := n.prim.LogicalType().(schema.DecimalLogicalType); !ok {
			s.Min, s.Max = string(st.Min()), string(st.Max())
		}
	}
	return s
}

func int64Bounds(n *node, lo, hi int64) (any, any) {
	switch lt := n.prim.LogicalType().(type) {
	case schema.DecimalLogicalType:
		return nil, nil
	case schema.IntLogicalType:
		if !lt.IsSigned() {
			return nil, nil
		}
	case schema.TimestampLogicalType:
		v := []int64{lo, hi}
		switch lt.TimeUnit() {
		case schema.TimeUnitMillis:
			if millisToMicros(v, v) != nil {
				return nil, nil
			}
		case schema.TimeUnitNanos:
			_ = nanosToMicros(v, v) // cannot fail
		}
		return v[0], v[1]
	}
	return lo, hi
}
