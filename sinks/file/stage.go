package file

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/internal/mutant"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

const (
	stagedSuffix = ".staged"
	writeBuffer  = 256 << 10
)

// staged is one file being written.
type staged struct {
	t     *target
	name  string // in the staging folder
	final string // under the target
	f     vfsx.File
	w     formats.Writer
	buf   []byte
	size  int64
	rows  int64
}

// stage creates a staged file and starts its format.
func (t *target) stage(name, final string, schema *arrow.Schema, alloc memory.Allocator) (*staged, error) {
	s := &staged{t: t, name: name, final: final, buf: make([]byte, 0, writeBuffer)}
	f, err := t.fs.Create(t.fs.PathJoin(t.sdir, name), vfsx.Unspecified)
	if err != nil {
		return nil, outside(fmt.Errorf("create staged file for %q: %w", t.fs.PathJoin(t.dir, final), err))
	}
	s.f = vfsx.Paced(f) // the disk begins before the batch ends
	if s.w, err = t.format.NewWriter(s, schema, t.config, alloc); err != nil {
		return nil, errors.Join(err, s.discard())
	}
	return s, nil
}

// Write buffers: the file gets slices of our own, which it may scribble over.
func (s *staged) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := copy(s.buf[len(s.buf):cap(s.buf)], p)
		s.buf = s.buf[:len(s.buf)+k]
		p = p[k:]
		if len(s.buf) == cap(s.buf) {
			if err := s.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (s *staged) flush() error {
	n, err := s.f.Write(s.buf)
	s.size += int64(n)
	s.buf = s.buf[:0]
	return err
}

// finish ends the format and makes the file durable, but for its entry in the folder.
func (s *staged) finish() error {
	err := s.w.Close()
	s.w = nil
	if err == nil {
		err = s.flush()
	}
	if err == nil && !mutant.On(mutant.StageUnsynced) {
		err = s.f.Sync()
	}
	cerr := s.f.Close()
	s.f = nil
	if err = errors.Join(err, cerr); err != nil {
		return outside(fmt.Errorf("write staged file for %q: %w", s.t.fs.PathJoin(s.t.dir, s.final), err))
	}
	return nil
}

// discard removes the file, whatever state it is in.
func (s *staged) discard() error {
	if s.w != nil {
		// The format may hold memory; what it writes is thrown away.
		_ = s.w.Close()
		s.w = nil
	}
	if s.f != nil {
		_ = s.f.Close()
		s.f = nil
	}
	return s.t.removeStaged(s.name)
}

func (t *target) removeStaged(name string) error {
	if err := t.fs.Remove(t.fs.PathJoin(t.sdir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return outside(fmt.Errorf("remove staged file %q: %w", name, err))
	}
	return nil
}

// outside marks an error of the file system. A full disk may get space; a
// failed sync must not be tried again (vfsx says why).
func outside(err error) error {
	if k, _ := batch.KindOf(err); k != batch.Internal {
		return err
	}
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return &batch.Error{Kind: batch.User, Err: err}
	}
	return batch.ExternalError(err, full)
}
