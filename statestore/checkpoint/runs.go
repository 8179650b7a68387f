package checkpoint

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/mutant"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/run"
)

// runSuffix ends the name of a file of a sorted run.
const runSuffix = "run"

// RunWriter writes a run: rows in key order, cut into files of a size that a
// Bloom filter in memory and a merge of a part of the state can be had for.
type RunWriter struct {
	d       *Dir
	ctx     context.Context
	shard   batch.Shard
	version batch.ID
	max     int64

	cur   *runFile
	parts []statestore.Part
	names []string // of all files, which Collect must leave alone
	rows  int64
	err   error
}

// runFile is the file that is being written.
type runFile struct {
	name, path string
	f          vfsx.File
	buf        *bufio.Writer
	w          *run.Writer
}

// NewRun starts a run of a shard's rows up to a version, in files of about
// bytesMax. Nothing of it is to be seen before Finish.
func (d *Dir) NewRun(ctx context.Context, shard batch.Shard, version batch.ID, bytesMax int64) *RunWriter {
	return &RunWriter{d: d, ctx: ctx, shard: shard, version: version, max: bytesMax}
}

// Put writes a row.
func (w *RunWriter) Put(key, value []byte, deleted bool) error {
	if w.err != nil {
		return w.err
	}
	if w.err = w.put(key, value, deleted); w.err != nil {
		w.err = fmt.Errorf("write state version %d of %s to %s: %w", w.version, w.shard, w.d.path, w.err)
	}
	return w.err
}

// rowsPerTurn is after how many rows a writer lets others run: runs are written in
// the background, and the scheduler would let a batch wait for ten milliseconds.
const rowsPerTurn = 32

func (w *RunWriter) put(key, value []byte, deleted bool) error {
	if w.rows%rowsPerLook == 0 && w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	if w.cur != nil && w.rows%64 == 0 && w.cur.w.Bytes() >= w.max {
		if err := w.finish(); err != nil {
			return err
		}
	}
	if w.cur == nil {
		if err := w.create(); err != nil {
			return err
		}
	}
	if w.rows++; w.rows%rowsPerTurn == 0 {
		runtime.Gosched()
	}
	return w.cur.w.Add(key, value, deleted)
}

func (w *RunWriter) create() error {
	var id run.ID
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("draw a file name: %w", err)
	}
	name := fmt.Sprintf("%s.v%d.%s.%s", filePrefix(w.shard), w.version, hex.EncodeToString(id[:]), runSuffix)
	c := &runFile{name: name, path: w.d.fs.PathJoin(w.d.path, name)}
	w.d.write(name, true)
	w.names = append(w.names, name)
	var err error
	if c.f, err = w.d.fs.Create(c.path+vfsx.TempSuffix, vfsx.Unspecified); err != nil {
		return err
	}
	c.f = vfsx.Paced(c.f)
	const buffer = 256 << 10
	c.buf = bufio.NewWriterSize(c.f, buffer)
	c.w = run.NewWriter(c.buf, run.Info{Shard: w.shard, Version: w.version, ID: id})
	w.cur = c
	return nil
}

// finish makes the current file durable but for its name.
func (w *RunWriter) finish() error {
	c := w.cur
	sum, err := c.w.Finish()
	if err == nil {
		err = c.buf.Flush()
	}
	if err == nil && !mutant.On(mutant.RunUnsynced) {
		err = c.f.Sync()
	}
	if e := c.f.Close(); err == nil {
		err = e
	}
	c.f = nil
	if err != nil {
		return err
	}
	if err := w.d.fs.Rename(c.path+vfsx.TempSuffix, c.path); err != nil {
		return err
	}
	w.parts = append(w.parts, statestore.Part{Name: c.name, Bytes: sum.Bytes, Sum: sum.Sum})
	if w.d.remote != nil {
		w.d.bound.own(c.name, sum.Bytes)
	}
	w.cur = nil
	return nil
}

// Finish makes the run durable (P1) and returns its files, none if there were no
// rows. After an error nothing of it is left. Until Finish returns Collect leaves
// the files alone; from then on the caller has to name them.
func (w *RunWriter) Finish() ([]statestore.Part, error) {
	if w.err == nil && w.cur != nil {
		w.err = w.finish()
	}
	if w.err == nil && len(w.parts) > 0 {
		w.err = vfsx.SyncDir(w.d.fs, w.d.path)
	}
	if w.err != nil {
		w.Abandon()
		return nil, fmt.Errorf("write state version %d of %s to %s: %w", w.version, w.shard, w.d.path, w.err)
	}
	parts := w.parts
	w.parts = nil
	w.forget()
	return parts, nil
}

func (w *RunWriter) forget() {
	for _, n := range w.names {
		w.d.write(n, false)
	}
	w.names = nil
}

// Abandon removes what was written; after Finish it does nothing. What cannot be
// removed is collected later.
func (w *RunWriter) Abandon() {
	if c := w.cur; c != nil {
		c.w.Abandon()
		if c.f != nil {
			_ = c.f.Close() // it is about to be removed
		}
		_ = w.d.fs.Remove(c.path + vfsx.TempSuffix)
		w.cur = nil
	}
	w.d.Remove(w.parts)
	w.parts = nil
	w.forget()
	if w.err == nil {
		w.err = errors.New("the run was abandoned")
	}
}

