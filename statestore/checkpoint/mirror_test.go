package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/run"
)

// shelf is a storage in memory.
type shelf struct {
	mu    sync.Mutex
	files map[string][]byte
	down  error // what every read returns
}

func (s *shelf) Put(_ context.Context, name string, body io.ReaderAt, size int64, _ uint64) error {
	b := make([]byte, size)
	if _, err := body.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = map[string][]byte{}
	}
	s.files[name] = b
	return nil
}

func (s *shelf) ReadAt(_ context.Context, name string, p []byte, off int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return s.down
	}
	b, ok := s.files[name]
	if !ok {
		return os.ErrNotExist
	}
	copy(p, b[off:])
	return nil
}

func (s *shelf) List(context.Context) (names []string, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.files {
		names = append(names, n)
	}
	return names, nil
}

func (s *shelf) Delete(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, name)
	return nil
}

func (s *shelf) Owned(context.Context) error { return nil }
func (s *shelf) String() string              { return "the shelf" }

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = err
}

// mirror is a folder with a storage behind it, closed at the end of the test.
func mirror(t *testing.T, fs vfsx.FS, remote Storage) *Dir {
	t.Helper()
	d, err := OpenMirrored(fs, "cache", remote)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func keyOf(file, i int) []byte   { return fmt.Appendf([]byte{byte(file)}, "key %06d", i) }
func valueOf(file, i int) []byte { return fmt.Appendf(nil, "value %d of %d", i*i, file) }

const rowsOfRun = 4000

// published writes a run, and puts it on the shelf.
func published(t *testing.T, d *Dir, n int) statestore.Part {
	t.Helper()
	p := written(t, d, n)
	if err := d.Publish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return p
}

func written(t *testing.T, d *Dir, n int) statestore.Part {
	t.Helper()
	w := d.NewRun(t.Context(), batch.Shard{Operator: "op", EndGroup: batch.KeyGroups}, batch.ID(n), 1<<30)
	for i := range rowsOfRun {
		if err := w.Put(keyOf(n, i), valueOf(n, i), false); err != nil {
			t.Fatal(err)
		}
	}
	parts, err := w.Finish()
	if err != nil || len(parts) != 1 {
		t.Fatalf("%d files, %v", len(parts), err)
	}
	return parts[0]
}

// ask looks for some keys of a run, each of them in a block of its own.
func ask(ctx context.Context, f *run.File, n int) error {
	l := run.Stack{{run.Slice{File: f, First: 0, End: batch.KeyGroups}}}.Lookup(ctx)
	for i := 7; i < rowsOfRun; i += 500 {
		v, ok, err := l.Get(keyOf(n, i))
		if err != nil {
			return errors.Join(err, l.Close())
		}
		if !ok || !bytes.Equal(v, valueOf(n, i)) {
			return errors.Join(fmt.Errorf("row %d of run %d is %q %v", i, n, v, ok), l.Close())
		}
	}
	return l.Close()
}

// TestCopyThatSurvived: what a folder has from before is read if it is whole, and is
// replaced by what the storage has if it is damaged in any way, at once or as soon as a
// block of it is read.
func TestCopyThatSurvived(t *testing.T) {
	flip := func(at func(n int) int) func([]byte, []byte) []byte {
		return func(b, _ []byte) []byte { b[at(len(b))] ^= 4; return b }
	}
	for name, damage := range map[string]func(b, other []byte) []byte{
		"whole":              nil,
		"empty":              func(b, _ []byte) []byte { return nil },
		"cut":                func(b, _ []byte) []byte { return b[:len(b)-1] },
		"longer":             func(b, _ []byte) []byte { return append(b, 0) },
		"zeros":              func(b, _ []byte) []byte { return make([]byte, len(b)) },
		"another file":       func(b, other []byte) []byte { return append(other, make([]byte, len(b))...)[:len(b)] },
		"another file whole": func(_, other []byte) []byte { return other },
		"first byte":         flip(func(int) int { return 0 }),
		"a block":            flip(func(n int) int { return n / 3 }),
		"last byte":          flip(func(n int) int { return n - 1 }),
	} {
		t.Run(name, func(t *testing.T) {
			fs, remote := vfsx.NewMem(), &shelf{}
			first := mirror(t, fs, remote)
			p, o := published(t, first, 1), published(t, first, 2)
			path := fs.PathJoin("cache", p.Name)
			if damage != nil {
				b, err := vfsx.ReadFile(fs, path, 1<<30)
				if err != nil {
					t.Fatal(err)
				}
				if err := vfsx.WriteFileAtomic(fs, path, damage(b, bytes.Clone(remote.files[o.Name]))); err != nil {
					t.Fatal(err)
				}
			}
			d := mirror(t, fs, remote)
			f, err := d.OpenRun(t.Context(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = ask(t.Context(), f, 1)
			if _, again := batch.KindOf(err); err != nil && again && errors.Is(err, ErrDamaged) || errors.Is(err, run.ErrDamaged) && again {
				err = ask(t.Context(), f, 1) // as a task does whose failure may pass
			}
			if err != nil {
				t.Fatal(err)
			}
			use := d.Files()
			if damage == nil && use != (batch.FileUse{Local: 1, LocalBytes: p.Bytes}) {
				t.Errorf("the copy was whole: %+v", use)
			}
			if damage != nil && (use.Damaged != 1 || use.Ranges+use.Fetched == 0) {
				t.Errorf("the copy was damaged: %+v", use)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if err := d.CheckRun(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestDamagedEverywhere: where the storage's file is no better, it is refused by name.
func TestDamagedEverywhere(t *testing.T) {
	fs, remote := vfsx.NewMem(), &shelf{}
	p := published(t, mirror(t, fs, remote), 1)
	remote.files[p.Name][p.Bytes/3] ^= 4
	if err := vfsx.WriteFileAtomic(fs, fs.PathJoin("cache", p.Name), remote.files[p.Name]); err != nil {
		t.Fatal(err)
	}
	d := mirror(t, fs, remote)
	if err := d.CheckRun(t.Context(), p); !errors.Is(err, ErrDamaged) {
		t.Fatalf("it is taken for whole: %v", err)
	}
	f, err := d.OpenRun(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := ask(t.Context(), f, 1); !errors.Is(err, run.ErrDamaged) {
			t.Fatalf("a damaged block: %v", err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOutage: what cannot be read from the storage now may be read later.
func TestOutage(t *testing.T) {
	fs, remote := vfsx.NewMem(), &shelf{}
	p := published(t, mirror(t, fs, remote), 1)
	d, err := OpenMirrored(vfsx.NewMem(), "cache", Bounded{remote, 1}) // nothing is copied
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	f, err := d.OpenRun(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	remote.fail(errors.New("no route"))
	if kind, again := batch.KindOf(ask(t.Context(), f, 1)); kind != batch.External || !again {
		t.Errorf("an outage is an error of kind %s, to be tried again: %v", kind, again)
	}
	remote.fail(nil)
	if err := ask(t.Context(), f, 1); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestBound: a folder keeps no more of a storage than it may, also from before and while
// several read, and never lets go of what the storage does not have.
func TestBound(t *testing.T) {
	fs, remote := vfsx.NewMem(), &shelf{}
	first := mirror(t, fs, remote)
	const files = 12
	parts := make([]statestore.Part, files)
	for n := range parts {
		parts[n] = published(t, first, n)
	}
	limit := 3*parts[0].Bytes + parts[0].Bytes/2
	size := func() (n int64) {
		names, err := fs.List("cache")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			info, err := fs.Stat(fs.PathJoin("cache", name))
			if err != nil {
				t.Fatal(err)
			}
			n += info.Size()
		}
		return n
	}
	d := mirror(t, fs, Bounded{remote, limit})
	if n := size(); n > limit || n < limit/2 {
		t.Fatalf("after the start %d bytes of %d", n, limit)
	}
	own := written(t, d, files)
	var open []*run.File
	for _, p := range append(parts, own) {
		f, err := d.OpenRun(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	var wg sync.WaitGroup
	for r := range 4 {
		wg.Go(func() {
			for i := range 40 * files {
				n := (i*(r+1) + r) % len(open)
				if err := ask(t.Context(), open[n], n); err != nil {
					t.Errorf("reader %d: %v", r, err)
					return
				}
			}
		})
	}
	wg.Wait()
	d.Close() // nothing is copied any more
	use := d.Files()
	if n := size(); n > limit || use.Fetched == 0 || use.Evicted == 0 {
		t.Errorf("%d bytes of %d, %+v", n, limit, use)
	}
	if _, err := fs.Stat(fs.PathJoin("cache", own.Name)); err != nil {
		t.Errorf("what nobody else has is gone: %v", err)
	}
	for _, f := range open {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
