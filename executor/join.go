package executor

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// hashJoin reads one side whole into a table and streams the other past it.
//
// Rows of the build side that must come out without a partner are known only
// when all probe rows have passed; the planner chooses such a side to build only
// where one task sees all of them.
type hashJoin struct {
	base
	n        *physical.HashJoin
	build    *joinBuild
	probe    Operator
	pr, br   role // of the probe and of the build side
	ev       *computed
	keys     *joinKeys // of the probe side
	pairs    *keyPairs // nil if equal words mean equal keys
	outs     []joinColumn
	residual *residual
	filter   *keyFilter // of the scan below the probe side, nil if there is none

	// stream says that rows that cannot come out must be read all the same: they
	// are counted, and their times move the watermark.
	stream bool

	ready  bool              // the build side is there
	source batchSource       // of probe batches
	ended  bool              // all probe rows have passed: build rows without a partner follow
	rest   int               // the next build row to look at then
	spill  *graceJoin        // nil while all fits into memory
	pass   *passes           // of probe rows over a build side in pieces
	rec    arrow.RecordBatch // probe batch at hand
	key    []arrow.Array     // its keys, where they are compared
	words  []uint64
	lo, hi []uint32 // for each of its rows, where its candidates are in the index
	row    int      // where in rec the next pair is,
	at     uint32   // and how many candidates of that row are out
	closed int      // rows of rec before this one have come out
	found  []bool   // of the rows of rec, where that is needed
	pi, bi []int32
	keep   []int32
}

// batchSource is where probe batches come from: an operator, or a file.
type batchSource interface {
	Next(ctx context.Context) (arrow.RecordBatch, error)
}

// role says what becomes of rows of one side.
type role struct {
	keepAlone bool // rows without a partner come out with NULLs
	semi      bool // rows with a partner come out once
	anti      bool // rows without a partner come out, alone
}

func roleOf(kind logical.JoinKind, left bool) role {
	switch kind {
	case logical.Inner, logical.Cross:
	case logical.LeftOuter:
		return role{keepAlone: left}
	case logical.RightOuter:
		return role{keepAlone: !left}
	case logical.FullOuter:
		return role{keepAlone: true}
	case logical.LeftSemi:
		return role{semi: left}
	case logical.LeftAnti:
		return role{anti: left}
	}
	return role{}
}

// single reports whether rows of this side come out at most once, alone.
func (r role) single() bool { return r.semi || r.anti }

// joinColumn is a column of one of the two sides.
type joinColumn struct {
	probe bool
	col   int
}

func newHashJoin(n *physical.HashJoin, left, right Operator, shared func(stage int) bool, stream bool) (*hashJoin, error) {
	if len(n.LeftKeys) != len(n.RightKeys) {
		return nil, fmt.Errorf("%s: %d keys left, %d right", n, len(n.LeftKeys), len(n.RightKeys))
	}
	for i := range n.LeftKeys {
		if l, r := n.LeftKeys[i].Type(), n.RightKeys[i].Type(); expr.TypeName(l) != expr.TypeName(r) {
			return nil, fmt.Errorf("%s: key %d is %s on one side and %s on the other", n, i, l, r)
		}
	}
	j := &hashJoin{base: base{node: n, in: []Operator{left, right}}, n: n, pr: roleOf(n.Kind, !n.BuildLeft), br: roleOf(n.Kind, n.BuildLeft), stream: stream}
	buildIn, probeKeys := right, n.LeftKeys
	j.probe = left
	if n.BuildLeft {
		buildIn, j.probe, probeKeys = left, right, n.RightKeys
	}
	j.outs = j.columns(left.Schema().NumFields(), right.Schema().NumFields())
	need := make([]bool, buildIn.Schema().NumFields())
	mark := func(cols []joinColumn) {
		for _, c := range cols {
			if !c.probe {
				need[c.col] = true
			}
		}
	}
	mark(j.outs)
	var err error
	if n.Residual != nil {
		if j.residual, err = newResidual(j, left.Schema(), right.Schema()); err != nil {
			return nil, err
		}
		mark(j.residual.cols)
	}
	if j.build, err = newJoinBuild(buildIn, n, need, shared); err != nil {
		return nil, err
	}
	j.build.matches = j.br.keepAlone || j.br.single()
	j.keys = j.build.keys.clone()
	if !j.keys.exact {
		j.pairs = newKeyPairs(j.keys)
	}
	if j.ev, err = newComputed(probeKeys, j.probe.Schema()); err != nil {
		return nil, err
	}
	attachFilter(j, probeKeys)
	return j, nil
}

// columns says where the columns of the output come from.
func (j *hashJoin) columns(left, right int) []joinColumn {
	keep := j.n.Keep
	if keep == nil {
		keep = make([]int, j.n.Out.NumFields())
		for i := range keep {
			keep[i] = i
		}
	}
	out := make([]joinColumn, len(keep))
	for i, k := range keep {
		out[i] = j.place(k, left)
	}
	return out
}

// place finds column i of the left columns followed by the right ones.
func (j *hashJoin) place(i, left int) joinColumn {
	if i < left {
		return joinColumn{probe: !j.n.BuildLeft, col: i}
	}
	return joinColumn{probe: j.n.BuildLeft, col: i - left}
}

// Open leaves the build side alone if the table of an earlier batch still holds.
func (j *hashJoin) Open(ctx context.Context, tc *TaskContext) error {
	j.tc = tc
	j.reset()
	j.ev.open(tc)
	if j.residual != nil {
		j.residual.ev.open(tc)
	}
	j.build.open(tc)
	return j.probe.Open(ctx, tc)
}

