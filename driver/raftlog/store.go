package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/sluice-stream/sluice/internal/fault"
	"github.com/sluice-stream/sluice/internal/mutant"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// store keeps raft's log, its term and its vote, in one sequence of segments: what
// raft needs before it may answer is one write and one fdatasync.
//
// Pebble and raft-wal were tried first: after one flipped bit the one forgets what
// followed it without a word, and the other returns the changed bytes as good
// (docs/DESIGN-NOTES.md). A node that forgets what it has acknowledged may elect a
// leader without a committed batch.
type store struct {
	fs    vfsx.FS
	dir   string
	disk  string // UUID of the disk, in each segment
	roll  int64  // bytes of a segment after which the next begins
	fail  func(error)
	watch *watchdog
	// hold returns up to which index entries may be dropped while newer ones stay: an
	// older snapshot is only worth something with the entries after it. nil: all.
	hold func() uint64

	write struct {
		sync.Mutex // held for a whole write
		buf        []byte
		seq        uint64
		poisoned   error
		closed     bool
	}
	idx struct {
		sync.RWMutex
		first  uint64     // index of the oldest entry
		next   uint64     // one behind the newest; first: there is none
		places []place    // of first, first+1, ..
		segs   []*segment // oldest first; the last one is written
		values map[string][]byte
		// begun: raft has set its first term, 1, and nothing else. It does so before it
		// writes a new cluster's members, and who crashes in between could never write
		// them: it would look as if it had been a member. No promise was made in term 1
		// that is not kept by a vote or an entry, so it is not written.
		begun bool
	}
}

// Raft's name for its term.
const keyTerm = "CurrentTerm"

// place is where an entry lies.
type place struct {
	seg *segment
	at  int64
	n   int
}

var (
	_ raft.LogStore          = (*store)(nil)
	_ raft.MonotonicLogStore = (*store)(nil)
	_ raft.StableStore       = (*store)(nil)
)

// IsMonotonic says that indexes have no gaps.
func (s *store) IsMonotonic() bool { return true }

// FirstIndex returns the oldest index, 0 without entries.
func (s *store) FirstIndex() (uint64, error) {
	s.idx.RLock()
	defer s.idx.RUnlock()
	if s.idx.first == s.idx.next {
		return 0, nil
	}
	return s.idx.first, nil
}

// LastIndex returns the newest index, 0 without entries.
func (s *store) LastIndex() (uint64, error) {
	s.idx.RLock()
	defer s.idx.RUnlock()
	if s.idx.first == s.idx.next {
		return 0, nil
	}
	return s.idx.next - 1, nil
}

// GetLog reads an entry. Raft panics when an entry that has to be there cannot be
// read; the node ends by name instead, and raft's goroutine with it.
func (s *store) GetLog(index uint64, l *raft.Log) error {
	err := s.entry(index, l)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		s.fail(fmt.Errorf("read entry %d: %w", index, err))
		runtime.Goexit()
	}
	return err
}

func (s *store) entry(index uint64, l *raft.Log) error {
	s.idx.RLock()
	defer s.idx.RUnlock()
	if index < s.idx.first || index >= s.idx.next {
		return raft.ErrLogNotFound
	}
	p := s.idx.places[index-s.idx.first]
	b := make([]byte, p.n)
	done := s.watch.begin("read " + p.seg.path)
	_, err := p.seg.file.ReadAt(b, p.at)
	done()
	if err != nil {
		return explain(fmt.Errorf("%s: %w", p.seg.path, err))
	}
	if err := decodeEntry(b, l); err != nil {
		return damagef(p.seg.path, p.at, "%s", err)
	}
	if l.Index != index {
		return damagef(p.seg.path, p.at, "entry %d where entry %d should be", l.Index, index)
	}
	return nil
}

// StoreLog stores one entry.
func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs makes entries durable as one group.
func (s *store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	var heads []int
	return s.group(groupEntries, func(e *encoder) error {
		next := s.next()
		for i, l := range logs {
			if next > 0 && l.Index != next+uint64(i) || l.Index != logs[0].Index+uint64(i) {
				return fmt.Errorf("store entry %d of the replicated log, %d is next", l.Index, next+uint64(i))
			}
			heads = append(heads, appendEntry(e, l))
		}
		heads = append(heads, len(e.b))
		return nil
	}, func(seg *segment, at int64) {
		if s.idx.first == s.idx.next {
			s.idx.first, s.idx.next = logs[0].Index, logs[0].Index
		}
		for i := range logs {
			s.idx.places = append(s.idx.places, place{seg, at + int64(heads[i]), heads[i+1] - heads[i]})
			s.idx.next++
			seg.live++
		}
	})
}

