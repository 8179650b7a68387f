package executor

import (
	"context"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/sources"
)

// setAside tells the reader in hand where rows go to that cannot be decoded. They
// have come in, too.
func (s *scan) setAside(ctx context.Context) {
	r, ok := s.reader.(sources.Quarantiner)
	if !ok {
		return
	}
	put := s.tc.bad.of(s.n.Source)
	if put == nil {
		return
	}
	if s.n.Again { // the scan that counts the rows has the same ones
		r.SetAside(func(batch.BadRow) error { return nil })
		return
	}
	r.SetAside(func(row batch.BadRow) error {
		s.bad++
		s.tc.Result.Counters.RowsIn++
		return put(ctx, row)
	})
}

// chainsOf lists for every scan that counts its rows the operators above it, from the scan upward, that
// take rows one by one: what comes in there can be followed row by row.
func chainsOf(ops []*watched) [][]int {
	var out [][]int
	for i, w := range ops {
		if s, ok := w.op.(*scan); !ok || s.n.Again {
			continue
		}
		chain := []int{i}
		for at := i - 1; at >= 0; at-- {
			top := ops[chain[len(chain)-1]]
			if ops[at].depth != top.depth-1 {
				continue
			}
			if !rowByRow(ops[at].op) {
				break
			}
			chain = append(chain, at)
		}
		out = append(out, chain)
	}
	return out
}

func rowByRow(op Operator) bool {
	switch op := op.(type) {
	case *filter, *project, *watermark, *lateFilter, *observe:
		return true
	case *window:
		return op.n.Kind == logical.Tumble // of others a row is in several
	}
	return false
}

// reconcile tells where the rows that came in have gone to.
func (t *Task) reconcile(c *batch.Counters) {
	in := c.RowsIn
	for _, chain := range t.chains {
		s := t.ops[chain[0]].op.(*scan)
		in -= s.bad + t.ops[chain[0]].stats.Rows
		c.BadEarly += s.bad
	}
	if len(t.chains) > 0 {
		c.Filtered += in // by the readers of the scans
	}
	for _, chain := range t.chains {
		rows := t.ops[chain[0]].stats.Rows - t.badAbove(chain[0], c)
		for _, at := range chain[1:] {
			w := t.ops[at]
			lost := rows - w.stats.Rows
			rows = w.stats.Rows
			switch op := w.op.(type) {
			case *filter:
				c.Filtered += lost - op.bad
				c.BadEarly += op.bad
			case *project:
				c.BadEarly += op.bad
			case *lateFilter:
				c.LateEarly += lost
			case *window:
				c.Filtered += lost // they have no time, and lie in none
			}
			rows -= t.badAbove(at, c)
		}
		c.Used += rows
	}
}

// sideliner is what sets rows of its input aside.
type sideliner interface {
	below() Operator
	setAside() int64
}

// badAbove counts the rows that were set aside right above an operator.
func (t *Task) badAbove(at int, c *batch.Counters) (n int64) {
	for _, a := range t.asides {
		if a.below() == Operator(t.ops[at]) {
			n += a.setAside()
		}
	}
	c.BadEarly += n
	return n
}
