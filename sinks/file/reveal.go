package file

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// foldAt is how many manifests of one size are folded into one.
const foldAt = 100

// putManifest makes a manifest durable where none is (W2). It returns the one
// that is there if another was faster.
func (t *target) putManifest(m manifest.Manifest) (held *manifest.Manifest, err error) {
	b, err := manifest.Encode(m)
	if err != nil {
		return nil, err
	}
	if err := vfsx.MkdirAll(t.fs, t.mdir, 0o777); err != nil {
		return nil, outside(err)
	}
	name := manifest.NameOf(m)
	path := t.fs.PathJoin(t.mdir, name)
	// The query is in the name because overwrites by different statements share this directory and these numbers.
	tmp := fmt.Sprintf("%s.%s.%d.tmp", path, t.short, m.Term)
	if err := t.writeSynced(tmp, b); err != nil {
		return nil, outside(fmt.Errorf("write the manifest of batch %d in %q: %w", m.To, t.dir, err))
	}
	err = t.fs.Link(tmp, path)
	switch {
	case errors.Is(err, os.ErrExist):
		_ = t.fs.Remove(tmp) // garbage, and the other's manifest is what matters
		other, err := manifest.Read(t.fs, t.mdir, name)
		if err != nil {
			return nil, outside(err)
		}
		return &other, nil
	case err != nil:
		// A file system without hard links: put-if-absent is lost there, and
		// two drivers at once are kept apart by the batch log alone.
		if err := t.fs.Rename(tmp, path); err != nil {
			return nil, outside(fmt.Errorf("put the manifest of batch %d in %q: %w", m.To, t.dir, err))
		}
	default:
		_ = t.fs.Remove(tmp) // garbage; the next listing does not see it
	}
	if err := vfsx.SyncDir(t.fs, t.mdir); err != nil {
		return nil, outside(err)
	}
	return nil, nil
}

