package filelog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
)

// Savepoint is a checkpoint that stays until it is dropped, under a name of its
// own. Its state lies with that of the query, whose files it keeps from being
// deleted; what sources have written down lies beside it, as it was.
type Savepoint struct {
	Name    string        `json:"name"`
	Created time.Time     `json:"created"`
	Query   batch.QueryID `json:"query"`
	Of      string        `json:"of"` // the query's name
	Batch   batch.ID      `json:"batch"`
	Engine  string        `json:"engine,omitempty"`
	// Plan describes the operators whose state it is (see planinfo.md); empty if the
	// checkpoint had no description.
	Plan []byte `json:"plan,omitempty"`
	// Records are the batch's plan, its commit and its checkpoint, as in the log.
	Records [][]byte `json:"records"`
}

const (
	savepointDir    = "savepoints"
	savepointSuffix = ".savepoint"
	savepointTitle  = "sluice savepoint 1 crc32c "
	savepointMax    = 1 << 28
	savedSources    = ".sources" // behind the name: the folder of what sources wrote down
	sourcesDir      = "sources"
	savepointLong   = 100
)

// CheckSavepointName refuses a name that is no plain file name.
func CheckSavepointName(name string) error {
	ok := len(name) > 0 && len(name) <= savepointLong && name[0] != '.'
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}
	if !ok || strings.HasSuffix(name, savedSources) {
		return refuse(fmt.Errorf("%q is no name for a savepoint: letters, digits, dots, hyphens and underscores, %d at most", name, savepointLong))
	}
	return nil
}

// NewSavepoint puts together what a savepoint holds.
func NewSavepoint(name string, m Metadata, plan microbatch.Planned, commit microbatch.Committed, check microbatch.Checkpointed) Savepoint {
	s := Savepoint{Name: name, Query: m.Query, Of: m.Name, Batch: check.Batch}
	for _, r := range []microbatch.Record{plan, commit, check} {
		s.Records = append(s.Records, microbatch.EncodeRecord(r))
	}
	return s
}

// Root decodes the records.
func (s *Savepoint) Root() (plan microbatch.Planned, commit microbatch.Committed, check microbatch.Checkpointed, err error) {
	var recs [3]microbatch.Record
	if len(s.Records) != len(recs) {
		return plan, commit, check, fmt.Errorf("savepoint %q holds %d records", s.Name, len(s.Records))
	}
	for i, b := range s.Records {
		if recs[i], err = microbatch.DecodeRecord(b); err != nil {
			return plan, commit, check, fmt.Errorf("savepoint %q: %w", s.Name, err)
		}
	}
	plan, ok1 := recs[0].(microbatch.Planned)
	commit, ok2 := recs[1].(microbatch.Committed)
	check, ok3 := recs[2].(microbatch.Checkpointed)
	if !ok1 || !ok2 || !ok3 || plan.Batch != check.Batch || commit.Batch != check.Batch {
		return plan, commit, check, fmt.Errorf("savepoint %q: its records do not belong together", s.Name)
	}
	return plan, commit, check, nil
}

// Refs are the manifests whose files must stay.
func (s *Savepoint) Refs() ([][]byte, error) {
	_, _, check, err := s.Root()
	refs := make([][]byte, len(check.Manifests))
	for i, m := range check.Manifests {
		refs[i] = []byte(m.Ref)
	}
	return refs, err
}

func savepointPath(fs vfsx.FS, dir, name string) string {
	return fs.PathJoin(dir, savepointDir, name+savepointSuffix)
}

// WriteSavepoint makes a savepoint durable: first what the sources wrote down,
// then the savepoint itself. The files of its state must be safe from deletion
// until it returns. A name that is taken is refused.
func WriteSavepoint(fs vfsx.FS, dir string, s Savepoint) error {
	if err := CheckSavepointName(s.Name); err != nil {
		return err
	}
	path := savepointPath(fs, dir, s.Name)
	if _, err := fs.Stat(path); err == nil {
		return refuse(fmt.Errorf("savepoint %q of %s exists already; drop it first, or take another name", s.Name, dir))
	}
	if err := vfsx.MkdirAll(fs, fs.PathJoin(dir, savepointDir), dirPerm); err != nil {
		return fmt.Errorf("make savepoint %q: %w", s.Name, explain(err))
	}
	if err := CopyTree(fs, fs.PathJoin(dir, sourcesDir), savedSourcesDir(fs, dir, s.Name)); err != nil {
		return fmt.Errorf("make savepoint %q: %w", s.Name, explain(err))
	}
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode savepoint %q: %w", s.Name, err)
	}
	body = append(body, '\n')
	data := append(fmt.Appendf(nil, "%s%08x\n", savepointTitle, crc32.Checksum(body, castagnoli)), body...)
	if err := vfsx.WriteFileAtomic(fs, path, data); err != nil {
		return fmt.Errorf("make savepoint %q: %w", s.Name, explain(err))
	}
	return nil
}

func savedSourcesDir(fs vfsx.FS, dir, name string) string {
	return fs.PathJoin(dir, savepointDir, name+savedSources)
}

