package executor

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// partialSessions groups rows by partition and session before they are sent over
// an exchange. A row joins the last session of its partition if it touches it, and
// begins one else; those that touch each other all the same are put together
// behind the exchange.
type partialSessions struct {
	base
	n      *physical.PartialSessions
	agg    *aggregator // its table has the partitions; its results are of spans
	inputs *aggInputs

	ids    []uint32
	last   []int32 // by partition: its last span
	spans  []partialSpan
	groups []uint32
	// growing says that some state is a list or text; unsent counts rows since
	// the last spans were handed on.
	growing bool
	unsent  int
	ended   bool
	out     cutter
	mem     account
}

// partialSpan is a session as far as rows of one task have shown it.
type partialSpan struct {
	start, end int64
	key        int32
}

func newPartialSessions(n *physical.PartialSessions, in Operator) (*partialSessions, error) {
	p := &partialSessions{base: base{node: n, in: []Operator{in}}, n: n}
	var err error
	if p.agg, err = newAggregator(typesOf(n.Partition), n.Aggs); err != nil {
		return nil, err
	}
	for _, dt := range stateTypes(n.Aggs) {
		p.growing = p.growing || rowkey.Width(dt) == 0 && dt.ID() != arrow.DECIMAL128
	}
	keys := append(append([]expr.Expr{}, n.Partition...), n.Time, n.End)
	p.inputs, err = newAggInputs(keys, n.Aggs, in.Schema())
	return p, err
}

func (p *partialSessions) Open(ctx context.Context, tc *TaskContext) error {
	p.agg.open(tc)
	p.inputs.open(tc)
	p.mem.open(tc)
	p.out.reset()
	p.forget()
	p.ended = false
	return p.base.Open(ctx, tc)
}

// forget empties the table of spans.
func (p *partialSessions) forget() {
	p.agg.reset()
	p.last, p.spans, p.unsent = p.last[:0], p.spans[:0], 0
}

func (p *partialSessions) Close() error {
	p.out.reset()
	p.agg.release()
	_ = p.mem.set(0) // giving back cannot be refused
	return p.base.Close()
}

func (p *partialSessions) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		rec, err := p.out.next()
		if err != io.EOF || p.ended {
			return rec, err
		}
		rec, err = p.in[0].Next(ctx)
		if err == io.EOF {
			p.ended = true
			if err := p.flush(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		err = p.add(rec)
		rec.Release()
		if err != nil {
			return nil, err
		}
	}
}

func (p *partialSessions) add(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	cols, err := p.inputs.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	keys := len(p.n.Partition)
	starts, ends, err := timesOf(p.n, cols[:keys+2])
	if err != nil {
		return err
	}
	p.ids, p.groups = resized(p.ids, n), resized(p.groups, n)
	p.agg.table.Map(cols[:keys], n, p.ids)
	for len(p.last) < p.agg.table.Len() {
		p.last = append(p.last, -1)
	}
	for i, key := range p.ids {
		t, end := int64(starts.Value(i)), int64(ends.Value(i))
		if err := checkTime(end); err != nil {
			return err
		}
		at := p.last[key]
		if at < 0 || t > p.spans[at].end || end < p.spans[at].start {
			at = int32(len(p.spans))
			p.spans = append(p.spans, partialSpan{start: t, end: end, key: int32(key)})
			p.last[key] = at
		} else {
			s := &p.spans[at]
			s.start, s.end = min(s.start, t), max(s.end, end)
		}
		p.groups[i] = uint32(at)
	}
	p.agg.resize(len(p.spans))
	for i, acc := range p.agg.accs {
		rows, sub := p.inputs.selection(i, cols, p.groups, n)
		if err := acc.Update(sub, vecs(cols, p.inputs.calls[i].args), rows, n); err != nil {
			return fmt.Errorf("%s: %w", p.agg.aggs[i], err)
		}
	}
	if err := p.mem.set(p.agg.bytes() + 24*int64(cap(p.spans)) + 4*int64(cap(p.last)+cap(p.ids)+cap(p.groups))); err != nil {
		return err
	}
	if p.unsent += n; p.agg.contents()+24*int64(len(p.spans)) > partialBytesMax || p.growing && p.unsent >= partialRowsMax {
		return p.flush()
	}
	return nil
}

// flush hands on all spans, after which they are forgotten.
func (p *partialSessions) flush() error {
	defer p.forget()
	n := len(p.spans)
	if n == 0 {
		return nil
	}
	distinct, err := p.agg.keys()
	if err != nil {
		return err
	}
	defer gather.Release(distinct)
	at, starts, ends := make([]int32, n), make([]int64, n), make([]int64, n)
	for i, s := range p.spans {
		at[i], starts[i], ends[i] = s.key, s.start, s.end
	}
	cols, err := gather.Columns(p.tc.Alloc, distinct, at)
	if err != nil {
		return err
	}
	dt := p.n.Out.Field(len(cols)).Type
	cols = append(cols, int64Column(p.tc.Alloc, dt, starts, 0), int64Column(p.tc.Alloc, dt, ends, 0))
	if cols, err = p.agg.states(cols, 0, n); err != nil {
		return err
	}
	p.out.set(p.n.Out, cols, n)
	return nil
}
