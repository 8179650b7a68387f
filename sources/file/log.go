package file

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// fileLog is the durable list of the files that a stream has taken, in order.
// The position of a file is its number; an offset is a position. The log is a
// header and records of (length, checksum, payload); docs/formats/file-log.md.
type fileLog struct {
	fs      vfsx.FS
	path    string
	f       vfsx.File
	size    int64
	start   int64            // positions before it are released
	entries []entry          // of positions start, start+1, ..
	seen    map[string]entry // all that were ever taken and may still be there
	broken  error            // a failed write: nothing may follow it
}

const (
	logName    = "files.log"
	logHeader  = "sluice-files 1\n"
	maxLogSize = 4 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Kinds of item in a record.
const (
	itemTaken    = 'T' // a file at the next position
	itemReleased = 'R' // the number of positions released
	itemSeen     = 'S' // a released file that may still be in the directory
	itemGone     = 'G' // the next position, whose file was removed before any batch had it
)

// openLog reads the log, or makes an empty one.
func openLog(fs vfsx.FS, dir string) (*fileLog, error) {
	if err := vfsx.MkdirAll(fs, dir, 0o777); err != nil {
		return nil, batch.ExternalError(fmt.Errorf("make the source's folder: %w", err), false)
	}
	l := &fileLog{fs: fs, path: fs.PathJoin(dir, logName), seen: map[string]entry{}}
	b, err := vfsx.ReadFile(fs, l.path, maxLogSize)
	if errors.Is(err, os.ErrNotExist) {
		return l, l.rewrite()
	}
	if err != nil {
		return nil, batch.ExternalError(fmt.Errorf("read the file log: %w", err), false)
	}
	whole, err := l.load(b)
	if err != nil {
		return nil, err
	}
	if whole < len(b) {
		return l, l.rewrite() // without the torn tail
	}
	l.size = int64(len(b))
	return l, l.reopen()
}

// load applies the records and returns the length of the whole ones. What
// stands behind a bad record decides what it is: a torn tail has nothing
// readable behind it (R4).
func (l *fileLog) load(b []byte) (int, error) {
	damaged := func(at int) error {
		return &batch.Error{Kind: batch.External, Err: fmt.Errorf("the file log %q is damaged at byte %d of %d: restore it from a copy of the checkpoint", l.path, at, len(b))}
	}
	if len(b) < len(logHeader) || string(b[:len(logHeader)]) != logHeader {
		var version int
		if n, _ := fmt.Sscanf(string(b[:min(len(b), 40)]), "sluice-files %d\n", &version); n == 1 && version > 1 {
			return 0, batch.UserErrorf("the file log %q is of version %d, and this program knows version 1: use a newer one", l.path, version)
		}
		return 0, damaged(0) // it is made whole, by a rename
	}
	at := len(logHeader)
	for at < len(b) {
		n, ok := l.record(b[at:])
		if !ok {
			for i := at + 1; i < len(b); i++ {
				if _, whole := (&fileLog{seen: map[string]entry{}}).record(b[i:]); whole {
					return 0, damaged(at)
				}
			}
			return at, nil
		}
		at += n
	}
	return at, nil
}

// record applies the record that b starts with and returns its length.
func (l *fileLog) record(b []byte) (n int, ok bool) {
	if len(b) < 9 {
		return 0, false
	}
	size := binary.LittleEndian.Uint32(b)
	if size == 0 || uint64(size) > uint64(len(b)-8) {
		return 0, false
	}
	p := b[8 : 8+size]
	if crc32.Checksum(p, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return 0, false
	}
	for len(p) > 0 {
		n, k := binary.Uvarint(p)
		if k <= 0 || n == 0 || n > uint64(len(p)-k) || !l.apply(p[k:k+int(n)]) {
			return 0, false
		}
		p = p[k+int(n):]
	}
	return 8 + int(size), true
}

// apply applies one item of a record.
func (l *fileLog) apply(p []byte) bool {
	kind, p := p[0], p[1:]
	v, k := binary.Uvarint(p)
	if k <= 0 {
		return false
	}
	p = p[k:]
	if kind == itemReleased {
		if int64(v) < l.start {
			return false
		}
		l.entries = l.entries[min(int64(v)-l.start, int64(len(l.entries))):]
		l.start = int64(v)
		return true
	}
	t, k := binary.Varint(p)
	if k <= 0 {
		return false
	}
	e := entry{Path: string(p[k:]), Size: int64(v), MTime: t}
	if kind == itemGone {
		e.Size = goneSize
		l.entries = append(l.entries, e)
		return true
	}
	if _, twice := l.seen[e.Path]; twice && kind == itemTaken {
		return false // no file is taken twice: the record was copied
	}
	l.seen[e.Path] = e
	if kind == itemTaken {
		l.entries = append(l.entries, e)
	}
	return kind == itemTaken || kind == itemSeen
}

func appendItem(dst []byte, kind byte, v uint64, e *entry) []byte {
	item := binary.AppendUvarint([]byte{kind}, v)
	if e != nil {
		item = append(binary.AppendVarint(item, e.MTime), e.Path...)
	}
	return append(binary.AppendUvarint(dst, uint64(len(item))), item...)
}

// frame makes one record of items. Each append is one record, so that whatever
// part of it a crash leaves, nothing whole stands behind it.
func frame(items []byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, 8+len(items)), uint32(len(items)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(items, castagnoli))
	return append(b, items...)
}

