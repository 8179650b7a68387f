package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
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

type counters struct {
	local, localBytes, remote, remoteBytes, fetched, ranges, damaged, evicted atomic.Int64
}

// Files tells where runs have come from so far.
func (d *Dir) Files() batch.FileUse {
	c := &d.counts
	return batch.FileUse{Local: c.local.Load(), LocalBytes: c.localBytes.Load(), Remote: c.remote.Load(), RemoteBytes: c.remoteBytes.Load(),
		Fetched: c.fetched.Load(), Ranges: c.ranges.Load(), Damaged: c.damaged.Load(), Evicted: c.evicted.Load()}
}

// fetcher copies files from the storage into the folder: those that somebody waits
// for, and in the background those that are open in the storage.
type fetcher struct {
	wg sync.WaitGroup // of the background

	mu struct {
		sync.Mutex
		busy    map[string]chan struct{} // files that are being copied; closed afterwards
		queue   []wanted                 // at most one for each file that is open
		open    map[string][]*mirrored
		workers int
		closed  bool
		ctx     context.Context // of the background
		cancel  context.CancelFunc
	}
}

// wanted is a file of the storage that the folder should have. One that is only
// likely to be read is copied while there is room, another one makes room.
type wanted struct {
	part   statestore.Part
	likely bool
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

// get copies a file, which the bound has pinned, into the folder unless it is there.
// Two never copy the same.
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

// want has a file copied in the background.
func (d *Dir) want(w wanted) {
	f := &d.fetch
	f.mu.Lock()
	defer f.mu.Unlock()
	waits := slices.ContainsFunc(f.mu.queue, func(o wanted) bool { return o.part.Name == w.part.Name })
	if waits || f.mu.closed || len(f.mu.open[w.part.Name]) == 0 {
		return
	}
	if f.mu.ctx == nil {
		f.mu.ctx, f.mu.cancel = context.WithCancel(context.Background())
	}
	f.mu.queue = append(f.mu.queue, w)
	if f.mu.workers < fetchesMax {
		f.mu.workers++
		f.wg.Go(d.fill)
	}
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
		next, ctx := f.mu.queue[0], f.mu.ctx
		f.mu.queue = f.mu.queue[1:]
		open := len(f.mu.open[next.part.Name]) > 0
		f.mu.Unlock()
		if !open || next.likely && !d.bound.room(next.part.Bytes) || !d.bound.fits(next.part.Bytes) {
			continue
		}
		d.bound.pin(d, next.part)
		err := d.get(ctx, next.part)
		if err == nil {
			d.settle(next.part)
		}
		d.bound.unpin(d, next.part, err == nil)
	}
}

// settle gives the copy of a file to all who read it.
func (d *Dir) settle(part statestore.Part) {
	for _, r := range d.opened(part.Name) {
		if local, err := d.openLocal(part); err == nil {
			r.settle(local)
		}
	}
}

// opened lists who reads a file.
func (d *Dir) opened(name string) []*mirrored {
	d.fetch.mu.Lock()
	defer d.fetch.mu.Unlock()
	return slices.Clone(d.fetch.mu.open[name])
}
