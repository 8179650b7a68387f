package checkpoint

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/fault"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

// Dir is a folder of checkpoint files. It may be used from several goroutines.
type Dir struct {
	fs   vfsx.FS
	path string

	remote Storage // nil without one
	fetch  fetcher // of files that are there and not here
	bound  bound   // of what is here of it
	counts counters
	spared map[string]bool // prefixes of files that are collected elsewhere

	mu struct {
		sync.Mutex
		writing map[string]struct{} // files of runs that are not finished; Collect leaves them alone
	}
}

// write notes or forgets that a file is being written.
func (d *Dir) write(name string, on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.writing == nil {
		d.mu.writing = map[string]struct{}{}
	}
	if on {
		d.mu.writing[name] = struct{}{}
	} else {
		delete(d.mu.writing, name)
	}
}

func (d *Dir) isWritten(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.mu.writing[strings.TrimSuffix(name, vfsx.TempSuffix)]
	return ok
}

// Open makes the folder if it is missing.
func Open(fs vfsx.FS, path string) (*Dir, error) {
	if err := vfsx.MkdirAll(fs, path, 0o700); err != nil {
		return nil, err
	}
	return &Dir{fs: fs, path: path}, nil
}

// View is Open for reading alone: it changes nothing and does not ask whether
// the folder is there.
func View(fs vfsx.FS, path string) *Dir { return &Dir{fs: fs, path: path} }

// rowsPerLook is how many rows are written or read between two looks at the context.
const rowsPerLook = 4096

// Write writes a file and returns the part that names it. rows calls put in key
// order, h.Rows times.
func (d *Dir) Write(ctx context.Context, h Header, rows func(Put) error) (statestore.Part, error) {
	name, err := fileName(h)
	if err != nil {
		return statestore.Part{}, err
	}
	var part statestore.Part
	err = vfsx.ReplaceFile(d.fs, d.fs.PathJoin(d.path, name), func(w io.Writer) error {
		e := newEncoder(w, h)
		err := rows(func(key, value []byte, deleted bool) error {
			if e.rows%rowsPerLook == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return e.put(key, value, deleted)
		})
		if err == nil {
			err = e.finish()
		}
		if err == nil && e.rows != h.Rows {
			err = fmt.Errorf("%d rows written instead of %d", e.rows, h.Rows)
		}
		part = statestore.Part{Name: name, Bytes: e.bytes, Sum: e.sum.Sum64()}
		return err
	})
	if err != nil {
		return statestore.Part{}, fmt.Errorf("write state version %d of %s to %s: %w", h.Version, h.Shard, d.path, err)
	}
	return part, nil
}

// fileName returns a name that no other attempt has. Its parts let a person and
// Collect see what it is; nothing else is read out of it.
func fileName(h Header) (string, error) {
	var id [12]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", fmt.Errorf("draw a file name: %w", err)
	}
	return fmt.Sprintf("%s.v%d.%s.%s", filePrefix(h.Shard), h.Version, hex.EncodeToString(id[:]), h.Kind), nil
}

// safeName makes an operator's name fit for a file: what is left of it is for
// the eye, the hash tells two apart.
func safeName(op string) string {
	const eyeMax = 40
	var b strings.Builder
	for _, r := range op {
		switch {
		case b.Len() >= eyeMax:
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			b.WriteRune(r)
		default:
			b.WriteByte('_')
		}
	}
	return fmt.Sprintf("%s-%08x", b.String(), uint32(xxhash.Sum64String(op)))
}

// versionOf reads the state version out of a file name.
func versionOf(name string) (batch.ID, bool) {
	f := strings.Split(strings.TrimSuffix(name, vfsx.TempSuffix), ".")
	if len(f) != 5 || (f[4] != Snapshot.String() && f[4] != Changes.String() && f[4] != runSuffix) || !strings.HasPrefix(f[2], "v") {
		return 0, false
	}
	v, err := strconv.ParseInt(f[2][1:], 10, 64)
	return batch.ID(v), err == nil
}

// Read visits every row of a part. All is checked: size, checksums, order, count.
// Rows come before the last check, so they count only if Read returns nil.
func (d *Dir) Read(ctx context.Context, part statestore.Part, visit Visit) (Header, error) {
	h, err := d.read(ctx, part, visit)
	if err != nil {
		return h, fmt.Errorf("read %s: %w", d.fs.PathJoin(d.path, part.Name), err)
	}
	return h, nil
}

func (d *Dir) read(ctx context.Context, part statestore.Part, visit Visit) (h Header, err error) {
	f, err := d.open(ctx, part)
	if err != nil {
		return h, err
	}
	defer func() {
		if cerr := f.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close: %w", cerr)
		}
	}()
	dec := newDecoder(f, f.size)
	if h, err = dec.header(); err != nil {
		return h, err
	}
	n := 0
	err = dec.rows(h, func(key, value []byte, deleted bool) error {
		if n++; n%rowsPerLook == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return visit(key, value, deleted)
	})
	if err != nil {
		return h, err
	}
	if sum := dec.sum.Sum64(); sum != part.Sum {
		return h, fmt.Errorf("%w: the file's sum is %016x instead of %016x", ErrDamaged, sum, part.Sum)
	}
	return h, nil
}

