package socket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

// inputLog holds the lines that batches have read and not released. Without a
// folder it is kept in memory alone.
//
// On disk it is a row of segments, named after their first line. A segment is a
// magic word and blocks: length (4 bytes, little endian), then what appendLines
// makes. Each process starts a segment of its own, so that a torn block is always
// the last of its segment.
type inputLog struct {
	fs       vfsx.FS
	dir      string
	segments []*segment // in order; the last one may be open
	active   vfsx.File  // of the last segment, nil until the first append
	end      int64      // lines ever logged
	broken   error      // after a failed write or sync nothing is logged any more
}

type segment struct {
	path   string
	blocks []block
	first  int64
	size   int64
}

// block is one append.
type block struct {
	first, end int64
	offset     int64 // of what appendLines made
	length     int
	lines      []line // without a folder
}

const (
	magic        = "SLUICEI1"
	segmentBytes = 4 << 20
	blockBytes   = 256 << 20 // longest block; a longer one is damage
	prefix       = "input-"
	suffix       = ".log"
)

// openLog reads what an earlier process has left.
func openLog(fs vfsx.FS, dir string) (*inputLog, error) {
	l := &inputLog{fs: fs, dir: dir}
	if dir == "" {
		l.segments = []*segment{{}}
		return l, nil
	}
	if err := vfsx.MkdirAll(fs, dir, 0o755); err != nil {
		return nil, fmt.Errorf("open the input log: %w", err)
	}
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list the input log %s: %w", dir, err)
	}
	slices.Sort(names)
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, prefix)
		digits, ok2 := strings.CutSuffix(digits, suffix)
		first, err := strconv.ParseInt(digits, 10, 64)
		if !ok || !ok2 || err != nil {
			continue
		}
		s := &segment{path: fs.PathJoin(dir, name), first: first}
		if len(l.segments) > 0 && first != l.end {
			return nil, fmt.Errorf("input log %s: lines %d to %d are missing before it", s.path, l.end, first)
		}
		if l.end, err = l.load(s); err != nil {
			return nil, err
		}
		l.segments = append(l.segments, s)
	}
	return l, nil
}

// load reads the index of a segment and returns the end of its lines. A block
// that is cut off, or whose checksum is wrong with nothing behind it, was being
// written when the process ended: no offset behind it was ever known (O1).
func (l *inputLog) load(s *segment) (end int64, err error) {
	data, err := l.read(s.path, 0, -1)
	if err != nil {
		return 0, err
	}
	s.size, end = int64(len(data)), s.first
	if len(data) < len(magic) {
		return end, nil
	}
	if string(data[:len(magic)]) != magic {
		return 0, fmt.Errorf("input log %s: it does not begin as one", s.path)
	}
	for at := len(magic); at+4 <= len(data); {
		length := int(binary.LittleEndian.Uint32(data[at:]))
		at += 4
		if length > blockBytes || length > len(data)-at {
			return end, nil
		}
		first, lines, err := parseLines(data[at : at+length])
		if err != nil && at+length == len(data) {
			return end, nil
		}
		if err != nil || first != end {
			return 0, fmt.Errorf("input log %s: the block at byte %d is damaged, lines from %d on cannot be read again", s.path, at-4, end)
		}
		end += int64(len(lines))
		s.blocks = append(s.blocks, block{first: first, end: end, offset: int64(at), length: length})
		at += length
	}
	return end, nil
}

// read returns length bytes of a file from an offset, all of them for -1.
func (l *inputLog) read(path string, offset int64, length int) (data []byte, err error) {
	f, err := l.fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open input log %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if length < 0 {
		info, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("look at input log %s: %w", path, err)
		}
		if info.Size() > 2*blockBytes {
			return nil, fmt.Errorf("input log %s has %d bytes, which is more than one can have", path, info.Size())
		}
		length = int(info.Size())
	}
	data = make([]byte, length)
	if n, err := f.ReadAt(data, offset); n < length {
		return nil, fmt.Errorf("read input log %s at byte %d: %w", path, offset, err)
	}
	return data, nil
}

// append logs lines and returns when they are durable.
func (l *inputLog) append(lines []line) error {
	if l.broken != nil {
		return l.broken
	}
	b := block{first: l.end, end: l.end + int64(len(lines))}
	if l.dir == "" {
		b.lines = lines
	} else if err := l.write(&b, lines); err != nil {
		l.broken = err
		return err
	}
	l.end = b.end
	last := l.segments[len(l.segments)-1]
	last.blocks = append(last.blocks, b)
	return nil
}

