package checkpoint

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore"
)

// bound keeps what a folder has of a storage below a size. Files that are not in
// the storage yet stay whatever they take.
type bound struct {
	max   int64 // 0: no bound
	clock atomic.Int64

	mu struct {
		sync.RWMutex
		files map[string]*kept
		bytes int64
	}
}

// kept is a file of the folder.
type kept struct {
	bytes int64
	own   bool         // the storage does not have it yet
	pins  int          // who copies it, or is about to open it
	used  atomic.Int64 // when it was read last, by the bound's clock
}

// fill takes in what the folder has from before. The names of files sort by version
// within an operator only, so the oldest by their times go first.
func (b *bound) fill(d *Dir) error {
	if b.max <= 0 {
		return nil
	}
	names, err := d.fs.List(d.path)
	if err != nil {
		return err
	}
	type found struct {
		name  string
		bytes int64
		at    int64
	}
	var files []found
	for _, name := range names {
		if _, ok := versionOf(name); !ok || strings.HasSuffix(name, vfsx.TempSuffix) {
			continue
		}
		info, err := d.fs.Stat(d.fs.PathJoin(d.path, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // another process collects
		}
		if err != nil {
			return err
		}
		files = append(files, found{name, info.Size(), info.ModTime().UnixNano()})
	}
	slices.SortFunc(files, func(x, y found) int { return strings.Compare(x.name, y.name) })
	slices.SortStableFunc(files, func(x, y found) int {
		switch {
		case x.at < y.at:
			return -1
		case x.at > y.at:
			return 1
		}
		return 0
	})
	for _, f := range files {
		b.found(f.name, f.bytes)
	}
	b.makeRoom(d)
	return nil
}

// own notes a file that the storage does not have.
func (b *bound) own(name string, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noteLocked(name, bytes).own = true
}

// pin makes room for a file, which stays until unpin.
func (b *bound) pin(d *Dir, part statestore.Part) {
	b.mu.Lock()
	b.noteLocked(part.Name, part.Bytes).pins++
	b.mu.Unlock()
	b.makeRoom(d)
}

// unpin says that somebody is done with a file, and whether it is there.
func (b *bound) unpin(d *Dir, part statestore.Part, there bool) {
	b.mu.Lock()
	if k := b.mu.files[part.Name]; k != nil {
		k.pins--
		if !there && k.pins == 0 && !k.own {
			b.mu.bytes -= k.bytes
			delete(b.mu.files, part.Name)
		}
	}
	b.mu.Unlock()
	b.makeRoom(d)
}

// found notes a file that was there, which may be known.
func (b *bound) found(name string, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noteLocked(name, bytes)
}

func (b *bound) noteLocked(name string, bytes int64) *kept {
	if b.mu.files == nil {
		b.mu.files = map[string]*kept{}
	}
	k := b.mu.files[name]
	if k == nil {
		k = &kept{}
		b.mu.files[name] = k
	}
	b.mu.bytes += bytes - k.bytes
	k.bytes = bytes
	k.used.Store(b.clock.Add(1))
	return k
}

// forget notes that the folder does not have a file any more.
func (b *bound) forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k := b.mu.files[name]; k != nil && k.pins == 0 {
		b.mu.bytes -= k.bytes
		delete(b.mu.files, name)
	}
}

// published notes that the storage has a file.
func (b *bound) published(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k := b.mu.files[name]; k != nil {
		k.own = false
	}
}

func (b *bound) isOwn(name string) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	k := b.mu.files[name]
	return k != nil && k.own
}

// touch notes that a file is read.
func (b *bound) touch(name string) {
	if b.max <= 0 {
		return
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	if k := b.mu.files[name]; k != nil {
		k.used.Store(b.clock.Add(1))
	}
}

// room reports whether so many bytes have room beside what there is, fits whether
// they can have room at all.
func (b *bound) room(bytes int64) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.max <= 0 || b.mu.bytes+bytes <= b.max
}

func (b *bound) fits(bytes int64) bool { return b.max <= 0 || bytes <= b.max }

// makeRoom deletes files until what there is has room, as far as it comes.
func (b *bound) makeRoom(d *Dir) {
	for {
		name, ok := b.leastUsed()
		if !ok {
			return
		}
		// Whoever opens the file from here on reads the storage; whoever has it open does
		// so after this.
		if err := d.fs.Remove(d.fs.PathJoin(d.path, name)); err == nil {
			d.counts.evicted.Add(1)
		}
		for _, r := range d.opened(name) {
			r.leave()
		}
	}
}

// leastUsed takes the file out that was read longest ago, if there is no room for
// all.
func (b *bound) leastUsed() (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.max <= 0 || b.mu.bytes <= b.max {
		return "", false
	}
	name, least := "", int64(0)
	for n, k := range b.mu.files {
		if at := k.used.Load(); !k.own && k.pins == 0 && (name == "" || at < least) {
			name, least = n, at
		}
	}
	if name == "" {
		return "", false
	}
	b.mu.bytes -= b.mu.files[name].bytes
	delete(b.mu.files, name)
	return name, true
}
