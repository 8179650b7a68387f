package executor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// sessions cuts sorted rows at the gaps. Only the batches that the open session
// reaches back to are in hand: a session's end is known at its last row.
type sessions struct {
	base
	ev  *computed // the partition, then the row's time and the end of its gap
	enc *rowkey.Encoder

	keys       rowkey.Rows
	key        []byte
	open       bool
	start, end int64 // of the open session

	pending    []sessionRows
	from, at   int // the open session's first row: of pending, and in it
	inputEnded bool
}

// sessionRows is a batch whose rows get their windows.
type sessionRows struct {
	rec          arrow.RecordBatch
	starts, ends []int64
}

func newSessions(n *physical.Sessions, in Operator) (*sessions, error) {
	s := &sessions{base: base{node: n, in: []Operator{in}}}
	var err error
	if s.ev, err = newComputed(append(append([]expr.Expr{}, n.Partition...), n.Time, n.End), in.Schema()); err != nil {
		return nil, err
	}
	s.enc, err = rowkey.NewEncoder(typesOf(n.Partition))
	return s, err
}

func (s *sessions) Open(ctx context.Context, tc *TaskContext) error {
	s.reset()
	s.ev.open(tc)
	return s.base.Open(ctx, tc)
}

func (s *sessions) reset() {
	for _, p := range s.pending {
		p.rec.Release()
	}
	s.pending, s.from, s.at, s.open, s.inputEnded = nil, 0, 0, false, false
}

func (s *sessions) Close() error {
	s.reset()
	return s.base.Close()
}

// Next puts a batch out once the session of its last row is known whole.
func (s *sessions) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for s.from == 0 && !s.inputEnded {
		rec, err := s.in[0].Next(ctx)
		if err == io.EOF {
			s.inputEnded = true
			s.settle(len(s.pending), 0)
			break
		}
		if err != nil {
			return nil, err
		}
		if err := s.take(rec); err != nil {
			return nil, err
		}
	}
	if len(s.pending) == 0 {
		return nil, io.EOF
	}
	p := s.pending[0]
	s.pending = s.pending[1:]
	s.from--
	defer p.rec.Release()
	cols := slices.Clone(p.rec.Columns())
	for _, c := range cols {
		c.Retain()
	}
	return withWindow(s.tc, cols, s.Schema(), p.starts, p.ends, nil), nil
}

// withWindow takes columns over and appends the three of each row's window and,
// if there are any, the kinds of change.
func withWindow(tc *TaskContext, cols []arrow.Array, out *arrow.Schema, starts, ends []int64, ops []batch.Op) arrow.RecordBatch {
	dt := out.Field(len(cols)).Type
	cols = append(cols, int64Column(tc.Alloc, dt, starts, 0), int64Column(tc.Alloc, dt, ends, 0), int64Column(tc.Alloc, dt, ends, -1))
	if len(cols) < out.NumFields() {
		cols = append(cols, ops8(tc.Alloc, ops))
	}
	return newBatch(out, cols, len(starts))
}

// timesOf returns the numbers of two columns of timestamps, the last ones.
func timesOf(what fmt.Stringer, cols []arrow.Array) (starts, ends *array.Timestamp, err error) {
	starts, ok1 := cols[len(cols)-2].(*array.Timestamp)
	ends, ok2 := cols[len(cols)-1].(*array.Timestamp)
	if !ok1 || !ok2 {
		return nil, nil, fmt.Errorf("%s: a time is not a timestamp", what)
	}
	return starts, ends, nil
}

// take takes a batch over and cuts its rows.
func (s *sessions) take(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	s.pending = append(s.pending, sessionRows{rec: rec, starts: make([]int64, n), ends: make([]int64, n)})
	cols, err := s.ev.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	starts, ends, err := timesOf(s, cols)
	if err != nil {
		return err
	}
	if err := s.enc.Encode(cols[:len(cols)-2], n, &s.keys); err != nil {
		return err
	}
	for i := range n {
		t, end := int64(starts.Value(i)), int64(ends.Value(i))
		if err := checkTime(end); err != nil {
			return err
		}
		key := s.keys.Row(i)
		if s.open && t <= s.end && bytes.Equal(key, s.key) {
			s.end = max(s.end, end)
			continue
		}
		s.settle(len(s.pending)-1, i)
		s.open, s.start, s.end = true, t, end
		s.key = append(s.key[:0], key...)
		s.from, s.at = len(s.pending)-1, i
	}
	return nil
}

// settle gives the rows of the open session their window; the row behind its
// last one is of a batch of pending, in which it stands at row.
func (s *sessions) settle(last, row int) {
	for ; s.open && s.from < last; s.from, s.at = s.from+1, 0 {
		p := &s.pending[s.from]
		s.fill(p, len(p.starts))
	}
	if s.open && row > 0 {
		s.fill(&s.pending[last], row)
	}
	s.open, s.from = false, last
}

func (s *sessions) fill(p *sessionRows, end int) {
	for i := s.at; i < end; i++ {
		p.starts[i], p.ends[i] = s.start, s.end
	}
}
