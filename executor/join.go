package executor

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
	"github.com/sluice-stream/sluice/planner/logical"
	"github.com/sluice-stream/sluice/planner/physical"
)

// hashJoin reads one side whole into a hash table and streams the other past it.
//
// Rows of the build side that must come out without a partner are known only
// when all probe rows have passed; the planner chooses such a side to build only
// where one task sees all of them.
type hashJoin struct {
	base
	n        *physical.HashJoin
	build    *joinTable
	probe    Operator
	keys     *computed // of the probe side
	nullSafe []bool
	residual *computed
	both     *arrow.Schema // left and right columns, for the residual

	rec      arrow.RecordBatch // probe batch at hand
	groups   []uint32
	row, hit int    // where in rec, and in the rows of its group, the next pair is
	hasMatch []bool // of the rows of rec, where that is needed
	pi, bi   []int32
	rest     bool // the probe side is through: build rows without a partner follow
	out      cutter
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

func newHashJoin(n *physical.HashJoin, left, right Operator, shared func(stage int) bool) (*hashJoin, error) {
	if len(n.LeftKeys) != len(n.RightKeys) {
		return nil, fmt.Errorf("%s: %d keys left, %d right", n, len(n.LeftKeys), len(n.RightKeys))
	}
	j := &hashJoin{base: base{node: n, in: []Operator{left, right}}, n: n, nullSafe: n.NullSafe}
	buildIn, buildKeys, buildNode, probeKeys := right, n.RightKeys, n.Right, n.LeftKeys
	j.probe = left
	if n.BuildLeft {
		buildIn, buildKeys, buildNode, probeKeys = left, n.LeftKeys, n.Left, n.RightKeys
		j.probe = right
	}
	for i := range buildKeys {
		if b, p := buildKeys[i].Type(), probeKeys[i].Type(); expr.TypeName(b) != expr.TypeName(p) {
			return nil, fmt.Errorf("%s: key %d is %s on one side and %s on the other", n, i, p, b)
		}
	}
	var err error
	if j.build, err = newJoinTable(buildIn, buildKeys, n.NullSafe, buildNode, shared); err != nil {
		return nil, err
	}
	if j.keys, err = newComputed(probeKeys, j.probe.Schema()); err != nil {
		return nil, err
	}
	if n.Residual != nil {
		fields := append(append([]arrow.Field{}, left.Schema().Fields()...), right.Schema().Fields()...)
		j.both = arrow.NewSchema(fields, nil)
		j.residual, err = newComputed([]expr.Expr{n.Residual}, j.both)
	}
	return j, err
}

func (j *hashJoin) probeRole() role { return roleOf(j.n.Kind, !j.n.BuildLeft) }
func (j *hashJoin) buildRole() role { return roleOf(j.n.Kind, j.n.BuildLeft) }

// Open leaves the build side alone if the table of an earlier batch still holds.
func (j *hashJoin) Open(ctx context.Context, tc *TaskContext) error {
	j.tc = tc
	j.reset()
	j.keys.open(tc)
	if j.residual != nil {
		j.residual.open(tc)
	}
	if err := j.build.open(ctx, tc); err != nil {
		return err
	}
	return j.probe.Open(ctx, tc)
}

func (j *hashJoin) reset() {
	if j.rec != nil {
		j.rec.Release()
		j.rec = nil
	}
	j.rest = false
	j.out.reset()
}

func (j *hashJoin) Close() error {
	j.reset()
	j.build.release()
	return j.base.Close()
}

func (j *hashJoin) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := j.build.load(ctx, j.needsMatched()); err != nil {
		return nil, err
	}
	for {
		if j.rest {
			return j.out.next()
		}
		if j.rec == nil {
			if err := j.advance(ctx); err != nil {
				return nil, err
			}
			continue
		}
		out, err := j.pairs()
		if err != nil || out != nil {
			return out, err
		}
	}
}

func (j *hashJoin) needsMatched() bool {
	r := j.buildRole()
	return r.keepAlone || r.semi || r.anti
}

// advance takes the next probe batch and looks its keys up; after the last one
// it turns to what is left of the build side.
func (j *hashJoin) advance(ctx context.Context) error {
	rec, err := j.probe.Next(ctx)
	if err == io.EOF {
		j.rest = true
		return j.leftOver()
	}
	if err != nil {
		return err
	}
	j.rec, j.row, j.hit = rec, 0, 0
	n := int(rec.NumRows())
	cols, err := j.keys.run(rec)
	if err != nil {
		return err
	}
	defer gather.Release(cols)
	if cap(j.groups) < n {
		j.groups = make([]uint32, n, n+n/4)
	}
	j.groups = j.groups[:n]
	j.build.find(cols, j.groups)
	if r := j.probeRole(); r.semi || r.anti || r.keepAlone && j.residual != nil {
		j.hasMatch = growBools(j.hasMatch, n)
	}
	return nil
}

