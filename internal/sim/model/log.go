package model

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// Log is a batch log: framed records in one byte string, of which the part
// after the last Sync is lost or torn by a crash. It refuses older terms.
type Log struct {
	Unsafe  bool // a mutant: no fence
	bytes   []byte
	entries []entry
	synced  int        // entries that are durable
	term    batch.Term // newest that wrote
}

type entry struct {
	rec  microbatch.Record
	from int // of its frame in bytes
}

const frameHead = 8 // length and checksum

// Write appends records without making them durable.
func (l *Log) Write(term batch.Term, recs []microbatch.Record) error {
	if term < l.term && !l.Unsafe {
		return fmt.Errorf("append of term %d after term %d: %w", term, l.term, batch.ErrFenced)
	}
	l.term = max(l.term, term)
	for _, r := range recs {
		l.entries = append(l.entries, entry{r, len(l.bytes)})
		at := len(l.bytes)
		l.bytes = append(l.bytes, make([]byte, frameHead)...)
		l.bytes = microbatch.AppendRecord(l.bytes, r)
		body := l.bytes[at+frameHead:]
		binary.BigEndian.PutUint32(l.bytes[at:], uint32(len(body)))
		binary.BigEndian.PutUint32(l.bytes[at+4:], crc32.ChecksumIEEE(body))
	}
	return nil
}

// Sync makes everything written durable and returns the records that became so.
func (l *Log) Sync() []microbatch.Record {
	var recs []microbatch.Record
	for _, e := range l.entries[l.synced:] {
		recs = append(recs, e.rec)
	}
	l.synced = len(l.entries)
	return recs
}

// Unsynced is the number of bytes that a crash may take.
func (l *Log) Unsynced() int {
	if l.synced == len(l.entries) {
		return 0
	}
	return len(l.bytes) - l.entries[l.synced].from
}

// Crash keeps the durable part and the first keep bytes of the rest, as a page
// cache may, and reads the log back from its bytes as an opening log does. It
// returns the records that survived by luck and whether one was torn.
func (l *Log) Crash(keep int) (lucky []microbatch.Record, torn bool, err error) {
	n := len(l.bytes) - l.Unsynced() + min(keep, l.Unsynced())
	l.bytes = l.bytes[:n]
	before, synced := l.entries, l.synced
	l.entries = nil
	at := 0
	for n-at >= frameHead {
		size := int(binary.BigEndian.Uint32(l.bytes[at:]))
		if size > n-at-frameHead {
			break
		}
		body := l.bytes[at+frameHead : at+frameHead+size]
		if crc32.ChecksumIEEE(body) != binary.BigEndian.Uint32(l.bytes[at+4:]) {
			break
		}
		r, derr := microbatch.DecodeRecord(body)
		if derr != nil {
			return nil, false, Violationf("log record %d: %v", len(l.entries), derr)
		}
		l.entries = append(l.entries, entry{r, at})
		at += frameHead + size
	}
	if len(l.entries) < synced || len(l.entries) > len(before) {
		return nil, false, Violationf("%d records were durable, %d are there", synced, len(l.entries))
	}
	l.bytes = l.bytes[:at]
	l.synced = synced
	return l.Sync(), at < n, nil
}

// Elect is a change of leader in a group that replicates the log: a majority elects who
// has all that a majority holds, and of the rest the first keep entries or fewer, as the
// replica that wins happens to have them. It returns what was kept of the rest, which is
// durable now, and how many entries were lost.
func (l *Log) Elect(keep int) (lucky []microbatch.Record, lost int) {
	rest := len(l.entries) - l.synced
	keep = min(keep, rest)
	if lost = rest - keep; lost > 0 {
		l.bytes = l.bytes[:l.entries[l.synced+keep].from]
		l.entries = l.entries[:l.synced+keep]
	}
	return l.Sync(), lost
}

// Uncommitted is the number of entries that a change of leader may take.
func (l *Log) Uncommitted() int { return len(l.entries) - l.synced }

// Records returns every whole record, durable or not.
func (l *Log) Records() []microbatch.Record {
	recs := make([]microbatch.Record, len(l.entries))
	for i, e := range l.entries {
		recs[i] = e.rec
	}
	return recs
}

// Truncate drops records of batches before the given one.
func (l *Log) Truncate(term batch.Term, before batch.ID) error {
	if term < l.term && !l.Unsafe {
		return fmt.Errorf("truncate in term %d after term %d: %w", term, l.term, batch.ErrFenced)
	}
	old, synced, newest := l.entries, l.synced, l.term
	*l = Log{Unsafe: l.Unsafe}
	for i, e := range old {
		if e.rec.ID() >= before {
			if err := l.Write(max(l.term, e.rec.LogTerm()), []microbatch.Record{e.rec}); err != nil {
				return err
			}
		}
		if i+1 == synced {
			l.synced = len(l.entries)
		}
	}
	l.term = newest
	return nil
}

// Size is the number of records.
func (l *Log) Size() int { return len(l.entries) }

// Replace puts other records in place of all: somebody has edited the log.
func (l *Log) Replace(recs []microbatch.Record) error {
	*l = Log{Unsafe: l.Unsafe}
	for _, r := range recs {
		if err := l.Write(max(l.term, r.LogTerm()), []microbatch.Record{r}); err != nil {
			return err
		}
	}
	l.Sync()
	return nil
}