// SourcesDir is where the sources of a checkpoint, or of a savepoint in it, have
// written down what they need.
func SourcesDir(fs vfsx.FS, dir, savepoint string) string {
	if savepoint == "" {
		return fs.PathJoin(dir, sourcesDir)
	}
	return savedSourcesDir(fs, dir, savepoint)
}

// ReadSavepoint reads one savepoint; ErrNotFound if there is none of that name.
func ReadSavepoint(fs vfsx.FS, dir, name string) (Savepoint, error) {
	if err := CheckSavepointName(name); err != nil {
		return Savepoint{}, err
	}
	path := savepointPath(fs, dir, name)
	data, err := vfsx.ReadFile(fs, path, savepointMax)
	if errors.Is(err, os.ErrNotExist) {
		return Savepoint{}, refuse(fmt.Errorf("%w: no savepoint %q in %s", ErrNotFound, name, dir))
	}
	if err != nil {
		return Savepoint{}, explain(err)
	}
	title, body, ok := bytes.Cut(data, []byte{'\n'})
	sum, known := bytes.CutPrefix(title, []byte(savepointTitle))
	if !ok || !known {
		return Savepoint{}, damagef(path, 0, "not a savepoint that this program can read")
	}
	if string(sum) != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)) {
		return Savepoint{}, damagef(path, 0, "the checksum is wrong")
	}
	var s Savepoint
	if err := json.Unmarshal(body, &s); err != nil {
		return Savepoint{}, damagef(path, 0, "%s", err)
	}
	if _, _, _, err := s.Root(); err != nil || s.Name != name {
		return Savepoint{}, damagef(path, 0, "it is not the savepoint %q: %v", name, err)
	}
	return s, nil
}

// Savepoints reads all savepoints of a checkpoint, by name. One that cannot be read
// is an error: who asks what must stay is not to be told less.
func Savepoints(fs vfsx.FS, dir string) ([]Savepoint, error) {
	names, err := fs.List(fs.PathJoin(dir, savepointDir))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("list savepoints of %s: %w", dir, explain(err))
	}
	slices.Sort(names)
	var out []Savepoint
	for _, file := range names {
		name, ok := strings.CutSuffix(file, savepointSuffix)
		if !ok {
			continue
		}
		s, err := ReadSavepoint(fs, dir, name)
		if errors.Is(err, ErrNotFound) {
			continue // it was dropped meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// SavepointRefs are the manifests of all savepoints.
func SavepointRefs(fs vfsx.FS, dir string) ([][]byte, error) {
	list, err := Savepoints(fs, dir)
	var refs [][]byte
	for i := range list {
		more, rerr := list[i].Refs()
		refs, err = append(refs, more...), errors.Join(err, rerr)
	}
	return refs, err
}

// DropSavepoint removes a savepoint. The files of its state go when the query
// collects next.
func DropSavepoint(fs vfsx.FS, dir, name string) error {
	if err := CheckSavepointName(name); err != nil {
		return err
	}
	err := fs.Remove(savepointPath(fs, dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return refuse(fmt.Errorf("%w: no savepoint %q in %s", ErrNotFound, name, dir))
	}
	if err == nil {
		err = vfsx.SyncDir(fs, fs.PathJoin(dir, savepointDir))
	}
	if err == nil {
		err = fs.RemoveAll(savedSourcesDir(fs, dir, name))
	}
	if err != nil {
		return fmt.Errorf("drop savepoint %q of %s: %w", name, dir, explain(err))
	}
	return nil
}

// CopyTree copies the files below a folder, synced, over whatever lies at the
// target. A folder that is not there has no files.
func CopyTree(fs vfsx.FS, from, to string) error {
	names, err := fs.List(from)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := fs.RemoveAll(to); err != nil {
		return err
	}
	if err := vfsx.MkdirAll(fs, to, dirPerm); err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		src, dst := fs.PathJoin(from, name), fs.PathJoin(to, name)
		info, err := fs.Stat(src)
		switch {
		case errors.Is(err, os.ErrNotExist) || strings.HasSuffix(name, vfsx.TempSuffix):
			continue // it was being written
		case err != nil:
			return err
		case info.IsDir():
			err = CopyTree(fs, src, dst)
		default:
			err = CopyFile(fs, src, dst)
		}
		if err != nil {
			return err
		}
	}
	return vfsx.SyncDir(fs, to)
}

// CopyFile copies a file as it is now, synced.
func CopyFile(fs vfsx.FS, from, to string) (err error) {
	f, err := fs.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return vfsx.ReplaceFile(fs, to, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}

// LinkFiles makes files of one folder known in another: by a second name where the
// file system can, else by a copy. Files are never changed once they have a name,
// so the two cannot be told apart.
func LinkFiles(fs vfsx.FS, from, to string, names []string) error {
	if err := vfsx.MkdirAll(fs, to, dirPerm); err != nil {
		return err
	}
	for _, name := range names {
		src, dst := fs.PathJoin(from, name), fs.PathJoin(to, name)
		if _, err := fs.Stat(dst); err == nil {
			if err := fs.Remove(dst); err != nil {
				return err
			}
		}
		if fs.Link(src, dst) == nil {
			continue
		}
		if err := CopyFile(fs, src, dst); err != nil {
			return fmt.Errorf("take over %s: %w", src, err)
		}
	}
	return vfsx.SyncDir(fs, to)
}