// end is the position behind the last file.
func (l *fileLog) end() int64 { return l.start + int64(len(l.entries)) }

// add makes files durable at the next positions (R1).
func (l *fileLog) add(es []entry) error {
	var b []byte
	for i := range es {
		b = appendItem(b, itemTaken, uint64(es[i].Size), &es[i])
	}
	if err := l.append(frame(b)); err != nil {
		return err
	}
	for _, e := range es {
		l.entries = append(l.entries, e)
		l.seen[e.Path] = e
	}
	return nil
}

func (l *fileLog) append(b []byte) error {
	if l.broken != nil {
		return l.broken
	}
	size := int64(len(b)) // Write may scribble over b
	_, err := l.f.WriteAt(b, l.size)
	if err == nil {
		err = l.f.Sync()
	}
	if err != nil {
		// What is on the disk now is unknown, and a sync must not be tried again.
		l.broken = batch.ExternalError(fmt.Errorf("append to the file log %q: %w", l.path, err), false)
		return l.broken
	}
	l.size += size
	return nil
}

// replace puts other entries at positions that were taken: files that were
// repaired or removed before any batch had them.
func (l *fileLog) replace(at map[int64]entry) error {
	if l.broken != nil {
		return l.broken
	}
	for pos, e := range at {
		delete(l.seen, l.entries[pos-l.start].Path)
		l.entries[pos-l.start] = e
		if !e.gone() {
			l.seen[e.Path] = e
		}
	}
	return l.rewrite()
}

// release forgets the files before a position. Their names stay until they
// are gone from the directory.
func (l *fileLog) release(to int64) {
	if to = min(to, l.end()); to > l.start {
		// Not needed to be right, only to keep the log short: compaction writes it.
		l.entries = l.entries[to-l.start:]
		l.start = to
	}
}

// compactAt is how many bytes the log may have beyond twice what it needs.
const compactAt = 256 << 10

// compact rewrites the log without what nobody needs any more: released files
// that are not in the directory. listed is the last listing.
func (l *fileLog) compact(listed []entry) error {
	if l.broken != nil {
		return l.broken
	}
	keep := make(map[string]entry, len(listed))
	need := int64(len(logHeader) + 32)
	hold := func(e entry) {
		if _, ok := keep[e.Path]; !ok {
			keep[e.Path] = e
			need += int64(len(e.Path)) + 24
		}
	}
	for _, e := range listed {
		if old, ok := l.seen[e.Path]; ok {
			hold(old)
		}
	}
	for _, e := range l.entries {
		if !e.gone() {
			hold(e)
		}
	}
	if l.size < 2*need+compactAt {
		return nil
	}
	l.seen = keep
	return l.rewrite()
}

// rewrite replaces the log by a short one that says the same.
func (l *fileLog) rewrite() error {
	live := map[string]bool{}
	for _, e := range l.entries {
		if !e.gone() {
			live[e.Path] = true
		}
	}
	var items []byte
	for _, path := range slices.Sorted(maps.Keys(l.seen)) {
		if e := l.seen[path]; !live[path] {
			items = appendItem(items, itemSeen, uint64(e.Size), &e)
		}
	}
	items = appendItem(items, itemReleased, uint64(l.start), nil)
	for i := range l.entries {
		if e := &l.entries[i]; e.gone() {
			items = appendItem(items, itemGone, 0, e)
		} else {
			items = appendItem(items, itemTaken, uint64(e.Size), e)
		}
	}
	b := append([]byte(logHeader), frame(items)...)
	if l.f != nil {
		_ = l.f.Close() // it is replaced
		l.f = nil
	}
	size := int64(len(b))
	if err := vfsx.WriteFileAtomic(l.fs, l.path, b); err != nil {
		l.broken = batch.ExternalError(fmt.Errorf("rewrite the file log: %w", err), false)
		return l.broken
	}
	l.size = size
	return l.reopen()
}

func (l *fileLog) reopen() error {
	f, err := l.fs.OpenReadWrite(l.path, vfsx.Unspecified)
	if err != nil {
		l.broken = batch.ExternalError(fmt.Errorf("open the file log %q: %w", l.path, err), false)
		return l.broken
	}
	l.f = f
	return nil
}

func (l *fileLog) close() error {
	if l.f == nil {
		return nil
	}
	f := l.f
	l.f = nil
	return f.Close()
}
