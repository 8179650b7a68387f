package parquet

import (
	"fmt"

	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
)

// emptyReader stands for a leaf's column chunk when only the types are of
// interest. It is never read from.
func emptyReader(n *node) (file.ColumnChunkReader, error) {
	switch t := n.prim.PhysicalType(); t {
	case apq.Types.Boolean:
		return &file.BooleanColumnChunkReader{}, nil
	case apq.Types.Int32:
		return &file.Int32ColumnChunkReader{}, nil
	case apq.Types.Int64:
		return &file.Int64ColumnChunkReader{}, nil
	case apq.Types.Int96:
		return &file.Int96ColumnChunkReader{}, nil
	case apq.Types.Float:
		return &file.Float32ColumnChunkReader{}, nil
	case apq.Types.Double:
		return &file.Float64ColumnChunkReader{}, nil
	case apq.Types.ByteArray:
		return &file.ByteArrayColumnChunkReader{}, nil
	case apq.Types.FixedLenByteArray:
		return &file.FixedLenByteArrayColumnChunkReader{}, nil
	default:
		return nil, fmt.Errorf("type %s is not supported", t)
	}
}
