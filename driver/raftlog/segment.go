package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"

	"github.com/sluice-stream/sluice/internal/mutant"
	"github.com/sluice-stream/sluice/internal/vfsx"
)

// A segment is a header and groups, as those of the batch log (package filelog) are:
// a group is what one write made durable, and is there as a whole or not at all.

// segmentFiles are the segments of the log.
const segmentFiles vfsx.Numbered = ".log"

const (
	segmentMagic   = "SLRAFTL\x01"
	segmentVersion = 1
	segmentLimit   = 1 << 30 // bytes of a segment that is read at all
	groupPrefix    = 16      // length, checksum, number
	groupMax       = 1 << 29 // bytes of a group: raft stores at most 64 commands at once
	entryPrefix    = 8       // length and checksum of an entry
)

// What a group holds.
const (
	groupState   = 's' // begins a segment: first and next index, keys and values
	groupEntries = 'e' // entries that follow
	groupCut     = 'c' // entries from an index on are void
	groupHead    = 'h' // entries before an index are gone
	groupValue   = 'k' // a key and its value
)

type segment struct {
	path   string
	number uint64
	file   vfsx.File
	size   int64
	live   int // entries that the index points at
}

func appendSegmentHeader(b []byte, disk string, number uint64) []byte {
	e := encoder{b: []byte{segmentVersion}}
	e.s(disk)
	e.u(number)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(e.b)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(e.b, castagnoli))
	return append(b, e.b...)
}

// parseSegmentHeader returns whose segment it is, its number, and where groups start.
func parseSegmentHeader(data []byte) (disk string, number uint64, end int64, err error) {
	const fixed = len(segmentMagic) + 8
	if len(data) < fixed || string(data[:len(segmentMagic)]) != segmentMagic {
		return "", 0, 0, errors.New("not a segment of a replicated log")
	}
	n := uint64(binary.LittleEndian.Uint32(data[len(segmentMagic):]))
	if n == 0 || n > uint64(len(data)-fixed) {
		return "", 0, 0, errors.New("the header is cut short")
	}
	body := data[fixed : fixed+int(n)]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(data[len(segmentMagic)+4:]) {
		return "", 0, 0, errors.New("the header's checksum is wrong")
	}
	if body[0] != segmentVersion {
		return "", 0, 0, fmt.Errorf("format version %d, this program reads %d", body[0], segmentVersion)
	}
	d := &decoder{b: body[1:]}
	disk, number = d.s(), d.u()
	return disk, number, int64(fixed) + int64(n), d.end()
}

// beginGroup leaves room for the prefix; endGroup fills it in.
func beginGroup(b []byte, kind byte) encoder {
	return encoder{b: append(append(b[:0], make([]byte, groupPrefix)...), kind)}
}

func endGroup(b []byte, seq uint64) {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-groupPrefix))
	binary.LittleEndian.PutUint64(b[8:], seq)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
}

// groupAt reads the group at a position; false if there is none.
func groupAt(data []byte, at int64) (seq uint64, body []byte, ok bool) {
	if at < 0 || int64(len(data))-at < groupPrefix {
		return 0, nil, false
	}
	p := data[at:]
	n := int64(binary.LittleEndian.Uint32(p))
	if n == 0 || n > groupMax || n > int64(len(p))-groupPrefix {
		return 0, nil, false
	}
	p = p[:groupPrefix+n]
	if crc32.Checksum(p[8:], castagnoli) != binary.LittleEndian.Uint32(p[4:]) && !mutant.On(mutant.RaftUnchecked) {
		return 0, nil, false
	}
	return binary.LittleEndian.Uint64(p[8:]), p[groupPrefix:], true
}

// scanGroups visits the groups of a segment and returns where the last whole one
// ends. Bytes behind it are left to the caller to judge, unless a whole group
// follows them: then they were durable once (R6).
func scanGroups(path string, data []byte, at int64, seq *uint64, visit func(at int64, body []byte) error) (end int64, err error) {
	for {
		n, body, ok := groupAt(data, at)
		if !ok {
			break
		}
		if *seq > 0 && n != *seq+1 {
			return at, damagef(path, at, "group %d follows group %d", n, *seq)
		}
		*seq = n
		if err := visit(at+groupPrefix, body); err != nil {
			return at, damagef(path, at, "%s", err)
		}
		at += groupPrefix + int64(len(body))
	}
	for p := at + 1; p < int64(len(data)); p++ {
		// The number makes it as good as impossible that chance looks like a group.
		if n, _, ok := groupAt(data, p); ok && n >= *seq && n-*seq < 1<<32 {
			return at, damagef(path, at, "bytes that are no group, with groups after them (at byte %d)", p)
		}
	}
	return at, nil
}

// appendEntry adds an entry with a checksum of its own, for reading it alone, and
// returns where its body begins.
func appendEntry(e *encoder, l *raft.Log) int {
	head := len(e.b)
	e.b = append(e.b, make([]byte, entryPrefix)...)
	e.u(l.Index)
	e.u(l.Term)
	e.u(uint64(l.Type))
	stamp := int64(0)
	if !l.AppendedAt.IsZero() {
		stamp = l.AppendedAt.UnixMicro()
	}
	e.i(stamp)
	e.p(l.Data)
	e.p(l.Extensions)
	body := e.b[head+entryPrefix:]
	binary.LittleEndian.PutUint32(e.b[head:], uint32(len(body)))
	binary.LittleEndian.PutUint32(e.b[head+4:], crc32.Checksum(body, castagnoli))
	return head
}

// decodeEntry reads an entry, prefix and all. Its byte slices are parts of b.
func decodeEntry(b []byte, l *raft.Log) error {
	if len(b) < entryPrefix || uint64(binary.LittleEndian.Uint32(b)) != uint64(len(b)-entryPrefix) {
		return errShort
	}
	body := b[entryPrefix:]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return errors.New("the entry's checksum is wrong")
	}
	d := &decoder{b: body}
	*l = raft.Log{Index: d.u(), Term: d.u()}
	kind := d.u()
	stamp := d.i()
	l.Type = raft.LogType(kind)
	if stamp != 0 {
		l.AppendedAt = time.UnixMicro(stamp)
	}
	l.Data = d.bytes(commandMax)
	l.Extensions = d.p()
	if d.err == nil && kind > uint64(raft.LogConfiguration) {
		return fmt.Errorf("an entry of type %d", kind)
	}
	return d.end()
}

// visitEntries calls visit with the place and bytes, prefix and all, of each entry.
func visitEntries(body []byte, visit func(at int, b []byte) error) error {
	for at := 0; at < len(body); {
		if len(body)-at < entryPrefix {
			return errShort
		}
		n := int(binary.LittleEndian.Uint32(body[at:]))
		if n > len(body)-at-entryPrefix {
			return errShort
		}
		if err := visit(at, body[at:at+entryPrefix+n]); err != nil {
			return err
		}
		at += entryPrefix + n
	}
	return nil
}
