package bucket

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/statestore/checkpoint"
)

// readAhead is how many records are asked for at once while the journal is read.
const readAhead = 16

// loadTries is how often the journal is read anew because its owner has deleted
// meanwhile what was about to be read.
const loadTries = 5

// load reads the journal if it was not read yet.
func (p *Place) load() error {
	p.mu.Lock()
	loaded := p.mu.loaded
	p.mu.Unlock()
	if loaded {
		return nil
	}
	p.flushing.Lock()
	defer p.flushing.Unlock()
	return p.loadFlushing()
}

// Refresh reads what others have written to the journal, of a place that nobody here
// has locked.
func (p *Place) Refresh() error {
	p.flushing.Lock()
	defer p.flushing.Unlock()
	p.mu.Lock()
	if p.mu.owned && p.mu.broken == nil || len(p.mu.pending) > 0 {
		p.mu.Unlock()
		return nil
	}
	p.mu.loaded = false
	p.mu.Unlock()
	return p.loadFlushing()
}

// loadFlushing reads the whole journal. The caller holds flushing.
func (p *Place) loadFlushing() error {
	p.mu.Lock()
	loaded := p.mu.loaded
	p.mu.Unlock()
	if loaded {
		return nil
	}
	var err error
	for range loadTries {
		var again bool
		if again, err = p.loadOnce(); err == nil || !again {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("read the checkpoint %s: %w", p, err)
	}
	return nil
}

// loadOnce reads the newest object with all files, and the records after it. again
// says that an owner that is at work may have been in the way.
func (p *Place) loadOnce() (again bool, err error) {
	began := time.Now()
	names, err := p.opt.Journal.List(p.ctx)
	if err != nil {
		return false, err
	}
	var base, newest uint64
	for _, n := range names {
		if seq, ok := numberOf(n, wholeSuffix); ok {
			base = max(base, seq)
		}
		if seq, ok := numberOf(n, recordSuffix); ok {
			newest = max(newest, seq)
		}
	}
	mem := vfsx.NewMem()
	whole := int64(0)
	if base > 0 {
		b, err := p.opt.Journal.Get(p.ctx, wholeName(base), objectMax)
		if err != nil {
			return errors.Is(err, os.ErrNotExist), fmt.Errorf("%s: %w", wholeName(base), err)
		}
		if err := replay(mem, wholeName(base), b, base); err != nil {
			return false, err
		}
		whole = int64(len(b))
	}
	seq, grown := base, int64(0)
	for {
		got, err := p.records(seq + 1)
		if err != nil {
			return false, err
		}
		for _, b := range got {
			seq++
			grown += int64(len(b))
			if err := replay(mem, recordName(seq), b, seq); err != nil {
				return false, err
			}
		}
		if len(got) < readAhead {
			break
		}
	}
	if newest > seq {
		return true, fmt.Errorf("%w: %s is there and %s is not", ErrDamaged, recordName(newest), recordName(seq+1))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m := &p.mu
	m.loaded, m.mem, m.seq, m.pending, m.bytes, m.broken = true, mem, seq, nil, 0, nil
	m.records, m.grown, m.whole = int(seq-base), grown, whole
	m.confirmed = began
	if base > 0 && (len(m.wholes) == 0 || m.wholes[len(m.wholes)-1].seq < base) {
		m.wholes = append(m.wholes, aged{base, time.Now()})
	}
	return false, nil
}

// records reads some records from a number on, up to the first that is not there.
func (p *Place) records(from uint64) ([][]byte, error) {
	var got [readAhead][]byte
	var errs [readAhead]error
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i], errs[i] = p.opt.Journal.Get(p.ctx, recordName(from+uint64(i)), objectMax) })
	}
	wg.Wait()
	for i, err := range errs {
		if errors.Is(err, os.ErrNotExist) {
			return got[:i], nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", recordName(from+uint64(i)), err)
		}
	}
	return got[:], nil
}

