package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

// stateDir is the folder of the runs, which are not in the journal.
const stateDir = "state"

// ownerFile says who has the checkpoint open (see package filelog).
const ownerFile = "OWNER"

var _ vfsx.FS = (*Place)(nil)

func temporary(name string) bool { return strings.HasSuffix(name, vfsx.TempSuffix) }

// small returns the path in memory of a file that is in the journal; false for one of
// the state's folder.
func (p *Place) small(name string) (string, bool, error) {
	rel, err := filepath.Rel(p.dir, name)
	if err != nil {
		return "", false, err
	}
	rel = filepath.ToSlash(rel)
	if rel == stateDir || strings.HasPrefix(rel, stateDir+"/") {
		return "", false, nil
	}
	if rel == "." {
		rel = ""
	}
	return "/" + rel, true, p.load()
}

func (p *Place) memory() *vfsx.MemFS {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.mem
}

// Create implements vfsx.FS.
func (p *Place) Create(name string, c vfs.DiskWriteCategory) (vfsx.File, error) {
	at, ok, err := p.small(name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return p.opt.Disk.Create(name, c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// A folder that nothing lies in is in no record, so that it may have gone since.
	if err := p.mu.mem.MkdirAll(path.Dir(at), 0o700); err != nil {
		return nil, err
	}
	f, err := p.mu.mem.Create(at, c)
	if err != nil {
		return nil, err
	}
	if !temporary(at) {
		p.noteLocked(change{kind: opFile, path: at[1:]})
	}
	return &file{File: f, p: p, path: at[1:], journaled: !temporary(at)}, nil
}

// Link implements vfsx.FS. A small file must be a temporary one that nobody writes into
// any more: it gets a name of its own, and becomes part of the checkpoint by it.
func (p *Place) Link(oldname, newname string) error {
	to, ok, err := p.small(newname)
	if err != nil {
		return err
	}
	if !ok {
		return p.opt.Disk.Link(oldname, newname)
	}
	from, ok, err := p.small(oldname)
	if err != nil {
		return err
	}
	if !ok || !temporary(from) || temporary(to) {
		return &os.LinkError{Op: "link", Old: oldname, New: newname, Err: syscall.ENOTSUP}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	data, err := vfsx.ReadFile(p.mu.mem, from, objectMax)
	if err == nil {
		err = p.mu.mem.Link(from, to)
	}
	if err == nil {
		p.noteLocked(change{kind: opFile, path: to[1:], data: data})
	}
	return err
}

// Open implements vfsx.FS. A run that the cache has not is read from the store.
func (p *Place) Open(name string, opts ...vfs.OpenOption) (vfsx.File, error) {
	at, ok, err := p.small(name)
	if err != nil {
		return nil, err
	}
	if ok {
		return p.memory().Open(at, opts...)
	}
	f, err := p.opt.Disk.Open(name, opts...)
	if !errors.Is(err, os.ErrNotExist) || name == p.state() {
		return f, err
	}
	return p.openObject(filepath.Base(name))
}

func (p *Place) state() string { return filepath.Join(p.dir, stateDir) }

// OpenReadWrite implements vfsx.FS.
func (p *Place) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfsx.File, error) {
	at, ok, err := p.small(name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return p.opt.Disk.OpenReadWrite(name, c, opts...)
	}
	if _, err := p.memory().Stat(at); err != nil {
		return p.Create(name, c)
	}
	f, err := p.memory().OpenReadWrite(at, c, opts...)
	if err != nil {
		return nil, err
	}
	return &file{File: f, p: p, path: at[1:], journaled: !temporary(at)}, nil
}

// OpenDir implements vfsx.FS. To sync a folder is to flush.
func (p *Place) OpenDir(name string) (vfsx.File, error) {
	at, ok, err := p.small(name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return p.opt.Disk.OpenDir(name)
	}
	mem := p.memory()
	f, err := mem.OpenDir(at)
	if errors.Is(err, os.ErrNotExist) { // nothing lies in it (see Create)
		if err = mem.MkdirAll(at, 0o700); err == nil {
			f, err = mem.OpenDir(at)
		}
	}
	if err != nil {
		return nil, err
	}
	return &file{File: f, p: p, path: at[1:]}, nil
}

// Remove implements vfsx.FS.
func (p *Place) Remove(name string) error {
	at, ok, err := p.small(name)
	if err != nil {
		return err
	}
	if !ok {
		return p.opt.Disk.Remove(name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := p.mu.mem.Stat(at)
	if err == nil {
		err = p.mu.mem.Remove(at)
	}
	if err == nil && !info.IsDir() && !temporary(at) {
		p.noteLocked(change{kind: opRemove, path: at[1:]})
	}
	return err
}

// RemoveAll implements vfsx.FS.
func (p *Place) RemoveAll(name string) error {
	at, ok, err := p.small(name)
	if err != nil {
		return err
	}
	if !ok {
		return p.opt.Disk.RemoveAll(name)
	}
	info, err := p.memory().Stat(at)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && info.IsDir() {
		var names []string
		if names, err = p.memory().List(at); err != nil {
			return err
		}
		for _, n := range names {
			if err := p.RemoveAll(filepath.Join(name, n)); err != nil {
				return err
			}
		}
		if at == "/" {
			return nil
		}
	}
	if err == nil {
		err = p.Remove(name)
	}
	return err
}

// Rename implements vfsx.FS. A file that was temporary is there as a whole or not.
func (p *Place) Rename(oldname, newname string) error {
	from, ok1, err := p.small(oldname)
	if err != nil {
		return err
	}
	to, ok2, err := p.small(newname)
	if err != nil {
		return err
	}
	if ok1 != ok2 {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: syscall.EXDEV}
	}
	if !ok1 {
		return p.opt.Disk.Rename(oldname, newname)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	data, err := vfsx.ReadFile(p.mu.mem, from, objectMax)
	if err == nil {
		err = p.mu.mem.Rename(from, to)
	}
	if err != nil {
		return err
	}
	if !temporary(to) {
		p.noteLocked(change{kind: opFile, path: to[1:], data: data})
	}
	if !temporary(from) {
		p.noteLocked(change{kind: opRemove, path: from[1:]})
	}
	return nil
}

// ReuseForWrite implements vfsx.FS.
func (p *Place) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfsx.File, error) {
	if err := p.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return p.OpenReadWrite(newname, c)
}

// MkdirAll implements vfsx.FS. Folders are there as long as files below them.
func (p *Place) MkdirAll(dir string, perm os.FileMode) error {
	at, ok, err := p.small(dir)
	if err != nil {
		return err
	}
	if !ok {
		return p.opt.Disk.MkdirAll(dir, perm)
	}
	return p.memory().MkdirAll(at, perm)
}

// List implements vfsx.FS. Of the state's folder it lists the cache.
func (p *Place) List(dir string) ([]string, error) {
	at, ok, err := p.small(dir)
	if err != nil {
		return nil, err
	}
	if !ok {
		return p.opt.Disk.List(dir)
	}
	return p.memory().List(at)
}

// Stat implements vfsx.FS. A run that the cache has not is looked for in the store.
func (p *Place) Stat(name string) (vfs.FileInfo, error) {
	at, ok, err := p.small(name)
	if err != nil {
		return nil, err
	}
	if ok {
		return p.memory().Stat(at)
	}
	info, err := p.opt.Disk.Stat(name)
	if !errors.Is(err, os.ErrNotExist) || name == p.state() {
		return info, err
	}
	f, err := p.openObject(filepath.Base(name))
	if err != nil {
		return nil, err
	}
	return f.Stat()
}

// PathBase implements vfsx.FS.
func (p *Place) PathBase(path string) string { return filepath.Base(path) }

// PathJoin implements vfsx.FS.
func (p *Place) PathJoin(elem ...string) string { return filepath.Join(elem...) }

// PathDir implements vfsx.FS.
func (p *Place) PathDir(path string) string { return filepath.Dir(path) }

// GetDiskUsage implements vfsx.FS: that of the cache's disk.
func (p *Place) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return p.opt.Disk.GetDiskUsage(filepath.Dir(p.dir))
}

// Unwrap implements vfsx.FS.
func (p *Place) Unwrap() vfs.FS { return nil }

// ownerOf returns who has the checkpoint open, "" for nobody.
func ownerOf(mem *vfsx.MemFS) string {
	b, err := vfsx.ReadFile(mem, "/"+ownerFile, 1<<10)
	if err != nil {
		return ""
	}
	if len(b) == 0 {
		return "an unknown process"
	}
	return string(b)
}

// lockTries is how often a lock is tried that others try at the same time.
const lockTries = 20

// Lock implements vfsx.FS: it writes a record that says who has the checkpoint, so
// that whoever had it before finds its next number taken (B2).
func (p *Place) Lock(name string) (io.Closer, error) {
	p.flushing.Lock()
	defer p.flushing.Unlock()
	p.mu.Lock()
	if p.mu.owned && p.mu.broken == nil {
		p.mu.Unlock()
		return nil, fmt.Errorf("lock %s: held by current process", name)
	}
	p.mu.owned = false
	p.mu.Unlock()
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	me := fmt.Appendf(nil, "process %d on %s", os.Getpid(), host)
	for range lockTries {
		// What is pending was meant for a checkpoint that may be another by now.
		p.mu.Lock()
		p.mu.loaded = false
		p.mu.Unlock()
		if err := p.loadFlushing(); err != nil {
			return nil, err
		}
		p.mu.Lock()
		seq, take, other := p.mu.seq+1, p.mu.takeOver, ownerOf(p.mu.mem)
		p.mu.Unlock()
		if other != "" && !take {
			return nil, syscall.EAGAIN
		}
		claim := change{kind: opFile, path: ownerFile, data: me}
		err := p.put(recordName(seq), encode(p.writer, seq, []change{claim}))
		if errors.Is(err, checkpoint.ErrExists) {
			continue // another one was faster
		}
		if err == nil {
			err = p.confirm(seq, time.Now())
		}
		if errors.Is(err, batch.ErrFenced) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("take the checkpoint %s: %w", p, err)
		}
		p.mu.Lock()
		p.mu.seq, p.mu.owned = seq, true
		p.mu.records++
		err = apply(p.mu.mem, claim)
		p.mu.Unlock()
		return &lock{p}, err
	}
	return nil, fmt.Errorf("take the checkpoint %s: %d others were faster", p, lockTries)
}

// lock is what Lock returns.
type lock struct{ p *Place }

// Close gives the checkpoint up, and takes the owner's file away if that has not been done.
func (l *lock) Close() error {
	l.p.mu.Lock()
	if l.p.mu.owned && l.p.mu.broken == nil && l.p.mu.mem.Remove("/"+ownerFile) == nil {
		l.p.noteLocked(change{kind: opRemove, path: ownerFile})
	}
	l.p.mu.Unlock()
	err := l.p.flush()
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.p.mu.owned = false
	if l.p.mu.broken != nil {
		return nil // it was told who wrote
	}
	return err
}

// file is an open file of the journal.
type file struct {
	vfsx.File
	p         *Place
	path      string
	journaled bool
	at        int64 // of Write
}

// Write implements vfsx.File.
func (f *file) Write(b []byte) (int, error) {
	if !f.journaled {
		return f.File.Write(b)
	}
	n, err := f.WriteAt(b, f.at)
	f.at += int64(n)
	return n, err
}

// WriteAt implements vfsx.File.
func (f *file) WriteAt(b []byte, at int64) (int, error) {
	if !f.journaled {
		return f.File.WriteAt(b, at)
	}
	p := f.p
	p.mu.Lock()
	if err := p.mu.broken; err != nil {
		p.mu.Unlock()
		return 0, err
	}
	info, err := f.File.Stat()
	if err == nil && at > info.Size() {
		err = fmt.Errorf("write behind the end of %s", f.path)
	}
	if err != nil {
		p.mu.Unlock()
		return 0, err
	}
	c := change{kind: opWrite, path: f.path, at: at, data: bytes.Clone(b)}
	n, err := f.File.WriteAt(b, at) // it may scribble over b
	if err == nil {
		p.noteLocked(c)
	}
	full := p.mu.bytes > pendingMax
	p.mu.Unlock()
	if err == nil && full {
		err = p.flush()
	}
	return n, err
}

// Sync implements vfsx.File. A file that is still temporary is nobody's.
func (f *file) Sync() error {
	if temporary(f.path) {
		return f.File.Sync()
	}
	return f.p.flush()
}

// SyncData implements vfsx.File.
func (f *file) SyncData() error { return f.Sync() }

// SyncTo implements vfsx.File.
func (f *file) SyncTo(int64) (bool, error) { return true, f.Sync() }

// openObject opens a run in the store.
func (p *Place) openObject(name string) (vfsx.File, error) {
	size, err := p.opt.State.Size(p.ctx, name)
	if err != nil {
		return nil, err
	}
	return &object{p: p, name: path.Base(name), size: size}, nil
}