// ReadVersion visits the rows of a manifest: of one made of runs each row once,
// in key order; of an older one those of all parts, oldest first, deleted rows
// included. It returns the version that the last part of the latter ends at: later
// versions, through the manifest's, changed nothing, and the next change file has
// that version as its base.
func (d *Dir) ReadVersion(ctx context.Context, m statestore.Manifest, visit Visit) (batch.ID, error) {
	if !InRuns(m) {
		return d.readChain(ctx, m, visit)
	}
	r, err := d.NewReader(ctx, m, nil)
	if err != nil {
		return batch.None, err
	}
	err = r.Scan(nil, nil, func(key, value []byte) (bool, error) { return true, visit(key, value, false) })
	return m.Version, errors.Join(err, r.Close())
}

// readChain visits the rows of a snapshot and the change files after it, and
// checks that they join up to the manifest's version of its shard.
func (d *Dir) readChain(ctx context.Context, m statestore.Manifest, visit Visit) (batch.ID, error) {
	at := batch.None
	for i, p := range m.Parts {
		h, err := d.Read(ctx, p, visit)
		if err != nil {
			return at, err
		}
		switch {
		case h.Shard != m.Shard:
			return at, fmt.Errorf("read %s: %w: it holds %s of key groups %d to %d, not %s", p.Name, ErrDamaged, h.Shard, h.Shard.FirstGroup, h.Shard.EndGroup, m.Shard)
		case (i == 0) != (h.Kind == Snapshot):
			return at, fmt.Errorf("read %s: %w: a %s file as part %d", p.Name, ErrDamaged, h.Kind, i)
		case i > 0 && h.Base != at:
			return at, fmt.Errorf("read %s: %w: changes to version %d follow version %d", p.Name, ErrDamaged, h.Base, at)
		}
		at = h.Version
	}
	if len(m.Parts) == 0 || at > m.Version {
		return at, fmt.Errorf("%w: version %d of %s from parts that end at %d", ErrDamaged, m.Version, m.Shard, at)
	}
	return at, nil
}

// Verify reads all of a manifest's files and checks them.
func (d *Dir) Verify(ctx context.Context, m statestore.Manifest) error {
	if InRuns(m) {
		if _, err := m.Groups.Unpack(m.Shard, m.State); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		for _, p := range m.Parts {
			if err := d.CheckRun(ctx, p); err != nil {
				return err
			}
		}
	}
	_, err := d.ReadVersion(ctx, m, func(_, _ []byte, _ bool) error { return nil })
	return err
}

// Collect deletes the files that no live manifest names and that are not newer
// than all of them; those that a manifest in also names and those that are being
// written through this Dir stay too. Nothing is
// deleted when nothing is live, nor what Spare leaves to others. It is idempotent, so a crash half-way needs no
// repair (C13).
func (d *Dir) Collect(ctx context.Context, live, also []statestore.Manifest) error {
	if len(live) == 0 {
		return nil
	}
	keep := map[string]bool{}
	newest := batch.None
	for _, m := range live {
		newest = max(newest, m.Version)
		for _, p := range m.Parts {
			keep[p.Name] = true
		}
	}
	for _, m := range also {
		for _, p := range m.Parts {
			keep[p.Name] = true
		}
	}
	names, err := d.fs.List(d.path)
	if err != nil {
		return fmt.Errorf("list state checkpoints: %w", err)
	}
	needless := func(name string) bool {
		v, ok := versionOf(name)
		return ok && !keep[name] && v <= newest && !d.isWritten(name) && !d.isSpared(name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if !needless(name) {
			continue
		}
		if err := d.fs.Remove(d.fs.PathJoin(d.path, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("delete an old state checkpoint: %w", err)
		}
		d.bound.forget(name)
		fault.Hit(fault.C13)
	}
	return d.collectRemote(ctx, needless)
}

// collectRemote deletes what is needless from the storage.
func (d *Dir) collectRemote(ctx context.Context, needless func(name string) bool) error {
	if d.remote == nil {
		return nil
	}
	names, err := d.remote.List(ctx)
	if err != nil {
		return fmt.Errorf("list state checkpoints in %s: %w", d.remote, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !needless(name) })
	if len(names) == 0 {
		return nil
	}
	// After the list: what another process has put before it took over is in no list
	// of ours, and what we see is not among what it has put.
	if err := d.remote.Owned(ctx); err != nil {
		return fmt.Errorf("delete old state checkpoints from %s: %w", d.remote, err)
	}
	for _, name := range names {
		if err := d.remote.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete an old state checkpoint from %s: %w", d.remote, err)
		}
	}
	return nil
}
