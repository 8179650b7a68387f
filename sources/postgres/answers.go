package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// answers is the log of what batches were answered in one term (`docs/formats/lookup-log.md`):
// a row of segments, each a magic word and records. Every term begins a segment of its own,
// so that what a crash has torn is the end of a segment. The first record of a segment says
// which others count, and how far: what a driver that was deposed writes after that was given
// to nobody whose work counts.
type answers struct {
	fs       vfsx.FS
	dir      string // "" keeps nothing
	term     batch.Term
	segments []*answerSegment // those that count, in their order
	names    map[string]bool  // of all files of the log that were there
	stray    []string         // paths of those that do not count
	active   vfsx.File
	broken   error // after a failed write nothing is logged any more
}

type answerSegment struct {
	name, path string
	of         segmentName
	size       int64
	newest     batch.ID
	blocks     []answerBlock
}

// answerBlock is where the answers to a batch stand.
type answerBlock struct {
	id     batch.ID
	offset int64
	length int
}

// answer is what a key was answered.
type answer struct {
	key  string
	rows []string // see packRow
}

const (
	answersSegmentBytes = 4 << 20
	answersRecordMax    = 256 << 20 // longest record; a longer one is damage
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openAnswers reads the log for a term that begins. What counts of it is durable then.
func openAnswers(fs vfsx.FS, dir string, term batch.Term) (*answers, error) {
	a := &answers{fs: fs, dir: dir, term: term, names: map[string]bool{}}
	if dir == "" {
		return a, nil
	}
	if err := vfsx.MkdirAll(fs, dir, 0o755); err != nil {
		return nil, fmt.Errorf("open the log of answers: %w", err)
	}
	found, err := a.list()
	if err != nil {
		return nil, err
	}
	counts, err := a.counting(found)
	if err != nil {
		return nil, err
	}
	for _, of := range found {
		name := of.String()
		a.names[name] = true
		size, ok := counts[name]
		if !ok {
			if of.first || of.term < term { // else it may be being begun
				a.stray = append(a.stray, fs.PathJoin(dir, name))
			}
			continue
		}
		s := &answerSegment{name: name, path: fs.PathJoin(dir, name), of: of, newest: batch.None}
		if size < 0 {
			err = a.settle(s.path)
		}
		if err == nil {
			err = a.index(s, size)
		}
		if err != nil {
			return nil, err
		}
		a.segments = append(a.segments, s)
	}
	return a, nil
}

// list names the files of the log, in the order of their terms.
func (a *answers) list() ([]segmentName, error) {
	names, err := a.fs.List(a.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) { // in a bucket there is no folder without files
		return nil, fmt.Errorf("list the log of answers %s: %w", a.dir, err)
	}
	var out []segmentName
	for _, name := range names {
		if of, ok := parseSegment(name); ok {
			out = append(out, of)
		}
	}
	slices.SortFunc(out, segmentName.compare)
	return out, nil
}

// counting says how many bytes of which segments count; below 0 all of them. The newest
// segment says so of those before it, and counts itself.
func (a *answers) counting(found []segmentName) (map[string]int64, error) {
	out := map[string]int64{}
	for _, of := range slices.Backward(found) {
		if of.first {
			break
		}
		head, err := a.head(a.fs.PathJoin(a.dir, of.String()))
		if errors.Is(err, errTorn) {
			continue // nothing in it was ever durable
		}
		if err != nil {
			return nil, err
		}
		for _, h := range head {
			out[h.name] = h.size
		}
		out[of.String()] = -1
		return out, nil
	}
	for _, of := range found {
		if of.first {
			out[of.String()] = -1
		}
	}
	return out, nil
}

// settle makes what a segment holds durable: who wrote it may have been killed before it
// was, and what is read here is not written again.
func (a *answers) settle(path string) error {
	f, err := a.fs.OpenReadWrite(path, vfsx.Unspecified)
	if err != nil {
		return fmt.Errorf("open the log of answers %s: %w", path, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync the log of answers %s: %w", path, err)
	}
	return nil
}

// index finds the records of a segment, of which size bytes count. Below 0 all do: then
// the first record that is cut off or damaged, with nothing whole behind it, was being
// written when the process ended, and no batch was committed by it. Any other damage is
// refused.
func (a *answers) index(s *answerSegment, size int64) error {
	data, err := a.read(s.path, 0, int(size))
	if err != nil {
		return err
	}
	if len(data) < len(answersMagic) {
		return nil
	}
	if magic := string(data[:len(answersMagic)]); magic != s.of.magic() {
		return batch.UserErrorf("the log of answers %s does not begin as one of this version of Sluice", s.path)
	}
	s.size = int64(len(answersMagic))
	head := !s.of.first
	for at := len(answersMagic); at < len(data); {
		body, next, err := record(data, at)
		if errors.Is(err, errTorn) && size < 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the log of answers %s is damaged at byte %d: batches behind it cannot be run again", s.path, at)
		}
		if !head {
			id, _ := binary.Varint(body)
			s.blocks = append(s.blocks, answerBlock{batch.ID(id), int64(next - len(body)), len(body)})
			s.newest = max(s.newest, batch.ID(id))
		}
		at, head = next, false
		s.size = int64(at)
	}
	return nil
}

func (a *answers) read(path string, offset int64, length int) (data []byte, err error) {
	f, err := a.fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the log of answers %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if length < 0 {
		info, err := f.Stat()
		if err != nil {
			return nil, fmt.Errorf("look at the log of answers %s: %w", path, err)
		}
		length = int(min(info.Size(), 2*answersRecordMax+1))
	}
	if length > 2*answersRecordMax {
		return nil, fmt.Errorf("the log of answers %s has %d bytes or more, which is more than one can have", path, length)
	}
	data = make([]byte, length)
	if n, err := f.ReadAt(data, offset); n < length {
		return nil, fmt.Errorf("read the log of answers %s at byte %d: %w", path, offset, err)
	}
	return data, nil
}

// of returns what a batch was answered.
func (a *answers) of(id batch.ID) ([]answer, error) {
	var out []answer
	for _, s := range a.segments {
		for _, b := range s.blocks {
			if b.id != id {
				continue
			}
			body, err := a.read(s.path, b.offset, b.length)
			if err == nil {
				out, err = unpackAnswers(out, body)
			}
			if err != nil {
				return nil, fmt.Errorf("read the answers to batch %d in %s: %w", id, s.path, err)
			}
		}
	}
	return out, nil
}

// append writes answers; they are durable after sync.
func (a *answers) append(id batch.ID, more []answer) error {
	if a.dir == "" || a.broken != nil {
		return a.broken
	}
	body := packAnswers(id, more)
	if len(body) > answersRecordMax {
		return batch.UserErrorf("the answers to look-ups of batch %d have %d bytes, which is more than a record can have: take smaller batches", id, len(body))
	}
	if err := a.write(id, body); err != nil {
		a.broken = err
	}
	return a.broken
}

func (a *answers) write(id batch.ID, body []byte) error {
	if a.active == nil || a.segments[len(a.segments)-1].size >= answersSegmentBytes {
		if err := a.roll(); err != nil {
			return err
		}
	}
	s := a.segments[len(a.segments)-1]
	if _, err := a.active.Write(appendRecord(nil, body)); err != nil {
		return fmt.Errorf("write the log of answers %s: %w", s.path, err)
	}
	s.blocks = append(s.blocks, answerBlock{id, s.size + recordHead, len(body)})
	s.size += int64(recordHead + len(body))
	s.newest = max(s.newest, id)
	return nil
}

// roll begins the next segment. A log that a higher term has begun to write since this one
// was opened takes no more.
func (a *answers) roll() error {
	if a.active != nil {
		err := errors.Join(a.active.SyncData(), a.active.Close())
		if a.active = nil; err != nil {
			return fmt.Errorf("close the log of answers in %s: %w", a.dir, err)
		}
	}
	found, err := a.list()
	if err != nil {
		return err
	}
	of := segmentName{term: a.term}
	for _, x := range found {
		if !a.names[x.String()] && x.term > a.term {
			return fmt.Errorf("the log of answers %s is written by term %d, and this is term %d: %w", a.dir, x.term, a.term, batch.ErrFenced)
		}
		if x.term == a.term && !x.first {
			of.number = max(of.number, x.number+1)
		}
	}
	var head []counted
	for _, s := range a.segments {
		if s.size > 0 {
			head = append(head, counted{s.name, s.size})
		}
	}
	begin := appendRecord([]byte(answersMagic), packHead(head))
	s := &answerSegment{name: of.String(), path: a.fs.PathJoin(a.dir, of.String()), of: of, size: int64(len(begin)), newest: batch.None}
	f, err := a.fs.Create(s.path, vfsx.Unspecified)
	if err != nil {
		return fmt.Errorf("create the log of answers %s: %w", s.path, err)
	}
	a.active = f
	if _, err := f.Write(begin); err != nil {
		return fmt.Errorf("write the log of answers %s: %w", s.path, err)
	}
	if err := vfsx.SyncDir(a.fs, a.dir); err != nil {
		return err
	}
	a.segments = append(a.segments, s)
	a.names[s.name] = true
	return nil
}

func (a *answers) sync() error {
	if a.active == nil || a.broken != nil {
		return a.broken
	}
	if err := a.active.SyncData(); err != nil {
		a.broken = fmt.Errorf("sync the log of answers in %s: %w", a.dir, err)
	}
	return a.broken
}

// trim removes the segments of which no batch will be run again, but for the newest, which
// says what counts; and what does not.
func (a *answers) trim(before batch.ID) error {
	var errs []error
	remove := func(path string) {
		if err := a.fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("remove the log of answers %s: %w", path, err))
		}
	}
	for _, path := range a.stray {
		remove(path)
	}
	a.stray = nil
	last := len(a.segments) - 1
	kept := a.segments[:0]
	for i, s := range a.segments {
		if s.newest >= before || i == last {
			kept = append(kept, s)
			continue
		}
		remove(s.path)
	}
	clear(a.segments[len(kept):])
	a.segments = kept
	return errors.Join(errs...)
}

func (a *answers) close() error {
	if a.active == nil {
		return nil
	}
	err := a.active.Close()
	a.active = nil
	return err
}
