package parquet

import (
	"container/list"
	"encoding/binary"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/arrow/memory"
	apq "github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"

	"github.com/sluice-stream/sluice/formats"
)

// footerBytes bounds the footers that are kept, by their size in the file; parsed
// they take some times as much.
const footerBytes = 8 << 20

// footers keeps parsed and checked footers, so that the splits of a file, its
// statistics and the columns of a table need one reading together. A footer is that
// of a name, a size and a version; a file without a version is not kept.
type footers struct {
	mu struct {
		sync.Mutex
		byFile map[footerKey]*list.Element
		recent list.List // of *footer, the last used in front
		bytes  int64
	}
}

type footerKey struct {
	name          string
	size, version int64
}

// footer is what is shared between readers: nobody changes it.
type footer struct {
	key   footerKey
	bytes int64
	md    *metadata.FileMetaData
	root  []*node
}

// open is Open with a footer that may be known.
func (c *footers) open(f formats.File) (*File, error) {
	key := footerKey{f.Name, f.Size, f.Version}
	if f.Version == 0 {
		return Open(f)
	}
	if known := c.get(key); known != nil {
		fl, err := known.file(f)
		return fl, err
	}
	fl, err := Open(f)
	if err != nil {
		return nil, err
	}
	var tail [4]byte
	if _, err := f.ReadAt(tail[:], f.Size-8); err == nil {
		fl.r.MetaData().WriterVersion() // found at the first call, which is not to be one of several at once
		c.put(&footer{key: key, bytes: int64(binary.LittleEndian.Uint32(tail[:])), md: fl.r.MetaData(), root: fl.root})
	}
	return fl, nil
}

func (c *footers) get(key footerKey) *footer {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.mu.byFile[key]
	if at == nil {
		return nil
	}
	c.mu.recent.MoveToFront(at)
	return at.Value.(*footer)
}

func (c *footers) put(ft *footer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.byFile == nil {
		c.mu.byFile = map[footerKey]*list.Element{}
	}
	if c.mu.byFile[ft.key] != nil || ft.bytes > footerBytes {
		return
	}
	c.mu.byFile[ft.key] = c.mu.recent.PushFront(ft)
	for c.mu.bytes += ft.bytes; c.mu.bytes > footerBytes; {
		last := c.mu.recent.Remove(c.mu.recent.Back()).(*footer)
		delete(c.mu.byFile, last.key)
		c.mu.bytes -= last.bytes
	}
}

// file opens a file whose footer is known.
func (ft *footer) file(f formats.File) (_ *File, err error) {
	defer catch(&err, "open Parquet file %q", f.Name)
	r, err := file.NewParquetReader(io.NewSectionReader(f, 0, f.Size), file.WithReadProps(readProps(f)), file.WithMetadata(ft.md))
	if err != nil {
		return nil, err
	}
	return &File{name: f.Name, in: f, r: r, root: ft.root}, nil
}

func readProps(f formats.File) *apq.ReaderProperties {
	// Page buffers come from Go's allocator: after a recovered panic nobody
	// could release them, and their size is capped below.
	props := apq.NewReaderProperties(memory.DefaultAllocator)
	props.BufferedStreamEnabled = true
	props.BufferSize = readAhead
	props.MaxCompressedPageSize = f.Size
	props.MaxUncompressedPageSize = min(maxPagePlain, max(freePagePlain, f.Size*maxPageRatio))
	return props
}
