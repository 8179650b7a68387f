package raftlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/sluice-stream/sluice/internal/vfsx"
)

const (
	snapMagic    = "SLRSNAP\x01"
	snapVersion  = 1
	snapSuffix   = ".snap"
	snapsKept    = 2
	snapPart     = 256 << 10 // bytes of a part, which has a checksum of its own
	snapHeadMax  = 1 << 20
	serversLimit = 1 << 10
)

// snapshots keeps the newest snapshots of the state machine, each in one file.
type snapshots struct {
	fs    vfsx.FS
	dir   string
	fail  func(error)
	watch *watchdog

	mu struct {
		sync.Mutex
		kept   []*raft.SnapshotMeta // whole ones, newest first
		broken []error              // what is wrong with the others
		serial int
	}
}

var _ raft.SnapshotStore = (*snapshots)(nil)

// openSnapshots reads every snapshot to its end: one that is damaged must be known
// before the log that could stand in for it is cut.
func openSnapshots(fs vfsx.FS, dir string, fail func(error), watch *watchdog) (*snapshots, error) {
	s := &snapshots{fs: fs, dir: dir, fail: fail, watch: watch}
	names, err := fs.List(dir)
	if err != nil {
		return nil, explain(fmt.Errorf("list %s: %w", dir, err))
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		path := fs.PathJoin(dir, name)
		if strings.HasSuffix(name, vfsx.TempSuffix) {
			if err := fs.Remove(path); err != nil {
				return nil, explain(fmt.Errorf("remove the unfinished snapshot %s: %w", path, err))
			}
			continue
		}
		if !strings.HasSuffix(name, snapSuffix) {
			continue
		}
		meta, err := s.verify(name)
		if err != nil {
			s.mu.broken = append(s.mu.broken, err)
			continue
		}
		s.mu.kept = append(s.mu.kept, meta)
	}
	return s, nil
}

// verify reads a snapshot to its end.
func (s *snapshots) verify(name string) (*raft.SnapshotMeta, error) {
	meta, r, err := s.open(name)
	if err != nil {
		return nil, err
	}
	meta.Size, err = io.Copy(io.Discard, r)
	return meta, errors.Join(err, r.Close())
}

// oldest is the index of the oldest whole snapshot, 0 without any.
func (s *snapshots) oldest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.mu.kept); n > 0 {
		return s.mu.kept[n-1].Index
	}
	return 0
}

// List returns the whole snapshots, newest first.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mu.kept), nil
}

// Open reads a snapshot; what is read is checked part by part.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	i := slices.IndexFunc(s.mu.kept, func(m *raft.SnapshotMeta) bool { return m.ID == id })
	var size int64
	if i >= 0 {
		size = s.mu.kept[i].Size
	}
	s.mu.Unlock()
	if i < 0 {
		return nil, nil, fmt.Errorf("there is no snapshot %s", id)
	}
	meta, r, err := s.open(id)
	if err != nil {
		return nil, nil, err
	}
	meta.Size = size
	return meta, r, nil
}

func (s *snapshots) open(name string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	path := s.fs.PathJoin(s.dir, name)
	f, err := s.fs.Open(path)
	if err != nil {
		return nil, nil, explain(fmt.Errorf("open %s: %w", path, err))
	}
	r := &snapReader{path: path, f: f, r: bufio.NewReaderSize(f, 64<<10)}
	meta, err := r.head()
	if err == nil && !strings.HasPrefix(name, fmt.Sprintf("%020d-%d-", meta.Index, meta.Term)) {
		err = damagef(path, 0, "it is the snapshot of entry %d under another's name", meta.Index)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	meta.ID = name
	return meta, r, nil
}

// snapName sorts as the index does.
func snapName(index, term uint64, serial int) string {
	return fmt.Sprintf("%020d-%d-%d%s", index, term, serial, snapSuffix)
}

// Create begins a snapshot. It is there when its sink is closed.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	meta := &raft.SnapshotMeta{Version: version, Index: index, Term: term, Configuration: conf.Clone(), ConfigurationIndex: confIndex}
	s.mu.Lock()
	s.mu.serial++
	meta.ID = snapName(index, term, s.mu.serial)
	for slices.ContainsFunc(s.mu.kept, func(m *raft.SnapshotMeta) bool { return m.ID == meta.ID }) {
		s.mu.serial++
		meta.ID = snapName(index, term, s.mu.serial)
	}
	s.mu.Unlock()
	k := &snapSink{s: s, meta: meta, path: s.fs.PathJoin(s.dir, meta.ID)}
	var err error
	if k.f, err = s.fs.Create(k.path+vfsx.TempSuffix, vfsx.Unspecified); err != nil {
		return nil, explain(fmt.Errorf("begin snapshot %s: %w", k.path, err))
	}
	k.buf = append(k.buf, snapMagic...)
	k.buf = appendPart(k.buf, encodeSnapMeta(meta))
	return k, nil
}

