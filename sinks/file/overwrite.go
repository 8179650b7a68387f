package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

const (
	// maxOverwrites is how often an overwrite is begun anew because another one was
	// faster, where the file system has no locks.
	maxOverwrites = 1000
	// lockWait is how long an overwrite waits for those before it.
	lockWait = time.Minute
	lockFile = "LOCK"
	// retiredFor is how long replaced files are kept for readers that have listed them,
	// retiredMax of how many overwrites. The newest overwrite's are kept anyhow.
	retiredFor = time.Minute
	retiredMax = 32
)

// overwriteLocked replaces what the directory holds by the files of a statement.
// Its manifest is the one step: it names the files that are gone, and all
// overwrites of a directory count on in one sequence where each number is taken
// once, so that one sees what the other has written. Replaced files are kept
// until the next overwrite and for a while, for readers that have listed them.
func (s *Sink) overwriteLocked(ctx context.Context, m manifest.Manifest) (err error) {
	t := s.t
	if s.mu.revealed != "" {
		return nil // the same commit again
	}
	lock, err := t.lockOverwrites(ctx)
	if err != nil {
		return err
	}
	if lock != nil {
		defer func() { err = errors.Join(err, lock.Close()) }()
	}
	for range maxOverwrites {
		if err := ctx.Err(); err != nil {
			return err
		}
		newest, err := t.lastOverwrite()
		if err != nil {
			return err
		}
		m.From, m.To, m.After = 0, 0, ""
		if newest != nil {
			if holdsStaged(newest, m) {
				return s.revealOverwriteLocked(*newest, lock != nil)
			}
			// What a crash has left is brought to its end first: only the newest may be half done.
			if err := t.revealOverwrite(*newest); err != nil {
				return err
			}
			m.From, m.To, m.After = newest.To+1, newest.To+1, manifest.NameOf(*newest)
		}
		m.Replaces = false
		if m.Overwrites, err = t.replaced(m); err != nil {
			return err
		}
		held, err := t.putManifest(m)
		if err != nil {
			return err
		}
		if held == nil {
			return s.revealOverwriteLocked(m, lock != nil)
		}
	}
	return batch.ExternalError(fmt.Errorf("overwrite %q: %d other statements were faster", t.dir, maxOverwrites), true)
}

