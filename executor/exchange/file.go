package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/zeebo/xxh3"
)

// ErrDamaged is returned when a spilled batch is not what was written.
var ErrDamaged = errors.New("spilled batch is damaged")

// File holds batches on disk for as long as the process lives. Frames are written
// by one goroutine and may be read by several.
type File struct {
	f    *os.File
	size int64
	buf  bytes.Buffer
}

// Frame says where one batch lies in a File and what its checksum is.
type Frame struct {
	Offset, Len int64
	Sum         uint64
}

// CreateFile makes a file in dir, which is made if need be. The pattern is os.CreateTemp's.
func CreateFile(dir, pattern string) (*File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the spill folder: %w", err)
	}
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, fmt.Errorf("make a spill file: %w", err)
	}
	return &File{f: f}, nil
}

// Append writes a batch, borrowed, as an Arrow IPC stream. An allocator that has a
// method Spilled is told how many bytes that took.
func (f *File) Append(rec arrow.RecordBatch, alloc memory.Allocator) (Frame, error) {
	f.buf.Reset()
	w := ipc.NewWriter(&f.buf, ipc.WithSchema(rec.Schema()), ipc.WithAllocator(alloc))
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		return Frame{}, fmt.Errorf("encode %d rows for spilling: %w", rec.NumRows(), err)
	}
	fr := Frame{Offset: f.size, Len: int64(f.buf.Len()), Sum: xxh3.Hash(f.buf.Bytes())}
	if _, err := f.f.WriteAt(f.buf.Bytes(), f.size); err != nil {
		return Frame{}, fmt.Errorf("spill %d rows: %w", rec.NumRows(), err)
	}
	f.size += fr.Len
	if s, ok := alloc.(interface{ Spilled(n int64) }); ok {
		s.Spilled(fr.Len)
	}
	return fr, nil
}

// Written says that nothing more is appended: what writing took is given back.
func (f *File) Written() { f.buf = bytes.Buffer{} }

// Size is the number of bytes written.
func (f *File) Size() int64 { return f.size }

// Read returns the batch of a frame; the caller owns it.
func (f *File) Read(fr Frame, alloc memory.Allocator) (rec arrow.RecordBatch, err error) {
	b := make([]byte, fr.Len)
	if _, err := f.f.ReadAt(b, fr.Offset); err != nil {
		return nil, fmt.Errorf("read a spilled batch: %w", err)
	}
	if xxh3.Hash(b) != fr.Sum {
		return nil, fmt.Errorf("%w: %d bytes at %d of %s", ErrDamaged, fr.Len, fr.Offset, f.f.Name())
	}
	r, err := ipc.NewReader(bytes.NewReader(b), ipc.WithAllocator(alloc))
	if err != nil {
		return nil, fmt.Errorf("decode a spilled batch: %w", err)
	}
	defer r.Release()
	if !r.Next() {
		// The bytes are those that were written: what fails here is not the disk's fault.
		return nil, fmt.Errorf("decode a spilled batch: %w", errors.Join(r.Err(), io.ErrUnexpectedEOF))
	}
	rec = r.RecordBatch()
	rec.Retain()
	return rec, nil
}

// Remove closes and deletes the file.
func (f *File) Remove() error {
	return errors.Join(f.f.Close(), os.Remove(f.f.Name()))
}