func appendPart(b, part []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(part)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(part, castagnoli))
	return append(b, part...)
}

func encodeSnapMeta(m *raft.SnapshotMeta) []byte {
	e := encoder{b: []byte{snapVersion}}
	e.u(uint64(m.Version))
	e.u(m.Index)
	e.u(m.Term)
	e.u(m.ConfigurationIndex)
	e.u(uint64(len(m.Configuration.Servers)))
	for _, v := range m.Configuration.Servers {
		e.u(uint64(v.Suffrage))
		e.s(string(v.ID))
		e.s(string(v.Address))
	}
	return e.b
}

func decodeSnapMeta(b []byte) (*raft.SnapshotMeta, error) {
	if len(b) == 0 || b[0] != snapVersion {
		return nil, fmt.Errorf("format version %d, this program reads %d", b[:min(1, len(b))], snapVersion)
	}
	d := &decoder{b: b[1:]}
	m := &raft.SnapshotMeta{Version: raft.SnapshotVersion(d.u()), Index: d.u(), Term: d.u(), ConfigurationIndex: d.u()}
	for range min(d.count(), serversLimit) {
		m.Configuration.Servers = append(m.Configuration.Servers,
			raft.Server{Suffrage: raft.ServerSuffrage(d.u()), ID: raft.ServerID(d.s()), Address: raft.ServerAddress(d.s())})
	}
	return m, d.end()
}

// snapSink writes a snapshot under another name until it is whole.
type snapSink struct {
	s    *snapshots
	meta *raft.SnapshotMeta
	path string
	f    vfsx.File
	buf  []byte // what has still to be written
	part []byte
	sent bool // closed or cancelled
}

func (k *snapSink) ID() string { return k.meta.ID }

func (k *snapSink) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), snapPart-len(k.part))
		k.part = append(k.part, rest[:n]...)
		rest = rest[n:]
		k.meta.Size += int64(n)
		if len(k.part) == snapPart {
			if err := k.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(b), nil
}

func (k *snapSink) flush() error {
	if len(k.part) > 0 {
		k.buf = appendPart(k.buf, k.part)
		k.part = k.part[:0]
	}
	done := k.s.watch.begin("write " + k.path)
	_, err := k.f.Write(k.buf)
	done()
	k.buf = k.buf[:0]
	if err != nil {
		return explain(fmt.Errorf("write snapshot %s: %w", k.path, err))
	}
	return nil
}

// Close ends the file with an empty part and its size, and makes it durable.
func (k *snapSink) Close() error {
	if k.sent {
		return nil
	}
	k.sent = true
	err := k.flush()
	if err == nil {
		k.buf = appendPart(k.buf, nil)
		k.buf = appendPart(k.buf, binary.LittleEndian.AppendUint64(nil, uint64(k.meta.Size)))
		err = k.flush()
	}
	done := k.s.watch.begin("sync " + k.path)
	defer done()
	if err == nil {
		err = k.f.Sync()
	}
	tmp := k.path + vfsx.TempSuffix
	if err = errors.Join(err, k.f.Close()); err != nil {
		_ = k.s.fs.Remove(tmp) // the next start does it
		return explain(fmt.Errorf("end snapshot %s: %w", k.path, err))
	}
	if err := errors.Join(k.s.fs.Rename(tmp, k.path), vfsx.SyncDir(k.s.fs, k.s.dir)); err != nil {
		// It may be there after a crash or not, and the log must not be cut by it.
		err = fmt.Errorf("%w: end snapshot %s: %w", ErrPoisoned, k.path, explain(err))
		k.s.fail(err)
		return err
	}
	k.s.keep(k.meta)
	return nil
}