// next is the index that has to follow, 0 if any may.
func (s *store) next() uint64 {
	s.idx.RLock()
	defer s.idx.RUnlock()
	if s.idx.first == s.idx.next {
		return 0
	}
	return s.idx.next
}

// DeleteRange drops the oldest or the newest entries.
func (s *store) DeleteRange(from, to uint64) error {
	first, err := s.FirstIndex()
	if err != nil || first == 0 || from > to {
		return err
	}
	last, err := s.LastIndex()
	switch {
	case err != nil:
		return err
	case to < first || from > last:
		return nil
	case from <= first && to < last && s.hold != nil && s.hold() < to:
		return s.DeleteRange(from, s.hold())
	case from <= first:
		err = s.group(groupHead, func(e *encoder) error { e.u(to + 1); return nil }, func(*segment, int64) { s.dropHeadLocked(to + 1) })
	case to >= last:
		err = s.group(groupCut, func(e *encoder) error { e.u(from); return nil }, func(*segment, int64) { s.cutLocked(from) })
	default:
		return fmt.Errorf("drop entries %d to %d of %d to %d: it would leave a hole", from, to, first, last)
	}
	if err != nil {
		return err
	}
	return s.removeOld()
}

func (s *store) dropHeadLocked(first uint64) {
	i := &s.idx
	n := min(max(first, i.first), i.next) - i.first
	for _, p := range i.places[:n] {
		p.seg.live--
	}
	i.places = slices.Clone(i.places[n:])
	i.first, i.next = first, max(first, i.next)
}

func (s *store) cutLocked(from uint64) {
	i := &s.idx
	for _, p := range i.places[from-i.first:] {
		p.seg.live--
	}
	i.places, i.next = i.places[:from-i.first], from
}

// removeOld removes segments without entries, from the front and one by one: if a
// later removal survived a crash and an earlier one did not, there would be a hole.
func (s *store) removeOld() error {
	s.write.Lock()
	defer s.write.Unlock()
	for s.write.poisoned == nil {
		s.idx.Lock()
		if len(s.idx.segs) < 2 || s.idx.segs[0].live > 0 {
			s.idx.Unlock()
			return nil
		}
		old := s.idx.segs[0]
		s.idx.segs = s.idx.segs[1:]
		s.idx.Unlock()
		done := s.watch.begin("remove " + old.path)
		err := errors.Join(old.file.Close(), s.fs.Remove(old.path))
		if err == nil {
			err = vfsx.SyncDir(s.fs, s.dir)
		}
		done()
		if err != nil {
			return s.poisonLocked(fmt.Errorf("remove %s: %w", old.path, err))
		}
	}
	return s.write.poisoned
}

// Set makes a value durable. Raft panics when it cannot; see GetLog.
func (s *store) Set(key, val []byte) error {
	if bytes.Equal(s.value(key), val) {
		return nil
	}
	if string(key) == keyTerm && s.begin1(val) {
		return nil
	}
	err := s.group(groupValue, func(e *encoder) error { e.p(key); e.p(val); return nil },
		func(*segment, int64) { s.idx.values[string(key)] = bytes.Clone(val) })
	if err != nil {
		runtime.Goexit()
	}
	return nil
}

// begin1 takes in the first term of a store without anything; see begun.
func (s *store) begin1(val []byte) bool {
	s.idx.Lock()
	defer s.idx.Unlock()
	first := s.idx.first == s.idx.next && len(s.idx.values) == 0 && bytes.Equal(val, termOne)
	s.idx.begun = s.idx.begun || first
	return first
}

var termOne = binary.BigEndian.AppendUint64(nil, 1)

func (s *store) value(key []byte) []byte {
	s.idx.RLock()
	defer s.idx.RUnlock()
	v := s.idx.values[string(key)]
	if v == nil && s.idx.begun && string(key) == keyTerm {
		return termOne
	}
	return v
}

// Get returns a value, nothing if there is none.
func (s *store) Get(key []byte) ([]byte, error) { return bytes.Clone(s.value(key)), nil }

// SetUint64 makes a number durable.
func (s *store) SetUint64(key []byte, v uint64) error {
	if v == 0 && s.value(key) == nil {
		return nil
	}
	return s.Set(key, binary.BigEndian.AppendUint64(nil, v))
}