// replay applies an object of the journal to the files.
func replay(mem *vfsx.MemFS, name string, b []byte, seq uint64) error {
	_, changes, err := decode(b, seq)
	for i := 0; err == nil && i < len(changes); i++ {
		err = apply(mem, changes[i])
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func apply(mem *vfsx.MemFS, c change) error {
	name := "/" + c.path
	if c.kind == opRemove {
		if err := mem.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := mem.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	open := func() (vfsx.File, error) { return mem.Create(name, vfsx.Unspecified) }
	if c.kind == opWrite {
		open = func() (vfsx.File, error) { return mem.OpenReadWrite(name, vfsx.Unspecified) }
	}
	f, err := open()
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && c.at > info.Size() {
		err = fmt.Errorf("%w: a write behind the end of %s", ErrDamaged, c.path)
	}
	if err == nil && len(c.data) > 0 {
		_, err = f.WriteAt(bytes.Clone(c.data), c.at)
	}
	return errors.Join(err, f.Close())
}

// pendingMax is how much may wait for somebody to sync it.
const pendingMax = 1 << 20

// note adds changes that are not in the store yet. The caller has applied them.
func (p *Place) noteLocked(cs ...change) {
	for _, c := range cs {
		p.mu.bytes += len(c.data) + len(c.path)
	}
	p.mu.pending = append(p.mu.pending, cs...)
}

// flush puts what is pending into the store, as one record (B1).
func (p *Place) flush() error {
	p.flushing.Lock()
	defer p.flushing.Unlock()
	p.mu.Lock()
	cs, seq, err, owned := p.mu.pending, p.mu.seq+1, p.mu.broken, p.mu.owned
	if err == nil {
		p.mu.pending, p.mu.bytes = nil, 0
	}
	other := ""
	if !owned && err == nil {
		other = ownerOf(p.mu.mem)
	}
	p.mu.Unlock()
	switch {
	case err != nil:
		return err
	case len(cs) == 0:
		return nil
	case other != "":
		return p.stop(fmt.Errorf("change the checkpoint %s, which is in use by %s: %w", p, other, batch.ErrFenced))
	}
	return p.append(seq, cs)
}

// append puts one record. The caller holds flushing.
func (p *Place) append(seq uint64, cs []change) error {
	b := encode(p.writer, seq, cs)
	began := time.Now()
	err := p.put(recordName(seq), b)
	if err == nil {
		err = p.confirm(seq, began)
	}
	if errors.Is(err, batch.ErrFenced) {
		return p.stop(err)
	}
	if errors.Is(err, checkpoint.ErrExists) {
		return p.stop(p.fenced())
	}
	if err != nil {
		return p.stop(fmt.Errorf("write to the checkpoint %s: %w", p, err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m := &p.mu
	m.seq, m.records, m.grown = seq, m.records+1, m.grown+int64(len(b))
	if (m.records >= p.opt.RecordsMax || m.grown > max(2*m.whole, wholeMin)) && !m.writing && len(m.pending) == 0 && !m.closed {
		p.wholeLocked()
	}
	return nil
}

// confirm makes sure that a record that was put is ours: after a long time without one,
// its number may have been another's, and have been deleted since (B2).
func (p *Place) confirm(seq uint64, began time.Time) error {
	p.mu.Lock()
	last := p.mu.confirmed
	p.mu.Unlock()
	if since(last) > p.opt.KeepMin/2 {
		if err := p.newest(p.ctx, seq); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.mu.confirmed = began
	p.mu.Unlock()
	return nil
}

// wholeMin is how many bytes of records are not worth writing all files.
const wholeMin = 8 << 20

// put puts an object of the journal, again and again for a while: the same object
// under the same name is put once (B2).
func (p *Place) put(name string, b []byte) error {
	var err error
	for n, wait := 0, p.opt.PauseMin; n < p.opt.TriesMax; n, wait = n+1, 2*wait {
		if n > 0 {
			t := time.NewTimer(wait)
			select {
			case <-p.ctx.Done():
				t.Stop()
				return errors.Join(err, p.ctx.Err())
			case <-t.C:
			}
		}
		err = p.opt.Journal.Put(p.ctx, name, bytes.NewReader(b), int64(len(b)), xxhash.Sum64(b))
		if err == nil || errors.Is(err, checkpoint.ErrExists) || p.ctx.Err() != nil {
			return err
		}
	}
	return fmt.Errorf("after %d tries: %w", p.opt.TriesMax, err)
}

// wholeLocked writes all files as one object, in the background, and then deletes
// what nobody needs any more.
func (p *Place) wholeLocked() {
	m := &p.mu
	cs, err := allFiles(m.mem)
	if err != nil {
		return // the records are there
	}
	seq := m.seq
	b := encode(p.writer, seq, cs)
	m.records, m.grown, m.whole, m.writing = 0, 0, int64(len(b)), true
	p.wg.Go(func() {
		if p.put(wholeName(seq), b) == nil {
			p.clean(seq)
		}
		p.mu.Lock()
		p.mu.writing = false
		p.mu.Unlock()
	})
}

// clean deletes what was written before an object with all files that is old enough:
// who began to read before, or stands still since, must not miss it.
func (p *Place) clean(seq uint64) {
	p.mu.Lock()
	p.mu.wholes = append(p.mu.wholes, aged{seq, time.Now()})
	before := uint64(0)
	for len(p.mu.wholes) > 2 && since(p.mu.wholes[1].at) > p.opt.KeepMin {
		p.mu.wholes = p.mu.wholes[1:]
	}
	if w := p.mu.wholes[0]; w.seq < seq && since(w.at) > p.opt.KeepMin {
		before = w.seq
	}
	p.mu.Unlock()
	if before == 0 {
		return
	}
	names, err := p.opt.Journal.List(p.ctx)
	if err != nil {
		return // the next one does it
	}
	for _, n := range names {
		r, ok1 := numberOf(n, recordSuffix)
		w, ok2 := numberOf(n, wholeSuffix)
		if ok1 && r <= before || ok2 && w < before {
			if p.opt.Journal.Delete(p.ctx, n) != nil {
				return
			}
		}
	}
}

// allFiles are changes that make all files.
func allFiles(mem *vfsx.MemFS) ([]change, error) {
	var out []change
	var walk func(dir, rel string) error
	walk = func(dir, rel string) error {
		names, err := mem.List(dir)
		if err != nil {
			return err
		}
		slices.Sort(names)
		for _, n := range names {
			name, r := path.Join(dir, n), path.Join(rel, n)
			info, err := mem.Stat(name)
			if err != nil {
				return err
			}
			if info.IsDir() {
				if err := walk(name, r); err != nil {
					return err
				}
				continue
			}
			if temporary(n) {
				continue
			}
			data, err := vfsx.ReadFile(mem, name, objectMax)
			if err != nil {
				return err
			}
			out = append(out, change{kind: opFile, path: r, data: data})
		}
		return nil
	}
	return out, walk("/", "")
}
