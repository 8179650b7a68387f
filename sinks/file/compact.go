package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/sluice-stream/sluice/formats"
	"github.com/sluice-stream/sluice/formats/manifest"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// smallFiles are the committed files worth merging, by partition directory.
type smallFiles struct {
	byDir map[string][]manifest.File
}

func (s *smallFiles) add(f manifest.File, below int64) {
	if f.Size < below {
		dir := path.Dir(f.Name)
		s.byDir[dir] = append(s.byDir[dir], f)
	}
}

// tidyLocked does what a commit leaves for after it: remove the staged files
// of dead attempts, fold manifests, merge small files. All of it may be cut
// off by a crash and is done again later.
func (s *Sink) tidyLocked(ctx context.Context, m manifest.Manifest) error {
	if err := s.t.sweep(m.To, nil); err != nil {
		return outside(fmt.Errorf("remove staged files of dead attempts in %q: %w", s.t.dir, err))
	}
	if s.t.compact {
		if err := s.compactLocked(ctx, m); err != nil {
			return err
		}
	}
	if err := s.t.fold(); err != nil {
		return outside(fmt.Errorf("fold manifests of %q: %w", s.t.dir, err))
	}
	return nil
}

// compactLocked merges the small files of the partitions that the batch wrote to.
func (s *Sink) compactLocked(ctx context.Context, m manifest.Manifest) error {
	below := s.t.fileSize / 2
	if s.mu.small == nil {
		s.mu.small = &smallFiles{byDir: map[string][]manifest.File{}}
		all, err := s.t.readAll()
		if err != nil {
			return err
		}
		for _, f := range all.Files {
			s.mu.small.add(f, below)
		}
	} else {
		for _, f := range m.Files {
			s.mu.small.add(f, below)
		}
	}
	dirs := make([]string, 0, len(s.mu.small.byDir))
	for dir, fs := range s.mu.small.byDir {
		if len(fs) >= s.t.minFiles {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	if len(dirs) == 0 {
		return nil
	}
	held, err := manifest.Committed(s.t.fs, s.t.dir)
	if err != nil {
		return outside(err)
	}
	for i, dir := range dirs {
		fs := slices.DeleteFunc(s.mu.small.byDir[dir], func(f manifest.File) bool { return held != nil && held.Gone[f.Name] })
		if len(fs) < s.t.minFiles {
			s.mu.small.byDir[dir] = fs
			continue
		}
		delete(s.mu.small.byDir, dir)
		merged, err := s.mergeLocked(ctx, m, i+1, fs)
		if err != nil {
			s.mu.small = nil // read again next time
			return fmt.Errorf("merge %d small files of %q: %w", len(fs), s.t.fs.PathJoin(s.t.dir, dir), err)
		}
		s.mu.small.add(merged, below)
	}
	return nil
}

func (t *target) readAll() (manifest.Manifest, error) {
	live, _, err := manifest.List(t.fs, t.mdir)
	if err != nil {
		return manifest.Manifest{}, outside(err)
	}
	ms := make([]manifest.Manifest, len(live))
	for i, e := range live {
		if ms[i], err = manifest.Read(t.fs, t.mdir, e.Name); err != nil {
			return manifest.Manifest{}, outside(err)
		}
	}
	return manifest.Fold(ms), nil
}

// mergeLocked writes the rows of files, in order, into one. Its manifest goes
// behind the batch's and is revealed in the same way: the old files are taken
// away and then the new one comes (W4).
func (s *Sink) mergeLocked(ctx context.Context, m manifest.Manifest, seq int, files []manifest.File) (manifest.File, error) {
	t := s.t
	name := fmt.Sprintf("%012d-%d-merge-%d%s", m.To, m.Term, seq, stagedSuffix)
	final := path.Join(path.Dir(files[0].Name), fmt.Sprintf("merged-%08d-%04d-%s%s", m.To, seq, t.short, t.ext))
	out, err := t.stage(name, final, plainSchema(t.fileSchema), memory.DefaultAllocator)
	if err != nil {
		return manifest.File{}, err
	}
	for _, f := range files {
		if err := t.copyRows(ctx, f, out); err != nil {
			return manifest.File{}, errors.Join(err, out.discard())
		}
	}
	if err := out.finish(); err != nil {
		return manifest.File{}, errors.Join(err, out.discard())
	}
	if err := vfsx.SyncDir(t.fs, t.sdir); err != nil {
		return manifest.File{}, outside(err)
	}
	var rows int64
	for _, f := range files {
		rows += f.Rows
	}
	if out.rows != rows {
		return manifest.File{}, errors.Join(fmt.Errorf("%d rows were found and %d were written: were they changed?", out.rows, rows), out.discard())
	}
	merged := manifest.File{Name: final, Size: out.size, Rows: out.rows, Staged: name}
	cm := manifest.Manifest{Query: m.Query, From: m.To, To: m.To, Seq: seq, Term: m.Term, Files: []manifest.File{merged}, Compacts: true, After: s.mu.revealed}
	for _, f := range files {
		cm.Removed = append(cm.Removed, f.Name)
	}
	held, err := t.putManifest(cm)
	if err != nil {
		return manifest.File{}, err
	}
	if held != nil {
		return manifest.File{}, fmt.Errorf("another driver merges the same files")
	}
	if err := t.reveal(cm); err != nil {
		return manifest.File{}, err
	}
	s.mu.revealed = manifest.NameOf(cm)
	return merged, nil
}

// plainSchema replaces dictionaries by their values: files are read back so.
func plainSchema(s *arrow.Schema) *arrow.Schema {
	fields := slices.Clone(s.Fields())
	for i, f := range fields {
		if d, ok := f.Type.(*arrow.DictionaryType); ok {
			fields[i].Type = d.ValueType
		}
	}
	return arrow.NewSchema(fields, nil)
}

func (t *target) copyRows(ctx context.Context, f manifest.File, out *staged) (err error) {
	in, err := t.fs.Open(t.fs.PathJoin(t.dir, f.Name))
	if err != nil {
		return outside(err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	src := formats.File{ReaderAt: in, Name: strings.TrimSuffix(f.Name, "/"), Size: f.Size}
	pieces, err := t.format.Cut(ctx, src, t.config)
	if err != nil {
		return err
	}
	for _, p := range pieces {
		if err := t.copyPiece(ctx, src, p, out); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) copyPiece(ctx context.Context, src formats.File, p formats.Piece, out *staged) (err error) {
	schema := plainSchema(t.fileSchema)
	r, err := t.format.NewReader(ctx, src, p, formats.ReadSpec{Config: t.config, Schema: schema, File: schema})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		rec, err := r.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		err = out.w.Write(rec)
		out.rows += rec.NumRows()
		rec.Release()
		if err != nil {
			return outside(err)
		}
	}
}
