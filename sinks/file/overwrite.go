package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

const (
	// maxOverwrites is how often an overwrite is begun anew because another one was faster.
	maxOverwrites = 1000
	// maxReveals is how often the steps of one overwrite are gone through when others go through them too.
	maxReveals = 100
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
func (s *Sink) overwriteLocked(ctx context.Context, m manifest.Manifest) error {
	t := s.t
	if s.mu.revealed != "" {
		return nil // the same commit again
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
				return s.revealOverwriteLocked(*newest)
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
		if held != nil {
			continue
		}
		late, err := t.putTooLate(m)
		if err != nil {
			return err
		}
		if !late {
			return s.revealOverwriteLocked(m)
		}
	}
	return batch.ExternalError(fmt.Errorf("overwrite %q: %d other statements were faster", t.dir, maxOverwrites), true)
}

// putTooLate says whether the number of a manifest that was just put had been
// taken and folded away before, so that its name was free again. The fold is
// there before the names that it covers go; a manifest below it counts for nobody.
func (t *target) putTooLate(m manifest.Manifest) (bool, error) {
	_, covered, err := manifest.List(t.fs, t.mdir)
	if err != nil {
		return false, outside(err)
	}
	name := manifest.NameOf(m)
	if !slices.ContainsFunc(covered, func(e manifest.Entry) bool { return e.Name == name }) {
		return false, nil
	}
	if err := t.fs.Remove(t.fs.PathJoin(t.mdir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, outside(err)
	}
	return true, nil
}

func (s *Sink) revealOverwriteLocked(m manifest.Manifest) error {
	if err := s.t.revealOverwrite(m); err != nil {
		return err
	}
	s.mu.revealed = manifest.NameOf(m)
	if err := s.t.fold(); !errors.Is(err, os.ErrNotExist) {
		return outsideOrNil(err)
	}
	return nil // another statement folds the same manifests, or has just done so
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
	var err error
	for range maxReveals {
		var live []manifest.Entry
		live, _, err = manifest.List(t.fs, t.mdir)
		if err != nil || len(live) == 0 {
			return nil, outsideOrNil(err)
		}
		var m manifest.Manifest
		m, err = manifest.Read(t.fs, t.mdir, live[len(live)-1].Name)
		if err == nil {
			return &m, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			break // else newer ones have been folded with it meanwhile
		}
	}
	return nil, outside(err)
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
// says. Other statements may do the same with the same manifest: each step may
// have been done before, and who finds a file gone that was there a moment ago
// starts again, until a newer manifest says that all of this one was done.
func (t *target) revealOverwrite(m manifest.Manifest) error {
	var err error
	for range maxReveals {
		if err = t.tryRevealOverwrite(m); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		newest, lerr := t.lastOverwrite()
		if lerr != nil {
			return errors.Join(err, lerr)
		}
		if newest != nil && newest.To > m.To {
			return nil
		}
	}
	return err
}

// tryRevealOverwrite takes the files away that are replaced, then shows the new ones (W4).
func (t *target) tryRevealOverwrite(m manifest.Manifest) error {
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
