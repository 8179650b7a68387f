package run

import (
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// What a table is written with is part of the format: a change needs a new tail
// version, or a reader that knows both.
const (
	tableFormat = sstable.TableFormatPebblev6
	filterBits  = 10 // a key; one lookup in a hundred of a key that is not there reads a block

	// A lookup reads and unpacks one block, a scan many: a small block for the
	// former costs the latter little.
	blockBytes = 4 << 10
	indexBytes = 16 << 10
)

// Summary is what names a file in a manifest.
type Summary struct {
	Bytes int64
	Sum   uint64 // xxh64 of the whole file
}

// Writer writes a file front to back.
type Writer struct {
	info Info
	out  output
	w    *sstable.Writer
}

// output sums before it writes, because a file may scribble over its argument.
type output struct {
	w     io.Writer
	sum   *xxhash.Digest
	bytes int64
}

var _ objstorage.Writable = (*output)(nil)

func (o *output) Write(p []byte) error {
	_, _ = o.sum.Write(p) // a hash never fails to write
	n, err := o.w.Write(p)
	o.bytes += int64(n)
	return err
}

// Finish leaves it to the owner of the file to make it durable: the tail follows.
func (o *output) Finish() error { return nil }
func (o *output) Abort()        {}

// NewWriter starts a file. Of info the shard, the version and the ID are used.
func NewWriter(w io.Writer, info Info) *Writer {
	r := &Writer{info: Info{Shard: info.Shard, Version: info.Version, ID: info.ID}, out: output{w: w, sum: xxhash.New()}}
	r.w = sstable.NewWriter(&r.out, sstable.WriterOptions{
		BlockSize: blockBytes, IndexBlockSize: indexBytes, TableFormat: tableFormat,
		FilterPolicy: bloom.FilterPolicy(filterBits), Compression: sstable.SnappyCompression,
	})
	return r
}

// Add writes a row; keys come in strictly rising order.
func (w *Writer) Add(key, value []byte, deleted bool) error {
	if len(key) == 0 {
		return errors.New("a state row with an empty key cannot be written")
	}
	var err error
	if deleted {
		err = w.w.Delete(key)
		w.info.Deleted++
	} else {
		err = w.w.Set(key, value)
	}
	if err != nil {
		return fmt.Errorf("write a state row: %w", err)
	}
	if w.info.Rows == 0 {
		w.info.Low = append([]byte(nil), key...)
	}
	w.info.High = append(w.info.High[:0], key...)
	w.info.Rows++
	return nil
}

// Bytes is about how large the file is so far.
func (w *Writer) Bytes() int64 { return int64(w.w.Raw().EstimatedSize()) }

// Info describes what was written so far.
func (w *Writer) Info() Info { return w.info }

// Finish writes what is left. The file is not durable yet.
func (w *Writer) Finish() (Summary, error) {
	if w.info.Rows == 0 {
		return Summary{}, errors.New("a state run without rows cannot be written")
	}
	if err := w.w.Close(); err != nil {
		return Summary{}, fmt.Errorf("finish a state run: %w", err)
	}
	w.info.Table = w.out.bytes
	if err := w.out.Write(appendTail(nil, &w.info)); err != nil {
		return Summary{}, fmt.Errorf("finish a state run: %w", err)
	}
	return Summary{Bytes: w.out.bytes, Sum: w.out.sum.Sum64()}, nil
}

// Abandon frees what the writer holds. After Finish it does nothing.
func (w *Writer) Abandon() {
	if w.info.Table == 0 {
		w.info.Table = -1
		_ = w.w.Close() // nobody reads the file
	}
}
