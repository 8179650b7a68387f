package wire

import (
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/grpc/peer"
)

// Compression is how rows are packed on their way: "none" or "" for not, "lz4" or "zstd".
// Who reads them need not be told.
type Compression string

// The ways of packing rows.
const (
	None Compression = "none"
	LZ4  Compression = "lz4"
	ZSTD Compression = "zstd"
)

func (c Compression) validate() error {
	switch c {
	case "", None, LZ4, ZSTD:
		return nil
	}
	return fmt.Errorf("rows cannot be packed by %q: want none, lz4 or zstd", string(c))
}

// options are those of Arrow's writer.
func (c Compression) options() []ipc.Option {
	switch c {
	case LZ4:
		return []ipc.Option{ipc.WithLZ4()}
	case ZSTD:
		return []ipc.Option{ipc.WithZstd()}
	case None:
	}
	return nil
}

// packing is how rows go to the reader of a stream.
func (o *Options) packing(stream context.Context) Compression {
	if !o.PackLocal {
		if p, ok := peer.FromContext(stream); ok && local(p.Addr) {
			return None
		}
	}
	return o.Compression
}
