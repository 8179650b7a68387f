package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/mutant"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// Names under the target directory.
const (
	Root      = "_sluice"
	Manifests = "manifests"
	Staging   = "staging"
	// Overwriting is the folder of INSERT OVERWRITE, in the place of a query's: all
	// such statements count on in one sequence of batches, so that each is done
	// before or after each other one.
	Overwriting = "overwrites"
	// Retired is where it holds the files that the last ones replaced, for readers
	// that listed them before.
	Retired = "retired"
	// RetiredSuffix keeps patterns for data files from meeting them.
	RetiredSuffix = ".retired"
	suffix        = ".manifest"
	maxBytes      = 1 << 30
)

// File is one committed file.
type File struct {
	Name   string `json:"name"` // path under the target directory, with slashes
	Size   int64  `json:"size"`
	Rows   int64  `json:"rows"`
	Staged string `json:"staged,omitempty"` // name in the staging folder it comes from
}

// Manifest says what one batch, one compaction or a fold of several did.
type Manifest struct {
	Query    batch.QueryID `json:"query"`
	From     batch.ID      `json:"from"`
	To       batch.ID      `json:"to"`
	Seq      int           `json:"seq"` // 0 for a batch; counts compactions behind it
	Term     batch.Term    `json:"term"`
	Rows     int64         `json:"rows"`
	Digest   batch.Digest  `json:"digest"`
	Replaces bool          `json:"replaces,omitempty"` // all files before are gone (complete mode)
	Removed  []string      `json:"removed,omitempty"`  // files before that are taken away first
	Files    []File        `json:"files"`
	Compacts bool          `json:"compacts,omitempty"` // rows of Files were in other files before
	// Overwrites are the files of other queries, and files that no query wrote,
	// in whose place Files are.
	Overwrites []string `json:"overwrites,omitempty"`
	// After is the name of the manifest before, so that a reader sees when one is gone.
	After string `json:"after,omitempty"`
}

// Entry is the place of a manifest: what its name tells.
type Entry struct {
	From, To batch.ID
	Seq      int
	Name     string
}

// NameOf returns the file name of a manifest.
func NameOf(m Manifest) string {
	return fmt.Sprintf("%012d-%012d-%04d%s", m.From, m.To, m.Seq, suffix)
}

func parseName(name string) (Entry, bool) {
	base, ok := strings.CutSuffix(name, suffix)
	part := strings.Split(base, "-")
	if !ok || len(part) != 3 {
		return Entry{}, false
	}
	from, err1 := strconv.ParseUint(part[0], 10, 63)
	to, err2 := strconv.ParseUint(part[1], 10, 63)
	seq, err3 := strconv.ParseUint(part[2], 10, 31)
	e := Entry{From: batch.ID(from), To: batch.ID(to), Seq: int(seq), Name: name}
	return e, err1 == nil && err2 == nil && err3 == nil && from <= to
}

var table = crc32.MakeTable(crc32.Castagnoli)

const header = "sluice-manifest %d %08x %d\n"

// newestVersion has Overwrites, which a program of version 1 must not pass over:
// a manifest with some is of this version.
const newestVersion = 2

// Encode returns the bytes of a manifest file.
func Encode(m Manifest) ([]byte, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode the manifest of batch %d: %w", m.To, err)
	}
	version := 1
	if len(m.Overwrites) > 0 {
		version = newestVersion
	}
	return append(fmt.Appendf(nil, header, version, crc32.Checksum(body, table), len(body)), body...), nil
}

// ErrDamaged says that a manifest is not what was written.
var ErrDamaged = errors.New("the manifest is damaged")

