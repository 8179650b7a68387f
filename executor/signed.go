package executor

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
)

// The partial results of sums and counts are linear in the rows, so that an
// aggregate of rows that may be taken back keeps no rows: what goes is taken off.
// Of a group is known by its number of rows, the last of the aggregates, whether
// it is still there.

// visibleAggs are the aggregates that come out.
func (s *statefulAggregate) visibleAggs() []*expr.AggCall {
	if s.n.Signed {
		return s.n.Aggs[:len(s.n.Aggs)-1]
	}
	return s.n.Aggs
}

// finals appends the results of the visible aggregates to cols.
func (s *statefulAggregate) finals(a *aggregator, cols []arrow.Array, first, end int) ([]arrow.Array, error) {
	cols, err := a.finals(cols, first, end)
	if err != nil || !s.n.Signed {
		return cols, err
	}
	last := len(cols) - 1
	cols[last].Release()
	return cols[:last], nil
}

// countRows notes how many rows the groups of the batch have now.
func (s *statefulAggregate) countRows(p *pass) error {
	if !s.n.Signed || p.n == 0 {
		return nil
	}
	last := len(s.total.accs) - 1
	state, err := s.total.accs[last].State(0, p.n)
	if err != nil {
		return err
	}
	defer gather.Release(state)
	counts, ok := state[0].(*array.Int64)
	if !ok {
		return fmt.Errorf("%s: rows are counted as %s", s.n, state[0].DataType())
	}
	p.rows = append(p.rows[:0], counts.Int64Values()...)
	_, expires := p.txn.(*ttlTxn)
	for i, n := range p.rows {
		if n < 0 && !expires { // else its rows were let go of before
			return fmt.Errorf("group %d: an input takes back %d rows that it has not put out", i, -n)
		}
	}
	return nil
}

// gone reports that a group of the batch has no rows left. The only group of an
// aggregate without keys is always there.
func (s *statefulAggregate) gone(p *pass, g int32) bool {
	return s.n.Signed && !s.n.Global && p.rows[g] <= 0
}
