package run

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"

	"github.com/sluice-stream/sluice/batch"
)

// Bytes is a file that can be read anywhere, on a disk or far away. It may be
// read from several goroutines at once.
type Bytes interface {
	// ReadAt fills p from offset off, or fails.
	ReadAt(ctx context.Context, p []byte, off int64) error
	Size() int64
	Close() error
}

// Replaceable is Bytes that has another copy of what it is read from.
type Replaceable interface {
	// Spoiled is told that what was read is damaged. It reports whether the same may be
	// read otherwise from now on.
	Spoiled() bool
}

// Cache keeps blocks of files in memory, unpacked. It is shared by all the files
// of a process; its bytes are the owner's to account for.
type Cache struct {
	c     *pebble.Cache
	files atomic.Uint64 // numbers for files, which are part of a block's name in the cache
	room  room
}

// NewCache makes a cache of about so many bytes.
func NewCache(bytes int64) *Cache {
	c := &Cache{c: pebble.NewCache(bytes)}
	c.room.size.Store(bytes)
	return c
}

// Close frees the cache once the last file that uses it is closed.
func (c *Cache) Close() { c.c.Unref() }

// Max is how many bytes it may hold.
func (c *Cache) Max() int64 { return c.c.MaxSize() }

// Used is how many bytes the cache holds.
func (c *Cache) Used() int64 { return c.c.Size() }

// readable shows the part of a file before the tail to the table's reader.
type readable struct {
	Bytes
	table int64
	noop  objstorage.NoopReadHandle
}

func (r *readable) Size() int64 { return r.table }
func (r *readable) NewReadHandle(objstorage.ReadBeforeSize) objstorage.ReadHandle {
	return &r.noop
}

// File is an open file of a run. It may be used from several goroutines, each
// with iterators of its own.
type File struct {
	Info
	name   string
	src    Bytes
	r      *sstable.Reader
	handle interface{ Close() }
	cache  *Cache
	ctx    context.Context
}

// Open reads a file's tail and index. name is for errors; the caller compares
// Info with what it expects. The file owns src, also when Open fails. ctx is
// that of all later reads: blocks are fetched when they are wanted.
func Open(ctx context.Context, src Bytes, name string, cache *Cache) (f *File, err error) {
	defer recovered(name, &err)
	info, err := readTail(ctx, src)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", name, err), src.Close())
	}
	in := &readable{Bytes: src, table: info.Table}
	in.noop = objstorage.MakeNoopReadHandle(in)
	filter := bloom.FilterPolicy(filterBits)
	opt := sstable.ReaderOptions{Filters: map[string]sstable.FilterPolicy{filter.Name(): filter}}
	f = &File{Info: info, name: name, cache: cache, ctx: ctx, src: src}
	if cache != nil {
		h := cache.c.NewHandle()
		opt.CacheOpts.CacheHandle = h
		setNumber(&opt.CacheOpts.FileNum, cache.files.Add(1))
		f.handle = h
	}
	if f.r, err = sstable.NewReader(ctx, in, opt); err != nil { // closes its input itself
		if f.handle != nil {
			f.handle.Close()
		}
		return nil, f.wrap("open", err)
	}
	if cache != nil {
		cache.room.held.Add(f.held())
	}
	return f, nil
}

// setNumber sets a number of a type that has no name outside of Pebble.
func setNumber[T ~uint64](p *T, v uint64) { *p = T(v) }

func readTail(ctx context.Context, src Bytes) (Info, error) {
	size := src.Size()
	if size < tailEnd {
		return Info{}, fmt.Errorf("%w: a file of %d bytes", ErrDamaged, size)
	}
	end := make([]byte, tailEnd)
	if err := src.ReadAt(ctx, end, size-tailEnd); err != nil {
		return Info{}, err
	}
	n, err := tailLength(end, size)
	if err != nil {
		return Info{}, err
	}
	body := make([]byte, n)
	if err := src.ReadAt(ctx, body, size-tailEnd-n); err != nil {
		return Info{}, err
	}
	return decodeTail(body, end, size)
}

// Close closes the file; no iterator over it may be open.
func (f *File) Close() error {
	err := f.r.Close()
	if f.handle != nil {
		f.handle.Close()
	}
	if f.cache != nil {
		f.cache.room.held.Add(-f.held())
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", f.name, err)
	}
	return nil
}

