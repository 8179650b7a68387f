package bucket

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

// object is a run that is read from the store.
type object struct {
	p    *Place
	name string
	size int64
	at   int64 // of Read

	ahead []byte // what Read has fetched beyond what was asked for, from ahead's place on
	from  int64
}

var _ vfsx.File = (*object)(nil)

// errReadOnly: the store's objects are put as a whole and never changed.
var errReadOnly = errors.New("a file in a bucket cannot be written in place")

// aheadBytes is how much Read fetches at once.
const aheadBytes = 4 << 20

// Read implements vfsx.File.
func (o *object) Read(b []byte) (int, error) {
	if o.at >= o.size {
		return 0, io.EOF
	}
	if len(b) == 0 {
		return 0, nil
	}
	if o.at < o.from || o.at >= o.from+int64(len(o.ahead)) {
		next := make([]byte, min(max(int64(len(b)), aheadBytes), o.size-o.at))
		if err := o.p.opt.State.ReadAt(o.p.ctx, o.name, next, o.at); err != nil {
			return 0, fmt.Errorf("read %s of %s: %w", o.name, o.p, err)
		}
		o.ahead, o.from = next, o.at
	}
	n := copy(b, o.ahead[o.at-o.from:])
	o.at += int64(n)
	return n, nil
}

// ReadAt implements vfsx.File.
func (o *object) ReadAt(b []byte, off int64) (int, error) {
	n := min(int64(len(b)), max(o.size-off, 0))
	if n > 0 {
		if err := o.p.opt.State.ReadAt(o.p.ctx, o.name, b[:n], off); err != nil {
			return 0, fmt.Errorf("read %s of %s: %w", o.name, o.p, err)
		}
	}
	if n < int64(len(b)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func (o *object) Close() error                       { return nil }
func (o *object) Write([]byte) (int, error)          { return 0, errReadOnly }
func (o *object) WriteAt([]byte, int64) (int, error) { return 0, errReadOnly }
func (o *object) Preallocate(int64, int64) error     { return errReadOnly }
func (o *object) Sync() error                        { return nil }
func (o *object) SyncTo(int64) (fully bool, _ error) { return true, nil }
func (o *object) SyncData() error                    { return nil }
func (o *object) Prefetch(int64, int64) error        { return nil }
func (o *object) Fd() uintptr                        { return vfs.InvalidFd }
func (o *object) Stat() (vfs.FileInfo, error)        { return objectInfo{o}, nil }

// objectInfo is what is known of an object.
type objectInfo struct{ o *object }

func (i objectInfo) Name() string           { return i.o.name }
func (i objectInfo) Size() int64            { return i.o.size }
func (i objectInfo) Mode() os.FileMode      { return 0o400 }
func (i objectInfo) ModTime() time.Time     { return time.Time{} }
func (i objectInfo) IsDir() bool            { return false }
func (i objectInfo) Sys() any               { return nil }
func (i objectInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
