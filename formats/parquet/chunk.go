package parquet

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"

	"github.com/sluice-stream/sluice/formats"
)

// windowBytes is how much of a column chunk is read at once. Most chunks of
// analytical files are smaller: they cost one call of the system.
// A reader that jumps over pages begins with less behind each jump, and reads twice
// as much each time that it goes on.
const (
	windowBytes = 1 << 20
	jumpBytes   = 64 << 10
)

// chunk reads the pages of one column chunk, one header after the other. A
// page's bytes are only read and unpacked when they are asked for.
type chunk struct {
	f       formats.File
	at, end int64 // the page in hand, or the next one
	codec   compress.Compression
	window  []byte // bytes of the file from from on
	from    int64
	head    pageHeader
	body    int64 // where the page in hand has its bytes
	limit   int64 // of a page unpacked
	ahead   int64 // how much is read at once
}

func (c *chunk) open(f formats.File, md *metadata.ColumnChunkMetaData) {
	c.f, c.codec, c.window = f, md.Compression(), c.window[:0]
	c.at, c.end = chunkRange(f, md)
	c.ahead = windowBytes
	c.limit = min(maxPagePlain, max(freePagePlain, f.Size*maxPageRatio))
}

// bytes returns n bytes of the file, which lie before the chunk's end.
func (c *chunk) bytes(at, n int64) ([]byte, error) {
	if at >= c.from && at+n <= c.from+int64(len(c.window)) {
		return c.window[at-c.from : at-c.from+n], nil
	}
	size := max(n, min(c.ahead, c.end-at))
	c.ahead = min(2*c.ahead, windowBytes)
	if int64(cap(c.window)) < size {
		putBuffer(c.window)
		c.window = getBuffer(int(size))
	}
	c.window, c.from = c.window[:size], at
	if _, err := c.f.ReadAt(c.window, at); err != nil {
		c.window = c.window[:0]
		return nil, fmt.Errorf("read %d bytes at byte %d: %w", size, at, err)
	}
	return c.window[:n], nil
}

// next reads the next page's header; false is the chunk's end.
func (c *chunk) next() (bool, error) {
	for c.at < c.end {
		if err := c.header(); err != nil {
			return false, err
		}
		switch c.head.kind {
		case dataPage, dictionaryPage, dataPageV2:
			return true, nil
		}
		// Pages of other kinds hold indexes: readers are to step over them.
	}
	return false, nil
}

func (c *chunk) header() error {
	for size := int64(64); ; size *= 4 {
		buf, err := c.bytes(c.at, min(size, c.end-c.at))
		if err != nil {
			return err
		}
		w := thriftWalk{b: buf}
		if c.head, err = w.pageHeader(); err == nil {
			c.body = c.at + int64(len(buf)-len(w.b))
			break
		}
		if int64(len(buf)) < size || size > maxPageHeader {
			return fmt.Errorf("page header at byte %d: it cannot be read", c.at)
		}
	}
	if err := c.head.check(c.at, c.end-c.body); err != nil {
		return err
	}
	if c.head.plain > c.limit {
		return fmt.Errorf("page at byte %d declares %d bytes unpacked, more than %d for a file of %d", c.at, c.head.plain, c.limit, c.f.Size)
	}
	c.at = c.body + c.head.packed
	return nil
}

// jump goes on with the page that begins at a place behind the one in hand.
func (c *chunk) jump(at int64) {
	if at > c.from+int64(len(c.window)) {
		c.ahead = jumpBytes
	}
	c.at = at
}

// load returns the page in hand, unpacked, in a buffer of its own.
func (c *chunk) load() ([]byte, error) {
	raw, err := c.bytes(c.body, c.head.packed)
	if err != nil {
		return nil, err
	}
	if c.head.hasCRC && crc32.ChecksumIEEE(raw) != c.head.crc {
		return nil, fmt.Errorf("the page at byte %d is damaged: its checksum is not that of its header", c.body)
	}
	// Padded, so that short strings can be copied by words.
	page := getBuffer(int(c.head.plain) + copyPad)[:c.head.plain]
	levels := c.head.defBytes + c.head.repBytes
	copy(page, raw[:levels])
	if err := unpackPage(c.codec, c.head.loose, page[levels:], raw[levels:]); err != nil {
		putBuffer(page)
		return nil, fmt.Errorf("unpack the page at byte %d (%s): %w", c.body, c.codec, err)
	}
	return page, nil
}

func (c *chunk) close() {
	putBuffer(c.window)
	c.window = nil
}

var errUnpacked = errors.New("it does not have the size that its header declares")

// unpackPage fills dst from src.
func unpackPage(codec compress.Compression, loose bool, dst, src []byte) error {
	if codec == compress.Codecs.Uncompressed || loose {
		if len(src) != len(dst) {
			return errUnpacked
		}
		copy(dst, src)
		return nil
	}
	if len(dst) == 0 && len(src) == 0 {
		return nil // a page of NULLs
	}
	switch codec {
	case compress.Codecs.Snappy:
		if n, err := snappy.DecodedLen(src); err != nil || n != len(dst) {
			return errors.Join(errUnpacked, err)
		}
		_, err := snappy.Decode(dst, src)
		return err
	case compress.Codecs.Zstd:
		z, err := zstdDecoder()
		if err != nil {
			return err
		}
		out, err := z.DecodeAll(src, dst[:0:len(dst)])
		if err == nil && len(out) != len(dst) {
			err = errUnpacked
		}
		return err
	case compress.Codecs.Gzip:
		z, err := gzip.NewReader(bytes.NewReader(src))
		if err != nil {
			return err
		}
		return fill(dst, z)
	}
	other, err := compress.GetCodec(codec)
	if err != nil {
		return err
	}
	if s, ok := other.(compress.StreamingCodec); ok {
		r := s.NewReader(bytes.NewReader(src))
		defer func() { _ = r.Close() }() // it only read
		return fill(dst, r)
	}
	if out := other.Decode(dst, src); len(out) != len(dst) { // a panic is caught by whoever asked for the batch
		return errUnpacked
	}
	return nil
}

// fill reads exactly dst.
func fill(dst []byte, r io.Reader) error {
	if _, err := io.ReadFull(r, dst); err != nil {
		return err
	}
	var more [1]byte
	if n, err := io.ReadFull(r, more[:]); n != 0 || err != io.EOF {
		return errors.Join(errUnpacked, err)
	}
	return nil
}

// zstdDecoder is shared: it decodes whole pages in the goroutines of its callers.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxPagePlain), zstd.WithDecoderMaxWindow(maxPagePlain))
})

// copyPad is how far behind a string its bytes may be read and written.
const copyPad = 16

// buffers keeps pages and windows for the next reader: they are large, and Go
// would clear each new one. maxPooled bounds what one may hold on to.
var buffers sync.Pool

const (
	minPooled = 64 << 10
	maxPooled = 8 << 20
)

func getBuffer(n int) []byte {
	if p, ok := buffers.Get().(*[]byte); ok {
		if cap(*p) >= n {
			return (*p)[:n]
		}
	}
	size := max(n, minPooled)
	if n <= maxPooled {
		for size = minPooled; size < n; size *= 2 {
		}
	}
	return make([]byte, size)[:n]
}

func putBuffer(b []byte) {
	if cap(b) >= minPooled && cap(b) <= maxPooled {
		b = b[:0]
		buffers.Put(&b)
	}
}
