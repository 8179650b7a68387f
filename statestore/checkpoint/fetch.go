package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/run"
)

const (
	// fetchStep is how much of a file is read from a storage at once.
	fetchStep = 8 << 20
	// fetchesMax is how many files come from a storage at the same time.
	fetchesMax = 4
	// readAhead is how much is read at once of a file in a storage that is read block
	// after block.
	readAhead = 1 << 20
)

// Counts say where a folder's runs have come from.
type Counts struct {
	Local   int64 // files that the folder had when they were opened
	Remote  int64 // files that were opened in the storage
	Fetched int64 // bytes of files that were copied from the storage
	Ranges  int64 // bytes that were read from the storage piece by piece
}

type counters struct{ local, remote, fetched, ranges atomic.Int64 }

// Counts returns where runs have come from so far.
func (d *Dir) Counts() Counts {
	c := &d.counts
	return Counts{Local: c.local.Load(), Remote: c.remote.Load(), Fetched: c.fetched.Load(), Ranges: c.ranges.Load()}
}

// fetcher copies files from the storage into the folder: those that somebody waits
// for, and in the background those that are open in the storage.
type fetcher struct {
	wg sync.WaitGroup // of the background

	mu struct {
		sync.Mutex
		busy    map[string]chan struct{} // files that are being copied; closed afterwards
		queue   []statestore.Part        // at most one for each open file
		open    map[string][]*remoteBytes
		workers int
		closed  bool
		ctx     context.Context // of the background
		cancel  context.CancelFunc
	}
}

