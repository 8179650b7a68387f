package model

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/microbatch"
)

// ErrViolation is wrapped by every report of a broken protocol.
var ErrViolation = errors.New("protocol violation")

// Violationf reports a broken protocol.
func Violationf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrViolation}, args...)...)
}

// Row is one row of a source.
type Row struct {
	Part uint8 // the source's own partition, as of a Kafka topic
	Key  uint8
	Time batch.EventTime
}

// Source is an append-only list of rows; an offset is an index in decimal.
type Source struct {
	Name     string
	Rows     []Row
	Limit    int // rows per batch; 0: none
	Parted   bool
	Released int  // never read again before it
	Ended    bool // no rows will be added any more
}

// Offset makes the canonical text of an index.
func Offset(n int) batch.Offset {
	if n == 0 {
		return ""
	}
	return batch.Offset(strconv.Itoa(n))
}

// Index reads an offset back.
func Index(o batch.Offset) int {
	if o == "" {
		return 0
	}
	n, err := strconv.Atoi(string(o))
	if err != nil {
		return -1
	}
	return n
}

// Answer answers an Ask.
func (s *Source) Answer(a microbatch.Ask) microbatch.SourceAvailable {
	from, end := Index(a.From), len(s.Rows)
	if a.Until != "" {
		end = min(end, Index(a.Until))
	}
	to := end
	if !a.All {
		if s.Limit > 0 {
			to = min(to, from+s.Limit)
		}
		if a.Rows > 0 {
			to = min(to, from+int(a.Rows))
		}
	}
	return microbatch.SourceAvailable{
		Source: s.Name, Ask: a.Seq, From: a.From, To: Offset(to), More: to < end, Ended: s.Ended && to == len(s.Rows),
	}
}

// Read returns the rows of a range.
func (s *Source) Read(r batch.Range) ([]Row, error) {
	from, to := Index(r.Start), Index(r.End)
	if from < s.Released && from != to {
		return nil, Violationf("source %s is read from %d after it was released to %d", s.Name, from, s.Released)
	}
	if from < 0 || to < from || to > len(s.Rows) {
		return nil, Violationf("source %s has %d rows and is read from %q to %q", s.Name, len(s.Rows), r.Start, r.End)
	}
	return s.Rows[from:to], nil
}

// Partition names a row's partition in SourceTime.
func (s *Source) Partition(r Row) string {
	if !s.Parted {
		return ""
	}
	return string(rune('a' + r.Part))
}