// Remove removes files that no manifest has ever named, as well as it can.
func (d *Dir) Remove(parts []statestore.Part) {
	for _, p := range parts {
		_ = d.fs.Remove(d.fs.PathJoin(d.path, p.Name)) // Collect finds what stays
		d.bound.forget(p.Name)
	}
}

// OpenRun opens a file of a run. Its blocks are read and checked when they are
// wanted; that it is the file that the part names is checked at once. One that is
// not in the folder, or damaged there, is read from the storage, if there is one,
// until the folder has it.
func (d *Dir) OpenRun(ctx context.Context, part statestore.Part, cache *run.Cache) (*run.File, error) {
	f, err := d.openRun(ctx, part, cache)
	if d.giveUp(part.Name, err) {
		return d.openRun(ctx, part, cache)
	}
	return f, err
}

func (d *Dir) openRun(ctx context.Context, part statestore.Part, cache *run.Cache) (*run.File, error) {
	path := d.fs.PathJoin(d.path, part.Name)
	local, err := d.openLocal(part)
	if err != nil && (d.remote == nil || !errors.Is(err, os.ErrNotExist)) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	var src run.Bytes = local
	if d.remote != nil {
		src = d.openMirrored(part, local)
	}
	f, err := run.Open(ctx, src, path, cache)
	if err != nil {
		return nil, damagedRun(err)
	}
	if n := strings.Split(part.Name, "."); len(n) != 5 || n[3] != hex.EncodeToString(f.ID[:]) {
		return nil, errors.Join(fmt.Errorf("read %s: %w: it holds the bytes of another file", path, ErrDamaged), f.Close())
	}
	if local != nil {
		d.counts.local.Add(1)
		d.counts.localBytes.Add(part.Bytes)
	}
	return f, nil
}

// giveUp removes the folder's copy of a file that was found damaged, if the storage
// has the file: a cache is never a reason to fail.
func (d *Dir) giveUp(name string, err error) bool {
	if d.remote == nil || !errors.Is(err, ErrDamaged) || d.bound.isOwn(name) {
		return false
	}
	if e := d.fs.Remove(d.fs.PathJoin(d.path, name)); e == nil {
		d.counts.damaged.Add(1)
	} else if !errors.Is(e, os.ErrNotExist) {
		return false
	}
	d.bound.forget(name)
	return true
}

// damagedRun makes errors of package run those of this one.
func damagedRun(err error) error {
	if errors.Is(err, run.ErrDamaged) && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// open opens a part's file, which is fetched if the folder has not got it, and
// checks its name and length.
func (d *Dir) open(ctx context.Context, part statestore.Part) (*fileBytes, error) {
	f, err := d.openLocal(part)
	if d.remote == nil || !errors.Is(err, os.ErrNotExist) && !d.giveUp(part.Name, err) {
		return f, err
	}
	d.bound.pin(d, part)
	if err = d.get(ctx, part); err == nil {
		f, err = d.openLocal(part)
	}
	d.bound.unpin(d, part, err == nil)
	return f, err
}

func (d *Dir) openLocal(part statestore.Part) (*fileBytes, error) {
	if part.Name == "" || d.fs.PathBase(part.Name) != part.Name || part.Name == ".." || strings.ContainsAny(part.Name, "/\\\x00") {
		return nil, fmt.Errorf("%w: %q is no file name", ErrDamaged, part.Name)
	}
	f, err := d.fs.Open(d.fs.PathJoin(d.path, part.Name))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%w: the file is missing: %w", ErrDamaged, err)
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != part.Bytes {
		err = fmt.Errorf("%w: %d bytes instead of %d", ErrDamaged, info.Size(), part.Bytes)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &fileBytes{File: f, size: part.Bytes}, nil
}

// fileBytes is a file as package run reads it.
type fileBytes struct {
	vfsx.File
	size int64
}

var _ run.Bytes = (*fileBytes)(nil)

func (f *fileBytes) Size() int64 { return f.size }

// ReadAt fills p or fails.
func (f *fileBytes) ReadAt(_ context.Context, p []byte, off int64) error {
	n, err := f.File.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the file ends at byte %d", ErrDamaged, off+int64(n))
	}
	return err
}

// CheckRun reads a whole file of a run and compares its checksum.
func (d *Dir) CheckRun(ctx context.Context, part statestore.Part) error {
	err := d.checkRun(ctx, part)
	if d.giveUp(part.Name, err) {
		return d.checkRun(ctx, part)
	}
	return err
}

func (d *Dir) checkRun(ctx context.Context, part statestore.Part) error {
	path := d.fs.PathJoin(d.path, part.Name)
	src, err := d.open(ctx, part)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	sum := xxhash.New()
	buf := make([]byte, min(max(part.Bytes, 1), 256<<10))
	for at := int64(0); at < part.Bytes && err == nil; at += int64(len(buf)) {
		if err = ctx.Err(); err != nil {
			err = context.Cause(ctx)
			break
		}
		buf = buf[:min(int64(len(buf)), part.Bytes-at)]
		if err = src.ReadAt(ctx, buf, at); err == nil {
			_, _ = sum.Write(buf) // a hash never fails to write
		}
	}
	if err == nil && sum.Sum64() != part.Sum {
		err = fmt.Errorf("%w: the file's sum is %016x instead of %016x", ErrDamaged, sum.Sum64(), part.Sum)
	}
	if e := src.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
