package vfsx

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Mount makes everything below an absolute folder of Default a matter of fs, which is
// given the whole paths. The result ends it. A checkpoint that lies in a bucket is
// mounted, so that whoever works on the files of a checkpoint need not know.
func Mount(dir string, fs FS) (unmount func(), err error) {
	dir = filepath.Clean(dir)
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("mount %s: it is no absolute path", dir)
	}
	table.mu.Lock()
	defer table.mu.Unlock()
	for _, m := range table.mounts {
		if _, ok := m.below(dir); ok {
			return nil, fmt.Errorf("mount %s: %s is mounted", dir, m.dir)
		}
	}
	m := &mount{dir: dir, fs: fs}
	table.mounts = append(table.mounts, m)
	table.some.Add(1)
	return func() {
		table.mu.Lock()
		defer table.mu.Unlock()
		for i, o := range table.mounts {
			if o == m {
				table.mounts = append(table.mounts[:i:i], table.mounts[i+1:]...)
				table.some.Add(-1)
			}
		}
	}, nil
}

// Mounted reports whether a path of Default is one of a mount.
func Mounted(path string) bool {
	abs, err := filepath.Abs(path)
	return err == nil && table.of(abs) != table.FS
}

// table is Default.
var table = &mountTable{FS: vfs.Default}

type mountTable struct {
	FS
	some atomic.Int32 // without mounts there is nothing to look for
	mu   sync.RWMutex // guards mounts
	// mounts is replaced and never changed.
	mounts []*mount
}

type mount struct {
	dir string
	fs  FS
}

// below reports whether a path is that of the mount or lies below it.
func (m *mount) below(path string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, m.dir)
	return rest, ok && (rest == "" || os.IsPathSeparator(rest[0]))
}

// of returns whose a path is.
func (t *mountTable) of(path string) FS {
	if t.some.Load() == 0 {
		return t.FS
	}
	path = filepath.Clean(path)
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, m := range t.mounts {
		if _, ok := m.below(path); ok {
			return m.fs
		}
	}
	return t.FS
}

// both returns whose two paths are, if they are of the same.
func (t *mountTable) both(op, a, b string) (FS, error) {
	fs := t.of(a)
	if fs != t.of(b) {
		return nil, &os.LinkError{Op: op, Old: a, New: b, Err: syscall.EXDEV}
	}
	return fs, nil
}

func (t *mountTable) Create(name string, c vfs.DiskWriteCategory) (File, error) {
	return t.of(name).Create(name, c)
}

func (t *mountTable) Link(oldname, newname string) error {
	fs, err := t.both("link", oldname, newname)
	if err != nil {
		return err
	}
	return fs.Link(oldname, newname)
}

func (t *mountTable) Open(name string, opts ...vfs.OpenOption) (File, error) {
	return t.of(name).Open(name, opts...)
}

func (t *mountTable) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (File, error) {
	return t.of(name).OpenReadWrite(name, c, opts...)
}

func (t *mountTable) OpenDir(name string) (File, error) { return t.of(name).OpenDir(name) }

func (t *mountTable) Remove(name string) error { return t.of(name).Remove(name) }

func (t *mountTable) RemoveAll(name string) error { return t.of(name).RemoveAll(name) }

func (t *mountTable) Rename(oldname, newname string) error {
	fs, err := t.both("rename", oldname, newname)
	if err != nil {
		return err
	}
	return fs.Rename(oldname, newname)
}

func (t *mountTable) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (File, error) {
	fs, err := t.both("rename", oldname, newname)
	if err != nil {
		return nil, err
	}
	return fs.ReuseForWrite(oldname, newname, c)
}

func (t *mountTable) MkdirAll(dir string, perm os.FileMode) error {
	return t.of(dir).MkdirAll(dir, perm)
}

func (t *mountTable) Lock(name string) (io.Closer, error) { return t.of(name).Lock(name) }

func (t *mountTable) List(dir string) ([]string, error) { return t.of(dir).List(dir) }

func (t *mountTable) Stat(name string) (vfs.FileInfo, error) { return t.of(name).Stat(name) }

func (t *mountTable) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	return t.of(path).GetDiskUsage(path)
}
