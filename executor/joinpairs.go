package executor

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
)

// residual is a condition on pairs beyond the equality of keys.
type residual struct {
	ev     *computed
	cols   []joinColumn // that it reads
	schema *arrow.Schema
}

func newResidual(j *hashJoin, left, right *arrow.Schema) (*residual, error) {
	set := map[int]bool{}
	expr.Columns(j.n.Residual, set)
	r := &residual{}
	at := map[int]int{}
	var fields []arrow.Field
	lw := left.NumFields()
	for i := range lw + right.NumFields() {
		if !set[i] {
			continue
		}
		at[i] = len(fields)
		if i < lw {
			fields = append(fields, left.Field(i))
		} else {
			fields = append(fields, right.Field(i-lw))
		}
		r.cols = append(r.cols, j.place(i, lw))
	}
	r.schema = arrow.NewSchema(fields, nil)
	var err error
	r.ev, err = newComputed([]expr.Expr{expr.Remap(j.n.Residual, func(i int) int { return at[i] })}, r.schema)
	return r, err
}

// step makes the next output batch of the probe batch at hand. It returns nil
// when there is nothing in the pairs that it looked at.
func (j *hashJoin) step() (arrow.RecordBatch, error) {
	n := len(j.lo)
	if j.checks() {
		if j.row < n {
			return j.checked()
		}
		return j.alone()
	}
	switch {
	case j.row == n:
		j.drop()
		j.ended = j.ended || !j.stream && j.spill == nil && j.done()
		return nil, nil
	case j.pr.single():
		j.row = n
		return j.chosen(func(i int) bool { return j.hi[i] != 0 })
	case j.br.single():
		j.row = n
		j.mark()
		return nil, nil
	case j.build.table.index.unique:
		j.row = n
		j.once()
	default:
		j.many()
	}
	if len(j.pi) == 0 {
		return nil, nil
	}
	j.note()
	return j.emit(j.pi, j.bi)
}

// mark notes the partners of all probe rows. The rows of a key are noted
// together, so that a key seen before costs one look.
func (j *hashJoin) mark() {
	t, matched := j.build.table, j.build.matched
	for i, l := range j.lo {
		h := j.hi[i]
		if h == 0 || matched[t.index.row(l)] {
			continue
		}
		for ; l < h; l++ {
			matched[t.index.row(l)] = true
			j.build.missing--
		}
	}
}

// once pairs the rows of rec with build rows of which no two have the same key.
func (j *hashJoin) once() {
	n := len(j.lo)
	j.pi, j.bi = resized(j.pi, n), resized(j.bi, n)
	pi, bi, lo, hi := j.pi, j.bi, j.lo, j.hi[:n]
	rows := j.build.table.index.rows
	k := 0
	switch {
	case j.pr.keepAlone:
		for i, l := range lo {
			b := int32(-1)
			if hi[i] != 0 {
				b = int32(l)
				if rows != nil {
					b = int32(rows[l])
				}
			}
			pi[i], bi[i] = int32(i), b
		}
		k = n
	case rows == nil:
		for i, l := range lo {
			pi[k], bi[k] = int32(i), int32(l)
			k += hit(hi[i])
		}
	default:
		if len(rows) == 0 {
			break
		}
		for i, l := range lo {
			pi[k], bi[k] = int32(i), int32(rows[l])
			k += hit(hi[i])
		}
	}
	j.pi, j.bi = pi[:k], bi[:k]
}

// hit is 1 for a range that is not empty. It compiles to no branch.
func hit(hi uint32) int {
	if hi != 0 {
		return 1
	}
	return 0
}

