package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

// Storage keeps files of checkpoints where another machine finds them. It may be
// used from several goroutines.
type Storage interface {
	// Put stores a file under a name that nobody has used. It is durable on nil.
	// Putting the same file again is nil, another one of that name ErrExists.
	Put(ctx context.Context, name string, body io.ReaderAt, size int64, sum uint64) error
	// ReadAt fills p from a byte of a file on. A file that is missing is os.ErrNotExist.
	ReadAt(ctx context.Context, name string, p []byte, off int64) error
	// List returns the names of all files.
	List(ctx context.Context) ([]string, error)
	// Delete removes a file; one that is not there is no error.
	Delete(ctx context.Context, name string) error
	// Owned returns batch.ErrFenced if files may not be deleted any more, since
	// another process has taken the checkpoint over. It is asked between List and Delete.
	Owned(ctx context.Context) error
	// String names the place, without secrets.
	fmt.Stringer
}

// ErrExists is returned for a name that another file has.
var ErrExists = errors.New("a file of that name is there already")

// OpenMirrored is Open for a folder whose published files are in a storage as
// well. The folder is where runs are written, and a cache: a file that it has not
// is fetched, and checked before it has its name.
func OpenMirrored(fs vfsx.FS, path string, remote Storage) (*Dir, error) {
	d, err := Open(fs, path)
	if err != nil {
		return nil, err
	}
	d.remote = remote
	if b, ok := remote.(Bounded); ok {
		d.bound.max = b.CacheBytes
	}
	return d, d.bound.fill(d)
}

// Bounded is a storage of which a folder keeps no more than so many bytes, but for
// what it has not published yet. What goes first is what was read longest ago.
type Bounded struct {
	Storage
	CacheBytes int64 // 0: as much as there is
}

// Publish makes a file of the folder durable in the storage, if there is one.
func (d *Dir) Publish(ctx context.Context, part statestore.Part) error {
	if d.remote == nil {
		return nil
	}
	src, err := d.openLocal(part)
	if err != nil {
		return fmt.Errorf("publish %s: %w", part.Name, err)
	}
	err = d.remote.Put(ctx, part.Name, src.File, part.Bytes, part.Sum)
	if e := src.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("publish %s in %s: %w", part.Name, d.remote, err)
	}
	d.bound.published(part.Name)
	d.bound.makeRoom(d)
	return nil
}