// Decode reads the bytes of a manifest file.
func Decode(b []byte) (Manifest, error) {
	var m Manifest
	line, body, ok := bytes.Cut(b, []byte("\n"))
	var version int
	if n, _ := fmt.Sscanf(string(line[:min(len(line), 40)]), "sluice-manifest %d ", &version); n == 1 && version > newestVersion {
		return m, batch.UserErrorf("the manifest is of version %d, and this program knows version %d: use a newer one", version, newestVersion)
	}
	var sum uint32
	var size int
	if n, err := fmt.Sscanf(string(line)+"\n", header, &version, &sum, &size); !ok || n != 3 || err != nil {
		return m, fmt.Errorf("%w: no header that this version knows", ErrDamaged)
	}
	if (len(body) != size || crc32.Checksum(body, table) != sum) && !mutant.On(mutant.ManifestUnchecked) {
		return m, fmt.Errorf("%w: the checksum differs", ErrDamaged)
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

// ErrMissing says that a manifest stands after one that is gone.
var ErrMissing = errors.New("a manifest before it is missing")

// Follows checks that m stands behind the one that it names, or behind a fold
// of it. One that replaces everything needs no other. before is nil for the first.
func Follows(before *Manifest, m *Manifest) error {
	want, ok := parseName(m.After)
	if !ok || m.Replaces || before != nil && before.To == want.To && before.Seq == want.Seq {
		return nil
	}
	return fmt.Errorf("manifest %q: %w: %q; restore it, or the rows of its files are lost", NameOf(*m), ErrMissing, m.After)
}

func joinUp(ms []Manifest) error {
	var before *Manifest
	for i := range ms {
		if err := Follows(before, &ms[i]); err != nil {
			return err
		}
		before = &ms[i]
	}
	return nil
}

// List returns the manifests of a folder in order, without those that a fold
// covers. A folder that is not there has none.
func List(fs vfsx.FS, dir string) (live, covered []Entry, err error) {
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list manifests in %q: %w", dir, err)
	}
	var all []Entry
	for _, n := range names {
		if e, ok := parseName(n); ok {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b Entry) int {
		switch {
		case a.To != b.To:
			return int(a.To - b.To)
		case a.Seq != b.Seq:
			return a.Seq - b.Seq
		}
		return int(b.From - a.From)
	})
	// From the last to the first: a manifest that starts at or behind the start
	// of a later one is covered by it, unless it is a step of the same batch.
	var cover *Entry
	for i := len(all) - 1; i >= 0; i-- {
		e := all[i]
		if cover != nil && e.From >= cover.From && cover.From < cover.To {
			covered = append(covered, e)
			continue
		}
		live = append(live, e)
		if cover == nil || e.From < cover.From {
			cover = &all[i]
		}
	}
	slices.Reverse(live)
	return live, covered, nil
}

// Read reads one manifest.
func Read(fs vfsx.FS, dir, name string) (Manifest, error) {
	path := fs.PathJoin(dir, name)
	b, err := vfsx.ReadFile(fs, path, maxBytes)
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest %q: %w", path, err)
	}
	m, err := Decode(b)
	if err == nil && NameOf(m) != name {
		err = fmt.Errorf("%w: it is the manifest %s under another's name", ErrDamaged, NameOf(m))
	}
	if err != nil {
		return m, fmt.Errorf("read manifest %q: %w", path, err)
	}
	return m, nil
}

// Fold merges manifests in order into one that stands for all.
func Fold(ms []Manifest) Manifest {
	last := ms[len(ms)-1]
	out := Manifest{Query: last.Query, From: ms[0].From, To: last.To, Seq: last.Seq, Term: last.Term, After: ms[0].After}
	at := map[string]int{}
	gone := map[string]bool{}
	for _, m := range ms {
		if m.Replaces {
			out.Files, out.Removed, out.Replaces = nil, nil, true
			clear(at)
			clear(gone)
		}
		for _, r := range m.Removed {
			if m.Replaces {
				break // all is gone anyway
			}
			if i, ok := at[r]; ok {
				out.Files[i].Name = ""
				delete(at, r)
			} else {
				out.Removed = append(out.Removed, r)
			}
		}
		for _, o := range m.Overwrites {
			if i, ok := at[o]; ok {
				out.Files[i].Name = ""
				delete(at, o)
			} else {
				out.Overwrites = append(out.Overwrites, o)
			}
		}
		out.Compacts = out.Compacts || m.Compacts
		out.Rows += m.Rows
		out.Digest = out.Digest.Add(m.Digest)
		for _, f := range m.Files {
			f.Staged = ""
			at[f.Name] = len(out.Files)
			out.Files = append(out.Files, f)
		}
	}
	out.Files = slices.DeleteFunc(out.Files, func(f File) bool { return f.Name == "" })
	return out
}

// readAll reads a folder's manifests. A fold may replace some while they are
// read: then the list is taken again.
func readAll(fs vfsx.FS, dir string) ([]Manifest, error) {
	var err error
	for range 10 {
		var live []Entry
		if live, _, err = List(fs, dir); err != nil {
			return nil, err
		}
		ms := make([]Manifest, 0, len(live))
		for _, e := range live {
			var m Manifest
			if m, err = Read(fs, dir, e.Name); err != nil {
				break
			}
			ms = append(ms, m)
		}
		if err == nil {
			err = joinUp(ms)
		}
		if err == nil {
			return ms, nil
		}
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrMissing) {
			return nil, err
		}
	}
	return nil, err
}
