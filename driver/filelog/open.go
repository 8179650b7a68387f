package filelog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
)

// Options say which checkpoint to open. Dir must be set.
type Options struct {
	FS  vfsx.FS // default: the machine's
	Dir string
	// Metadata is what the query would write if it started for the first time.
	// Name, and Query if set, must be those of an existing checkpoint.
	Metadata Metadata
	Clock    clock.Clock // of Metadata.Created; default: the machine's
	// SegmentBytesMax is when a new segment is started; default 4 MiB. Smaller
	// ones free space sooner, larger ones make fewer files.
	SegmentBytesMax int64
	// BallastBytes is the space that is kept to be given back when the disk is
	// full; default 1 MiB, negative: none.
	BallastBytes int64
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfsx.Default
	}
	if o.Clock == nil {
		o.Clock = clock.System()
	}
	if o.SegmentBytesMax <= 0 {
		o.SegmentBytesMax = 4 << 20
	}
	if o.BallastBytes == 0 {
		o.BallastBytes = 1 << 20
	}
	return o
}

const (
	lockFile    = "LOCK"
	ownerFile   = "OWNER"
	ballastFile = "BALLAST"
	logDir      = "log"
	dirPerm     = 0o700
)

// Open takes the checkpoint's lock, checks all of its log, cuts off a torn tail
// and makes the checkpoint if there is none. It refuses what it cannot trust.
func Open(opt Options) (*Log, error) {
	opt = opt.withDefaults()
	if opt.Dir == "" {
		return nil, refuse(errors.New("a checkpoint needs a folder"))
	}
	if opt.FS == vfsx.Default {
		// One name for one folder: the lock is by name within the process.
		abs, err := filepath.Abs(opt.Dir)
		if err != nil {
			return nil, fmt.Errorf("open checkpoint %s: %w", opt.Dir, err)
		}
		opt.Dir = abs
	}
	l := &Log{opt: opt, fs: opt.FS, dir: opt.FS.PathJoin(opt.Dir, logDir)}
	if err := vfsx.MkdirAll(l.fs, l.dir, dirPerm); err != nil {
		return nil, fmt.Errorf("open checkpoint %s: %w", opt.Dir, explain(err))
	}
	if err := l.lock(); err != nil {
		return nil, err
	}
	err := claimed(l.fs, l.opt.Dir)
	if err == nil {
		err = l.load()
	}
	if err != nil {
		return nil, errors.Join(err, l.unlock())
	}
	l.fillBallast()
	return l, nil
}

// lock makes sure that no other process has the checkpoint open. The file that
// says who has it is only for the error message.
func (l *Log) lock() error {
	if l.fs == vfsx.Default {
		if real, err := filepath.EvalSymlinks(l.opt.Dir); err == nil {
			l.opt.Dir = real
			l.dir = l.fs.PathJoin(real, logDir)
		}
	}
	owner := l.fs.PathJoin(l.opt.Dir, ownerFile)
	c, err := l.fs.Lock(l.fs.PathJoin(l.opt.Dir, lockFile))
	if err != nil {
		if !vfsx.LockHeld(err) {
			return fmt.Errorf("lock checkpoint %s: %w", l.opt.Dir, explain(err))
		}
		who := "another query of this process, or an unknown process"
		if b, rerr := vfsx.ReadFile(l.fs, owner, 1<<10); rerr == nil && len(b) > 0 {
			who = string(b)
		}
		return refuse(inUse{dir: l.opt.Dir, who: who})
	}
	l.locked = c
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	f, err := l.fs.Create(owner, vfsx.Unspecified)
	if err == nil {
		_, err = f.Write(fmt.Appendf(nil, "process %d on %s", os.Getpid(), host))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("take checkpoint %s: %w", l.opt.Dir, explain(err)), l.unlock())
	}
	return nil
}

func (l *Log) unlock() error {
	// Best effort: who reads a stale name is only told who had it last.
	_ = l.fs.Remove(l.fs.PathJoin(l.opt.Dir, ownerFile))
	if err := l.locked.Close(); err != nil {
		return fmt.Errorf("unlock checkpoint %s: %w", l.opt.Dir, err)
	}
	return nil
}

// load reads metadata and segments and leaves the log ready for Append.
func (l *Log) load() error {
	meta, err := readMetadata(l.fs, l.opt.Dir)
	if err != nil {
		return err
	}
	segs, err := scanAll(l.fs, l.dir, nil)
	if err != nil {
		return err
	}
	if meta == nil {
		return l.create(segs)
	}
	if err := meta.belongs(l.opt.Dir, l.opt.Metadata); err != nil {
		return err
	}
	if len(segs) == 0 {
		return refuse(fmt.Errorf("%w: %s belongs to query %q (ID %s) and has no segments; restore the folder %s, or remove the checkpoint to start the query anew",
			ErrNoLog, l.opt.Dir, meta.Name, meta.Query, l.dir))
	}
	if err := joinUp(segs, meta.Query); err != nil {
		return err
	}
	l.meta = *meta
	return l.adopt(segs)
}

