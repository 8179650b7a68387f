package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/statestore"
	"github.com/sluice-stream/sluice/statestore/run"
)

// mirrored is a file of the storage, as package run reads it: from the folder's copy
// while there is one, which may come and go.
type mirrored struct {
	d    *Dir
	part statestore.Part
	read atomic.Int64 // bytes that were read from the storage since the copy was wanted

	copy struct {
		sync.RWMutex // held for reading while the copy is read
		local        *fileBytes
		spoiled      bool // there was one that was damaged
		closed       bool
	}
	mu struct {
		sync.Mutex
		ahead []byte // of the file from from on
		from  int64
		next  int64 // where the last read ended
	}
}

var (
	_ run.Bytes       = (*mirrored)(nil)
	_ run.Replaceable = (*mirrored)(nil)
)

// openMirrored opens a file of the storage. Without a copy in the folder one is made
// in the background.
func (d *Dir) openMirrored(part statestore.Part, local *fileBytes) *mirrored {
	r := &mirrored{d: d, part: part}
	r.copy.local = local
	f := &d.fetch
	f.mu.Lock()
	if f.mu.open == nil {
		f.mu.open = map[string][]*mirrored{}
	}
	f.mu.open[part.Name] = append(f.mu.open[part.Name], r)
	f.mu.Unlock()
	if local != nil {
		d.bound.found(part.Name, part.Bytes)
		return r
	}
	d.counts.remote.Add(1)
	d.counts.remoteBytes.Add(part.Bytes)
	d.want(wanted{part: part, likely: true})
	return r
}

// settle makes the copy what is read from now on.
func (r *mirrored) settle(local *fileBytes) {
	r.copy.Lock()
	if r.copy.closed || r.copy.local != nil {
		r.copy.Unlock()
		_ = local.Close() // it was only read
		return
	}
	r.copy.local = local
	r.copy.Unlock()
	r.mu.Lock()
	r.mu.ahead = nil
	r.mu.Unlock()
}

// leave ends reading from the copy.
func (r *mirrored) leave() {
	r.copy.Lock()
	defer r.copy.Unlock()
	if r.copy.local != nil {
		_ = r.copy.local.Close() // it was only read
		r.copy.local = nil
	}
}

// Spoiled gives the folder's copy up and reports whether there is, or was, one: what
// is read next comes from the storage.
func (r *mirrored) Spoiled() bool {
	r.copy.Lock()
	had := r.copy.local != nil
	r.copy.spoiled = r.copy.spoiled || had
	spoiled := r.copy.spoiled
	r.copy.Unlock()
	if had && r.d.giveUp(r.part.Name, ErrDamaged) {
		for _, o := range r.d.opened(r.part.Name) {
			o.leave()
		}
	}
	return spoiled && !r.d.bound.isOwn(r.part.Name)
}

func (r *mirrored) Size() int64 { return r.part.Bytes }

// readLocal reads from the copy, if there is one that can be read.
func (r *mirrored) readLocal(ctx context.Context, p []byte, off int64) (bool, error) {
	r.copy.RLock()
	defer r.copy.RUnlock()
	if r.copy.local == nil {
		return false, nil
	}
	r.d.bound.touch(r.part.Name)
	return true, r.copy.local.ReadAt(ctx, p, off)
}

// ReadAt fills p or fails.
func (r *mirrored) ReadAt(ctx context.Context, p []byte, off int64) error {
	ok, err := r.readLocal(ctx, p, off)
	if ok && (err == nil || !r.Spoiled()) {
		return err
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
			return fmt.Errorf("%w: the file is missing: %w", ErrDamaged, err)
		}
		if ctx.Err() != nil {
			return err
		}
		return batch.ExternalError(err, true) // the storage may be back soon
	}
	r.d.counts.ranges.Add(int64(len(buf)))
	if r.read.Add(int64(len(buf))) >= r.part.Bytes { // a copy would have been cheaper
		r.read.Store(0)
		r.d.want(wanted{part: r.part})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.next = off + int64(len(p)); len(buf) > len(p) {
		copy(p, buf)
		r.mu.ahead, r.mu.from = buf, off
	}
	return nil
}

// Close gives the file up.
func (r *mirrored) Close() error {
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
	r.copy.Lock()
	defer r.copy.Unlock()
	r.copy.closed = true
	if r.copy.local == nil {
		return nil
	}
	err := r.copy.local.Close()
	r.copy.local = nil
	return err
}
