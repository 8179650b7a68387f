package manifest

import (
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

// Listing is what the manifests of all queries under a directory say together.
type Listing struct {
	// Files are the committed files by name.
	Files map[string]File
	// Staging is the folder below the directory where the staged name of a file
	// lies until the commit is through.
	Staging map[string]string
	// Gone are the names that an overwrite has taken out.
	Gone map[string]bool
	// Compacted says that rows have moved from file to file.
	Compacted bool
	// Complete names a query that replaces its own files by others of the same names.
	Complete string
	// Newest is the name of the newest overwrite's manifest: a listing of files is
	// of one moment if it is the same behind it.
	Newest string
}

// ownName is how the sink calls its files. Such a file counts by its manifest alone,
// every other one is somebody's own.
var ownName = regexp.MustCompile(`^(part-\d{8,}-\d+-\d{5,}-\d{3,}|part-\d+-\d{5,}-\d{3,}|merged-\d{8,}-\d{4,})-[0-9a-f]{16}\.`)

// Holds says whether a file with a name under the directory is part of it.
func (l *Listing) Holds(name string) bool {
	if _, ok := l.Files[name]; ok {
		return true
	}
	return !l.Gone[name] && !ownName.MatchString(path.Base(name))
}

// Committed reads the manifests of all queries under a directory; nil where no
// query has ever written.
func Committed(fs vfsx.FS, dir string) (*Listing, error) {
	root := fs.PathJoin(dir, Root)
	queries, err := fs.List(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", root, err)
	}
	slices.Sort(queries)
	l := &Listing{Files: map[string]File{}, Staging: map[string]string{}, Gone: map[string]bool{}}
	for _, q := range queries {
		ms, err := readAll(fs, fs.PathJoin(root, q, Manifests))
		if err != nil {
			return nil, err
		}
		if len(ms) == 0 {
			continue
		}
		last := ms[len(ms)-1]
		if q == Overwriting {
			l.Newest = NameOf(last)
		}
		staged := map[string]string{} // a fold forgets them: only the newest may be on its way
		for _, f := range last.Files {
			staged[f.Name] = f.Staged
		}
		f := Fold(ms)
		l.Compacted = l.Compacted || f.Compacts
		if f.Replaces && q != Overwriting {
			l.Complete = q
		}
		for _, name := range f.Overwrites {
			l.Gone[name] = true
		}
		for _, file := range f.Files {
			file.Staged = staged[file.Name]
			l.Files[file.Name] = file
			l.Staging[file.Name] = path.Join(Root, q, Staging)
		}
	}
	for name := range l.Gone {
		delete(l.Files, name)
	}
	return l, nil
}

// NewestOverwrite names the newest overwrite's manifest, "" if there is none.
func NewestOverwrite(fs vfsx.FS, dir string) (string, error) {
	live, _, err := List(fs, fs.PathJoin(dir, Root, Overwriting, Manifests))
	if err != nil || len(live) == 0 {
		return "", err
	}
	return live[len(live)-1].Name, nil
}
