package filelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/mutant"
	"github.com/sluice-stream/sluice/internal/vfsx"
	"github.com/sluice-stream/sluice/microbatch"
)

// segmentFiles are the segments of the log.
const segmentFiles vfsx.Numbered = ".log"

const (
	magic         = "SLBATCH\x01"
	formatVersion = 1
	groupPrefix   = 16      // length, checksum, number
	groupMax      = 1 << 28 // bytes of a group's body; a batch's record is some hundred
	segmentLimit  = 1 << 30 // bytes of a segment that is read at all
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header opens a segment.
type header struct {
	query  batch.QueryID
	number uint64
}

func appendHeader(b []byte, h header) []byte {
	body := []byte{formatVersion}
	body = binary.AppendUvarint(body, uint64(len(h.query)))
	body = append(body, h.query...)
	body = binary.AppendUvarint(body, h.number)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...)
}

// parseHeader returns the header and where the groups start.
func parseHeader(data []byte) (h header, end int64, err error) {
	const fixed = len(magic) + 8
	if len(data) < fixed || string(data[:len(magic)]) != magic {
		return h, 0, errors.New("not a segment of a batch log")
	}
	n := uint64(binary.LittleEndian.Uint32(data[len(magic):]))
	if n > uint64(len(data)-fixed) {
		return h, 0, errors.New("the header is cut short")
	}
	body := data[fixed : fixed+int(n)]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(data[len(magic)+4:]) {
		return h, 0, errors.New("the header's checksum is wrong")
	}
	if len(body) == 0 || body[0] != formatVersion {
		return h, 0, fmt.Errorf("format version %d, this program reads %d", body[:min(1, len(body))], formatVersion)
	}
	size, w := binary.Uvarint(body[1:])
	rest := body[1+max(w, 0):]
	if w <= 0 || size > uint64(len(rest)) {
		return h, 0, errors.New("the header is malformed")
	}
	h.query = batch.QueryID(rest[:size])
	num, w := binary.Uvarint(rest[size:])
	if w <= 0 || int(size)+w != len(rest) {
		return h, 0, errors.New("the header is malformed")
	}
	h.number = num
	return h, int64(fixed + int(n)), nil
}

// group is what one Append wrote.
type group struct {
	at   int64 // position in the segment
	seq  uint64
	body []byte
}

// beginGroup leaves room for the prefix; endGroup fills it in.
func beginGroup(b []byte) []byte { return append(b[:0], make([]byte, groupPrefix)...) }

func appendRecord(b []byte, r microbatch.Record, scratch []byte) (group, encoded []byte) {
	scratch = microbatch.AppendRecord(scratch[:0], r)
	b = binary.AppendUvarint(b, uint64(len(scratch)))
	return append(b, scratch...), scratch
}

func endGroup(b []byte, seq uint64) {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-groupPrefix))
	binary.LittleEndian.PutUint64(b[8:], seq)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
}

// groupAt reads the group at a position; false if there is none.
func groupAt(data []byte, at int64) (group, bool) {
	if at < 0 || int64(len(data))-at < groupPrefix {
		return group{}, false
	}
	p := data[at:]
	n := int64(binary.LittleEndian.Uint32(p))
	if n == 0 || n > groupMax || n > int64(len(p))-groupPrefix {
		return group{}, false
	}
	p = p[:groupPrefix+n]
	if crc32.Checksum(p[8:], castagnoli) != binary.LittleEndian.Uint32(p[4:]) && !mutant.On(mutant.LogUnchecked) {
		return group{}, false
	}
	return group{at: at, seq: binary.LittleEndian.Uint64(p[8:]), body: p[groupPrefix:]}, true
}

// records visits the records of a group.
func (g group) records(visit func(microbatch.Record) error) error {
	b := g.body
	for len(b) > 0 {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return errors.New("a record is longer than its group")
		}
		r, err := microbatch.DecodeRecord(b[w : w+int(n)])
		if err != nil {
			return err
		}
		if err := visit(r); err != nil {
			return err
		}
		b = b[w+int(n):]
	}
	return nil
}

// segment is what was found in one file.
type segment struct {
	file   string
	number uint64
	query  batch.QueryID
	start  int64 // of the first group
	end    int64 // of the last whole group
	size   int64
	groups int
	first  uint64   // number of the first group, if there is one
	last   uint64   // of the last
	newest batch.ID // of all records
	term   batch.Term
}

// torn reports whether the file has bytes after its last whole group.
func (s *segment) torn() bool { return s.end < s.size }

// scanSegment reads the groups of a segment and visits their records. Bytes
// after the last whole group are left to the caller to judge, unless a whole
// group follows them: then they were durable once (L3).
func scanSegment(file string, data []byte, visit func(group, microbatch.Record) error) (*segment, error) {
	h, at, err := parseHeader(data)
	if err != nil {
		return nil, damagef(file, 0, "%s", err)
	}
	s := &segment{file: file, number: h.number, query: h.query, start: at, size: int64(len(data)), newest: batch.None}
	for {
		g, ok := groupAt(data, at)
		if !ok {
			break
		}
		if s.groups > 0 && g.seq != s.last+1 {
			return nil, damagef(file, at, "group %d follows group %d", g.seq, s.last)
		}
		err := g.records(func(r microbatch.Record) error {
			s.newest, s.term = max(s.newest, r.ID()), max(s.term, r.LogTerm())
			return visit(g, r)
		})
		if err != nil {
			if errors.Is(err, errStop) {
				return s, err
			}
			return nil, damagef(file, at, "%s", err)
		}
		if s.groups == 0 {
			s.first = g.seq
		}
		s.groups++
		s.last = g.seq
		at += groupPrefix + int64(len(g.body))
	}
	s.end = at
	if !s.torn() {
		return s, nil
	}
	for p := at + 1; p < s.size; p++ {
		// The number makes it as good as impossible that chance looks like a group.
		if g, ok := groupAt(data, p); ok && g.seq >= s.last && g.seq-s.last < 1<<32 {
			return nil, damagef(file, at, "bytes that are no record, with records after them (at byte %d)", p)
		}
	}
	return s, nil
}

// errStop ends a scan early.
var errStop = errors.New("stop")
