package vfsx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sluice-stream/sluice/internal/mutant"
)

// TempSuffix ends the name of a file that is being written by ReplaceFile. Who
// lists a directory skips such names; the next write of the same file replaces
// what a crash has left.
const TempSuffix = ".tmp"

// readStep bounds what ReadFile allocates ahead of what was really read.
const readStep = 1 << 20

// WriteFileAtomic replaces the file at path by data: temporary file, sync,
// rename, sync of the directory. On nil the new content is durable. After an
// error the old content is still there, or the new one if only the last sync
// failed; the error says which step it was.
func WriteFileAtomic(fs FS, path string, data []byte) error {
	return ReplaceFile(fs, path, func(w io.Writer) error {
		// A File may scribble over what it is given, so it gets a copy.
		_, err := w.Write(bytes.Clone(data))
		return err
	})
}

// ReplaceFile is WriteFileAtomic for content that is produced piece by piece.
// The file system may overwrite the slices that write passes to w.
//
// Only one caller at a time may replace a given path.
func ReplaceFile(fs FS, path string, write func(w io.Writer) error) error {
	tmp := path + TempSuffix
	if err := writeSynced(fs, tmp, write); err != nil {
		// Best effort: a leftover is harmless and the first error is what matters.
		_ = fs.Remove(tmp)
		return err
	}
	if err := fs.Rename(tmp, path); err != nil {
		_ = fs.Remove(tmp)
		return fmt.Errorf("rename %s to %s: %w", tmp, path, err)
	}
	return SyncDir(fs, fs.PathDir(path))
}

// writeSynced creates path, lets write fill it, and syncs it.
func writeSynced(fs FS, path string, write func(w io.Writer) error) (err error) {
	f, err := fs.Create(path, Unspecified)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	defer func() {
		if cerr := f.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close %s: %w", path, cerr)
		}
	}()
	if err := write(f); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if mutant.On(mutant.FileUnsynced) {
		return nil
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// SyncDir makes the entries of a directory durable: files created, renamed or
// removed in it.
func SyncDir(fs FS, dir string) (err error) {
	if mutant.On(mutant.FolderUnsynced) {
		return nil
	}
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open directory %s: %w", dir, err)
	}
	defer func() {
		if cerr := d.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close directory %s: %w", dir, cerr)
		}
	}()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// MkdirAll makes dir and the parents that are missing, and makes them durable.
// It costs nothing but a Stat when dir exists.
func MkdirAll(fs FS, dir string, perm os.FileMode) error {
	var missing []string
	for d := dir; ; {
		info, err := fs.Stat(d)
		if err == nil {
			if !info.IsDir() {
				return fmt.Errorf("make directory %s: %s is a file", dir, d)
			}
			break
		}
		if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("make directory %s: look for %s: %w", dir, d, err)
		}
		missing = append(missing, d)
		parent := fs.PathDir(d)
		if parent == d || parent == "." || parent == "" {
			break
		}
		d = parent
	}
	if len(missing) == 0 {
		return nil
	}
	if err := fs.MkdirAll(dir, perm); err != nil {
		return fmt.Errorf("make directory %s: %w", dir, err)
	}
	for _, d := range missing {
		if err := SyncDir(fs, fs.PathDir(d)); err != nil {
			return err
		}
	}
	return nil
}

// ReadFile returns the content of a file, and refuses one of more than limit
// bytes without reading it all: a damaged or foreign file must not take the
// process's memory.
func ReadFile(fs FS, path string, limit int64) (data []byte, err error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() {
		if cerr := f.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close %s: %w", path, cerr)
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("read %s: %d bytes, more than the %d that such a file may have", path, info.Size(), limit)
	}
	var buf bytes.Buffer
	buf.Grow(int(min(info.Size(), readStep)) + bytes.MinRead)
	// One more byte than allowed shows a file that grew behind our back.
	n, err := buf.ReadFrom(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if n > limit {
		return nil, fmt.Errorf("read %s: more than the %d bytes that such a file may have", path, limit)
	}
	return buf.Bytes(), nil
}
