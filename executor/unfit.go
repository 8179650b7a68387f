package executor

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/sluice-stream/sluice/batch"
	"github.com/sluice-stream/sluice/executor/eval"
	"github.com/sluice-stream/sluice/executor/gather"
	"github.com/sluice-stream/sluice/planner/expr"
)

// Policies for rows that cannot be computed, see physical.Plan.Errors.
const (
	errorsNull       = "null"
	errorsQuarantine = "quarantine"
)

// unfit says what becomes of rows that cannot be computed in a task; nil stops at
// the first.
type unfit struct {
	null  bool
	put   func(row batch.BadRow) error
	ended func() error // why the task is to end, while rows are looked for
}

// newUnfit says it for one run of a task, which ends with ctx.
func newUnfit(ctx context.Context, a *attempt) *unfit {
	switch a.t.plan.Errors {
	case errorsNull:
		return &unfit{null: true, ended: ctx.Err}
	case errorsQuarantine:
		if put := a.bad.of(""); put != nil {
			return &unfit{put: func(row batch.BadRow) error { return put(ctx, row) }, ended: ctx.Err}
		}
	}
	return nil
}

// takes reports whether an error is of the values of a row, which are then dealt
// with: the user's data, and not memory, cancellation or a fault of the engine.
func (u *unfit) takes(err error) bool {
	if u == nil || err == nil {
		return false
	}
	k, _ := batch.KindOf(err)
	return k == batch.User
}

// keeps reports whether bad rows go into a quarantine.
func (u *unfit) keeps() bool { return u != nil && !u.null }

// quiet leaves bad rows out and tells nobody, because they were told of before.
func (u *unfit) quiet() *unfit {
	if !u.keeps() {
		return u
	}
	return &unfit{put: func(batch.BadRow) error { return nil }, ended: u.ended}
}

// pick keeps of n rows those that one computes alone, and says which they are. It
// is called when all of them together could not be, which is rare, so that the usual
// way costs nothing. from says of which row of a source a row is; it may be nil.
func (u *unfit) pick(tc *TaskContext, from tracing, rec arrow.RecordBatch, one func(rec arrow.RecordBatch) error) (fit arrow.RecordBatch, keep []int32, err error) {
	f := finder{u: u, from: from, rec: rec, one: one, keep: make([]int32, 0, rec.NumRows())}
	if err := f.halve(0, rec.NumRows()); err != nil {
		return nil, nil, err
	}
	keep = f.keep
	if len(keep) == int(rec.NumRows()) {
		return nil, nil, errors.New("rows that cannot be computed together can be one by one")
	}
	fit, err = gather.Batch(tc.Alloc, rec, keep)
	return fit, keep, err
}

// passing returns the rows for which a condition is true. One for which it cannot be
// computed is set aside, and does not pass.
func (c *computed) passing(rec arrow.RecordBatch, dst []int32) ([]int32, error) {
	n := int(rec.NumRows())
	cols, err := c.run(rec)
	if err == nil {
		defer gather.Release(cols)
		return trueRows(cols[0], n, dst), nil
	}
	if !c.unfit.takes(err) {
		return nil, err
	}
	fit, keep, err := c.fit(nil, rec)
	if err != nil {
		return nil, err
	}
	defer fit.Release()
	if cols, err = c.run(fit); err != nil {
		return nil, err
	}
	defer gather.Release(cols)
	from := len(dst)
	dst = trueRows(cols[0], len(keep), dst)
	for i := from; i < len(dst); i++ {
		dst[i] = keep[dst[i]]
	}
	return dst, nil
}

// finder looks for the rows that fail.
type finder struct {
	u    *unfit
	from tracing
	rec  arrow.RecordBatch
	one  func(rec arrow.RecordBatch) error
	keep []int32
}

// halve cuts until it has them.
func (f *finder) halve(from, to int64) error {
	if err := f.u.ended(); err != nil {
		return err
	}
	part := f.rec.NewSlice(from, to)
	err := f.one(part)
	part.Release()
	switch {
	case err == nil:
		for i := from; i < to; i++ {
			f.keep = append(f.keep, int32(i))
		}
		return nil
	case !f.u.takes(err):
		return err
	case to-from == 1:
		return f.aside(int(from), err)
	}
	mid := from + (to-from)/2
	if err := f.halve(from, mid); err != nil {
		return err
	}
	return f.halve(mid, to)
}

