package executor

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// finalAggregate merges partial results into results.
type finalAggregate struct {
	base
	merging
	nkeys int
	// in parts: part is the one that is computed next, of parts.
	part, parts int
	opened      bool
}

// A table of more groups than fit into the processor's cache is built in parts,
// where what the exchange holds can be read in parts.
const (
	partRows = 1 << 16
	partsMax = 64
)

func newFinalAggregate(n *physical.FinalAggregate, in Operator) (*finalAggregate, error) {
	agg, err := newMergeAggregator(n.NKeys, n.Aggs, in.Schema())
	if err != nil {
		return nil, err
	}
	return &finalAggregate{base: base{node: n, in: []Operator{in}}, merging: newMerging(agg, n.Schema(), in.Schema()), nkeys: n.NKeys}, nil
}

// newMergeAggregator checks that the input has nkeys keys and the aggregates' state columns.
func newMergeAggregator(nkeys int, aggs []*expr.AggCall, input *arrow.Schema) (*aggregator, error) {
	if want := nkeys + len(stateTypes(aggs)); input.NumFields() != want {
		return nil, fmt.Errorf("partial results have %d columns, want %d", input.NumFields(), want)
	}
	return newAggregator(fieldTypes(input.Fields()[:nkeys]), aggs)
}

func (f *finalAggregate) Open(ctx context.Context, tc *TaskContext) error {
	f.merging.open(tc)
	f.part, f.parts, f.opened = 0, 1, false
	return f.base.Open(ctx, tc)
}

func (f *finalAggregate) Close() error {
	f.merging.close()
	return f.base.Close()
}

func (f *finalAggregate) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if !f.opened {
		f.opened = true
		if err := f.cut(ctx); err != nil {
			return nil, err
		}
	}
	for {
		rec, err := f.out.next()
		if err != io.EOF {
			return rec, err
		}
		if err := f.more(ctx); err != nil {
			return nil, err
		}
	}
}

// cut decides in how many parts the input is read.
func (f *finalAggregate) cut(ctx context.Context) error {
	x := f.exchange()
	if x == nil || f.nkeys == 0 {
		return nil
	}
	rows, parted, err := x.held(ctx)
	if err != nil || !parted {
		return err
	}
	for f.parts < partsMax && rows/int64(f.parts) > partRows {
		f.parts *= 2
	}
	return nil
}

// exchange is the input if it is an exchange's output, else nil.
func (f *finalAggregate) exchange() *exchangeRead {
	if w, ok := f.in[0].(*watched); ok {
		x, _ := w.op.(*exchangeRead)
		return x
	}
	return nil
}

// more computes the next groups: of what was spilled, or of the next part of the
// input. It returns io.EOF after the last.
func (f *finalAggregate) more(ctx context.Context) error {
	if found, err := f.nextSpilled(ctx, f.tc); found || err != nil {
		return err
	}
	if f.part == f.parts {
		return io.EOF
	}
	if f.parts > 1 {
		if err := f.exchange().readPart(f.part, f.parts); err != nil {
			return err
		}
	}
	f.part++
	return f.mergeAll(ctx, f.tc, f.in[0], 0)
}
