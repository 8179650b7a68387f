package executor

import (
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/sinks"
)

// selectRows decides which rows come out: numbers below p.n are groups of the
// batch, those from p.n on are scanned rows.
func (s *statefulAggregate) selectRows(p *pass) error {
	switch s.mode() {
	case sinks.Append:
		return s.selectAppend(p)
	case sinks.Complete:
		p.scanned = p.scanned[:0]
		p.n = 0
		for g := s.dues.first; g < s.dues.end; g++ {
			err := p.txn.Scan(groupStart(g), groupStart(g+1), func(key, value []byte) (bool, error) {
				p.scanned = append(p.scanned, s.keep(key, value))
				return true, nil
			})
			if err != nil {
				return err
			}
		}
		s.total.reset()
		gather.Release(p.cols)
		p.cols = nil
		p.order = seq(0, len(p.scanned))
	case sinks.Update:
		p.scanned = nil
		p.order = seq(0, p.n)
	case sinks.Changelog:
		p.scanned = nil
		p.order = seq(0, p.n)
	}
	return nil
}

func (s *statefulAggregate) selectAppend(p *pass) error {
	if s.n.EndKey < 0 && !p.all {
		p.scanned = nil
		if len(s.n.Aggs) > 0 {
			return nil
		}
		// DISTINCT: a key comes out when it is first seen.
		known := make([]bool, p.n)
		for _, f := range p.found {
			known[f] = true
		}
		for i := range p.n {
			if !known[i] {
				p.order = append(p.order, int32(i))
			}
		}
		return nil
	}
	for i, c := range p.closing {
		if c && !s.gone(p, int32(i)) {
			p.order = append(p.order, int32(i))
		}
	}
	p.order = append(p.order, seq(p.n, p.n+len(p.scanned))...)
	return nil
}

// rowKey returns the state key of a selected row without its key group.
func (s *statefulAggregate) rowKey(p *pass, row int32) []byte {
	if int(row) < p.n {
		return s.keys.rows.Row(int(row))[1:]
	}
	return p.scanned[int(row)-p.n][0][1:]
}

// emit sets the output to the selected rows, ordered by (window end, key).
func (s *statefulAggregate) emit(p *pass) error {
	if len(p.order) == 0 {
		return nil
	}
	rows := slices.Clone(p.order)
	for i, o := range s.sorter.order(len(rows), func(i int32) []byte { return s.rowKey(p, rows[i]) }) {
		p.order[i] = rows[o.i]
	}
	keys, err := s.scannedRows(p)
	if err != nil {
		return err
	}
	m := p.n + len(p.scanned)
	if s.compares() {
		return s.emitChanges(p, keys)
	}
	cols, err := s.finals(s.total, keys, 0, m)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	visible, err := s.visible(cols, m, true)
	if err != nil {
		return err
	}
	p.order = slices.DeleteFunc(p.order, func(row int32) bool { return !visible(row) })
	if len(p.order) == 0 {
		return nil
	}
	out, err := gather.Columns(s.tc.Alloc, cols, p.order)
	if err != nil {
		return err
	}
	if s.mode() != sinks.Append {
		op := sinks.Insert
		if s.mode() == sinks.Update {
			op = sinks.UpdateAfter
		}
		out = append(out, opColumn(s.tc.Alloc, op, len(p.order)))
	}
	s.out.set(s.Schema(), out, len(p.order))
	return nil
}

// scannedRows adds the scanned rows to total behind the batch's groups and
// returns the key columns of both.
func (s *statefulAggregate) scannedRows(p *pass) ([]arrow.Array, error) {
	if len(p.scanned) == 0 {
		for _, c := range p.cols {
			c.Retain()
		}
		return append([]arrow.Array{}, p.cols...), nil
	}
	keys, states, err := s.keys.decode(s.tc.Alloc, p.scanned)
	if err != nil {
		return nil, err
	}
	defer gather.Release(states)
	s.total.resize(p.n + len(p.scanned))
	if err := s.total.merge(iota32(p.n, p.n+len(p.scanned)), states); err != nil {
		gather.Release(keys)
		return nil, err
	}
	if p.n == 0 {
		return keys, nil
	}
	defer gather.Release(keys)
	return concat(s.tc.Alloc, [][]arrow.Array{p.cols, keys})
}

// visible says which of n groups HAVING lets through. One for which it cannot be
// computed does not pass; it is set aside if it is new.
func (s *statefulAggregate) visible(cols []arrow.Array, n int, fresh bool) (func(row int32) bool, error) {
	if s.having == nil {
		return func(int32) bool { return true }, nil
	}
	rec := array.NewRecordBatch(s.results, cols, int64(n))
	defer rec.Release()
	s.having.unfit = s.tc.unfit
	if !fresh {
		s.having.unfit = s.tc.unfit.quiet()
	}
	pass, err := s.having.passing(rec, nil)
	if err != nil {
		return nil, err
	}
	shown := make([]bool, n)
	for _, row := range pass {
		shown[row] = true
	}
	return func(row int32) bool { return shown[row] }, nil
}

// emitChanges compares results with those before and lists the changes.
func (s *statefulAggregate) emitChanges(p *pass, keys []arrow.Array) error {
	defer gather.Release(keys)
	now, err := s.finals(s.total, nil, 0, p.n)
	if err != nil {
		return err
	}
	defer gather.Release(now)
	// Old results stand behind the new ones in one column, so that one gather does both.
	rows, ops, keyRows, err := s.changes(p, keys, now)
	if err != nil || len(rows) == 0 {
		return err
	}
	both := now
	if len(p.found) > 0 {
		if both, err = concat(s.tc.Alloc, [][]arrow.Array{now, p.oldRes}); err != nil {
			return err
		}
		defer gather.Release(both)
	}
	out, err := gather.Columns(s.tc.Alloc, keys, keyRows)
	if err != nil {
		return err
	}
	res, err := gather.Columns(s.tc.Alloc, both, rows)
	if err != nil {
		gather.Release(out)
		return err
	}
	s.out.set(s.Schema(), append(append(out, res...), ops8(s.tc.Alloc, ops)), len(rows))
	return nil
}