// Name is the name that the file was opened with.
func (f *File) Name() string { return f.name }

// wrap names the file, and says that it is damaged where the table's reader says so.
func (f *File) wrap(what string, err error) error {
	if !pebble.IsCorruptionError(err) {
		return fmt.Errorf("%s %s: %w", what, f.name, err)
	}
	err = fmt.Errorf("%s %s: %w: %w", what, f.name, ErrDamaged, err)
	if r, ok := f.src.(Replaceable); ok && r.Spoiled() {
		return batch.ExternalError(err, true)
	}
	return err
}

// recovered makes an error of a panic: readers of tables trust bytes whose
// checksum is right (R2).
func recovered(name string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("read %s: %w: %v", name, ErrDamaged, p)
	}
}

// Iter goes through one file. It is used by one goroutine.
type Iter struct {
	f       *File
	it      sstable.Iterator
	pool    *block.BufferPool // of the blocks; nil if they are in the cache
	key     []byte
	value   []byte
	deleted bool
}

// filterBytes is what the file's filter takes in the cache, about.
func (f *File) filterBytes() int64 { return f.Rows * filterBits / 8 }

// Iter returns an iterator that is nowhere yet. A filtered one asks the file's
// filter before it looks for a key.
func (f *File) Iter(filtered bool) (i *Iter, err error) {
	defer recovered(f.name, &err)
	filter := sstable.NeverUseFilterBlock
	if filtered {
		filter = sstable.AlwaysUseFilterBlock
	}
	it, err := f.r.NewPointIter(f.ctx, sstable.IterOptions{FilterBlockSizeLimit: filter})
	if err != nil {
		return nil, f.wrap("read", err)
	}
	return &Iter{f: f, it: it}, nil
}

// forward says that a key is not before the one of the last call, so that the
// iterator may go on from where it is. The numbers are those of Pebble's
// SeekGEFlags, whose type has no name outside; a test holds them to their meaning.
const (
	anywhere = 0
	forward  = 1
)

// get looks for a key. The value is valid until the next call.
func (i *Iter) get(key []byte, onward bool) (value []byte, deleted, ok bool, err error) {
	defer recovered(i.f.name, &err)
	if onward {
		if kv := i.it.SeekPrefixGE(key, key, forward); kv != nil && string(kv.K.UserKey) == string(key) {
			value, _, err = kv.Value(nil)
			return value, kv.Kind() == sstable.InternalKeyKindDelete, true, i.failed(err)
		}
		return nil, false, false, i.failed(nil)
	}
	if kv := i.it.SeekPrefixGE(key, key, anywhere); kv != nil && string(kv.K.UserKey) == string(key) {
		value, _, err = kv.Value(nil)
		return value, kv.Kind() == sstable.InternalKeyKindDelete, true, i.failed(err)
	}
	return nil, false, false, i.failed(nil)
}

func (i *Iter) failed(err error) error {
	if err == nil {
		err = i.it.Error()
	}
	if err != nil {
		return i.f.wrap("read", err)
	}
	return nil
}

// seek goes to the first row whose key is not below start. ok is false at the end.
func (i *Iter) seek(start []byte) (ok bool, err error) {
	defer recovered(i.f.name, &err)
	kv := i.it.SeekGE(start, anywhere)
	if kv == nil {
		return false, i.failed(nil)
	}
	i.key, i.deleted = kv.K.UserKey, kv.Kind() == sstable.InternalKeyKindDelete
	i.value, _, err = kv.Value(nil)
	return true, i.failed(err)
}

func (i *Iter) next() (ok bool, err error) {
	defer recovered(i.f.name, &err)
	kv := i.it.Next()
	if kv == nil {
		return false, i.failed(nil)
	}
	i.key, i.deleted = kv.K.UserKey, kv.Kind() == sstable.InternalKeyKindDelete
	i.value, _, err = kv.Value(nil)
	return true, i.failed(err)
}

// close frees the iterator.
func (i *Iter) close() (err error) {
	defer recovered(i.f.name, &err)
	err = i.it.Close()
	if i.pool != nil {
		i.pool.Release()
	}
	if err != nil {
		return i.f.wrap("read", err)
	}
	return nil
}