// lockOverwrites lets one statement at a time commit, of this process or another:
// a fold gives numbers free that a slow one could take again. Where the file system
// has no locks it returns nil: then nothing is folded, and putManifest alone keeps
// the numbers apart.
func (t *target) lockOverwrites(ctx context.Context) (io.Closer, error) {
	dir := t.fs.PathJoin(t.dir, manifest.Root, manifest.Overwriting)
	if err := vfsx.MkdirAll(t.fs, dir, 0o777); err != nil {
		return nil, outside(err)
	}
	if t.fs == vfsx.Default { // a lock holds within a process by its name
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			real, err = filepath.Abs(real)
		}
		if err != nil {
			return nil, outside(err)
		}
		dir = real
	}
	path := t.fs.PathJoin(dir, lockFile)
	wait := time.Millisecond
	for until := time.Now().Add(lockWait); ; wait = min(2*wait, 8*time.Millisecond) {
		lock, err := t.fs.Lock(path)
		switch {
		case err == nil:
			return lock, nil
		case errors.Is(err, syscall.ENOLCK) || errors.Is(err, errors.ErrUnsupported):
			return nil, nil
		case !vfsx.LockHeld(err):
			return nil, outside(fmt.Errorf("lock %q: %w", path, err))
		case time.Now().After(until):
			return nil, batch.ExternalError(fmt.Errorf("overwrite %q: another statement has held %q for %v: is its process stopped?", t.dir, path, lockWait), true)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func (s *Sink) revealOverwriteLocked(m manifest.Manifest, fold bool) error {
	if err := s.t.revealOverwrite(m); err != nil {
		return err
	}
	s.mu.revealed = manifest.NameOf(m)
	if !fold {
		return nil
	}
	return outsideOrNil(s.t.fold())
}

func outsideOrNil(err error) error {
	if err == nil {
		return nil
	}
	return outside(err)
}

// holdsStaged says whether a manifest is that of the files in hand.
func holdsStaged(m *manifest.Manifest, of manifest.Manifest) bool {
	return len(of.Files) > 0 && len(m.Files) == len(of.Files) && m.Files[0].Staged == of.Files[0].Staged
}

func (t *target) lastOverwrite() (*manifest.Manifest, error) {
	live, _, err := manifest.List(t.fs, t.mdir)
	if err != nil || len(live) == 0 {
		return nil, outsideOrNil(err)
	}
	m, err := manifest.Read(t.fs, t.mdir, live[len(live)-1].Name)
	return &m, outsideOrNil(err)
}

// replaced lists the files that an overwrite takes out: all that a reader would
// see now, or those in the partitions that get rows.
func (t *target) replaced(m manifest.Manifest) ([]string, error) {
	held, err := manifest.Committed(t.fs, t.dir)
	if err != nil {
		return nil, outside(err)
	}
	if held == nil {
		held = &manifest.Listing{}
	}
	if held.Complete != "" {
		return nil, batch.UserErrorf("overwrite %q: query %q writes there in output mode complete; stop it and remove the directory, or use another one", t.dir, held.Complete)
	}
	names := make([]string, 0, len(held.Files))
	for name := range held.Files {
		names = append(names, name)
	}
	foreign, err := t.walk("", held)
	if err != nil {
		return nil, outside(fmt.Errorf("list %q: %w", t.dir, err))
	}
	names = append(names, foreign...)
	slices.Sort(names)
	names = slices.Compact(names)
	if !t.dynamic {
		return names, nil
	}
	touched := map[string]bool{}
	for _, f := range m.Files {
		touched[path.Dir(f.Name)] = true
	}
	return slices.DeleteFunc(names, func(name string) bool { return !touched[path.Dir(name)] }), nil
}

// walk lists the visible files below a folder of the directory.
func (t *target) walk(rel string, held *manifest.Listing) ([]string, error) {
	dir := t.dir
	if rel != "" {
		dir = t.fs.PathJoin(t.dir, rel)
	}
	names, err := t.fs.List(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		if strings.HasPrefix(n, "_") || strings.HasPrefix(n, ".") {
			continue
		}
		at := path.Join(rel, n)
		info, err := t.fs.Stat(t.fs.PathJoin(t.dir, at))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if info.IsDir() {
			below, err := t.walk(at, held)
			if err != nil {
				return nil, err
			}
			out = append(out, below...)
		} else if held.Holds(at) {
			out = append(out, at)
		}
	}
	return out, nil
}

// revealOverwrite brings the directory to what the newest overwrite's manifest
// says: it takes the files away that are replaced, then shows the new ones (W4).
// Each step may have been done before.
func (t *target) revealOverwrite(m manifest.Manifest) error {
	root := t.fs.PathJoin(t.dir, manifest.Root, manifest.Overwriting, manifest.Retired)
	mine := fmt.Sprintf("%012d", m.To)
	if err := t.retire(root, mine, m.Overwrites); err != nil {
		return outside(fmt.Errorf("take away what batch %d of INSERT OVERWRITE replaces in %q: %w", m.To, t.dir, err))
	}
	if err := t.reveal(m); err != nil {
		return err
	}
	return t.dropRetired(root, mine)
}

// dropRetired removes the files that overwrites before the newest one have replaced,
// but for those that a reader may still be about to open: where tables are overwritten
// many times a second, a reader has no chance else.
func (t *target) dropRetired(root, newest string) error {
	old, err := t.fs.List(root)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return outside(err)
	}
	slices.Sort(old)
	for i, n := range old {
		if n >= newest {
			break
		}
		at := t.fs.PathJoin(root, n)
		info, err := t.fs.Stat(at)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue // by another statement
		case err != nil:
			return outside(err)
		case len(old)-i <= retiredMax && time.Since(info.ModTime()) < retiredFor:
			continue
		}
		if err := t.fs.RemoveAll(at); err != nil {
			return outside(fmt.Errorf("remove retired files of %q: %w", t.dir, err))
		}
	}
	return nil
}

// retire moves files out of the directory.
func (t *target) retire(root, mine string, names []string) error {
	dirs := map[string]bool{}
	for _, name := range names {
		from := t.fs.PathJoin(t.dir, name)
		if _, err := t.fs.Stat(from); errors.Is(err, os.ErrNotExist) {
			continue // by an attempt before, or deleted by somebody
		}
		to := t.fs.PathJoin(root, mine, name) + manifest.RetiredSuffix
		if err := vfsx.MkdirAll(t.fs, t.fs.PathDir(to), 0o777); err != nil {
			return err
		}
		if err := t.fs.Rename(from, to); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		dirs[t.fs.PathDir(from)] = true
		dirs[t.fs.PathDir(to)] = true
	}
	return t.syncAll(dirs)
}