// Close ends copying in the background. A folder without a storage needs none.
func (d *Dir) Close() {
	f := &d.fetch
	f.mu.Lock()
	f.mu.closed = true
	if f.mu.cancel != nil {
		f.mu.cancel()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// get copies a file into the folder unless it is there. Two never copy the same.
func (d *Dir) get(ctx context.Context, part statestore.Part) error {
	f := &d.fetch
	for {
		f.mu.Lock()
		wait := f.mu.busy[part.Name]
		if wait == nil {
			if f.mu.busy == nil {
				f.mu.busy = map[string]chan struct{}{}
			}
			f.mu.busy[part.Name] = make(chan struct{})
			f.mu.Unlock()
			break
		}
		f.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := d.copy(ctx, part)
	f.mu.Lock()
	close(f.mu.busy[part.Name])
	delete(f.mu.busy, part.Name)
	f.mu.Unlock()
	return err
}

func (d *Dir) copy(ctx context.Context, part statestore.Part) error {
	path := d.fs.PathJoin(d.path, part.Name)
	if f, err := d.openLocal(part); err == nil {
		return f.Close() // another one was faster
	}
	d.write(part.Name, true)
	defer d.write(part.Name, false)
	err := vfsx.ReplaceFile(d.fs, path, func(w io.Writer) error {
		sum := xxhash.New()
		buf := make([]byte, min(part.Bytes, fetchStep))
		for at := int64(0); at < part.Bytes; at += int64(len(buf)) {
			buf = buf[:min(int64(len(buf)), part.Bytes-at)]
			if err := d.remote.ReadAt(ctx, part.Name, buf, at); err != nil {
				return err
			}
			d.counts.fetched.Add(int64(len(buf)))
			_, _ = sum.Write(buf) // a hash never fails to write
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
		if sum.Sum64() != part.Sum {
			return fmt.Errorf("%w: the file's sum is %016x instead of %016x", ErrDamaged, sum.Sum64(), part.Sum)
		}
		return nil
	})
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w: the file is missing: %w", ErrDamaged, err)
	}
	if err != nil {
		return fmt.Errorf("fetch %s from %s: %w", part.Name, d.remote, err)
	}
	return nil
}

// remoteBytes is a file of the storage, as package run reads it, and from some moment
// on its copy in the folder.
type remoteBytes struct {
	d     *Dir
	part  statestore.Part
	local atomic.Pointer[fileBytes]

	mu struct {
		sync.Mutex
		ahead  []byte // of the file from from on
		from   int64
		next   int64 // where the last read ended
		closed bool
	}
}

var _ run.Bytes = (*remoteBytes)(nil)

// openRemote opens a file in the storage and has it copied in the background.
func (d *Dir) openRemote(part statestore.Part) *remoteBytes {
	d.counts.remote.Add(1)
	r := &remoteBytes{d: d, part: part}
	f := &d.fetch
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.open == nil {
		f.mu.open = map[string][]*remoteBytes{}
		f.mu.ctx, f.mu.cancel = context.WithCancel(context.Background())
	}
	f.mu.open[part.Name] = append(f.mu.open[part.Name], r)
	if len(f.mu.open[part.Name]) > 1 || f.mu.closed {
		return r
	}
	f.mu.queue = append(f.mu.queue, part)
	if f.mu.workers < fetchesMax {
		f.mu.workers++
		f.wg.Go(d.fill)
	}
	return r
}

// fill copies the files of the queue. One that cannot be copied goes on being read
// from the storage.
func (d *Dir) fill() {
	f := &d.fetch
	for {
		f.mu.Lock()
		if len(f.mu.queue) == 0 || f.mu.closed {
			f.mu.workers--
			f.mu.Unlock()
			return
		}
		part, ctx := f.mu.queue[0], f.mu.ctx
		f.mu.queue = f.mu.queue[1:]
		wanted := len(f.mu.open[part.Name]) > 0
		f.mu.Unlock()
		if !wanted || d.get(ctx, part) != nil {
			continue
		}
		f.mu.Lock()
		open := append([]*remoteBytes(nil), f.mu.open[part.Name]...)
		f.mu.Unlock()
		for _, r := range open {
			if local, err := d.openLocal(part); err == nil {
				r.settle(local)
			}
		}
	}
}

// settle makes the copy what is read from now on.
func (r *remoteBytes) settle(local *fileBytes) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed || !r.local.CompareAndSwap(nil, local) {
		_ = local.Close() // it was only read
		return
	}
	r.mu.ahead = nil
}

func (r *remoteBytes) Size() int64 { return r.part.Bytes }

// ReadAt fills p or fails.
func (r *remoteBytes) ReadAt(ctx context.Context, p []byte, off int64) error {
	if local := r.local.Load(); local != nil {
		return local.ReadAt(ctx, p, off)
	}
	if off < 0 || off+int64(len(p)) > r.part.Bytes {
		return fmt.Errorf("%w: the file ends at byte %d", ErrDamaged, r.part.Bytes)
	}
	r.mu.Lock()
	if at := off - r.mu.from; at >= 0 && at+int64(len(p)) <= int64(len(r.mu.ahead)) {
		copy(p, r.mu.ahead[at:])
		r.mu.next = off + int64(len(p))
		r.mu.Unlock()
		return nil
	}
	inOrder := off == r.mu.next && off > 0
	r.mu.Unlock()
	buf := p
	if inOrder && len(p) < readAhead {
		buf = make([]byte, min(readAhead, r.part.Bytes-off))
	}
	if err := r.d.remote.ReadAt(ctx, r.part.Name, buf, off); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%w: the file is missing: %w", ErrDamaged, err)
		}
		return err
	}
	r.d.counts.ranges.Add(int64(len(buf)))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.next = off + int64(len(p)); len(buf) > len(p) {
		copy(p, buf)
		r.mu.ahead, r.mu.from = buf, off
	}
	return nil
}

// Close gives the file up.
func (r *remoteBytes) Close() error {
	f := &r.d.fetch
	f.mu.Lock()
	list := f.mu.open[r.part.Name]
	for i, o := range list {
		if o == r {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if f.mu.open[r.part.Name] = list; len(list) == 0 {
		delete(f.mu.open, r.part.Name)
	}
	f.mu.Unlock()
	r.mu.Lock()
	r.mu.closed = true
	r.mu.Unlock()
	if local := r.local.Load(); local != nil {
		return local.Close()
	}
	return nil
}