func (l *inputLog) write(b *block, lines []line) error {
	data := appendLines(make([]byte, 4), b.first, lines)
	b.length = len(data) - 4
	if b.length > blockBytes {
		return fmt.Errorf("log %d lines of input: %d bytes are more than a batch can have", len(lines), b.length)
	}
	binary.LittleEndian.PutUint32(data, uint32(b.length))
	if l.active == nil || l.segments[len(l.segments)-1].size >= segmentBytes {
		if err := l.roll(); err != nil {
			return err
		}
	}
	s := l.segments[len(l.segments)-1]
	b.offset = s.size + 4
	if _, err := l.active.Write(data); err != nil {
		return fmt.Errorf("write input log %s: %w", s.path, err)
	}
	if err := l.active.SyncData(); err != nil {
		return fmt.Errorf("sync input log %s: %w", s.path, err)
	}
	s.size += int64(4 + b.length)
	return nil
}

// roll starts a segment at the end of the log. One that is there already holds
// no line that counts, and is replaced.
func (l *inputLog) roll() error {
	if l.active != nil {
		if err := l.active.Close(); err != nil {
			return fmt.Errorf("close an input log in %s: %w", l.dir, err)
		}
		l.active = nil
	}
	s := &segment{path: l.fs.PathJoin(l.dir, fmt.Sprintf("%s%020d%s", prefix, l.end, suffix)), first: l.end, size: int64(len(magic))}
	f, err := l.fs.Create(s.path, vfsx.Unspecified)
	if err != nil {
		return fmt.Errorf("create input log %s: %w", s.path, err)
	}
	l.active = f
	if _, err := f.Write([]byte(magic)); err != nil {
		return fmt.Errorf("write input log %s: %w", s.path, err)
	}
	if err := vfsx.SyncDir(l.fs, l.dir); err != nil {
		return err
	}
	if n := len(l.segments); n > 0 && l.segments[n-1].path == s.path {
		l.segments = l.segments[:n-1]
	}
	l.segments = append(l.segments, s)
	return nil
}

// slice returns the lines [from, to).
func (l *inputLog) slice(from, to int64) ([]line, error) {
	var out []line
	at := from
	for _, s := range l.segments {
		for _, b := range s.blocks {
			if b.end <= at || b.first >= to {
				continue
			}
			if b.first > at { // what lies before is released
				return nil, fmt.Errorf("lines %d to %d are no longer in the input log", at, b.first)
			}
			lines, err := l.lines(s, b)
			if err != nil {
				return nil, err
			}
			out = append(out, lines[at-b.first:min(to, b.end)-b.first]...)
			at = min(to, b.end)
		}
	}
	if at < to {
		return nil, fmt.Errorf("lines %d to %d are not in the input log, which ends at %d", at, to, l.end)
	}
	return out, nil
}

func (l *inputLog) lines(s *segment, b block) ([]line, error) {
	if l.dir == "" {
		return b.lines, nil
	}
	data, err := l.read(s.path, b.offset, b.length)
	if err != nil {
		return nil, err
	}
	first, lines, err := parseLines(data)
	if err != nil || first != b.first || int64(len(lines)) != b.end-b.first {
		return nil, fmt.Errorf("input log %s: the block at byte %d is damaged", s.path, b.offset)
	}
	return lines, nil
}

// release drops the blocks before to, and the files that only hold such, except
// for the last, which says where the log ends (O2).
func (l *inputLog) release(to int64) error {
	var errs []error
	keep := l.segments[:0]
	for i, s := range l.segments {
		s.blocks = slices.DeleteFunc(s.blocks, func(b block) bool { return b.end <= to })
		if len(s.blocks) > 0 || i == len(l.segments)-1 {
			keep = append(keep, s)
			continue
		}
		if err := l.fs.Remove(s.path); err != nil {
			errs = append(errs, fmt.Errorf("remove input log %s: %w", s.path, err))
		}
	}
	clear(l.segments[len(keep):])
	l.segments = keep
	return errors.Join(errs...)
}

func (l *inputLog) close() error {
	if l.active == nil {
		return nil
	}
	err := l.active.Close()
	l.active = nil
	return err
}