// create writes the first segment, then the metadata: a crash in between leaves
// a segment without records, which the next start replaces.
func (l *Log) create(segs []*segment) error {
	for _, s := range segs {
		if s.groups > 0 {
			return refuse(fmt.Errorf("%w: %s has batches of query %s but no %s; a new identity would show their output twice: restore the file from a copy, or remove the checkpoint to start the query anew",
				ErrNoMetadata, l.opt.Dir, s.query, metadataFile))
		}
		if err := l.fs.Remove(s.file); err != nil {
			return fmt.Errorf("make checkpoint %s: %w", l.opt.Dir, explain(err))
		}
	}
	l.meta = l.opt.Metadata
	l.meta.Created = l.opt.Clock.Now().UTC().Truncate(time.Microsecond)
	if l.meta.Query == "" {
		id, err := drawID()
		if err != nil {
			return err
		}
		l.meta.Query = id
	}
	if l.meta.KeyGroups == 0 {
		l.meta.KeyGroups = batch.KeyGroups
	}
	data, err := encodeMetadata(l.meta)
	if err != nil {
		return err
	}
	l.seq = 0
	seg, f, err := l.newSegment(1)
	if err != nil {
		return fmt.Errorf("make checkpoint %s: %w", l.opt.Dir, explain(err))
	}
	if err := vfsx.WriteFileAtomic(l.fs, l.fs.PathJoin(l.opt.Dir, metadataFile), data); err != nil {
		return errors.Join(fmt.Errorf("make checkpoint %s: %w", l.opt.Dir, explain(err)), f.Close())
	}
	l.mu.active, l.mu.file = seg, f
	return nil
}

// joinUp checks that segments follow each other without a gap and belong to the
// query, and that only the end of what was written is torn.
func joinUp(segs []*segment, query batch.QueryID) error {
	var last *segment // with groups
	for i, s := range segs {
		if s.query != query {
			return damagef(s.file, 0, "it belongs to query %s, not %s", s.query, query)
		}
		if i > 0 && s.number != segs[i-1].number+1 {
			return damagef(s.file, 0, "segment %d is missing before it", s.number-1)
		}
		if i > 0 && segs[i-1].torn() && (s.groups > 0 || s.torn()) {
			p := segs[i-1]
			return damagef(p.file, p.end, "bytes that are no record, with records after them in %s", s.file)
		}
		if s.groups == 0 {
			continue
		}
		if last != nil && s.first != last.last+1 {
			return damagef(s.file, s.start, "group %d follows group %d of %s", s.first, last.last, last.file)
		}
		last = s
	}
	return nil
}

// adopt cuts a torn tail and goes on after the last group.
func (l *Log) adopt(segs []*segment) error {
	n := len(segs)
	// A segment that was made ahead and not used yet may follow the torn one.
	for n > 1 && segs[n-1].groups == 0 && !segs[n-1].torn() && segs[n-2].torn() {
		if err := l.fs.Remove(segs[n-1].file); err != nil {
			return fmt.Errorf("remove an unused segment: %w", explain(err))
		}
		n--
	}
	segs = segs[:n]
	for _, s := range segs {
		if s.groups > 0 {
			l.seq = s.last
		}
		l.term = max(l.term, s.term)
	}
	s := segs[n-1]
	if s.torn() {
		if err := l.cut(s); err != nil {
			return err
		}
		l.torn = s.size - s.end
		s.size = s.end
	}
	f, err := l.fs.OpenReadWrite(s.file, vfsx.Unspecified)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.file, explain(err))
	}
	// The process before may have been killed between write and sync: what is
	// read here must be on disk before anything is built on it.
	err = f.Sync()
	if err == nil {
		err = vfsx.SyncDir(l.fs, l.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("sync %s: %w", s.file, explain(err)), f.Close())
	}
	l.mu.segs, l.mu.active, l.mu.file = segs[:n-1], s, f
	return nil
}

// cut replaces a segment by its whole groups.
func (l *Log) cut(s *segment) error {
	data, err := vfsx.ReadFile(l.fs, s.file, segmentLimit)
	if err != nil {
		return explain(err)
	}
	if int64(len(data)) < s.end {
		return damagef(s.file, int64(len(data)), "it became shorter while it was read")
	}
	err = vfsx.ReplaceFile(l.fs, s.file, func(w io.Writer) error {
		_, err := w.Write(data[:s.end])
		return err
	})
	if err != nil {
		return fmt.Errorf("cut the torn end of %s: %w", s.file, explain(err))
	}
	return nil
}

// scanAll reads every segment of a folder in order and visits their records.
func scanAll(fs vfsx.FS, dir string, visit func(*segmentPlace, microbatch.Record) error) ([]*segment, error) {
	numbers, err := listSegments(fs, dir)
	if err != nil {
		return nil, err
	}
	var segs []*segment
	for _, n := range numbers {
		path := fs.PathJoin(dir, segmentFiles.Name(n))
		data, err := vfsx.ReadFile(fs, path, segmentLimit)
		if err != nil {
			return segs, explain(err)
		}
		s, err := scanSegment(path, data, func(g group, r microbatch.Record) error {
			if visit == nil {
				return nil
			}
			return visit(&segmentPlace{file: path, at: g.at}, r)
		})
		if err != nil {
			return segs, err
		}
		if s.number != n {
			return segs, damagef(path, 0, "it is segment %d under another's name", s.number)
		}
		segs = append(segs, s)
	}
	return segs, nil
}

// segmentPlace says where a record lies.
type segmentPlace struct {
	file string
	at   int64
}

func listSegments(fs vfsx.FS, dir string) ([]uint64, error) {
	numbers, err := segmentFiles.List(fs, dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return numbers, explain(err)
}
