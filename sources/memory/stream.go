package memory

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/internal/invariants"
)

// Stream is a growing table in memory. It may be used by several goroutines.
type Stream struct {
	schema *arrow.Schema

	// DropReleased lets rows go that every open source has released. It is set
	// before the stream is first read; a query that starts later than the first
	// drop finds the beginning missing and fails.
	DropReleased bool
	// Changes says what the rows tell. Unless they only grow, rows may be added with a
	// kind of change in a last column batch.OpColumn; without it they are inserts. It is
	// set before rows are added.
	Changes batch.Changes
	Keys    []string // the columns that tell the rows of the table apart, for who declares it

	state struct {
		sync.RWMutex
		parts   []part // in order, without gaps
		dropped int64  // rows before the first part
		rows    int64  // rows ever added
		ended   bool
		closed  bool
		readers map[*source]struct{}
	}
}

// part is a record batch and the number of its first row.
type part struct {
	first int64
	rec   arrow.RecordBatch
}

// errEnded is returned when rows are added after End or Close.
var errEnded = errors.New("the stream has ended")

// NewStream returns an empty stream.
func NewStream(schema *arrow.Schema) *Stream {
	s := &Stream{schema: schema}
	s.state.readers = map[*source]struct{}{}
	return s
}

// Schema is that of the rows, without the kind of change.
func (s *Stream) Schema() *arrow.Schema { return s.schema }

// AddData adds rows, borrowed, and returns the offset behind them: a query that
// has committed it has seen them all.
func (s *Stream) AddData(rec arrow.RecordBatch) (batch.Offset, error) {
	rec, err := s.stored(rec)
	if err != nil {
		return "", err
	}
	defer rec.Release()
	if !rec.Schema().Equal(s.full()) {
		return "", batch.UserErrorf("add %d rows to a memory stream: they have the schema %v, the stream has %v", rec.NumRows(), rec.Schema(), s.schema)
	}
	s.state.Lock()
	defer s.state.Unlock()
	if s.state.ended || s.state.closed {
		return "", fmt.Errorf("add %d rows to a memory stream: %w", rec.NumRows(), errEnded)
	}
	if rec.NumRows() > 0 {
		rec.Retain()
		s.state.parts = append(s.state.parts, part{s.state.rows, rec})
		s.state.rows += rec.NumRows()
		s.notifyLocked()
	}
	return offsetOf(s.state.rows), nil
}

// End says that no rows will be added any more: a query over the stream ends
// when it has read them all.
func (s *Stream) End() {
	s.state.Lock()
	defer s.state.Unlock()
	s.state.ended = true
	s.notifyLocked()
}

// Close gives the rows back. Readers that are open keep what they have taken.
func (s *Stream) Close() {
	s.state.Lock()
	defer s.state.Unlock()
	s.state.closed = true
	s.dropLocked(s.state.rows)
}

func (s *Stream) notifyLocked() {
	for r := range s.state.readers {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
}

// slices returns the rows [from, to), each batch owned by the caller.
func (s *Stream) slices(from, to int64) ([]arrow.RecordBatch, error) {
	s.state.RLock()
	defer s.state.RUnlock()
	if from < s.state.dropped || to > s.state.rows {
		return nil, s.missingLocked(from, to)
	}
	var out []arrow.RecordBatch
	parts := s.state.parts
	i := sort.Search(len(parts), func(i int) bool { return parts[i].first+parts[i].rec.NumRows() > from })
	for ; i < len(parts) && parts[i].first < to; i++ {
		p := parts[i]
		out = append(out, p.rec.NewSlice(max(from-p.first, 0), min(to-p.first, p.rec.NumRows())))
	}
	return out, nil
}

func (s *Stream) missingLocked(from, to int64) error {
	return batch.UserErrorf("read rows %d to %d of a memory stream: it holds %d to %d; what a process kept in memory is gone when it ends", from, to, s.state.dropped, s.state.rows)
}

// released lets go of what no open source will read again.
func (s *Stream) released() {
	if !s.DropReleased {
		return
	}
	s.state.Lock()
	defer s.state.Unlock()
	low := s.state.rows
	for r := range s.state.readers {
		low = min(low, r.releasedTo.Load())
	}
	s.dropLocked(low)
}

// dropLocked drops the parts that end at or before to.
func (s *Stream) dropLocked(to int64) {
	n := 0
	for _, p := range s.state.parts {
		end := p.first + p.rec.NumRows()
		if end > to {
			break
		}
		p.rec.Release()
		s.state.dropped = end
		n++
	}
	rest := copy(s.state.parts, s.state.parts[n:])
	clear(s.state.parts[rest:])
	s.state.parts = s.state.parts[:rest]
	invariants.Assert(s.state.dropped <= s.state.rows, "a memory stream dropped %d of %d rows", s.state.dropped, s.state.rows)
}

func offsetOf(rows int64) batch.Offset {
	if rows == 0 {
		return ""
	}
	return batch.Offset(strconv.FormatInt(rows, 10))
}

func rowsOf(o batch.Offset) (int64, error) {
	if o == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(o), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no offset of a memory stream", o)
	}
	return n, nil
}