// Cancel throws it away.
func (k *snapSink) Cancel() error {
	if k.sent {
		return nil
	}
	k.sent = true
	return errors.Join(k.f.Close(), k.s.fs.Remove(k.path+vfsx.TempSuffix))
}

// keep takes in a snapshot and removes those that are no longer kept. What cannot be
// removed now is tried again when the next one comes.
func (s *snapshots) keep(m *raft.SnapshotMeta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.kept = append([]*raft.SnapshotMeta{m}, s.mu.kept...)
	slices.SortStableFunc(s.mu.kept, func(a, b *raft.SnapshotMeta) int { return strings.Compare(b.ID[:20], a.ID[:20]) })
	s.mu.kept = s.mu.kept[:min(len(s.mu.kept), snapsKept)]
	names, err := s.fs.List(s.dir)
	if err != nil || len(s.mu.kept) < snapsKept {
		return
	}
	for _, name := range names {
		if strings.HasSuffix(name, snapSuffix) && !slices.ContainsFunc(s.mu.kept, func(m *raft.SnapshotMeta) bool { return m.ID == name }) {
			_ = s.fs.Remove(s.fs.PathJoin(s.dir, name))
		}
	}
}

// snapReader reads the parts of a snapshot.
type snapReader struct {
	path string
	f    vfsx.File
	r    *bufio.Reader
	at   int64 // in the file
	part []byte
	size int64
	err  error
}

func (r *snapReader) head() (*raft.SnapshotMeta, error) {
	magic := make([]byte, len(snapMagic))
	if _, err := io.ReadFull(r.r, magic); err != nil || string(magic) != snapMagic {
		return nil, damagef(r.path, 0, "not a snapshot of a replicated log")
	}
	r.at = int64(len(magic))
	b, err := r.next(snapHeadMax)
	if err != nil {
		return nil, err
	}
	m, err := decodeSnapMeta(b)
	if err != nil {
		return nil, damagef(r.path, r.at, "%s", err)
	}
	return m, nil
}

func (r *snapReader) next(most uint32) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return nil, damagef(r.path, r.at, "it is cut short: %s", err)
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n > most {
		return nil, damagef(r.path, r.at, "a part of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, damagef(r.path, r.at, "it is cut short: %s", err)
	}
	if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return nil, damagef(r.path, r.at, "the checksum is wrong")
	}
	r.at += int64(len(head)) + int64(n)
	return b, nil
}

// Read returns io.EOF only behind a whole snapshot.
func (r *snapReader) Read(p []byte) (int, error) {
	for len(r.part) == 0 && r.err == nil {
		r.part, r.err = r.next(snapPart)
		r.size += int64(len(r.part))
		if r.err == nil && len(r.part) == 0 {
			r.err = r.end()
		}
	}
	if len(r.part) == 0 {
		return 0, r.err
	}
	n := copy(p, r.part)
	r.part = r.part[n:]
	return n, nil
}

func (r *snapReader) end() error {
	b, err := r.next(8)
	if err != nil {
		return err
	}
	if len(b) != 8 || binary.LittleEndian.Uint64(b) != uint64(r.size) {
		return damagef(r.path, r.at, "it holds %d bytes and says otherwise", r.size)
	}
	if _, err := r.r.ReadByte(); err != io.EOF {
		return damagef(r.path, r.at, "there are bytes after its end")
	}
	return io.EOF
}

func (r *snapReader) Close() error { return r.f.Close() }
