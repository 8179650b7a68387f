package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// entry is one file as it was listed.
type entry struct {
	Path  string `json:"path"`
	Size  int64  `json:"size"`
	MTime int64  `json:"mtime"` // nanoseconds since 1970
}

// goneSize marks a position whose file was removed before any batch had it.
const goneSize = -1

func (e entry) gone() bool { return e.Size == goneSize }

// byTime is the order of files within one listing (R2).
func byTime(a, b entry) int {
	switch {
	case a.MTime < b.MTime:
		return -1
	case a.MTime > b.MTime:
		return 1
	}
	return strings.Compare(a.Path, b.Path)
}

func hidden(name string) bool { return strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") }

// maxLooks is how often a listing is begun anew because an overwrite came between.
const maxLooks = 20

// list finds the files of the table, in order. now is for 'min-file-age'.
func (t *table) list(ctx context.Context, now time.Time) ([]entry, error) {
	roots, glob, err := t.roots()
	if err != nil {
		return nil, err
	}
	for range maxLooks {
		l := lister{t: t, seen: map[string]bool{}}
		for _, root := range roots {
			if err := l.root(ctx, root, glob); err != nil {
				return nil, err
			}
		}
		if l.again {
			continue
		}
		out := slices.DeleteFunc(l.out, func(e entry) bool { return t.minAge > 0 && now.UnixNano()-e.MTime < int64(t.minAge) })
		slices.SortFunc(out, byTime)
		return out, nil
	}
	return nil, batch.ExternalError(fmt.Errorf("table %q: list %q: its files were replaced %d times meanwhile", t.spec.Table, t.path, maxLooks), true)
}

// roots expands the path: a list with commas of files, directories and patterns. A
// pattern may match nothing yet in a folder that is there; a path may not.
func (t *table) roots() (roots []string, glob bool, err error) {
	if _, err := os.Lstat(t.path); err == nil {
		return []string{t.path}, false, nil
	}
	for _, path := range splitPaths(t.path) {
		if _, err := os.Lstat(path); err == nil || !strings.ContainsAny(path, "*?[") {
			roots = append(roots, path)
			continue
		}
		found, err := filepath.Glob(path)
		if err != nil {
			return nil, true, t.userError("path pattern %q: %v", path, err)
		}
		if len(found) == 0 && !t.spec.Stream { // a mistyped folder is no empty table
			fixed := filepath.Dir(path[:strings.IndexAny(path, "*?[")] + "x")
			if _, err := os.Stat(fixed); err != nil {
				return nil, true, t.pathError(fixed, err)
			}
		}
		roots, glob = append(roots, found...), true
	}
	return roots, glob, nil
}

// splitPaths divides a list at its commas and expands braces: a/{b,c}.csv are two paths.
func splitPaths(list string) []string {
	var out []string
	depth, from := 0, 0
	for i, c := range list + "," {
		switch {
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case c == ',' && (depth == 0 || i == len(list)):
			if p := strings.TrimSpace(list[from:i]); p != "" {
				out = append(out, braces(p)...)
			}
			from = i + 1
		}
	}
	return out
}

// braces expands the first braces of a path, and what they give.
func braces(path string) []string {
	from := strings.IndexByte(path, '{')
	to := strings.IndexByte(path, '}')
	if from < 0 || to < from {
		return []string{filepath.Clean(strings.TrimPrefix(path, "file://"))}
	}
	var out []string
	for _, part := range strings.Split(path[from+1:to], ",") {
		out = append(out, braces(path[:from]+part+path[to+1:])...)
	}
	return out
}

type lister struct {
	t    *table
	out  []entry
	seen map[string]bool
	// Of the root in hand: what the sink's manifests allow; nil for all.
	base      string
	committed *manifest.Listing
	again     bool // an overwrite came between: begin anew
}

func (l *lister) root(ctx context.Context, root string, glob bool) error {
	info, err := os.Stat(root)
	if err != nil {
		return l.t.pathError(root, err)
	}
	if !info.IsDir() {
		if !(glob && hidden(filepath.Base(root))) {
			l.add(root, info)
		}
		return nil
	}
	if glob && hidden(filepath.Base(root)) {
		return nil
	}
	held, err := manifest.Committed(vfsx.Default, root)
	if err != nil {
		return l.t.pathError(root, err)
	}
	l.base, l.committed = root, held
	if held == nil {
		return l.dir(ctx, root)
	}
	if l.t.spec.Stream {
		if err := l.t.onlyGrows(root, held); err != nil {
			return err
		}
	}
	if err := l.dir(ctx, root); err != nil {
		return err
	}
	if !l.t.spec.Stream {
		if err := l.onTheirWay(); err != nil {
			return err
		}
	}
	newest, err := manifest.NewestOverwrite(vfsx.Default, root)
	if err != nil {
		return l.t.pathError(root, err)
	}
	l.again = l.again || newest != held.Newest
	return nil
}

// onlyGrows refuses a directory whose rows were replaced or moved: a stream of its
// files would double rows, or keep those that are gone. It is asked at each listing,
// so that a stream stops at an overwrite that came while it ran; what the batches
// before it have put out stays.
func (t *table) onlyGrows(root string, held *manifest.Listing) error {
	switch {
	case held.Newest != "" && len(held.Gone) > 0: // the first one may have found nothing to replace
		return t.userError("directory %q was overwritten (INSERT OVERWRITE, or a table that a batch replaced: commit %q) and cannot be a stream of files, whose rows only grow: read it as a table (SELECT, or as the static side of a join), or let INSERT INTO write what is new to a directory of its own and start the query anew over that", root, held.Newest)
	case held.Compacted:
		return t.userError("directory %q is written by a file sink with 'compaction' on and cannot be a stream of files, since its rows move from file to file: switch 'compaction' off for a new directory, or read it as a table", root)
	case len(held.Gone) > 0:
		return t.userError("directory %q has had files replaced and cannot be a stream of files, whose rows only grow: read it as a table, or start the query over another directory", root)
	}
	return nil
}

// onTheirWay adds the files that are committed and not in their places yet: they
// are read where they are staged. A commit that a crash has cut off is whole so.
func (l *lister) onTheirWay() error {
	names := make([]string, 0, len(l.committed.Files))
	for name, f := range l.committed.Files {
		if f.Staged != "" && !l.seen[filepath.Join(l.base, filepath.FromSlash(name))] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		final := filepath.Join(l.base, filepath.FromSlash(name))
		staged := filepath.Join(l.base, filepath.FromSlash(l.committed.Staging[name]), l.committed.Files[name].Staged)
		info, err := os.Stat(staged)
		if errors.Is(err, fs.ErrNotExist) {
			if info, err = os.Stat(final); errors.Is(err, fs.ErrNotExist) {
				continue // somebody has deleted it
			}
		}
		if err != nil {
			return l.t.pathError(final, err)
		}
		l.add(final, info)
	}
	return nil
}

func (l *lister) dir(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) && dir != l.base {
		return nil // it went away while we listed
	}
	if err != nil {
		return l.t.pathError(dir, err)
	}
	for _, d := range names {
		if hidden(d.Name()) {
			continue
		}
		path := filepath.Join(dir, d.Name())
		info, err := os.Stat(path) // follows links, as readers do
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone, or a link to nothing
		}
		if err != nil {
			return l.t.pathError(path, err)
		}
		if info.IsDir() {
			if l.t.deep || strings.Contains(d.Name(), "=") {
				if d.Type()&fs.ModeSymlink != 0 {
					continue // a link to a directory may be a circle
				}
				if err := l.dir(ctx, path); err != nil {
					return err
				}
			}
			continue
		}
		if !info.Mode().IsRegular() {
			continue
		}
		if l.committed != nil {
			rel, err := filepath.Rel(l.base, path)
			if err != nil {
				return l.t.pathError(path, err)
			}
			if !l.committed.Holds(filepath.ToSlash(rel)) {
				continue
			}
		}
		l.add(path, info)
	}
	return nil
}