// many collects up to outputRows pairs.
func (j *hashJoin) many() {
	index, n := j.build.table.index, len(j.lo)
	j.pi, j.bi = j.pi[:0], j.bi[:0]
	for j.row < n && len(j.pi) < outputRows {
		l, h := j.lo[j.row]+j.at, j.hi[j.row]
		if h == 0 {
			if j.pr.keepAlone {
				j.pi, j.bi = append(j.pi, int32(j.row)), append(j.bi, -1)
			}
			j.row++
			continue
		}
		end := min(h, l+uint32(outputRows-len(j.pi)))
		j.at += end - l
		for ; l < end; l++ {
			j.pi, j.bi = append(j.pi, int32(j.row)), append(j.bi, index.row(l))
		}
		if end == h {
			j.row, j.at = j.row+1, 0
		}
	}
}

// candidates collects up to outputRows pairs that are still to be checked.
func (j *hashJoin) candidates() {
	index, n := j.build.table.index, len(j.lo)
	// Which pairs are looked at must not depend on how rows are cut into batches where
	// those that cannot be computed are told.
	all := j.residual != nil && j.tc.unfit.keeps()
	var skip []bool // build rows that have all that they need
	if j.br.single() && !all {
		skip = j.build.matched
	}
	j.pi, j.bi = j.pi[:0], j.bi[:0]
	for looked := 0; j.row < n && looked < 4*outputRows && len(j.pi) < outputRows; looked++ {
		l, h := j.lo[j.row]+j.at, j.hi[j.row]
		if h == 0 || j.pr.single() && j.found[j.row] && !all {
			j.row, j.at = j.row+1, 0
			continue
		}
		end := min(h, l+uint32(outputRows-len(j.pi)))
		j.at += end - l
		for ; l < end; l++ {
			b := index.row(l)
			if skip == nil || !skip[b] {
				j.pi, j.bi = append(j.pi, int32(j.row)), append(j.bi, b)
			}
		}
		if end == h {
			j.row, j.at = j.row+1, 0
		}
	}
}

// checked makes the output of the next candidates.
func (j *hashJoin) checked() (arrow.RecordBatch, error) {
	j.candidates()
	if err := j.check(); err != nil {
		return nil, err
	}
	j.note()
	if j.pr.single() || j.br.single() {
		for _, p := range j.pi {
			if j.pr.single() {
				j.found[p] = true
			}
		}
		return nil, nil
	}
	if j.pr.keepAlone {
		for _, p := range j.pi {
			j.found[p] = true
		}
		if j.pass.last() {
			j.fill()
		}
	}
	j.closed = j.row
	if len(j.pi) == 0 {
		return nil, nil
	}
	return j.emit(j.pi, j.bi)
}

// check drops the candidates that are no partners.
func (j *hashJoin) check() error {
	if j.pairs != nil && len(j.pi) > 0 {
		j.keep = j.pairs.equal(j.pi, j.bi, j.keep[:0])
		j.retain()
	}
	if j.residual == nil || len(j.pi) == 0 {
		return nil
	}
	cols, err := j.gather(j.residual.cols, j.pi, j.bi)
	if err != nil {
		return err
	}
	rec := newBatch(j.residual.schema, cols, len(j.pi))
	defer rec.Release()
	if j.keep, err = j.residual.ev.passing(rec, j.keep[:0]); err != nil {
		return err
	}
	j.retain()
	return nil
}

// retain keeps the pairs at the positions keep.
func (j *hashJoin) retain() {
	for k, at := range j.keep {
		j.pi[k], j.bi[k] = j.pi[at], j.bi[at]
	}
	j.pi, j.bi = j.pi[:len(j.keep)], j.bi[:len(j.keep)]
}

// fill adds the probe rows that are through and have found nobody, in their places.
func (j *hashJoin) fill() {
	alone := 0
	for _, f := range j.found[j.closed:j.row] {
		if !f {
			alone++
		}
	}
	if alone == 0 {
		return
	}
	pi, bi := make([]int32, 0, len(j.pi)+alone), make([]int32, 0, len(j.pi)+alone)
	k := 0
	for r := j.closed; r < j.row; r++ {
		for ; k < len(j.pi) && int(j.pi[k]) <= r; k++ {
			pi, bi = append(pi, j.pi[k]), append(bi, j.bi[k])
		}
		if !j.found[r] {
			pi, bi = append(pi, int32(r)), append(bi, -1)
		}
	}
	j.pi, j.bi = append(pi, j.pi[k:]...), append(bi, j.bi[k:]...)
}