// aside sets a row aside: as it came from its source if it did so by itself, else
// as it stands here. A row that is taken back was set aside when it came.
func (f *finder) aside(i int, cause error) error {
	if f.u.null {
		return nil
	}
	bad := batch.BadRow{Offset: -1, Reason: cause.Error()}
	var src sourceRow
	found := false
	if f.from != nil {
		src, found = f.from(i)
	}
	if !found {
		var taken bool
		if src, taken = rowHere(f.rec, i); taken {
			return nil
		}
	}
	raw, err := rowJSON(src)
	if err != nil {
		return errors.Join(cause, err)
	}
	bad.Raw, bad.Table = raw, src.table
	return f.u.put(bad)
}

// rowHere is a row without its kind of change; taken reports that it is taken back.
func rowHere(rec arrow.RecordBatch, i int) (src sourceRow, taken bool) {
	last := int(rec.NumCols()) - 1
	if last < 0 || rec.ColumnName(last) != batch.OpColumn {
		return sourceRow{rec: rec, row: i}, false
	}
	if ops, ok := rec.Column(last).(*array.Int8); ok {
		op := batch.Op(ops.Value(i))
		taken = op == batch.Delete || op == batch.UpdateBefore
	}
	return sourceRow{rec: rec, row: i, cols: last}, taken
}

// rowJSON writes a row as a JSON object.
func rowJSON(s sourceRow) ([]byte, error) {
	cols, fields := s.rec.Columns(), s.rec.Schema().Fields()
	if s.cols > 0 {
		cols, fields = cols[:s.cols], fields[:s.cols]
	}
	one := newBatch(arrow.NewSchema(fields, nil), sliced(cols, s.row, s.row+1), 1)
	defer one.Release()
	b, err := one.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("write a bad row as JSON: %w", err)
	}
	return firstObject(b), nil
}

// firstObject cuts the brackets of an array of one.
func firstObject(b []byte) []byte {
	b = bytes.TrimSpace(b)
	if len(b) >= 2 && b[0] == '[' {
		return bytes.TrimSpace(b[1 : len(b)-1])
	}
	return b
}

// fit returns the rows for which all expressions can be computed, and sets the
// others aside.
func (c *computed) fit(from tracing, rec arrow.RecordBatch) (arrow.RecordBatch, []int32, error) {
	kc := c.kc
	return c.unfit.pick(c.tc, from, rec, func(rec arrow.RecordBatch) error {
		cols, err := c.ev.Run(&kc, rec)
		if err == nil {
			gather.Release(cols)
		}
		return err
	})
}

// runNull computes expression by expression and reads NULL where one cannot be.
func (c *computed) runNull(rec arrow.RecordBatch) ([]arrow.Array, error) {
	if c.each == nil {
		for _, e := range c.exprs {
			ev, err := eval.New([]expr.Expr{e}, c.in)
			if err != nil {
				return nil, err
			}
			c.each = append(c.each, ev)
		}
	}
	out := make([]arrow.Array, 0, len(c.each))
	for i, ev := range c.each {
		var parts []arrow.Array
		err := c.pieces(ev, c.exprs[i].Type(), rec, &parts)
		if err == nil {
			var all arrow.Array
			if all, err = array.Concatenate(parts, c.kc.Alloc); err == nil {
				out = append(out, all)
			}
		}
		gather.Release(parts)
		if err != nil {
			gather.Release(out)
			return nil, err
		}
	}
	return out, nil
}

// pieces halves until what is left can be computed, or is a row that cannot.
func (c *computed) pieces(ev *eval.Evaluator, dt arrow.DataType, rec arrow.RecordBatch, out *[]arrow.Array) error {
	cols, err := ev.Run(&c.kc, rec)
	n := rec.NumRows()
	switch {
	case err == nil:
		*out = append(*out, cols[0])
		return nil
	case !c.unfit.takes(err):
		return err
	case n == 1:
		*out = append(*out, array.MakeArrayOfNull(c.kc.Alloc, dt, 1))
		return nil
	}
	for _, cut := range [][2]int64{{0, n / 2}, {n / 2, n}} {
		half := rec.NewSlice(cut[0], cut[1])
		err := c.pieces(ev, dt, half, out)
		half.Release()
		if err != nil {
			return err
		}
	}
	return nil
}