// pairs makes the next output batch of the probe batch at hand: up to outputRows
// pairs, then what the probe side's role adds. It returns nil when there is nothing.
func (j *hashJoin) pairs() (arrow.RecordBatch, error) {
	r := j.probeRole()
	n := int(j.rec.NumRows())
	if j.row == n { // all pairs are out
		rec := j.rec
		j.rec = nil
		defer rec.Release()
		return j.alone(rec, r)
	}
	j.pi, j.bi = j.pi[:0], j.bi[:0]
	fill := r.keepAlone && j.residual == nil
	for j.row < n && len(j.pi) < outputRows {
		rows := j.build.rowsOf(j.groups[j.row])
		if len(rows) == 0 {
			if fill {
				j.pi, j.bi = append(j.pi, int32(j.row)), append(j.bi, -1)
			}
			j.row++
			continue
		}
		if (r.semi || r.anti) && j.residual == nil {
			j.hasMatch[j.row] = true
			j.row++
			continue
		}
		take := min(len(rows)-j.hit, outputRows-len(j.pi))
		for _, b := range rows[j.hit : j.hit+take] {
			j.pi, j.bi = append(j.pi, int32(j.row)), append(j.bi, b)
		}
		if j.hit += take; j.hit == len(rows) {
			j.row, j.hit = j.row+1, 0
		}
	}
	if len(j.pi) == 0 {
		return nil, nil
	}
	return j.match(r)
}

// match applies the residual to the pairs, notes who found a partner and returns
// the rows that come out of it.
func (j *hashJoin) match(r role) (arrow.RecordBatch, error) {
	onlyNote := r.semi || r.anti || j.buildRole().semi || j.buildRole().anti
	if j.residual == nil {
		j.note(seq(0, len(j.pi)), r)
		if onlyNote {
			return nil, nil
		}
		return j.glue(j.Schema(), j.rec.Columns(), j.pi, j.bi)
	}
	rec, err := j.glue(j.both, j.rec.Columns(), j.pi, j.bi)
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	cols, err := j.residual.run(rec)
	if err != nil {
		return nil, err
	}
	defer gather.Release(cols)
	keep := trueRows(cols[0], len(j.pi), nil)
	j.note(keep, r)
	if onlyNote {
		return nil, nil
	}
	kept, err := keepRows(j.tc, rec, keep)
	if kept == nil || err != nil {
		return nil, err
	}
	defer kept.Release()
	return relabel(kept, j.Schema()), nil
}

// note marks the rows of both sides that have a partner.
func (j *hashJoin) note(keep []int32, r role) {
	if r.semi || r.anti || r.keepAlone && j.residual != nil {
		for _, k := range keep {
			j.hasMatch[j.pi[k]] = true
		}
	}
	if j.build.matched != nil {
		for _, k := range keep {
			if b := j.bi[k]; b >= 0 {
				j.build.matched[b] = true
			}
		}
	}
}

// alone returns the probe rows that come out by themselves.
func (j *hashJoin) alone(rec arrow.RecordBatch, r role) (arrow.RecordBatch, error) {
	if !r.semi && !r.anti && !(r.keepAlone && j.residual != nil) {
		return nil, nil
	}
	var rows []int32
	for i, m := range j.hasMatch[:rec.NumRows()] {
		if m == r.semi {
			rows = append(rows, int32(i))
		}
	}
	if len(rows) == 0 {
		return nil, nil
	}
	if r.semi || r.anti {
		out, err := keepRows(j.tc, rec, rows)
		if out == nil || err != nil {
			return nil, err
		}
		defer out.Release()
		return relabel(out, j.Schema()), nil
	}
	return j.glue(j.Schema(), rec.Columns(), rows, nulls(len(rows)))
}

// leftOver sets the output to the build rows that come out after all probe rows.
func (j *hashJoin) leftOver() error {
	r := j.buildRole()
	if j.build.matched == nil {
		return nil
	}
	var rows []int32
	for i, m := range j.build.matched {
		if m == r.semi {
			rows = append(rows, int32(i))
		}
	}
	if len(rows) == 0 {
		return nil
	}
	if r.semi || r.anti {
		cols, err := gather.Columns(j.tc.Alloc, j.build.cols, rows)
		if err != nil {
			return err
		}
		j.out.set(j.Schema(), cols, len(rows))
		return nil
	}
	cols := make([]arrow.Array, j.probe.Schema().NumFields())
	for i, f := range j.probe.Schema().Fields() {
		cols[i] = array.MakeArrayOfNull(j.tc.Alloc, f.Type, 0)
	}
	defer gather.Release(cols)
	rec, err := j.glue(j.Schema(), cols, nulls(len(rows)), rows)
	if err != nil {
		return err
	}
	defer rec.Release()
	for _, c := range rec.Columns() {
		c.Retain()
	}
	j.out.set(j.Schema(), append([]arrow.Array{}, rec.Columns()...), len(rows))
	return nil
}

// glue puts probe rows pi and build rows bi side by side, left columns first.
func (j *hashJoin) glue(schema *arrow.Schema, probe []arrow.Array, pi, bi []int32) (arrow.RecordBatch, error) {
	left, right := probe, j.build.cols
	li, ri := pi, bi
	if j.n.BuildLeft {
		left, right, li, ri = right, left, ri, li
	}
	cols, err := gather.Columns(j.tc.Alloc, left, li)
	if err != nil {
		return nil, err
	}
	more, err := gather.Columns(j.tc.Alloc, right, ri)
	if err != nil {
		gather.Release(cols)
		return nil, err
	}
	return newBatch(schema, append(cols, more...), len(pi)), nil
}

func nulls(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = -1
	}
	return out
}

func growBools(s []bool, n int) []bool {
	if cap(s) < n {
		return make([]bool, n, n+n/4)
	}
	s = s[:n]
	clear(s)
	return s
}
