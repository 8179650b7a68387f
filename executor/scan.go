package executor

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
	"github.com/sluice-stream/sluice/sources"
)

// scan reads the task's splits of one source, one after the other.
type scan struct {
	base
	n      *physical.Scan
	opener sources.Opener
	splits []batch.Split
	reader sources.Reader
	split  batch.Split
	// filters are of joins above. The reader may apply them too; what it leaves is
	// dropped here, before any other operator sees it.
	filters []*keyFilter
	keep    [][]int32 // of each filter
	sifted  bool      // the reader in hand knows the filters
	dropped int64
	// conds are of the query; exact says that the reader in hand applies them all.
	conds    []*condition
	exact    bool
	returned int64 // rows that the reader in hand has returned
	bad      int64 // rows that could not be decoded
	// last is the batch handed on last, if rows of it may be asked for.
	last arrow.RecordBatch
}

func newScan(n *physical.Scan) *scan {
	return &scan{base: base{node: n}, n: n, conds: newConditions(n)}
}

func (s *scan) Open(ctx context.Context, tc *TaskContext) error {
	if err := errors.Join(s.base.Open(ctx, tc), s.closeReader()); err != nil {
		return err
	}
	s.remember(nil)
	s.splits, s.dropped, s.bad = s.splits[:0], 0, 0
	for _, sp := range tc.Spec.Splits {
		if sp.Source == s.n.Source {
			s.splits = append(s.splits, sp)
		}
	}
	if len(s.splits) == 0 {
		return nil
	}
	var err error
	if s.opener, err = tc.Opener(s.n.Source); err != nil {
		return fmt.Errorf("open source %q: %w", s.n.Source, err)
	}
	return nil
}

func (s *scan) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		if s.reader == nil {
			if len(s.splits) == 0 {
				s.remember(nil)
				return nil, io.EOF
			}
			s.split, s.splits = s.splits[0], s.splits[1:]
			var err error
			if s.reader, err = s.opener.Open(ctx, s.split, s.n.Columns, s.tc.Alloc); err != nil {
				return nil, fmt.Errorf("open split %d of source %q: %w", s.split.Index, s.n.Source, err)
			}
			s.returned = 0
			s.setAside(ctx)
			s.where()
			s.offer()
		}
		rec, err := s.reader.Next(ctx)
		if err == io.EOF {
			if !s.n.Again {
				s.tc.Result.Counters.BytesIn += s.split.Bytes
				if d, ok := s.reader.(sources.Dated); ok {
					s.tc.Result.Arrived.Merge(d.Arrived())
				}
			}
			s.settle()
			if err := s.closeReader(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read split %d of source %q: %w", s.split.Index, s.n.Source, err)
		}
		if !s.n.Again {
			s.tc.Result.Counters.RowsIn += rec.NumRows()
		}
		s.returned += rec.NumRows()
		if rec.NumRows() == 0 {
			rec.Release()
			continue
		}
		if got, want := int(rec.NumCols()), s.n.Out.NumFields(); got != want {
			rec.Release()
			return nil, fmt.Errorf("read split %d of source %q: %d columns, want %d", s.split.Index, s.n.Source, got, want)
		}
		out, err := s.wanted(rec)
		rec.Release()
		if err != nil || out != nil {
			s.remember(out)
			return out, err
		}
	}
}

func (s *scan) closeReader() error {
	if s.reader == nil {
		return nil
	}
	r := s.reader
	s.reader = nil
	if err := r.Close(); err != nil {
		return fmt.Errorf("close split %d of source %q: %w", s.split.Index, s.n.Source, err)
	}
	return nil
}

func (s *scan) Close() error {
	s.remember(nil)
	return s.closeReader()
}

// values emits a constant table, from the stage's first task alone.
type values struct {
	base
	n    *physical.Values
	rows []*computed // one per row that is not all literals
	done bool
}

func newValues(n *physical.Values) (*values, error) {
	v := &values{base: base{node: n}, n: n, rows: make([]*computed, len(n.Rows))}
	none := arrow.NewSchema(nil, nil)
	for i, row := range n.Rows {
		if len(row) != n.Out.NumFields() {
			return nil, fmt.Errorf("row %d of VALUES has %d columns, want %d", i+1, len(row), n.Out.NumFields())
		}
		for _, e := range row {
			if _, ok := e.(*expr.Literal); ok {
				continue
			}
			var err error
			if v.rows[i], err = newComputed(row, none); err != nil {
				return nil, err
			}
			break
		}
	}
	return v, nil
}

func (v *values) Open(ctx context.Context, tc *TaskContext) error {
	v.done = tc.Spec.Task.Partition != 0 || len(v.n.Rows) == 0
	return v.base.Open(ctx, tc)
}

func (v *values) Next(context.Context) (arrow.RecordBatch, error) {
	if v.done {
		return nil, io.EOF
	}
	v.done = true
	if v.n.Out.NumFields() == 0 { // SELECT without FROM: rows, but no columns
		return array.NewRecordBatch(v.n.Out, nil, int64(len(v.n.Rows))), nil
	}
	b := array.NewRecordBuilder(v.tc.Alloc, v.n.Out)
	defer b.Release()
	for i, row := range v.n.Rows {
		if err := v.appendRow(b, i, row); err != nil {
			return nil, fmt.Errorf("row %d of VALUES: %w", i+1, err)
		}
	}
	return b.NewRecordBatch(), nil
}

func (v *values) appendRow(b *array.RecordBuilder, i int, row []expr.Expr) error {
	if v.rows[i] == nil {
		for c, e := range row {
			if err := e.(*expr.Literal).AppendTo(b.Field(c)); err != nil {
				return err
			}
		}
		return nil
	}
	one := array.NewRecordBatch(arrow.NewSchema(nil, nil), nil, 1)
	defer one.Release()
	v.rows[i].open(v.tc)
	cols, err := v.rows[i].run(one)
	if err != nil {
		return err
	}
	for c, col := range cols {
		err = errors.Join(err, appendValue(b.Field(c), col, 0))
		col.Release()
	}
	return err
}