func (t *target) writeSynced(path string, b []byte) error {
	f, err := t.fs.Create(path, vfsx.Unspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(slices.Clone(b))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// reveal brings the directory to what a durable manifest says. Each step may
// have been done before.
func (t *target) reveal(m manifest.Manifest) error {
	if m.From != m.To {
		return nil // a fold: its files were in their places before it was made
	}
	waiting := make([]bool, len(m.Files)) // whose staged file is there
	for i, f := range m.Files {
		_, err := t.fs.Stat(t.fs.PathJoin(t.sdir, f.Staged))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return outside(fmt.Errorf("reveal batch %d in %q: %w", m.To, t.dir, err))
		}
		waiting[i] = err == nil
	}
	over, err := t.takeAway(m, waiting)
	if err != nil {
		return outside(fmt.Errorf("take away old files for batch %d in %q: %w", m.To, t.dir, err))
	}
	dirs := map[string]bool{}
	for i, f := range m.Files {
		if err := t.place(f, waiting[i], over); err != nil {
			return outside(fmt.Errorf("reveal batch %d in %q: %w", m.To, t.dir, err))
		}
		dirs[t.fs.PathDir(t.fs.PathJoin(t.dir, f.Name))] = true
	}
	if err := t.syncAll(dirs); err != nil {
		return outside(err)
	}
	// Only now that the final names are durable may the staged ones go.
	for i, f := range m.Files {
		if waiting[i] {
			if err := t.removeStaged(f.Staged); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *target) syncAll(dirs map[string]bool) error {
	names := make([]string, 0, len(dirs))
	for d := range dirs {
		names = append(names, d)
	}
	slices.Sort(names)
	for _, d := range names {
		if err := vfsx.SyncDir(t.fs, d); err != nil {
			return err
		}
	}
	return nil
}

// takeAway removes the files that a manifest replaces, before any new one is
// in its place (W4), and makes that durable. A complete result of one file
// that replaces one of the same name is put over it by a rename instead, which
// no reader sees half-done: then over is true.
func (t *target) takeAway(m manifest.Manifest, waiting []bool) (over bool, err error) {
	if len(m.Removed) == 0 {
		return false, nil
	}
	if m.Replaces && len(m.Files) == 1 && len(m.Removed) == 1 && m.Removed[0] == m.Files[0].Name {
		return true, nil
	}
	placed := map[string]bool{} // by an attempt before, so that the name is a new file's
	for i, f := range m.Files {
		placed[f.Name] = !waiting[i]
	}
	dirs := map[string]bool{}
	for _, name := range m.Removed {
		if placed[name] {
			continue
		}
		path := t.fs.PathJoin(t.dir, name)
		err := t.fs.Remove(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		dirs[t.fs.PathDir(path)] = true
	}
	return false, t.syncAll(dirs)
}

// place gives one file its final name.
func (t *target) place(f manifest.File, waiting, over bool) error {
	final := t.fs.PathJoin(t.dir, f.Name)
	if !waiting {
		info, err := t.fs.Stat(final)
		if errors.Is(err, os.ErrNotExist) && t.overwritten(f.Name) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the committed file %q is neither staged nor in its place: was it deleted? %w", f.Name, err)
		}
		if info.Size() != f.Size {
			return fmt.Errorf("the committed file %q has %d bytes and not %d", f.Name, info.Size(), f.Size)
		}
		return nil
	}
	if err := vfsx.MkdirAll(t.fs, t.fs.PathDir(final), 0o777); err != nil {
		return err
	}
	staged := t.fs.PathJoin(t.sdir, f.Staged)
	if over {
		return t.placeOver(staged, final)
	}
	// A link first and the staged name removed after the sync: were it a
	// rename, a crash could keep the removal from one folder and lose the
	// entry of the other.
	err := t.fs.Link(staged, final)
	if errors.Is(err, os.ErrExist) { // by an attempt before
		info, err := t.fs.Stat(final)
		if err == nil && info.Size() != f.Size {
			err = fmt.Errorf("there is another file %q, of %d bytes, in the place of the committed one", f.Name, info.Size())
		}
		return err
	}
	if errors.Is(err, os.ErrNotExist) { // another process has brought this to its end
		if _, serr := t.fs.Stat(final); serr == nil || t.overwritten(f.Name) {
			return nil
		}
	}
	if err != nil {
		return t.fs.Rename(staged, final) // no hard links here
	}
	return nil
}

// overwritten says whether an INSERT OVERWRITE has taken a committed file out.
func (t *target) overwritten(name string) bool {
	held, err := manifest.Committed(t.fs, t.dir)
	if err != nil || held == nil {
		return false
	}
	_, there := held.Files[name]
	return !there
}

// placeOver puts a staged file over the one that has its name, in one step. The
// staged name stays until the caller has synced.
func (t *target) placeOver(staged, final string) error {
	tmp := t.fs.PathJoin(t.fs.PathDir(final), "_"+t.fs.PathBase(final)+".tmp")
	if err := t.fs.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := t.fs.Link(staged, tmp); err != nil {
		return t.fs.Rename(staged, final) // no hard links here
	}
	return t.fs.Rename(tmp, final)
}

// removeManifests removes manifests that a fold covers.
func (t *target) removeManifests(es []manifest.Entry) error {
	for _, e := range es {
		if err := t.fs.Remove(t.fs.PathJoin(t.mdir, e.Name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return outside(err)
		}
	}
	return nil
}

// fold puts runs of a hundred manifests of one size together, always leaving
// those of the newest batch alone: its files may still be on their way, and its
// commit may come again, which is known by its own manifest.
func (t *target) fold() error {
	for {
		live, _, err := manifest.List(t.fs, t.mdir)
		if err != nil || len(live) <= t.foldAt {
			return err
		}
		newest := live[len(live)-1].To
		for len(live) > 0 && live[len(live)-1].To == newest {
			live = live[:len(live)-1]
		}
		// The sizes fall from old to new: the run of the smallest is the last one.
		start := len(live)
		for start > 0 && t.sizeOf(live[start-1]) <= t.sizeOf(live[len(live)-1]) {
			start--
		}
		if len(live)-start < t.foldAt {
			return nil
		}
		if err := t.foldRun(live[start:]); err != nil {
			return err
		}
	}
}

func (t *target) foldRun(run []manifest.Entry) error {
	ms := make([]manifest.Manifest, 0, len(run))
	for _, e := range run {
		m, err := manifest.Read(t.fs, t.mdir, e.Name)
		if err == nil && len(ms) > 0 {
			err = manifest.Follows(&ms[len(ms)-1], &m) // a fold would hide the gap
		}
		if err != nil {
			return err
		}
		ms = append(ms, m)
	}
	f := manifest.Fold(ms)
	b, err := manifest.Encode(f)
	if err != nil {
		return err
	}
	if err := vfsx.WriteFileAtomic(t.fs, t.fs.PathJoin(t.mdir, manifest.NameOf(f)), b); err != nil {
		return err
	}
	return t.removeManifests(run)
}

// sizeOf is the level of a manifest: how often a hundred batches were folded into one.
func (t *target) sizeOf(e manifest.Entry) int {
	level := 0
	for n := int64(e.To - e.From + 1); n >= int64(t.foldAt); n /= int64(t.foldAt) {
		level++
	}
	return level
}

// sweep removes staged files of batches up to id that their manifests do not
// name: of attempts that died or lost (W5).
func (t *target) sweep(id batch.ID, keep []manifest.File) error {
	names, err := t.fs.List(t.sdir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, f := range keep {
		kept[f.Staged] = true
	}
	slices.Sort(names)
	for _, n := range names {
		head, _, _ := strings.Cut(n, "-")
		of, err := strconv.ParseInt(head, 10, 64)
		if err != nil || batch.ID(of) > id || kept[n] || !strings.HasSuffix(n, stagedSuffix) {
			continue
		}
		if err := t.removeStaged(n); err != nil {
			return err
		}
	}
	return nil
}
