package formats

import (
	"compress/bzip2"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/sluice-stream/sluice/batch"
)

// Caps on what a compressed text file may become. A file that is 500 times
// its size in plain is taken for a bomb, unless what comes out is small.
const (
	maxRatio      = 500
	freePlain     = 64 << 20 // plain bytes below which the ratio is not looked at
	maxPlainBytes = 1 << 40
	maxWindow     = 128 << 20 // zstd window, the memory that a frame may ask for
)

// Compression is how a text file is packed as a whole.
type Compression string

// The compressions of text files.
const (
	NoCompression Compression = "none"
	Gzip          Compression = "gzip"
	Zstd          Compression = "zstd"
	Snappy        Compression = "snappy"
	Bzip2         Compression = "bzip2"
	LZ4           Compression = "lz4"
)

// Compressions are those that can be written.
var Compressions = []string{"none", "gzip", "zstd", "snappy", "lz4"}

// CompressionOf tells the compression from a file's name.
func CompressionOf(name string) Compression {
	n := strings.ToLower(name)
	for _, c := range []Compression{Gzip, Zstd, Snappy, Bzip2, LZ4} {
		if strings.HasSuffix(n, c.Extension()) {
			return c
		}
	}
	switch {
	case strings.HasSuffix(n, ".sz"):
		return Snappy
	case strings.HasSuffix(n, ".zstd"):
		return Zstd
	case strings.HasSuffix(n, ".gzip"):
		return Gzip
	}
	return NoCompression
}

// Extension returns what the compression adds to a name.
func (c Compression) Extension() string {
	switch c {
	case Gzip:
		return ".gz"
	case Zstd:
		return ".zst"
	case Snappy:
		return ".snappy"
	case Bzip2:
		return ".bz2"
	case LZ4:
		return ".lz4"
	default:
		return ""
	}
}

// Decompress returns the plain bytes of a whole file, capped. For a file that
// is not compressed it reads [from, to).
func Decompress(f File, from, to int64) (io.ReadCloser, error) {
	c := CompressionOf(f.Name)
	if c == NoCompression {
		return io.NopCloser(io.NewSectionReader(f, from, to-from)), nil
	}
	packed := io.NewSectionReader(f, 0, f.Size)
	var plain io.ReadCloser
	switch c {
	case Gzip:
		z, err := gzip.NewReader(packed)
		if err != nil {
			return nil, batch.UserErrorf("open gzip file %q: %w", f.Name, err)
		}
		plain = z
	case Zstd:
		// One decoder goroutine at most: concurrency 1 decodes in the caller.
		z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, batch.UserErrorf("open zstd file %q: %w", f.Name, err)
		}
		plain = z.IOReadCloser()
	case Bzip2:
		plain = io.NopCloser(bzip2.NewReader(packed))
	case LZ4:
		plain = io.NopCloser(lz4.NewReader(packed))
	default:
		plain = io.NopCloser(s2.NewReader(packed, s2.ReaderMaxBlockSize(4<<20)))
	}
	return &capped{in: plain, name: f.Name, limit: min(maxPlainBytes, max(freePlain, f.Size*maxRatio))}, nil
}

type capped struct {
	in    io.ReadCloser
	name  string
	limit int64
	n     int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if c.n += int64(n); c.n > c.limit {
		return 0, batch.UserErrorf("file %q unpacks to more than %d bytes, %d times its size: refused as a decompression bomb", c.name, c.limit, maxRatio)
	}
	if err != nil && err != io.EOF {
		err = batch.UserErrorf("unpack file %q after %d plain bytes: %w", c.name, c.n, err)
	}
	return n, err
}

func (c *capped) Close() error { return c.in.Close() }

// Compress wraps w. Closing the result ends the compressed stream and leaves w open.
func Compress(c Compression, w io.Writer) (io.WriteCloser, error) {
	switch c {
	case Gzip:
		return gzip.NewWriter(w), nil
	case Zstd:
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("start a zstd stream: %w", err)
		}
		return z, nil
	case LZ4:
		z := lz4.NewWriter(w)
		if err := z.Apply(lz4.ConcurrencyOption(1)); err != nil {
			return nil, fmt.Errorf("start an lz4 stream: %w", err)
		}
		return z, nil
	case Snappy:
		return s2.NewWriter(w, s2.WriterSnappyCompat(), s2.WriterConcurrency(1)), nil
	default:
		return nopWriteCloser{w}, nil
	}
}

type nopWriteCloser struct{ io.Writer }

func (nopWriteCloser) Close() error { return nil }
