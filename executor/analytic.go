package executor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/executor/rowkey"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/physical"
)

// analytic computes window functions over sorted rows. It takes whole
// partitions, as many as make a batch of some size, so that small partitions
// are computed together; a partition that is larger is held whole, because a
// frame may reach anywhere in it; where no frame does, one that does not fit goes
// to disk (see spool). Where all calls number rows, which takes only what came
// before, nothing is held.
type analytic struct {
	base
	exprs    *computed // partition keys, order keys, then what the calls use
	inputs   []callInput
	npart    int
	nkeys    int
	part     edges
	peer     edges
	chunks   []analyticChunk
	held     int64   // bytes of chunks
	used     int     // columns that the calls use
	streams  bool    // no call needs its whole partition at hand
	spool    *spool  // the partition on disk; nil if there is none
	holdMax  int64   // bytes of a partition that are held before it goes to disk; set by Open unless hold is
	hold     int64   // is holdMax, in tests
	pageRows int     // rows of a batch on disk
	marks    []uint8 // of the rows in chunks
	cut      int     // rows before the start of the last partition
	enough   int     // rows of whole partitions that are worth computing
	numbers  bool    // all calls number rows
	rank     rankState
	ready    []arrow.RecordBatch
	emitted  int
	ended    bool
	mem      account
}

// callInput says where the columns of one call are among the computed ones, -1
// for what it does not have.
type callInput struct {
	call                    *expr.AnalyticCall
	args, order             []int
	filter, key, start, end int
}

// analyticChunk is an input batch with the columns that the calls use.
type analyticChunk struct {
	rec   arrow.RecordBatch
	cols  []arrow.Array
	bytes int64
}

// The marks of a row: what starts with it.
const (
	startsPeers     = 1
	startsPartition = 2
)

func newAnalytic(n *physical.Analytic, in Operator) (*analytic, error) {
	a := &analytic{base: base{node: n, in: []Operator{in}}, npart: len(n.Partition), nkeys: len(n.Partition) + len(n.Order), enough: outputRows, pageRows: outputRows, numbers: true}
	es := append([]expr.Expr{}, n.Partition...)
	for _, k := range n.Order {
		es = append(es, k.Expr)
	}
	var err error
	if a.part.enc, err = rowkey.NewEncoder(typesOf(es[:a.npart])); err != nil {
		return nil, err
	}
	if a.peer.enc, err = rowkey.NewEncoder(typesOf(es[a.npart:])); err != nil {
		return nil, err
	}
	add := func(e expr.Expr) int {
		if e == nil {
			return -1
		}
		es = append(es, e)
		return len(es) - 1 - a.nkeys
	}
	for _, c := range n.Calls {
		a.numbers = a.numbers && (c.Kind == expr.RowNumber || c.Kind == expr.Rank || c.Kind == expr.DenseRank)
		ci := callInput{call: c, filter: -1, key: add(c.Frame.Key), start: add(c.Frame.Start.Value), end: add(c.Frame.End.Value)}
		args := c.Args
		if c.Agg != nil {
			args = c.Agg.Args
			ci.filter = add(c.Agg.Filter)
			for _, k := range c.Agg.OrderBy {
				ci.order = append(ci.order, add(k.Expr))
			}
		}
		for _, e := range args {
			ci.args = append(ci.args, add(e))
		}
		a.inputs = append(a.inputs, ci)
	}
	a.used, a.streams = len(es)-a.nkeys, true
	for i := range a.inputs {
		_, ok := reachOf(&a.inputs[i])
		a.streams = a.streams && ok
	}
	a.exprs, err = newComputed(es, in.Schema())
	return a, err
}

func (a *analytic) Open(ctx context.Context, tc *TaskContext) error {
	a.reset()
	if a.holdMax = a.hold; a.hold == 0 {
		a.holdMax = holdMaxOf(tc.Budget)
	}
	a.mem.open(tc)
	a.exprs.open(tc)
	return a.base.Open(ctx, tc)
}

func (a *analytic) reset() {
	a.dropChunks(len(a.chunks))
	for _, rec := range a.ready[a.emitted:] {
		rec.Release()
	}
	a.dropSpool()
	a.part.reset()
	a.peer.reset()
	a.marks, a.cut, a.ready, a.emitted, a.ended, a.rank = nil, 0, nil, 0, false, rankState{}
}

func (a *analytic) dropSpool() {
	if a.spool != nil {
		a.spool.close()
		a.spool = nil
	}
}

func (a *analytic) dropChunks(n int) {
	for _, c := range a.chunks[:n] {
		a.held -= c.bytes
		c.rec.Release()
		gather.Release(c.cols)
	}
	a.chunks = a.chunks[n:]
}

func (a *analytic) Close() error {
	a.reset()
	a.mem.set(0)
	return a.base.Close()
}

func (a *analytic) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for {
		if a.emitted < len(a.ready) {
			a.emitted++
			return a.ready[a.emitted-1], nil
		}
		a.ready, a.emitted = a.ready[:0], 0
		if a.spool != nil && (a.spool.done || a.ended) {
			rec, err := a.spool.next()
			if err != io.EOF {
				return rec, err
			}
			a.dropSpool()
			if err := a.settle(); err != nil {
				return nil, err
			}
			continue
		}
		if a.ended {
			return nil, io.EOF
		}
		if err := a.read(ctx); err != nil {
			return nil, err
		}
	}
}

// read takes the next batch, and computes what can be.
func (a *analytic) read(ctx context.Context) error {
	rec, err := a.in[0].Next(ctx)
	if err == io.EOF {
		a.ended = true
		return a.settle()
	}
	if err != nil {
		return err
	}
	err = a.add(rec)
	rec.Release()
	if err != nil {
		return err
	}
	return a.settle()
}

