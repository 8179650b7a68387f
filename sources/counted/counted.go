package counted

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/clock"
	"github.com/sluice-stream/sluice/sources"
)

// Table says what is counted, how far and how fast. The connector has checked it.
type Table struct {
	Spec   sources.Spec
	Schema *arrow.Schema
	Unit   string // what is counted, for messages: "row"
	Rows   int64  // how many there are; Limit if there is no end to them
	Limit  int64  // the highest number that the connector can make a row from
	Split  int64  // rows in one split, at least 1

	Trigger   int64       // most rows in one batch of a stream, at least 1
	PerSecond int64       // rows a second of real time, for a stream; 0 is as fast as they are taken
	Clock     clock.Clock // for PerSecond

	RowBytes int64 // about the size of a row in memory, at least 1
	// Estimate is how many rows a reader makes of n that are counted; nil means all.
	Estimate func(n int64) int64
}

// Source is the driver's half.
type Source struct {
	t Table

	// pace is where real time was tied to the rows (C2).
	pace struct {
		sync.Mutex
		set  bool
		from int64
		at   time.Time
	}
}

var (
	_ sources.Source  = (*Source)(nil)
	_ sources.Bounded = (*Source)(nil)
)

// New returns the source of a table, which holds nothing that has to be closed.
func New(t Table) *Source { return &Source{t: t} }

// Schema is that of the rows.
func (s *Source) Schema() *arrow.Schema { return s.t.Schema }

// Latest is as far as the table, the limits and, of a paced stream, the clock let it.
func (s *Source) Latest(_ context.Context, from batch.Offset, limit sources.Limit) (batch.Offset, error) {
	n, err := s.position(from)
	if err != nil {
		return "", err
	}
	end := s.t.Rows
	if s.t.Spec.Stream {
		end = min(end, n+s.t.Trigger)
	}
	if limit.Rows > 0 {
		end = min(end, n+limit.Rows)
	}
	if limit.Bytes > 0 {
		end = min(end, n+max(limit.Bytes/s.t.RowBytes, 1))
	}
	if s.t.PerSecond > 0 && s.t.Spec.Stream {
		end = min(end, s.due(n))
	}
	if end <= n {
		return from, nil
	}
	return batch.Offset(strconv.FormatInt(end, 10)), nil
}

// due returns how many rows may be there by the wall clock.
func (s *Source) due(n int64) int64 {
	now := s.t.Clock.Now()
	s.pace.Lock()
	defer s.pace.Unlock()
	if !s.pace.set {
		s.pace.set, s.pace.from, s.pace.at = true, n, now
	}
	return s.pace.from + min(int64(now.Sub(s.pace.at).Seconds()*float64(s.t.PerSecond)), s.t.Limit)
}

// position refuses an offset that the table, whose options may have changed, does
// not reach.
func (s *Source) position(o batch.Offset) (int64, error) {
	if o == "" {
		return 0, nil
	}
	n, err := number(string(o), s.t.Limit)
	if err != nil {
		return 0, fmt.Errorf("offset of %s: %w", s.t.Spec, err)
	}
	if n > s.t.Rows {
		return 0, batch.UserErrorf("%s: the query has read %d %ss, now the table ends after %d", s.t.Spec, n, s.t.Unit, s.t.Rows)
	}
	return n, nil
}

// Plan cuts at multiples of the split size (C1).
func (s *Source) Plan(_ context.Context, r batch.Range) ([]batch.Split, error) {
	from, err := s.position(r.Start)
	if err != nil {
		return nil, err
	}
	end, err := s.position(r.End)
	if err != nil {
		return nil, err
	}
	var splits []batch.Split
	for from < end {
		to := min((from/s.t.Split+1)*s.t.Split, end)
		rows := to - from
		split := batch.Split{
			Source: r.Source, Index: len(splits), Payload: fmt.Appendf(nil, "%d %d", from, to),
			Rows: rows, Bytes: rows * s.t.RowBytes,
		}
		if s.t.Estimate != nil {
			split.Rows = s.t.Estimate(rows)
		}
		splits = append(splits, split)
		from = to
	}
	return splits, nil
}

// Release has nothing to throw away: every row can be made again.
func (s *Source) Release(_ context.Context, to batch.Offset) error {
	_, err := s.position(to)
	return err
}

// Ended says whether the table's last row lies before at.
func (s *Source) Ended(at batch.Offset) bool {
	n, err := s.position(at)
	return err == nil && n >= s.t.Rows
}

// Close has nothing to do.
func (s *Source) Close() error { return nil }

// Rows reads the payload of a split: row numbers [from, to), at most limit.
func Rows(payload []byte, limit int64) (from, to int64, err error) {
	first, second, _ := strings.Cut(string(payload), " ")
	from, err = number(first, limit)
	to, err2 := number(second, limit)
	if err != nil || err2 != nil || from > to {
		return 0, 0, fmt.Errorf("%q is no range of rows", payload)
	}
	return from, to, nil
}

func number(s string, limit int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("%q is no row number", s)
	}
	return n, nil
}