// GetUint64 returns a number, 0 if there is none.
func (s *store) GetUint64(key []byte) (uint64, error) {
	v := s.value(key)
	switch len(v) {
	case 0:
		return 0, nil
	case 8:
		return binary.BigEndian.Uint64(v), nil
	default:
		return 0, fmt.Errorf("value %q has %d bytes and is no number", key, len(v))
	}
}

// group writes one group and syncs it; then note changes the index. The place that
// note gets is that of the group's first byte, of which fill's offsets count.
func (s *store) group(kind byte, fill func(*encoder) error, note func(seg *segment, at int64)) error {
	w := &s.write
	w.Lock()
	defer w.Unlock()
	if w.closed {
		return ErrClosed
	}
	if w.poisoned != nil {
		return w.poisoned
	}
	e := beginGroup(w.buf, kind)
	if err := fill(&e); err != nil {
		return err
	}
	w.buf = e.b[:0]
	if len(e.b) > groupMax {
		return fmt.Errorf("store %d bytes in the replicated log: a group may have %d", len(e.b), groupMax)
	}
	seg, err := s.activeLocked()
	if err != nil {
		return s.poisonLocked(err)
	}
	endGroup(e.b, w.seq+1)
	done := s.watch.begin("write " + seg.path)
	if fault.On && fault.Due(fault.C3) {
		_, _ = seg.file.WriteAt(e.b[:len(e.b)/2], seg.size)
		fault.Hit(fault.C3)
	}
	_, err = seg.file.WriteAt(e.b, seg.size)
	if err == nil && !mutant.On(mutant.RaftUnsynced) {
		err = seg.file.SyncData()
	}
	done()
	if err != nil {
		return s.poisonLocked(fmt.Errorf("write %s: %w", seg.path, err))
	}
	at := seg.size
	seg.size += int64(len(e.b))
	w.seq++
	s.idx.Lock()
	defer s.idx.Unlock()
	note(seg, at)
	return nil
}

// poisonLocked ends the store: it is not known what the disk holds, and a second
// sync may report as durable what the kernel has thrown away.
func (s *store) poisonLocked(err error) error {
	s.write.poisoned = fmt.Errorf("%w: %w", ErrPoisoned, explain(err))
	s.fail(s.write.poisoned)
	return s.write.poisoned
}

// activeLocked returns the segment to write to, a new one if it is time.
func (s *store) activeLocked() (*segment, error) {
	s.idx.RLock()
	seg := s.idx.segs[len(s.idx.segs)-1]
	s.idx.RUnlock()
	if seg.size < s.roll {
		return seg, nil
	}
	done := s.watch.begin("begin a segment after " + seg.path)
	defer done()
	next, err := s.begin(seg.number+1, s.write.seq+1)
	if err != nil {
		return nil, err
	}
	s.write.seq++
	s.idx.Lock()
	defer s.idx.Unlock()
	s.idx.segs = append(s.idx.segs, next)
	return next, nil
}

// begin makes a segment that holds the state so far, durable, and then notes that
// there is one: a newest segment that is missing must not go unnoticed.
func (s *store) begin(number, seq uint64) (*segment, error) {
	b := appendSegmentHeader(nil, s.disk, number)
	e := beginGroup(nil, groupState)
	s.idx.RLock()
	s.stateLocked(&e)
	s.idx.RUnlock()
	endGroup(e.b, seq)
	b = append(b, e.b...)
	seg := &segment{path: s.fs.PathJoin(s.dir, segmentFiles.Name(number)), number: number, size: int64(len(b))}
	if err := vfsx.WriteFileAtomic(s.fs, seg.path, b); err != nil {
		return nil, err
	}
	if err := writeNewest(s.fs, s.dir, number); err != nil {
		return nil, err
	}
	var err error
	if seg.file, err = s.fs.OpenReadWrite(seg.path, vfsx.Unspecified); err != nil {
		return nil, fmt.Errorf("open %s: %w", seg.path, err)
	}
	return seg, nil
}

func (s *store) stateLocked(e *encoder) {
	e.u(s.idx.first)
	e.u(s.idx.next)
	keys := slices.Sorted(maps.Keys(s.idx.values))
	e.u(uint64(len(keys)))
	for _, k := range keys {
		e.s(k)
		e.p(s.idx.values[k])
	}
}

// Close closes the files. Nothing needs to be written.
func (s *store) Close() error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.write.closed {
		return nil
	}
	s.write.closed = true
	s.idx.Lock()
	defer s.idx.Unlock()
	var err error
	for _, seg := range s.idx.segs {
		err = errors.Join(err, seg.file.Close())
	}
	return err
}
