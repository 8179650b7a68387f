package filelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"syscall"

	"github.com/zeebo/xxh3"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/mutant"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
)

// Log is a batch log on files. Append is called by one goroutine at a time;
// Truncate and Replay may run beside it.
type Log struct {
	opt    Options
	fs     vfsx.FS
	dir    string // of the segments
	locked io.Closer
	meta   Metadata
	torn   int64 // bytes that Open cut off

	truncating sync.Mutex // held for a whole Truncate; guards unsynced
	unsynced   bool       // a removal whose sync failed: the next one must not overtake it

	mu struct {
		sync.Mutex
		segs     []*segment // closed ones, oldest first
		active   *segment
		file     vfsx.File // of active
		rolling  bool      // Truncate makes the next segment: Append must not
		poisoned error
		closed   bool
	}

	// Of Append, under mu.
	seq     uint64
	term    batch.Term
	buf     []byte
	scratch []byte
	again   xxh3.Uint128 // hash of the last group's body
}

// Metadata returns whom the checkpoint belongs to.
func (l *Log) Metadata() Metadata { return l.meta }

// TornBytes returns how many bytes of an unfinished append Open has cut off.
func (l *Log) TornBytes() int64 { return l.torn }

// Append writes the records as one group and returns when it is durable. The
// group that was written last is written only once. ErrFenced: a newer term has
// written. After any other error nothing is appended any more.
func (l *Log) Append(_ context.Context, term batch.Term, recs ...microbatch.Record) error {
	if len(recs) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.mu.closed:
		return errors.New("append to the batch log: it is closed")
	case l.mu.poisoned != nil:
		return fmt.Errorf("append to the batch log: %w: %w", ErrPoisoned, l.mu.poisoned)
	case term < l.term && !mutant.On(mutant.LogUnfenced):
		return fmt.Errorf("append to the batch log in term %d, term %d has written: %w", term, l.term, batch.ErrFenced)
	}
	buf := beginGroup(l.buf)
	newest := batch.None
	for _, r := range recs {
		buf, l.scratch = appendRecord(buf, r, l.scratch)
		newest = max(newest, r.ID())
	}
	l.buf = buf[:0]
	body := buf[groupPrefix:]
	if len(body) > groupMax {
		return fmt.Errorf("append %d bytes to the batch log: a group may have %d", len(body), groupMax)
	}
	sum := xxh3.Hash128(body)
	if l.seq > 0 && sum == l.again {
		return nil
	}
	endGroup(buf, l.seq+1)
	if err := l.writeLocked(buf); err != nil {
		l.mu.poisoned = err
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			l.dropBallast()
		}
		return fmt.Errorf("append batch %d to %s: %w", newest, l.mu.active.file, explain(err))
	}
	s := l.mu.active
	l.seq++
	if s.groups == 0 {
		s.first = l.seq
	}
	s.groups, s.last = s.groups+1, l.seq
	s.newest, s.term = max(s.newest, newest), max(s.term, term)
	l.term, l.again = term, sum
	return nil
}

// writeLocked writes and syncs one group, in a new segment if the active one is full.
func (l *Log) writeLocked(b []byte) error {
	if s := l.mu.active; s.groups > 0 && s.size >= l.opt.SegmentBytesMax && !l.mu.rolling {
		next, f, err := l.newSegment(s.number + 1)
		if err != nil {
			return err
		}
		if err := l.swapLocked(next, f); err != nil {
			return err
		}
	}
	s := l.mu.active
	n := int64(len(b))
	if _, err := l.mu.file.WriteAt(b, s.size); err != nil {
		return err
	}
	if !mutant.On(mutant.LogUnsynced) {
		if err := l.mu.file.SyncData(); err != nil {
			return err
		}
	}
	s.size += n
	s.end = s.size
	return nil
}

// newSegment makes the file of a segment, durable and without groups.
func (l *Log) newSegment(number uint64) (*segment, vfsx.File, error) {
	h := appendHeader(nil, header{query: l.meta.Query, number: number})
	size := int64(len(h))
	path := l.fs.PathJoin(l.dir, segmentFiles.Name(number))
	if err := vfsx.WriteFileAtomic(l.fs, path, h); err != nil {
		return nil, nil, err
	}
	f, err := l.fs.OpenReadWrite(path, vfsx.Unspecified)
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", path, err)
	}
	s := &segment{file: path, number: number, query: l.meta.Query, start: size, end: size, size: size, newest: batch.None}
	return s, f, nil
}

// swapLocked makes a new segment the active one.
func (l *Log) swapLocked(next *segment, f vfsx.File) error {
	old := l.mu.file
	l.mu.segs = append(l.mu.segs, l.mu.active)
	l.mu.active, l.mu.file = next, f
	if err := old.Close(); err != nil {
		return fmt.Errorf("close a full segment: %w", err)
	}
	return nil
}

