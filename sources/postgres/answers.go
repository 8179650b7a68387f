package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// answers is the log of what batches were answered (`docs/formats/lookup-log.md`): a row of
// segments, each a magic word and records. Every process begins a segment of its own, so
// that what a crash has torn is the end of a segment.
type answers struct {
	fs       vfsx.FS
	dir      string // "" keeps nothing
	segments []*answerSegment
	active   vfsx.File
	next     int64
	broken   error // after a failed write nothing is logged any more
}

type answerSegment struct {
	path   string
	size   int64
	newest batch.ID
	blocks []answerBlock
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
	answersMagic   = "SLUICEA1"
	answersSegment = 4 << 20
	answersRecord  = 256 << 20 // longest record; a longer one is damage
	answersPrefix  = "answers-"
	answersSuffix  = ".log"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func openAnswers(fs vfsx.FS, dir string) (*answers, error) {
	a := &answers{fs: fs, dir: dir}
	if dir == "" {
		return a, nil
	}
	if err := vfsx.MkdirAll(fs, dir, 0o755); err != nil {
		return nil, fmt.Errorf("open the log of answers: %w", err)
	}
	names, err := fs.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list the log of answers %s: %w", dir, err)
	}
	slices.Sort(names)
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, answersPrefix)
		digits, ok2 := strings.CutSuffix(digits, answersSuffix)
		n, err := strconv.ParseInt(digits, 10, 64)
		if !ok || !ok2 || err != nil {
			continue
		}
		s := &answerSegment{path: fs.PathJoin(dir, name), newest: batch.None}
		if err := a.index(s); err != nil {
			return nil, err
		}
		a.segments, a.next = append(a.segments, s), n+1
	}
	return a, nil
}

// index finds the records of a segment. The first that is cut off or damaged, with
// nothing whole behind it, was being written when the process ended: no batch was
// committed by it. Damage before the end is refused.
func (a *answers) index(s *answerSegment) error {
	data, err := a.read(s.path, 0, -1)
	if err != nil {
		return err
	}
	if len(data) < len(answersMagic) {
		return nil
	}
	if string(data[:len(answersMagic)]) != answersMagic {
		return batch.UserErrorf("the log of answers %s does not begin as one of this version of Sluice", s.path)
	}
	for at := len(answersMagic); at+8 <= len(data); {
		length := int(binary.LittleEndian.Uint32(data[at:]))
		sum := binary.LittleEndian.Uint32(data[at+4:])
		at += 8
		if length > answersRecord || length > len(data)-at {
			return nil
		}
		body := data[at : at+length]
		if crc32.Checksum(body, castagnoli) != sum {
			if at+length == len(data) {
				return nil
			}
			return fmt.Errorf("the log of answers %s is damaged at byte %d: batches behind it cannot be run again", s.path, at)
		}
		id, _ := binary.Varint(body)
		s.blocks = append(s.blocks, answerBlock{batch.ID(id), int64(at), length})
		s.newest = max(s.newest, batch.ID(id))
		at += length
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
		if info.Size() > 2*answersRecord {
			return nil, fmt.Errorf("the log of answers %s has %d bytes, which is more than one can have", path, info.Size())
		}
		length = int(info.Size())
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
	if len(body) > answersRecord {
		return batch.UserErrorf("the answers to look-ups of batch %d have %d bytes, which is more than a record can have: take smaller batches", id, len(body))
	}
	if err := a.write(id, body); err != nil {
		a.broken = err
	}
	return a.broken
}

func (a *answers) write(id batch.ID, body []byte) error {
	if a.active == nil || a.segments[len(a.segments)-1].size >= answersSegment {
		if err := a.roll(); err != nil {
			return err
		}
	}
	s := a.segments[len(a.segments)-1]
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(body, castagnoli))
	if _, err := a.active.Write(append(head, body...)); err != nil {
		return fmt.Errorf("write the log of answers %s: %w", s.path, err)
	}
	s.blocks = append(s.blocks, answerBlock{id, s.size + 8, len(body)})
	s.size += int64(8 + len(body))
	s.newest = max(s.newest, id)
	return nil
}