func (l *lister) add(path string, info fs.FileInfo) {
	if !l.seen[path] {
		l.seen[path] = true
		l.out = append(l.out, entry{Path: path, Size: info.Size(), MTime: info.ModTime().UnixNano()})
	}
}

// pathError says what the user can do about an error of the file system.
func (t *table) pathError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t.userError("path %q does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return t.userError("no permission to read %q", path)
	}
	if k, _ := batch.KindOf(err); k != batch.Internal {
		return err
	}
	return batch.ExternalError(fmt.Errorf("table %q: list %q: %w", t.spec.Table, path, err), true)
}

// check compares a file with how it was listed (R3).
func (e entry) check(info fs.FileInfo) error {
	if info.Size() != e.Size || info.ModTime().UnixNano() != e.MTime {
		return batch.UserErrorf("file %q was changed after it was listed: it had %d bytes at %s and has %d at %s; files must not change once they are there: write them elsewhere and rename them in, or set 'min-file-age'",
			e.Path, e.Size, stamp(e.MTime), info.Size(), stamp(info.ModTime().UnixNano()))
	}
	return nil
}

func stamp(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.999999999Z") }

// openEntry opens a file and checks that it is the one that was listed.
func openEntry(e entry) (*os.File, error) {
	f, err := openMoved(e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, batch.UserErrorf("file %q is gone, and was not read yet", e.Path)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, batch.UserErrorf("no permission to read file %q", e.Path)
	}
	if err != nil {
		return nil, batch.ExternalError(fmt.Errorf("open file %q: %w", e.Path, err), true)
	}
	info, err := f.Stat()
	if err == nil {
		err = e.check(info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openMoved opens a file in its place, or where a commit of Sluice's own sink keeps it:
// staged until the commit is through, retired when an overwrite has replaced it.
func openMoved(path string) (*os.File, error) {
	f, err := os.Open(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	rel := filepath.Base(path)
	for dir := filepath.Dir(path); ; dir, rel = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rel) {
		if held, herr := manifest.Committed(vfsx.Default, dir); herr == nil && held != nil {
			name := filepath.ToSlash(rel)
			// In the order in which a file moves on: it cannot be behind where it was looked for.
			if staged := held.Files[name].Staged; staged != "" {
				if f, serr := os.Open(filepath.Join(dir, filepath.FromSlash(held.Staging[name]), staged)); serr == nil {
					return f, nil
				}
			}
			if f, err = os.Open(path); !errors.Is(err, fs.ErrNotExist) {
				return f, err
			}
			found, _ := filepath.Glob(filepath.Join(dir, manifest.Root, manifest.Overwriting, manifest.Retired, "*", globEscape(rel)+manifest.RetiredSuffix))
			if len(found) > 0 {
				return os.Open(found[0])
			}
			return f, err
		}
		if dir == filepath.Dir(dir) {
			return f, err
		}
	}
}

// globEscape makes a pattern that matches one name.
func globEscape(name string) string {
	return strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]").Replace(name)
}

// partitionsOf returns the key=value directories of a path below the table's.
func (t *table) partitionsOf(path string) (keys, values []string) {
	rest := filepath.Dir(path)
	for _, base := range splitPaths(t.path) {
		if i := strings.IndexAny(base, "*?["); i >= 0 {
			base = base[:strings.LastIndexByte(base[:i], filepath.Separator)+1] // the folder before the pattern
		}
		if below, ok := strings.CutPrefix(filepath.Dir(path), base); ok {
			rest = below
			break
		}
	}
	for _, part := range strings.Split(filepath.ToSlash(rest), "/") {
		if k, v, ok := strings.Cut(part, "="); ok && k != "" {
			keys, values = append(keys, unescape(k)), append(values, unescape(v))
		}
	}
	return keys, values
}

// watermarkPartition is the directory that a file's event times are counted under,
// "" if all files are counted together.
func (t *table) watermarkPartition(path string) string {
	column := t.spec.Options.Get(optParts)
	if column == "" {
		return ""
	}
	keys, values := t.partitionsOf(path)
	for i, k := range keys {
		if strings.EqualFold(k, column) {
			return k + "=" + values[i]
		}
	}
	return ""
}

// hiveNull names the directory of rows whose partition column is NULL.
const hiveNull = "__HIVE_DEFAULT_PARTITION__"

func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var sb strings.Builder
	for i := 0; i < len(s); i++ {
		var b byte
		if s[i] == '%' && i+2 < len(s) {
			if n, err := fmt.Sscanf(s[i+1:i+3], "%02x", &b); n == 1 && err == nil {
				sb.WriteByte(b)
				i += 2
				continue
			}
		}
		sb.WriteByte(s[i])
	}
	return sb.String()
}