// Replay returns the records whose ID is at least from, oldest first; all there
// are for from <= 0. It reads what was durable when it was called. Truncate drops
// whole segments, so the first one left may begin inside a batch: the rest of
// that batch is passed over, as if it had been dropped too.
func (l *Log) Replay(ctx context.Context, from batch.ID) iter.Seq2[microbatch.Record, error] {
	return func(yield func(microbatch.Record, error) bool) {
		begun, first := false, batch.None // the oldest batch whose plan is there
		l.mu.Lock()
		files := make([]segment, 0, len(l.mu.segs)+1)
		for _, s := range l.mu.segs {
			files = append(files, *s)
		}
		files = append(files, *l.mu.active)
		l.mu.Unlock()
		for _, s := range files {
			if s.newest < from && from > 0 {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(nil, context.Cause(ctx))
				return
			}
			err := l.replaySegment(s, func(r microbatch.Record) error {
				switch r.(type) {
				case microbatch.Planned, microbatch.Adopted:
					if !begun {
						begun, first = true, r.ID()
					}
				case microbatch.Committed, microbatch.Checkpointed:
					if !begun || r.ID() < first {
						return nil
					}
				default: // Started goes with whatever follows it
				}
				if (from <= 0 || r.ID() >= from) && !yield(r, nil) {
					return errStop
				}
				return nil
			})
			if errors.Is(err, errStop) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
		}
	}
}

func (l *Log) replaySegment(s segment, visit func(microbatch.Record) error) error {
	data, err := vfsx.ReadFile(l.fs, s.file, segmentLimit)
	if err != nil {
		return explain(err)
	}
	if int64(len(data)) < s.end {
		return damagef(s.file, int64(len(data)), "it became shorter since it was opened")
	}
	_, err = scanSegment(s.file, data[:s.end], func(_ group, r microbatch.Record) error { return visit(r) })
	return err
}

// rollBytesMin is how large the active segment must be for Truncate to start a
// new one, so that the old one can go at a later Truncate.
const rollBytesMin = 64 << 10

// Truncate drops whole segments whose records are all older than before. What a
// recovery needs is younger by the protocol: the kept checkpoints, which carry
// the query's identity, and all that came after them.
func (l *Log) Truncate(ctx context.Context, before batch.ID) error {
	l.truncating.Lock()
	defer l.truncating.Unlock()
	if err := l.roll(); err != nil {
		return fmt.Errorf("truncate the batch log before batch %d: %w", before, explain(err))
	}
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if l.unsynced {
			if err := vfsx.SyncDir(l.fs, l.dir); err != nil {
				return fmt.Errorf("truncate the batch log before batch %d: %w", before, explain(err))
			}
			l.unsynced = false
		}
		victim := l.takeOldest(before)
		if victim == nil {
			return nil
		}
		// One by one: if a later segment's removal survived a crash and an
		// earlier one's did not, the log would look as if it had a hole.
		l.unsynced = true
		if err := l.fs.Remove(victim.file); err != nil {
			l.putBack(victim)
			return fmt.Errorf("truncate the batch log before batch %d: %w", before, explain(err))
		}
	}
}

// takeOldest takes the oldest segment off the list if all of it is older than before.
func (l *Log) takeOldest(before batch.ID) *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.segs) == 0 || l.mu.segs[0].newest >= before || l.mu.closed {
		return nil
	}
	victim := l.mu.segs[0]
	l.mu.segs = l.mu.segs[1:]
	return victim
}

// putBack is for a segment that could not be removed: without it the next ones
// would go and leave a hole.
func (l *Log) putBack(s *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.segs = append([]*segment{s}, l.mu.segs...)
}

// roll starts a new segment if the active one is worth it. The file is made
// without the lock, so that appends do not wait for its syncs.
func (l *Log) roll() error {
	l.mu.Lock()
	s := l.mu.active
	due := !l.mu.closed && l.mu.poisoned == nil && s.groups > 0 && s.size >= min(rollBytesMin, l.opt.SegmentBytesMax)
	l.mu.rolling = due
	l.mu.Unlock()
	if !due {
		return nil
	}
	next, f, err := l.newSegment(s.number + 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.rolling = false
	if err != nil {
		return err
	}
	if l.mu.poisoned != nil {
		return f.Close() // nothing is written any more
	}
	return l.swapLocked(next, f)
}

// Close gives up the lock. Nothing needs to be written.
func (l *Log) Close() error {
	l.truncating.Lock()
	defer l.truncating.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return nil
	}
	l.mu.closed = true
	err := l.mu.file.Close()
	return errors.Join(err, l.unlock())
}

// fillBallast keeps some space back. Failing to is no reason not to start.
func (l *Log) fillBallast() {
	if l.opt.BallastBytes < 0 || l.fs == vfsx.Default && vfsx.Mounted(l.opt.Dir) {
		return // it is not this disk that would become full
	}
	path := l.fs.PathJoin(l.opt.Dir, ballastFile)
	if info, err := l.fs.Stat(path); err == nil && info.Size() >= l.opt.BallastBytes {
		return
	}
	f, err := l.fs.Create(path, vfsx.Unspecified)
	if err != nil {
		return
	}
	zeros := make([]byte, 64<<10)
	for left := l.opt.BallastBytes; left > 0 && err == nil; left -= int64(len(zeros)) {
		_, err = f.Write(zeros[:min(int64(len(zeros)), left)])
	}
	if cerr := f.Close(); err != nil || cerr != nil {
		_ = l.fs.Remove(path) // half a ballast is none
	}
}

// dropBallast gives the space back, so that sinks can finish and people can log in.
func (l *Log) dropBallast() { _ = l.fs.Remove(l.fs.PathJoin(l.opt.Dir, ballastFile)) }