func (j *hashJoin) reset() {
	j.drop()
	j.spill.close()
	j.spill, j.pass = nil, nil
	j.ready, j.ended, j.rest = false, false, 0
	j.source = j.probe
	if j.filter != nil {
		j.filter.clear()
	}
}

// drop lets the probe batch at hand go.
func (j *hashJoin) drop() {
	if j.rec != nil {
		j.rec.Release()
		gather.Release(j.key)
		j.rec, j.key = nil, nil
	}
}

func (j *hashJoin) Close() error {
	j.reset()
	j.build.release()
	return j.base.Close()
}

func (j *hashJoin) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if !j.ready {
		if err := j.prepare(ctx); err != nil {
			return nil, err
		}
		j.ready = true
	}
	for {
		if j.ended {
			rec, err := j.leftOver()
			if err != nil || rec != nil {
				return rec, err
			}
			more, err := j.nextPart(ctx)
			if err != nil {
				return nil, err
			}
			if !more {
				j.build.finish()
				j.tell()
				return nil, io.EOF
			}
			continue
		}
		if j.rec == nil {
			if err := j.advance(ctx); err != nil {
				return nil, err
			}
			continue
		}
		out, err := j.step()
		if err != nil || out != nil {
			return out, err
		}
	}
}

// tell notes what EXPLAIN ANALYZE says of joins alone.
func (j *hashJoin) tell() {
	if f := j.filter; f != nil {
		if n := f.dropped + f.found; n > 0 {
			j.tc.Note("dropped early", n)
		}
		f.clear()
	}
}

// prepare makes the build side ready and tells the probe side about it.
func (j *hashJoin) prepare(ctx context.Context) error {
	if err := j.load(ctx); err != nil {
		return err
	}
	if j.spill != nil {
		return nil
	}
	j.bind()
	if !j.stream {
		j.ended = j.done()
		if j.filter != nil && !j.ended {
			j.filter.set(j.build.table, j.keys)
		}
	}
	return nil
}

// bind points the comparison of keys at the table in use.
func (j *hashJoin) bind() {
	if j.pairs != nil {
		j.pairs.build = append(j.pairs.build[:0], j.build.table.pairs...)
	}
}

// load makes the table, or takes a shared one.
func (j *hashJoin) load(ctx context.Context) error {
	b := j.build
	if b.table != nil {
		return nil
	}
	b.version = b.versionIn(&j.tc.Spec)
	if key, ok := b.sharedKey(); ok {
		l, err := j.tc.Tables.take(ctx, j.tc, tableKey{b.join, key}, b.version != "", func(h *helpers) (*joinTable, error) { return j.makeTable(ctx, h) })
		if err == nil {
			b.lease = l
			b.use(l.shared.table)
			return nil
		}
		if err != errTooLarge {
			return err
		}
		b.opened = false
	}
	recs, more, err := b.read(ctx, j.tooLarge)
	defer func() { release(recs) }()
	if err != nil {
		return err
	}
	if more {
		b.version = ""
		taken := recs
		recs = nil
		return j.startSpill(ctx, taken)
	}
	t, err := b.tableMaker.table(j.tc, recs, eachPart)
	if err != nil {
		return err
	}
	b.use(t)
	return nil
}

// makeTable makes a table for others too.
func (j *hashJoin) makeTable(ctx context.Context, h *helpers) (*joinTable, error) {
	recs, more, err := j.build.read(ctx, j.tooLarge)
	defer func() { release(recs) }()
	if err != nil {
		return nil, err
	}
	if more {
		return nil, errTooLarge
	}
	return j.build.tableMaker.table(j.tc, recs, h.do)
}

// advance takes the next probe batch and looks its keys up.
func (j *hashJoin) advance(ctx context.Context) error {
	rec, err := j.source.Next(ctx)
	if err == io.EOF {
		j.ended, j.rest = true, 0
		return nil
	}
	if err != nil {
		return err
	}
	j.rec, j.row, j.at, j.closed = rec, 0, 0, 0
	n := int(rec.NumRows())
	cols, err := j.ev.run(rec)
	if err != nil {
		return err
	}
	j.words = resized(j.words, n*j.keys.stride)
	j.keys.words(cols, n, j.words)
	j.lo, j.hi = resized(j.lo, n), resized(j.hi, n)
	j.build.table.index.lookup(j.words, j.lo, j.hi)
	for _, c := range j.keys.nullable(cols) {
		for i := range n {
			if c.DataType().ID() == arrow.NULL || c.IsNull(i) {
				j.lo[i], j.hi[i] = 0, 0
			}
		}
	}
	if j.pairs != nil {
		j.key = cols
		j.pairs.probe = keyColumns(cols)
	} else {
		gather.Release(cols)
	}
	if j.checks() && (j.pr.single() || j.pr.keepAlone) {
		j.found = j.pass.found(j.found, n)
	}
	return nil
}

// checks reports whether candidates may turn out not to be partners.
func (j *hashJoin) checks() bool { return j.pairs != nil || j.residual != nil || j.pass != nil }

// done reports whether no further probe row can change the result.
func (j *hashJoin) done() bool {
	switch {
	case j.br.single():
		return j.build.missing == 0
	case j.build.table.index.n == 0:
		return !j.pr.keepAlone && !j.pr.anti
	}
	return false
}