// note marks the build rows that have a partner.
func (j *hashJoin) note() {
	matched := j.build.matched
	if matched == nil {
		return
	}
	for _, b := range j.bi {
		if b >= 0 && !matched[b] {
			matched[b] = true
			j.build.missing--
		}
	}
}

// alone ends the probe batch at hand with the rows that come out by themselves.
func (j *hashJoin) alone() (arrow.RecordBatch, error) {
	defer func() {
		j.pass.keep(j.found)
		j.drop()
		j.ended = j.ended || !j.stream && j.spill == nil && j.done()
	}()
	if !j.pr.single() || !j.pass.last() {
		return nil, nil
	}
	return j.chosen(func(i int) bool { return j.found[i] })
}

// chosen returns the probe rows of a semi or anti join, given which have a partner.
func (j *hashJoin) chosen(partner func(i int) bool) (arrow.RecordBatch, error) {
	rows := j.pi[:0]
	for i := range j.lo {
		if partner(i) == j.pr.semi {
			rows = append(rows, int32(i))
		}
	}
	j.pi = rows
	if len(rows) == 0 {
		return nil, nil
	}
	return j.emit(rows, nil)
}

// leftOver returns the next build rows that come out after all probe rows, or
// nil after the last.
func (j *hashJoin) leftOver() (arrow.RecordBatch, error) {
	matched := j.build.matched
	if matched == nil {
		return nil, nil
	}
	rows := j.bi[:0]
	for ; j.rest < len(matched) && len(rows) < outputRows; j.rest++ {
		if matched[j.rest] == j.br.semi {
			rows = append(rows, int32(j.rest))
		}
	}
	j.bi = rows
	if len(rows) == 0 {
		return nil, nil
	}
	return j.emit(nil, rows)
}

// emit puts probe rows pi and build rows bi side by side. Where one is nil, its
// columns are NULL.
func (j *hashJoin) emit(pi, bi []int32) (arrow.RecordBatch, error) {
	cols, err := j.gather(j.outs, pi, bi)
	if err != nil {
		return nil, err
	}
	return newBatch(j.Schema(), cols, max(len(pi), len(bi))), nil
}

func (j *hashJoin) gather(from []joinColumn, pi, bi []int32) (out []arrow.Array, err error) {
	out = make([]arrow.Array, 0, len(from))
	run := isRun(pi)
	for _, c := range from {
		var arr arrow.Array
		switch {
		case c.probe && pi == nil:
			arr = array.MakeArrayOfNull(j.tc.Alloc, j.probe.Schema().Field(c.col).Type, len(bi))
		case c.probe && run && len(pi) == int(j.rec.NumRows()):
			arr = j.rec.Column(c.col)
			arr.Retain()
		case c.probe && run:
			arr = array.NewSlice(j.rec.Column(c.col), int64(pi[0]), int64(pi[0])+int64(len(pi)))
		case c.probe:
			arr, err = gather.Take(j.tc.Alloc, j.rec.Column(c.col), pi)
		default:
			arr, err = gather.Take(j.tc.Alloc, j.build.table.cols[c.col], bi)
		}
		if err != nil {
			gather.Release(out)
			return nil, err
		}
		out = append(out, arr)
	}
	return out, nil
}

// isRun reports whether rows follow one another.
func isRun(rows []int32) bool {
	if len(rows) == 0 || int(rows[len(rows)-1]-rows[0])+1 != len(rows) {
		return false
	}
	for i, r := range rows {
		if r != rows[0]+int32(i) {
			return false
		}
	}
	return true
}

// nulls returns n positions of no row.
func nulls(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = -1
	}
	return out
}

func growBools(s []bool, n int) []bool {
	s = resized(s, n)
	clear(s)
	return s
}