func (a *answers) roll() error {
	if a.active != nil {
		err := errors.Join(a.active.SyncData(), a.active.Close())
		if a.active = nil; err != nil {
			return fmt.Errorf("close the log of answers in %s: %w", a.dir, err)
		}
	}
	s := &answerSegment{path: a.fs.PathJoin(a.dir, fmt.Sprintf("%s%020d%s", answersPrefix, a.next, answersSuffix)), size: int64(len(answersMagic)), newest: batch.None}
	f, err := a.fs.Create(s.path, vfsx.Unspecified)
	if err != nil {
		return fmt.Errorf("create the log of answers %s: %w", s.path, err)
	}
	a.active = f
	if _, err := f.Write([]byte(answersMagic)); err != nil {
		return fmt.Errorf("write the log of answers %s: %w", s.path, err)
	}
	if err := vfsx.SyncDir(a.fs, a.dir); err != nil {
		return err
	}
	a.segments, a.next = append(a.segments, s), a.next+1
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

// trim removes the segments of which no batch will be run again, but for the one that
// is written to.
func (a *answers) trim(before batch.ID) error {
	var errs []error
	a.segments = slices.DeleteFunc(a.segments, func(s *answerSegment) bool {
		if s.newest >= before || a.active != nil && s == a.segments[len(a.segments)-1] {
			return false
		}
		if err := a.fs.Remove(s.path); err != nil {
			errs = append(errs, fmt.Errorf("remove the log of answers %s: %w", s.path, err))
		}
		return true
	})
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

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func packAnswers(id batch.ID, all []answer) []byte {
	b := binary.AppendVarint(nil, int64(id))
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, a := range all {
		b = appendString(b, a.key)
		b = binary.AppendUvarint(b, uint64(len(a.rows)))
		for _, r := range a.rows {
			b = appendString(b, r)
		}
	}
	return b
}

var errAnswer = errors.New("what is there is no answer")

// cut reads from bytes that may be damaged.
type cut struct {
	b   []byte
	bad bool
}

func (c *cut) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, n = true, 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cut) string() string {
	n := c.uvarint()
	if c.bad || n > uint64(len(c.b)) {
		c.bad = true
		return ""
	}
	s := string(c.b[:n])
	c.b = c.b[n:]
	return s
}

func unpackAnswers(dst []answer, body []byte) ([]answer, error) {
	_, n := binary.Varint(body)
	if n <= 0 {
		return dst, errAnswer
	}
	c := &cut{b: body[n:]}
	for range c.uvarint() {
		a := answer{key: c.string()}
		for range c.uvarint() {
			if c.bad {
				return dst, errAnswer
			}
			a.rows = append(a.rows, c.string())
		}
		if c.bad {
			return dst, errAnswer
		}
		dst = append(dst, a)
	}
	if len(c.b) > 0 || c.bad {
		return dst, errAnswer
	}
	return dst, nil
}

// packRow writes a row's values into one text: for each its length plus one and its
// bytes, 0 for NULL.
func packRow(values [][]byte) string {
	var b []byte
	for _, v := range values {
		if v == nil {
			b = append(b, 0)
			continue
		}
		b = append(binary.AppendUvarint(b, uint64(len(v))+1), v...)
	}
	return string(b)
}

func unpackRow(row string, dst [][]byte) ([][]byte, error) {
	c := &cut{b: []byte(row)}
	for len(c.b) > 0 {
		n := c.uvarint()
		if n == 0 {
			dst = append(dst, nil)
			continue
		}
		if n--; c.bad || n > uint64(len(c.b)) {
			return dst, errAnswer
		}
		dst = append(dst, c.b[:n:n])
		c.b = c.b[n:]
	}
	if c.bad {
		return dst, errAnswer
	}
	return dst, nil
}