// settle computes what can be of the rows at hand.
func (a *analytic) settle() error {
	switch {
	case a.spool != nil && !a.spool.done:
		return a.follow()
	case a.spool != nil:
		return nil
	case a.ended || a.numbers:
		return a.compute(len(a.marks))
	case a.cut >= a.enough:
		return a.compute(a.cut)
	}
	return a.spills()
}

// add keeps a batch and marks where partitions and peers start in it.
func (a *analytic) add(rec arrow.RecordBatch) error {
	n := int(rec.NumRows())
	if n == 0 {
		return nil
	}
	if len(a.marks)+n > math.MaxInt32 {
		return fmt.Errorf("a partition of more than %d rows is too large for window functions", math.MaxInt32)
	}
	cols, err := a.exprs.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols[:a.nkeys])
	rec.Retain()
	chunk := analyticChunk{rec: rec, cols: cols[a.nkeys:], bytes: gather.BatchBytes(rec)}
	for _, c := range chunk.cols {
		chunk.bytes += gather.Bytes(c)
	}
	a.chunks = append(a.chunks, chunk)
	a.held += chunk.bytes
	first := len(a.marks)
	a.marks = append(a.marks, make([]uint8, n)...)
	if err := a.peer.mark(cols[a.npart:a.nkeys], a.marks[first:], startsPeers); err != nil {
		return err
	}
	if err := a.part.mark(cols[:a.npart], a.marks[first:], startsPartition|startsPeers); err != nil {
		return err
	}
	for i := len(a.marks) - 1; i >= first; i-- {
		if a.marks[i]&startsPartition != 0 && i > 0 {
			a.cut = i
			break
		}
	}
	return a.mem.set(int64(len(a.marks)))
}

// compute evaluates the calls over the first n rows at hand, which are whole
// partitions unless the calls number rows, and puts the results behind the batches that the rows came in.
func (a *analytic) compute(n int) error {
	if n == 0 {
		return nil
	}
	block := &analyticRows{tc: a.tc, n: n, mem: &a.mem, held: int64(len(a.marks)), marks: a.marks[:n], rank: a.rank}
	defer block.release()
	if !a.numbers {
		block.parts, block.peers = starts(a.marks[:n])
	}
	if err := a.concat(block); err != nil {
		return err
	}
	results := make([]arrow.Array, 0, len(a.inputs))
	defer func() { gather.Release(results) }()
	for i := range a.inputs {
		r, err := block.evaluate(&a.inputs[i])
		if err != nil {
			return fmt.Errorf("%s: %w", a.inputs[i].call, err)
		}
		results = append(results, r)
	}
	a.emit(results, n)
	for _, m := range a.marks[:n] {
		a.rank.step(m)
	}
	rest := len(a.marks) - n
	copy(a.marks, a.marks[n:])
	a.marks, a.cut = a.marks[:rest], 0
	return a.mem.set(int64(rest))
}

// concat joins the columns that the calls use.
func (a *analytic) concat(b *analyticRows) error {
	var chunks [][]arrow.Array
	defer func() {
		for _, c := range chunks {
			gather.Release(c)
		}
	}()
	left := b.n
	for _, c := range a.chunks {
		if left == 0 {
			break
		}
		rows := min(left, int(c.rec.NumRows()))
		chunks = append(chunks, sliced(c.cols, 0, rows))
		left -= rows
	}
	var err error
	b.cols, err = concat(a.tc.Alloc, chunks)
	return err
}

// emit makes the output of the first n rows and forgets them. A batch is cut
// where the rows end; what is left of it stays.
func (a *analytic) emit(results []arrow.Array, n int) {
	at, done := 0, 0
	for i := range a.chunks {
		c := &a.chunks[i]
		size := int(c.rec.NumRows())
		rows := min(size, n-at)
		if rows == 0 {
			break
		}
		cols := append(sliced(c.rec.Columns(), 0, rows), sliced(results, at, at+rows)...)
		a.ready = append(a.ready, newBatch(a.Schema(), cols, rows))
		at += rows
		if rows == size {
			done++
			continue
		}
		a.cutChunk(c, rows)
	}
	a.dropChunks(done)
}

// edges finds the rows whose key is another than the row's before, over batches.
type edges struct {
	enc  *rowkey.Encoder
	rows rowkey.Rows
	last []byte
	some bool
}

func (e *edges) reset() { e.some, e.last = false, e.last[:0] }

// mark sets bits at the rows where a new key starts.
func (e *edges) mark(keys []arrow.Array, marks []uint8, bits uint8) error {
	if len(keys) == 0 {
		if !e.some {
			marks[0] |= bits
		}
		e.some = true
		return nil
	}
	if err := e.enc.Encode(keys, len(marks), &e.rows); err != nil {
		return err
	}
	before := e.last
	for i := range marks {
		row := e.rows.Row(i)
		if !e.some || !bytes.Equal(before, row) {
			marks[i] |= bits
			e.some = true
		}
		before = row
	}
	e.last = append(e.last[:0], before...)
	return nil
}

// starts lists where partitions and peers start, with the number of rows at the end.
func starts(marks []uint8) (parts, peers []int32) {
	for i, m := range marks {
		if m&startsPartition != 0 {
			parts = append(parts, int32(i))
		}
		if m != 0 {
			peers = append(peers, int32(i))
		}
	}
	return append(parts, int32(len(marks))), append(peers, int32(len(marks)))
}
